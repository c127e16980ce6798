//! The kernels of a lock, for comparison with lists while they are read. An entry without new values needs no second
//! copy of its kernel.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use super::lists::{Entry, current_id};
use crate::kernel::{Architecture, Kernel, Package};

/// Kernels by their identity.
#[derive(Default)]
pub struct KnownKernels {
    hasher: RandomState,
    /// Kernels by the hash of their identity. If two kernels have the same hash, only one of them is found.
    kernels: HashMap<u64, Arc<Kernel>>,
}

impl fmt::Debug for KnownKernels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.kernels.len();
        formatter.debug_tuple("KnownKernels").field(&count).finish()
    }
}

type Identity<'a> = (&'a str, &'a str, &'a str, Architecture);

fn identity(kernel: &Kernel) -> Identity<'_> {
    let (target, release, version, architecture) = kernel.identity();
    (
        target.as_str(),
        release.as_str(),
        version.as_str(),
        architecture,
    )
}

impl KnownKernels {
    /// Creates the collection from kernels.
    pub fn of<'a>(kernels: impl IntoIterator<Item = &'a Arc<Kernel>>) -> Self {
        let hasher = RandomState::new();
        let kernels = kernels
            .into_iter()
            .map(|kernel| (hasher.hash_one(identity(kernel)), Arc::clone(kernel)))
            .collect();
        Self { hasher, kernels }
    }

    /// Returns the kernel that an entry of a list describes, if it is known and the entry has exactly the same values.
    pub(super) fn find(
        &self,
        entry: &Entry<'_>,
        architecture: Architecture,
        source: &str,
    ) -> Option<Arc<Kernel>> {
        if self.kernels.is_empty() || !matches!(entry.config, None | Some("" | "no-data")) {
            return None;
        }
        let target = current_id(entry.target);
        let version = entry.version.unwrap_or("1");
        let wanted: Identity<'_> = (&target, entry.release, version, architecture);
        let kernel = self.kernels.get(&self.hasher.hash_one(wanted))?;
        // The URLs of a set are distinct. So the sets are equal if their sizes are equal and each package is in the
        // headers.
        let is_same = |package: &Package| {
            let is_bare = *package == Package::at(package.url.clone());
            is_bare && entry.headers.iter().any(|url| **url == *package.url)
        };
        let is_known = identity(kernel) == wanted
            && *kernel.source == *source
            && kernel.config_sha256.is_none()
            && kernel.upstream.is_none()
            && kernel.packages.len() == entry.headers.len()
            && kernel.packages.iter().all(is_same);
        is_known.then(|| Arc::clone(kernel))
    }
}
