//! `import`: converts a configuration tree of dbg-go, or lists of kernel-crawler, to a matrix with its lock.
//! `validate`: only checks them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::output::{AnswerFormat, print_json};
use super::{CliError, Context, ExitStatus};
use crate::diagnostic::{Diagnostic, Place, Severity, SourceFile};
use crate::driver::DriverVersion;
use crate::driverkit::read_tree;
use crate::fs;
use crate::matrix;
use crate::resolve::{
    RefreshOptions, Sources, import, refresh_all, said_while_busy, said_while_reading,
};
use crate::text::count;

/// Convert dbg-go's configuration tree or kernel-crawler's lists to a matrix and its lock
///
/// Exit code 1 if anything in the input is doubtful; the doubts are printed.
#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// A directory of dbg-go (`driverkit/config`), or kernel-crawler lists as [ARCH=]FILE
    ///
    /// Without ARCH, the architecture of a list follows from its name (`x86_64.json`, `lists/aarch64/list.json`).
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// The matrix to write; the lock is written beside it
    #[arg(long, value_name = "FILE", default_value = "matrices/imported.toml")]
    out: PathBuf,
    /// Driver versions of the matrix [default: the names of the tree's directories]
    #[arg(long, value_name = "VERSION")]
    driver: Vec<DriverVersion>,
    /// Replace an existing matrix and its lock
    #[arg(long)]
    force: bool,
    /// Only check what would be imported, as `dbg-go configs validate` does; write nothing
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    format: AnswerFormat,
}

/// Check dbg-go's configuration trees or driverkit's files, as `dbg-go configs validate` does
///
/// Every fault is shown with its file and line: unknown keys, invalid values, file names, architectures and output
/// paths that do not fit, duplicate kernels.
#[derive(Debug, Args)]
pub(super) struct ValidateArguments {
    /// Directories of configuration files, or single files
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    format: AnswerFormat,
}

/// The findings of `validate`, as JSON.
#[derive(Serialize)]
struct Validated<'a> {
    schema: u32,
    file_count: usize,
    findings: Vec<Fault<'a>>,
}

/// The files that `import` wrote, or would write, as JSON.
#[derive(Serialize)]
struct Imported<'a> {
    schema: u32,
    matrix: &'a Path,
    locks: Vec<&'a Path>,
    is_written: bool,
    kernel_count: usize,
    doubts: Vec<&'a String>,
}

#[derive(Serialize)]
struct Fault<'a> {
    severity: &'static str,
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    message: &'a str,
}

impl<'a> From<&'a Diagnostic> for Fault<'a> {
    fn from(diagnostic: &'a Diagnostic) -> Self {
        let place = diagnostic.place();
        let position = place.map(Place::line_and_column);
        Self {
            severity: match diagnostic.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            file: place.map(|place| place.file.path.display().to_string()),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            message: diagnostic.message(),
        }
    }
}

impl ValidateArguments {
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let mut file_count = 0;
        let mut warnings = Vec::new();
        let mut faults = Vec::new();
        for path in &self.paths {
            match said_while_reading(context, path, || read_tree(path)) {
                Ok(tree) => {
                    file_count += tree.files.len();
                    let good = count(tree.files.len(), "valid file");
                    if !self.format.is_json() {
                        context.warn(&tree.warnings);
                        context.notice(&format!("{}: {good}", path.display()));
                    }
                    warnings.extend(tree.warnings);
                }
                Err(mut wrong) => faults.append(&mut wrong),
            }
        }
        let is_doubtful = !warnings.is_empty();
        if self.format.is_json() {
            print_json(&Validated {
                schema: 1,
                file_count,
                findings: faults.iter().chain(&warnings).map(Fault::from).collect(),
            })?;
            return Ok(if faults.is_empty() {
                status_of(is_doubtful)
            } else {
                ExitStatus::BadInput
            });
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

impl ImportArguments {
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        if self.out.exists() && !self.force && !self.check {
            return Err(CliError::Input {
                message: format!("{} already exists", self.out.display()),
                help: Some("choose another --out, or use --force to replace it".to_owned()),
            });
        }
        let out = self.readable_out();
        let _made = if self.check {
            None
        } else {
            Some(MadeDirectories::of(&out)?)
        };
        let line = || format!("reading {}", self.paths.join(", "));
        let imported = said_while_busy(context, line, || {
            import(
                &self.paths,
                out.parent().unwrap_or(Path::new("")),
                &self.driver,
            )
        })?;
        // The matrix is written last, so that an error leaves no file behind.
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
        let notices = refreshed.iter().flat_map(|one| &one.notices);
        let is_doubtful = !imported.doubts.is_empty() || notices.clone().next().is_some();
        if self.format.is_json() {
            let changes = refreshed.iter().flat_map(|one| &one.changes);
            print_json(&Imported {
                schema: 1,
                matrix: &self.out,
                locks: refreshed.iter().map(|one| &*one.path).collect(),
                is_written: !self.check,
                kernel_count: changes.map(|(_, changes)| changes.total).sum(),
                doubts: imported.doubts.iter().chain(notices).collect(),
            })?;
            return Ok(status_of(is_doubtful));
        }
        for doubt in &imported.doubts {
            context.notice(doubt);
        }
        for one in &refreshed {
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

    /// Returns the path of the matrix. A check does not create its directory; if that is missing, returns the path of
    /// a matrix in the current directory, since paths in a matrix are resolved through an existing directory.
    fn readable_out(&self) -> PathBuf {
        let is_missing = |parent: &Path| !parent.as_os_str().is_empty() && !parent.is_dir();
        match (self.out.parent(), self.out.file_name()) {
            (Some(parent), Some(name)) if self.check && is_missing(parent) => name.into(),
            _ => self.out.clone(),
        }
    }
}

/// The directories that were created for a matrix, innermost first. On drop, those that are empty are removed.
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
            // Fails for a directory that is not empty, as it should.
            drop(std::fs::remove_dir(folder));
        }
    }
}
