//! `cache`: shows the size of the store, shrinks it, and verifies its content.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::output::{AnswerFormat, print, print_json};
use super::{CliError, Context, ExitStatus};
use crate::cache::{self, CleanLimits, Defect};
use crate::fetch::wrong_records;
use crate::matrix::parse_size;
use crate::resolve::{open_store, said_while_busy, said_while_opening};
use crate::store::Store;
use crate::text::{count, separated, size};
use crate::unpack::tree_digest_of_folder;

/// Show and maintain what is stored between runs
#[derive(Debug, Args)]
pub(super) struct CacheArguments {
    #[command(subcommand)]
    command: CacheCommand,
}

#[derive(Debug, Subcommand)]
enum CacheCommand {
    /// Show the size of the store
    Stats {
        #[command(flatten)]
        format: AnswerFormat,
    },
    /// Remove what is not needed soon: trees, which can be unpacked again, and everything else that was not used for
    /// long
    Gc {
        /// Remove trees beyond this total size, least recently used first; 0 removes all
        #[arg(long, value_name = "SIZE", default_value = "20GiB", value_parser = parse_limit)]
        trees: u64,
        /// Remove packages, artifacts and outcomes that were not used for this many days
        #[arg(long, value_name = "DAYS", default_value = "90")]
        unused_days: u32,
        #[command(flatten)]
        format: AnswerFormat,
    },
    /// Compare everything with its digest
    Verify {
        /// Remove what is damaged; the next run rebuilds it
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        format: AnswerFormat,
    },
}

fn parse_limit(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { parse_size(text) }
}

impl CacheArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        match self.command {
            CacheCommand::Stats { format } => {
                let line = || format!("counting what is in {}", context.cache.display());
                let sizes = said_while_busy(context, line, || cache::sizes(&context.cache))?;
                if format.is_json() {
                    print_json(&sizes)?;
                } else {
                    print(&format!(
                        "{}\n  packages, artifacts, logs  {:>8}  {}\n  trees                      {:>8}  {}\n  outcomes                   {:>8}  {} of them failures\n",
                        context.cache.display(),
                        separated(number(sizes.blobs)),
                        size(sizes.blob_bytes),
                        separated(number(sizes.trees)),
                        size(sizes.tree_bytes),
                        separated(number(sizes.outcomes)),
                        separated(number(sizes.failures)),
                    ))?;
                }
                Ok(ExitStatus::Success)
            }
            CacheCommand::Gc {
                trees,
                unused_days,
                format,
            } => {
                let open = || Store::open_alone(&context.cache, "gc");
                let store = said_while_opening(context, open)?;
                let limits = CleanLimits {
                    tree_bytes: trees,
                    unused_for: Some(Duration::from_hours(24 * u64::from(unused_days))),
                };
                let line = || format!("cleaning up {}", context.cache.display());
                let cleaned = said_while_busy(context, line, || cache::clean(&store, limits))?;
                if format.is_json() {
                    print_json(&cleaned)?;
                } else {
                    print(&format!(
                        "removed {} ({}), {} ({}), {}\n",
                        count(number(cleaned.trees), "tree"),
                        size(cleaned.tree_bytes),
                        count(number(cleaned.blobs), "file"),
                        size(cleaned.blob_bytes),
                        count(number(cleaned.outcomes), "outcome"),
                    ))?;
                }
                Ok(ExitStatus::Success)
            }
            CacheCommand::Verify { remove, format } => {
                let id = format!("verify-{}", std::process::id());
                let store = if remove {
                    said_while_opening(context, || Store::open_alone(&context.cache, &id))?
                } else {
                    open_store(context, &id)?
                };
                let digest = |path: &std::path::Path| {
                    tree_digest_of_folder(path).map_err(|error| error.to_string())
                };
                let line = || format!("reading all of {}", context.cache.display());
                let verify = || cache::verify(&store, digest, remove);
                let mut defects = said_while_busy(context, line, verify)?;
                let damaged: HashSet<PathBuf> =
                    defects.iter().map(|defect| defect.path.clone()).collect();
                let is_damaged = |sha256| damaged.contains(&store.blob_path(sha256));
                let line = || "checking the recorded digests of URLs".to_owned();
                let records = said_while_busy(context, line, || wrong_records(&store, is_damaged))?;
                for (path, problem) in records {
                    if remove {
                        crate::fs::remove_file(&path)?;
                    }
                    defects.push(Defect { path, problem });
                }
                if format.is_json() {
                    print_json(&defects)?;
                } else if defects.is_empty() {
                    print("all contents match their digests\n")?;
                } else {
                    for defect in &defects {
                        print(&format!("{}: {}\n", defect.path.display(), defect.problem))?;
                    }
                    let what = if remove {
                        "removed"
                    } else {
                        "damaged; remove them with --remove"
                    };
                    context.notice(&format!("{} {what}", defects.len()));
                }
                Ok(if defects.is_empty() || remove {
                    ExitStatus::Success
                } else {
                    ExitStatus::Incomplete
                })
            }
        }
    }
}

fn number(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
