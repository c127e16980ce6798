//! Proofs: boots the kernel that modules were built for under qemu, and loads, uses and unloads each module, or loads
//! each program of a probe.
//!
//! In: a kernel image, modules and probes, and an executor. Out: a [`Verdict`] for each of them. The boot is a job like
//! a compile: no network, no privileges, limits. All modules share a boot. After a module that leaves the kernel in an
//! untrusted state (an oops, a hang, a failed unload), the remaining modules get another boot, so that each is tested
//! in a sound kernel.

mod compressed;
mod console;
mod kernel;
mod module;
mod probe;
mod report;
mod shown;
mod verdict;
mod vmlinux;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::executor::{
    Executor, ExecutorError, Exit, Job, Limits, LogSink, Mount, Network, Toolchain,
};
use crate::fs::{self, FileError, blocking};
use crate::kernel::Architecture;

pub use console::{Boot, CONSOLE_FILE, read_console};
pub use kernel::{architecture_of_image, bootable};
pub use module::{ModuleError, ModuleToProve};
pub use shown::Shown;
pub use verdict::Verdict;

const INIT: &str = include_str!("../../templates/proof/init.c");
const PROBE: &str = include_str!("../../templates/proof/probe.c");
const SCRIPT: &str = include_str!("../../templates/proof/boot.sh");

/// The maximum size of a kernel image.
pub const KERNEL_IMAGE_BYTES: u64 = 256 << 20;

/// The time limit of a job beyond its boot, for compiling the init program.
pub const AROUND_BOOT: Duration = Duration::from_mins(1);

const MIB: u64 = 1 << 20;

/// The maximum output that is kept from one boot.
const LOG_BYTES: usize = 16 << 20;

/// The inputs and settings of a proof.
#[derive(Debug)]
pub struct Proof<'a> {
    /// The kernel: a `vmlinuz` or `Image`.
    pub kernel_image: &'a Path,
    /// The architecture of the kernel.
    pub architecture: Architecture,
    /// The modules, in the order in which they are loaded.
    pub modules: &'a [ModuleToProve],
    /// The toolchain with qemu and a compiler.
    pub toolchain: Toolchain,
    /// The time limit of one boot.
    pub timeout: Duration,
    /// Additional parameters for the kernel's command line.
    pub kernel_parameters: &'a [String],
    /// An existing directory for the boots' files.
    pub folder: &'a Path,
    /// The id of the run that the jobs belong to.
    pub run_id: String,
}

/// An error that prevents a proof; never the fault of a module.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// A file of the proof cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The job could not be run.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
    /// The kernel did not start the init program.
    #[error("the kernel did not reach the init program: {0}")]
    Boot(String),
    /// The user cancelled it.
    #[error("cancelled")]
    Cancelled,
}

impl Proof<'_> {
    /// Returns the name of the qemu program that the boot needs.
    pub fn qemu(&self) -> String {
        qemu(self.architecture)
    }

    /// Boots the kernel as often as necessary, and returns the verdicts in the order of the modules. The output of the
    /// consoles is appended to `log`.
    pub async fn run(
        &self,
        executor: &dyn Executor,
        log: &mut Vec<u8>,
        cancel: &CancellationToken,
    ) -> Result<Vec<Verdict>, ProofError> {
        let mut verdicts = Vec::with_capacity(self.modules.len());
        // Whether the next module has a boot of its own.
        let mut is_alone = false;
        while verdicts.len() < self.modules.len() {
            let rest = &self.modules[verdicts.len()..];
            let rest = if is_alone { &rest[..1] } else { rest };
            let mut boot = self.boot(rest, executor, log, cancel).await?;
            if boot.verdicts.is_empty() {
                return Err(ProofError::Boot(boot.last_words));
            }
            // The module may have had too little of the shared time.
            is_alone = boot.is_cut && boot.has_timed_out() && rest.len() > 1;
            if is_alone {
                boot.verdicts.pop();
            }
            verdicts.extend(boot.verdicts);
        }
        Ok(verdicts)
    }

    async fn boot(
        &self,
        modules: &[ModuleToProve],
        executor: &dyn Executor,
        log: &mut Vec<u8>,
        cancel: &CancellationToken,
    ) -> Result<Boot, ProofError> {
        let (input, output) = (self.folder.join("in"), self.folder.join("out"));
        let (into, emptied) = (input.clone(), output.clone());
        let (kernel, architecture) = (self.kernel_image.to_owned(), self.architecture);
        let to_prove = modules.to_vec();
        let prepare = move || {
            fs::remove_folder(&into)?;
            let kernel = fs::read_file(&kernel)?;
            let kernel = bootable(kernel, architecture).map_err(ProofError::Boot)?;
            write_input(&into, &kernel, &to_prove)?;
            fs::remove_folder(&emptied)?;
            fs::create_folder(&emptied).map_err(ProofError::from)
        };
        blocking(prepare).await?;
        let job = Job {
            name: format!("proof {}", self.kernel_image.display()),
            run_id: self.run_id.clone(),
            toolchain: self.toolchain.clone(),
            script: script(self.architecture, self.timeout, self.kernel_parameters),
            mounts: vec![Mount {
                source: input,
                target: PathBuf::from("/proof"),
            }],
            environment: Vec::new(),
            network: Network::None,
            kvm: uses_kvm(self.architecture),
            limits: Limits {
                timeout: self.timeout + AROUND_BOOT,
                memory_bytes: 1024 * MIB,
                output_bytes: 256 * MIB,
                output_files: 1024,
                processes: 64,
            },
            output,
        };
        let mut console = Head::default();
        let completion = executor.run(&job, &mut console, cancel).await?;
        log.extend_from_slice(&console.0);
        match completion.exit {
            Exit::Cancelled => Err(ProofError::Cancelled),
            Exit::OutOfMemory | Exit::TooMuchOutput => Err(ProofError::Boot(
                "qemu needed more memory or disk than the limits of its job".to_owned(),
            )),
            Exit::Code(_) | Exit::TimedOut => {
                let mut shown = Shown::default();
                shown.add(&console.0);
                Ok(read_console(&shown.into_text(), modules.len()))
            }
        }
    }
}

/// Keeps the start of a job's output.
#[derive(Default)]
struct Head(Vec<u8>);

impl LogSink for Head {
    fn write(&mut self, bytes: &[u8]) {
        let left = LOG_BYTES.saturating_sub(self.0.len());
        self.0.extend(bytes.iter().take(left));
    }
}

/// Writes into `folder` the files that the job reads at `/proof`: the kernel, the init program's source, the numbered
/// modules and probes.
pub fn write_input(
    folder: &Path,
    kernel: &[u8],
    modules: &[ModuleToProve],
) -> Result<(), FileError> {
    let of_modules = folder.join("modules");
    fs::create_folder(&of_modules)?;
    fs::write_unsynced(&folder.join("init.c"), INIT)?;
    fs::write_unsynced(&folder.join("probe.c"), PROBE)?;
    fs::write_unsynced(&folder.join("kernel"), kernel)?;
    for (number, module) in modules.iter().enumerate() {
        let (name, content) = module.laid_out(number);
        fs::write_unsynced(&of_modules.join(name), content)?;
        fs::write_unsynced(&of_modules.join(format!("{number}.name")), &module.name)?;
    }
    Ok(())
}

/// Returns true if a kernel of this architecture boots with KVM, where KVM may be used: the host's processor must be
/// able to run it.
pub fn uses_kvm(architecture: Architecture) -> bool {
    architecture == Architecture::Amd64 && Architecture::of_host() == architecture
}

/// The name of the qemu program that a boot needs.
fn qemu(architecture: Architecture) -> String {
    format!("qemu-system-{}", architecture.machine())
}

/// Returns the script of the job. It reads `/proof` and writes the console into [`CONSOLE_FILE`] of its output.
/// `parameters` are added to the kernel's command line.
pub fn script(architecture: Architecture, timeout: Duration, parameters: &[String]) -> String {
    let (machine, console) = match architecture {
        Architecture::Amd64 => ("-M pc", "ttyS0"),
        // Emulating the CPU `max` takes three times as long.
        Architecture::Arm64 => ("-M virt -cpu cortex-a72", "ttyAMA0"),
    };
    let compiler = if architecture == Architecture::of_host() {
        "gcc".to_owned()
    } else {
        format!("{}-linux-gnu-gcc", architecture.machine())
    };
    let variables = [
        ("QEMU", qemu(architecture)),
        ("MACHINE", machine.to_owned()),
        // The script writes `console=$CONSOLE` into the command line; its text is part of the key of a proof.
        (
            "CONSOLE",
            [&[console.to_owned()], parameters].concat().join(" "),
        ),
        ("COMPILER", compiler),
        ("BOOT_SECONDS", timeout.as_secs().to_string()),
    ];
    let variables = variables.map(|(name, value)| format!("{name}='{value}'\n"));
    variables.concat() + SCRIPT
}

/// Returns every input of a proof other than the kernel and the modules: the init program and the script that boots it.
/// For keys.
pub fn program(architecture: Architecture) -> String {
    script(architecture, Duration::ZERO, &[]) + INIT + PROBE
}
