//! The lock: what discovery found, in a text file beside the matrix that is kept in git.
//!
//! The first line is a header with the version of the format and a digest for each source; every further line is one
//! kernel, sorted. Equal kernels give equal bytes. Kernel configurations are files of their own, named by their
//! digest, in a folder beside the lock.
//!
//! A source's word is not law: see [`Lock::refresh`] for what happens when it names fewer kernels than before.

mod configs;
mod format;
mod refresh;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;

use crate::digest::Sha256;
use crate::fs::FileError;
use crate::kernel::{Kernel, Package};

pub use configs::{ConfigFile, config_path};
pub use format::VERSION;
pub use refresh::{Changes, Doubt, RefreshRules};

/// What discovery found for the sources of one matrix.
#[derive(Clone, Debug, Default)]
pub struct Lock {
    /// The digest of each source (see [`crate::matrix::KernelSources::digest`]), by the label of its `[[target]]`.
    pub sources: BTreeMap<String, Sha256>,
    /// The kernels, sorted by identity, then label.
    pub kernels: Vec<LockedKernel>,
}

/// A kernel of a lock.
#[derive(Clone, Debug)]
pub struct LockedKernel {
    /// The label of the `[[target]]` that it was found for.
    pub label: Arc<str>,
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// The day on which it was first seen.
    pub first_seen: Date,
    /// Whether its source still names it.
    pub state: State,
}

/// Whether the source of a kernel still names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It does.
    #[default]
    Confirmed,
    /// It does not since that day, but it lost too much at once to be believed: the kernel is built as before.
    Unconfirmed(Date),
    /// It has left on that day: it is built no more, what was built of it stays.
    Gone(Date),
}

/// What [`Lock::fill_in`] changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// How many digests were noted.
    pub count: usize,
    /// Those that took the place of an earlier note: address, digest before and digest now.
    pub replaced: BTreeSet<(Arc<str>, Sha256, Sha256)>,
}

/// Why a lock cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It was written by a newer program.
    #[error(
        "{} has version {found}, and this program reads versions up to {VERSION}: use a newer driverkit-matrix, or remove the lock and make a new one",
        path.display()
    )]
    Newer {
        /// The lock.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A line is not what it should be.
    #[error("{}:{line}: {message}; remove the lock and make a new one with `driverkit-matrix lock`", path.display())]
    Line {
        /// The lock.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A kernel configuration is missing, or not the one that the lock means.
    #[error("the kernel configuration {} {message}; make it again with `driverkit-matrix lock`", path.display())]
    Config {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// The day by which a lock notes when a kernel was first seen, in UTC.
pub fn today() -> Date {
    jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date()
}

/// The lock of a matrix file.
pub fn path_of(matrix: &Path) -> PathBuf {
    matrix.with_extension("lock")
}

impl Lock {
    /// Notes what `known` says of the packages whose digest no index published: digest and size in bytes. Returns what
    /// was noted.
    pub fn fill_in(&mut self, known: impl Fn(&Package) -> Option<(Sha256, u64)>) -> Noted {
        let mut noted = Noted::default();
        for locked in &mut self.kernels {
            let is_unknown = |package: &Package| package.sha256.is_none() || package.is_noted;
            if !locked.kernel.packages.iter().any(is_unknown) {
                continue;
            }
            for position in 0..locked.kernel.packages.len() {
                let package = &locked.kernel.packages[position];
                if !is_unknown(package) {
                    continue;
                }
                let Some((sha256, size_bytes)) = known(package) else {
                    continue;
                };
                if package.sha256 == Some(sha256) {
                    continue;
                }
                if let Some(before) = package.sha256 {
                    let url = Arc::clone(&package.url);
                    noted.replaced.insert((url, before, sha256));
                }
                let package = &mut Arc::make_mut(&mut locked.kernel).packages[position];
                package.sha256 = Some(sha256);
                package.is_noted = true;
                package.size_bytes = Some(size_bytes);
                noted.count += 1;
            }
        }
        noted
    }

    /// Forgets the sources that the matrix does not have any more; returns their labels.
    pub fn retain(&mut self, labels: &[&str]) -> Vec<String> {
        self.kernels
            .retain(|locked| labels.contains(&&*locked.label));
        let gone = self
            .sources
            .keys()
            .filter(|label| !labels.contains(&label.as_str()))
            .cloned()
            .collect();
        self.sources
            .retain(|label, _| labels.contains(&label.as_str()));
        gone
    }
}
