//! driverkit's flags for builds in a cluster.

use clap::Args;

use super::flags::{Flags, may_stand_alone, put, put_all};

/// Where and as which user pods run: flags of `kubernetes` and `kubernetes-in-cluster`.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct PodFlags {
    /// Namespace of the pods [default: default]
    #[arg(long, short, value_name = "NAMESPACE", help_heading = "Pods")]
    namespace: Option<String>,
    /// User that containers run as [default: an unprivileged user]
    #[arg(long, value_name = "UID", help_heading = "Pods")]
    run_as_user: Option<String>,
    /// Secret for pulling the builder image
    #[arg(long, value_name = "SECRET", help_heading = "Pods")]
    image_pull_secret: Option<String>,
}

impl PodFlags {
    pub(in crate::cli) fn put(&self, flags: &mut Flags) {
        for (key, value) in [
            ("namespace", &self.namespace),
            ("run-as-user", &self.run_as_user),
            ("image-pull-secret", &self.image_pull_secret),
        ] {
            put(flags, key, value.as_ref());
        }
    }
}

/// How the cluster is reached, as for kubectl: flags of `kubernetes`.
#[derive(Clone, Debug, Args)]
#[command(mut_args(may_stand_alone))]
pub(in crate::cli) struct ClientFlags {
    /// User to act as
    #[arg(long = "as", value_name = "USER", help_heading = "Cluster")]
    as_user: Option<String>,
    /// Group to act as; repeatable
    #[arg(long, value_name = "GROUP", help_heading = "Cluster")]
    as_group: Vec<String>,
    /// User id to act as
    #[arg(long, value_name = "UID", help_heading = "Cluster")]
    as_uid: Option<String>,
    /// Extra attribute of the user to act as, such as scopes=view; repeatable, also for several values of one name
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Cluster")]
    as_user_extra: Vec<String>,
    /// Directory in which kubectl caches what a cluster supports; accepted and ignored
    #[arg(long, value_name = "DIR", help_heading = "Cluster")]
    cache_dir: Option<String>,
    /// File with the certificate authority
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    certificate_authority: Option<String>,
    /// File with the client's certificate
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    client_certificate: Option<String>,
    /// File with the client's key
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    client_key: Option<String>,
    /// Cluster of the kubeconfig file
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    cluster: Option<String>,
    /// Context of the kubeconfig file
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    context: Option<String>,
    /// Disable compression of responses
    #[arg(long, value_name = "BOOL", help_heading = "Cluster")]
    disable_compression: Option<String>,
    /// Do not verify the server's certificate
    #[arg(long, value_name = "BOOL", help_heading = "Cluster")]
    insecure_skip_tls_verify: Option<String>,
    /// The kubeconfig file [default: $KUBECONFIG, then ~/.kube/config]
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    kubeconfig: Option<String>,
    /// Timeout of a request, such as 30s; 0 for no limit [default: 1m]
    #[arg(long, value_name = "TIME", help_heading = "Cluster")]
    request_timeout: Option<String>,
    /// URL of the API server
    #[arg(long, short, value_name = "URL", help_heading = "Cluster")]
    server: Option<String>,
    /// Name to verify the server's certificate against
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    tls_server_name: Option<String>,
    /// Bearer token; better given by `DRIVERKIT_TOKEN`, which no process list shows
    #[arg(
        long,
        value_name = "TOKEN",
        help_heading = "Cluster",
        hide_env_values = true
    )]
    token: Option<String>,
    /// User of the kubeconfig file
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    user: Option<String>,
}

impl ClientFlags {
    pub(in crate::cli) fn put(&self, flags: &mut Flags) {
        for (key, value) in [
            ("as", &self.as_user),
            ("as-uid", &self.as_uid),
            ("cache-dir", &self.cache_dir),
            ("certificate-authority", &self.certificate_authority),
            ("client-certificate", &self.client_certificate),
            ("client-key", &self.client_key),
            ("cluster", &self.cluster),
            ("context", &self.context),
            ("disable-compression", &self.disable_compression),
            ("insecure-skip-tls-verify", &self.insecure_skip_tls_verify),
            ("kubeconfig", &self.kubeconfig),
            ("request-timeout", &self.request_timeout),
            ("server", &self.server),
            ("tls-server-name", &self.tls_server_name),
            ("token", &self.token),
            ("user", &self.user),
        ] {
            put(flags, key, value.as_ref());
        }
        put_all(flags, "as-group", &self.as_group);
        put_all(flags, "as-user-extra", &self.as_user_extra);
    }
}
