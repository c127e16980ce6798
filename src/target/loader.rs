//! The names under which Falco's loader requests artifacts.

use std::sync::LazyLock;

use regex_automata::dfa::{Automaton as _, dense};
use regex_automata::{Anchored, Input};

use crate::kernel::{Kernel, KernelRelease, KernelVersion, TargetId};

/// The parts of an artifact's name that the loader reads on its host. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoaderName {
    /// The target: usually the `ID` of `os-release`.
    pub target: TargetId,
    /// The release: usually the output of `uname -r`.
    pub release: KernelRelease,
    /// The version: the number after `#` in `uname -v`.
    pub version: KernelVersion,
}

impl LoaderName {
    /// Returns the kernel's own name.
    pub fn of(kernel: &Kernel) -> Self {
        Self {
            target: kernel.target.clone(),
            release: kernel.release.clone(),
            version: kernel.version.clone(),
        }
    }

    /// Returns the kernel's own name with another release; `None` if that release is invalid.
    pub(super) fn with_release(kernel: &Kernel, release: &str) -> Option<Self> {
        Some(Self {
            release: release.parse().ok()?,
            ..Self::of(kernel)
        })
    }

    /// Like [`Self::with_release`], but `None` if it is the kernel's own release.
    pub(super) fn with_other_release(kernel: &Kernel, release: &str) -> Option<Self> {
        let is_other = release != kernel.release.as_str();
        is_other.then(|| Self::with_release(kernel, release))?
    }

    /// Returns true if a host can request this name: the loader understands its release.
    pub fn is_readable(&self) -> bool {
        is_readable(self.release.as_str())
    }
}

/// Returns true if the loader understands a release. It matches `uname -r` with a pattern, and uses an empty release if
/// the pattern does not match (`falco_debian__1.ko`), as for a release that ends in `+`.
pub(super) fn is_readable(release: &str) -> bool {
    let input = Input::new(release).anchored(Anchored::Yes);
    RELEASE.as_ref().is_none_or(|pattern| {
        let found = pattern.try_search_fwd(&input);
        found.is_ok_and(|found| found.is_some())
    })
}

/// The releases that the loader (falcoctl with driverkit 0.23) understands: two or three numbers, then words after `-`,
/// `.`, `+` or `~`. A release that it understands is kept unchanged, even with `+64k` and `+debug`.
///
/// Used for hundreds of thousands of releases on all processors: a fully built automaton needs no cache per thread.
static RELEASE: LazyLock<Option<dense::DFA<Vec<u32>>>> = LazyLock::new(|| {
    let number = "(0|[1-9][0-9]*)";
    let first = "[-.+][0-9A-Za-z-]*";
    let more = "[.+~]([0-9]+|[0-9]*[A-Za-z-][0-9A-Za-z_-]*)";
    dense::DFA::new(&format!(
        r"^{number}\.{number}[.+]?{number}?({first}({more})*)?$"
    ))
    .ok()
});
