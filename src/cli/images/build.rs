//! `images build`: the project's own builder images.

use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use url::Url;

use super::super::{CliError, Context};
use super::{BuildArguments, ImagesError};
use crate::image::build::{self, BuildOutcome, DebianMirror};
use crate::image::{Catalogue, ImageDescription};
use crate::kernel::Architecture;
use crate::text::size;

/// The mirror that the context names.
pub(super) fn mirror(context: &Context) -> Result<DebianMirror, CliError> {
    let parse = |name: &str| {
        let url = context.mirrors.get(name)?;
        Some(
            url.parse::<Url>()
                .map_err(|error| CliError::input(format!("mirror {name}={url}: {error}"))),
        )
    };
    let main = parse("debian").ok_or_else(|| CliError::Input {
        message: "images are made from Debian's packages, and no mirror of them is named"
            .to_owned(),
        help: Some("add --mirror debian=URL, or set DRIVERKIT_MATRIX_MIRROR_DEBIAN".to_owned()),
    })??;
    Ok(DebianMirror {
        main,
        security: parse("debian-security").transpose()?,
    })
}

/// Builds as many images at once as there are cores; where some fail, builds the others, and gives the first error.
pub(super) fn build_all(
    catalogue: &Catalogue,
    wanted: &BuildArguments,
    folder: &Path,
    mirror: &DebianMirror,
    output: &mut dyn Write,
) -> Result<(), ImagesError> {
    let images = named(catalogue, &wanted.names)?;
    let (finished, outcomes) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            images.par_iter().for_each(|image| {
                let start = Instant::now();
                let outcome = build::build(image, mirror, folder, wanted.force);
                // Nobody listens any more once the output has failed.
                drop(finished.send((start.elapsed(), outcome)));
            });
        });
        let mut result = Ok(());
        for (took, outcome) in outcomes {
            match outcome {
                Ok(outcome) => tell(&outcome, took, output)?,
                Err(error) => result = result.and(Err(error.into())),
            }
        }
        result
    })
}

fn tell(outcome: &BuildOutcome, took: Duration, output: &mut dyn Write) -> io::Result<()> {
    let (built, how) = match outcome {
        BuildOutcome::Built(built) => (built, format!("built in {:.0} s", took.as_secs_f64())),
        BuildOutcome::AlreadyThere(built) => (built, "already there".to_owned()),
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
