//! The lock: what discovery found, in a text file beside the matrix that is kept in git.
//!
//! The first line is a header with the version of the format and a digest for each source; every further line is one
//! kernel, sorted. Equal kernels give equal bytes. Kernel configurations are files of their own, named by their
//! digest, in a folder beside the lock.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::Date;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::Discovered;
use crate::digest::Sha256;
use crate::fs::{self, FileError};
use crate::kernel::{Architecture, Kernel, KernelRelease, KernelVersion, Package, TargetId};

/// The version of the format that this program writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// What discovery found for the sources of one matrix.
#[derive(Clone, Debug, Default)]
pub struct Lock {
    /// The digest of each source (see [`crate::matrix::KernelSource::digest`]), by the label of its `[[target]]`.
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
}

/// How the kernels of one source changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Kernels that were not there before.
    pub came: usize,
    /// Kernels that are not there any more.
    pub went: usize,
    /// Kernels with the same packages at other addresses.
    pub moved: usize,
    /// Kernels with other packages.
    pub changed: usize,
    /// How many there are now.
    pub total: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    lock: u32,
    sources: BTreeMap<String, Sha256>,
}

/// The header of any version.
#[derive(Deserialize)]
struct AnyHeader {
    lock: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    target: TargetId,
    release: KernelRelease,
    version: KernelVersion,
    architecture: Architecture,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    entry: Option<std::borrow::Cow<'a, str>>,
    packages: Vec<Package>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config_sha256: Option<Sha256>,
    #[serde(borrow)]
    source: std::borrow::Cow<'a, str>,
    first_seen: Date,
}

/// The lock of a matrix file.
pub fn path_of(matrix: &Path) -> PathBuf {
    matrix.with_extension("lock")
}

/// Where a lock keeps a kernel configuration.
pub fn config_path(lock: &Path, digest: Sha256) -> PathBuf {
    config_folder(lock).join(format!("{digest}.config"))
}

fn config_folder(lock: &Path) -> PathBuf {
    lock.with_extension("lock.d")
}

impl Lock {
    /// Reads a lock; `None` when there is none.
    pub fn read(path: &Path) -> Result<Option<Self>, LockError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let line_error = |line: usize, message: String| LockError::Line {
            path: path.to_owned(),
            line,
            message,
        };
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let any: AnyHeader =
            serde_json::from_str(first).map_err(|error| line_error(1, column_only(&error)))?;
        if any.lock > VERSION {
            return Err(LockError::Newer {
                path: path.to_owned(),
                found: any.lock,
            });
        }
        let header: Header =
            serde_json::from_str(first).map_err(|error| line_error(1, column_only(&error)))?;
        let mut labels: HashMap<&str, Arc<str>> = HashMap::new();
        for label in header.sources.keys() {
            labels.insert(label, label.as_str().into());
        }
        let mut names: HashMap<String, Arc<str>> = HashMap::new();
        for name in ["kernel-crawler", "mirror"] {
            names.insert(name.to_owned(), name.into());
        }
        let lines: Vec<&str> = rest.lines().collect();
        let kernels = lines
            .par_iter()
            .enumerate()
            .map(|(position, line)| {
                read_line(line, &labels, &names)
                    .map_err(|message| line_error(position + 2, message))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self {
            sources: header.sources,
            kernels,
        }))
    }

    /// The text of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = Header {
            lock: VERSION,
            sources: self.sources.clone(),
        };
        put_line(&mut bytes, &header);
        for locked in &self.kernels {
            let kernel = &*locked.kernel;
            let is_implied = *locked.label == *kernel.target.as_str();
            let line = Line {
                target: kernel.target.clone(),
                release: kernel.release.clone(),
                version: kernel.version.clone(),
                architecture: kernel.architecture,
                entry: (!is_implied).then(|| (&*locked.label).into()),
                packages: kernel.packages.clone(),
                config_sha256: kernel.config_sha256,
                source: (&*kernel.source).into(),
                first_seen: locked.first_seen,
            };
            put_line(&mut bytes, &line);
        }
        bytes
    }

    /// Writes the lock and the kernel configurations that it names, and removes those that it does not name any more.
    pub fn write(&self, path: &Path, configs: &BTreeMap<Sha256, Vec<u8>>) -> Result<(), FileError> {
        let named: Vec<Sha256> = {
            let mut named: Vec<_> = self
                .kernels
                .iter()
                .filter_map(|locked| locked.kernel.config_sha256)
                .collect();
            named.sort();
            named.dedup();
            named
        };
        for digest in &named {
            let file = config_path(path, *digest);
            if let Some(content) = configs.get(digest)
                && !file.exists()
            {
                fs::write(&file, content)?;
            }
        }
        fs::write(path, self.to_bytes())?;
        let folder = config_folder(path);
        let Ok(entries) = std::fs::read_dir(&folder) else {
            return Ok(());
        };
        for entry in entries {
            let file = entry.map_err(FileError::of("read folder", &folder))?.path();
            let is_stale = file
                .extension()
                .is_some_and(|extension| extension == "config")
                && !named
                    .iter()
                    .any(|digest| file == config_path(path, *digest));
            if is_stale {
                fs::remove_file(&file)?;
            }
        }
        Ok(())
    }

    /// Replaces the kernels of the `[[target]]` with `label` by what its source gave on `today`.
    pub fn refresh(
        &mut self,
        label: &str,
        source: Sha256,
        discovered: Vec<Kernel>,
        today: Date,
    ) -> Changes {
        let shared: Arc<str> = label.into();
        let (mut old, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.kernels)
            .into_iter()
            .partition(|locked| *locked.label == *label);
        old.sort_by(|left, right| left.kernel.identity().cmp(&right.kernel.identity()));
        let mut discovered = discovered;
        discovered.par_sort_by(|left, right| left.identity().cmp(&right.identity()));
        discovered.dedup_by(|next, first| {
            first.identity() == next.identity() && first.has_same_inputs(next)
        });
        let mut changes = Changes {
            total: discovered.len(),
            ..Changes::default()
        };
        let mut found = 0;
        self.kernels = kept;
        for kernel in discovered {
            let before = old
                .binary_search_by(|locked| locked.kernel.identity().cmp(&kernel.identity()))
                .ok()
                .map(|position| &old[position]);
            match before {
                None => changes.came += 1,
                Some(before) => {
                    found += 1;
                    match difference(&before.kernel, &kernel) {
                        Difference::None => {}
                        Difference::Place => changes.moved += 1,
                        Difference::Content => changes.changed += 1,
                    }
                }
            }
            self.kernels.push(LockedKernel {
                label: Arc::clone(&shared),
                first_seen: before.map_or(today, |locked| locked.first_seen),
                kernel: Arc::new(kernel),
            });
        }
        changes.went = old.len().saturating_sub(found);
        self.sources.insert(label.to_owned(), source);
        self.kernels.par_sort_by(|left, right| {
            (left.kernel.identity(), &left.label).cmp(&(right.kernel.identity(), &right.label))
        });
        changes
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

impl Discovered {
    /// The day by which the lock notes when a kernel was first seen, in UTC.
    pub fn today() -> Date {
        jiff::Timestamp::now()
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date()
    }
}

enum Difference {
    None,
    Place,
    Content,
}

fn difference(before: &Kernel, after: &Kernel) -> Difference {
    let contents = |kernel: &Kernel| -> Option<Vec<Sha256>> {
        kernel
            .packages
            .iter()
            .map(|package| package.sha256)
            .collect()
    };
    if before.packages == after.packages && before.config_sha256 == after.config_sha256 {
        return Difference::None;
    }
    let names = |kernel: &Kernel| -> Vec<String> {
        let name = |url: &str| url.rsplit('/').next().unwrap_or(url).to_owned();
        kernel
            .packages
            .iter()
            .map(|package| name(&package.url))
            .collect()
    };
    // Where the source knows no digests, a package's file name carries its version.
    let is_same = match (contents(before), contents(after)) {
        (Some(before), Some(after)) => before == after,
        _ => names(before) == names(after),
    };
    if is_same && before.config_sha256 == after.config_sha256 {
        Difference::Place
    } else {
        Difference::Content
    }
}

fn read_line(
    line: &str,
    labels: &HashMap<&str, Arc<str>>,
    names: &HashMap<String, Arc<str>>,
) -> Result<LockedKernel, String> {
    if ["<<<<<<<", "=======", ">>>>>>>"]
        .iter()
        .any(|marker| line.starts_with(marker))
    {
        return Err("a merge conflict of git".to_owned());
    }
    let line: Line<'_> = serde_json::from_str(line).map_err(|error| column_only(&error))?;
    let label = line.entry.as_deref().unwrap_or(line.target.as_str());
    let label = labels
        .get(label)
        .map(Arc::clone)
        .ok_or_else(|| format!("`{label}` is not in the first line"))?;
    let source = names
        .get(&*line.source)
        .map_or_else(|| Arc::from(&*line.source), Arc::clone);
    Ok(LockedKernel {
        label,
        kernel: Arc::new(Kernel {
            target: line.target,
            release: line.release,
            version: line.version,
            architecture: line.architecture,
            packages: line.packages,
            config_sha256: line.config_sha256,
            source,
        }),
        first_seen: line.first_seen,
    })
}

/// The message of an error in a single line, whose number the reader of JSON does not know.
fn column_only(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text);
    format!(
        "not a line of a lock: {message} at column {}",
        error.column()
    )
}

fn put_line(bytes: &mut Vec<u8>, line: &impl Serialize) {
    // Neither the types nor a Vec can fail here.
    drop(serde_json::to_writer(&mut *bytes, line));
    drop(bytes.write_all(b"\n"));
}
