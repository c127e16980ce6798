//! Asking the sources of matrices, and what of their answers goes into the locks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;

use super::lock_notes::repair_notes;
use super::output::count;
use super::sources::{Sources, discovered_entries, source_digest};
use super::{CliError, Context};
use crate::diagnostic::Diagnostic;
use crate::digest::Sha256;
use crate::discover::lock::{self, Asked, Changes, Doubt, Lock, RefreshRules, State};
use crate::discover::{self, KnownKernels, SharedLists};
use crate::fetch::{self, Fetcher, Mirrors};
use crate::kernel::Kernel;
use crate::matrix::{Matrix, Pattern, TargetEntry};
use crate::store::Store;

/// How locks are refreshed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RefreshOptions<'a> {
    /// Targets of which every loss is believed.
    pub(super) accepted: &'a [Pattern],
    /// Whether nothing is written.
    pub(super) is_check: bool,
    /// Whether a lock that is there is replaced, whatever it holds.
    pub(super) is_fresh: bool,
}

/// What became of a lock.
#[derive(Debug)]
pub(super) struct Refreshed {
    /// The lock.
    pub(super) path: PathBuf,
    /// The matrix.
    pub(super) matrix: PathBuf,
    /// How the kernels of each `[[target]]` changed, by label.
    pub(super) changes: Vec<(String, Changes)>,
    /// What the sources were doubtful about.
    pub(super) notices: Vec<String>,
    /// The entries of lists that were skipped, each with its list and why.
    pub(super) skipped: Vec<String>,
    /// A warning for each `[[target]]` that finds nothing.
    pub(super) empty: Vec<Diagnostic>,
    /// Whether the file is another one than before, or would be.
    pub(super) is_changed: bool,
}

impl Sources {
    /// Runs discovery for everything and writes the locks.
    pub(super) fn refresh_all(
        &self,
        context: &Context,
        options: RefreshOptions<'_>,
    ) -> Result<Vec<Refreshed>, CliError> {
        let mut all = Vec::new();
        let mut locks = Vec::new();
        for matrix in &self.matrices {
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
                mirrors: self.mirrors(context),
                path,
                options,
            };
            let found = refresh.ask(lock, &entries)?;
            all.push(found.refreshed);
            locks.push((found.lock, found.configs));
        }
        check_accepted(options.accepted, &all)?;
        if !options.is_check {
            for (refreshed, (lock, configs)) in all.iter().zip(&locks) {
                write(lock, refreshed, configs)?;
            }
        }
        Ok(all)
    }
}

/// The lock of a matrix, refreshed where it is missing or the matrix asks for something else than it holds.
pub(super) fn up_to_date_lock(
    context: &Context,
    matrix: &Matrix,
    mirrors: Mirrors,
    path: &Path,
    is_locked: bool,
) -> Result<Lock, CliError> {
    if discovered_entries(matrix).next().is_none() {
        return Ok(Lock::default());
    }
    let read = Lock::read(path)?;
    let is_new = read.is_none();
    let lock = read.unwrap_or_default();
    let stale: Vec<&TargetEntry> = discovered_entries(matrix)
        .filter(|entry| lock.sources.get(&entry.label) != Some(&source_digest(entry)))
        .collect();
    if stale.is_empty() {
        return Ok(lock);
    }
    let labels: Vec<&str> = stale.iter().map(|entry| entry.label.as_str()).collect();
    let (file, labels) = (path.display(), labels.join(", "));
    if is_locked {
        let message = if is_new {
            format!("{file} does not exist, and --locked prevents creating it")
        } else {
            format!("{file} is stale for {labels}, and --locked prevents updating it")
        };
        return Err(CliError::Input {
            message,
            help: Some(format!(
                "run `driverkit-matrix lock {}`",
                matrix.file.path.display()
            )),
        });
    }
    context.notice(&if is_new {
        format!("{file} is missing: looking for kernels")
    } else {
        format!("{file} is stale for {labels}: looking for kernels")
    });
    let refresh = Refresh {
        context,
        matrix,
        mirrors,
        path: path.to_owned(),
        options: RefreshOptions::default(),
    };
    let Found {
        lock,
        refreshed,
        configs,
    } = refresh.ask(lock, &stale)?;
    write(&lock, &refreshed, &configs)?;
    context.warn(&refreshed.empty);
    let changes = refreshed.changes.iter();
    let kernels: usize = changes.map(|(_, changes)| changes.total).sum();
    context.notice(&format!("{file}: {} found", count(kernels, "kernel")));
    Ok(lock)
}

struct Refresh<'a> {
    context: &'a Context,
    matrix: &'a Matrix,
    mirrors: Mirrors,
    path: PathBuf,
    options: RefreshOptions<'a>,
}

/// A lock with what its sources gave, and what became of it.
struct Found {
    lock: Lock,
    refreshed: Refreshed,
    configs: BTreeMap<Sha256, Vec<u8>>,
}

fn write(
    lock: &Lock,
    refreshed: &Refreshed,
    configs: &BTreeMap<Sha256, Vec<u8>>,
) -> Result<(), CliError> {
    Ok(lock.write_changed(&refreshed.path, configs, refreshed.is_changed)?)
}

/// Refuses patterns of `--accept-shrink` that mean nothing: a person believes to have accepted a loss.
fn check_accepted(accepted: &[Pattern], all: &[Refreshed]) -> Result<(), CliError> {
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
    Err(CliError::Input {
        message: format!(
            "--accept-shrink \"{}\" matches no loss that is in doubt; nothing was written",
            accepted[unused]
        ),
        help: Some(if doubts.is_empty() {
            "without it, no loss is in doubt: leave it out".to_owned()
        } else {
            format!("in doubt are: {}", doubts.join(", "))
        }),
    })
}

impl Refresh<'_> {
    /// Asks the sources of `entries`, and puts what they give into the lock.
    fn ask(self, mut lock: Lock, entries: &[&TargetEntry]) -> Result<Found, CliError> {
        let runtime = runtime()?;
        let fetcher = self.fetcher(entries)?;
        let settings = self.matrix.lock;
        let rules = RefreshRules {
            today: lock::today(),
            max_shrink_percent: settings.max_shrink_percent,
            shrink_nights: settings.shrink_nights,
            keep_gone_days: settings.keep_gone_days,
            accepted: self.options.accepted,
        };
        let mut changes = Vec::new();
        let mut configs = BTreeMap::new();
        let mut notices = Vec::new();
        let mut diagnostics = Vec::new();
        let mut skipped = Vec::new();
        let mut is_bad_input = true;
        let all: Vec<&TargetEntry> = discovered_entries(self.matrix).collect();
        let takes: Vec<_> = all
            .iter()
            .map(|entry| |kernel: &Kernel, first_seen| entry.asks_for(kernel, first_seen))
            .collect();
        let asked: Vec<Asked<'_>> = all
            .iter()
            .zip(&takes)
            .map(|(entry, takes)| Asked {
                label: &entry.label,
                source: source_digest(entry),
                limits: entry.kernels.get_ref().limits(),
                takes,
                is_literal: entry.name.get_ref().is_literal(),
            })
            .collect();
        lock.follow(&asked);
        let lists = SharedLists::of(entries.iter().copied());
        let known_kernels = KnownKernels::of(lock.kernels.iter().map(|locked| &locked.kernel));
        for entry in entries {
            let known = first_seen(&lock, entry);
            let context = discover::Context {
                mirrors: &self.context.mirrors,
                fetcher: fetcher.as_ref(),
                lists: &lists,
                known: &known_kernels,
                first_seen: &|kernel| {
                    let day = known.get(&kernel.identity_text());
                    day.copied().unwrap_or(rules.today)
                },
                progress: &|message| self.context.notice(message),
            };
            match runtime.block_on(discover::discover(entry, context)) {
                Ok(mut discovered) => {
                    for notice in &discovered.notices {
                        self.context.notice(notice);
                    }
                    notices.append(&mut discovered.notices);
                    configs.append(&mut discovered.configs);
                    skipped.append(&mut discovered.skipped);
                    let own = asked.iter().find(|asked| asked.label == entry.label);
                    if let Some(own) = own {
                        let change = lock.refresh(own, discovered.kernels, &rules);
                        if change.narrowed > 0 {
                            notices.push(self.say_narrowed(&entry.label, change.narrowed));
                        }
                        changes.push((entry.label.clone(), change));
                    }
                }
                Err(error) => {
                    is_bad_input &= error.is_bad_input();
                    diagnostics.extend(error.diagnostics(self.matrix, entry));
                }
            }
        }
        if !diagnostics.is_empty() {
            return Err(failed(diagnostics, is_bad_input, &self.path));
        }
        let labels: Vec<&str> = discovered_entries(self.matrix)
            .map(|entry| entry.label.as_str())
            .collect();
        for (label, kernels) in lock.retain(&labels) {
            let (lock, kernels) = (self.path.display(), count(kernels, "kernel"));
            let notice = format!("{lock}: no [[target]] is `{label}` any more: {kernels} dropped");
            self.context.notice(&notice);
            notices.push(notice);
        }
        self.repair(&runtime, fetcher, &mut lock)?;
        let is_changed = !lock.is_in(&self.path)?;
        let refreshed = Refreshed {
            path: self.path,
            matrix: self.matrix.file.path.clone(),
            changes,
            notices,
            skipped,
            empty: empty_entries(self.matrix, &lock),
            is_changed,
        };
        Ok(Found {
            lock,
            refreshed,
            configs,
        })
    }

    /// Says that a person asks for less than before.
    fn say_narrowed(&self, label: &str, narrowed: usize) -> String {
        let (lock, kernels) = (self.path.display(), count(narrowed, "kernel"));
        let notice = format!(
            "{lock}: `{label}` has other suites, flavours, limits or kinds of sources than before: {kernels} that they do not \
             give dropped"
        );
        self.context.notice(&notice);
        notice
    }

    /// Puts right what the lock notes of packages and nobody published.
    fn repair(
        &self,
        runtime: &tokio::runtime::Runtime,
        fetcher: Option<Fetcher>,
        lock: &mut Lock,
    ) -> Result<(), CliError> {
        if !has_notes(lock) {
            return Ok(());
        }
        let fetcher = match fetcher {
            Some(fetcher) => fetcher,
            None => self::fetcher(self.context, self.mirrors.clone())?,
        };
        runtime.block_on(repair_notes(self.context, &fetcher, lock, &self.path));
        Ok(())
    }

    fn fetcher(&self, entries: &[&TargetEntry]) -> Result<Option<Fetcher>, CliError> {
        let mut kernels = entries.iter().map(|entry| entry.kernels.get_ref());
        if !kernels.any(discover::needs_fetcher) {
            return Ok(None);
        }
        fetcher(self.context, self.mirrors.clone()).map(Some)
    }
}

/// Whether the lock has digests that nobody published.
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

/// A message for each `[[target]]` with sources of which the lock has no kernel that is built.
pub(super) fn empty_entries(matrix: &Matrix, lock: &Lock) -> Vec<Diagnostic> {
    let there: BTreeSet<&str> = lock
        .kernels
        .iter()
        .filter(|locked| !matches!(locked.state, State::Gone(_)))
        .map(|locked| &*locked.label)
        .collect();
    discovered_entries(matrix)
        .filter(|entry| !there.contains(entry.label.as_str()))
        .map(|entry| {
            let message = format!("this [[target]] finds no kernel: `{}`", entry.label);
            Diagnostic::warning(message)
                .at(matrix.place(entry.kernels.span()), "")
                .help("compare its name, architectures, `match` and `exclude` with what its source has, or remove it")
        })
        .collect()
}

/// What downloads for discovery.
pub(super) fn fetcher(context: &Context, mirrors: Mirrors) -> Result<Fetcher, CliError> {
    let run_id = format!("discover-{}", std::process::id());
    let store = Store::open(&context.cache, &run_id)?;
    let settings = fetch::Settings {
        mirrors,
        ..fetch::Settings::default()
    };
    Ok(Fetcher::new(Arc::new(store), settings))
}

/// What discovery runs on.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            CliError::infrastructure(format!("failed to start the network runtime: {error}"))
        })
}

/// Since when the kernels of a `[[target]]` are known, where its selection asks for that.
fn first_seen(lock: &Lock, entry: &TargetEntry) -> HashMap<String, Date> {
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
        .map(|locked| (locked.kernel.identity_text(), locked.first_seen))
        .collect()
}

fn failed(diagnostics: Vec<Diagnostic>, is_bad_input: bool, lock: &Path) -> CliError {
    if is_bad_input {
        return CliError::Diagnostics(diagnostics);
    }
    let messages: Vec<&str> = diagnostics.iter().map(Diagnostic::message).collect();
    CliError::Infrastructure {
        message: messages.join("\n"),
        help: Some(format!(
            "name a mirror that can be reached in [mirrors] or with --mirror, or bring {} from a machine that has a \
             network: with it nobody is asked",
            lock.display()
        )),
    }
}
