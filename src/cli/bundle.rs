//! `bundle`: carries the files that a plan needs to a machine without a network.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::output::{AnswerFormat, print_json};
use super::{CliError, Context, ExitStatus, Selection};
use crate::fetch::{self, BundleError, BundleSize, Fetcher};
use crate::fs::FileError;
use crate::recipe::renew_sources;
use crate::resolve::{
    open_store, runtime, said_what_is_asked, said_while_busy, said_while_reading,
};
use crate::session::{Gathered, fetch_all};
use crate::text::{count, size};

/// Carry the files that a plan needs to a machine without a network
#[derive(Debug, Args)]
pub(super) struct BundleArguments {
    #[command(subcommand)]
    command: BundleCommand,
}

#[derive(Debug, Subcommand)]
enum BundleCommand {
    /// Download what is missing, and write all files to one archive
    Export {
        /// The archive
        #[arg(value_name = "FILE")]
        bundle: PathBuf,
        #[command(flatten)]
        format: AnswerFormat,
        #[command(flatten)]
        selection: Selection,
    },
    /// Import an archive into the store, comparing every file with its digest
    Import {
        /// The archive
        #[arg(value_name = "FILE")]
        bundle: PathBuf,
        #[command(flatten)]
        format: AnswerFormat,
    },
}

impl BundleArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let store = Arc::new(open_store(context, "bundle")?);
        match self.command {
            BundleCommand::Export {
                bundle,
                format,
                selection,
            } => {
                let planned = selection.plan(context, None)?;
                let fetcher = Fetcher::new(store, planned.fetch_settings());
                let runtime = runtime()?;
                let activity = fetcher.activity();
                let renewed = renew_sources(&fetcher, &planned.plan);
                let notes = runtime.block_on(said_what_is_asked(context, activity, renewed));
                let Gathered {
                    requests,
                    replaced,
                    missing,
                } = runtime.block_on(said_what_is_asked(
                    context,
                    activity,
                    fetch_all(&fetcher, &planned),
                ));
                if !format.is_json() {
                    for problem in notes.iter().chain(&replaced).chain(&missing) {
                        context.notice(problem);
                    }
                }
                let partial = bundle.with_extension("partial");
                let file = std::fs::File::options()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(&partial)
                    .map_err(FileError::of("write", &partial))?;
                let line = || format!("writing {}", bundle.display());
                let size = said_while_busy(context, line, || {
                    fetcher.export(&requests, BufWriter::new(file))
                });
                let size = size.map_err(|error| {
                    // An incomplete bundle is useless.
                    drop(std::fs::remove_file(&partial));
                    bundle_error(&partial, error, true)
                })?;
                crate::fs::rename(&partial, &bundle)?;
                let notes = [notes, replaced].concat();
                if format.is_json() {
                    print_json(&Answer::new(&bundle, size, &notes, &missing))?;
                } else {
                    context.notice(&said("wrote", size, &bundle));
                }
                Ok(if missing.is_empty() {
                    ExitStatus::Success
                } else {
                    ExitStatus::Incomplete
                })
            }
            BundleCommand::Import { bundle, format } => {
                let file = std::fs::File::open(&bundle).map_err(FileError::of("read", &bundle))?;
                let size = said_while_reading(context, &bundle, || {
                    fetch::import(&store, std::io::BufReader::new(file))
                });
                let size = size.map_err(|error| bundle_error(&bundle, error, false))?;
                if format.is_json() {
                    print_json(&Answer::new(&bundle, size, &[], &[]))?;
                } else {
                    context.notice(&said("imported", size, &bundle));
                }
                Ok(ExitStatus::Success)
            }
        }
    }
}

/// The files that a bundle contains, as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    schema: u32,
    bundle: &'a Path,
    file_count: usize,
    size_bytes: u64,
    notes: &'a [String],
    missing: &'a [String],
}

impl<'a> Answer<'a> {
    fn new(
        bundle: &'a Path,
        bundled: BundleSize,
        notes: &'a [String],
        missing: &'a [String],
    ) -> Self {
        Self {
            schema: 1,
            bundle,
            file_count: bundled.files,
            size_bytes: bundled.bytes,
            notes,
            missing,
        }
    }
}

fn said(what: &str, bundled: BundleSize, bundle: &Path) -> String {
    let BundleSize { files, bytes } = bundled;
    let (files, bytes) = (count(files, "file"), size(bytes));
    format!("{what} {files}, {bytes}: {}", bundle.display())
}

fn bundle_error(bundle: &Path, error: BundleError, is_write: bool) -> CliError {
    match error {
        BundleError::Store(error) => CliError::File(error),
        BundleError::Archive(cause) if is_write => {
            CliError::File(FileError::of("write", bundle)(cause))
        }
        other => CliError::input(format!(
            "{}: {}",
            bundle.display(),
            crate::error::chain(&other)
        )),
    }
}
