//! The command line: the only module that uses clap, and (with the terminal reporter) the only one that prints.
//!
//! Each command is a file with its arguments and `execute`. Data goes to standard output, everything else to standard
//! error.

mod attest;
mod builder_flags;
mod bundle;
mod cache;
mod checks;
mod ci;
#[cfg(feature = "kubernetes")]
mod cluster;
mod color;
mod compilers;
mod completing;
mod completion;
mod destination;
mod diff;
mod driverkit;
mod examples;
mod execution;
mod explain;
mod explanation;
mod generate;
mod images;
mod import;
mod kernel_headers;
mod kernels;
mod known;
mod kvm;
mod lock;
mod logs;
mod manifest;
mod messages;
mod output;
mod plan;
mod prove;
mod prune;
mod publish;
mod rebuild;
mod recorded;
mod report;
mod run;
mod selection;
mod shared_store;
mod stats;
mod status;
mod store;
mod trace;
mod usage;
mod verify;
mod why;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::diagnostic::did_you_mean;
pub use crate::exit::ExitStatus;
use crate::report::Style;
pub use crate::resolve::{Context, Planned, ResolveError as CliError};
use crate::resolve::{check_directory, mirror_names};

use color::ColorChoice;
use examples::with_examples;
use messages::{StandardError, draw, put_error};
pub use output::ignore_broken_pipe;
pub use selection::Selection;
use usage::print_usage;

/// The prefix of the environment variables that set base URLs; the rest is the distribution's name.
const MIRROR_VARIABLES: &str = "DRIVERKIT_MATRIX_MIRROR_";

/// Builds Falco's drivers for a whole matrix of kernels, cached and concurrently.
#[derive(Debug, Parser)]
#[command(name = "driverkit-matrix", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    global: GlobalArguments,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Global")]
struct GlobalArguments {
    /// Base URL of a distribution's mirror, for discovery and downloads
    ///
    /// For example debian=http://ftp.debian.org/debian. The environment variable
    /// `DRIVERKIT_MATRIX_MIRROR_DEBIAN` does the same.
    #[arg(long, global = true, value_name = "NAME=URL", value_parser = parse_mirror)]
    mirror: Vec<(String, String)>,
    /// Directory of everything that is stored between runs
    ///
    /// [default: $XDG_CACHE_HOME/driverkit-matrix or ~/.cache/driverkit-matrix]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "DRIVERKIT_MATRIX_CACHE"
    )]
    cache: Option<PathBuf>,
    /// Use only the store and the mirrors that `[mirrors]` and --mirror name
    ///
    /// Every missing file is listed. `offline = true` in a matrix's `[mirrors]` does the same.
    #[arg(long, global = true)]
    offline: bool,
    /// Print only errors and the requested data
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Print more: a line for each build, each step of `explain`; -vv also logs the program's internals
    ///
    /// -vv is `--log debug`, and -vvv is `--log trace`.
    #[arg(long, short, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// When to colour messages
    // `ColorChoice::given` reads it before clap does, since errors of clap are coloured too.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    #[command(flatten)]
    trace: trace::TraceArguments,
}

#[derive(Debug, Subcommand)]
enum Command {
    Plan(Box<plan::PlanArguments>),
    Lock(lock::LockArguments),
    Kernels(kernels::KernelsArguments),
    Import(import::ImportArguments),
    Validate(import::ValidateArguments),
    Images(Box<images::ImagesArguments>),
    Run(Box<run::RunArguments>),
    Rebuild(Box<rebuild::RebuildArguments>),
    Logs(logs::LogsArguments),
    Status(status::StatusArguments),
    Diff(diff::DiffArguments),
    Report(report::ReportArguments),
    Publish(publish::PublishArguments),
    Prune(prune::PruneArguments),
    Stats(stats::StatsArguments),
    Why(why::WhyArguments),
    Known(known::KnownArguments),
    Compilers(Box<compilers::CompilersArguments>),
    Manifest(manifest::ManifestArguments),
    Explain(Box<explain::ExplainArguments>),
    Cache(cache::CacheArguments),
    Store(store::SharedStoreArguments),
    Verify(verify::VerifyArguments),
    Attest(attest::AttestArguments),
    Prove(Box<prove::ProveArguments>),
    Bundle(bundle::BundleArguments),
    Docker(Box<driverkit::DockerArguments>),
    Local(Box<driverkit::LocalArguments>),
    #[cfg(feature = "kubernetes")]
    #[command(visible_alias = "k8s")]
    Kubernetes(Box<driverkit::KubernetesArguments>),
    #[cfg(feature = "kubernetes")]
    #[command(visible_alias = "k8s-ic")]
    KubernetesInCluster(Box<driverkit::InClusterArguments>),
    Completion(completion::CompletionArguments),
    #[command(hide = true)]
    ProbeKvm,
    #[command(hide = true)]
    Generate(generate::GenerateArguments),
}

/// Builds the context of all commands from the global arguments.
fn context_of(global: GlobalArguments, style: Style) -> Result<Context, CliError> {
    global.trace.start(global.verbose, style)?;
    let mut mirrors = mirrors_of_variables();
    mirrors.extend(global.mirror);
    let cache = match global.cache {
        // Directories in the cache are mounted into containers, which needs absolute paths.
        Some(directory) => std::path::absolute(&directory).unwrap_or(directory),
        None => default_cache()?,
    };
    check_directory(&cache, "--cache")?;
    let is_quiet = global.quiet;
    Ok(Context {
        mirrors,
        is_offline: global.offline,
        cache,
        is_quiet,
        style,
        verbosity: global.verbose,
        listener: Box::new(StandardError::new(style, is_quiet)),
    })
}

/// Returns the base URLs that environment variables set, by mirror.
fn mirrors_of_variables() -> BTreeMap<String, String> {
    // `vars` would panic at a variable that is not UTF-8.
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?.strip_prefix(MIRROR_VARIABLES)?;
        let name = name.to_lowercase().replace('_', "-");
        let value = value.into_string().ok()?;
        (!value.is_empty()).then_some((name, value))
    });
    variables.collect()
}

fn default_cache() -> Result<PathBuf, CliError> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    folder("XDG_CACHE_HOME")
        .or_else(|| Some(folder("HOME")?.join(".cache")))
        .map(|folder| folder.join("driverkit-matrix"))
        .ok_or_else(|| CliError::Input {
            message: "no directory for the cache: neither XDG_CACHE_HOME nor HOME is set"
                .to_owned(),
            help: Some("set one with --cache DIR".to_owned()),
        })
}

fn parse_mirror(text: &str) -> Result<(String, String), String> {
    let expected = "expected NAME=URL, as in debian=http://ftp.debian.org/debian";
    let (name, url) = text.split_once('=').ok_or(expected)?;
    // The name is missing, and this `=` is part of the URL.
    if name.is_empty() || name.contains("://") {
        return Err(expected.to_owned());
    }
    url::Url::parse(url).map_err(|error| format!("`{url}` is not a valid URL: {error}"))?;
    let name = name.to_lowercase();
    if !mirror_names().any(|known| known == name) {
        let names: Vec<&str> = mirror_names().collect();
        let near = did_you_mean(&name, names.iter().copied());
        return Err(format!(
            "no mirror is called `{name}`: {}",
            near.unwrap_or_else(|| format!("expected one of {}", names.join(", ")))
        ));
    }
    Ok((name, url.to_owned()))
}

/// The names of driverkit's commands.
const COMMANDS_OF_DRIVERKIT: [&str; 7] = [
    "docker",
    "images",
    "k8s",
    "k8s-ic",
    "kubernetes",
    "kubernetes-in-cluster",
    "local",
];

/// Moves flags that precede one of driverkit's commands behind it, since driverkit accepts `-c x.yaml docker`.
fn command_first(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    // A single `-v` is driverkit's short form of --version.
    if let [_, only] = &mut *arguments
        && *only == "-v"
    {
        *only = "--version".into();
    }
    let is_flag = |text: &OsString| text.as_encoded_bytes().starts_with(b"-");
    if arguments.get(1).is_some_and(is_flag) {
        let commands = Arguments::command();
        let is_command = |word: &OsString| {
            word.to_str()
                .is_some_and(|word| commands.find_subcommand(word).is_some())
        };
        // In `run --executor local` the command is `run`, which driverkit does not have.
        if let Some(position) = arguments.iter().position(is_command)
            && COMMANDS_OF_DRIVERKIT
                .iter()
                .any(|name| arguments[position] == *name)
        {
            arguments[1..=position].rotate_right(1);
        }
    }
    arguments
}

/// Runs the program with the arguments of its command line, its own name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Fails only if a provider is already installed.
    drop(rustls::crypto::ring::default_provider().install_default());
    match completing::answer_shell() {
        Ok(false) => {}
        Ok(true) => return ExitStatus::Success.into(),
        Err(error) => {
            print_usage(&error, ColorChoice::Auto.style());
            return ExitStatus::BadInput.into();
        }
    }
    let arguments = command_first(arguments);
    let colour = ColorChoice::given(&arguments);
    let command = with_examples(Arguments::command()).color(colour.of_clap());
    let matches = command.try_get_matches_from(arguments);
    let arguments = match matches.and_then(|matches| Arguments::from_arg_matches(&matches)) {
        Ok(arguments) => arguments,
        Err(error) => {
            print_usage(&error, colour.style());
            return match error.exit_code() {
                0 => ExitStatus::Success.into(),
                _ => ExitStatus::BadInput.into(),
            };
        }
    };
    let style = colour.style();
    let result = context_of(arguments.global, style).and_then(|context| match arguments.command {
        Command::Plan(command) => command.execute(&context),
        Command::Lock(command) => command.execute(&context),
        Command::Kernels(command) => command.execute(&context),
        Command::Import(command) => command.execute(&context),
        Command::Validate(command) => command.execute(&context),
        Command::Images(command) => command.execute(&context),
        Command::Run(command) => command.execute(&context),
        Command::Rebuild(command) => command.execute(&context),
        Command::Logs(command) => command.execute(&context),
        Command::Status(command) => command.execute(&context),
        Command::Diff(command) => command.execute(&context),
        Command::Report(command) => command.execute(&context),
        Command::Publish(command) => command.execute(&context),
        Command::Prune(command) => command.execute(&context),
        Command::Stats(command) => command.execute(&context),
        Command::Why(command) => command.execute(&context),
        Command::Known(command) => command.execute(&context),
        Command::Manifest(command) => command.execute(&context),
        Command::Compilers(command) => command.execute(&context),
        Command::Explain(command) => command.execute(&context),
        Command::Cache(command) => command.execute(&context),
        Command::Store(command) => command.execute(&context),
        Command::Verify(command) => command.execute(&context),
        Command::Attest(command) => command.execute(&context),
        Command::Prove(command) => command.execute(&context),
        Command::Bundle(command) => command.execute(&context),
        Command::Docker(command) => command.execute(&context),
        Command::Local(command) => command.execute(&context),
        #[cfg(feature = "kubernetes")]
        Command::Kubernetes(command) => command.execute(&context),
        #[cfg(feature = "kubernetes")]
        Command::KubernetesInCluster(command) => command.execute(&context),
        Command::Completion(command) => command.execute(),
        Command::ProbeKvm => Ok(kvm::probe()),
        Command::Generate(command) => command.execute(),
    });
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            put_error(&draw(&error, style.has_colour));
            error.status().into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commands_of_driverkit_move_before_their_flags() {
        for (given, expected) in [
            ("x -c a.yaml docker", "x docker -c a.yaml"),
            (
                "x --loglevel debug local --proxy docker",
                "x local --loglevel debug --proxy docker",
            ),
            (
                "x --offline run --executor local",
                "x --offline run --executor local",
            ),
            ("x docker -c local", "x docker -c local"),
            ("x --version", "x --version"),
        ] {
            let words = command_first(given.split(' ').map(OsString::from));
            assert_eq!(words.join(std::ffi::OsStr::new(" ")), expected);
        }
    }
}
