//! What a source lists.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::Date;

use crate::digest::Sha256;
use crate::kernel::{Architecture, Kernel, KernelRelease, KernelVersion, PackageSet, TargetId};

/// A kernel of a source.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) kernel: Arc<Kernel>,
    /// The day on which its packages were built, if the source publishes it.
    pub(super) published: Option<Date>,
    /// The position of its entry in the list, for messages: the number of the entry, or its first byte.
    pub(super) position: u32,
}

/// The content of one source.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) found: Vec<Found>,
    pub(super) configs: BTreeMap<Sha256, Vec<u8>>,
    pub(super) notices: Vec<String>,
    pub(super) skipped: Vec<String>,
}

/// Returns a kernel with its identity only, without packages or a configuration.
pub(super) fn new_kernel(
    target: TargetId,
    release: KernelRelease,
    architecture: Architecture,
    source: Arc<str>,
) -> Kernel {
    Kernel {
        target,
        release,
        version: KernelVersion::default(),
        architecture,
        packages: PackageSet::default(),
        config_sha256: None,
        upstream: None,
        image: None,
        source,
    }
}
