//! The summary at the end of a run: its result, groups of similar failures, paths of the output.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::groups::{Group, Groups};
use super::manifest::{Available, exit_reason};
use super::signature::signature;
use super::text::duration;
use super::{LeftOutGroup, ReportError, Reporter, Style, Terminal, clean};
use crate::event::{BuildReport, DoubleResult, Event, EventKind, Finding, ProofResult, RunFacts};
use crate::failure::{Failure, FailureClass, Phase, Status};
use crate::plan::{BuildId, LeftOut};
use crate::text::{count, separated};

/// The maximum number of shown groups of failures and of exclusions; the manifest has them all.
const GROUPS: usize = 12;
/// From this number of groups on, only one build of each is shown, and no log.
const MANY_GROUPS: usize = 4;
/// The number of sample builds whose loader name belongs to another kernel, and of reasons.
const SAMPLES: usize = 3;

/// Prints the summary when the run has ended.
pub struct Summary {
    terminal: Terminal,
    out: PathBuf,
    facts: Option<RunFacts>,
    artifacts: BTreeMap<Status, usize>,
    groups: Groups,
    taken_names: TakenNames,
    proofs: BTreeMap<ProofResult, usize>,
    doubles: BTreeMap<DoubleResult, usize>,
    /// Why artifacts were not proven.
    not_proven: Reasons,
    /// Why artifacts were not built a second time.
    not_done: Reasons,
    stopping: Option<String>,
    findings: Vec<Finding>,
}

/// Reasons, with the number of artifacts that each applies to.
type Reasons = BTreeMap<String, usize>;

/// Artifacts whose loader name belongs to another kernel.
#[derive(Default)]
struct TakenNames {
    count: usize,
    /// The first builds, each with the build that has its loader name.
    samples: BTreeMap<BuildId, BuildId>,
}

impl Summary {
    /// `out` is the directory of the artifacts and the manifest.
    pub fn new(terminal: Terminal, out: &Path) -> Self {
        Self {
            terminal,
            out: out.to_owned(),
            facts: None,
            artifacts: BTreeMap::new(),
            groups: Groups::default(),
            taken_names: TakenNames::default(),
            proofs: BTreeMap::new(),
            doubles: BTreeMap::new(),
            not_proven: Reasons::new(),
            not_done: Reasons::new(),
            stopping: None,
            findings: Vec::new(),
        }
    }

    fn text(&self, facts: &RunFacts, wall: Duration, exit_code: u8) -> String {
        let style = self.terminal.style();
        let mut lines = vec![String::new()];
        lines.push(style.strong(&format!(
            "{}, {} in {}",
            count(facts.builds, "build"),
            count(facts.artifacts, "artifact"),
            duration(wall),
        )));
        for status in Status::ALL {
            if let Some(&number) = self.artifacts.get(&status) {
                lines.push(total_line(status, number, style));
            }
        }
        self.push_proofs(&mut lines);
        self.push_doubles(&mut lines);
        self.push_failures(&mut lines, style);
        self.push_taken_names(&mut lines, style);
        self.push_findings(&mut lines, style);
        push_left_out(&mut lines, facts, style);
        let out = self.out.display();
        lines.push(String::new());
        lines.push(format!("drivers   {out}/"));
        lines.push(format!(
            "manifest  {out}/run.json, {out}/builds.jsonl.zst, {out}/manifest.csv"
        ));
        let wanted = facts.artifacts;
        let there = self
            .artifacts
            .iter()
            .filter(|(status, _)| status.is_success());
        let missing = wanted.saturating_sub(there.map(|(_, number)| number).sum());
        let known = self.artifacts.get(&Status::Known).copied();
        let known = known.unwrap_or_default();
        let not_built = facts.left_out.iter();
        let not_built = not_built.filter(|one| &*one.rule == LeftOut::NOT_BUILT);
        let available = Available {
            wanted,
            missing,
            known,
            not_built: not_built.count(),
        };
        let reason = exit_reason(exit_code, &available, self.stopping.as_deref());
        let last = format!("exit {exit_code}    {}", clean(&reason));
        lines.push(if exit_code == 0 {
            style.good(&last)
        } else {
            style.bad(&last)
        });
        lines.join("\n")
    }

    fn push_proofs(&self, lines: &mut Vec<String>) {
        if self.proofs.is_empty() {
            return;
        }
        let of = |result| separated(self.proofs.get(&result).copied().unwrap_or_default());
        lines.push(format!(
            "  artifacts proven in their kernels: {} loaded, {} refused, {} not proven",
            of(ProofResult::Loaded),
            of(ProofResult::Refused),
            of(ProofResult::NotProven),
        ));
        push_reasons(lines, "not proven", &self.not_proven);
    }

    fn push_doubles(&self, lines: &mut Vec<String>) {
        if self.doubles.is_empty() {
            return;
        }
        let of = |result| separated(self.doubles.get(&result).copied().unwrap_or_default());
        lines.push(format!(
            "  artifacts built a second time: {} the same, {} different, {} not done",
            of(DoubleResult::Same),
            of(DoubleResult::Different),
            of(DoubleResult::NotDone),
        ));
        push_reasons(lines, "not done", &self.not_done);
    }

    fn push_failures(&self, lines: &mut Vec<String>, style: Style) {
        let groups = self.groups.largest_first();
        if groups.is_empty() {
            return;
        }
        lines.push(String::new());
        lines.push(style.strong("failures"));
        for (phase, group) in groups.iter().take(GROUPS) {
            let is_short = groups.len() >= MANY_GROUPS;
            self.push_group(lines, *phase, group, is_short);
        }
        if groups.len() > GROUPS {
            let more = separated(groups.len() - GROUPS);
            lines.push(format!(
                "  and {more} other kinds of failure: see the manifest"
            ));
        }
    }

    fn push_taken_names(&self, lines: &mut Vec<String>, style: Style) {
        let TakenNames {
            count: number,
            samples,
        } = &self.taken_names;
        if *number == 0 {
            return;
        }
        lines.push(String::new());
        lines.push(style.strong("loader names that belong to another kernel"));
        lines.push(format!(
            "  {}: placed under the kernel's own name only",
            count(*number, "artifact")
        ));
        for (build, other) in samples.iter().take(SAMPLES) {
            lines.push(format!("      {build}: name taken by {other}"));
        }
    }

    fn push_findings(&self, lines: &mut Vec<String>, style: Style) {
        if self.findings.is_empty() {
            return;
        }
        lines.push(String::new());
        lines.push(style.strong("outdated rules"));
        for Finding { place, message, .. } in self.findings.iter().take(GROUPS) {
            lines.push(format!("  {}: {}", clean(place), clean(message)));
        }
        if self.findings.len() > GROUPS {
            let more = separated(self.findings.len() - GROUPS);
            lines.push(format!(
                "  and {more} other outdated rules: see `driverkit-matrix known`"
            ));
        }
    }

    fn push_group(&self, lines: &mut Vec<String>, phase: Phase, group: &Group, is_short: bool) {
        let text = group.text();
        let as_before = match group.as_before {
            0 => String::new(),
            all if all == group.artifacts => ", as before".to_owned(),
            some => format!(", {} as before", separated(some)),
        };
        let known = if group.is_known { ", known" } else { "" };
        lines.push(format!(
            "  {} x {text} ({phase}{as_before}{known})",
            separated(group.artifacts)
        ));
        let named = if is_short { 1 } else { SAMPLES };
        for build in group.samples.keys().take(named) {
            lines.push(format!("      {build}"));
        }
        if is_short {
            return;
        }
        if let Some(log) = group.samples.values().find_map(|(_, log)| log.as_ref()) {
            lines.push(format!(
                "      log: zstdcat {}",
                self.out.join(log).display()
            ));
        }
    }
}

fn total_line(status: Status, number: usize, style: Style) -> String {
    let line = format!("  {status:<12} {:>7}", separated(number));
    match status {
        status if status.is_success() => style.good(&line),
        Status::Excluded => line,
        Status::Cancelled | Status::NotRun | Status::Known => style.warning(&line),
        _ => style.bad(&line),
    }
}

/// Counts a reason, with `*` in place of the names of its build.
fn add_reason(reasons: &mut Reasons, message: &str, report: &BuildReport) {
    let failure = Failure::new(FailureClass::Load, Phase::Prove, message);
    *reasons
        .entry(signature(&failure, report.into()))
        .or_default() += 1;
}

/// Adds the most frequent reasons.
fn push_reasons(lines: &mut Vec<String>, what: &str, reasons: &Reasons) {
    let mut sorted: Vec<(&String, &usize)> = reasons.iter().collect();
    sorted.sort_by_key(|(_, number)| Reverse(**number));
    for (reason, number) in sorted.iter().take(SAMPLES) {
        let (number, reason) = (separated(**number), clean(reason));
        lines.push(format!("      {number} x {what}: {reason}"));
    }
    if let Some(more) = sorted.len().checked_sub(SAMPLES).filter(|more| *more > 0) {
        let more = count(more, "other reason");
        lines.push(format!("      and {more}: see the manifest"));
    }
}

fn push_left_out(lines: &mut Vec<String>, facts: &RunFacts, style: Style) {
    let groups = LeftOutGroup::of(&facts.left_out);
    if groups.is_empty() {
        return;
    }
    lines.push(String::new());
    lines.push(style.strong("left out of the plan"));
    for group in groups.iter().take(GROUPS) {
        let LeftOutGroup {
            rule,
            reason,
            count: number,
            sample,
        } = group;
        lines.push(format!(
            "  {} x {}: {}",
            separated(*number),
            clean(rule),
            clean(reason)
        ));
        if let Some(first) = sample.first() {
            lines.push(format!("      such as {}", clean(first)));
        }
    }
    if groups.len() > GROUPS {
        lines.push(format!(
            "  and {} other reasons: see the manifest",
            separated(groups.len() - GROUPS)
        ));
    }
}

impl Reporter for Summary {
    fn report(&mut self, event: &Event) -> Result<(), ReportError> {
        match &event.kind {
            EventKind::RunStarted(facts) => self.facts = Some((**facts).clone()),
            EventKind::BuildFinished(report) => {
                for artifact in &report.artifacts {
                    *self.artifacts.entry(artifact.status).or_default() += 1;
                    if let Some(double) = &artifact.double {
                        *self.doubles.entry(double.result).or_default() += 1;
                        if double.result == DoubleResult::NotDone {
                            add_reason(&mut self.not_done, &double.message, report);
                        }
                    }
                    if let Some(proof) = &artifact.proof {
                        *self.proofs.entry(proof.result).or_default() += 1;
                        if proof.result == ProofResult::NotProven {
                            add_reason(&mut self.not_proven, &proof.message, report);
                        }
                    }
                    if let Some(other) = &artifact.name_taken_by {
                        let TakenNames { count, samples } = &mut self.taken_names;
                        *count += 1;
                        samples.insert(report.build_id.clone(), other.clone());
                        if samples.len() > SAMPLES {
                            samples.pop_last();
                        }
                    }
                }
                self.groups.add(report);
            }
            EventKind::Found(finding) => self.findings.push(finding.clone()),
            EventKind::Stopping { reason } => self.stopping = Some(reason.clone()),
            EventKind::RunFinished {
                duration,
                exit_code,
            } => {
                if let Some(facts) = &self.facts {
                    self.terminal
                        .print(&self.text(facts, *duration, *exit_code));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
