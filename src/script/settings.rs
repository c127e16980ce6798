//! The settings of each step, and the scripts that are rendered from them.

use minijinja::context;
use minijinja::value::{Serde, Value};
use serde::Serialize;

use super::NO_SUCH_PACKAGE;
use super::classify::MACHINE_FAULTS;
use super::environment::{ScriptError, render};
use crate::driver::DriverVersion;
use crate::kernel::Architecture;

/// The settings of the configure step.
#[derive(Clone, Debug)]
pub struct ConfigureSettings {
    /// The driver version; also used as the commit.
    pub version: DriverVersion,
    /// The module's name.
    pub module_name: String,
    /// The prefix of the character devices.
    pub device_name: String,
    /// True if the sources contain a probe.
    pub has_probe: bool,
}

/// The programs that compile for a kernel. A pure function of the arguments of [`Compilers::new`]: everything on the
/// command line that differs between kernels is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compilers {
    /// The C compiler: `gcc-12`, `aarch64-linux-gnu-gcc-12`.
    pub compiler: String,
    /// The program that strips debug symbols.
    pub strip: String,
    /// Clang with its options, as a single string for make.
    pub clang: String,
    /// LLVM's static compiler.
    pub llc: String,
    /// Additional variables for every make command line, in order.
    pub make_variables: Vec<(String, String)>,
}

impl Compilers {
    /// Returns the compilers for a kernel of one architecture on a machine of another (or the same): `compiler` is the
    /// name of the C compiler, `cross_prefix` precedes the names of its binutils, and clang and llc have their plain
    /// names. A cross compiler emulates nothing: the header tree's own programs must be built for the host.
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
            // The driver distinguishes architectures by the compiler's own macros.
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
    /// The directory passed to `make -C`.
    pub folder: String,
    /// True if the tree has a `Module.symvers`; without one, unresolved symbols are warnings.
    pub has_symvers: bool,
    /// The compilers.
    pub compilers: Compilers,
}

/// The settings of the prepare and kernel steps.
#[derive(Clone, Debug)]
pub struct PrepareSettings<'a> {
    /// The architecture of the kernel.
    pub architecture: Architecture,
    /// The compilers.
    pub compilers: &'a Compilers,
    /// The value of `CONFIG_LOCALVERSION`, which may be empty.
    pub local_version: String,
    /// The value of `EXTRAVERSION`, if it differs from the source's own.
    pub extra_version: Option<String>,
    /// The path of the header tree in builds, and so its path in the step's tree: `/usr/src/linux-6.1.55`.
    pub folder: String,
}

/// The settings of the download step.
#[derive(Clone, Debug)]
pub struct DownloadSettings<'a> {
    /// The name of the package manager: `yum` or `zypper`.
    pub manager: &'static str,
    /// Each package as an argument of the package manager, and the name of the downloaded file.
    pub packages: Vec<(&'a str, &'a str)>,
}

/// A program of a header tree to compile again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProgramToBuild {
    /// The name of its output file in [`PROGRAMS`](super::PROGRAMS).
    pub number: usize,
    /// The directory of its sources.
    pub folder: String,
    /// The paths of its sources.
    pub sources: Vec<String>,
}

/// A configure check without a known answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckToRun {
    /// The name of the directory that receives its answer: letters, digits and `. _ -`.
    pub id: String,
    /// Its path in the configured driver: `configure/ACCESS_OK_2`, `bpf/configure/RSS_STAT_ARRAY`.
    pub folder: String,
    /// Its files, relative to the configured driver; it sees no other files of the driver.
    pub files: Vec<String>,
    /// The objects of its module, if it only compiles a module and so can be compiled together with others.
    pub objects: Option<Vec<String>>,
}

/// The settings of a job of checks. The job needs the configured driver only if `checks` is not empty.
#[derive(Clone, Debug)]
pub struct ChecksSettings<'a> {
    /// The kernel.
    pub kernel: &'a KernelSettings,
    /// Whether to compile an empty module.
    pub has_toolchain_check: bool,
    /// Whether to compile an empty program for the BPF machine, which needs no kernel.
    pub has_probe_toolchain_check: bool,
    /// The checks to run, in order.
    pub checks: Vec<CheckToRun>,
}

/// A configure check with a known answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownAnswer {
    /// The path of the check in the configured driver.
    pub folder: String,
    /// The exit status of its `build.sh`.
    pub status: i32,
}

/// The settings of the module step.
#[derive(Clone, Debug)]
pub struct ModuleSettings<'a> {
    /// The kernel.
    pub kernel: &'a KernelSettings,
    /// The module's name.
    pub module_name: String,
    /// The answers of all checks in `configure/`.
    pub answers: Vec<KnownAnswer>,
}

/// The settings of the probe step.
#[derive(Clone, Debug)]
pub struct ProbeSettings<'a> {
    /// The kernel.
    pub kernel: &'a KernelSettings,
    /// The answers of all checks in `bpf/configure/`.
    pub answers: Vec<KnownAnswer>,
}

/// Renders the script that downloads header packages with a package manager.
pub fn render_download(settings: &DownloadSettings<'_>) -> Result<String, ScriptError> {
    let DownloadSettings { manager, packages } = settings;
    let package = |&(name, file): &(&str, &str)| context! { name, file };
    let packages: Vec<Value> = packages.iter().map(package).collect();
    let (manager, not_found) = (*manager, NO_SUCH_PACKAGE);
    render("download.sh", context! { manager, packages, not_found })
}

/// Renders the script that compiles programs of header trees.
pub fn render_programs(programs: &[ProgramToBuild]) -> Result<String, ScriptError> {
    render("programs.sh", context! { programs => serialized(programs) })
}

/// Renders the script that prepares a header tree from the kernel source and configuration at their fixed paths.
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

/// Renders the script that builds the kernel from the kernel source and configuration at their fixed paths.
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

/// The template context for configuring a kernel source.
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

/// Renders the script that turns driver sources (CMake layout, at `/driver`) into a configured tree.
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

/// Renders the script that runs checks of the configured driver at `/driver`.
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

/// The template context of a check, with its objects relative to `configure/`, where kbuild runs.
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

/// Renders the script that compiles the module of the configured driver at `/driver`.
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

/// Renders the script that compiles the probe of the configured driver at `/driver`.
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

/// Escapes one word of the environment variable `MAKEFLAGS`: make splits it at unescaped blanks.
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
