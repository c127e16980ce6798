//! The lock: the kernels that discovery found, in a text file beside the matrix. The file is kept in git.
//!
//! The first line is a header with the version of the format and a digest for each source. Every further line is one
//! kernel; the lines are sorted. Equal kernels give equal bytes. Kernel configurations are separate files, named by
//! their digest, in a directory beside the lock.
//!
//! If a source lists fewer kernels than before, it is not always believed: see [`Lock::refresh`].

mod combine;
mod configs;
mod doubt;
mod format;
mod gone;
mod guard;
mod labels;
mod latest;
mod merge;
mod moves;
mod partly;
mod refresh;
mod stream;
mod text;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arcstr::Substr;
use jiff::civil::Date;
use rayon::slice::ParallelSliceMut as _;

use crate::diagnostic::Diagnostic;
use crate::digest::Sha256;
use crate::fs::FileError;
use crate::kernel::{Kernel, Package};
use crate::target;

pub use configs::{ConfigFile, config_path};
pub use doubt::Doubt;
pub use format::{VERSION, place_of_kernel};
pub use labels::{Asked, AskedSource};
pub use moves::Listing;
pub use refresh::{Changes, RefreshRules};

/// The kernels that discovery found for the sources of one matrix.
#[derive(Clone, Debug, Default)]
pub struct Lock {
    /// The digest of each source (see [`crate::matrix::KernelSources::digest`]), by the label of its `[[target]]`.
    pub sources: BTreeMap<String, Sha256>,
    /// The digest of the limits of each source, by the same labels: see [`Asked::limits`].
    pub limits: BTreeMap<String, Sha256>,
    /// The kernels, sorted by identity, then label.
    pub kernels: Vec<LockedKernel>,
}

/// A kernel of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedKernel {
    /// The label of the `[[target]]` that the kernel was found for.
    pub label: Arc<str>,
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// The day on which the kernel was first seen.
    pub first_seen: Date,
    /// Whether its source still lists it.
    pub state: State,
    /// Whether the loss of the kernel is settled, because other kernels replaced it or the user accepted the loss. A
    /// settled kernel does not count as present before a loss.
    pub is_settled: bool,
}

impl LockedKernel {
    /// Whether plans build the kernel. `is_literal` is whether the matrix names its target.
    pub fn is_buildable(&self, is_literal: bool) -> bool {
        !matches!(self.state, State::Gone(_)) && counts(&self.kernel, is_literal)
    }

    /// The sort key of kernels in a lock.
    fn key(&self) -> impl Ord + '_ {
        (self.kernel.identity(), &self.label)
    }
}

/// Whether a kernel counts. An entry that never enters a plan does not count as a loss.
fn counts(kernel: &Kernel, is_literal: bool) -> bool {
    (is_literal || target::unknown_target(kernel).is_none())
        && target::no_kernel_package(kernel).is_none()
}

/// Whether the source of a kernel still lists it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The source lists the kernel.
    #[default]
    Confirmed,
    /// Since that day the source does not list the kernel, but it lost too many kernels at once to be believed. The
    /// kernel is built as before.
    Unconfirmed(Date),
    /// The kernel left its source on that day. It is not built any more; its existing artifacts stay.
    Gone(Date),
}

/// What [`Lock::fill_in`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// The number of digests that were noted.
    pub count: usize,
    /// Digests that replaced an earlier note: URL, digest before and digest now.
    pub replaced: BTreeSet<(Substr, Sha256, Sha256)>,
}

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The lock cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The lock was written by a newer program.
    #[error(
        "{} has version {found}, and this program reads versions up to {VERSION}: use a newer driverkit-matrix",
        path.display()
    )]
    Newer {
        /// The lock.
        path: PathBuf,
        /// The version of its format.
        found: u32,
    },
    /// A line is invalid, or lines contradict each other.
    #[error("{}", .0.message())]
    Text(Box<Diagnostic>),
    /// Two sides of a merge contradict each other.
    #[error("{}", .0.first().map_or("contradictory lines", Diagnostic::message))]
    Contradictions(Vec<Diagnostic>),
    /// A kernel configuration is missing, damaged, or has an unexpected digest.
    #[error("the kernel configuration {} {message}; create it again with `driverkit-matrix lock`", path.display())]
    Config {
        /// The expected path.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// Returns today's date in UTC, which a lock records when a kernel is first seen.
pub fn today() -> Date {
    jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
}

/// Returns the path of the lock of a matrix file.
pub fn path_of(matrix: &Path) -> PathBuf {
    matrix.with_extension("lock")
}

impl Lock {
    /// Notes the digest and size in bytes that `known` returns for packages whose digest no index published. Returns
    /// what was noted.
    pub fn fill_in(&mut self, known: impl Fn(&Package) -> Option<(Sha256, u64)>) -> Noted {
        let mut noted = Noted::default();
        for locked in &mut self.kernels {
            let news: Vec<Option<(Sha256, u64)>> = locked
                .kernel
                .packages
                .iter()
                .map(|package| {
                    let is_fact = package.sha256.is_some() && !package.is_noted;
                    let news = if is_fact { None } else { known(package) };
                    news.filter(|(sha256, _)| package.sha256 != Some(*sha256))
                })
                .collect();
            if news.iter().all(Option::is_none) {
                continue;
            }
            let mut news = news.into_iter();
            let packages = &mut Arc::make_mut(&mut locked.kernel).packages;
            noted.count += packages.update(|package| {
                let Some((sha256, size_bytes)) = news.next().flatten() else {
                    return false;
                };
                if let Some(before) = package.sha256 {
                    let url = package.url.clone();
                    noted.replaced.insert((url, before, sha256));
                }
                package.sha256 = Some(sha256);
                package.is_noted = true;
                package.size_bytes = Some(size_bytes);
                true
            });
        }
        noted
    }

    /// Marks the noted digests that `is_agreed` accepts as facts. Returns their number.
    pub fn confirm(&mut self, is_agreed: impl Fn(&Package, Sha256) -> bool) -> usize {
        let mut count = 0;
        for locked in &mut self.kernels {
            let is_agreed = |package: &Package| {
                let sha256 = package.sha256.filter(|_| package.is_noted);
                sha256.is_some_and(|sha256| is_agreed(package, sha256))
            };
            if !locked.kernel.packages.iter().any(is_agreed) {
                continue;
            }
            let packages = &mut Arc::make_mut(&mut locked.kernel).packages;
            count += packages.update(|package| {
                let is_fact = is_agreed(package);
                package.is_noted &= !is_fact;
                is_fact
            });
        }
        count
    }

    /// Removes the sources that the matrix does not have any more. Returns their labels, each with the number of its
    /// kernels that were not gone.
    pub fn retain(&mut self, labels: &[&str]) -> BTreeMap<String, usize> {
        let is_kept = |label: &str| labels.contains(&label);
        let gone = self.sources.keys().filter(|label| !is_kept(label));
        let mut gone: BTreeMap<String, usize> = gone.map(|label| (label.clone(), 0)).collect();
        self.kernels.retain(|locked| {
            let count = gone.get_mut(&*locked.label);
            if let (Some(count), State::Confirmed | State::Unconfirmed(_)) = (count, locked.state) {
                *count += 1;
            }
            is_kept(&locked.label)
        });
        for map in [&mut self.sources, &mut self.limits] {
            map.retain(|label, _| is_kept(label));
        }
        gone
    }

    fn sort(&mut self) {
        self.kernels
            .par_sort_by(|left, right| left.key().cmp(&right.key()));
    }
}
