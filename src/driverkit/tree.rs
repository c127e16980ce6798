//! Directories of configuration files: dbg-go's tree, `<driver version>/<machine>/<target>_<release>_<version>.yaml`,
//! or any other layout. Every file is read by the rules of a single build; in dbg-go's tree, its path is also checked
//! against its content, as `dbg-go configs validate` does.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::tree_file::read_tree_file;
use crate::diagnostic::{Diagnostic, Place, SourceFile};
use crate::driver::{Artifact, DriverVersion};
use crate::fs;
use crate::kernel::{Architecture, Kernel};

/// The maximum number of faults that are shown; a faulty script easily creates thousands of the same kind.
const SHOWN_FAULTS: usize = 50;

/// The content of a tree's files.
#[derive(Debug, Default)]
pub struct Tree {
    /// The files, by driver version from the oldest to the newest, then by path.
    pub files: Vec<TreeFile>,
    /// Warnings about files in the tree that are not configuration files.
    pub warnings: Vec<Diagnostic>,
}

/// The content of a file.
#[derive(Clone, Debug)]
pub struct TreeFile {
    /// The path.
    pub path: PathBuf,
    /// The directory of its driver version, in dbg-go's layout.
    pub folder: Option<PathBuf>,
    /// The driver version of that directory, or the one in the file.
    pub driver: Option<DriverVersion>,
    /// The kernel.
    pub kernel: Kernel,
    /// The position of the kernel's release in the file.
    pub(super) release_span: Range<usize>,
    /// The content of the kernel's `.config`, if given.
    pub config: Option<Vec<u8>>,
    /// The requested artifacts, sorted; empty if `output` is empty.
    pub artifacts: Vec<Artifact>,
    /// The name of the module, from `moduledrivername` or from the names of the output files.
    pub module_name: Option<String>,
    /// `moduledevicename`.
    pub device_name: Option<String>,
    /// `gccversion`.
    pub gcc: Option<String>,
    /// `builderimage`, if it names an image.
    pub image: Option<String>,
    /// Other keys of the file that affect a single build.
    pub other_keys: Vec<&'static str>,
}

/// The layout of a file, from the names of its directories.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// The architecture of the directory; `None` if the file is not in dbg-go's layout.
    pub(super) architecture: Option<Architecture>,
    /// The name of the parent of that directory.
    pub(super) version: Option<String>,
}

impl Layout {
    fn of(path: &Path) -> Self {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut folders = absolute.ancestors().skip(1).map(|folder| {
            let name = folder.file_name()?;
            Some(name.to_string_lossy().into_owned())
        });
        let name = folders.next().flatten().unwrap_or_default();
        let mut machines = Architecture::ALL.into_iter();
        let architecture = machines.find(|architecture| architecture.machine() == name);
        Self {
            architecture,
            version: architecture.and_then(|_| folders.next().flatten()),
        }
    }
}

/// Reads every `.yaml` and `.yml` file below a directory, or a single file. The error has all faults, each with its
/// file and line.
pub fn read_tree(folder: &Path) -> Result<Tree, Vec<Diagnostic>> {
    if !folder.exists() {
        let message = format!("failed to read {}: it does not exist", folder.display());
        return Err(vec![Diagnostic::error(message)]);
    }
    let (paths, warnings) = paths_of(folder).map_err(|fault| vec![fault])?;
    let read: Vec<Result<TreeFile, Vec<Diagnostic>>> = paths
        .into_par_iter()
        .map(|path| read_tree_file(&path, &Layout::of(&path)))
        .collect();
    let mut tree = Tree {
        files: Vec::with_capacity(read.len()),
        warnings,
    };
    let mut faults = Vec::new();
    for one in read {
        match one {
            Ok(file) => tree.files.push(file),
            Err(mut wrong) => faults.append(&mut wrong),
        }
    }
    if tree.files.is_empty() && faults.is_empty() {
        let message = format!("{} contains no YAML file", folder.display());
        let fault = Diagnostic::error(message);
        return Err(vec![fault.help(
            "name the directory driverkit/config of dbg-go, or a directory of driverkit's files",
        )]);
    }
    tree.files.sort_by(|left, right| {
        let by_version = left.driver.cmp(&right.driver);
        by_version.then_with(|| left.path.cmp(&right.path))
    });
    faults.append(&mut duplicates(&tree.files));
    if faults.is_empty() {
        return Ok(tree);
    }
    let hidden = faults.len().saturating_sub(SHOWN_FAULTS);
    faults.truncate(SHOWN_FAULTS);
    if hidden > 0 {
        faults.push(Diagnostic::error(format!("{hidden} more faults")));
    }
    Err(faults)
}

/// Returns the configuration files below a directory, sorted, and a warning for each other file beside them.
fn paths_of(folder: &Path) -> Result<(Vec<PathBuf>, Vec<Diagnostic>), Diagnostic> {
    let mut paths = Vec::new();
    let mut warnings = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            Diagnostic::error(fs::FileError::of("read", path)(error.into()).to_string())
        })?;
        if !entry.file_type().is_file() {
            continue;
        }
        let extension = entry.path().extension().and_then(|text| text.to_str());
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        if matches!(extension, Some("yaml" | "yml")) {
            paths.push(entry.into_path());
        } else if !is_hidden && Layout::of(entry.path()).architecture.is_some() {
            warnings.push(Diagnostic::warning(format!(
                "ignoring {}: configuration files end with .yaml",
                entry.path().display()
            )));
        }
    }
    Ok((paths, warnings))
}

/// Returns an error for each kernel that two files describe for one driver version.
fn duplicates(files: &[TreeFile]) -> Vec<Diagnostic> {
    let mut known: HashMap<_, &TreeFile> = HashMap::with_capacity(files.len());
    let mut faults = Vec::new();
    for file in files {
        let Some(first) = known.insert((&file.driver, file.kernel.identity()), file) else {
            continue;
        };
        let of = match &file.driver {
            Some(version) => format!(" for driver {version}"),
            None => String::new(),
        };
        let mut fault = Diagnostic::error(format!("kernel {} is listed twice{of}", file.kernel));
        for (file, label) in [(file, "again here"), (first, "first here")] {
            let source = SourceFile {
                path: file.path.clone(),
                text: fs::read_to_string(&file.path).unwrap_or_default(),
            };
            let place = Place {
                file: Arc::new(source),
                span: file.release_span.clone(),
            };
            fault = fault.at(place, label);
        }
        faults.push(fault.help("remove one of the two files"));
    }
    faults
}
