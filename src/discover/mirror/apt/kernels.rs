//! The kernels of apt archives.

use std::collections::{HashMap, HashSet};

use debversion::Version;

use crate::kernel::{Architecture, Kernel};

/// A kernel of an archive, with the properties that it is selected by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorKernel {
    /// The kernel.
    pub kernel: Kernel,
    /// The suite that has the kernel.
    pub suite: String,
    /// The flavour without the architecture: `plain`, `cloud`, `rt`, `16k`; `generic`, `aws`.
    pub flavour: String,
    /// The version of its packages.
    pub version: Version,
}

/// The kernels of archives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorKernels {
    /// The kernels. Within one suite, architecture and flavour, the newest comes first.
    pub kernels: Vec<MirrorKernel>,
    /// Messages for the user, such as kernels that were skipped because packages are missing.
    pub notices: Vec<String>,
}

impl MirrorKernels {
    /// Adds the kernels of one suite and architecture, in any order.
    pub(super) fn add(&mut self, mut kernels: Vec<MirrorKernel>) {
        kernels.sort_by(|left, right| {
            (&left.flavour, &right.version).cmp(&(&right.flavour, &left.version))
        });
        self.kernels.append(&mut kernels);
    }
}

/// Returns the `latest` newest kernels that `takes` accepts, for each suite, flavour and architecture. Without `latest`
/// returns all that `takes` accepts. A kernel that several suites have is returned once.
pub fn newest(
    kernels: Vec<MirrorKernel>,
    latest: Option<u32>,
    takes: impl Fn(&Kernel) -> bool,
) -> Vec<Kernel> {
    let mut counts: HashMap<(String, String, Architecture), u32> = HashMap::new();
    let mut seen = HashSet::new();
    let mut taken = Vec::new();
    for found in kernels {
        if !takes(&found.kernel) {
            continue;
        }
        let architecture = found.kernel.architecture;
        let count = counts
            .entry((found.suite, found.flavour, architecture))
            .or_default();
        *count += 1;
        let is_new = latest.is_none_or(|latest| *count <= latest);
        if is_new && seen.insert(found.kernel.id()) {
            taken.push(found.kernel);
        }
    }
    taken
}
