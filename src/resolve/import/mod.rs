//! Import of dbg-go's trees and kernel-crawler's lists as matrices.

mod imported;
mod tree;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::ResolveError;
use crate::driver::DriverVersion;
use crate::kernel::Architecture;
use imported::{Imported, quoted, relative};

/// Creates a matrix from a dbg-go tree or from kernel-crawler lists. Paths in the matrix are relative to `folder`;
/// `drivers` are the driver versions of the matrix.
pub(crate) fn import(
    paths: &[String],
    folder: &Path,
    drivers: &[DriverVersion],
) -> Result<Imported, ResolveError> {
    if let [path] = paths
        && Path::new(path).is_dir()
    {
        return tree::matrix_of(Path::new(path), folder, drivers);
    }
    let mut lists: Vec<(Architecture, PathBuf)> = Vec::new();
    for path in paths {
        let (architecture, path) = list_of(path)?;
        if lists.iter().any(|(known, _)| *known == architecture) {
            return Err(ResolveError::input(format!("{architecture} has two lists")));
        }
        lists.push((architecture, path));
    }
    lists.sort();
    let drivers: Vec<&str> = drivers.iter().map(DriverVersion::as_str).collect();
    if drivers.is_empty() {
        return Err(ResolveError::Input {
            message: "a kernel list contains no driver versions".to_owned(),
            help: Some("name them: --driver 8.1.0+driver".to_owned()),
        });
    }
    let architectures: Vec<&str> = lists.iter().map(|(one, _)| one.as_str()).collect();
    let mut places = String::new();
    for (position, (architecture, path)) in lists.iter().enumerate() {
        let separator = if position > 0 { ", " } else { "" };
        let path = quoted(&relative(path, folder)?.to_string_lossy());
        // Writing to a String cannot fail.
        let _ = write!(places, "{separator}{architecture} = {path}");
    }
    let text = format!(
        "drivers = {drivers:?}\narchitectures = {architectures:?}\nartifacts = [\"module\"]\n\n[[target]]\nname = \"*\"\nkernels = {{ from = \"kernel-crawler\", path = {{ {places} }} }}\n"
    );
    Ok(Imported {
        text,
        doubts: Vec::new(),
    })
}

/// Returns the architecture and the path of a list.
fn list_of(text: &str) -> Result<(Architecture, PathBuf), ResolveError> {
    let (architecture, path) = match text.split_once('=') {
        Some((name, path)) if name.parse::<Architecture>().is_ok() => (name.parse().ok(), path),
        _ => {
            let mut words = text.rsplit(['/', '.', '_', '-']);
            let is_x86 = text.contains("x86_64");
            let told = words.find_map(|word| word.parse().ok());
            (told.or(is_x86.then_some(Architecture::Amd64)), text)
        }
    };
    if path.contains("://") {
        return Err(ResolveError::Input {
            message: format!("import reads files and directories, not URLs: {path}"),
            help: Some(
                "download the list first, or name its URL in a matrix: kernels = { from = \"kernel-crawler\", url = { \
                 amd64 = \"...\" } }"
                    .to_owned(),
            ),
        });
    }
    let path = PathBuf::from(path);
    if !path.is_file() {
        let what = if path.exists() {
            "is not a file"
        } else {
            "does not exist"
        };
        return Err(ResolveError::input(format!("{} {what}", path.display())));
    }
    match architecture {
        Some(architecture) => Ok((architecture, path)),
        None => Err(ResolveError::Input {
            message: format!("the file name {text} contains no architecture"),
            help: Some(format!("write amd64={text} or arm64={text}")),
        }),
    }
}
