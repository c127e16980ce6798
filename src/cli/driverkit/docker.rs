//! `docker`: one build in a container.

use clap::Args;

use super::flags::{AgainFlags, BuildFlags, Flags, ImageFlags, ProcessFlags};
use super::{single, values};
use crate::cli::execution::Execution;
use crate::cli::image_folders::Folders;
use crate::cli::{CliError, Context, ExitStatus};
use crate::driverkit::{Image, ImageRequest, Request, check_proxy};
use crate::executor::DockerAddress;
use crate::image::{ImageSources, Login, RegistryAccess};
use crate::session::Machine;

/// Build one kernel's drivers in a container of the Docker daemon, as `driverkit docker` does
///
/// Most flags can also be given by the environment (`DRIVERKIT_TARGET` for `--target`) or by the configuration file,
/// whose keys are the names of the flags. Flags override the environment, which overrides the file.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(in crate::cli) struct DockerArguments {
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    image: ImageFlags,
    #[command(flatten)]
    process: ProcessFlags,
    /// Proxy of all downloads: http://, https:// or socks5://
    #[arg(long, value_name = "URL", value_parser = check_proxy)]
    proxy: Option<String>,
    #[command(flatten)]
    again: AgainFlags,
    /// Docker daemon to use: `unix:///PATH`, `tcp://HOST:PORT`, `tcp://HOST:PORT?certificates=/DIR` for TLS, or
    /// `ssh://[USER@]HOST`; repeatable, the first that answers is used [default: `DOCKER_HOST`, or the usual socket]
    #[arg(long, value_name = "ADDRESS")]
    docker_host: Vec<DockerAddress>,
    #[command(flatten)]
    folders: Folders,
}

/// Returns the sources of the request's builder images.
pub(super) fn image_sources(request: &Request) -> ImageSources {
    image_sources_of(&request.images)
}

/// Returns the sources of builder images that `request` describes.
pub(in crate::cli) fn image_sources_of(request: &ImageRequest) -> ImageSources {
    let login = request.registry.as_ref().map(|registry| Login {
        registry: registry.name.clone(),
        user: registry.user.clone(),
        password: registry.password.clone(),
    });
    let mut sources = ImageSources {
        access: RegistryAccess {
            login,
            is_plain_http: request.is_plain_http,
        },
        ..ImageSources::default()
    };
    if !request.places.is_empty() {
        sources.places.clone_from(&request.places);
    }
    match &request.image {
        Image::Automatic => {}
        Image::Tagged(tag) => sources.tag.clone_from(tag),
        Image::Named(name) => sources.named = Some(name.clone()),
    }
    sources
}

impl DockerArguments {
    /// Runs the command.
    pub(in crate::cli) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let mut flags = Flags::new();
        self.build.put(&mut flags);
        self.image.put(&mut flags);
        let values = values(context, &flags, &self.process)?;
        let request = Request::read(&values).map_err(CliError::Diagnostics)?;
        let execution = Execution::docker(self.folders, self.docker_host, image_sources(&request));
        let single = single(&request, &self.process, &self.again, self.proxy);
        if single.is_only_shown(context, &Machine::Image) {
            return Ok(ExitStatus::Success);
        }
        let toolchains = execution.toolchains(context)?;
        let connect = async |_missing| execution.connect(context, false).await;
        single.build(context, toolchains, connect)
    }
}
