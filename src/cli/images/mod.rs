//! `images`: lists the builder images, builds them, and updates the list of images in repositories.

mod build;
mod error;
mod list;
mod update;

use clap::{Args, Subcommand, ValueEnum};

use super::builder_flags::BuilderFlags;
use super::driverkit::flags::{BuildFlags, ImageFlags, ProcessFlags};
use super::image_folders::Folders;
use super::output::{AnswerFormat, progress};
use super::{CliError, Context, ExitStatus};
use crate::driverkit::check_proxy;
use crate::image::ImageSources;

use build::{BuildArguments, build_all};
use list::{show, show_index};
use update::update;

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
