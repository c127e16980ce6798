//! The matrices of a command and their kernels, from locks that are refreshed where they must be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::output::count;
use super::{CliError, Context};
use crate::diagnostic::{Diagnostic, SourceFile};
use crate::digest::Sha256;
use crate::discover::lock::{self, Changes, Lock};
use crate::discover::{self, DEFAULT_MIRRORS, Discovered, expand_inline};
use crate::fetch::{self, Fetcher, MirrorRule, Mirrors};
use crate::fs;
use crate::kernel::Kernel;
use crate::matrix::{self, KernelSource, Matrix, TargetEntry};
use crate::store::Store;

/// The matrices of a command.
#[derive(Debug)]
pub struct Sources {
    /// The matrices, in the order of the command line.
    pub matrices: Vec<Matrix>,
}

/// The kernels of one `[[target]]`, each with the place that names it.
type EntryKernels = Vec<(Arc<Kernel>, Range<usize>)>;

/// A lock that was written.
#[derive(Debug)]
pub struct Refreshed {
    /// The lock.
    pub path: PathBuf,
    /// How the kernels of each `[[target]]` changed, by label.
    pub changes: Vec<(String, Changes)>,
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
                Err(error) => diagnostics.push(Diagnostic::error(error.to_string())),
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

    /// Runs discovery for everything and writes the locks.
    pub fn refresh_all(&self, context: &Context) -> Result<Vec<Refreshed>, CliError> {
        let mut all = Vec::new();
        for matrix in &self.matrices {
            let entries: Vec<&TargetEntry> = discovered_entries(matrix).collect();
            if entries.is_empty() {
                continue;
            }
            let path = lock::path_of(&matrix.file.path);
            let mut lock = Lock::read(&path)?.unwrap_or_default();
            let mirrors = self.mirrors(context);
            let changes = refresh(context, matrix, mirrors, &mut lock, &path, &entries)?;
            all.push(Refreshed { path, changes });
        }
        Ok(all)
    }

    /// The kernels of each `[[target]]` of each matrix.
    pub(super) fn kernels(
        &self,
        context: &Context,
        is_locked: bool,
        configs: &mut BTreeMap<Sha256, PathBuf>,
    ) -> Result<Vec<Vec<EntryKernels>>, CliError> {
        let mut all = Vec::new();
        let mut diagnostics = Vec::new();
        for matrix in &self.matrices {
            let path = lock::path_of(&matrix.file.path);
            let mirrors = self.mirrors(context);
            let lock = up_to_date_lock(context, matrix, mirrors, &path, is_locked)?;
            for digest in lock
                .kernels
                .iter()
                .filter_map(|locked| locked.kernel.config_sha256)
            {
                configs.insert(digest, lock::config_path(&path, digest));
            }
            let mut by_label: BTreeMap<&str, Vec<Arc<Kernel>>> = BTreeMap::new();
            for locked in &lock.kernels {
                by_label
                    .entry(&locked.label)
                    .or_default()
                    .push(Arc::clone(&locked.kernel));
            }
            let mut kernels = Vec::new();
            for entry in &matrix.targets {
                if let KernelSource::Inline(inline) = entry.kernels.get_ref() {
                    match expand_inline(matrix, entry, inline) {
                        Ok(mut inline) => {
                            configs.append(&mut inline.configs);
                            kernels.push(inline.kernels);
                        }
                        Err(mut found) => diagnostics.append(&mut found),
                    }
                    continue;
                }
                let span = entry.kernels.span();
                let found = by_label.remove(entry.label.as_str()).unwrap_or_default();
                kernels.push(
                    found
                        .into_iter()
                        .map(|kernel| (kernel, span.clone()))
                        .collect(),
                );
            }
            all.push(kernels);
        }
        if diagnostics.is_empty() {
            Ok(all)
        } else {
            Err(CliError::Diagnostics(diagnostics))
        }
    }
}

/// Where drivers' sources come from, by the name that a mirror of it is given by.
const DRIVER_SOURCES: (&str, &str) = ("github", "https://github.com");

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
        is_offline: false,
    }
}

/// The entries whose kernels are found, not written.
fn discovered_entries(matrix: &Matrix) -> impl Iterator<Item = &TargetEntry> {
    matrix
        .targets
        .iter()
        .filter(|entry| !matches!(entry.kernels.get_ref(), KernelSource::Inline(_)))
}

fn source_digest(entry: &TargetEntry) -> Sha256 {
    let kernels = entry.kernels.get_ref();
    kernels.digest(entry.name.get_ref(), &entry.architectures)
}

/// The lock of a matrix, refreshed where it is missing or the matrix asks for something else than it holds.
fn up_to_date_lock(
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
    let mut lock = read.unwrap_or_default();
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
            format!("{file} is missing, and --locked forbids to make it")
        } else {
            format!("{file} is stale for {labels}, and --locked forbids to refresh it")
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
    let changes = refresh(context, matrix, mirrors, &mut lock, path, &stale)?;
    let kernels: usize = changes.iter().map(|(_, changes)| changes.total).sum();
    context.notice(&format!("{file}: {} found", count(kernels, "kernel")));
    Ok(lock)
}

/// Asks the sources of `entries`, puts what they give into the lock and writes it.
fn refresh(
    context: &Context,
    matrix: &Matrix,
    mirrors: Mirrors,
    lock: &mut Lock,
    path: &Path,
    entries: &[&TargetEntry],
) -> Result<Vec<(String, Changes)>, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Infrastructure {
            message: format!("failed to start the network runtime: {error}"),
        })?;
    let needs_fetcher = entries
        .iter()
        .any(|entry| discover::needs_fetcher(entry.kernels.get_ref()));
    let fetcher = if needs_fetcher {
        let store = Store::open(&context.cache, &format!("discover-{}", std::process::id()))?;
        let settings = fetch::Settings {
            mirrors,
            ..fetch::Settings::default()
        };
        Some(Fetcher::new(Arc::new(store), settings))
    } else {
        None
    };
    let asked = discover::Context {
        mirrors: &context.mirrors,
        fetcher: fetcher.as_ref(),
    };
    let today = Discovered::today();
    let mut all_changes = Vec::new();
    let mut configs = BTreeMap::new();
    let mut diagnostics = Vec::new();
    let mut is_bad_input = true;
    for entry in entries {
        match runtime.block_on(discover::discover(entry, asked)) {
            Ok(mut discovered) => {
                for notice in &discovered.notices {
                    context.notice(notice);
                }
                configs.append(&mut discovered.configs);
                let changes = lock.refresh(
                    &entry.label,
                    source_digest(entry),
                    discovered.kernels,
                    today,
                );
                all_changes.push((entry.label.clone(), changes));
            }
            Err(error) => {
                is_bad_input &= error.is_bad_input();
                diagnostics.push(error.diagnostic(matrix, entry));
            }
        }
    }
    if !diagnostics.is_empty() {
        if is_bad_input {
            return Err(CliError::Diagnostics(diagnostics));
        }
        let messages: Vec<&str> = diagnostics.iter().map(Diagnostic::message).collect();
        return Err(CliError::Infrastructure {
            message: messages.join("\n"),
        });
    }
    let labels: Vec<&str> = discovered_entries(matrix)
        .map(|entry| entry.label.as_str())
        .collect();
    lock.retain(&labels);
    lock.write(path, &configs)?;
    Ok(all_changes)
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
            message: "no matrix: matrices/*.toml matches no file in this folder".to_owned(),
            help: Some("name a matrix file".to_owned()),
        });
    }
    Ok(files)
}
