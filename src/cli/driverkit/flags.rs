//! driverkit's flags. Checks that also apply to the environment and the file are in [`crate::driverkit`].

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Args};

use crate::cli::run::parse_retry;
use crate::driverkit::{Given, LogLevel, parse_log_level, parse_timeout};
use crate::engine::RetryClasses;
use crate::failure::FailureClass;
use crate::session::{DkmsDirectories, SingleSettings};
use crate::target;

/// The values given on the command line, by key.
pub(in crate::cli) type Flags = BTreeMap<&'static str, Given>;

/// Accepts any text, and offers these values to shell completion.
#[derive(Clone)]
struct Suggested(fn() -> Vec<&'static str>);

impl TypedValueParser for Suggested {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new((self.0)().into_iter().map(PossibleValue::new)))
    }
}

/// Lets a flag with a `BOOL` stand alone for true; a value is given as in `--dryrun=false`.
pub(super) fn may_stand_alone(flag: Arg) -> Arg {
    let is_bool = flag
        .get_value_names()
        .is_some_and(|names| names.iter().any(|name| name.as_str() == "BOOL"));
    if is_bool {
        flag.num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    } else {
        flag
    }
}

/// Records a flag that takes one value.
pub(in crate::cli) fn put(flags: &mut Flags, key: &'static str, value: Option<&String>) {
    put_all(
        flags,
        key,
        value.map(std::slice::from_ref).unwrap_or_default(),
    );
}

/// Records a flag that takes several values.
pub(in crate::cli) fn put_all(flags: &mut Flags, key: &'static str, values: &[String]) {
    if !values.is_empty() {
        flags.insert(key, Given::by_flag(values.to_vec()));
    }
}

/// Flags of all commands that say what is built.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct BuildFlags {
    /// Driver version: a release such as 8.0.0+driver, a commit, or master [default: master]
    #[arg(long, value_name = "VERSION", help_heading = "What to build")]
    driverversion: Option<String>,
    /// Kernel release, as `uname -r` prints it
    #[arg(long, value_name = "RELEASE", help_heading = "What to build")]
    kernelrelease: Option<String>,
    /// Kernel version: what follows # in `uname -v` [default: 1]
    #[arg(long, value_name = "VERSION", help_heading = "What to build")]
    kernelversion: Option<String>,
    /// Prefix of the character devices [default: falco]
    #[arg(long, value_name = "NAME", help_heading = "What to build")]
    moduledevicename: Option<String>,
    /// Name of the kernel module [default: falco]
    #[arg(long, value_name = "NAME", help_heading = "What to build")]
    moduledrivername: Option<String>,
    /// File that receives the kernel module; it ends with .ko
    #[arg(long, value_name = "FILE", help_heading = "What to build")]
    output_module: Option<String>,
    /// File that receives the legacy eBPF probe, for drivers up to 9.1.0; it ends with .o
    #[arg(long, value_name = "FILE", help_heading = "What to build")]
    output_probe: Option<String>,
    /// Repository of the driver's sources [default: libs]
    #[arg(long, value_name = "NAME", help_heading = "What to build")]
    repo_name: Option<String>,
    /// Organisation of that repository on GitHub [default: falcosecurity]
    #[arg(long, value_name = "NAME", help_heading = "What to build")]
    repo_org: Option<String>,
    /// Distribution of the kernel: debian, ubuntu-aws, vanilla, ...
    #[arg(long, short, value_name = "TARGET", value_parser = Suggested(target::known_ids), hide_possible_values = true, help_heading = "What to build")]
    target: Option<String>,
    /// Directory or tarball with the driver's sources, used instead of the repository
    #[arg(long, value_name = "PATH", help_heading = "What to build")]
    pub(in crate::cli) src_dir: Option<String>,
}

impl BuildFlags {
    pub(in crate::cli) fn put(&self, flags: &mut Flags) {
        for (key, value) in [
            ("driverversion", &self.driverversion),
            ("kernelrelease", &self.kernelrelease),
            ("kernelversion", &self.kernelversion),
            ("moduledevicename", &self.moduledevicename),
            ("moduledrivername", &self.moduledrivername),
            ("output-module", &self.output_module),
            ("output-probe", &self.output_probe),
            ("repo-name", &self.repo_name),
            ("repo-org", &self.repo_org),
            ("target", &self.target),
            ("src-dir", &self.src_dir),
        ] {
            put(flags, key, value.as_ref());
        }
    }
}

/// Flags of builds in a builder image.
#[derive(Clone, Debug, Args)]
#[command(mut_args(may_stand_alone))]
pub(in crate::cli) struct ImageFlags {
    /// Architecture of the kernel: amd64 or arm64 [default: this machine's]
    #[arg(long, value_name = "ARCHITECTURE", value_parser = Suggested(|| vec!["amd64", "arm64"]), hide_possible_values = true, help_heading = "Kernel and image")]
    architecture: Option<String>,
    /// Builder image: a name, auto, or auto:TAG [default: auto]
    #[arg(long, value_name = "IMAGE", help_heading = "Kernel and image")]
    builderimage: Option<String>,
    /// Where builder images come from: a repository, or the absolute path of an index file; repeatable, in order of
    /// priority [default: the images described in images/*.toml]
    #[arg(long, value_name = "SOURCE", help_heading = "Kernel and image")]
    builderrepo: Vec<String>,
    /// Compiler version, such as 12 or 12.0.0 [default: the one that built the kernel]
    #[arg(long, value_name = "VERSION", help_heading = "Kernel and image")]
    gccversion: Option<String>,
    /// The kernel's .config in base64, for targets whose tree is prepared from a kernel source
    #[arg(long, value_name = "BASE64", help_heading = "Kernel and image")]
    kernelconfigdata: Option<String>,
    /// URLs of the kernel's header packages, repeatable or separated by commas [default: found by target]
    #[arg(long, value_name = "URL", help_heading = "Kernel and image")]
    kernelurls: Vec<String>,
    /// Registry to log in to
    #[arg(long, value_name = "HOST", help_heading = "Kernel and image")]
    registry_name: Option<String>,
    /// User of that registry
    #[arg(long, value_name = "USER", help_heading = "Kernel and image")]
    registry_user: Option<String>,
    /// Password of that user; better given by `DRIVERKIT_REGISTRY_PASSWORD`, which no process list shows
    #[arg(long, value_name = "PASSWORD", help_heading = "Kernel and image")]
    registry_password: Option<String>,
    /// Query registries over plain http
    #[arg(long, value_name = "BOOL", help_heading = "Kernel and image")]
    registry_plain_http: Option<String>,
}

impl ImageFlags {
    pub(in crate::cli) fn put(&self, flags: &mut Flags) {
        for (key, value) in [
            ("architecture", &self.architecture),
            ("builderimage", &self.builderimage),
            ("gccversion", &self.gccversion),
            ("kernelconfigdata", &self.kernelconfigdata),
            ("registry-name", &self.registry_name),
            ("registry-user", &self.registry_user),
            ("registry-password", &self.registry_password),
            ("registry-plain-http", &self.registry_plain_http),
        ] {
            put(flags, key, value.as_ref());
        }
        put_all(flags, "builderrepo", &self.builderrepo);
        put_all(flags, "kernelurls", &self.kernelurls);
    }
}

/// Flags of the command itself; never read from the environment or the file.
#[derive(Clone, Debug, Args)]
#[command(mut_args(may_stand_alone))]
pub(in crate::cli) struct ProcessFlags {
    /// Configuration file [default: $HOME/.driverkit.yaml if it exists]
    #[arg(long, short, value_name = "FILE")]
    pub(in crate::cli) config: Option<PathBuf>,
    /// Only check the flags, the environment and the file
    #[arg(
        long,
        value_name = "BOOL",
        default_value = "false",
        value_parser = clap::builder::BoolishValueParser::new()
    )]
    pub(in crate::cli) dryrun: bool,
    /// Level of detail: warn, info, debug or trace
    #[arg(long, short, value_name = "LEVEL", default_value = "info", value_parser = parse_log_level)]
    pub(in crate::cli) loglevel: LogLevel,
    /// Time limit of each step of the build in seconds, at least 30
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = parse_timeout)]
    pub(in crate::cli) timeout: Duration,
}

impl ProcessFlags {
    pub(super) fn settings(&self) -> SingleSettings {
        SingleSettings {
            is_dry_run: self.dryrun,
            level: self.loglevel,
            timeout: self.timeout,
        }
    }
}

/// The directories of DKMS.
#[derive(Clone, Debug, Args)]
pub(super) struct DkmsFlags {
    /// Directory with the sources of DKMS
    #[arg(long, value_name = "DIR", default_value = "/usr/src", hide = true)]
    dkms_sources: PathBuf,
    /// Directory in which DKMS builds
    #[arg(long, value_name = "DIR", default_value = "/var/lib/dkms", hide = true)]
    dkms_tree: PathBuf,
}

impl DkmsFlags {
    pub(super) fn directories(&self) -> DkmsDirectories {
        DkmsDirectories {
            sources: self.dkms_sources.clone(),
            tree: self.dkms_tree.clone(),
        }
    }
}

/// Flags that repeat steps whose result is cached.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct AgainFlags {
    /// Retry a cached failure: a class, or `failed` for all
    #[arg(long, value_name = "CLASS", value_parser = parse_retry)]
    retry: Vec<Vec<FailureClass>>,
    /// Compile again even if the artifact is cached
    #[arg(long)]
    rebuild: bool,
}

impl AgainFlags {
    pub(super) fn classes(&self) -> RetryClasses {
        if self.rebuild {
            return RetryClasses::rebuild(true);
        }
        RetryClasses::new(self.retry.iter().flatten().copied())
    }
}
