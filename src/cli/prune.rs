//! `prune`: removes published artifacts by rule.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::destination::{acl_parser, destination, new_runtime, public_url, said_at};
use super::output::{AnswerFormat, print, print_json};
use super::{CliError, Context, ExitStatus};
use crate::bucket::Acl;
use crate::driver::DriverVersion;
use crate::fs::{self, FileError};
use crate::publish::{
    AccessLog, Destination, Index, PrunePlan, PruneRules, apply_prune, plan_prune, undo_prune,
};
use crate::resolve::said_while_busy;
use crate::text::{count, separated};

/// Remove published artifacts of unsupported driver versions and of kernels that are gone
///
/// Prints what would be removed, and removes it only with --yes. A removal can be undone for some days. A kernel is
/// gone if the newest published run of its target, architecture and driver version does not have it.
#[derive(Debug, Args)]
pub(super) struct PruneArguments {
    /// The destination: `s3://BUCKET[/PREFIX]`, `gs://`, `az://`, `file:///DIRECTORY` or a directory
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// A supported driver version; all versions that are not given are removed
    #[arg(long, value_name = "VERSION", value_delimiter = ',')]
    keep_driver: Vec<DriverVersion>,
    /// Support only the N newest driver versions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    newest_drivers: Option<u16>,
    /// Remove artifacts of kernels that are gone for more than N days
    #[arg(long, value_name = "N")]
    gone_days: Option<u32>,
    /// Keep all artifacts that were requested according to this access log: a file, or a directory of files
    #[arg(long, value_name = "PATH")]
    access_log: Vec<PathBuf>,
    /// Remove the artifacts
    #[arg(long)]
    yes: bool,
    /// The maximum share of all artifacts that may be removed, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u8).range(0..=100))]
    max_share: u8,
    /// Remove the artifacts even if they are more than --max-share
    #[arg(long, requires = "yes")]
    yes_really: bool,
    /// Number of days for which a removal can be undone
    #[arg(long, value_name = "N", default_value_t = 30)]
    undo_days: u32,
    /// Restore the artifacts of an earlier removal, by the name that it printed
    #[arg(long, value_name = "NAME", conflicts_with_all = ["yes", "keep_driver", "newest_drivers", "gone_days"])]
    undo: Option<String>,
    /// Public URL of the destination, for the `download` fields of the site
    #[arg(long, value_name = "URL", value_parser = public_url)]
    public_url: Option<String>,
    /// Canned ACL of restored objects, as for `publish --acl`
    #[arg(long, value_name = "ACL", value_parser = acl_parser())]
    acl: Option<Acl>,
    #[command(flatten)]
    format: AnswerFormat,
}

impl PruneArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let destination = destination(self.to.as_os_str(), self.acl.as_ref())?;
        let runtime = new_runtime()?;
        let now = Timestamp::now();
        let public_url = self.public_url.as_deref();
        if let Some(id) = &self.undo {
            let back = said_at(context, &destination, "restoring at", || {
                runtime.block_on(undo_prune(&destination, id, public_url, now))
            })?;
            context.notice(&format!("restored {}", count(back, "artifact")));
            if self.format.is_json() {
                print_json(&json!({ "schema": 1, "brought_back": back }))?;
            }
            return Ok(ExitStatus::Success);
        }
        let rules = PruneRules {
            keep_drivers: self.keep_driver.clone(),
            newest_drivers: self.newest_drivers.map(usize::from),
            gone_days: self.gone_days,
        };
        if rules.is_empty() {
            return Err(CliError::Input {
                message: "no rule given".to_owned(),
                help: Some("use --keep-driver, --newest-drivers or --gone-days".to_owned()),
            });
        }
        let index = said_at(context, &destination, "reading the index of", || {
            runtime.block_on(destination.index())
        })?;
        let index = index.ok_or_else(|| CliError::Input {
            message: format!("{} has no index", destination.bucket().url()),
            help: Some("only artifacts that `publish` uploaded can be removed".to_owned()),
        })?;
        let line = || "reading the access logs".to_owned();
        let asked_for = said_while_busy(context, line, || self.read_access_logs(&index))?;
        let plan = plan_prune(&index, &rules, &asked_for);
        if self.format.is_json() {
            print_json(&plan)?;
        } else {
            print(&draw(&plan))?;
        }
        let percent = plan.percent();
        context.notice(&format!(
            "{} of {} ({percent} %) to remove{}",
            separated(plan.remove.len()),
            count(plan.total, "artifact"),
            match plan.asked_for.len() {
                0 => String::new(),
                kept => format!("; {} kept because they were requested", separated(kept)),
            }
        ));
        if plan.remove.is_empty() {
            return Ok(ExitStatus::Success);
        }
        if !self.yes {
            context.notice("nothing was removed; use --yes to remove");
            return Ok(ExitStatus::Success);
        }
        self.check_share(&plan)?;
        self.apply(context, &destination, &plan, now)
    }

    fn check_share(&self, plan: &PrunePlan) -> Result<(), CliError> {
        let is_too_much = plan.remove.len() * 100 > plan.total * usize::from(self.max_share);
        if !is_too_much || self.yes_really {
            return Ok(());
        }
        Err(CliError::Input {
            message: format!(
                "{} of {} is more than {} %: nothing was removed",
                separated(plan.remove.len()),
                count(plan.total, "artifact"),
                self.max_share
            ),
            help: Some("check the list, then add --yes-really or a higher --max-share".to_owned()),
        })
    }

    fn apply(
        &self,
        context: &Context,
        destination: &Destination,
        plan: &PrunePlan,
        now: Timestamp,
    ) -> Result<ExitStatus, CliError> {
        let public_url = self.public_url.as_deref();
        let removal = apply_prune(destination, plan, self.undo_days, public_url, now);
        let runtime = new_runtime()?;
        let pruned = said_at(context, destination, "removing from", || {
            runtime.block_on(removal)
        })?;
        context.notice(&format!(
            "removed {}; for {}, `prune {} --undo {}` restores them",
            count(pruned.removed, "artifact"),
            count(usize::try_from(self.undo_days).unwrap_or(usize::MAX), "day"),
            destination.bucket().url(),
            pruned.id
        ));
        if pruned.forgotten > 0 {
            context.notice(&format!(
                "{} can no longer be undone",
                count(pruned.forgotten, "earlier removal")
            ));
        }
        Ok(ExitStatus::Success)
    }

    fn read_access_logs(&self, index: &Index) -> Result<AccessLog, CliError> {
        let mut asked_for = AccessLog::default();
        for path in &self.access_log {
            for file in files_of(path)? {
                let bytes = fs::read(&file)?;
                asked_for.add(&String::from_utf8_lossy(&bytes), index);
            }
        }
        if !self.access_log.is_empty() && asked_for.is_empty() {
            return Err(CliError::Input {
                message: "the access log has no request for a published artifact".to_owned(),
                help: Some(
                    "give the uncompressed log of this destination, or omit --access-log to let the rules alone decide"
                        .to_owned(),
                ),
            });
        }
        Ok(asked_for)
    }
}

/// Returns the files of a log.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, CliError> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
        let entry = entry.map_err(|error| FileError::of("read", path)(error.into()))?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

fn draw(plan: &PrunePlan) -> String {
    let mut text = String::new();
    for (key, reason) in &plan.remove {
        let _ = writeln!(text, "remove  {key}: {reason}");
    }
    for key in &plan.asked_for {
        let _ = writeln!(text, "keep    {key}: it was requested");
    }
    text
}
