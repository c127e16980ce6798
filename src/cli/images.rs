//! `images`: lists the builder images, and builds them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use url::Url;

use super::output::print;
use super::{CliError, Context, ExitStatus};
use crate::image::build::{self, BuildError, BuildOutcome, DebianMirror};
use crate::image::{BuiltImage, Catalogue, CatalogueError, ImageDescription, RecordError};

/// Where builder images are described and kept.
#[derive(Clone, Debug, Args)]
pub(super) struct Folders {
    /// Folder with the descriptions of builder images
    #[arg(
        long,
        value_name = "DIR",
        default_value = "images",
        env = "DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS"
    )]
    pub(super) image_descriptions: PathBuf,
    /// Folder that keeps the built images [default: images in the cache folder]
    #[arg(long, value_name = "DIR", env = "DRIVERKIT_MATRIX_IMAGES")]
    pub(super) images: Option<PathBuf>,
}

impl Folders {
    /// The folder that keeps the built images.
    pub(super) fn built(&self, context: &Context) -> PathBuf {
        self.images
            .clone()
            .unwrap_or_else(|| context.cache.join("images"))
    }
}

/// List the builder images, or build them
#[derive(Debug, Args)]
pub(super) struct ImagesArguments {
    #[command(subcommand)]
    command: Option<ImagesCommand>,
    #[command(flatten)]
    folders: Folders,
}

#[derive(Debug, Subcommand)]
enum ImagesCommand {
    /// List the images, their compilers, and whether they are built (the default)
    List(ListArguments),
    /// Build images that are missing, or whose description has changed, from the packages of --mirror debian=URL
    /// and, for security updates, --mirror debian-security=URL
    Build(Box<BuildArguments>),
}

#[derive(Debug, Args)]
struct ListArguments {
    #[command(flatten)]
    folders: Folders,
}

#[derive(Debug, Args)]
struct BuildArguments {
    /// The images to build; all that run on this machine when none is named
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Build also what is there, with the packages of today
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    folders: Folders,
}

/// Why `images` failed.
#[derive(Debug, thiserror::Error)]
enum ImagesError {
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error("no builder image is called `{name}`; there are {known}")]
    Unknown { name: String, known: String },
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("failed to write the list: {0}")]
    Output(#[from] io::Error),
}

impl From<ImagesError> for CliError {
    fn from(error: ImagesError) -> Self {
        match error {
            ImagesError::Catalogue(_) | ImagesError::Unknown { .. } => {
                Self::input(error.to_string())
            }
            _ => Self::Infrastructure {
                message: error.to_string(),
            },
        }
    }
}

impl ImagesArguments {
    /// Runs the command. Building blocks the thread.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        match self.command {
            Some(ImagesCommand::Build(wanted)) => {
                let catalogue = read(&wanted.folders)?;
                let mirror = mirror(context)?;
                build_all(
                    &catalogue,
                    &wanted,
                    &wanted.folders.built(context),
                    &mirror,
                    &mut io::stdout(),
                )?;
            }
            Some(ImagesCommand::List(ListArguments { folders })) => show(&folders, context)?,
            None => show(&self.folders, context)?,
        }
        Ok(ExitStatus::Success)
    }
}

fn show(folders: &Folders, context: &Context) -> Result<(), CliError> {
    let mut text = Vec::new();
    list(&read(folders)?, &folders.built(context), &mut text)?;
    print(&String::from_utf8_lossy(&text))
}

fn read(folders: &Folders) -> Result<Catalogue, ImagesError> {
    Ok(Catalogue::read(&folders.image_descriptions)?)
}

fn mirror(context: &Context) -> Result<DebianMirror, CliError> {
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

/// One line a compiler, in the columns of driverkit's own list, and whether the image is there.
fn list(catalogue: &Catalogue, folder: &Path, output: &mut dyn Write) -> Result<(), ImagesError> {
    let mut rows = vec![["IMAGE", "TARGET", "ARCH", "GCC", "STATE"].map(str::to_owned)];
    for image in catalogue.images() {
        let state = match BuiltImage::load(folder, &image.name)? {
            Some(built) if built.is_of(image) => "built",
            Some(_) => "outdated",
            None => "not built",
        };
        rows.extend(image.compilers.iter().map(|compiler| {
            [
                image.docker_name(),
                "any".to_owned(),
                compiler.architecture.machine().to_owned(),
                compiler.gcc.to_string(),
                state.to_owned(),
            ]
        }));
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let [image, target, architecture, gcc] = [0, 1, 2, 3].map(width);
    for [a, b, c, d, state] in &rows {
        writeln!(
            output,
            "{a:image$}  {b:target$}  {c:architecture$}  {d:gcc$}  {state}"
        )?;
    }
    Ok(())
}

/// Builds as many images at once as there are cores; where some fail, builds the others, and gives the first error.
fn build_all(
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
    let megabytes = built.archive_size_bytes / 1_000_000;
    let (name, archive) = (&built.name, built.archive.display());
    writeln!(output, "{name}: {how}, {megabytes} MB, {archive}")
}

fn named<'a>(
    catalogue: &'a Catalogue,
    names: &[String],
) -> Result<Vec<&'a ImageDescription>, ImagesError> {
    let host = crate::kernel::Architecture::of_host();
    let all = catalogue.images();
    if names.is_empty() {
        return Ok(all
            .iter()
            .filter(|image| image.host_architecture == host)
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
