//! Imports a dbg-go tree as a matrix: one `[[target]]` for each driver version and set of outputs; versions with the
//! same files share one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::imported::{Imported, quoted, relative};
use crate::diagnostic::Diagnostic;
use crate::digest::Sha256;
use crate::driver::{Artifact, DEFAULT_NAME, DriverVersion};
use crate::driverkit::{Tree, TreeFile, read_tree};
use crate::kernel::Architecture;
use crate::resolve::ResolveError;
use crate::text::count;

/// Returns the matrix of a tree. If `drivers` is not empty, every kernel of the tree is built for these versions.
pub(super) fn matrix_of(
    path: &Path,
    folder: &Path,
    drivers: &[DriverVersion],
) -> Result<Imported, ResolveError> {
    let tree = read_tree(path).map_err(ResolveError::Diagnostics)?;
    let mut doubts: Vec<String> = tree
        .warnings
        .iter()
        .map(|warning| warning.message().to_owned())
        .collect();
    let seen = |path: &Path| -> Result<String, ResolveError> {
        Ok(quoted(&relative(path, folder)?.to_string_lossy()))
    };
    if !drivers.is_empty() {
        let artifacts: BTreeSet<Artifact> = tree
            .files
            .iter()
            .flat_map(|file| file.artifacts.iter().copied())
            .collect();
        let drivers: Vec<String> = drivers.iter().map(ToString::to_string).collect();
        let mut text = head(&drivers, &tree.files);
        let _ = write!(
            text,
            "\n[[target]]\nname = \"*\"\nartifacts = {}\nkernels = {{ from = \"driverkit\", path = {} }}\n",
            words(&artifacts),
            seen(path)?
        );
        return Ok(Imported { text, doubts });
    }
    let versions = versions_of(path, &tree)?;
    let names: Vec<String> = versions.keys().map(ToString::to_string).collect();
    let mut text = head(&names, &tree.files);
    for (version, files) in &versions {
        text += &driver_table(version, files)?;
    }
    for (versions, artifacts, newest) in sets_of(&versions) {
        let names: Vec<String> = versions.iter().map(ToString::to_string).collect();
        let _ = write!(
            text,
            "\n[[target]]\nname = \"*\"\ndrivers = {names:?}\nartifacts = {list}\nkernels = {{ from = \"driverkit\", path = {path}, outputs = {list} }}\n",
            list = words(&artifacts),
            path = seen(newest)?
        );
    }
    for file in &tree.files {
        text += &override_table(file);
    }
    doubts.extend(lost_keys(&tree.files));
    Ok(Imported { text, doubts })
}

/// Returns the files of each version, from the oldest to the newest.
fn versions_of<'a>(
    path: &Path,
    tree: &'a Tree,
) -> Result<BTreeMap<&'a DriverVersion, Vec<&'a TreeFile>>, ResolveError> {
    let mut versions: BTreeMap<&DriverVersion, Vec<&TreeFile>> = BTreeMap::new();
    let mut faults = Vec::new();
    for file in &tree.files {
        match file.driver.as_ref().filter(|_| file.folder.is_some()) {
            Some(version) => versions.entry(version).or_default().push(file),
            None => faults.push(file),
        }
    }
    let Some(first) = faults.first() else {
        return Ok(versions);
    };
    Err(ResolveError::Input {
        message: format!(
            "{} has files outside of directories <driver version>/<x86_64|aarch64>: the driver version of {} is unknown",
            path.display(),
            first.path.display()
        ),
        help: Some(
            "name the directory driverkit/config of dbg-go, or the versions: --driver 8.1.0+driver"
                .to_owned(),
        ),
    })
}

/// Returns the settings that all builds of the tree share.
fn head(drivers: &[String], files: &[TreeFile]) -> String {
    let architectures: BTreeSet<Architecture> =
        files.iter().map(|file| file.kernel.architecture).collect();
    format!(
        "drivers = {drivers:?}\narchitectures = {}\n",
        words(&architectures)
    )
}

fn words<'a, T: ToString + 'a>(all: impl IntoIterator<Item = &'a T>) -> String {
    let all: Vec<String> = all.into_iter().map(ToString::to_string).collect();
    format!("{all:?}")
}

/// Returns the `[driver]` table of a version, if its files name the module or the device.
fn driver_table(version: &DriverVersion, files: &[&TreeFile]) -> Result<String, ResolveError> {
    let mut table = String::new();
    for (key, of) in [
        (
            "module_name",
            (|file: &TreeFile| file.module_name.clone()) as fn(&TreeFile) -> Option<String>,
        ),
        // Outputs contain the module's name, but not that of the device.
        ("device_name", |file| {
            let usual = || (!file.artifacts.is_empty()).then(|| DEFAULT_NAME.to_owned());
            file.device_name.clone().or_else(usual)
        }),
    ] {
        let mut named = files.iter().filter_map(|file| Some((of(file)?, file)));
        let Some((name, first)) = named.next() else {
            continue;
        };
        if let Some((other, file)) = named.find(|(other, _)| *other != name) {
            let message = format!(
                "driver {version} has two names: `{name}` in {}, `{other}` in {}",
                first.path.display(),
                file.path.display()
            );
            let help = "in one matrix a driver version has one name: import the files of each name into a separate matrix";
            return Err(ResolveError::Diagnostics(vec![
                Diagnostic::error(message).help(help),
            ]));
        }
        if name != DEFAULT_NAME {
            let _ = writeln!(table, "{key} = {}", quoted(&name));
        }
    }
    Ok(if table.is_empty() {
        table
    } else {
        format!("\n[driver.{}]\n{table}", quoted(version.as_str()))
    })
}

type Set<'a> = (Vec<&'a DriverVersion>, Vec<Artifact>, &'a Path);

/// Groups versions whose files of one kind name the same kernels, with the directory of the newest version.
fn sets_of<'a>(versions: &BTreeMap<&'a DriverVersion, Vec<&'a TreeFile>>) -> Vec<Set<'a>> {
    let mut sets: Vec<(Sha256, Set<'a>)> = Vec::new();
    // Start with the newest version, whose directory represents the group.
    for (version, files) in versions.iter().rev() {
        let mut kinds: BTreeMap<&[Artifact], Vec<&TreeFile>> = BTreeMap::new();
        for file in files {
            kinds.entry(&file.artifacts).or_default().push(file);
        }
        for (artifacts, files) in kinds {
            let digest = digest_of(&files);
            let same = sets
                .iter_mut()
                .find(|(known, set)| *known == digest && set.1 == artifacts);
            if let Some((_, set)) = same {
                set.0.insert(0, version);
            } else {
                let folder = files[0].folder.as_deref().unwrap_or(Path::new("."));
                sets.push((digest, (vec![version], artifacts.to_vec(), folder)));
            }
        }
    }
    sets.into_iter().map(|(_, set)| set).collect()
}

/// Returns a digest of the kernels that the files describe.
fn digest_of(files: &[&TreeFile]) -> Sha256 {
    let mut lines: Vec<String> = files
        .iter()
        .map(|file| {
            let kernel = &file.kernel;
            let urls: Vec<&str> = kernel.packages.iter().map(|one| &*one.url).collect();
            format!("{} {:?} {urls:?}\n", kernel.id(), kernel.config_sha256)
        })
        .collect();
    lines.sort();
    Sha256::of(lines.concat())
}

/// Returns the `[[override]]` with the settings that a file demands for its build.
fn override_table(file: &TreeFile) -> String {
    let Some(version) = &file.driver else {
        return String::new();
    };
    let mut settings = String::new();
    for (key, value) in [("gcc", &file.gcc), ("image", &file.image)] {
        if let Some(value) = value {
            let _ = writeln!(settings, "{key} = {}", quoted(value));
        }
    }
    if settings.is_empty() {
        return settings;
    }
    let kernel = &file.kernel;
    format!(
        "\n[[override]]\ntarget = {}\nkernel = {}\narchitecture = \"{}\"\ndriver = {}\n{settings}",
        quoted(kernel.target.as_str()),
        quoted(kernel.release.as_str()),
        kernel.architecture,
        quoted(version.as_str())
    )
}

/// Reports keys of the files that the matrix does not have.
fn lost_keys(files: &[TreeFile]) -> Vec<String> {
    let mut by_key: BTreeMap<&str, Vec<&TreeFile>> = BTreeMap::new();
    for file in files {
        for key in &file.other_keys {
            by_key.entry(key).or_default().push(file);
        }
    }
    by_key
        .into_iter()
        .map(|(key, files)| {
            format!(
                "`{key}` of {} is not imported: {}",
                count(files.len(), "file"),
                files[0].path.display()
            )
        })
        .collect()
}
