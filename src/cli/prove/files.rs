//! `prove MODULE... --kernel-image FILE`: proofs of files that exist already.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::output::{print, print_json};
use crate::cli::{CliError, Context, ExitStatus, kvm};
use crate::executor::{LocalExecutor, host_toolchain};
use crate::fs::{self, FileError};
use crate::kernel::Architecture;
use crate::proof::{ModuleToProve, Proof, ProofError, Verdict, architecture_of_image};
use crate::resolve::{open_store, runtime, said_while_waiting};
use crate::session::{infrastructure, new_run_id};
use crate::text::count;

/// The default time limit of a boot.
const USUAL_TIMEOUT: Duration = Duration::from_mins(5);

/// Modules and probes, and how they are loaded.
pub(super) struct FilesToProve {
    pub(super) files: Vec<PathBuf>,
    pub(super) kernel_image: Option<PathBuf>,
    pub(super) timeout: Option<Duration>,
    pub(super) kernel_parameters: Vec<String>,
    pub(super) allows_kvm: bool,
    pub(super) console: Option<PathBuf>,
    pub(super) is_json: bool,
}

/// A module and its result.
#[derive(Serialize)]
struct Proven<'a> {
    path: &'a Path,
    module: &'a str,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

impl FilesToProve {
    /// Loads the files into their kernel, and prints the results.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let Some(kernel_image) = &self.kernel_image else {
            return Err(CliError::input(
                "`--kernel-image FILE` is missing: the kernel that the modules were built for",
            ));
        };
        let modules = self
            .files
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
            timeout: self.timeout.unwrap_or(USUAL_TIMEOUT),
            kernel_parameters: &self.kernel_parameters,
            folder: folder.path(),
            run_id,
        };
        let mut log = Vec::new();
        let boot = async {
            let executor = LocalExecutor::new(&context.cache.join("rootfs")).await?;
            if self.allows_kvm {
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
        if self.is_json {
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
