//! Proofs: boots the very kernel that modules were built for, under qemu, and loads, uses and unloads each module, or loads
//! each program of a probe.
//!
//! In: a kernel image, modules and probes, and an executor. Out: a [`Verdict`] for each of them. The boot is a job like a compile: no
//! network, no privileges, limits. All modules share a boot; after one that leaves the kernel in doubt (an oops, no end,
//! no unloading) the modules behind it get another boot, so that each is judged in a sound kernel.

mod compressed;
mod console;
mod kernel;
mod module;
mod probe;
mod shown;
mod vmlinux;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::executor::{
    Executor, ExecutorError, Exit, Job, Limits, LogSink, Mount, Network, Toolchain,
};
use crate::fs::{self, FileError};
use crate::kernel::Architecture;

pub use console::{Boot, CONSOLE_FILE, Verdict, read_console};
pub use kernel::{architecture_of_image, bootable};
pub use module::{ModuleError, ModuleToProve};
pub use shown::Shown;

const INIT: &str = include_str!("../../templates/proof/init.c");
const PROBE: &str = include_str!("../../templates/proof/probe.c");
const SCRIPT: &str = include_str!("../../templates/proof/boot.sh");

/// How many bytes a kernel image may have.
pub const KERNEL_IMAGE_BYTES: u64 = 256 << 20;

/// How much longer than the boot its job may take: for compiling the init program.
pub const AROUND_BOOT: Duration = Duration::from_mins(1);

const MIB: u64 = 1 << 20;

/// How much is kept of what one boot prints.
const LOG_BYTES: usize = 16 << 20;

/// What is proven, and how.
#[derive(Debug)]
pub struct Proof<'a> {
    /// The kernel: a `vmlinuz` or `Image`.
    pub kernel_image: &'a Path,
    /// Its architecture.
    pub architecture: Architecture,
    /// The modules, in the order in which they are loaded.
    pub modules: &'a [ModuleToProve],
    /// What has qemu and a compiler.
    pub toolchain: Toolchain,
    /// How long one boot may take.
    pub timeout: Duration,
    /// Further words of the kernel's command line.
    pub kernel_parameters: &'a [String],
    /// An existing directory for the files of the boots.
    pub folder: &'a Path,
    /// The run that the jobs belong to.
    pub run_id: String,
}

/// Why a proof could not be made; never the fault of a module.
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
    /// The user ended it.
    #[error("cancelled")]
    Cancelled,
}

impl Proof<'_> {
    /// The program that the boot needs.
    pub fn qemu(&self) -> String {
        qemu(self.architecture)
    }

    /// Boots the kernel as often as it takes; the verdicts are in the order of the modules. What the consoles printed is
    /// appended to `log`.
    pub async fn run(
        &self,
        executor: &dyn Executor,
        log: &mut Vec<u8>,
        cancel: &CancellationToken,
    ) -> Result<Vec<Verdict>, ProofError> {
        let mut verdicts = Vec::with_capacity(self.modules.len());
        while verdicts.len() < self.modules.len() {
            let rest = &self.modules[verdicts.len()..];
            let boot = self.boot(rest, executor, log, cancel).await?;
            if boot.verdicts.is_empty() {
                return Err(ProofError::Boot(boot.last_words));
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
        let input = self.folder.join("in");
        fs::remove_folder(&input)?;
        let kernel = fs::read_file(self.kernel_image)?;
        let kernel = bootable(kernel, self.architecture).map_err(ProofError::Boot)?;
        write_input(&input, &kernel, modules)?;
        let output = self.folder.join("out");
        fs::remove_folder(&output)?;
        fs::create_folder(&output)?;
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

/// The start of what a job prints.
#[derive(Default)]
struct Head(Vec<u8>);

impl LogSink for Head {
    fn write(&mut self, bytes: &[u8]) {
        let left = LOG_BYTES.saturating_sub(self.0.len());
        self.0.extend(bytes.iter().take(left));
    }
}

/// Lays out in `folder` what the job reads at `/proof`: the kernel, the init program's source, the numbered modules and
/// probes.
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

/// Whether a kernel of this architecture boots with KVM where that may be used: the processor must be able to run it.
pub fn uses_kvm(architecture: Architecture) -> bool {
    architecture == Architecture::Amd64 && Architecture::of_host() == architecture
}

/// The program that a boot needs.
fn qemu(architecture: Architecture) -> String {
    format!("qemu-system-{}", architecture.machine())
}

/// What the job runs: it reads `/proof` and leaves what the console showed in [`CONSOLE_FILE`] of its output.
/// `parameters` are further words of the kernel's command line.
pub fn script(architecture: Architecture, timeout: Duration, parameters: &[String]) -> String {
    let (machine, console) = match architecture {
        Architecture::Amd64 => ("-M pc", "ttyS0"),
        // Emulating what `max` has takes three times as long.
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

/// Everything of a proof that is neither the kernel nor a module: the init program and how it is booted.
pub fn program(architecture: Architecture) -> String {
    script(architecture, Duration::ZERO, &[]) + INIT + PROBE
}
