//! `images build`: builds the project's own builder images.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use clap::Args;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use serde_json::{Value, json};
use url::Url;

use super::super::image_folders::Folders;
use super::super::output::{AnswerFormat, print_json};
use super::super::{CliError, Context};
use super::error::ImagesError;
use crate::image::build::{self, BuildError, BuildOutcome, DebianMirror};
use crate::image::{Catalogue, ImageDescription};
use crate::kernel::Architecture;
use crate::resolve::said_while_busy;
use crate::text::size;

#[derive(Debug, Args)]
pub(super) struct BuildArguments {
    /// The images to build [default: all with compilers that run on this machine]
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
    /// Rebuild also images that are up to date, with the latest packages
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) format: AnswerFormat,
    #[command(flatten)]
    pub(super) folders: Folders,
}

/// Returns the Debian mirror that the context names.
fn mirror(context: &Context) -> Result<DebianMirror, CliError> {
    let parse = |name: &str| {
        let url = context.mirrors.get(name)?;
        Some(
            url.parse::<Url>()
                .map_err(|error| CliError::input(format!("mirror {name}={url}: {error}"))),
        )
    };
    let main = parse("debian").ok_or_else(|| CliError::Input {
        message: "images are built from Debian's packages, but no Debian mirror is set".to_owned(),
        help: Some("add --mirror debian=URL, or set DRIVERKIT_MATRIX_MIRROR_DEBIAN".to_owned()),
    })??;
    Ok(DebianMirror {
        main,
        security: parse("debian-security").transpose()?,
    })
}

/// Builds as many images at once as there are cores. If some fail, builds the others, and returns the first error.
pub(super) fn build_all(
    context: &Context,
    wanted: &BuildArguments,
    output: &mut dyn Write,
) -> Result<(), CliError> {
    let catalogue = wanted.folders.catalogue()?;
    let images = named(&catalogue, &wanted.names)?;
    let mirror = mirror(context)?;
    let folder = wanted.folders.built(context);
    let built = Mutex::new(BTreeSet::new());
    let line = || {
        let built: Vec<&str> = lock(&built).iter().copied().collect();
        format!("building {}", built.join(", "))
    };
    let build = |image: &ImageDescription| build::build(image, &mirror, &folder, wanted.force);
    let mut answers = Vec::new();
    let tell = |outcome: &BuildOutcome, took| {
        if wanted.format.is_json() {
            answers.push(answer(outcome));
            Ok(())
        } else {
            tell(outcome, took, output)
        }
    };
    said_while_busy(context, line, || build_each(&images, &built, build, tell))?;
    if wanted.format.is_json() {
        answers.sort_by_key(|one| one["image"].to_string());
        print_json(&json!({ "schema": 1, "images": answers }))?;
    }
    Ok(())
}

/// The names of the images that are being built.
type Names<'a> = Mutex<BTreeSet<&'a str>>;

fn lock<'a, 'b>(names: &'b Names<'a>) -> MutexGuard<'b, BTreeSet<&'a str>> {
    // A panic cannot leave the set in an inconsistent state.
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

fn build_each<'a>(
    images: &[&'a ImageDescription],
    built: &Names<'a>,
    build: impl Fn(&ImageDescription) -> Result<BuildOutcome, BuildError> + Sync,
    mut tell: impl FnMut(&BuildOutcome, Duration) -> io::Result<()>,
) -> Result<(), ImagesError> {
    let (finished, outcomes) = mpsc::channel();
    let build = &build;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            images.par_iter().for_each(|image| {
                let start = Instant::now();
                lock(built).insert(image.name.as_str());
                let outcome = build(image);
                lock(built).remove(image.name.as_str());
                // The receiver is gone once writing the output has failed.
                drop(finished.send((start.elapsed(), outcome)));
            });
        });
        let mut result = Ok(());
        for (took, outcome) in outcomes {
            match outcome {
                Ok(outcome) => tell(&outcome, took)?,
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        result
    })
}

fn answer(outcome: &BuildOutcome) -> Value {
    let (built, is_new) = match outcome {
        BuildOutcome::Built(built) => (built, true),
        BuildOutcome::AlreadyThere(built) => (built, false),
    };
    json!({
        "image": built.name,
        "is_new": is_new,
        "size_bytes": built.archive_size_bytes,
        "sha256": built.archive_sha256,
        "archive": built.archive,
    })
}

fn tell(outcome: &BuildOutcome, took: Duration, output: &mut dyn Write) -> io::Result<()> {
    let (built, how) = match outcome {
        BuildOutcome::Built(built) => (built, format!("built in {:.0} s", took.as_secs_f64())),
        BuildOutcome::AlreadyThere(built) => (built, "already built".to_owned()),
    };
    let archive_size = size(built.archive_size_bytes);
    let (name, archive) = (&built.name, built.archive.display());
    writeln!(output, "{name}: {how}, {archive_size}, {archive}")
}

fn named<'a>(
    catalogue: &'a Catalogue,
    names: &[String],
) -> Result<Vec<&'a ImageDescription>, ImagesError> {
    let host = Architecture::of_host();
    let all = catalogue.images();
    if names.is_empty() {
        return Ok(all
            .iter()
            .filter(|image| {
                image.host_architecture == host && image.purpose == crate::image::Purpose::Build
            })
            .collect());
    }
    let find = |name: &String| {
        catalogue.get(name).ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|image| image.name.as_str()).collect();
            ImagesError::Unknown {
                name: name.clone(),
                known: known.join(", "),
            }
        })
    };
    names.iter().map(find).collect()
}
