//! `why`: explains what is known about a kernel or a build.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::destination::no_run;
use super::output::{AnswerFormat, print, print_json};
use super::{CliError, Context, ExitStatus, completing};
use crate::diagnostic::nearest;
use crate::discover::lock::{self, Lock, LockedKernel, State};
use crate::history::{LockedFacts, Query, of_earlier, why};
use crate::report::{
    Manifest, ManifestError, earlier_manifests, find_rows, manifest_file, newest_complete,
    shards_in,
};
use crate::resolve::said_while_reading;

/// Explain why a kernel has a driver or lacks one
///
/// Shows when and with what it was built, which rule in which file leaves it out, since when it fails, and which rule
/// expects that until when. If no source ever named the kernel, shows the most similar release.
#[derive(Debug, Args)]
pub(super) struct WhyArguments {
    /// A kernel release, the name of a build, or a part of either
    #[arg(value_name = "KERNEL|BUILD", add = completing::builds_of_run())]
    what: String,
    /// Output directory of the run, or a directory with those of its shards
    #[arg(long, value_name = "DIR", default_value = "out")]
    out: PathBuf,
    #[command(flatten)]
    format: AnswerFormat,
}

/// The answer as JSON.
#[derive(Serialize)]
struct Answer<'a> {
    schema: u32,
    asked: &'a str,
    /// What is known, for people; empty if no source ever named the kernel.
    answers: Vec<String>,
    /// The most similar release, if no source ever named the kernel.
    nearest: Option<&'a str>,
    /// The locks that could not be read because their matrices do not exist in the current directory.
    not_searched: Vec<PathBuf>,
}

impl WhyArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let query = Query(&self.what);
        let places = self.places()?;
        let read = || read_rows(&places, query);
        let night = said_while_reading(context, &self.out, read)?;
        let mut found = why(&night, query, &[]);
        let mut locks = Locks::default();
        if found.is_empty() {
            locks = Locks::read(&night)?;
            found = why(&night, query, &locks.facts());
            let read = || in_earlier(&places, query);
            let earlier = said_while_reading(context, &self.out, read)?;
            found.splice(0..0, earlier);
        }
        if !found.is_empty() {
            if self.format.is_json() {
                self.print_answer(found, None, &locks)?;
            } else {
                print(&(found.join("\n\n") + "\n"))?;
            }
            return Ok(ExitStatus::Success);
        }
        let nearest = locks.nearest(&self.what);
        if self.format.is_json() {
            self.print_answer(Vec::new(), nearest, &locks)?;
        }
        let nearest = nearest.map(|nearest| format!("; the most similar is `{nearest}`"));
        let nearest = nearest.unwrap_or_default();
        let (what, out) = (&self.what, self.out.display());
        let gaps = gaps(&night, &places, &locks);
        context.notice(&if gaps.is_empty() {
            format!("no source has ever named `{what}`, and the run in {out} has no build of it{nearest}")
        } else {
            format!(
                "the runs in {out} have no build of `{what}`, and not everything could be searched: {}{nearest}",
                gaps.join("; ")
            )
        });
        Ok(ExitStatus::Incomplete)
    }

    /// Returns the output directory of the run, or those of its shards.
    fn places(&self) -> Result<Vec<PathBuf>, CliError> {
        if manifest_file(&self.out).exists() {
            return Ok(vec![self.out.clone()]);
        }
        let shards = shards_in(&self.out);
        if shards.is_empty() {
            return Err(no_run(
                &self.out,
                "name the output directory of a run with --out DIR",
            ));
        }
        Ok(shards)
    }

    fn print_answer(
        &self,
        answers: Vec<String>,
        nearest: Option<&str>,
        locks: &Locks,
    ) -> Result<(), CliError> {
        print_json(&Answer {
            schema: 1,
            asked: &self.what,
            answers,
            nearest,
            not_searched: locks
                .missing
                .iter()
                .map(|matrix| lock::path_of(matrix))
                .collect(),
        })
    }
}

/// Reads the rows of the last run in each place.
fn read_rows(places: &[PathBuf], query: Query<'_>) -> Result<Vec<Manifest>, ManifestError> {
    let texts = query.texts();
    let files = places.iter().map(|place| manifest_file(place));
    files.map(|file| find_rows(&file, &texts)).collect()
}

/// Returns what the newest earlier run that has the kernel or build says about it, with an introduction.
fn in_earlier(places: &[PathBuf], query: Query<'_>) -> Result<Vec<String>, CliError> {
    let mut paths = Vec::new();
    for place in places {
        paths.extend(earlier_manifests(place)?);
    }
    // The names start with the time.
    paths.sort_by(|left, right| right.file_name().cmp(&left.file_name()));
    let texts = query.texts();
    for path in paths {
        // A manifest that cannot be read is skipped.
        let Ok(manifest) = find_rows(&manifest_file(&path), &texts) else {
            continue;
        };
        let night = [manifest];
        let mut found = why(&night, query, &[]);
        if !found.is_empty() {
            found.insert(0, of_earlier(&night));
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Returns the reasons why an unknown kernel may have been named nevertheless.
fn gaps(night: &[Manifest], places: &[PathBuf], locks: &Locks) -> Vec<String> {
    let mut gaps = Vec::new();
    let has_complete = |place: &PathBuf| matches!(newest_complete(place), Ok(Some(_)));
    for (manifest, place) in night.iter().zip(places) {
        let shortfall = manifest.run.extent().shortfall();
        // A shard is no complete night, but its manifest has all that it covers.
        if let Some(shortfall) = shortfall
            && !manifest.run.extent().is_of_shard()
            && !has_complete(place)
        {
            gaps.push(format!("run {} {shortfall}", manifest.run.id));
        }
    }
    gaps.extend(locks.missing.iter().map(|matrix| {
        let lock = lock::path_of(matrix);
        format!(
            "{} does not exist in the current directory, so its lock {} was not read",
            matrix.display(),
            lock.display()
        )
    }));
    gaps
}

/// What the locks beside the matrices of a run have.
#[derive(Default)]
struct Locks {
    /// Each kernel with its lock.
    kernels: Vec<(PathBuf, LockedKernel)>,
    /// The matrices that do not exist, so that their locks are not found.
    missing: Vec<PathBuf>,
}

impl Locks {
    fn read(night: &[Manifest]) -> Result<Self, CliError> {
        let mut locks = Self::default();
        let named = night.iter().flat_map(|shard| &shard.matrices);
        let matrices: BTreeSet<&Path> = named.map(|matrix| Path::new(&matrix.name)).collect();
        for matrix in matrices {
            let path = lock::path_of(matrix);
            match Lock::read(&path)? {
                Some(lock) => {
                    let kernels = lock.kernels.into_iter();
                    locks
                        .kernels
                        .extend(kernels.map(|kernel| (path.clone(), kernel)));
                }
                // Without a lock, all kernels are in the matrix itself.
                None if matrix.exists() => {}
                None => locks.missing.push(matrix.to_owned()),
            }
        }
        Ok(locks)
    }

    fn facts(&self) -> Vec<LockedFacts> {
        let kernels = self.kernels.iter();
        kernels.map(|(lock, one)| facts(lock, one)).collect()
    }

    /// Returns the release that is most similar to `what`.
    fn nearest(&self, what: &str) -> Option<&str> {
        let kernels = self.kernels.iter();
        let releases: BTreeSet<&str> = kernels
            .map(|(_, one)| one.kernel.release.as_str())
            .collect();
        nearest(what, releases)
    }
}

fn facts(lock: &Path, locked: &LockedKernel) -> LockedFacts {
    LockedFacts {
        lock: lock.display().to_string(),
        kernel: Arc::clone(&locked.kernel),
        first_seen: locked.first_seen,
        gone: match locked.state {
            State::Gone(day) => Some(day),
            State::Confirmed | State::Unconfirmed(_) => None,
        },
    }
}
