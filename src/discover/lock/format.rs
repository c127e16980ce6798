//! Reads and writes the text of a lock.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::combine::combine;
use super::text::{LockText, RESTORE, RESTORE_HEADER, conflict, is_marker, read_text};
use super::values::{Text, Values};
use super::{Lock, LockError, LockedKernel, State};
use crate::diagnostic::Place;
use crate::digest::Sha256;
use crate::kernel::{
    Architecture, Kernel, KernelRelease, Members, Package, PackageSet, ParseKernelError, Upstream,
};

/// The version of the format that this program writes. This is also the newest version that it reads.
pub const VERSION: u32 = 3;

/// The first version of the format in which digests are marked as notes.
const WITH_NOTES: u32 = 2;

/// The number of lines that one processor reads or writes at once.
pub(super) const CHUNK_LINES: usize = 1024;

/// The start of every header. A union merge of git can leave several headers in one lock.
const HEADER_START: &str = "{\"lock\":";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    lock: u32,
    sources: BTreeMap<String, Sha256>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, Sha256>,
}

/// The part of the header that is the same in all versions.
#[derive(Deserialize)]
struct AnyHeader {
    lock: u32,
}

/// The line of a kernel, with its release and its packages as types to read or to write.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a, R, P> {
    #[serde(borrow)]
    target: Text<'a>,
    release: R,
    #[serde(borrow)]
    version: Text<'a>,
    architecture: Architecture,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    entry: Option<Text<'a>>,
    packages: P,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config_sha256: Option<Sha256>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upstream: Option<Box<Upstream>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    image: Option<Box<Package>>,
    #[serde(borrow)]
    source: Text<'a>,
    first_seen: Date,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unconfirmed: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<Date>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    settled: bool,
}

/// A line that is read. Its strings are parts of the line.
type ReadLine<'a> = Line<'a, Text<'a>, Members<Text<'a>>>;

/// A line that is written.
type WrittenLine<'a> = Line<'a, &'a KernelRelease, &'a PackageSet>;

impl ReadLine<'_> {
    /// The label of the `[[target]]` that the kernel was found for.
    fn label(&self) -> &str {
        self.entry.as_deref().unwrap_or(&self.target)
    }
}

/// The combined headers of a lock.
pub(super) struct Head {
    sources: BTreeMap<String, Sha256>,
    limits: BTreeMap<String, Sha256>,
    /// The oldest version of all headers. In old versions, a digest without a mark may be a note.
    version: u32,
}

impl Head {
    /// Reads the headers. A union merge can leave several.
    pub(super) fn read<'a>(
        text: &LockText<'_>,
        lines: impl Iterator<Item = (usize, &'a str)>,
    ) -> Result<Self, LockError> {
        let mut head = Self {
            sources: BTreeMap::new(),
            limits: BTreeMap::new(),
            version: VERSION,
        };
        for (number, line) in lines {
            let header = read_header(text, number, line)?;
            head.version = head.version.min(header.lock);
            for (label, digest) in header.sources {
                head.sources.entry(label).or_insert(digest);
            }
            for (label, digest) in header.limits {
                head.limits.entry(label).or_insert(digest);
            }
        }
        Ok(head)
    }

    /// Returns the lock with these kernels, which must be sorted.
    pub(super) fn lock(self, kernels: Vec<LockedKernel>) -> Lock {
        Lock {
            sources: self.sources,
            limits: self.limits,
            kernels,
        }
    }
}

/// A kernel with the number of its line.
pub(super) type NumberedKernel = (usize, LockedKernel);

impl Lock {
    /// Reads a lock; `None` if the file does not exist. If a union merge of git left a kernel twice, both lines are
    /// merged.
    pub fn read(path: &Path) -> Result<Option<Self>, LockError> {
        if let Some(lock) = Self::read_in_parts(path) {
            return Ok(Some(lock));
        }
        let Some(text) = read_text(path)? else {
            return Ok(None);
        };
        let text = LockText { path, text: &text };
        let lines = text.lines();
        Self::parse(&text, &lines).map(Some)
    }

    /// Parses a lock from these lines of a text.
    pub(super) fn parse(text: &LockText<'_>, lines: &[(usize, &str)]) -> Result<Self, LockError> {
        let is_header = |line: &str| line.starts_with(HEADER_START);
        let first = lines.first().copied().unwrap_or((1, ""));
        let further = lines.iter().skip(1).copied();
        let further = further.filter(|(_, line)| is_header(line));
        let head = Head::read(text, std::iter::once(first).chain(further))?;
        let kernels = lines[1.min(lines.len())..]
            .par_chunks(CHUNK_LINES)
            .map(|lines| {
                let mut values = Values::default();
                let lines = lines.iter().filter(|(_, line)| !is_header(line));
                let kernels = lines.map(|&(number, line)| {
                    let kernel = read_line(text, number, line, &head, &mut values)?;
                    Ok((number, kernel))
                });
                kernels.collect()
            })
            .collect::<Result<Vec<Vec<NumberedKernel>>, LockError>>()?;
        Ok(head.lock(heal(text, kernels.into_iter().flatten().collect())?))
    }

    /// Returns the first line.
    pub(super) fn header_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = Header {
            lock: VERSION,
            sources: self.sources.clone(),
            limits: self.limits.clone(),
        };
        put_line(&mut bytes, &header);
        bytes
    }
}

/// Returns the place of a kernel's line in the lock, for messages. `label` is the label of the kernel's `[[target]]`.
pub fn place_of_kernel(path: &Path, label: &str, kernel: &Kernel) -> Option<Place> {
    let text = read_text(path).ok()??;
    let text = LockText { path, text: &text };
    let is_of_kernel = |line: &str| {
        line.contains(kernel.release.as_str())
            && serde_json::from_str::<ReadLine<'_>>(line).is_ok_and(|line| {
                *line.target == *kernel.target.as_str()
                    && *line.release == *kernel.release.as_str()
                    && *line.version == *kernel.version.as_str()
                    && line.architecture == kernel.architecture
                    && line.label() == label
            })
    };
    let lines = text.lines();
    let (number, _) = lines.iter().find(|(_, line)| is_of_kernel(line))?;
    Some(text.place(*number))
}

fn read_header(text: &LockText<'_>, number: usize, line: &str) -> Result<Header, LockError> {
    if is_marker(line) {
        return Err(conflict(text, number));
    }
    let bad_line = |error| text.bad_line(number, &error, RESTORE_HEADER);
    let any: AnyHeader = serde_json::from_str(line).map_err(bad_line)?;
    if any.lock > VERSION {
        return Err(LockError::Newer {
            path: text.path.to_owned(),
            found: any.lock,
        });
    }
    serde_json::from_str(line).map_err(bad_line)
}

/// Reads the line of a kernel.
pub(super) fn read_line(
    text: &LockText<'_>,
    number: usize,
    line: &str,
    head: &Head,
    values: &mut Values,
) -> Result<LockedKernel, LockError> {
    if is_marker(line) {
        return Err(conflict(text, number));
    }
    let bad_value = |value: &str, error: &ParseKernelError| {
        text.bad_value(number, value, &error.to_string(), RESTORE)
    };
    let line: ReadLine<'_> =
        serde_json::from_str(line).map_err(|error| text.bad_line(number, &error, RESTORE))?;
    let target = values.target(&line.target);
    let target = target.map_err(|error| bad_value(&line.target, &error))?;
    let version = values.version(&line.version);
    let version = version.map_err(|error| bad_value(&line.version, &error))?;
    let label = line.label();
    let label = values.label(label, || {
        if head.sources.contains_key(label) {
            return Ok(());
        }
        let message = format!("the source `{label}` of this kernel is missing in the first line");
        Err(text.fault(number, &message, RESTORE))
    })?;
    let packages = line.packages.0.iter();
    let urls = packages.clone().map(|package| &*package.url);
    let (release, urls) = values.shared(&line.release, urls);
    let release = KernelRelease::of_shared(release);
    let release = release.map_err(|error| bad_value(&line.release, &error))?;
    let with_url = |(package, url): (&Package<Text<'_>>, _)| package.with_url(url);
    let mut packages: PackageSet = packages.zip(urls).map(with_url).collect();
    // Only the indexes of mirrors publish digests. Arch's repositories do not.
    let is_published = &*line.source == "mirror" && target.as_str() != "arch";
    if head.version < WITH_NOTES && !is_published {
        packages.update(|package| {
            package.is_noted = package.sha256.is_some();
            package.is_noted
        });
    }
    Ok(LockedKernel {
        label,
        kernel: Arc::new(Kernel {
            target,
            release,
            version,
            architecture: line.architecture,
            packages,
            config_sha256: line.config_sha256,
            upstream: line.upstream,
            image: line.image,
            source: values.source(&line.source),
        }),
        first_seen: line.first_seen,
        state: match (line.gone, line.unconfirmed) {
            (Some(since), _) => State::Gone(since),
            (None, Some(since)) => State::Unconfirmed(since),
            (None, None) => State::Confirmed,
        },
        is_settled: line.settled,
    })
}

/// Sorts the kernels, and merges repeated ones.
fn heal(
    text: &LockText<'_>,
    mut kernels: Vec<NumberedKernel>,
) -> Result<Vec<LockedKernel>, LockError> {
    let is_ordered = kernels
        .par_windows(2)
        .all(|pair| pair[0].1.key() < pair[1].1.key());
    if is_ordered {
        return Ok(kernels.into_iter().map(|(_, locked)| locked).collect());
    }
    kernels.par_sort_by(|(_, left), (_, right)| left.key().cmp(&right.key()));
    let mut healed: Vec<NumberedKernel> = Vec::with_capacity(kernels.len());
    for (number, locked) in kernels {
        match healed.last_mut() {
            Some((first, last)) if last.key() == locked.key() => {
                *last = combine(None, last, &locked)
                    .map_err(|contradiction| contradiction.error(text, *first, text, number))?;
            }
            _ => healed.push((number, locked)),
        }
    }
    Ok(healed.into_iter().map(|(_, locked)| locked).collect())
}

/// Adds the line of a kernel.
pub(super) fn put_kernel(bytes: &mut Vec<u8>, locked: &LockedKernel) {
    let kernel = &*locked.kernel;
    let is_implied = *locked.label == *kernel.target.as_str();
    let line = WrittenLine {
        target: kernel.target.as_str().into(),
        release: &kernel.release,
        version: kernel.version.as_str().into(),
        architecture: kernel.architecture,
        entry: (!is_implied).then(|| (&*locked.label).into()),
        packages: &kernel.packages,
        config_sha256: kernel.config_sha256,
        upstream: kernel.upstream.clone(),
        image: kernel.image.clone(),
        source: (&*kernel.source).into(),
        first_seen: locked.first_seen,
        unconfirmed: match locked.state {
            State::Unconfirmed(since) => Some(since),
            State::Confirmed | State::Gone(_) => None,
        },
        gone: match locked.state {
            State::Gone(since) => Some(since),
            State::Confirmed | State::Unconfirmed(_) => None,
        },
        settled: locked.is_settled,
    };
    put_line(bytes, &line);
}

fn put_line(bytes: &mut Vec<u8>, line: &impl Serialize) {
    // The types always serialize, and writing to a `Vec` never fails.
    drop(serde_json::to_writer(&mut *bytes, line));
    drop(bytes.write_all(b"\n"));
}
