//! `docker`: one build in a container.

use clap::Args;

use super::flags::{BuildFlags, Flags, ImageFlags, ProcessFlags};
use super::single::Single;
use super::values;
use crate::cli::execution::Execution;
use crate::cli::images::Folders;
use crate::cli::run::parse_retry;
use crate::cli::{CliError, Context, ExitStatus};
use crate::driverkit::{Request, check_proxy};
use crate::failure::FailureClass;

/// Build one kernel's drivers in a container of the Docker daemon, as `driverkit docker` does
///
/// Most flags can also be given by the environment (`DRIVERKIT_TARGET` for `--target`) or by the configuration file, whose
/// keys are the flags' names. A flag comes before the environment, and that before the file.
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
    /// Try a failure again that is known from earlier: a class, or `failed` for all
    #[arg(long, value_name = "CLASS", value_parser = parse_retry)]
    retry: Vec<Vec<FailureClass>>,
    #[command(flatten)]
    folders: Folders,
}

impl DockerArguments {
    /// Runs the command.
    pub(in crate::cli) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let mut flags = Flags::new();
        self.build.put(&mut flags);
        self.image.put(&mut flags);
        let values = values(context, &flags, self.process.config.as_deref())?;
        let request = Request::read(&values).map_err(CliError::Diagnostics)?;
        let execution = Execution::docker(self.folders);
        let single = Single {
            request: &request,
            process: &self.process,
            proxy: self.proxy,
            retry: self.retry.into_iter().flatten().collect(),
        };
        if self.process.dryrun {
            single.tell(context);
            return Ok(ExitStatus::Success);
        }
        let toolchains = execution.toolchains(context)?;
        let connect = async || execution.connect(context, false).await;
        single.build(context, toolchains, connect)
    }
}
