//! `bundle`: the files that a plan needs, carried to a machine without a network.

use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use futures_util::StreamExt as _;

use super::{CliError, Context, ExitStatus, Planned, Selection};
use crate::fetch::{self, BundleError, BundleSize, Fetcher, Request};
use crate::fs::FileError;
use crate::kernel::Architecture;
use crate::recipe::renew_sources;
use crate::run::{Need, needs};
use crate::store::Store;

/// So many files are fetched at once.
const AT_ONCE: usize = 8;

/// So many further addresses of a missing file are named.
const SHOWN: usize = 2;

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
        let store = Arc::new(Store::open(&context.cache, "bundle")?);
        match self.command {
            BundleCommand::Export { bundle, selection } => {
                let planned = selection.plan(context, None)?;
                let fetcher = Fetcher::new(store, planned.fetch_settings());
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| {
                        CliError::infrastructure(format!(
                            "failed to start the network runtime: {error}"
                        ))
                    })?;
                let notes = runtime.block_on(renew_sources(&fetcher, &planned.plan));
                let Gathered {
                    requests,
                    replaced,
                    missing,
                } = runtime.block_on(fetch_all(&fetcher, &planned));
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
                let size = fetcher
                    .export(&requests, BufWriter::new(file))
                    .map_err(bundle_error)?;
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
                let size =
                    fetch::import(&store, std::io::BufReader::new(file)).map_err(bundle_error)?;
                context.notice(&said("took in", size, &bundle));
                Ok(ExitStatus::Success)
            }
        }
    }
}

fn said(what: &str, size: BundleSize, bundle: &std::path::Path) -> String {
    let BundleSize { files, bytes } = size;
    format!("{what} {files} files, {bytes} bytes: {}", bundle.display())
}

fn bundle_error(error: BundleError) -> CliError {
    match error {
        BundleError::Store(error) => CliError::File(error),
        other => CliError::input(crate::error::chain(&other)),
    }
}

/// The files that the plan needs, with those that are in a distribution's list that is in the store.
pub(super) fn all_needs(fetcher: &Fetcher, planned: &Planned) -> Vec<Need> {
    needs(&planned.plan, Architecture::of_host(), |request| {
        let known = fetcher.known(&request.candidates, None)?;
        crate::fs::read_to_string(&fetcher.store().blob_path(known.sha256)).ok()
    })
}

/// What was brought into the store for a bundle.
#[derive(Default)]
struct Gathered {
    /// How each file is found in the store.
    requests: Vec<Request>,
    /// What is another file than a lock notes.
    replaced: Vec<String>,
    /// What cannot be had, with the reason.
    missing: Vec<String>,
}

/// Brings all files into the store.
async fn fetch_all(fetcher: &Fetcher, planned: &Planned) -> Gathered {
    let mut gathered = Gathered::default();
    // Once more for what a list names that was not there the first time.
    for _ in 0..2 {
        gathered.requests.clear();
        gathered.missing.clear();
        let needs = all_needs(fetcher, planned).into_iter();
        let mut fetched = futures_util::stream::iter(needs)
            .map(|need| fetch_need(fetcher, need))
            .buffered(AT_ONCE);
        while let Some(need) = fetched.next().await {
            match need {
                Ok((request, replaced)) => {
                    gathered.requests.push(request);
                    let is_new = |text: &String| !gathered.replaced.contains(text);
                    gathered.replaced.extend(replaced.filter(is_new));
                }
                Err(problem) => gathered.missing.push(problem),
            }
        }
    }
    gathered
}

/// Brings a file into the store. Where a lock only notes what it is and its servers have something else, that is taken;
/// the second value says so.
async fn fetch_need(fetcher: &Fetcher, need: Need) -> Result<(Request, Option<String>), String> {
    let Need {
        request,
        is_noted,
        wanted_by,
    } = need;
    let Err(error) = fetcher.fetch(&request).await else {
        return Ok((request, None));
    };
    let noted = request.sha256.filter(|_| is_noted);
    if let Some(noted) = noted {
        let anew = Request {
            sha256: None,
            size_bytes: None,
            ..request
        };
        if let Ok(fetched) = fetcher.fetch(&anew).await {
            let message = format!(
                "{} has SHA-256 {} and not {noted}, which a lock notes and no index published: what it has goes into the \
                 bundle; the next run that unpacks it corrects the lock",
                fetched.url, fetched.sha256
            );
            return Ok((anew, Some(message)));
        }
    }
    Err(format!("missing for {wanted_by}: {error}"))
}

/// The files that an offline run lacks: neither in the store nor at a place that may be asked.
pub(super) fn out_of_reach(fetcher: &Fetcher, planned: &Planned) -> Vec<String> {
    let needs = all_needs(fetcher, planned);
    let missing = needs
        .iter()
        .filter(|need| fetcher.is_out_of_reach(&need.request))
        // What an address gave counts more than a note where nobody can be asked.
        .filter(|need| !need.is_noted || fetcher.known(&need.request.candidates, None).is_none());
    missing
        .map(|need| {
            let places = places(&need.request.candidates);
            format!("missing for {}: {places}", need.wanted_by)
        })
        .collect()
}

/// Where a file can be; of guesses, of which there can be thirty, the first.
fn places(candidates: &[Arc<str>]) -> String {
    match candidates {
        [first, others @ ..] if others.len() > SHOWN => format!(
            "{first} or one of {} other URLs, which `kernels --headers` lists",
            others.len()
        ),
        all => all.join(" or "),
    }
}
