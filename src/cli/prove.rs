//! `prove`: tests that modules and probes load into the kernel that they were built for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::{AnswerFormat, print, print_json};
use super::{CliError, Context, ExitStatus, kvm};
use crate::executor::{LocalExecutor, host_toolchain};
use crate::fs::{self, FileError};
use crate::kernel::Architecture;
use crate::matrix::parse_time;
use crate::proof::{ModuleToProve, Proof, ProofError, Verdict, architecture_of_image};
use crate::resolve::{open_store, runtime, said_while_waiting};
use crate::session::{infrastructure, new_run_id};
use crate::text::count;

/// Boot a kernel in qemu and load modules and probes into it
///
/// Each module is loaded; while its character devices are open and record events, thousands of system calls are made;
/// then it is unloaded. Each program of a probe is checked by the kernel's verifier. qemu runs in a bubblewrap sandbox,
/// with this machine's qemu, gcc and cpio. Prints one line per file. Exit code 1 if a file did not pass, 3 if the
/// kernel did not boot or cannot test a probe.
#[derive(Debug, Args)]
pub(super) struct ProveArguments {
    /// Modules (`.ko`) and eBPF probes (`.o`), all for the same kernel
    #[arg(value_name = "MODULE|PROBE", required = true)]
    modules: Vec<PathBuf>,
    /// The kernel: `vmlinuz` of amd64; `Image` or `vmlinuz` of arm64, also compressed or in an EFI program
    #[arg(long, value_name = "FILE")]
    kernel_image: Option<PathBuf>,
    /// Time limit of one boot
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_time)]
    timeout: Duration,
    /// Additional parameter of the kernel's command line, such as `module.sig_enforce=1`
    #[arg(long, value_name = "WORD", value_parser = parse_parameter)]
    kernel_parameter: Vec<String>,
    /// Boot a kernel for amd64 with KVM, if a probe of at most 5 s finds that it works
    #[arg(long)]
    kvm: bool,
    /// Write the console output to this file
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,
    #[command(flatten)]
    format: AnswerFormat,
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

/// A module and its result.
#[derive(Serialize)]
struct Proven<'a> {
    path: &'a Path,
    module: &'a str,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

impl ProveArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let is_matrix = |path: &&PathBuf| path.extension().is_some_and(|end| end == "toml");
        if let Some(matrix) = self.modules.iter().find(is_matrix) {
            let matrix = matrix.display();
            return Err(CliError::input(format!(
                "{matrix} is not a module: to prove the modules of a matrix, use `driverkit-matrix run {matrix} --prove all`"
            )));
        }
        let Some(kernel_image) = &self.kernel_image else {
            return Err(CliError::input(
                "`--kernel-image FILE` is missing: the kernel that the modules were built for",
            ));
        };
        let modules = self
            .modules
            .iter()
            .map(|path| ModuleToProve::read(path))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CliError::input(error.to_string()))?;
        if !kernel_image.is_file() {
            let message = format!("{} is not a file", kernel_image.display());
            return Err(CliError::input(message));
        }
        let architecture = architecture_of(&modules, kernel_image)?;
        let run_id = new_run_id();
        let store = open_store(context, &run_id)?;
        let folder = store.temporary_folder()?;
        let toolchain = host_toolchain().map_err(|error| infrastructure(&error))?;
        let proof = Proof {
            kernel_image,
            architecture,
            modules: &modules,
            toolchain: toolchain.toolchain(),
            timeout: self.timeout,
            kernel_parameters: &self.kernel_parameter,
            folder: folder.path(),
            run_id,
        };
        let mut log = Vec::new();
        let boot = async {
            let executor = LocalExecutor::new(&context.cache.join("rootfs")).await?;
            if self.kvm {
                context.notice(&kvm::allow(&executor).await);
            }
            let cancel = CancellationToken::new();
            let mut terminate = signal(SignalKind::terminate())
                .map_err(|error| ProofError::File(FileError::of("watch", "signals")(error)))?;
            tokio::select! {
                result = proof.run(&executor, &mut log, &cancel) => result,
                _ = tokio::signal::ctrl_c() => Err(ProofError::Cancelled),
                _ = terminate.recv() => Err(ProofError::Cancelled),
            }
        };
        let line = || {
            let modules = count(modules.len(), "file");
            let image = kernel_image.display();
            Some(format!("booting {image} in qemu for {modules}"))
        };
        let result = runtime()?.block_on(said_while_waiting(context, line, boot));
        if let Some(path) = &self.console {
            fs::write(path, &log)?;
        }
        let verdicts = match result {
            Ok(verdicts) => verdicts,
            Err(ProofError::Cancelled) => return Ok(ExitStatus::Interrupted),
            Err(ProofError::File(error)) => return Err(error.into()),
            Err(ProofError::Executor(error)) => return Err(infrastructure(&error)),
            Err(error @ ProofError::Boot(_)) => {
                return Err(CliError::Infrastructure {
                    message: format!("{}: {error}", kernel_image.display()),
                    help: Some(format!(
                        "write the console output to a file with `--console FILE`; the proof needs {}, gcc and cpio",
                        proof.qemu()
                    )),
                });
            }
        };
        self.show(&modules, &verdicts)?;
        let status_of = |verdict: &Verdict| match verdict {
            Verdict::NotProven { .. } => ExitStatus::Infrastructure,
            good if good.is_good() => ExitStatus::Success,
            _ => ExitStatus::Incomplete,
        };
        let statuses = verdicts.iter().map(status_of);
        Ok(statuses.fold(ExitStatus::Success, ExitStatus::worse))
    }

    fn show(&self, modules: &[ModuleToProve], verdicts: &[Verdict]) -> Result<(), CliError> {
        let proven: Vec<Proven<'_>> = modules
            .iter()
            .zip(verdicts)
            .map(|(module, verdict)| Proven {
                path: &module.path,
                module: &module.name,
                verdict,
            })
            .collect();
        if self.format.is_json() {
            return print_json(&proven);
        }
        for one in &proven {
            print(&format!("{}: {}\n", one.path.display(), one.verdict))?;
        }
        Ok(())
    }
}

/// Returns the architecture of the modules; if there are only probes, that of the kernel.
fn architecture_of(
    modules: &[ModuleToProve],
    kernel_image: &Path,
) -> Result<Architecture, CliError> {
    let mut known = modules
        .iter()
        .filter_map(|module| Some((module, module.architecture?)));
    let Some((_, architecture)) = known.next() else {
        let image = fs::read_file(kernel_image)?;
        return architecture_of_image(&image).ok_or_else(|| {
            let image = kernel_image.display();
            CliError::input(format!("{image}: not a kernel image of amd64 or arm64"))
        });
    };
    match known.find(|(_, other)| *other != architecture) {
        None => Ok(architecture),
        Some((module, other)) => Err(CliError::input(format!(
            "{} is for {}, but the previous modules are for {}",
            module.path.display(),
            other.as_str(),
            architecture.as_str()
        ))),
    }
}
