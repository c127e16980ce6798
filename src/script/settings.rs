//! The settings of each step, and the scripts that are rendered from them.

use minijinja::context;
use minijinja::value::{Serde, Value};
use serde::Serialize;

use super::NO_SUCH_PACKAGE;
use super::classify::MACHINE_FAULTS;
use super::environment::{ScriptError, render};
use crate::driver::DriverVersion;
use crate::kernel::Architecture;

/// What the configure step needs to know.
#[derive(Clone, Debug)]
pub struct ConfigureSettings {
    /// The driver version; also stands for the commit.
    pub version: DriverVersion,
    /// The module's name.
    pub module_name: String,
    /// The prefix of the character devices.
    pub device_name: String,
    /// Whether the sources hold a probe.
    pub has_probe: bool,
}

/// The programs that compile for a kernel. A pure function of three names: what differs from one kernel to the
/// next and reaches the command line is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compilers {
    /// The C compiler: `gcc-12`, `aarch64-linux-gnu-gcc-12`.
    pub compiler: String,
    /// The program that strips debug symbols.
    pub strip: String,
    /// Clang with its options, one text as make takes it.
    pub clang: String,
    /// LLVM's static compiler.
    pub llc: String,
    /// Further variables on every make command line, in order.
    pub make_variables: Vec<(String, String)>,
}

impl Compilers {
    /// The compilers for a kernel of one architecture on a machine of another (or the same): the C compiler as it is
    /// called, `cross_prefix` before the names of its binutils, clang and llc by their plain names. A cross compiler
    /// emulates nothing: the header tree's own programs must then be those of the building machine.
    pub fn new(
        compiler: &str,
        cross_prefix: &str,
        kernel: Architecture,
        host: Architecture,
    ) -> Self {
        let make_variables = if kernel == host {
            Vec::new()
        } else {
            let name = match kernel {
                Architecture::Amd64 => "x86",
                Architecture::Arm64 => "arm64",
            };
            vec![
                ("ARCH".to_owned(), name.to_owned()),
                ("CROSS_COMPILE".to_owned(), cross_prefix.to_owned()),
            ]
        };
        let clang = if kernel == host {
            "clang".to_owned()
        } else {
            // The driver tells architectures apart by the compiler's own macros.
            format!("clang --target={}-linux-gnu", kernel.machine())
        };
        Self {
            compiler: compiler.to_owned(),
            strip: format!("{cross_prefix}strip"),
            clang,
            llc: "llc".to_owned(),
            make_variables,
        }
    }
}

/// A kernel tree and the compilers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSettings {
    /// The directory that `make -C` is given.
    pub folder: String,
    /// Whether the tree has a `Module.symvers`; without one, unresolved symbols are warnings.
    pub has_symvers: bool,
    /// What compiles for it.
    pub compilers: Compilers,
}

/// What the prepare step needs to know.
#[derive(Clone, Debug)]
pub struct PrepareSettings<'a> {
    /// The architecture of the kernel.
    pub architecture: Architecture,
    /// What compiles for it.
    pub compilers: &'a Compilers,
    /// What `CONFIG_LOCALVERSION` must be, also when it is empty.
    pub local_version: String,
    /// What `EXTRAVERSION` must be, where it is not the source's own.
    pub extra_version: Option<String>,
    /// Where the header tree will be shown to builds, and so where it is in the step's tree: `/usr/src/linux-6.1.55`.
    pub folder: String,
}

/// What the download step needs to know.
#[derive(Clone, Debug)]
pub struct DownloadSettings<'a> {
    /// The package manager's word: `yum` or `zypper`.
    pub manager: &'static str,
    /// Each package as the manager takes it, and the file that it leaves.
    pub packages: Vec<(&'a str, &'a str)>,
}

/// A program of a header tree that is compiled anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramToBuild {
    /// The name of the file that it becomes in [`PROGRAMS`](super::PROGRAMS).
    pub number: usize,
    /// The directory of its sources.
    pub folder: String,
    /// Its sources.
    pub sources: Vec<String>,
}

/// A configure check whose answer is not known yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckToRun {
    /// The name of the directory that receives its answer: letters, digits and `. _ -`.
    pub id: String,
    /// Where it is in the configured driver: `configure/ACCESS_OK_2`, `bpf/configure/RSS_STAT_ARRAY`.
    pub folder: String,
    /// The files that it consists of, relative to the configured driver: nothing else of the driver is there.
    pub files: Vec<String>,
    /// The objects of the module that it compiles, where it does nothing else and so can be compiled with others.
    pub objects: Option<Vec<String>>,
}

/// What a job of checks needs to know. The configured driver is only needed where `checks` holds something.
#[derive(Clone, Debug)]
pub struct ChecksSettings<'a> {
    /// The kernel.
    pub kernel: &'a KernelSettings,
    /// Whether to compile an empty module.
    pub has_toolchain_check: bool,
    /// Whether to compile an empty program for the BPF machine, which takes no kernel.
    pub has_probe_toolchain_check: bool,
    /// The checks to run, in order.
    pub checks: Vec<CheckToRun>,
}

/// A configure check whose answer is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownAnswer {
    /// Where the check is in the configured driver.
    pub folder: String,
    /// The exit status of its `build.sh`.
    pub status: i32,
}

/// What the module step needs to know.
#[derive(Clone, Debug)]
pub struct ModuleSettings<'a> {
    /// The kernel.
    pub kernel: &'a KernelSettings,
    /// The module's name.
    pub module_name: String,
    /// The answers of all checks in `configure/`.
    pub answers: Vec<KnownAnswer>,
}

/// What the probe step needs to know.
#[derive(Clone, Debug)]
pub struct ProbeSettings<'a> {
    /// The kernel.
    pub kernel: &'a KernelSettings,
    /// The answers of all checks in `bpf/configure/`.
    pub answers: Vec<KnownAnswer>,
}

/// The script that downloads header packages with a package manager.
pub fn render_download(settings: &DownloadSettings<'_>) -> Result<String, ScriptError> {
    let DownloadSettings { manager, packages } = settings;
    let package = |&(name, file): &(&str, &str)| context! { name, file };
    let packages: Vec<Value> = packages.iter().map(package).collect();
    let (manager, not_found) = (*manager, NO_SUCH_PACKAGE);
    render("download.sh", context! { manager, packages, not_found })
}

/// The script that compiles programs of header trees.
pub fn render_programs(programs: &[ProgramToBuild]) -> Result<String, ScriptError> {
    render("programs.sh", context! { programs => serialized(programs) })
}

/// The script that makes a header tree of the kernel source and configuration at their places.
pub fn render_prepare(settings: &PrepareSettings<'_>) -> Result<String, ScriptError> {
    let shared_includes = match settings.architecture {
        Architecture::Amd64 => "",
        Architecture::Arm64 => "arch/arm/include",
    };
    let folder = &settings.folder;
    render(
        "prepare.sh",
        context! { folder, shared_includes, ..source_context(settings) },
    )
}

/// The script that builds the kernel of the kernel source and configuration at their places.
pub fn render_kernel(settings: &PrepareSettings<'_>) -> Result<String, ScriptError> {
    let image = match settings.architecture {
        Architecture::Amd64 => "bzImage",
        Architecture::Arm64 => "Image",
    };
    let kernel_file = super::KERNEL_FILE;
    render(
        "kernel.sh",
        context! { image, kernel_file, ..source_context(settings) },
    )
}

/// What configures a kernel source.
fn source_context(settings: &PrepareSettings<'_>) -> Value {
    let PrepareSettings {
        architecture,
        compilers,
        local_version,
        extra_version,
        ..
    } = settings;
    let mut variables = joined_variables(compilers);
    if let Some(version) = extra_version {
        variables.push(format!("EXTRAVERSION={version}"));
    }
    let source_architecture = match architecture {
        Architecture::Amd64 => "x86",
        Architecture::Arm64 => "arm64",
    };
    let compiler = compilers.compiler.as_str();
    context! {
        compiler,
        make_variables => variables,
        local_version,
        source_architecture,
    }
}

/// The script that turns driver sources (CMake layout, at `/driver`) into a configured tree.
pub fn render_configure(settings: &ConfigureSettings) -> Result<String, ScriptError> {
    let ConfigureSettings {
        version,
        module_name,
        device_name,
        has_probe,
    } = settings;
    let version = version.as_str();
    render(
        "configure.sh",
        context! { version, module_name, device_name, has_probe },
    )
}

/// The script that runs checks of the configured driver at `/driver`.
pub fn render_checks(settings: &ChecksSettings<'_>) -> Result<String, ScriptError> {
    let (probe_checks, module_checks): (Vec<_>, Vec<_>) = settings
        .checks
        .iter()
        .partition(|check| check.folder.starts_with("bpf/"));
    let (kbuild_checks, module_checks): (Vec<_>, Vec<_>) = module_checks
        .into_iter()
        .partition(|check| check.objects.is_some());
    let mut files: Vec<&String> = settings
        .checks
        .iter()
        .flat_map(|check| &check.files)
        .collect();
    files.sort();
    files.dedup();
    let kbuild_checks: Vec<Value> = kbuild_checks.into_iter().map(kbuild_check).collect();
    let make_flags: Vec<String> = make_variables(settings.kernel)
        .iter()
        .map(|variable| escape_for_make_flags(variable))
        .collect();
    let ChecksSettings {
        has_toolchain_check,
        has_probe_toolchain_check,
        ..
    } = settings;
    render(
        "checks.sh",
        context! {
            module_checks => serialized(module_checks),
            kbuild_checks => kbuild_checks,
            probe_checks => serialized(probe_checks),
            files => serialized(files),
            machine_faults => MACHINE_FAULTS.as_str(),
            has_toolchain_check,
            has_probe_toolchain_check,
            make_flags => make_flags.join(" "),
            ..kernel_context(settings.kernel)
        },
    )
}

/// A check whose objects are named relative to `configure/`, where kbuild runs.
fn kbuild_check(check: &CheckToRun) -> Value {
    let CheckToRun {
        id,
        folder,
        objects,
        ..
    } = check;
    let name = folder.trim_start_matches("configure/");
    let objects = objects
        .iter()
        .flatten()
        .map(|object| format!("{name}/{object}"));
    context! { id, folder, objects => objects.collect::<Vec<_>>().join(" ") }
}

/// The script that compiles the module of the configured driver at `/driver`.
pub fn render_module(settings: &ModuleSettings<'_>) -> Result<String, ScriptError> {
    render(
        "module.sh",
        context! {
            checks_folder => "configure",
            answers => serialized(&settings.answers),
            module_file => format!("{}.ko", settings.module_name),
            ..kernel_context(settings.kernel)
        },
    )
}

/// The script that compiles the probe of the configured driver at `/driver`.
pub fn render_probe(settings: &ProbeSettings<'_>) -> Result<String, ScriptError> {
    render(
        "probe.sh",
        context! {
            checks_folder => "bpf/configure",
            answers => serialized(&settings.answers),
            ..kernel_context(settings.kernel)
        },
    )
}

fn kernel_context(kernel: &KernelSettings) -> Value {
    let Compilers {
        compiler,
        strip,
        clang,
        llc,
        ..
    } = &kernel.compilers;
    context! {
        compiler,
        strip,
        clang,
        llc,
        kernel_folder => kernel.folder.as_str(),
        make_variables => make_variables(kernel),
        // An empty value means no to every kernel's Makefile; 0 would mean yes to some.
        modpost_warn => if kernel.has_symvers { "" } else { "1" },
    }
}

fn serialized(items: impl Serialize) -> Value {
    Serde(items).into()
}

fn make_variables(kernel: &KernelSettings) -> Vec<String> {
    joined_variables(&kernel.compilers)
}

fn joined_variables(compilers: &Compilers) -> Vec<String> {
    let variables = compilers.make_variables.iter();
    variables
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// One word of the environment variable `MAKEFLAGS`: make splits it at blanks that no backslash protects.
fn escape_for_make_flags(word: &str) -> String {
    let mut escaped = String::with_capacity(word.len());
    for character in word.chars() {
        if character.is_whitespace() || character == '\\' {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests;
