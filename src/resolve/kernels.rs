//! The kernels of matrices: those listed in the matrices and those in their locks, which are refreshed if necessary.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use jiff::civil::Date;
use rayon::prelude::*;

use super::availability::Availability;
use super::doubts::warn_of_doubts;
use super::refresh::{lock_as_it_is, refresh_all, up_to_date_locks};
use super::refreshed::{RefreshOptions, empty_entries};
use super::sources::{LockUse, Sources, discovered_entries};
use super::{Context, ResolveError};
use crate::digest::Sha256;
use crate::discover::lock::{self, ConfigFile, Lock, LockedKernel, State};
use crate::discover::{expand_inline, overlay};
use crate::kernel::{Kernel, KernelId};
use crate::matrix::{KernelSources, Matrix};
use crate::plan::LeftOut;

/// The kernels of one `[[target]]`, each with the span that names it.
type EntryKernels = Vec<(Arc<Kernel>, Range<usize>)>;

/// The kernels of one matrix.
pub(crate) struct MatrixKernels {
    /// The kernels of each `[[target]]`, in the order of the file.
    pub(crate) entries: Vec<EntryKernels>,
    /// Kernels that their source no longer names.
    pub(crate) gone: Vec<LeftOut>,
    /// Kernels that are built although their source, whose result is not trusted, does not name them.
    pub(crate) unconfirmed: Vec<Arc<Kernel>>,
    /// The days on which the kernels of the lock were first seen, in the order of the lock.
    pub(crate) first_seen: Vec<(Arc<Kernel>, Date)>,
}

/// Kernels of a lock by how they are handled, each group in the order of the lock.
#[derive(Default)]
struct Sorted {
    configs: BTreeMap<Sha256, ConfigFile>,
    by_label: BTreeMap<Arc<str>, Vec<Arc<Kernel>>>,
    gone: Vec<LeftOut>,
    unconfirmed: Vec<Arc<Kernel>>,
    first_seen: Vec<(Arc<Kernel>, Date)>,
}

impl Sorted {
    /// Adds a kernel that is built.
    fn add(&mut self, locked: LockedKernel, is_unavailable: bool) {
        let kernel = locked.kernel;
        if matches!(locked.state, State::Unconfirmed(_)) || is_unavailable {
            self.unconfirmed.push(Arc::clone(&kernel));
        }
        self.first_seen
            .push((Arc::clone(&kernel), locked.first_seen));
        self.by_label.entry(locked.label).or_default().push(kernel);
    }

    /// Appends kernels that come later in the lock.
    fn append(&mut self, mut later: Self) {
        self.configs.append(&mut later.configs);
        for (label, mut kernels) in later.by_label {
            self.by_label.entry(label).or_default().append(&mut kernels);
        }
        self.gone.append(&mut later.gone);
        self.unconfirmed.append(&mut later.unconfirmed);
        self.first_seen.append(&mut later.first_seen);
    }
}

impl Sources {
    /// Returns the locks of the matrices according to `lock_use`, and the sources that could not be queried.
    fn locks(
        &self,
        context: &Context,
        lock_use: LockUse,
    ) -> Result<(Vec<Lock>, Availability), ResolveError> {
        match lock_use {
            LockUse::Locked | LockUse::RefreshStale | LockUse::TryStale => {
                up_to_date_locks(self, context, lock_use)
            }
            LockUse::AsIs => {
                let locks: Result<_, _> = self.matrices.iter().map(lock_as_it_is).collect();
                Ok((locks?, Availability::default()))
            }
            LockUse::RefreshAll => {
                let all = refresh_all(self, context, RefreshOptions::default())?;
                let mut availability = Availability::default();
                for refreshed in all {
                    context.warn(&refreshed.empty);
                    context.notice(&refreshed.line());
                    availability.is_doubted |= warn_of_doubts(context, &refreshed);
                    availability.unavailable.extend(refreshed.unavailable);
                }
                let locks: Result<_, _> = self.matrices.iter().map(lock_as_it_is).collect();
                Ok((locks?, availability))
            }
        }
    }

    /// Returns the kernels of each `[[target]]` of each matrix, and the sources that could not be queried.
    pub(crate) fn kernels(
        &self,
        context: &Context,
        lock_use: LockUse,
        configs: &mut BTreeMap<Sha256, ConfigFile>,
    ) -> Result<(Vec<MatrixKernels>, Availability), ResolveError> {
        let mut all = Vec::new();
        let mut diagnostics = Vec::new();
        let (locks, availability) = self.locks(context, lock_use)?;
        diagnostics.extend(availability.own_faults());
        for (matrix, lock) in self.matrices.iter().zip(locks) {
            let path = lock::path_of(&matrix.file.path);
            if lock_use == LockUse::Locked {
                let empty = empty_entries(matrix, &lock).into_iter();
                diagnostics.extend(empty.map(|(_, warning)| warning.as_error()));
            }
            let is_unavailable = |label: &str| {
                let mut unavailable = availability.unavailable.iter();
                unavailable.any(|one| one.lock == path && one.label == label)
            };
            let unavailable: Vec<&str> = discovered_entries(matrix)
                .map(|entry| entry.label.as_str())
                .filter(|label| is_unavailable(label))
                .collect();
            let place = path.display().to_string();
            let sort = |mut sorted: Sorted, locked: LockedKernel| {
                let is_unavailable = unavailable.contains(&&*locked.label);
                if let Some(digest) = locked.kernel.config_sha256 {
                    let file = ConfigFile::Locked(lock::config_path(&path, digest));
                    sorted.configs.insert(digest, file);
                }
                if let State::Gone(since) = locked.state {
                    sorted.gone.push(left_out(locked, since, &place));
                } else if !is_unavailable || takes(matrix, &locked) {
                    sorted.add(locked, is_unavailable);
                }
                sorted
            };
            // Visit each kernel only once: reading the kernels of a large lock from memory takes long.
            let parts: Vec<Sorted> = lock
                .kernels
                .into_par_iter()
                .fold(Sorted::default, sort)
                .collect();
            let mut sorted = Sorted::default();
            for part in parts {
                sorted.append(part);
            }
            configs.append(&mut sorted.configs);
            let mut kernels = Vec::new();
            for entry in &matrix.targets {
                let KernelSources { inline, sources } = entry.kernels.get_ref();
                let mut found: EntryKernels = Vec::new();
                if !inline.is_empty() {
                    match expand_inline(matrix, entry, inline) {
                        Ok(inline) => {
                            let files = inline.configs.into_iter();
                            configs.extend(
                                files.map(|(digest, path)| (digest, ConfigFile::Plain(path))),
                            );
                            found = inline.kernels;
                        }
                        Err(mut wrong) => diagnostics.append(&mut wrong),
                    }
                }
                let locked = sorted.by_label.remove(entry.label.as_str());
                let locked = locked.unwrap_or_default();
                if !sources.is_empty() {
                    found = lay_over(found, locked, entry.kernels.span());
                }
                kernels.push(found);
            }
            all.push(MatrixKernels {
                entries: kernels,
                gone: sorted.gone,
                unconfirmed: sorted.unconfirmed,
                first_seen: sorted.first_seen,
            });
        }
        if diagnostics.is_empty() {
            Ok((all, availability))
        } else {
            Err(ResolveError::Diagnostics(diagnostics))
        }
    }
}

/// Whether the matrix still selects a kernel of a lock that could not be refreshed.
fn takes(matrix: &Matrix, locked: &LockedKernel) -> bool {
    let mut entries = matrix.targets.iter();
    let entry = entries.find(|entry| *entry.label == *locked.label);
    entry.is_some_and(|entry| entry.asks_for(&locked.kernel, locked.first_seen))
}

/// Merges the kernels listed in a `[[target]]` with those it found.
fn lay_over(written: EntryKernels, found: Vec<Arc<Kernel>>, span: Range<usize>) -> EntryKernels {
    if written.is_empty() {
        return found
            .into_iter()
            .map(|kernel| (kernel, span.clone()))
            .collect();
    }
    let spans: BTreeMap<KernelId, Range<usize>> = written
        .iter()
        .map(|(kernel, span)| (kernel.id(), span.clone()))
        .collect();
    let written = written.into_iter().map(|(kernel, _)| kernel).collect();
    let merged = overlay(vec![written, found]);
    let place = |kernel: Arc<Kernel>| {
        let span = spans.get(&kernel.id()).unwrap_or(&span).clone();
        (kernel, span)
    };
    merged.into_iter().map(place).collect()
}

/// Returns the entry for a kernel that is left out of a plan because its source no longer names it.
fn left_out(locked: LockedKernel, since: Date, place: &str) -> LeftOut {
    LeftOut {
        kernel: locked.kernel,
        driver: None,
        artifact: None,
        rule: "gone".into(),
        reason: format!("its source has not listed it since {since}").into(),
        place: Some(place.into()),
        first_seen: Some(locked.first_seen),
    }
}
