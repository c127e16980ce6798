//! Builds and plans.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{FirstSeen, Names};
use crate::digest::Sha256;
use crate::driver::{Artifact, Driver, DriverVersion};
use crate::kernel::{Identity, Kernel};
use crate::matrix::Prove;
use crate::target::LoaderName;

/// The number of left-out entries in one unit of parallel work.
const NEIGHBOURS: usize = 256;

/// Names a build for people and machines, the same in every run:
/// `<driver version>/<x86_64|aarch64>/<target>_<release>_<version>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BuildId(Arc<str>);

impl BuildId {
    /// Returns the id of the build of a driver version for a kernel.
    pub fn of(driver: &DriverVersion, kernel: &Kernel) -> Self {
        Self(format!("{driver}/{}", Self::kernel_part(kernel.identity())).into())
    }

    /// Returns the part of ids that names the kernel: `<x86_64|aarch64>/<target>_<release>_<version>`.
    pub fn kernel_part((target, release, version, architecture): Identity<'_>) -> String {
        let machine = architecture.machine();
        format!("{machine}/{target}_{release}_{version}")
    }

    /// Returns the id of the build that produced the artifact at `path`, which has the form of
    /// [`Build::artifact_path`]. `None` for a path of another form.
    pub fn of_artifact(path: &Path, module_name: &str) -> Option<Self> {
        let stem = path.file_stem()?.to_str()?;
        let kernel = stem.strip_prefix(module_name)?.strip_prefix('_')?;
        let folder = path.parent()?.to_str()?;
        Some(Self(format!("{folder}/{kernel}").into()))
    }

    /// The id as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", &self.0)
    }
}

/// The settings of a build, which are not part of its id. `gcc`, `image` and `environment` are part of step keys, the
/// limits are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BuildSettings {
    /// The time limit of one step.
    pub timeout: Duration,
    /// The memory limit of one step in bytes.
    pub memory_bytes: u64,
    /// The maximum output of one step in bytes; `None` applies the memory limit.
    pub output_bytes: Option<u64>,
    /// The maximum number of files that one step may write.
    pub output_files: u32,
    /// The maximum size of a module in bytes.
    pub module_bytes: u64,
    /// The maximum size of a probe in bytes.
    pub probe_bytes: u64,
    /// The maximum number of concurrent processes of one step.
    pub processes: u32,
    /// The maximum number of retries after a transient failure.
    pub retries: u32,
    /// The compiler version that the matrix requires: `12`.
    pub gcc: Option<String>,
    /// The builder image that the matrix requires.
    pub image: Option<String>,
    /// Additional environment variables for the compile.
    pub environment: Vec<(String, String)>,
    /// Whether the module is loaded into its kernel as a proof.
    #[serde(default, skip_serializing_if = "Prove::is_none")]
    pub prove: Prove,
}

impl Default for BuildSettings {
    /// Ten minutes, 2 GiB of memory and of output in 200,000 files, modules of 64 MiB, probes of 128 MiB, 512
    /// processes, 2 retries.
    fn default() -> Self {
        Self {
            timeout: Duration::from_mins(10),
            memory_bytes: 2 << 30,
            output_bytes: None,
            output_files: 200_000,
            module_bytes: 64 << 20,
            probe_bytes: 128 << 20,
            processes: 512,
            retries: 2,
            gcc: None,
            image: None,
            environment: Vec::new(),
            prove: Prove::None,
        }
    }
}

/// One kernel and one driver version, with the artifacts to build for the pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// The driver.
    pub driver: Arc<Driver>,
    /// The artifacts: sorted, without duplicates, never empty.
    pub artifacts: Arc<[Artifact]>,
    /// The limits, the required toolchain and the environment.
    pub settings: Arc<BuildSettings>,
}

impl Build {
    /// Returns whether two builds share one `Kernel` value. True only for builds of the same kernel, but builds of the
    /// same kernel need not share the value.
    pub fn shares_kernel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel)
    }

    /// Returns whether both builds are for the same kernel, even if the kernels come from different matrices.
    pub fn is_of_same_kernel(&self, other: &Self) -> bool {
        // Most neighbours share the value, which makes the comparison cheap.
        self.shares_kernel(other) || self.kernel.identity() == other.kernel.identity()
    }

    /// Returns whether a matrix or the command line sets the compiler or the builder image.
    pub fn demands_toolchain(&self) -> bool {
        self.settings.gcc.is_some() || self.settings.image.is_some()
    }

    /// The id of the build.
    pub fn id(&self) -> BuildId {
        BuildId::of(&self.driver.version, &self.kernel)
    }

    /// Returns the path of an artifact relative to `out/`, in the form that the loader requests:
    /// `<driver version>/<machine>/<module name>_<target>_<release>_<version>.<ko|o>`.
    pub fn artifact_path(&self, artifact: Artifact) -> PathBuf {
        self.path_for(&LoaderName::of(&self.kernel), artifact)
    }

    /// Returns the path of an artifact relative to `out/`, under the given name of the kernel.
    pub fn path_for(&self, kernel: &LoaderName, artifact: Artifact) -> PathBuf {
        let name = self.name_for(kernel);
        let extension = artifact.extension();
        PathBuf::from(self.driver.version.as_str())
            .join(self.kernel.architecture.machine())
            .join(format!("{name}.{extension}"))
    }

    /// Returns the file name of the artifacts under the given name of the kernel, without an extension:
    /// `<module name>_<target>_<release>_<version>`.
    pub fn name_for(&self, kernel: &LoaderName) -> String {
        let LoaderName {
            target,
            release,
            version,
        } = kernel;
        format!("{}_{target}_{release}_{version}", self.driver.module_name)
    }
}

/// An entry of the matrix that is not in the plan, with the rule that left it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The kernel; a placeholder for the rule [`Self::SOURCE_UNAVAILABLE`].
    pub kernel: Arc<Kernel>,
    /// The driver version; `None` if the rule applies to all of them.
    pub driver: Option<DriverVersion>,
    /// The artifact; `None` if all of them are left out.
    pub artifact: Option<Artifact>,
    /// The rule: `support floor`, `exclude`, `architecture`, `artifacts`, `image`, `gone`, `unknown target`,
    /// `no kernel package`, `source unavailable`, `published`, `not built`.
    pub rule: Arc<str>,
    /// The reason, for messages.
    pub reason: Arc<str>,
    /// Where the rule is: `matrices/debian.toml:12`.
    #[serde(default)]
    pub place: Option<Arc<str>>,
    /// The day on which the kernel was first seen; `None` if no lock records it.
    #[serde(default)]
    pub first_seen: Option<Date>,
}

impl LeftOut {
    /// The rule for targets whose source could not be queried and that have no kernel in any lock.
    pub const SOURCE_UNAVAILABLE: &str = "source unavailable";
    /// The rule for artifacts that are already published, if the run skips those.
    pub const PUBLISHED: &str = "published";
    /// The rule for artifacts that are not built yet, if the run only proves what earlier runs built.
    pub const NOT_BUILT: &str = "not built";
    /// The release of the placeholder for all kernels of a target with the rule [`Self::SOURCE_UNAVAILABLE`].
    pub const UNKNOWN_RELEASE: &str = "0-unknown";

    /// Leaves out an artifact of a build, or all of them.
    pub(super) fn of_build(
        build: &Build,
        artifact: Option<Artifact>,
        rule: &'static str,
        reason: &Arc<str>,
    ) -> Self {
        Self {
            kernel: Arc::clone(&build.kernel),
            driver: Some(build.driver.version.clone()),
            artifact,
            rule: rule.into(),
            reason: Arc::clone(reason),
            place: None,
            first_seen: None,
        }
    }

    /// Describes what was left out, for messages: the kernel, or the whole target if none of its kernels is known.
    pub fn subject(&self) -> String {
        let kernel = &*self.kernel;
        if &*self.rule == Self::SOURCE_UNAVAILABLE {
            format!("all of {} {}", kernel.target, kernel.architecture)
        } else {
            kernel.to_string()
        }
    }
}

/// A kernel and a driver version without an artifact to build: the support floors exclude all of them, or the matrix
/// requests none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unbuilt {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// The driver.
    pub driver: Arc<Driver>,
}

/// The ordered, deduplicated list of builds.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The builds, in stable order: target, release in version order, version, architecture, driver version.
    pub builds: Vec<Build>,
    /// The left-out entries, in the same order.
    pub left_out: Vec<LeftOut>,
    /// The kernels and drivers without an artifact, in any order; dbg-go's trees list them too.
    pub unbuilt: Vec<Unbuilt>,
    /// The number of duplicate builds that were removed.
    pub duplicates: usize,
    /// The days on which kernels were first seen.
    pub first_seen: FirstSeen,
    /// The loader's names for the kernels of the whole plan; filters do not change them.
    pub names: Names,
}

impl Plan {
    /// The number of artifacts of all builds.
    pub fn artifact_count(&self) -> usize {
        self.builds.iter().map(|build| build.artifacts.len()).sum()
    }

    /// Stores the days on which kernels were first seen, and adds them to the left-out entries, which must be sorted.
    pub(crate) fn note_first_seen(&mut self, first_seen: FirstSeen) {
        self.left_out.par_chunks_mut(NEIGHBOURS).for_each(|chunk| {
            let (Some(first), Some(last)) = (chunk.first(), chunk.last()) else {
                return;
            };
            let near = first_seen.between(first.kernel.identity(), last.kernel.identity());
            for one in chunk.iter_mut().filter(|one| one.first_seen.is_none()) {
                one.first_seen = near.of(one.kernel.identity());
            }
        });
        self.first_seen = first_seen;
    }

    /// The digest of the ids and artifacts of all builds, in order.
    pub fn digest(&self) -> Sha256 {
        use std::fmt::Write as _;
        let mut text = String::new();
        for build in &self.builds {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {:?}", build.id(), build.artifacts);
        }
        Sha256::of(text)
    }
}
