//! `plan --format driverkit`: a plan as the tree of YAML files that dbg-go works from, so that both can be run side by
//! side.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use rayon::prelude::*;
use serde::Serialize;

use super::{CliError, Planned};
use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::fs;
use crate::plan::Build;
use crate::yaml;

/// A file, with its keys in the order in which dbg-go writes them.
#[derive(Serialize)]
struct File<'a> {
    kernelversion: &'a str,
    kernelrelease: &'a str,
    target: &'a str,
    architecture: &'a str,
    output: Output,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kernelurls: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernelconfigdata: Option<&'a str>,
}

#[derive(Serialize)]
struct Output {
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<String>,
}

/// Writes a file for each build below `folder`:
/// `driverkit/config/<driver version>/<machine>/<target>_<release>_<version>.yaml`. Returns how many.
pub(super) fn write(planned: &Planned, folder: &Path) -> Result<usize, CliError> {
    let configs = encode_configs(planned)?;
    let root = folder.join("driverkit").join("config");
    let builds = &planned.plan.builds;
    let folders: BTreeSet<PathBuf> = builds.iter().map(|build| folder_of(&root, build)).collect();
    for folder in folders {
        fs::create_folder(&folder)?;
    }
    builds
        .par_iter()
        .map(|build| write_build(build, &root, &configs))
        .collect::<Result<(), CliError>>()?;
    Ok(builds.len())
}

fn folder_of(root: &Path, build: &Build) -> PathBuf {
    root.join(build.driver.version.as_str())
        .join(build.kernel.architecture.machine())
}

/// The kernel configurations of a plan, in base64.
fn encode_configs(planned: &Planned) -> Result<BTreeMap<Sha256, String>, CliError> {
    let kernels = planned.plan.builds.iter().map(|build| &build.kernel);
    let wanted: BTreeSet<Sha256> = kernels.filter_map(|kernel| kernel.config_sha256).collect();
    wanted
        .into_iter()
        .map(|digest| {
            let file = planned.configs.get(&digest).ok_or_else(|| {
                CliError::input(format!(
                    "no file is known for the kernel configuration {digest}"
                ))
            })?;
            let content = file.read(digest)?;
            let encoded = base64::engine::general_purpose::STANDARD.encode(content);
            Ok((digest, encoded))
        })
        .collect()
}

fn write_build(
    build: &Build,
    root: &Path,
    configs: &BTreeMap<Sha256, String>,
) -> Result<(), CliError> {
    let kernel = &build.kernel;
    let output = |artifact: Artifact| {
        let is_wanted = build.artifacts.contains(&artifact);
        is_wanted.then(|| format!("output/{}", build.artifact_path(artifact).display()))
    };
    let mut urls: Vec<&str> = kernel
        .packages
        .iter()
        .map(|package| &*package.url)
        .collect();
    urls.sort_unstable();
    urls.dedup();
    let file = File {
        kernelversion: kernel.version.as_str(),
        kernelrelease: kernel.release.as_str(),
        target: kernel.target.as_str(),
        architecture: kernel.architecture.as_str(),
        output: Output {
            module: output(Artifact::Module),
            probe: output(Artifact::Probe),
        },
        kernelurls: urls,
        kernelconfigdata: kernel
            .config_sha256
            .and_then(|digest| configs.get(&digest))
            .map(String::as_str),
    };
    let text = yaml::write(&file).map_err(CliError::input)?;
    let (target, release, version) = (&kernel.target, &kernel.release, &kernel.version);
    let path = folder_of(root, build).join(format!("{target}_{release}_{version}.yaml"));
    Ok(fs::write_unsynced(&path, text)?)
}
