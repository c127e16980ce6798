//! `bundle`: the files that a plan needs, carried to a machine without a network.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};

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
    /// Fetch what is missing, and write all of it to one archive
    Export {
        /// The archive
        #[arg(value_name = "FILE")]
        bundle: PathBuf,
        #[command(flatten)]
        selection: Selection,
    },
    /// Take an archive into the store, every file compared with its digest
    Import {
        /// The archive
        #[arg(value_name = "FILE")]
        bundle: PathBuf,
    },
}

impl BundleArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let store = Arc::new(open_store(context, "bundle")?);
        match self.command {
            BundleCommand::Export { bundle, selection } => {
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
                for problem in notes.iter().chain(&replaced).chain(&missing) {
                    context.notice(problem);
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
                let size = size.map_err(|error| bundle_error(&bundle, error))?;
                crate::fs::rename(&partial, &bundle)?;
                context.notice(&said("wrote", size, &bundle));
                Ok(if missing.is_empty() {
                    ExitStatus::Success
                } else {
                    ExitStatus::Incomplete
                })
            }
            BundleCommand::Import { bundle } => {
                let file = std::fs::File::open(&bundle).map_err(FileError::of("read", &bundle))?;
                let size = said_while_reading(context, &bundle, || {
                    fetch::import(&store, std::io::BufReader::new(file))
                });
                let size = size.map_err(|error| bundle_error(&bundle, error))?;
                context.notice(&said("took in", size, &bundle));
                Ok(ExitStatus::Success)
            }
        }
    }
}

fn said(what: &str, bundled: BundleSize, bundle: &Path) -> String {
    let BundleSize { files, bytes } = bundled;
    let (files, bytes) = (count(files, "file"), size(bytes));
    format!("{what} {files}, {bytes}: {}", bundle.display())
}

fn bundle_error(bundle: &Path, error: BundleError) -> CliError {
    match error {
        BundleError::Store(error) => CliError::File(error),
        other => CliError::input(format!(
            "{}: {}",
            bundle.display(),
            crate::error::chain(&other)
        )),
    }
}
