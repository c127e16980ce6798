//! `kubernetes` and `kubernetes-in-cluster`: one build as a Job in a cluster.
//!
//! driverkit's flags set what driverkit has flags for. The environment variables of `run --executor kubernetes` set
//! everything else (cache volume, tolerations, address of the input server).

use std::sync::Arc;

use clap::{Args, Parser};

use super::cluster::{ClientFlags, PodFlags};
use super::docker::image_sources;
use super::flags::{AgainFlags, BuildFlags, Flags, ImageFlags, ProcessFlags};
use super::{single, values};
use crate::cli::cluster::ClusterArguments;
use crate::cli::execution::Execution;
use crate::cli::image_folders::Folders;
use crate::cli::{CliError, Context, ExitStatus};
use crate::driverkit::{ClientRequest, PodRequest, Request, Values, check_proxy};
use crate::executor::{ClientSettings, Executor, KubernetesExecutor, KubernetesSettings};
use crate::session::Machine;

/// driverkit's default namespace.
const NAMESPACE: &str = "default";

/// Build one kernel's drivers as a Job in a Kubernetes cluster, as `driverkit kubernetes` does
///
/// Most flags can also be given by the environment or by the configuration file, as for `docker`. See
/// docs/kubernetes.md for the environment variables that set everything else.
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(in crate::cli) struct KubernetesArguments {
    #[command(flatten)]
    pod: PodBuild,
    #[command(flatten)]
    client: ClientFlags,
}

/// Like `kubernetes`, but from inside the cluster with the service account of the pod that this program runs in
#[derive(Debug, Args)]
#[command(args_override_self = true)]
pub(in crate::cli) struct InClusterArguments {
    #[command(flatten)]
    pod: PodBuild,
}

/// Flags of both commands.
#[derive(Debug, Args)]
struct PodBuild {
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    image: ImageFlags,
    #[command(flatten)]
    process: ProcessFlags,
    #[command(flatten)]
    pods: PodFlags,
    /// Proxy of all downloads: http://, https:// or socks5://
    #[arg(long, value_name = "URL", value_parser = check_proxy)]
    proxy: Option<String>,
    #[command(flatten)]
    again: AgainFlags,
    #[command(flatten)]
    folders: Folders,
}

/// The cluster settings from the environment.
#[derive(Debug, Parser)]
struct OfEnvironment {
    #[command(flatten)]
    cluster: ClusterArguments,
}

impl KubernetesArguments {
    /// Runs the command.
    pub(in crate::cli) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let mut flags = Flags::new();
        self.client.put(&mut flags);
        let values = self.pod.values(context, flags)?;
        let client = ClientRequest::read(&values).map_err(CliError::Diagnostics)?;
        let mut settings = settings()?;
        settings.kubeconfig = client.kubeconfig.clone().or(settings.kubeconfig);
        settings.context = client.context.clone().or(settings.context);
        settings.client = client_settings(client);
        self.pod.execute(context, &values, settings)
    }
}

impl InClusterArguments {
    /// Runs the command.
    pub(in crate::cli) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let values = self.pod.values(context, Flags::new())?;
        let mut settings = settings()?;
        settings.is_in_cluster = true;
        self.pod.execute(context, &values, settings)
    }
}

impl PodBuild {
    fn values(&self, context: &Context, mut flags: Flags) -> Result<Values, CliError> {
        self.build.put(&mut flags);
        self.image.put(&mut flags);
        self.pods.put(&mut flags);
        values(context, &flags, &self.process)
    }

    fn execute(
        self,
        context: &Context,
        values: &Values,
        mut settings: KubernetesSettings,
    ) -> Result<ExitStatus, CliError> {
        let (request, pods) = match (Request::read(values), PodRequest::read(values)) {
            (Ok(request), Ok(pods)) => (request, pods),
            (request, pods) => {
                let faults = request.err().into_iter().chain(pods.err()).flatten();
                return Err(CliError::Diagnostics(faults.collect()));
            }
        };
        settings.namespace = pods.namespace.or(settings.namespace);
        settings
            .namespace
            .get_or_insert_with(|| NAMESPACE.to_owned());
        settings.image_pull_secrets.extend(pods.image_pull_secret);
        match pods.run_as_user {
            // 0 is driverkit's default, but this program never runs a pod as root.
            Some(0) => {
                context.notice("notice: ignoring `run-as-user` 0: no pod runs as root");
            }
            Some(user) => settings.run_as_user = user,
            None => {}
        }
        let single = single(&request, &self.process, &self.again, self.proxy);
        if single.is_only_shown(context, &Machine::Image) {
            return Ok(ExitStatus::Success);
        }
        let execution = Execution::jobs(self.folders, image_sources(&request));
        let toolchains = execution.toolchains(context)?;
        let connect = async |_missing| {
            let cluster = KubernetesExecutor::connect(settings, &context.cache).await?;
            let cluster: Arc<dyn Executor> = Arc::new(cluster);
            Ok((cluster, Vec::new()))
        };
        single.build(context, toolchains, connect)
    }
}

/// Reads the settings of `run --executor kubernetes` from the environment.
fn settings() -> Result<KubernetesSettings, CliError> {
    let read = OfEnvironment::try_parse_from(["driverkit-matrix"]);
    let read = read.map_err(|error| CliError::input(error.to_string().trim_end().to_owned()))?;
    Ok(read.cluster.settings())
}

fn client_settings(client: ClientRequest) -> ClientSettings {
    ClientSettings {
        cluster: client.cluster,
        user: client.user,
        server: client.server,
        tls_server_name: client.tls_server_name,
        certificate_authority: client.certificate_authority,
        is_insecure: client.is_insecure,
        token: client.token,
        client_certificate: client.client_certificate,
        client_key: client.client_key,
        act_as: client.impersonated_user,
        act_as_uid: client.impersonated_uid,
        act_as_groups: client.impersonated_groups,
        act_as_extra: client.impersonated_extra,
        is_uncompressed: client.is_uncompressed,
        request_timeout: client.request_timeout,
    }
}
