//! `images`: lists the builder images, builds them, and updates the list of images in repositories.

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

/// The directories of builder images and their descriptions.
#[derive(Clone, Debug, Args)]
pub(super) struct Folders {
    /// Directory with the descriptions of builder images [default: `images` if it exists, otherwise the descriptions
    /// in this program]
    #[arg(long, value_name = "DIR", env = "DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS")]
    image_descriptions: Option<PathBuf>,
    /// Directory of the built images [default: images in the cache directory]
    #[arg(long, value_name = "DIR", env = "DRIVERKIT_MATRIX_IMAGES")]
    pub(super) images: Option<PathBuf>,
}

impl Folders {
    /// The directory with the descriptions; `None` if none is given and `images` does not exist.
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

    /// The directory of the built images.
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

/// driverkit's flags: if one is given, the images are listed in driverkit's format.
#[derive(Debug, Args)]
struct AskedAsDriverkit {
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    image: ImageFlags,
    #[command(flatten)]
    process: ProcessFlags,
    /// Proxy for queries to repositories: http://, https:// or socks5://
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
    /// Query repositories for their images again, and pull again the images in use, so that the next run uses what
    /// their tags refer to today
    Update(Box<UpdateArguments>),
}

#[derive(Debug, Args)]
struct ListArguments {
    /// Output format
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
    /// JSON
    Json,
    /// An image index for driverkit
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
    /// The images to build [default: all that run on this machine]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Rebuild also images that are up to date, with the latest packages
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    format: AnswerFormat,
    #[command(flatten)]
    folders: Folders,
}

/// An error of `images`.
#[derive(Debug, thiserror::Error)]
enum ImagesError {
    #[error("no builder image is called `{name}`; expected one of {known}")]
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
