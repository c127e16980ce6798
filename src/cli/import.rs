//! `import`: a tree of dbg-go, or lists of kernel-crawler, as a matrix with its lock; `validate`: the checks alone.

mod tree;

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use clap::Args;

use super::{CliError, Context, ExitStatus};
use crate::diagnostic::SourceFile;
use crate::driver::DriverVersion;
use crate::driverkit::read_tree;
use crate::fs;
use crate::kernel::Architecture;
use crate::matrix;
use crate::resolve::{RefreshOptions, Sources, refresh_all};
use crate::text::count;

/// Make a matrix and its lock of dbg-go's configuration tree or of kernel-crawler's lists
///
/// Exit code 1 when something of what was read is in doubt: what that is, is printed.
#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// A directory of dbg-go (`driverkit/config`), or kernel-crawler lists as [ARCH=]FILE
    ///
    /// The architecture of a list follows from its name (`x86_64.json`, `lists/aarch64/list.json`) where it is not given.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// The matrix to write; its lock goes beside it
    #[arg(long, value_name = "FILE", default_value = "matrices/imported.toml")]
    out: PathBuf,
    /// Driver versions of the matrix [default: the tree's directories]
    #[arg(long, value_name = "VERSION")]
    driver: Vec<DriverVersion>,
    /// Replace a matrix that is there, and its lock
    #[arg(long)]
    force: bool,
    /// Only check what would be imported, as `dbg-go configs validate` does; write nothing
    #[arg(long)]
    check: bool,
}

/// Check dbg-go's configuration trees or driverkit's files, as `dbg-go configs validate` does
///
/// Every fault is shown with its file and line: unknown keys, values that are none, file names, architectures and
/// output paths that do not fit, kernels that are named twice.
#[derive(Debug, Args)]
pub(super) struct ValidateArguments {
    /// Directories of configuration files, or single files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
}

impl ValidateArguments {
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let mut is_doubtful = false;
        let mut faults = Vec::new();
        for path in &self.paths {
            match read_tree(path) {
                Ok(tree) => {
                    context.warn(&tree.warnings);
                    is_doubtful |= !tree.warnings.is_empty();
                    let good = count(tree.files.len(), "good file");
                    context.notice(&format!("{}: {good}", path.display()));
                }
                Err(mut wrong) => faults.append(&mut wrong),
            }
        }
        if faults.is_empty() {
            Ok(status_of(is_doubtful))
        } else {
            Err(CliError::Diagnostics(faults))
        }
    }
}

fn status_of(is_doubtful: bool) -> ExitStatus {
    if is_doubtful {
        ExitStatus::Incomplete
    } else {
        ExitStatus::Success
    }
}

/// A matrix that is to be written.
struct Imported {
    text: String,
    /// What of the import is in doubt.
    doubts: Vec<String>,
}

impl ImportArguments {
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        if self.out.exists() && !self.force && !self.check {
            return Err(CliError::Input {
                message: format!("{} is there already", self.out.display()),
                help: Some("write --out with another name, or --force to replace it".to_owned()),
            });
        }
        let out = self.readable_out();
        let _made = if self.check {
            None
        } else {
            Some(MadeDirectories::of(&out)?)
        };
        let imported = self.matrix(out.parent().unwrap_or(Path::new("")))?;
        // The matrix is written last: what cannot be read leaves nothing behind.
        let file = SourceFile {
            path: out,
            text: imported.text.clone(),
        };
        let sources = Sources {
            matrices: vec![matrix::read(Arc::new(file)).map_err(CliError::Diagnostics)?],
        };
        let options = RefreshOptions {
            is_fresh: true,
            is_strict: true,
            is_check: self.check,
            ..RefreshOptions::default()
        };
        let refreshed = refresh_all(&sources, context, options)?;
        if !self.check {
            fs::write(&self.out, &imported.text)?;
        }
        for doubt in &imported.doubts {
            context.notice(doubt);
        }
        let mut is_doubtful = !imported.doubts.is_empty();
        for one in &refreshed {
            is_doubtful |= !one.notices.is_empty();
            let total: usize = one.changes.iter().map(|(_, changes)| changes.total).sum();
            let kernels = count(total, "kernel");
            context.notice(&if self.check {
                format!("nothing written: {kernels} would be imported")
            } else {
                format!(
                    "{} and {}: {kernels}",
                    self.out.display(),
                    one.path.display()
                )
            });
        }
        Ok(status_of(is_doubtful))
    }

    /// Returns where the matrix is, or, for a check without its directory, could be: paths in a matrix go through its
    /// directory, which has to exist for them to be read.
    fn readable_out(&self) -> PathBuf {
        let is_missing = |parent: &Path| !parent.as_os_str().is_empty() && !parent.is_dir();
        match (self.out.parent(), self.out.file_name()) {
            (Some(parent), Some(name)) if self.check && is_missing(parent) => name.into(),
            _ => self.out.clone(),
        }
    }

    fn matrix(&self, folder: &Path) -> Result<Imported, CliError> {
        if let [path] = self.paths.as_slice()
            && Path::new(path).is_dir()
        {
            return tree::matrix_of(Path::new(path), folder, &self.driver);
        }
        let mut lists: Vec<(Architecture, PathBuf)> = Vec::new();
        for path in &self.paths {
            let (architecture, path) = list_of(path)?;
            if lists.iter().any(|(known, _)| *known == architecture) {
                return Err(CliError::input(format!("{architecture} has two lists")));
            }
            lists.push((architecture, path));
        }
        lists.sort();
        let drivers: Vec<&str> = self.driver.iter().map(DriverVersion::as_str).collect();
        if drivers.is_empty() {
            return Err(CliError::Input {
                message: "a list names no drivers".to_owned(),
                help: Some("name them: --driver 8.1.0+driver".to_owned()),
            });
        }
        let architectures: Vec<&str> = lists.iter().map(|(one, _)| one.as_str()).collect();
        let mut paths = String::new();
        for (position, (architecture, path)) in lists.iter().enumerate() {
            let separator = if position > 0 { ", " } else { "" };
            let path = quoted(&relative(path, folder)?.to_string_lossy());
            // Writing to a String cannot fail.
            let _ = write!(paths, "{separator}{architecture} = {path}");
        }
        let text = format!(
            "drivers = {drivers:?}\narchitectures = {architectures:?}\nartifacts = [\"module\"]\n\n[[target]]\nname = \"*\"\nkernels = {{ from = \"kernel-crawler\", path = {{ {paths} }} }}\n"
        );
        Ok(Imported {
            text,
            doubts: Vec::new(),
        })
    }
}

/// The directories that were created for a matrix, innermost first. Removed in the end where nothing was written to them.
struct MadeDirectories(Vec<PathBuf>);

impl MadeDirectories {
    fn of(matrix: &Path) -> Result<Self, CliError> {
        let missing = matrix.ancestors().skip(1);
        let missing = missing.take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let made = Self(missing.map(Path::to_owned).collect());
        if let Some(folder) = made.0.first() {
            fs::create_folder(folder)?;
        }
        Ok(made)
    }
}

impl Drop for MadeDirectories {
    fn drop(&mut self) {
        for folder in &self.0 {
            // Fails for a directory that is in use, as it should.
            drop(std::fs::remove_dir(folder));
        }
    }
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// The architecture and the path of a list.
fn list_of(text: &str) -> Result<(Architecture, PathBuf), CliError> {
    let (architecture, path) = match text.split_once('=') {
        Some((name, path)) if name.parse::<Architecture>().is_ok() => (name.parse().ok(), path),
        _ => {
            let mut words = text.rsplit(['/', '.', '_', '-']);
            let is_x86 = text.contains("x86_64");
            let told = words.find_map(|word| word.parse().ok());
            (told.or(is_x86.then_some(Architecture::Amd64)), text)
        }
    };
    let path = PathBuf::from(path);
    if !path.is_file() {
        return Err(CliError::input(format!("{} is not a file", path.display())));
    }
    match architecture {
        Some(architecture) => Ok((architecture, path)),
        None => Err(CliError::Input {
            message: format!("the name of {text} does not tell its architecture"),
            help: Some(format!("write amd64={text} or arm64={text}")),
        }),
    }
}

/// The path as it is seen from `folder`.
fn relative(path: &Path, folder: &Path) -> Result<PathBuf, CliError> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|error| CliError::File(fs::FileError::of("find", path)(error)))
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let (path, folder) = (absolute(path)?, absolute(folder)?);
    let path: Vec<Component<'_>> = path.components().collect();
    let folder: Vec<Component<'_>> = folder.components().collect();
    let shared = path.iter().zip(&folder).take_while(|(a, b)| a == b).count();
    if shared < 2 {
        return Ok(path.iter().collect());
    }
    let up = folder[shared..].iter().map(|_| Component::ParentDir);
    Ok(up.chain(path[shared..].iter().copied()).collect())
}
