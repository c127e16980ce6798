//! `explain`: shows the key fields of a build's steps, their cached outcomes, and what changed since the last run.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::execution::Execution;
use super::explanation::{Change, Comparison, sentence};
use super::output::{AnswerFormat, print, print_json};
use super::run::RunArguments;
use super::{CliError, Context, ExitStatus, Selection, completing};
use crate::cache::{Outcomes, StepResult};
use crate::digest::KeyBuilder;
use crate::engine::Asked;
use crate::plan::BuildId;
use crate::report::{manifest_file, read_manifest};
use crate::resolve::{LockUse, said_while_reading};
use crate::run::explain;
use crate::text::size;

/// Say whether a build is cached, and why it would be rebuilt; changes nothing and opens no connection
///
/// With --verbose, show each step with its key fields, and what changed since the last run.
#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// The build, as `plan` prints it: <driver version>/<machine>/<target>_<release>_<version>
    #[arg(value_name = "BUILD", add = completing::builds())]
    build: String,
    /// Matrix files [default: matrices/*.toml]
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,
    /// Output directory of the run to compare with
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    #[command(flatten)]
    format: AnswerFormat,
    #[command(flatten)]
    execution: Execution,
}

#[derive(Debug, serde::Serialize)]
struct Explanation {
    build_id: BuildId,
    /// The cached outcomes in one sentence, for a person.
    sentence: String,
    steps: Vec<Asked>,
    since_last_run: Vec<Comparison>,
}

impl ExplainArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let selection = Selection {
            files: self.files,
            only: vec![self.build.clone()],
            // `explain` must not refresh a lock.
            lock_use: LockUse::AsIs,
            ..Selection::default()
        };
        let run = RunArguments::of_one(selection, self.out, self.execution);
        let planned = run.plan(context)?;
        let build = planned
            .plan
            .builds
            .first()
            .ok_or_else(|| CliError::input(format!("no build is called `{}`", self.build)))?;
        let parts = run.parts_to_read(context, &planned)?;
        let outcomes = Outcomes::new(parts.store.root());
        let settings = run.settings();
        let steps = explain(parts, &settings, &planned.plan, build);
        let since_last_run = said_while_reading(context, &run.out, || {
            compare(&run.out, &build.id(), &steps, &outcomes)
        })?;
        let explanation = Explanation {
            build_id: build.id(),
            sentence: sentence(&build.artifacts, &steps, &since_last_run, &outcomes),
            since_last_run,
            steps,
        };
        if self.format.is_json() {
            print_json(&explanation)?;
        } else {
            print(&draw(&explanation, context.verbosity > 0))?;
        }
        Ok(ExitStatus::Success)
    }
}

/// Compares the keys with those in the manifest of the last run.
fn compare(
    out: &Path,
    build: &BuildId,
    steps: &[Asked],
    outcomes: &Outcomes,
) -> Result<Vec<Comparison>, CliError> {
    let path = manifest_file(out);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let manifest = read_manifest(&path)?;
    let Some(record) = manifest
        .builds
        .iter()
        .find(|record| record.build_id == *build)
    else {
        return Ok(Vec::new());
    };
    let mut comparisons = Vec::new();
    for report in &record.artifacts {
        let Some(key_before) = report.key else {
            continue;
        };
        let step = format!("{}/", report.artifact);
        let now = steps
            .iter()
            .find(|asked| asked.inputs.step().starts_with(&step));
        let before = outcomes.find(key_before)?;
        let changes = match (&before, now) {
            (Some(before), Some(now)) => differences(&before.inputs, &now.inputs),
            _ => Vec::new(),
        };
        comparisons.push(Comparison {
            artifact: report.artifact,
            key_before,
            key_now: now.map(|asked| asked.key),
            changes,
        });
    }
    Ok(comparisons)
}

fn differences(before: &KeyBuilder, now: &KeyBuilder) -> Vec<Change> {
    let value = |key: &KeyBuilder, field: &str| {
        let found = key.fields().find(|(name, _)| *name == field);
        found.map(|(_, value)| value.to_owned())
    };
    let fields = before.fields().chain(now.fields());
    let names = fields.map(|(name, _)| name);
    let mut seen: Vec<&str> = Vec::new();
    let mut changes = Vec::new();
    for name in names {
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let change = Change {
            field: name.to_owned(),
            before: value(before, name),
            now: value(now, name),
        };
        if change.before != change.now {
            changes.push(change);
        }
    }
    changes
}

fn draw(explanation: &Explanation, is_verbose: bool) -> String {
    let mut text = format!("{}\n", explanation.sentence);
    if !is_verbose {
        return text;
    }
    let _ = writeln!(text, "\n{}", explanation.build_id);
    // Writing to a String cannot fail.
    for asked in &explanation.steps {
        let state = match &asked.result {
            None => "not cached: a run would execute it".to_owned(),
            Some(result) => describe(result),
        };
        let _ = writeln!(
            text,
            "\n{} {}\n  {state}",
            asked.inputs.step(),
            asked.key.short()
        );
        for (name, value) in asked.inputs.fields() {
            let _ = writeln!(text, "    {name}: {value}");
        }
    }
    for comparison in &explanation.since_last_run {
        let _ = writeln!(text, "\n{} since the last run:", comparison.artifact);
        match comparison.key_now {
            Some(now) if now == comparison.key_before => text.push_str("  nothing changed\n"),
            Some(_) if comparison.changes.is_empty() => {
                text.push_str(
                    "  the key changed; the fields of the old one are no longer in the cache\n",
                );
            }
            None => text.push_str("  unknown until the steps above are cached\n"),
            Some(_) => {}
        }
        for change in &comparison.changes {
            let show =
                |value: &Option<String>| value.clone().unwrap_or_else(|| "(absent)".to_owned());
            let _ = writeln!(
                text,
                "  {}: {} -> {}",
                change.field,
                show(&change.before),
                show(&change.now)
            );
        }
    }
    text
}

fn describe(result: &StepResult) -> String {
    match result {
        StepResult::Tree { sha256, .. } => format!("cached: tree {}", sha256.short()),
        StepResult::Facts(_) => "cached".to_owned(),
        StepResult::Check { passed: true } => "cached: yes".to_owned(),
        StepResult::Check { passed: false } => "cached: no".to_owned(),
        StepResult::Artifact(facts) => format!(
            "cached: {}, {}",
            size(facts.size_bytes),
            facts.sha256.short()
        ),
        StepResult::Failure(failure) => format!("cached: {failure}"),
    }
}
