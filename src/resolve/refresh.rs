//! Queries the sources of matrices, and updates the locks with the results.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use jiff::civil::Date;

use super::availability::Availability;
use super::doubts::warn_of_doubts;
use super::notes::repair_notes;
use super::refreshed::{Found, Refresh, RefreshOptions, Refreshed};
use super::sources::{LockUse, Sources, discovered_entries, source_digest};
use super::waiting::{open_store, said_what_is_asked};
use super::{Context, ResolveError};
use crate::digest::Sha256;
use crate::discover::lock::{self, Doubt, Lock};
use crate::discover::{self, KnownKernels, SharedLists};
use crate::fetch::{self, Fetcher};
use crate::kernel::KernelId;
use crate::matrix::{Matrix, Pattern, TargetEntry};
use crate::text::count;

/// Runs discovery for all matrices and writes the locks. If the sources of a `[[target]]` cannot be queried, its part
/// of the lock stays as it is.
pub(crate) fn refresh_all(
    sources: &Sources,
    context: &Context,
    options: RefreshOptions<'_>,
) -> Result<Vec<Refreshed>, ResolveError> {
    let mut work = Vec::new();
    for matrix in &sources.matrices {
        let entries: Vec<&TargetEntry> = discovered_entries(matrix).collect();
        if entries.is_empty() {
            continue;
        }
        let path = lock::path_of(&matrix.file.path);
        let known = if options.is_fresh {
            None
        } else {
            Lock::read_resolved(&path)?
        };
        let (lock, is_resolved) = known.unwrap_or_default();
        if is_resolved {
            let lock = path.display();
            context.notice(&format!(
                "{lock}: merge conflicts resolved kernel by kernel"
            ));
        }
        let refresh = Refresh {
            context,
            matrix,
            path,
            options,
        };
        work.push((refresh, lock, entries));
    }
    let found = ask_all(context, &fetch_settings(sources, context), work)?;
    let (all, locks): (Vec<_>, Vec<_>) = found
        .into_iter()
        .map(|found| (found.refreshed, (found.lock, found.configs)))
        .unzip();
    let unavailable: Vec<_> = all.iter().flat_map(|one| one.unavailable.clone()).collect();
    if options.is_strict && !unavailable.is_empty() {
        let availability = Availability {
            unavailable,
            is_doubted: false,
        };
        return Err(availability.error());
    }
    check_accepted(options.accepted, &all)?;
    if !options.is_check {
        for (refreshed, (lock, configs)) in all.iter().zip(&locks) {
            write(lock, refreshed, configs)?;
        }
    }
    Ok(all)
}

/// Returns the lock of each matrix, refreshed if it is missing or does not match the matrix, and the sources that could
/// not be queried.
pub(crate) fn up_to_date_locks(
    sources: &Sources,
    context: &Context,
    lock_use: LockUse,
) -> Result<(Vec<Lock>, Availability), ResolveError> {
    let mut locks = Vec::new();
    let mut work = Vec::new();
    let mut positions = Vec::new();
    for (position, matrix) in sources.matrices.iter().enumerate() {
        let path = lock::path_of(&matrix.file.path);
        let (lock, stale) = read_lock(matrix, &path)?;
        let Some(stale) = stale else {
            locks.push(lock);
            continue;
        };
        stale.check(matrix, lock_use == LockUse::Locked)?;
        stale.say(context);
        let refresh = Refresh {
            context,
            matrix,
            path,
            options: RefreshOptions::default(),
        };
        work.push((refresh, lock, stale.entries));
        positions.push(position);
        locks.push(Lock::default());
    }
    let mut availability = Availability::default();
    if work.is_empty() {
        return Ok((locks, availability));
    }
    let settings = fetch_settings(sources, context);
    let settings = match lock_use {
        LockUse::TryStale => settings.without_patience(),
        _ => settings,
    };
    for (position, found) in positions
        .into_iter()
        .zip(ask_all(context, &settings, work)?)
    {
        let Found {
            lock,
            refreshed,
            configs,
        } = found;
        write(&lock, &refreshed, &configs)?;
        context.warn(&refreshed.empty);
        if !refreshed.changes.is_empty() {
            let changes = refreshed.changes.iter();
            let kernels: usize = changes.map(|(_, changes)| changes.total).sum();
            let file = refreshed.path.display();
            context.notice(&format!("{file}: {} found", count(kernels, "kernel")));
        }
        availability.is_doubted |= warn_of_doubts(context, &refreshed);
        availability.unavailable.extend(refreshed.unavailable);
        locks[position] = lock;
    }
    Ok((locks, availability))
}

fn fetch_settings(sources: &Sources, context: &Context) -> fetch::Settings {
    fetch::Settings {
        mirrors: sources.mirrors(context),
        ..fetch::Settings::default()
    }
}

/// The `[[target]]`s of a matrix for which the lock is missing or stale.
struct Stale<'a> {
    path: PathBuf,
    is_new: bool,
    entries: Vec<&'a TargetEntry>,
}

impl Stale<'_> {
    fn labels(&self) -> String {
        let labels: Vec<&str> = self.entries.iter().map(|entry| &*entry.label).collect();
        labels.join(", ")
    }

    /// Returns an error if the lock must not be refreshed (`--locked`).
    fn check(&self, matrix: &Matrix, is_locked: bool) -> Result<(), ResolveError> {
        if !is_locked {
            return Ok(());
        }
        let (file, labels) = (self.path.display(), self.labels());
        let message = if self.is_new {
            format!("{file} does not exist, and --locked prevents creating it")
        } else {
            format!("{file} is stale for {labels}, and --locked prevents updating it")
        };
        Err(ResolveError::Input {
            message,
            help: Some(format!(
                "run `driverkit-matrix lock {}`",
                matrix.file.path.display()
            )),
        })
    }

    fn say(&self, context: &Context) {
        let file = self.path.display();
        context.notice(&if self.is_new {
            format!("{file} does not exist: looking for kernels")
        } else {
            format!("{file} is stale for {}: looking for kernels", self.labels())
        });
    }
}

/// Returns the lock of a matrix, and its stale entries.
fn read_lock<'a>(
    matrix: &'a Matrix,
    path: &Path,
) -> Result<(Lock, Option<Stale<'a>>), ResolveError> {
    if discovered_entries(matrix).next().is_none() {
        return Ok((Lock::default(), None));
    }
    let read = Lock::read(path)?;
    let is_new = read.is_none();
    let lock = read.unwrap_or_default();
    let entries: Vec<&TargetEntry> = discovered_entries(matrix)
        .filter(|entry| lock.sources.get(&entry.label) != Some(&source_digest(entry)))
        .collect();
    let stale = (!entries.is_empty()).then(|| Stale {
        path: path.to_owned(),
        is_new,
        entries,
    });
    Ok((lock, stale))
}

/// Returns the lock of a matrix as it is, even if it is stale.
pub(crate) fn lock_as_it_is(matrix: &Matrix) -> Result<Lock, ResolveError> {
    let path = lock::path_of(&matrix.file.path);
    Ok(read_lock(matrix, &path)?.0)
}

/// Queries all sources concurrently, each with its own retries, and puts the results into the locks.
fn ask_all(
    context: &Context,
    settings: &fetch::Settings,
    mut work: Vec<(Refresh<'_>, Lock, Vec<&TargetEntry>)>,
) -> Result<Vec<Found>, ResolveError> {
    for (refresh, lock, _) in &mut work {
        refresh.follow(lock);
    }
    let runtime = runtime()?;
    let mut kernels = work
        .iter()
        .flat_map(|(_, _, entries)| entries)
        .map(|entry| entry.kernels.get_ref());
    let fetcher = if kernels.any(discover::needs_fetcher) {
        Some(fetcher(context, settings.clone())?)
    } else {
        None
    };
    let lists = SharedLists::of(
        work.iter()
            .flat_map(|(_, _, entries)| entries.iter().copied()),
    );
    let known_kernels: Vec<KnownKernels> = work
        .iter()
        .map(|(_, lock, _)| KnownKernels::of(lock.kernels.iter().map(|locked| &locked.kernel)))
        .collect();
    let questions = work
        .iter()
        .zip(&known_kernels)
        .map(|((_, lock, entries), known_kernels)| {
            join_all(entries.iter().map(|entry| {
                let known = first_seen(lock, entry);
                let (fetcher, lists) = (fetcher.as_ref(), &lists);
                async move {
                    let asked = discover::Context {
                        mirrors: &context.mirrors,
                        fetcher,
                        lists,
                        known: known_kernels,
                        first_seen: &|kernel| {
                            let day = known.get(&kernel.id());
                            day.copied().unwrap_or_else(lock::today)
                        },
                        progress: &|message| context.notice(message),
                    };
                    discover::discover_each(entry, asked).await
                }
            }))
        });
    let answers = match &fetcher {
        Some(fetcher) => runtime.block_on(said_what_is_asked(
            context,
            fetcher.activity(),
            join_all(questions),
        )),
        None => runtime.block_on(join_all(questions)),
    };
    drop(known_kernels);
    let mut all = Vec::new();
    for ((refresh, lock, entries), answers) in work.into_iter().zip(answers) {
        let mut found = refresh.take(lock, &entries, answers);
        if has_notes(&found.lock) {
            let own;
            let fetcher = if let Some(fetcher) = &fetcher {
                fetcher
            } else {
                own = self::fetcher(context, settings.clone())?;
                &own
            };
            let (lock, path) = (&mut found.lock, &found.refreshed.path);
            let repaired = repair_notes(context, fetcher, lock, path);
            runtime.block_on(said_what_is_asked(context, fetcher.activity(), repaired));
        }
        let refreshed = &mut found.refreshed;
        // If no source answered, the lock file stays as it is, byte for byte.
        refreshed.is_changed =
            !refreshed.changes.is_empty() && !found.lock.is_in(&refreshed.path)?;
        all.push(found);
    }
    Ok(all)
}

fn write(
    lock: &Lock,
    refreshed: &Refreshed,
    configs: &BTreeMap<Sha256, Vec<u8>>,
) -> Result<(), ResolveError> {
    Ok(lock.write_changed(&refreshed.path, configs, refreshed.is_changed)?)
}

/// Returns an error for patterns of `--accept-shrink` that match no loss: otherwise the user would believe that a loss
/// was accepted.
fn check_accepted(accepted: &[Pattern], all: &[Refreshed]) -> Result<(), ResolveError> {
    let changes = || all.iter().flat_map(|refreshed| &refreshed.changes);
    let is_used = |position: usize| changes().any(|(_, one)| one.accepted.contains(&position));
    let unused = (0..accepted.len()).find(|position| !is_used(*position));
    let Some(unused) = unused else {
        return Ok(());
    };
    let doubts: BTreeSet<String> = changes()
        .flat_map(|(_, changes)| changes.doubts.iter().map(Doubt::name))
        .collect();
    let doubts: Vec<String> = doubts.into_iter().collect();
    Err(ResolveError::Input {
        message: format!(
            "--accept-shrink \"{}\" matches no loss that is in doubt; nothing was written",
            accepted[unused]
        ),
        help: Some(if doubts.is_empty() {
            "no loss is in doubt: omit --accept-shrink".to_owned()
        } else {
            format!("in doubt are: {}", doubts.join(", "))
        }),
    })
}

/// Whether the lock has digests that were not published by an index.
fn has_notes(lock: &Lock) -> bool {
    let mut kernels = lock.kernels.iter();
    kernels.any(|locked| {
        locked
            .kernel
            .packages
            .iter()
            .any(|package| package.is_noted)
    })
}

/// Returns the fetcher for discovery.
pub(crate) fn fetcher(
    context: &Context,
    settings: fetch::Settings,
) -> Result<Fetcher, ResolveError> {
    let run_id = format!("discover-{}", std::process::id());
    let store = open_store(context, &run_id)?;
    Ok(Fetcher::new(Arc::new(store), settings))
}

/// Returns the runtime for discovery.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, ResolveError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            ResolveError::infrastructure(format!("failed to start the network runtime: {error}"))
        })
}

/// The days on which the kernels of a `[[target]]` were first seen; empty unless one of its sources selects by that
/// day.
fn first_seen(lock: &Lock, entry: &TargetEntry) -> HashMap<KernelId, Date> {
    let sources = &entry.kernels.get_ref().sources;
    if sources
        .iter()
        .all(|source| source.get_ref().selection.since.is_none())
    {
        return HashMap::new();
    }
    let kernels = lock.kernels.iter();
    kernels
        .filter(|locked| *locked.label == *entry.label)
        .map(|locked| (locked.kernel.id(), locked.first_seen))
        .collect()
}
