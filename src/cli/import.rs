//! `import`: a tree of dbg-go, or lists of kernel-crawler, as a matrix with its lock.

use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use clap::Args;

use super::output::count;
use super::refresh::RefreshOptions;
use super::sources::Sources;
use super::{CliError, Context, ExitStatus};
use crate::driver::DriverVersion;
use crate::fs;
use crate::kernel::Architecture;

/// Make a matrix and its lock of dbg-go's configuration tree or of kernel-crawler's lists
#[derive(Debug, Args)]
pub(super) struct ImportArguments {
    /// A folder of dbg-go (`driverkit/config`), or kernel-crawler lists as [ARCH=]FILE
    ///
    /// The architecture of a list is told by its name (`x86_64.json`, `lists/aarch64/list.json`) where it is not given.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// The matrix to write; its lock goes beside it
    #[arg(long, value_name = "FILE", default_value = "matrices/imported.toml")]
    out: PathBuf,
    /// Driver versions of the matrix [default: the tree's folders]
    #[arg(long, value_name = "VERSION")]
    driver: Vec<DriverVersion>,
    /// Replace a matrix that is there
    #[arg(long)]
    force: bool,
}

impl ImportArguments {
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        if self.out.exists() && !self.force {
            return Err(CliError::Input {
                message: format!("{} is there already", self.out.display()),
                help: Some("write --out with another name, or --force to replace it".to_owned()),
            });
        }
        let text = self.matrix()?;
        fs::write(&self.out, text)?;
        let sources = Sources::read(std::slice::from_ref(&self.out))?;
        let refreshed = sources.refresh_all(context, RefreshOptions::default())?;
        for one in &refreshed {
            let total: usize = one.changes.iter().map(|(_, changes)| changes.total).sum();
            context.notice(&format!(
                "{} and {}: {}",
                self.out.display(),
                one.path.display(),
                count(total, "kernel")
            ));
        }
        Ok(ExitStatus::Success)
    }

    fn matrix(&self) -> Result<String, CliError> {
        let folder = self.out.parent().unwrap_or(Path::new(""));
        if let [path] = self.paths.as_slice()
            && Path::new(path).is_dir()
        {
            return self.matrix_of_tree(Path::new(path), folder);
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
            let path = quoted(&relative(path, folder)?);
            // Writing to a String cannot fail.
            let _ = write!(paths, "{separator}{architecture} = {path}");
        }
        let source = format!("{{ from = \"kernel-crawler\", path = {{ {paths} }} }}");
        Ok(matrix_text(&drivers, &architectures, &["module"], &source))
    }

    fn matrix_of_tree(&self, tree: &Path, folder: &Path) -> Result<String, CliError> {
        let mut drivers: Vec<String> = self.driver.iter().map(ToString::to_string).collect();
        let mut architectures = Vec::new();
        let mut found = Vec::new();
        for version in folders_in(tree)? {
            let machines: Vec<Architecture> = folders_in(&tree.join(&version))?
                .iter()
                .filter_map(|name| name.parse().ok())
                .collect();
            if machines.is_empty() {
                continue;
            }
            architectures.extend(machines);
            found.push(version);
        }
        if drivers.is_empty() {
            drivers = found;
        }
        if drivers.is_empty() {
            return Err(CliError::Input {
                message: format!(
                    "{} has no folders <driver version>/<x86_64|aarch64>",
                    tree.display()
                ),
                help: Some("name the folder driverkit/config of dbg-go".to_owned()),
            });
        }
        architectures.sort();
        architectures.dedup();
        let architectures: Vec<&str> = architectures.iter().map(|one| one.as_str()).collect();
        let drivers: Vec<&str> = drivers.iter().map(String::as_str).collect();
        let artifacts: &[&str] = if names_probes(tree) {
            &["module", "probe"]
        } else {
            &["module"]
        };
        let path = quoted(&relative(tree, folder)?);
        let source = format!("{{ from = \"driverkit\", path = {path} }}");
        Ok(matrix_text(&drivers, &architectures, artifacts, &source))
    }
}

fn matrix_text(
    drivers: &[&str],
    architectures: &[&str],
    artifacts: &[&str],
    source: &str,
) -> String {
    format!(
        "drivers = {drivers:?}\narchitectures = {architectures:?}\nartifacts = {artifacts:?}\n\n[[target]]\nname = \"*\"\nkernels = {source}\n"
    )
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
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
        return Err(CliError::input(format!("{} is no file", path.display())));
    }
    match architecture {
        Some(architecture) => Ok((architecture, path)),
        None => Err(CliError::Input {
            message: format!("the name of {text} does not tell its architecture"),
            help: Some(format!("write amd64={text} or arm64={text}")),
        }),
    }
}

/// The names of the folders in a folder, sorted.
fn folders_in(folder: &Path) -> Result<Vec<String>, CliError> {
    let wrong = || fs::FileError::of("read folder", folder);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong())? {
        let entry = entry.map_err(wrong())?;
        if entry.path().is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether one of the newest files asks for a probe; looks at one file of each folder only.
fn names_probes(tree: &Path) -> bool {
    let mut folders: Vec<PathBuf> = Vec::new();
    walkdir::WalkDir::new(tree)
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .filter(|entry| {
            let folder = entry.path().parent().map(Path::to_owned);
            let is_new = folders.last() != folder.as_ref();
            folders.extend(folder.filter(|_| is_new));
            is_new
        })
        .any(|entry| {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            text.lines()
                .any(|line| line.trim_start().starts_with("probe:"))
        })
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
