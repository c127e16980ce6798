//! `prove`: tests that modules and probes load into the kernel that they were built for.

mod files;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::checks::Checks;
use super::ci::Step;
use super::execution::Execution;
use super::output::AnswerFormat;
use super::recorded::given_flags;
use super::run::{ManifestArguments, RunArguments};
use super::shared_store::StoreArguments;
use super::{CliError, Context, ExitStatus, Selection};
use crate::failure::FailureClass;
use crate::matrix::{Prove, parse_time};
use crate::proof::AROUND_BOOT;
use crate::resolve::LockUse;
use files::FilesToProve;

/// Boot kernels in qemu and load modules and probes into them
///
/// With matrices, loads what earlier runs built for them, each module and probe into its own kernel, as `run --prove
/// all` does. Nothing is compiled: artifacts that are in neither the cache nor the shared store are left out and
/// counted. Locks are used as they are. The manifest in OUT is that of a run of the artifacts that are built. Exit
/// code 1 if a kernel refused an artifact, or if an artifact is missing.
///
/// With modules and probes and their --kernel-image, loads these files. qemu runs in a bubblewrap sandbox, with this
/// machine's qemu, gcc and cpio. Prints one line per file. Exit code 1 if a file did not pass, 3 if the kernel did not
/// boot or cannot test a probe.
///
/// Each module is loaded; while its character devices are open and record events, thousands of system calls are made;
/// then it is unloaded. Each program of a probe is checked by the kernel's verifier.
#[derive(Debug, Args)]
#[command(mut_arg("files", |argument| argument.value_name("MATRIX|MODULE|PROBE").help(
    "Matrix files [default: matrices/*.toml]; or modules (`.ko`) and eBPF probes (`.o`), all for the same kernel"
)))]
#[command(mut_arg("locked", |argument| argument.help("Fail if a lock is missing or stale")))]
pub(super) struct ProveArguments {
    /// Which kernels of the matrices boot: all, or series (the newest kernel of each series and flavour, and a
    /// different part of the others each night)
    #[arg(long, value_name = "WHICH", default_value = "all", value_parser = parse_prove)]
    prove: Prove,
    /// Time limit of one boot [default: that of the matrix; 5m for files]
    #[arg(long, value_name = "DURATION", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// Boot kernels for amd64 with KVM, if a probe of at most 5 s finds that it works
    #[arg(long = "kvm", visible_alias = "prove-kvm")]
    prove_kvm: bool,
    /// Maximum number of kernels that boot concurrently [default: the number of usable CPUs]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Boot kernels again that refused an artifact or did not boot in earlier runs
    #[arg(long, value_name = "CLASS", value_parser = ["load"])]
    retry: Option<String>,
    /// Directory for the artifacts and the manifest
    #[arg(
        long,
        value_name = "DIR",
        default_value = "out",
        help_heading = "Output"
    )]
    out: PathBuf,
    #[command(flatten)]
    manifest: ManifestArguments,
    #[command(flatten)]
    of_files: OfFiles,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    store: StoreArguments,
    #[command(flatten)]
    execution: Execution,
}

/// Flags of proofs of files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files")]
struct OfFiles {
    /// The kernel of the files: `vmlinuz` of amd64; `Image` or `vmlinuz` of arm64, also compressed or in an EFI program
    #[arg(long, value_name = "FILE")]
    kernel_image: Option<PathBuf>,
    /// Additional parameter of the kernel's command line, such as `module.sig_enforce=1`
    #[arg(long, value_name = "WORD", value_parser = parse_parameter)]
    kernel_parameter: Vec<String>,
    /// Write the console output to this file
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,
    #[command(flatten)]
    format: AnswerFormat,
}

/// The flags of proofs of files; all others but the global ones are for matrices.
const FLAGS_OF_FILES: [&str; 7] = [
    "--kernel-image",
    "--kernel-parameter",
    "--console",
    "--format",
    "--json",
    "--timeout",
    "--kvm",
];

/// The flags of proofs of files that proofs of matrices have too.
const FLAGS_OF_BOTH: [&str; 2] = ["--timeout", "--kvm"];

/// Parses which kernels boot; `none` would prove nothing.
fn parse_prove(text: &str) -> Result<Prove, String> {
    match text.parse() {
        Ok(Prove::None) | Err(_) => Err("expected all or series".to_owned()),
        Ok(prove) => Ok(prove),
    }
}

/// Parses a parameter that needs no escaping for the kernel or the shell.
fn parse_parameter(text: &str) -> Result<String, String> {
    let is_allowed = |found: char| found.is_ascii_graphic() && !"'\"`$\\".contains(found);
    if !text.is_empty() && text.chars().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err("expected one word without quotes".to_owned())
    }
}

impl ProveArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let files = &self.selection.files;
        let is_matrix = |path: &&PathBuf| path.extension().is_some_and(|end| end == "toml");
        let matrix = files.iter().find(is_matrix);
        let file = files.iter().find(|path| !is_matrix(path));
        let given = given_flags();
        match (matrix, file) {
            (Some(matrix), Some(file)) => Err(CliError::Input {
                message: format!(
                    "{} is a matrix, and {} is a module or probe",
                    matrix.display(),
                    file.display()
                ),
                help: Some("prove matrices and files separately".to_owned()),
            }),
            (None, Some(file)) => {
                let is_other = |flag: &&String| !FLAGS_OF_FILES.contains(&flag.as_str());
                match given.iter().find(is_other) {
                    Some(flag) => Err(CliError::input(format!(
                        "`{flag}` is for matrices, and {} is a module or probe",
                        file.display()
                    ))),
                    None => self.into_files().execute(context),
                }
            }
            (_, None) => {
                let is_other = |flag: &&String| {
                    FLAGS_OF_FILES.contains(&flag.as_str())
                        && !FLAGS_OF_BOTH.contains(&flag.as_str())
                };
                match given.iter().find(is_other) {
                    Some(flag) => Err(CliError::Input {
                        message: format!("`{flag}` is for modules and probes that are named"),
                        help: Some(
                            "a matrix's kernels come from their packages, and its results are in the manifest"
                                .to_owned(),
                        ),
                    }),
                    None => self.prove_matrices(context),
                }
            }
        }
    }

    fn into_files(self) -> FilesToProve {
        FilesToProve {
            files: self.selection.files,
            kernel_image: self.of_files.kernel_image,
            timeout: self.timeout,
            kernel_parameters: self.of_files.kernel_parameter,
            allows_kvm: self.prove_kvm,
            console: self.of_files.console,
            is_json: self.of_files.format.is_json(),
        }
    }

    /// Proves what earlier runs built, with the session of `run`.
    fn prove_matrices(self, context: &Context) -> Result<ExitStatus, CliError> {
        let selection = Selection {
            // A refreshed lock would name kernels for which nothing is built.
            lock_use: LockUse::AsIs,
            ..self.selection
        };
        let out = self.out.clone();
        let mut run = RunArguments::of_part(selection, self.jobs, self.out, self.execution);
        run.only_built = true;
        run.checks = Checks::of_proofs(self.prove, self.prove_kvm);
        run.manifest = self.manifest;
        run.store = self.store;
        if self.retry.is_some() {
            run.retry = vec![vec![FailureClass::Load]];
        }
        let mut planned = run.plan(context)?;
        if let Some(timeout) = self.timeout {
            for build in &mut planned.plan.builds {
                Arc::make_mut(&mut build.settings).timeout = timeout + AROUND_BOOT;
            }
        }
        run.carry_out(context, &planned, &out, &Step::of_environment())
    }
}
