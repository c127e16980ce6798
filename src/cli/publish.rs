//! `publish`, and `run --publish`: uploads artifacts of runs to a bucket or a directory.

mod of_run;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;

use super::destination::{acl_parser, destination, new_runtime, public_url, said_at, traffic};
use super::output::{AnswerFormat, print, print_json};
use super::{CliError, Context, ExitStatus};
use crate::bucket::Acl;
use crate::fs;
use crate::publish::{
    self, Destination, Finding, Item, Night, PublishOptions, PublishReport, RowState, audit,
    items_of, repair,
};
use crate::report::{Manifest, STATE_FOLDER, read_manifest, shards_in};
use crate::resolve::said_while_busy;
use crate::text::{count, separated};

pub(super) use of_run::{RunPublishArguments, unpublished};

/// The version of the JSON output.
const SCHEMA: u32 = 1;

/// The maximum number of printed rows of one kind.
const PRINTED: usize = 20;

/// Publish the artifacts of runs to a bucket or a directory
///
/// Uploads what changed to `<driver version>/<architecture>/<name>` below TO, verifies it, then replaces the index
/// (index.json, SHA256SUMS and the files of Falco's driver site) last. Only artifacts that a manifest marks as
/// verified are uploaded, and no artifact overwrites one of another kernel. An interrupted publication is continued
/// by the next one. Credentials come from the environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`) or the machine's role.
#[derive(Debug, Args)]
pub(super) struct PublishArguments {
    /// Output directories of runs [default: out], and the destination: `s3://BUCKET[/PREFIX]`, `gs://`, `az://`,
    /// `file:///DIRECTORY` or a directory
    #[arg(value_name = "FROM> <TO", num_args = 1.., required = true)]
    places: Vec<PathBuf>,
    #[command(flatten)]
    audit: AuditArguments,
    #[command(flatten)]
    upload: UploadArguments,
    #[command(flatten)]
    format: AnswerFormat,
}

/// Flags for comparing instead of publishing.
#[derive(Debug, Args)]
#[command(next_help_heading = "Audit")]
struct AuditArguments {
    /// Compare the destination with its index, and with the manifests in FROM if given; change nothing
    ///
    /// Finds artifacts that are missing, different, unpublished or foreign, and logs without an artifact. Exit code 1
    /// if anything was found.
    #[arg(long)]
    audit: bool,
    /// Repair what the audit finds: upload again, remove entries of missing objects from the index; foreign objects
    /// stay
    #[arg(long, requires = "audit")]
    repair: bool,
    /// Download every object in the audit and compare its digest
    #[arg(long, requires = "audit", conflicts_with = "repair")]
    read_contents: bool,
}

/// Flags of uploads.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Publishing")]
pub(super) struct UploadArguments {
    /// Skip artifacts whose name already exists at the destination, also if another program published them; `run`
    /// does not build them
    ///
    /// For a destination without an index: lists each directory (driver version and architecture) once, without a
    /// request per artifact.
    #[arg(long)]
    skip_published: bool,
    /// Replace objects that differ from the index; names of other kernels stay
    #[arg(long)]
    replace_foreign: bool,
    /// Maximum number of concurrent uploads
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    uploads: u16,
    /// Cache-Control of the artifacts
    #[arg(long, value_name = "VALUE")]
    cache_control: Option<String>,
    /// Content-Type of the artifacts
    #[arg(long, value_name = "TYPE", default_value = "application/octet-stream")]
    content_type: String,
    /// Canned ACL of all written objects, for buckets of S3 and Google that have ACLs
    #[arg(long, value_name = "ACL", value_parser = acl_parser())]
    acl: Option<Acl>,
    /// Also publish the logs of the artifacts, below .logs/
    #[arg(long)]
    with_logs: bool,
    /// Public URL of the destination, for the `download` fields of the site
    #[arg(long, value_name = "URL", value_parser = public_url)]
    public_url: Option<String>,
}

impl UploadArguments {
    fn options(&self) -> PublishOptions {
        PublishOptions {
            uploads: usize::from(self.uploads),
            cache_control: self.cache_control.clone(),
            content_type: self.content_type.clone(),
            with_logs: self.with_logs,
            public_url: self.public_url.clone(),
            skip_published: self.skip_published,
            replace_foreign: self.replace_foreign,
        }
    }
}

impl PublishArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let (to, from) = self
            .places
            .split_last()
            .ok_or_else(|| CliError::input("no destination given"))?;
        let destination = destination(to.as_os_str(), self.upload.acl.as_ref())?;
        let from = match from {
            [] if self.audit.audit => Vec::new(),
            [] => vec![PathBuf::from("out")],
            from => from.to_vec(),
        };
        let now = Timestamp::now();
        let (nights, items) = read_nights(context, &from, now)?;
        let options = self.upload.options();
        let runtime = new_runtime()?;
        if !self.audit.audit {
            let work = publish::publish(&destination, &nights, &items, &options, now);
            let report = said_at(context, &destination, "publishing to", || {
                runtime.block_on(work)
            })?;
            if self.format.is_json() {
                print_json(&serde_json::json!({ "schema": SCHEMA, "rows": report.rows }))?;
            }
            return tell(context, &destination, &from, &report);
        }
        if self.audit.repair {
            let report = said_at(context, &destination, "repairing", || {
                runtime.block_on(repair(&destination, &items, &options, now))
            })?;
            tell_report(context, &destination, &report);
        }
        let found = said_at(context, &destination, "comparing", || {
            runtime.block_on(audit(&destination, &items, self.audit.read_contents))
        })?;
        if found.good == 0 && found.findings.is_empty() {
            return Err(CliError::Input {
                message: format!("nothing is published at {}", destination.bucket().url()),
                help: Some(
                    "check the URL: a destination has an index once `publish` wrote to it"
                        .to_owned(),
                ),
            });
        }
        if self.format.is_json() {
            print_json(&serde_json::json!({
                "schema": SCHEMA,
                "good": found.good,
                "findings": found.findings,
            }))?;
        } else {
            let mut text = String::new();
            for finding in &found.findings {
                let Finding { kind, key, detail } = finding;
                let _ = writeln!(text, "{kind:<12}  {key}: {detail}");
            }
            print(&text)?;
        }
        context.notice(&format!(
            "{} match the index, {} at {}",
            count(found.good, "artifact"),
            count(found.findings.len(), "finding"),
            destination.bucket().url(),
        ));
        Ok(if found.findings.is_empty() {
            ExitStatus::Success
        } else {
            ExitStatus::Incomplete
        })
    }
}

/// Returns the runs in output directories, and the items to publish.
fn read_nights(
    context: &Context,
    from: &[PathBuf],
    now: Timestamp,
) -> Result<(Vec<Night>, Vec<Item>), CliError> {
    let line = || {
        let from: Vec<String> = from.iter().map(|out| out.display().to_string()).collect();
        format!("reading {}", from.join(", "))
    };
    said_while_busy(context, line, || {
        let nights = nights(from)?;
        let items = items_of(&nights, now);
        Ok((nights, items))
    })
}

/// Reads the runs in output directories. A directory with the output directories of shards is replaced by these.
fn nights(from: &[PathBuf]) -> Result<Vec<Night>, CliError> {
    let read = |out: PathBuf| -> Result<Night, CliError> {
        let manifest: Manifest = read_manifest(&out)?;
        Ok(Night { out, manifest })
    };
    let outs = from.iter().flat_map(|out| match shards_in(out) {
        shards if shards.is_empty() => vec![out.clone()],
        shards => shards,
    });
    outs.map(read).collect()
}

/// Reports the result of a publication, and writes its rows beside the manifest.
fn tell(
    context: &Context,
    destination: &Destination,
    from: &[PathBuf],
    report: &PublishReport,
) -> Result<ExitStatus, CliError> {
    tell_report(context, destination, report);
    let mut text = String::new();
    for row in &report.rows {
        text += &serde_json::to_string(row)
            .map_err(|error| CliError::infrastructure(error.to_string()))?;
        text.push('\n');
    }
    for out in from {
        fs::write(&out.join(STATE_FOLDER).join("published.jsonl"), &text)?;
    }
    Ok(status_of(report))
}

fn status_of(report: &PublishReport) -> ExitStatus {
    let failed = report.count(RowState::is_failed);
    let is_there = report.rows.len() > failed;
    match failed {
        0 => ExitStatus::Success,
        // The destination rejects everything.
        _ if !is_there && is_over(report) => ExitStatus::Infrastructure,
        _ => ExitStatus::Incomplete,
    }
}

/// Returns true if the remaining uploads were abandoned.
fn is_over(report: &PublishReport) -> bool {
    let is_refusal = |state: &RowState| match state {
        RowState::Failed { class, .. } => {
            !["changed", "damaged", "files"].contains(&class.as_str())
        }
        _ => false,
    };
    report.rows.iter().all(|row| is_refusal(&row.state))
}

fn tell_report(context: &Context, destination: &Destination, report: &PublishReport) {
    let failed = report
        .rows
        .iter()
        .filter_map(|row| match &row.state {
            RowState::Failed {
                class,
                reason,
                help,
            } => Some((&row.key, class, reason, help)),
            _ => None,
        })
        .collect::<Vec<_>>();
    for (key, class, reason, _) in failed.iter().take(PRINTED) {
        context.notice(&format!("publish: failed  {key} ({class}): {reason}"));
    }
    if failed.len() > PRINTED {
        context.notice(&format!(
            "... and {} more: .driverkit-matrix/published.jsonl lists all",
            separated(failed.len() - PRINTED)
        ));
    }
    // Print each advice once.
    let advice: BTreeSet<&String> = failed.iter().filter_map(|row| row.3.as_ref()).collect();
    for help in advice {
        context.notice(&format!("help: {help}"));
    }
    let of = |state: RowState| report.count(|one| *one == state);
    let skipped = of(RowState::Skipped);
    let mut parts = vec![
        format!("{} published", separated(of(RowState::Published))),
        format!("{} unchanged", separated(of(RowState::Unchanged))),
    ];
    for (number, word) in [
        (of(RowState::Found), "found"),
        (skipped, "skipped"),
        (failed.len(), "failed"),
    ] {
        if number > 0 {
            parts.push(format!("{} {word}", separated(number)));
        }
    }
    context.notice(&format!(
        "{}: {} ({})",
        destination.bucket().url(),
        parts.join(", "),
        traffic(destination.bucket().traffic())
    ));
}
