//! The scripts that run inside the sandbox, and the interpretation of their logs and answers.
//!
//! In: typed settings of a step. Out: a script for `/bin/sh`, rendered from `templates/`; and, after it has run, the
//! answers of the checks and the cause of a failure from its log. Nothing here runs anything.
//!
//! A script is a pure function of its settings. Every value that a template prints goes through the environment's
//! formatter, which quotes it for the shell; no template can switch that off.
//!
//! Inside the sandbox, kernel packages are at their installed paths, the driver is at `/driver` (its sources for
//! [`render_configure`], the configured tree for all others), a kernel source to prepare is at [`KERNEL_SOURCE`], and
//! results go to `/out`:
//!
//! | step | result |
//! | --- | --- |
//! | download | `/out/<file>` for each package |
//! | host programs | `/out/programs/<number>` for each program that could be compiled |
//! | prepare | `/out/tree`, see [`PREPARED_TREE`] |
//! | kernel | `/out/kernel` |
//! | configure | `/out/tree`, see [`CONFIGURED_TREE`] |
//! | checks | `/out/checks/<id>/status` and `log`, see [`read_answers`] |
//! | module | `/out/module.ko` |
//! | probe | `/out/probe.o` |
//!
//! Every script also writes `/out/.resources`: lines `cpu_seconds N.NN` and, if it can be read, `memory_peak_bytes N`.

mod answers;
mod classify;
mod double;
mod environment;
mod full;
mod settings;

pub use answers::{Answer, AnswersError, read_answers};
pub use classify::{LogClassifier, LogFindings, MachineFault, ToolchainDefect, classify_log};
pub use double::{SECOND_HOST, varied};
pub use environment::{ScriptError, template_digest, template_of_programs};
pub use full::telling_full;
pub use settings::{
    CheckToRun, ChecksSettings, Compilers, ConfigureSettings, DownloadSettings, KernelSettings,
    KnownAnswer, ModuleSettings, PrepareSettings, ProbeSettings, ProgramToBuild, render_checks,
    render_configure, render_download, render_kernel, render_module, render_prepare, render_probe,
    render_programs,
};

/// The exit code of the download script if the package manager succeeded or failed without such a package.
pub const NO_SUCH_PACKAGE: i32 = 66;
/// The path of a kernel source in the sandbox.
pub const KERNEL_SOURCE: &str = "/source";
/// The path of the directory with its configuration, [`CONFIGURATION_FILE`].
pub const CONFIGURATION: &str = "/configuration";
/// The file name of a kernel source's configuration.
pub const CONFIGURATION_FILE: &str = "config";
/// The header tree in the output of the prepare step: a directory in the layout of a package, see
/// [`PrepareSettings::folder`].
pub const PREPARED_TREE: &str = "tree";
/// The directory of programs in the output of the step that compiles programs of header trees.
pub const PROGRAMS: &str = "programs";
/// The configured driver, a directory in the output of the configure step, in the layout of a flat source.
pub const CONFIGURED_TREE: &str = "tree";
/// The kernel in the output of the step that builds it.
pub const KERNEL_FILE: &str = "kernel";
/// The module in the output of the module step.
pub const MODULE_FILE: &str = "module.ko";
/// The probe in the output of the probe step.
pub const PROBE_FILE: &str = "probe.o";
/// The id of the toolchain check that compiles an empty module.
pub const MODULE_TOOLCHAIN_CHECK: &str = "toolchain-module";
/// The id of the toolchain check that compiles an empty program for the BPF machine.
pub const PROBE_TOOLCHAIN_CHECK: &str = "toolchain-probe";
/// The working directory of every script: a fixed path, since paths end up in artifacts.
pub const SCRATCH: &str = "/tmp/build";
