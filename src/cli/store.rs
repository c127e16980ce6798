//! `store`: shows and cleans up the shared store, and archives files in it that mirrors will delete.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{AnswerFormat, print, print_json};
use super::shared_store::StoreArguments;
use super::{CliError, Context, ExitStatus, Selection};
use crate::fetch::Fetcher;
use crate::remote;
use crate::resolve::{Sources, open_store, said_what_is_asked, said_while_busy};
use crate::session::{OpenStore, archive, new_run_id, new_runtime, of_remote};
use crate::text::{count, separated, size};

/// Maintain the store that machines share
#[derive(Debug, Args)]
pub(super) struct SharedStoreArguments {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Show the size of the store, and the packs that are not trusted
    Status {
        /// Matrices; one may configure the store
        #[arg(value_name = "MATRIX")]
        matrices: Vec<PathBuf>,
        #[command(flatten)]
        format: AnswerFormat,
        #[command(flatten)]
        store: StoreArguments,
    },
    /// Merge the packs of runs, and remove unreferenced contents; safe during runs
    Gc {
        /// Matrices; one may configure the store
        #[arg(value_name = "MATRIX")]
        matrices: Vec<PathBuf>,
        /// Remove contents that have been unreferenced for this many days
        #[arg(long, value_name = "DAYS", default_value = "3")]
        grace_days: u32,
        #[command(flatten)]
        format: AnswerFormat,
        #[command(flatten)]
        store: StoreArguments,
    },
    /// Store the headers of a plan's kernels while mirrors still have them
    Fetch {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        format: AnswerFormat,
        #[command(flatten)]
        store: StoreArguments,
    },
}

fn none() -> CliError {
    CliError::Input {
        message: "no shared store configured".to_owned(),
        help: Some("give --store URL, DRIVERKIT_MATRIX_STORE or [store] in a matrix".to_owned()),
    }
}

impl SharedStoreArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        match self.command {
            StoreCommand::Status {
                matrices,
                format,
                store,
            } => {
                let sources = Sources::read_named(&matrices)?;
                let request = store.reading();
                let opened = OpenStore::open(&request, context, &sources.matrices, &new_run_id())?;
                let opened = opened.ok_or_else(none)?;
                let summary = opened.remote().summary();
                if format.is_json() {
                    print_json(&summary)?;
                } else {
                    print(&format!(
                        "{}\n  {}, {}\n  {}, {}\n  {} to read them\n",
                        opened.remote().url(),
                        count(summary.packs, "pack"),
                        count(summary.outcomes, "outcome"),
                        count(summary.contents, "content"),
                        size(summary.content_bytes),
                        count(
                            usize::try_from(opened.remote().traffic().requests).unwrap_or_default(),
                            "request"
                        ),
                    ))?;
                }
                Ok(if summary.refused.is_empty() {
                    ExitStatus::Success
                } else {
                    ExitStatus::Incomplete
                })
            }
            StoreCommand::Gc {
                matrices,
                grace_days,
                format,
                store,
            } => {
                let sources = Sources::read_named(&matrices)?;
                let settings = store
                    .request()
                    .settings(&sources.matrices)?
                    .ok_or_else(none)?;
                let grace = Duration::from_hours(24 * u64::from(grace_days));
                let cleaning =
                    remote::clean(&settings.bucket, &settings.trust, &context.cache, grace);
                let runtime = new_runtime()?;
                let line = || format!("cleaning up {}", settings.bucket.url);
                let cleaned = said_while_busy(context, line, || runtime.block_on(cleaning));
                let cleaned = cleaned.map_err(of_remote)?;
                for refused in &cleaned.refused {
                    context.notice(refused);
                }
                if format.is_json() {
                    print_json(&cleaned)?;
                } else {
                    print(&format!(
                        "merged {}; removed {}, {}; {} still unreferenced\n",
                        count(cleaned.merged, "pack"),
                        count(cleaned.removed, "content"),
                        size(cleaned.removed_bytes),
                        count(cleaned.unnamed - cleaned.removed, "content"),
                    ))?;
                }
                Ok(if cleaned.refused.is_empty() {
                    ExitStatus::Success
                } else {
                    ExitStatus::Incomplete
                })
            }
            StoreCommand::Fetch {
                selection,
                format,
                store,
            } => fetch(context, &selection, format, &store),
        }
    }
}

fn fetch(
    context: &Context,
    selection: &Selection,
    format: AnswerFormat,
    store: &StoreArguments,
) -> Result<ExitStatus, CliError> {
    let planned = selection.plan(context, None)?;
    let run_id = new_run_id();
    let opened = store.open(context, planned.matrix_files(), &run_id)?;
    let opened = opened.ok_or_else(none)?;
    let store = opened.share(open_store(context, &run_id)?);
    let fetcher = Fetcher::new(Arc::clone(&store), planned.fetch_settings());
    let runtime = new_runtime()?;
    let archived = archive(&fetcher, &planned, opened.remote());
    let archived = said_what_is_asked(context, fetcher.activity(), archived);
    let archived = runtime.block_on(archived);
    for problem in &archived.missing {
        context.notice(problem);
    }
    let told = said_while_busy(context, opened.sending(), || opened.wait());
    for message in &told.messages {
        context.notice(message);
    }
    context.notice(&format!(
        "{}: {} needed, {} already stored, {} unavailable",
        opened.remote().url(),
        count(archived.files, "file"),
        separated(archived.known),
        separated(archived.missing.len())
    ));
    if format.is_json() {
        print_json(&json!({
            "schema": 1,
            "files": archived.files,
            "known": archived.known,
            "missing": archived.missing,
            "is_complete": told.is_complete,
        }))?;
    }
    Ok(if !told.is_complete {
        ExitStatus::Infrastructure
    } else if archived.missing.is_empty() {
        ExitStatus::Success
    } else {
        ExitStatus::Incomplete
    })
}
