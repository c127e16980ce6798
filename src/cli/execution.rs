//! Flags that choose the executor and the toolchain.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::builder_flags::BuilderFlags;
use super::image_folders::Folders;
use super::{CliError, Context};
use crate::error::chain;
#[cfg(feature = "kubernetes")]
use crate::executor::KubernetesExecutor;
use crate::executor::{
    DockerAddress, DockerPool, Executor, FakeExecutor, LocalExecutor, host_toolchain,
};
use crate::image::{Catalogue, ForeignImages, ImageSources};
use crate::matrix::parse_time;
use crate::recipe::Toolchains;
use crate::session::{all_compilers, builder_images, compilers_of, infrastructure, of_remembered};

/// The choice of executor and toolchain.
#[derive(Debug, Args)]
#[command(next_help_heading = "Executor")]
pub(super) struct Execution {
    /// Executor of the compiles
    #[arg(
        long,
        value_name = "EXECUTOR",
        default_value = "auto",
        env = "DRIVERKIT_MATRIX_EXECUTOR"
    )]
    executor: ExecutorChoice,
    /// Origin of the compilers
    #[arg(long, value_name = "TOOLCHAIN", default_value = "auto")]
    toolchain: ToolchainChoice,
    /// Docker daemon to use: `unix:///PATH`, `tcp://HOST:PORT`, `tcp://HOST:PORT?certificates=/DIR` for TLS, or
    /// `ssh://[USER@]HOST`; repeatable, builds are spread over all [default: `DOCKER_HOST`, or the usual socket]
    #[arg(long, value_name = "ADDRESS")]
    docker_host: Vec<DockerAddress>,
    /// How long jobs wait, once per run, if no Docker daemon answers any more [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    docker_patience: Option<Duration>,
    #[command(flatten)]
    images: Folders,
    #[command(flatten)]
    builder: BuilderFlags,
    /// The sources of builder images, for commands that do not have [`BuilderFlags`].
    #[arg(skip)]
    sources: Option<ImageSources>,
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    cluster: super::cluster::ClusterArguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExecutorChoice {
    /// Docker if a daemon answers, otherwise this machine
    Auto,
    /// Containers of the Docker daemon at `DOCKER_HOST`, or at the default socket
    Docker,
    /// Jobs in a Kubernetes cluster
    #[cfg(feature = "kubernetes")]
    Kubernetes,
    /// Bubblewrap on this machine
    Local,
    /// Runs nothing: results come from a script
    #[value(hide = true)]
    Fake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ToolchainChoice {
    /// The builder images
    Auto,
    /// The builder images
    Image,
    /// The compilers of this machine, only with the executor `local`
    Host,
}

impl ExecutorChoice {
    /// Returns true if the executor can only use builder images.
    fn needs_images(self) -> bool {
        match self {
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes => true,
            Self::Docker => true,
            Self::Auto | Self::Local | Self::Fake => false,
        }
    }

    /// Returns true if the executor has its own copies of builder images, so that none are needed on this machine.
    fn has_images(self) -> bool {
        match self {
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes => true,
            Self::Auto | Self::Docker | Self::Local | Self::Fake => false,
        }
    }
}

impl Execution {
    /// Containers of builder images, which come from `sources`.
    pub(super) fn docker(
        images: Folders,
        docker_host: Vec<DockerAddress>,
        sources: ImageSources,
    ) -> Self {
        // As for `run`, tests select the fake executor.
        let is_fake = std::env::var_os("DRIVERKIT_MATRIX_EXECUTOR").is_some_and(|it| it == "fake");
        Self {
            executor: if is_fake {
                ExecutorChoice::Fake
            } else {
                ExecutorChoice::Docker
            },
            toolchain: ToolchainChoice::Image,
            docker_host,
            docker_patience: None,
            images,
            builder: BuilderFlags::default(),
            sources: Some(sources),
            #[cfg(feature = "kubernetes")]
            cluster: super::cluster::ClusterArguments::default(),
        }
    }

    /// Jobs in a cluster with builder images, which its nodes pull.
    #[cfg(feature = "kubernetes")]
    pub(super) fn jobs(images: Folders, sources: ImageSources) -> Self {
        Self {
            executor: ExecutorChoice::Kubernetes,
            ..Self::docker(images, Vec::new(), sources)
        }
    }

    /// Returns true if the executor has its own copies of builder images, so that none are needed on this machine.
    pub(super) fn has_images(&self) -> bool {
        self.executor.has_images()
    }

    fn fake(&self) -> Result<Option<Arc<FakeExecutor>>, CliError> {
        if self.executor != ExecutorChoice::Fake {
            return Ok(None);
        }
        let text = std::env::var(FakeExecutor::VARIABLE).unwrap_or_default();
        let fake =
            FakeExecutor::from_text(&text).map_err(|error| CliError::input(chain(&error)))?;
        Ok(Some(Arc::new(fake)))
    }

    /// The builder image that is named for all builds.
    pub(super) fn named_image(&self) -> Result<Option<String>, CliError> {
        Ok(self.sources()?.named)
    }

    /// Returns the builder images or this machine's compilers.
    pub(super) fn toolchains(&self, context: &Context) -> Result<Toolchains, CliError> {
        self.toolchains_if(context, true)
    }

    /// Like [`Self::toolchains`], but with what is already known of repositories: none is queried.
    pub(super) fn known_toolchains(&self, context: &Context) -> Result<Toolchains, CliError> {
        self.toolchains_if(context, false)
    }

    /// Like [`Self::known_toolchains`]; `None` if something that repositories have may be missing from it.
    pub(super) fn surely_known_toolchains(
        &self,
        context: &Context,
    ) -> Result<Option<Toolchains>, CliError> {
        let sources = self.sources()?;
        if sources.repositories().next().is_some() {
            let foreign = ForeignImages::load(&context.cache).map_err(of_remembered)?;
            if sources.is_unknown(&foreign) {
                return Ok(None);
            }
        }
        self.known_toolchains(context).map(Some)
    }

    fn toolchains_if(&self, context: &Context, asks: bool) -> Result<Toolchains, CliError> {
        if self.executor == ExecutorChoice::Local && !self.docker_host.is_empty() {
            return Err(CliError::input(
                "--docker-host cannot be used with --executor local, which uses no Docker daemon",
            ));
        }
        if let Some(fake) = self.fake()? {
            return Ok(Toolchains::Host {
                identity: fake.toolchain().identity(),
                compilers: all_compilers(),
            });
        }
        let sources = self.sources()?;
        let has_foreign = sources.has_foreign();
        let catalogue = || match self.images.described() {
            // Images of repositories need no descriptions.
            None if has_foreign => Ok(Catalogue::default()),
            _ => self.images.catalogue(),
        };
        // Missing images are never replaced by the compilers of this machine: the modules would differ.
        if self.toolchain != ToolchainChoice::Host {
            let catalogue = catalogue()?;
            let foreign = ForeignImages::load(&context.cache).map_err(of_remembered)?;
            let folder = self.images.built(context);
            let images = builder_images(context, catalogue, &folder, sources, foreign, asks)?;
            let images = if self.executor.has_images() {
                images.with_images_elsewhere(&folder)
            } else {
                images
            };
            return Ok(Toolchains::Images(images));
        }
        if self.executor.needs_images() {
            return Err(CliError::Input {
                message: "the compilers of this machine cannot be used in a container".to_owned(),
                help: Some("use --executor local, or --toolchain image".to_owned()),
            });
        }
        let host = host_toolchain().map_err(|error| infrastructure(&error))?;
        Ok(Toolchains::Host {
            identity: host.identity,
            compilers: compilers_of(&host),
        })
    }

    /// Returns the daemons with the credentials for their registries.
    fn set_up(&self, docker: DockerPool) -> Result<DockerPool, CliError> {
        let docker = match self.docker_patience {
            Some(patience) => docker.with_patience(patience),
            None => docker,
        };
        Ok(match self.sources()?.access.login {
            Some(login) => docker.with_login(&login.registry, &login.user, &login.password),
            None => docker,
        })
    }

    fn sources(&self) -> Result<ImageSources, CliError> {
        match &self.sources {
            Some(sources) => Ok(sources.clone()),
            None => self.builder.sources(),
        }
    }

    /// Returns an executor for second builds other than the one called `first`, if this machine has one.
    pub(super) async fn connect_other(
        &self,
        context: &Context,
        uses_host: bool,
        first: &str,
    ) -> Option<Arc<dyn Executor>> {
        match first {
            "docker" => {
                let local = LocalExecutor::new(&context.cache.join("rootfs")).await;
                Some(Arc::new(local.ok()?))
            }
            "local" if !uses_host => {
                let docker = DockerPool::connect_usual().await.ok()?;
                Some(Arc::new(self.set_up(docker).ok()?))
            }
            _ => None,
        }
    }

    /// Returns the executor, and notes about the choice for the user.
    pub(super) async fn connect(
        &self,
        context: &Context,
        uses_host: bool,
    ) -> Result<(Arc<dyn Executor>, Vec<String>), CliError> {
        if let Some(fake) = self.fake()? {
            return Ok((fake, Vec::new()));
        }
        let rootfs = context.cache.join("rootfs");
        let local = async || {
            LocalExecutor::new(&rootfs)
                .await
                .map_err(|error| infrastructure(&error))
        };
        match self.executor {
            ExecutorChoice::Local => Ok((Arc::new(local().await?), Vec::new())),
            ExecutorChoice::Auto if uses_host => {
                let note =
                    "--toolchain host: building with this machine's compilers, in bubblewrap";
                Ok((Arc::new(local().await?), vec![note.to_owned()]))
            }
            ExecutorChoice::Docker | ExecutorChoice::Auto if !self.docker_host.is_empty() => {
                let (docker, notes) = DockerPool::connect(&self.docker_host)
                    .await
                    .map_err(|error| infrastructure(&error))?;
                Ok((Arc::new(self.set_up(docker)?), notes))
            }
            #[cfg(feature = "kubernetes")]
            ExecutorChoice::Kubernetes => {
                let settings = self.cluster.settings();
                let cluster = KubernetesExecutor::connect(settings, &context.cache).await?;
                Ok((Arc::new(cluster), Vec::new()))
            }
            ExecutorChoice::Docker => {
                let docker = DockerPool::connect_usual()
                    .await
                    .map_err(|error| infrastructure(&error))?;
                Ok((Arc::new(self.set_up(docker)?), Vec::new()))
            }
            ExecutorChoice::Auto | ExecutorChoice::Fake => {
                match DockerPool::connect_usual().await {
                    Ok(docker) => Ok((Arc::new(self.set_up(docker)?), Vec::new())),
                    Err(error) => {
                        let note = format!(
                            "no Docker daemon can be used ({}); building on this machine in bubblewrap instead",
                            chain(&error)
                        );
                        Ok((Arc::new(local().await?), vec![note]))
                    }
                }
            }
        }
    }
}
