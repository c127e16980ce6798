//! `plan --format driverkit`: writes a plan as a tree of YAML files for dbg-go, so that both tools can be run side by
//! side. As in dbg-go's trees, a kernel below the support floors has a file without outputs.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use rayon::prelude::*;
use serde::Serialize;

use super::{Planned, ResolveError};
use crate::digest::Sha256;
use crate::driver::{Artifact, DEFAULT_NAME, Driver, DriverVersion};
use crate::fs;
use crate::kernel::{Architecture, Kernel, KernelRelease, KernelVersion, TargetId};
use crate::plan::{Build, Plan};
use crate::yaml;

/// A YAML file, with the keys that dbg-go writes in dbg-go's order, followed by the keys that dbg-go does not write.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    gccversion: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    builderimage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moduledevicename: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    moduledrivername: Option<&'a str>,
}

#[derive(Serialize)]
struct Output {
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    probe: Option<String>,
}

/// The kernel and the driver that a file describes.
#[derive(Clone, Copy)]
struct Subject<'a> {
    kernel: &'a Kernel,
    driver: &'a Driver,
    /// The build; `None` below the support floors.
    build: Option<&'a Build>,
}

impl<'a> Subject<'a> {
    /// Returns the builds of a plan, and the kernels and drivers that are not built because of the support floors.
    fn all(plan: &'a Plan) -> Vec<Self> {
        let mut subjects: Vec<Self> = plan
            .builds
            .iter()
            .map(|build| Self {
                kernel: &build.kernel,
                driver: &build.driver,
                build: Some(build),
            })
            .collect();
        // Several matrices may name the same kernel, and one may request a build that another does not.
        let mut known: HashSet<_> = subjects.iter().map(|subject| subject.identity()).collect();
        let mut unbuilt: Vec<Self> = Vec::new();
        for one in &plan.unbuilt {
            let subject = Self {
                kernel: &one.kernel,
                driver: &one.driver,
                build: None,
            };
            if known.insert(subject.identity()) {
                unbuilt.push(subject);
            }
        }
        subjects.append(&mut unbuilt);
        subjects
    }

    fn identity(
        self,
    ) -> (
        (
            &'a TargetId,
            &'a KernelRelease,
            &'a KernelVersion,
            Architecture,
        ),
        &'a DriverVersion,
    ) {
        (self.kernel.identity(), &self.driver.version)
    }

    /// Returns the directory of the file.
    fn folder(self, root: &Path) -> PathBuf {
        root.join(self.driver.version.as_str())
            .join(self.kernel.architecture.machine())
    }
}

/// Writes a file for each kernel and driver version below `folder`:
/// `driverkit/config/<driver version>/<machine>/<target>_<release>_<version>.yaml`. Returns the number of files.
pub(crate) fn write(planned: &Planned, folder: &Path) -> Result<usize, ResolveError> {
    let root = folder.join("driverkit").join("config");
    let subjects = Subject::all(&planned.plan);
    let configs = encode_configs(planned, &subjects)?;
    let folders: BTreeSet<PathBuf> = subjects.iter().map(|one| one.folder(&root)).collect();
    for folder in folders {
        fs::create_folder(&folder)?;
    }
    subjects
        .par_iter()
        .map(|subject| write_file(*subject, &root, &configs))
        .collect::<Result<(), ResolveError>>()?;
    Ok(subjects.len())
}

/// Returns the kernel configurations of a plan, encoded in base64.
fn encode_configs(
    planned: &Planned,
    subjects: &[Subject<'_>],
) -> Result<BTreeMap<Sha256, String>, ResolveError> {
    let kernels = subjects.iter().map(|subject| subject.kernel);
    let wanted: BTreeSet<Sha256> = kernels.filter_map(|kernel| kernel.config_sha256).collect();
    wanted
        .into_iter()
        .map(|digest| {
            let file = planned.configs.get(&digest).ok_or_else(|| {
                ResolveError::input(format!(
                    "no file is known for the kernel configuration {digest}"
                ))
            })?;
            let content = file.read(digest)?;
            let encoded = base64::engine::general_purpose::STANDARD.encode(content);
            Ok((digest, encoded))
        })
        .collect()
}

fn write_file<'a>(
    subject: Subject<'a>,
    root: &Path,
    configs: &'a BTreeMap<Sha256, String>,
) -> Result<(), ResolveError> {
    let kernel = subject.kernel;
    let output = |artifact: Artifact| {
        let build = subject.build?;
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
    let settings = subject.build.map(|build| &*build.settings);
    let unusual = |name: &'a str| (name != DEFAULT_NAME).then_some(name);
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
        gccversion: settings.and_then(|settings| settings.gcc.as_deref()),
        builderimage: settings.and_then(|settings| settings.image.as_deref()),
        moduledevicename: unusual(&subject.driver.device_name),
        moduledrivername: unusual(&subject.driver.module_name),
    };
    let text = yaml::write(&file).map_err(ResolveError::input)?;
    let (target, release, version) = (&kernel.target, &kernel.release, &kernel.version);
    let path = subject
        .folder(root)
        .join(format!("{target}_{release}_{version}.yaml"));
    Ok(fs::write_unsynced(&path, text)?)
}
