//! `images`: lists the builder images, builds them, and learns what others have.

mod build;
mod list;
mod update;

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::builder_flags::BuilderFlags;
use super::driverkit::flags::{BuildFlags, ImageFlags, ProcessFlags};
use super::output::{AnswerFormat, progress};
use super::{CliError, Context, ExitStatus};
use crate::diagnostic::did_you_mean;
use crate::driverkit::check_proxy;
use crate::image::build::BuildError;
use crate::image::{Catalogue, ImageSources, RecordError};

use build::build_all;
use list::{show, show_index};
use update::update;

/// Where builder images are described and kept.
#[derive(Clone, Debug, Args)]
pub(super) struct Folders {
    /// Directory with the descriptions of builder images [default: `images` where it exists, else those of this
    /// program]
    #[arg(long, value_name = "DIR", env = "DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS")]
    image_descriptions: Option<PathBuf>,
    /// Directory of the built images [default: images in the cache directory]
    #[arg(long, value_name = "DIR", env = "DRIVERKIT_MATRIX_IMAGES")]
    pub(super) images: Option<PathBuf>,
}

impl Folders {
    /// The directory with the descriptions, where somebody keeps one.
    pub(super) fn described(&self) -> Option<&Path> {
        let usual = Some(Path::new("images")).filter(|folder| folder.is_dir());
        self.image_descriptions.as_deref().or(usual)
    }

    /// The described images.
    pub(super) fn catalogue(&self) -> Result<Catalogue, CliError> {
        let catalogue = match self.described() {
            Some(folder) => Catalogue::read(folder),
            None => Catalogue::of_the_project(),
        };
        catalogue.map_err(|error| CliError::input(error.to_string()))
    }

    /// The directory that keeps the built images.
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
    #[command(flatten)]
    asked: AskedAsDriverkit,
}

/// driverkit's flags: with any of them, the images are listed as driverkit does.
#[derive(Debug, Args)]
struct AskedAsDriverkit {
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    image: ImageFlags,
    #[command(flatten)]
    process: ProcessFlags,
    /// Proxy by which repositories are asked: http://, https:// or socks5://
    #[arg(long, value_name = "URL", value_parser = check_proxy)]
    proxy: Option<String>,
}

#[derive(Debug, Subcommand)]
enum ImagesCommand {
    /// List the images, their compilers, and whether they are built (the default)
    List(ListArguments),
    /// Build images that are missing, or whose description has changed, from the packages of --mirror debian=URL
    /// and, for security updates, --mirror debian-security=URL
    Build(Box<BuildArguments>),
    /// Ask repositories again which images they have, and pull again those that were used, so that the next run takes
    /// what their tags stand for today
    Update(Box<UpdateArguments>),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// How they are listed
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        help_heading = "Output"
    )]
    format: ListFormat,
    #[command(flatten)]
    folders: Folders,
    #[command(flatten)]
    builder: BuilderFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ListFormat {
    /// A table
    Table,
    /// For machines
    Json,
    /// An image index as driverkit reads it
    Index,
}

#[derive(Debug, Args)]
struct UpdateArguments {
    #[command(flatten)]
    builder: BuilderFlags,
    #[command(flatten)]
    format: AnswerFormat,
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
    format: AnswerFormat,
    #[command(flatten)]
    folders: Folders,
}

/// Why `images` failed.
#[derive(Debug, thiserror::Error)]
enum ImagesError {
    #[error("no builder image is called `{name}`; there are {known}")]
    Unknown { name: String, known: String },
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error("failed to write the list")]
    Output(#[from] io::Error),
}

impl From<ImagesError> for CliError {
    fn from(error: ImagesError) -> Self {
        match error {
            ImagesError::Unknown {
                ref name,
                ref known,
            } => Self::Input {
                message: error.to_string(),
                help: did_you_mean(name, known.split(", ")),
            },
            _ => Self::infrastructure(crate::error::chain(&error)),
        }
    }
}

impl ImagesArguments {
    /// Runs the command. Building blocks the thread.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        match self.command {
            Some(ImagesCommand::Build(wanted)) => {
                build_all(context, &wanted, &mut progress())?;
            }
            Some(ImagesCommand::List(wanted)) if wanted.format == ListFormat::Index => {
                show_index(&wanted, context)?;
            }
            Some(ImagesCommand::List(wanted)) => {
                let is_json = wanted.format == ListFormat::Json;
                show(
                    &wanted.folders,
                    &wanted.builder.sources()?,
                    is_json,
                    context,
                )?;
            }
            Some(ImagesCommand::Update(wanted)) => {
                update(&wanted.builder.sources()?, wanted.format, context)?;
            }
            None => match self.asked.given() {
                Some(flags) => return self.show_as_driverkit(&flags, context),
                None => show(&self.folders, &ImageSources::default(), false, context)?,
            },
        }
        Ok(ExitStatus::Success)
    }
}
