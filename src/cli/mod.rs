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
mod global;
mod image_folders;
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
mod word_order;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::env::CompleteEnv;

pub use crate::exit::ExitStatus;
pub use crate::resolve::{Context, Planned, ResolveError as CliError};

use color::ColorChoice;
use examples::with_examples;
use global::GlobalArguments;
use messages::{draw, put_error};
pub use output::ignore_broken_pipe;
pub use selection::Selection;
use usage::print_usage;
use word_order::command_first;

/// Builds Falco's drivers for a whole matrix of kernels, cached and concurrently.
#[derive(Debug, Parser)]
#[command(name = "driverkit-matrix", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    global: GlobalArguments,
    #[command(subcommand)]
    command: Command,
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

/// Runs the program with the arguments of its command line, its own name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Fails only if a provider is already installed.
    drop(rustls::crypto::ring::default_provider().install_default());
    recorded::set_program(Arguments::command);
    // A shell marks its request for the completion of a word by the variable COMPLETE.
    let completion = CompleteEnv::with_factory(Arguments::command).bin(env!("CARGO_PKG_NAME"));
    match completion.try_complete(std::env::args_os(), None) {
        Ok(false) => {}
        Ok(true) => return ExitStatus::Success.into(),
        Err(error) => {
            print_usage(&error, ColorChoice::Auto.style());
            return ExitStatus::BadInput.into();
        }
    }
    let arguments = command_first(arguments, Arguments::command);
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
    let result = arguments
        .global
        .context(style)
        .and_then(|context| match arguments.command {
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
            Command::Completion(command) => command.execute(Arguments::command()),
            Command::ProbeKvm => Ok(kvm::probe()),
            Command::Generate(command) => command.execute(&Arguments::command()),
        });
    match result {
        Ok(status) => status.into(),
        Err(error) => {
            put_error(&draw(&error, style.has_colour));
            error.status().into()
        }
    }
}
