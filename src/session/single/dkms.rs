//! `local --dkms`: builds the module with DKMS, from the sources that a package has installed in `/usr/src`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::SingleSettings;
use super::headers::installed_headers;
use crate::driverkit::{LogLevel, Output, Request};
use crate::exit::ExitStatus;
use crate::fs;
use crate::resolve::{Context, ResolveError};
use crate::verify::{ExpectedModule, KernelTreeFacts, read_installed_tree, verify_module};

/// The directories of DKMS.
#[derive(Clone, Debug)]
pub struct DkmsDirectories {
    /// The directory of sources: `/usr/src`.
    pub sources: PathBuf,
    /// The build directory: `/var/lib/dkms`.
    pub tree: PathBuf,
}

/// Module sources that DKMS can build.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    name: String,
    version: String,
    folder: PathBuf,
}

/// Builds the request's module with DKMS, first with the kernel's own compiler and then with the others, and writes the
/// module.
pub fn build_with_dkms(
    context: &Context,
    directories: &DkmsDirectories,
    settings: SingleSettings,
    request: &Request,
) -> Result<ExitStatus, ResolveError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ResolveError::Input {
            message: "DKMS needs root".to_owned(),
            help: Some("run it as root, or omit --dkms: other builds do not need root".to_owned()),
        });
    }
    let headers = installed_headers(request.kernel.release.as_str())?;
    let tree =
        read_installed_tree(&headers).map_err(|error| ResolveError::input(error.to_string()))?;
    let source = find_source(&directories.sources, request)?;
    let mut attempts = vec![None];
    attempts.extend(compilers().into_iter().map(Some));
    let mut told = Vec::new();
    for compiler in attempts {
        let shown = compiler.as_deref().unwrap_or("the kernel's own compiler");
        if settings.level >= LogLevel::Info {
            context.notice(&format!(
                "  building {} {} with DKMS and {shown}",
                source.name, source.version
            ));
        }
        match attempt(directories, request, &source, &headers, compiler.as_deref())? {
            Ok(module) => return keep(context, settings, request, &tree, &headers, &module, shown),
            Err(text) => {
                if settings.level >= LogLevel::Debug {
                    context.notice(&text);
                }
                told.push(format!("{shown}: {}", first_error(&text)));
            }
        }
    }
    context.notice("failed: DKMS could not build the module");
    for line in told {
        context.notice(&format!("  {line}"));
    }
    Ok(ExitStatus::Incomplete)
}

/// Checks the module and writes it to the output path.
fn keep(
    context: &Context,
    settings: SingleSettings,
    request: &Request,
    tree: &KernelTreeFacts,
    headers: &Path,
    module: &[u8],
    compiler: &str,
) -> Result<ExitStatus, ResolveError> {
    let symvers = std::fs::read_to_string(headers.join("Module.symvers")).ok();
    let expected = ExpectedModule {
        name: &request.driver.module_name,
        architecture: request.kernel.architecture,
        tree,
        symvers: symvers.as_deref(),
    };
    if let Err(defects) = verify_module(module, &expected) {
        context.notice(&format!(
            "failed: the module built by DKMS cannot be loaded: {defects}"
        ));
        return Ok(ExitStatus::Incomplete);
    }
    for Output { path, .. } in &request.outputs {
        fs::write(path, module)?;
        if settings.level >= LogLevel::Info {
            context.notice(&format!(
                "module: built by DKMS with {compiler}: {}",
                path.display()
            ));
        }
    }
    Ok(ExitStatus::Success)
}

/// Runs one build. The error is the output of DKMS and the compiler.
fn attempt(
    directories: &DkmsDirectories,
    request: &Request,
    source: &Source,
    headers: &Path,
    compiler: Option<&str>,
) -> Result<Result<Vec<u8>, String>, ResolveError> {
    // DKMS expects its sources in a directory of this name.
    let named = tempfile::tempdir().map_err(|error| {
        ResolveError::infrastructure(format!("failed to create a temporary directory: {error}"))
    })?;
    let link = named
        .path()
        .join(format!("{}-{}", source.name, source.version));
    std::os::unix::fs::symlink(&source.folder, &link).map_err(fs::FileError::of("link", &link))?;
    let release = request.kernel.release.as_str();
    let machine = request.kernel.architecture.machine();
    let mut command = Command::new("dkms");
    command
        .args([
            "build",
            "--force",
            "-m",
            &source.name,
            "-v",
            &source.version,
        ])
        .args(["-k", release, "-a", machine])
        .arg("--sourcetree")
        .arg(named.path())
        .arg("--dkmstree")
        .arg(&directories.tree)
        .arg("--kernelsourcedir")
        .arg(headers);
    if let Some(compiler) = compiler {
        command.arg(format!(
            "--directive=MAKE[0]=make CC={compiler} KERNELDIR={}",
            headers.display()
        ));
    }
    let output =
        command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| ResolveError::Infrastructure {
                message: format!("failed to start dkms: {error}"),
                help: Some("install package dkms, or omit --dkms".to_owned()),
            })?;
    let folder = directories
        .tree
        .join(&source.name)
        .join(&source.version)
        .join(release)
        .join(machine);
    let mut text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    if !output.status.success() {
        let logs = [
            folder.join("log/make.log"),
            directories
                .tree
                .join(&source.name)
                .join(&source.version)
                .join("build/make.log"),
        ];
        for log in logs {
            text += &String::from_utf8_lossy(&std::fs::read(log).unwrap_or_default());
        }
        return Ok(Err(text));
    }
    Ok(
        read_module(&folder.join("module"), &request.driver.module_name)
            .map_err(|error| format!("{error}\n{text}")),
    )
}

/// Returns the decompressed module from the directory.
fn read_module(folder: &Path, name: &str) -> Result<Vec<u8>, String> {
    let read = |ending: &str| std::fs::read(folder.join(format!("{name}.ko{ending}"))).ok();
    let unpacked = |result: std::io::Result<Vec<u8>>| result.map_err(|error| error.to_string());
    if let Some(module) = read("") {
        return Ok(module);
    }
    if let Some(packed) = read(".zst") {
        return unpacked(zstd::decode_all(&*packed));
    }
    let mut module = Vec::new();
    if let Some(packed) = read(".xz") {
        let mut decoder = liblzma::read::XzDecoder::new(&*packed);
        return unpacked(std::io::Read::read_to_end(&mut decoder, &mut module).map(|_| module));
    }
    if let Some(packed) = read(".gz") {
        let mut decoder = flate2::read::GzDecoder::new(&*packed);
        return unpacked(std::io::Read::read_to_end(&mut decoder, &mut module).map(|_| module));
    }
    Err(format!("DKMS wrote no {name}.ko to {}", folder.display()))
}

/// Returns the sources of the request's module and version.
fn find_source(folder: &Path, request: &Request) -> Result<Source, ResolveError> {
    let wanted = request.driver.version.as_str();
    let short = wanted.trim_end_matches("+driver");
    let module = request.driver.module_name.as_str();
    let mut others = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(text) = std::fs::read_to_string(entry.path().join("dkms.conf")) else {
            continue;
        };
        let value = |key: &str| value_of(&text, key);
        let (Some(name), Some(version)) = (value("PACKAGE_NAME"), value("PACKAGE_VERSION")) else {
            continue;
        };
        let builds = value("BUILT_MODULE_NAME[0]").unwrap_or_else(|| name.clone());
        if builds == module && (version == wanted || version == short) {
            return Ok(Source {
                name,
                version,
                folder: entry.path(),
            });
        }
        others.push(format!("{builds} {version}"));
    }
    others.sort();
    Err(ResolveError::Input {
        message: format!(
            "DKMS has no sources of module {module} in version {wanted}: no {}/*/dkms.conf names this module and version",
            folder.display()
        ),
        help: Some(if others.is_empty() {
            "install the package with the sources (Debian: falcosecurity-scap-dkms)".to_owned()
        } else {
            format!(
                "installed are {}: name one with --moduledrivername and --driverversion",
                others.join(", ")
            )
        }),
    })
}

/// Returns the value of a line `KEY="value"` of a `dkms.conf`.
fn value_of(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line
            .trim()
            .strip_prefix(key)?
            .trim_start()
            .strip_prefix('=')?;
        Some(value.trim().trim_matches(['"', '\'']).to_owned())
    })
}

/// Returns the compilers that can be called by their version, the highest first.
fn compilers() -> Vec<String> {
    let mut found: Vec<(u32, String)> = std::fs::read_dir("/usr/bin")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = name.strip_prefix("gcc-")?.parse().ok()?;
            Some((version, name))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, name)| name).collect()
}

/// Returns the first line that contains an error, trimmed; without such a line, the last line.
fn first_error(text: &str) -> String {
    let line = text
        .lines()
        .find(|line| line.contains("error:"))
        .or_else(|| {
            text.lines()
                .find(|line| line.contains("Error") || line.contains("ERROR"))
        })
        .or_else(|| text.lines().last());
    line.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_configuration_are_parsed() {
        let text =
            "PACKAGE_NAME=\"scap\"\n PACKAGE_VERSION='0.20.0'\nBUILT_MODULE_NAME[0] = scap\n";
        assert_eq!(value_of(text, "PACKAGE_NAME").as_deref(), Some("scap"));
        assert_eq!(value_of(text, "PACKAGE_VERSION").as_deref(), Some("0.20.0"));
        assert_eq!(
            value_of(text, "BUILT_MODULE_NAME[0]").as_deref(),
            Some("scap")
        );
        assert_eq!(value_of(text, "NONE"), None);
    }

    #[test]
    fn the_first_error_is_a_compiler_error_if_there_is_one() {
        assert_eq!(
            first_error("a\nb.c:1: error: c\nError! d\n"),
            "b.c:1: error: c"
        );
        assert_eq!(
            first_error("a\nError! Bad return status\n"),
            "Error! Bad return status"
        );
        assert_eq!(first_error(""), "");
    }
}
