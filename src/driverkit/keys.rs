//! The keys of driverkit's configuration. A key is the name of a flag, of an entry in the file, and, in upper case
//! with the prefix `DRIVERKIT_`, of an environment variable.

/// The keys of all commands.
pub const KEYS: &[&str] = &[
    "architecture",
    "as",
    "as-group",
    "as-uid",
    "as-user-extra",
    "builderimage",
    "builderrepo",
    "cache-dir",
    "certificate-authority",
    "client-certificate",
    "client-key",
    "cluster",
    "context",
    "disable-compression",
    "dkms",
    "download-headers",
    "driverversion",
    "env",
    "gccversion",
    "image-pull-secret",
    "insecure-skip-tls-verify",
    "kernelconfigdata",
    "kernelrelease",
    "kernelurls",
    "kernelversion",
    "kubeconfig",
    "moduledevicename",
    "moduledrivername",
    "namespace",
    "output-module",
    "output-probe",
    "registry-name",
    "registry-password",
    "registry-plain-http",
    "registry-user",
    "repo-name",
    "repo-org",
    "request-timeout",
    "run-as-user",
    "server",
    "src-dir",
    "target",
    "tls-server-name",
    "token",
    "user",
];

/// Keys with several values: a list, or text with commas as separators.
pub const LISTS: &[&str] = &[
    "as-group",
    "as-user-extra",
    "builderrepo",
    "env",
    "kernelurls",
];

/// Those of [`LISTS`] whose values may contain commas and white space.
pub(super) const WHOLE: &[&str] = &["as-user-extra"];

/// Flags that can be set neither in the file nor in the environment.
pub const ONLY_FLAGS: &[&str] = &["config", "dryrun", "loglevel", "proxy", "timeout"];

/// Keys that the command `local` does not use.
pub const NOT_OF_LOCAL: &[&str] = &[
    "architecture",
    "builderimage",
    "builderrepo",
    "gccversion",
    "kernelconfigdata",
    "registry-name",
    "registry-password",
    "registry-plain-http",
    "registry-user",
];

/// Returns the environment variable of a key: `DRIVERKIT_OUTPUT_MODULE`.
pub fn variable_of(key: &str) -> String {
    format!("DRIVERKIT_{}", key.to_uppercase().replace('-', "_"))
}
