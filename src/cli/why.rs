//! `why`: explains what is known about a kernel or a build.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::output::{AnswerFormat, print, print_json};
use super::{CliError, Context, ExitStatus, completing};
use crate::diagnostic::nearest;
use crate::discover::lock::{self, Lock, LockedKernel, State};
use crate::history::{LockedFacts, Query, why};
use crate::report::{Manifest, find_rows, manifest_file};
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
    /// Output directory of the run
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
}

impl WhyArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let file = manifest_file(&self.out);
        if !file.exists() {
            return Err(CliError::Input {
                message: format!("{} does not exist", file.display()),
                help: Some("name the output directory of a run with --out DIR".to_owned()),
            });
        }
        let manifest = said_while_reading(context, &file, || find_rows(&file, &self.what))?;
        let query = Query(&self.what);
        let mut found = why(&manifest, query, &[]);
        let mut locked = Vec::new();
        if found.is_empty() {
            locked = locked_kernels(&manifest)?;
            let facts: Vec<LockedFacts> = locked
                .iter()
                .filter(|(_, one)| one.kernel.release.as_str() == self.what)
                .map(|(lock, one)| facts(lock, one))
                .collect();
            found = why(&manifest, query, &facts);
        }
        if !found.is_empty() {
            if self.format.is_json() {
                self.print_answer(found, None)?;
            } else {
                print(&(found.join("\n\n") + "\n"))?;
            }
            return Ok(ExitStatus::Success);
        }
        let releases: BTreeSet<&str> = locked
            .iter()
            .map(|(_, one)| one.kernel.release.as_str())
            .collect();
        let names = releases.into_iter();
        let nearest = nearest(&self.what, names);
        if self.format.is_json() {
            self.print_answer(Vec::new(), nearest)?;
        }
        let nearest = nearest.map(|nearest| format!("; the most similar is `{nearest}`"));
        context.notice(&format!(
            "no source has ever named `{}`, and the run in {} has no build of it{}",
            self.what,
            self.out.display(),
            nearest.unwrap_or_default()
        ));
        Ok(ExitStatus::Incomplete)
    }

    fn print_answer(&self, answers: Vec<String>, nearest: Option<&str>) -> Result<(), CliError> {
        print_json(&Answer {
            schema: 1,
            asked: &self.what,
            answers,
            nearest,
        })
    }
}

/// Returns the kernels of the locks beside the matrices of a run, each with its lock. Matrices that no longer exist
/// are skipped.
fn locked_kernels(manifest: &Manifest) -> Result<Vec<(PathBuf, LockedKernel)>, CliError> {
    let mut all = Vec::new();
    for matrix in &manifest.matrices {
        let path = lock::path_of(Path::new(&matrix.name));
        let lock = Lock::read(&path)?.unwrap_or_default();
        let kernels = lock.kernels.into_iter();
        all.extend(kernels.map(|kernel| (path.clone(), kernel)));
    }
    Ok(all)
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
