//! The layout of an unpacked directory of driver sources.

use std::path::{Path, PathBuf};

use crate::fs::{FileError, ForeignError, ForeignFolder};
use crate::unpack::UnpackError;

/// The layout of driver sources.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// A checkout of falcosecurity/libs: `driver/CMakeLists.txt` and `cmake/modules`. Must be configured; accepts any
    /// module name.
    CMake,
    /// An older checkout: `driver/Makefile.in` without a CMake project. Configured by filling in names.
    Old,
    /// Already configured, with `Makefile` and `driver_config.h`, as in the dkms packages. Used as it is.
    Flat {
        /// The module name for which it is configured.
        module_name: String,
    },
}

/// An unpacked directory of driver sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverSource {
    /// The directory of the sources, which is mounted at `/driver`.
    pub folder: PathBuf,
    /// The layout of the sources.
    pub layout: Layout,
    /// Whether there is a legacy eBPF probe.
    pub has_probe: bool,
}

/// The error if a directory cannot be used as driver sources.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the sources does not exist or cannot be used.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// The directory has no known layout.
    #[error(
        "{} contains no driver: expected driver/CMakeLists.txt or driver/Makefile.in (a checkout of falcosecurity/libs), or Makefile with driver_config.h (configured sources)",
        .0.display()
    )]
    Layout(PathBuf),
    /// The commit of a clone cannot be read.
    #[error("the clone {} cannot be used: {message}", repository.display())]
    Git {
        /// The clone.
        repository: PathBuf,
        /// The error message.
        message: String,
    },
    /// A version file contains no version.
    #[error("{} contains no version of three numbers", .0.display())]
    Version(PathBuf),
    /// The Makefile of a flat source names no module.
    #[error("{} does not name a module (the line `obj-m += <name>.o` is missing)", .0.display())]
    NoModule(PathBuf),
    /// A configure check includes a file outside of the driver.
    #[error("{} includes {included}, which is outside of the driver", path.display())]
    Include {
        /// The file with the include.
        path: PathBuf,
        /// The included path.
        included: String,
    },
    /// The sources cannot be unpacked or hashed.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A file name is not UTF-8.
    #[error("the name of {} is not UTF-8", .0.display())]
    Name(PathBuf),
    /// A path is not a file, directory or link.
    #[error("{} is not a file, a directory or a link", .0.display())]
    Kind(PathBuf),
}

impl SourceError {
    /// Returns the error of this machine, if it caused the failure; otherwise the sources are at fault.
    pub fn machine_failure(&self) -> Option<&FileError> {
        match self {
            Self::File(error) | Self::Unpack(UnpackError::File(error)) => {
                Some(error).filter(|error| !error.is_not_found())
            }
            Self::Foreign(error) => error.machine_failure(),
            _ => None,
        }
    }
}

/// The maximum size of a driver file that is read here.
pub(super) const MOST_FILE_BYTES: u64 = 4 << 20;

impl DriverSource {
    /// Returns the paths in the directory that a build needs: only some of a checkout, which also contains the
    /// libraries around the driver.
    pub fn parts(&self) -> &'static [&'static str] {
        match self.layout {
            Layout::CMake => &["driver", "cmake"],
            Layout::Old => &["driver"],
            Layout::Flat { .. } => &["."],
        }
    }
}

/// Determines the layout of the sources in `folder`. The single top-level directory of a tarball (`libs-0.20.0/`) is
/// entered.
pub fn read_source(folder: &Path) -> Result<DriverSource, SourceError> {
    let mut folder = single_folder(folder)?;
    // The directory of a configured driver may have this name, too.
    let is_flat = folder.join("Makefile").is_file() && folder.join("driver_config.h").is_file();
    let is_driver = folder.file_name().is_some_and(|name| name == "driver")
        && !is_flat
        && ["CMakeLists.txt", "Makefile.in"]
            .iter()
            .any(|name| folder.join(name).is_file());
    if is_driver {
        // `driver` is the only directory of the sources.
        folder.pop();
    }
    let has = |path: &str| folder.join(path).is_file();
    if has("driver/CMakeLists.txt") {
        return Ok(DriverSource {
            has_probe: has("driver/bpf/probe.c"),
            layout: Layout::CMake,
            folder,
        });
    }
    if has("driver/Makefile.in") {
        return Ok(DriverSource {
            has_probe: has("driver/bpf/probe.c"),
            layout: Layout::Old,
            folder,
        });
    }
    if has("Makefile") && has("driver_config.h") {
        return Ok(DriverSource {
            layout: Layout::Flat {
                module_name: module_name(&folder)?,
            },
            has_probe: has("bpf/probe.c") && has("bpf/Makefile"),
            folder,
        });
    }
    Err(SourceError::Layout(folder))
}

/// Returns the innermost directory of a chain in which each directory contains only the next one.
pub fn single_folder(folder: &Path) -> Result<PathBuf, FileError> {
    const DEEPEST: usize = 8;
    let mut current = folder.to_owned();
    for _ in 0..DEEPEST {
        let mut entries = std::fs::read_dir(&current).map_err(FileError::of("read", &current))?;
        match (entries.next(), entries.next()) {
            (Some(Ok(only)), None) if only.file_type().is_ok_and(|kind| kind.is_dir()) => {
                current = only.path();
            }
            _ => break,
        }
    }
    Ok(current)
}

/// Returns the name in the Makefile's line `obj-m += <name>.o`.
pub(super) fn module_name(folder: &Path) -> Result<String, SourceError> {
    let name = Path::new("Makefile");
    let bytes = ForeignFolder::open(folder)?.read(name, MOST_FILE_BYTES)?;
    let text = String::from_utf8_lossy(&bytes);
    text.lines()
        .find_map(|line| {
            let value = line.strip_prefix("obj-m")?.trim_start();
            let value = value
                .strip_prefix("+=")
                .or_else(|| value.strip_prefix(":="))?;
            let name = value.trim().strip_suffix(".o")?;
            let is_name = !name.is_empty()
                && name
                    .chars()
                    .all(|found| found.is_ascii_alphanumeric() || "_-".contains(found));
            is_name.then(|| name.to_owned())
        })
        .ok_or_else(|| SourceError::NoModule(folder.join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            fs::write(&folder.path().join(path), text).unwrap();
        }
        folder
    }

    #[test]
    fn layouts_are_recognised() {
        let cmake = folder(&[
            ("libs-0.20.0/driver/CMakeLists.txt", ""),
            ("libs-0.20.0/driver/bpf/probe.c", ""),
            ("libs-0.20.0/cmake/modules/compute_versions.cmake", ""),
        ]);
        let source = read_source(cmake.path()).unwrap();
        assert_eq!(source.layout, Layout::CMake);
        assert!(source.has_probe && source.folder.ends_with("libs-0.20.0"));

        let flat = folder(&[
            ("Makefile", "scap-y += main.o\nobj-m += scap.o\n"),
            ("driver_config.h", "#define DRIVER_NAME \"scap\"\n"),
            ("main.c", ""),
        ]);
        let named_driver = folder(&[
            ("a/driver/Makefile", "scap-y += main.o\nobj-m += scap.o\n"),
            ("a/driver/driver_config.h", ""),
            ("a/driver/CMakeLists.txt", ""),
        ]);
        let source = read_source(&named_driver.path().join("a/driver")).unwrap();
        assert!(matches!(source.layout, Layout::Flat { .. }) && source.folder.ends_with("driver"));

        let source = read_source(flat.path()).unwrap();
        let module_name = "scap".to_owned();
        assert_eq!(source.layout, Layout::Flat { module_name });
        assert!(!source.has_probe);
    }

    #[test]
    fn other_layouts_are_refused() {
        let other = folder(&[("README.md", ""), ("x.c", "")]);
        let error = read_source(other.path()).unwrap_err();
        assert!(matches!(error, SourceError::Layout(_)), "{error}");
        let no_module = folder(&[("Makefile", "all:\n"), ("driver_config.h", "")]);
        let error = read_source(no_module.path()).unwrap_err();
        assert!(matches!(error, SourceError::NoModule(_)), "{error}");
        let error = read_source(Path::new("/nonexistent")).unwrap_err();
        assert!(matches!(error, SourceError::File(_)), "{error}");
    }
}
