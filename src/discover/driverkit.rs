//! Reads directories of YAML files that driverkit reads and dbg-go generates. The paths of the files are
//! `<driver version>/<machine>/<target>_<release>_<version>.yaml`.

use std::collections::HashMap;
use std::path::Path;

use super::DiscoverError;
use super::listed::{Found, Listed};
use crate::driver::Artifact;
use crate::driverkit::{TreeFile, read_tree};
use crate::kernel::KernelId;

/// The maximum number of kernels and files that a notice names.
const NAMED: usize = 3;

/// Reads every YAML file below `folder`; with `outputs`, only those that ask for exactly these artifacts. The
/// directories of several driver versions mostly contain the same kernels. Each kernel is returned once, from the
/// newest version.
pub(super) fn read(folder: &Path, outputs: Option<&[Artifact]>) -> Result<Listed, DiscoverError> {
    let tree = read_tree(folder).map_err(DiscoverError::Files)?;
    let mut listed = Listed::default();
    let warnings = tree.warnings.iter();
    listed
        .notices
        .extend(warnings.map(|warning| warning.message().to_owned()));
    let files: Vec<TreeFile> = tree
        .files
        .into_iter()
        .filter(|file| outputs.is_none_or(|wanted| file.artifacts == wanted))
        .collect();
    // A matrix that `import` wrote already contains the other keys of the files.
    if outputs.is_none() {
        listed.notices.extend(unused_keys(&files));
    }
    // From the newest version to the oldest: the first file with a kernel is used.
    let mut newest: HashMap<KernelId, usize> = HashMap::with_capacity(files.len());
    let mut conflicts = Vec::new();
    for (position, file) in files.iter().enumerate().rev() {
        let first = *newest.entry(file.kernel.id()).or_insert(position);
        let counts = &files[first];
        if !counts.kernel.has_same_inputs(&file.kernel) {
            conflicts.push(format!(
                "{} ({}, not {})",
                file.kernel,
                counts.path.display(),
                file.path.display()
            ));
        }
    }
    if !conflicts.is_empty() {
        conflicts.sort();
        listed.notices.push(format!(
            "{}: {} other packages or another configuration in an older driver version, the newest version is used: {}",
            folder.display(),
            match conflicts.len() {
                1 => "1 kernel has".to_owned(),
                count => format!("{count} kernels have"),
            },
            shortened(conflicts)
        ));
    }
    for (position, file) in files.into_iter().enumerate() {
        if newest.get(&file.kernel.id()) != Some(&position) {
            continue;
        }
        if let (Some(digest), Some(config)) = (file.kernel.config_sha256, file.config) {
            listed.configs.insert(digest, config);
        }
        listed.found.push(Found {
            kernel: file.kernel.into(),
            published: None,
            position: 0,
        });
    }
    Ok(listed)
}

/// Returns a notice for each key of the files that configures builds: a source provides only kernels.
fn unused_keys(files: &[TreeFile]) -> Vec<String> {
    let mut by_key: Vec<(&str, Vec<String>)> = Vec::new();
    for file in files {
        let given = [
            ("builderimage", file.image.is_some()),
            ("gccversion", file.gcc.is_some()),
        ];
        let given = given.into_iter().filter(|(_, is_given)| *is_given);
        let others = file.other_keys.iter().map(|key| (*key, true));
        for (key, _) in given.chain(others) {
            let path = file.path.display().to_string();
            match by_key.iter_mut().find(|(known, _)| *known == key) {
                Some((_, paths)) => paths.push(path),
                None => by_key.push((key, vec![path])),
            }
        }
    }
    let notice = |(key, paths): (&str, Vec<String>)| {
        let instead = match key {
            "builderimage" | "gccversion" => "`image` and `gcc` of an [[override]]",
            _ => "a [driver] table",
        };
        format!(
            "`{key}` is not supported in files of a source, use {instead} in the matrix instead: {}",
            shortened(paths)
        )
    };
    by_key.into_iter().map(notice).collect()
}

/// Returns the first few names, and the number of the others.
fn shortened(mut names: Vec<String>) -> String {
    let hidden = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    if hidden > 0 {
        names.push(format!("and {hidden} more"));
    }
    names.join("; ")
}
