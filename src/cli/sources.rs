//! The matrices of a command and their kernels, from locks that are refreshed where they must be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;

use super::availability::Availability;
use super::doubts::warn_of_doubts;
use super::refresh::lock_as_it_is;
use super::refreshed::{RefreshOptions, empty_entries};
use super::{CliError, Context};
use crate::diagnostic::{Diagnostic, SourceFile, nearest};
use crate::digest::Sha256;
use crate::discover::lock::{self, ConfigFile, Lock, LockedKernel, State};
use crate::discover::{DEFAULT_MIRRORS, expand_inline, overlay};
use crate::fetch::{MirrorRule, Mirrors};
use crate::fs;
use crate::kernel::Kernel;
use crate::matrix::{self, KernelSources, Matrix, TargetEntry};
use crate::plan::LeftOut;

/// The matrices of a command.
#[derive(Debug)]
pub struct Sources {
    /// The matrices, in the order of the command line.
    pub matrices: Vec<Matrix>,
}

/// What a command makes of locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockUse {
    /// It takes them as they are, however stale: nobody is asked, nothing is written.
    AsIs,
    /// The same, but a lock that is missing or stale is an error.
    Locked,
    /// It makes those that are missing or stale.
    #[default]
    RefreshStale,
    /// It refreshes all of them, as `lock` does.
    RefreshAll,
}

/// The kernels of one `[[target]]`, each with the place that names it.
type EntryKernels = Vec<(Arc<Kernel>, Range<usize>)>;

/// The kernels of one matrix.
pub(super) struct MatrixKernels {
    /// Those of each `[[target]]`, in the order of the file.
    pub(super) entries: Vec<EntryKernels>,
    /// Those that their source does not name any more.
    pub(super) gone: Vec<LeftOut>,
    /// Those that are built though their source, which is not believed, does not name them.
    pub(super) unconfirmed: Vec<Arc<Kernel>>,
    /// The days on which those of the lock were first seen, by [`Kernel::identity_text`].
    pub(super) first_seen: Vec<(Arc<Kernel>, Date)>,
}

impl Sources {
    /// Reads the files, or `matrices/*.toml` when none is named. The error holds everything that is wrong with all of
    /// them.
    pub fn read(files: &[PathBuf]) -> Result<Self, CliError> {
        let files = if files.is_empty() {
            default_files()?
        } else {
            files.to_vec()
        };
        let mut matrices = Vec::new();
        let mut diagnostics = Vec::new();
        for (position, path) in files.iter().enumerate() {
            if files[..position].contains(path) {
                continue;
            }
            match fs::read_to_string(path) {
                Ok(text) => {
                    let path = path.clone();
                    match matrix::read(Arc::new(SourceFile { path, text })) {
                        Ok(matrix) => matrices.push(matrix),
                        Err(mut found) => diagnostics.append(&mut found),
                    }
                }
                Err(error) => {
                    let help = error.is_not_found().then(|| nearest_file(path)).flatten();
                    let error = Diagnostic::error(error.to_string());
                    diagnostics.push(error.maybe_help(help.as_deref()));
                }
            }
        }
        if diagnostics.is_empty() {
            Ok(Self { matrices })
        } else {
            Err(CliError::Diagnostics(diagnostics))
        }
    }

    /// The rewrites of the command line, then those of all files, in their order; offline when one of them is.
    pub fn mirrors(&self, context: &Context) -> Mirrors {
        let mut all = mirrors_of(context);
        for matrix in &self.matrices {
            let rewrites = matrix.mirrors.rewrites.iter().cloned();
            all.rules
                .extend(rewrites.map(|(prefix, replacements)| MirrorRule {
                    prefix,
                    replacements,
                }));
            all.is_offline |= matrix.mirrors.is_offline;
        }
        all
    }

    /// The locks of the matrices, as they are to be used, and what could not be asked for them.
    fn locks(
        &self,
        context: &Context,
        lock_use: LockUse,
    ) -> Result<(Vec<Lock>, Availability), CliError> {
        match lock_use {
            LockUse::Locked => self.up_to_date_locks(context, true),
            LockUse::RefreshStale => self.up_to_date_locks(context, false),
            LockUse::AsIs => {
                let locks: Result<_, _> = self.matrices.iter().map(lock_as_it_is).collect();
                Ok((locks?, Availability::default()))
            }
            LockUse::RefreshAll => {
                let all = self.refresh_all(context, RefreshOptions::default())?;
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

    /// The kernels of each `[[target]]` of each matrix, and what could not be asked for them.
    pub(super) fn kernels(
        &self,
        context: &Context,
        lock_use: LockUse,
        configs: &mut BTreeMap<Sha256, ConfigFile>,
    ) -> Result<(Vec<MatrixKernels>, Availability), CliError> {
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
            for digest in lock
                .kernels
                .iter()
                .filter_map(|locked| locked.kernel.config_sha256)
            {
                configs.insert(digest, ConfigFile::Locked(lock::config_path(&path, digest)));
            }
            let mut by_label: BTreeMap<Arc<str>, Vec<Arc<Kernel>>> = BTreeMap::new();
            let (mut gone, mut unconfirmed) = (Vec::new(), Vec::new());
            let mut first_seen = Vec::with_capacity(lock.kernels.len());
            let place = path.display().to_string();
            for locked in lock.kernels {
                if let State::Gone(since) = locked.state {
                    gone.push(left_out(locked, since, &place));
                    continue;
                }
                let is_unavailable = unavailable.contains(&&*locked.label);
                if is_unavailable && !takes(matrix, &locked) {
                    continue;
                }
                if matches!(locked.state, State::Unconfirmed(_)) || is_unavailable {
                    unconfirmed.push(Arc::clone(&locked.kernel));
                }
                first_seen.push((Arc::clone(&locked.kernel), locked.first_seen));
                by_label
                    .entry(locked.label)
                    .or_default()
                    .push(locked.kernel);
            }
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
                let locked = by_label.remove(entry.label.as_str()).unwrap_or_default();
                if !sources.is_empty() {
                    found = lay_over(found, locked, entry.kernels.span());
                }
                kernels.push(found);
            }
            all.push(MatrixKernels {
                entries: kernels,
                gone,
                unconfirmed,
                first_seen,
            });
        }
        if diagnostics.is_empty() {
            Ok((all, availability))
        } else {
            Err(CliError::Diagnostics(diagnostics))
        }
    }
}

/// Whether the matrix still asks for a kernel of a lock that could not be refreshed.
fn takes(matrix: &Matrix, locked: &LockedKernel) -> bool {
    let mut entries = matrix.targets.iter();
    let entry = entries.find(|entry| *entry.label == *locked.label);
    entry.is_some_and(|entry| entry.asks_for(&locked.kernel, locked.first_seen))
}

/// A help line with the matrix whose name is nearest to one that does not exist.
fn nearest_file(path: &Path) -> Option<String> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let names: Vec<String> = files
        .filter(|file| {
            file.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .filter_map(|file| Some(file.file_name()?.to_str()?.to_owned()))
        .collect();
    let name = path.file_name()?.to_str()?;
    let nearest = nearest(name, names.iter().map(String::as_str))?;
    let file = folder.map_or_else(|| nearest.into(), |folder| folder.join(nearest));
    Some(format!("did you mean `{}`?", file.display()))
}

/// Where drivers' sources come from, by the name that a mirror of it is given by.
const DRIVER_SOURCES: (&str, &str) = ("github", "https://github.com");

/// The names by which mirrors are given.
pub(super) fn mirror_names() -> impl Iterator<Item = &'static str> {
    let known = DEFAULT_MIRRORS.iter().chain([&DRIVER_SOURCES]);
    known.map(|(name, _)| *name)
}

/// The rewrites of the command line.
pub(super) fn mirrors_of(context: &Context) -> Mirrors {
    let known = DEFAULT_MIRRORS.iter().chain([&DRIVER_SOURCES]);
    let given = known.filter_map(|(name, url)| {
        let replacement = context.mirrors.get(*name)?;
        Some(MirrorRule {
            prefix: (*url).to_owned(),
            replacements: vec![replacement.clone()],
        })
    });
    Mirrors {
        rules: given.collect(),
        is_offline: context.is_offline,
    }
}

/// The kernels that a `[[target]]` writes down and those that it found.
fn lay_over(written: EntryKernels, found: Vec<Arc<Kernel>>, span: Range<usize>) -> EntryKernels {
    if written.is_empty() {
        return found
            .into_iter()
            .map(|kernel| (kernel, span.clone()))
            .collect();
    }
    let spans: BTreeMap<String, Range<usize>> = written
        .iter()
        .map(|(kernel, span)| (kernel.identity_text(), span.clone()))
        .collect();
    let written = written.into_iter().map(|(kernel, _)| kernel).collect();
    let merged = overlay(vec![written, found]);
    let place = |kernel: Arc<Kernel>| {
        let span = spans.get(&kernel.identity_text()).unwrap_or(&span).clone();
        (kernel, span)
    };
    merged.into_iter().map(place).collect()
}

/// A kernel that a plan does not hold since it is gone.
fn left_out(locked: LockedKernel, since: Date, place: &str) -> LeftOut {
    LeftOut {
        kernel: locked.kernel,
        driver: None,
        artifact: None,
        rule: "gone".into(),
        reason: format!("its source does not name it since {since}").into(),
        place: Some(place.into()),
        first_seen: Some(locked.first_seen),
    }
}

/// The entries whose kernels are found, not written.
pub(super) fn discovered_entries(matrix: &Matrix) -> impl Iterator<Item = &TargetEntry> {
    matrix
        .targets
        .iter()
        .filter(|entry| !entry.kernels.get_ref().sources.is_empty())
}

pub(super) fn source_digest(entry: &TargetEntry) -> Sha256 {
    let kernels = entry.kernels.get_ref();
    kernels.digest(entry.name.get_ref(), &entry.architectures)
}

/// `matrices/*.toml`, sorted.
fn default_files() -> Result<Vec<PathBuf>, CliError> {
    let folder = Path::new("matrices");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(CliError::Input {
            message: "no matrix: matrices/*.toml matches no file in this directory".to_owned(),
            help: Some("name a matrix file".to_owned()),
        });
    }
    Ok(files)
}
