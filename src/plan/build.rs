//! A build and the plan that holds it.

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
use crate::kernel::Kernel;
use crate::matrix::Prove;
use crate::target::LoaderName;

/// How many neighbours of what was left out one processor looks at without a pause.
const NEIGHBOURS: usize = 256;

/// Names a build for people and machines, the same in every run:
/// `<driver version>/<x86_64|aarch64>/<target>_<release>_<version>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BuildId(Arc<str>);

impl BuildId {
    /// The name of the build of a driver version for a kernel.
    pub fn of(driver: &DriverVersion, kernel: &Kernel) -> Self {
        let Kernel {
            target,
            release,
            version,
            architecture,
            ..
        } = kernel;
        let machine = architecture.machine();
        Self(format!("{driver}/{machine}/{target}_{release}_{version}").into())
    }

    /// The name of the build that an artifact at `path` is of, as [`Build::artifact_path`] gives it.
    pub fn of_artifact(path: &Path, module_name: &str) -> Option<Self> {
        let stem = path.file_stem()?.to_str()?;
        let kernel = stem.strip_prefix(module_name)?.strip_prefix('_')?;
        let folder = path.parent()?.to_str()?;
        Some(Self(format!("{folder}/{kernel}").into()))
    }

    /// The text.
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

/// How a build is done; nothing of it names the build. `gcc`, `image` and `environment` are part of keys, the limits
/// are not.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BuildSettings {
    /// How long one step may take.
    pub timeout: Duration,
    /// How much memory one step may use, in bytes.
    pub memory_bytes: u64,
    /// How much one step may write in bytes, where the matrix says so; else as much as it may use memory.
    pub output_bytes: Option<u64>,
    /// How many files one step may write.
    pub output_files: u32,
    /// How large a module may be, in bytes.
    pub module_bytes: u64,
    /// How large a probe may be, in bytes.
    pub probe_bytes: u64,
    /// How many processes one step may have at once.
    pub processes: u32,
    /// How often a transient failure is tried again.
    pub retries: u32,
    /// The compiler version that the matrix demands: `12`.
    pub gcc: Option<String>,
    /// The builder image that the matrix demands.
    pub image: Option<String>,
    /// Further environment variables of the compile.
    pub environment: Vec<(String, String)>,
    /// Whether the module is loaded into its kernel.
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

/// One kernel and one driver version, with the artifacts wanted from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// The driver.
    pub driver: Arc<Driver>,
    /// The artifacts, sorted, without repetition, never empty.
    pub artifacts: Arc<[Artifact]>,
    /// Limits and demands.
    pub settings: Arc<BuildSettings>,
}

impl Build {
    /// Whether it is for the kernel of another build of the same plan.
    pub fn shares_kernel(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.kernel, &other.kernel)
    }

    /// Whether it is for the same kernel as another build, whichever matrix has it.
    pub fn is_of_same_kernel(&self, other: &Self) -> bool {
        // Most neighbours share it: no need to look into it.
        self.shares_kernel(other) || self.kernel.identity() == other.kernel.identity()
    }

    /// Whether a matrix or the command line names its compiler or its builder image.
    pub fn demands_toolchain(&self) -> bool {
        self.settings.gcc.is_some() || self.settings.image.is_some()
    }

    /// Its name.
    pub fn id(&self) -> BuildId {
        BuildId::of(&self.driver.version, &self.kernel)
    }

    /// Where an artifact belongs, relative to `out/`:
    /// `<driver version>/<machine>/<module name>_<target>_<release>_<version>.<ko|o>`, as the loader asks for it.
    pub fn artifact_path(&self, artifact: Artifact) -> PathBuf {
        self.path_for(&LoaderName::of(&self.kernel), artifact)
    }

    /// The same under another name of the kernel.
    pub fn path_for(&self, kernel: &LoaderName, artifact: Artifact) -> PathBuf {
        let name = self.name_for(kernel);
        let extension = artifact.extension();
        PathBuf::from(self.driver.version.as_str())
            .join(self.kernel.architecture.machine())
            .join(format!("{name}.{extension}"))
    }

    /// The names of its artifacts for a name of the kernel, without their extensions:
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

/// Something that the matrix names and the plan does not hold, with the rule that left it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The kernel's identity, or what of it the rule is about.
    pub kernel: Arc<Kernel>,
    /// The driver version, when the rule is about one.
    pub driver: Option<DriverVersion>,
    /// The artifact, when the rule is about one; otherwise all of them are left out.
    pub artifact: Option<Artifact>,
    /// The rule: `support floor`, `exclude`, `architecture`, `artifacts`, `image`, `gone`, `unknown target`,
    /// `no kernel package`, `source unavailable`, `published`.
    pub rule: Arc<str>,
    /// Why, for a person.
    pub reason: Arc<str>,
    /// Where the rule is: `matrices/debian.toml:12`.
    #[serde(default)]
    pub place: Option<Arc<str>>,
    /// The day on which the kernel was first seen, where a lock says it.
    #[serde(default)]
    pub first_seen: Option<Date>,
}

impl LeftOut {
    /// The rule of targets whose source could not be queried and of which no lock names a kernel.
    pub const SOURCE_UNAVAILABLE: &str = "source unavailable";
    /// The rule of what is published already, where that was to be enough.
    pub const PUBLISHED: &str = "published";
    /// The release of the kernel that stands for all kernels of such a target.
    pub const UNKNOWN_RELEASE: &str = "0-unknown";

    /// What was left out, for a person: the kernel, or the target where no kernel of it is known.
    pub fn subject(&self) -> String {
        let kernel = &*self.kernel;
        if &*self.rule == Self::SOURCE_UNAVAILABLE {
            format!("all of {} {}", kernel.target, kernel.architecture)
        } else {
            kernel.to_string()
        }
    }
}

/// A kernel and a driver version of which the support floors leave nothing to build, or the matrix asks for nothing.
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
    /// What was left out, in the same order.
    pub left_out: Vec<LeftOut>,
    /// What the support floors leave without any artifact, in any order: dbg-go's trees name it all the same.
    pub unbuilt: Vec<Unbuilt>,
    /// How many equal builds were named more than once.
    pub duplicates: usize,
    /// The days on which kernels were first seen.
    pub first_seen: FirstSeen,
    /// The loader's names for the kernels of the whole plan, whatever filters leave of it.
    pub names: Names,
}

impl Plan {
    /// The number of artifacts wanted.
    pub fn artifact_count(&self) -> usize {
        self.builds.iter().map(|build| build.artifacts.len()).sum()
    }

    /// Takes the days on which kernels were first seen, and notes them with what was left out, which is sorted.
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

    /// A digest over the identities of all builds and their artifacts, in order.
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
