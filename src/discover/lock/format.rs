//! The text of a lock: reading and writing.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Lock, LockError, LockedKernel, State};
use crate::digest::Sha256;
use crate::fs;
use crate::kernel::{Architecture, Kernel, KernelRelease, KernelVersion, Package, TargetId};

/// The version of the format that this program writes, and the newest that it reads.
pub const VERSION: u32 = 2;

/// The version from which on a digest says whether it is a note.
const WITH_NOTES: u32 = 2;

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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    upstream: Option<crate::kernel::Upstream>,
    #[serde(borrow)]
    source: std::borrow::Cow<'a, str>,
    first_seen: Date,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unconfirmed: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<Date>,
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
                read_line(line, header.lock, &labels, &names)
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
                upstream: kernel.upstream.clone(),
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
            };
            put_line(&mut bytes, &line);
        }
        bytes
    }
}

fn read_line(
    line: &str,
    version: u32,
    labels: &HashMap<&str, Arc<str>>,
    names: &HashMap<String, Arc<str>>,
) -> Result<LockedKernel, String> {
    if ["<<<<<<<", "=======", ">>>>>>>"]
        .iter()
        .any(|marker| line.starts_with(marker))
    {
        return Err("a merge conflict of git".to_owned());
    }
    let mut line: Line<'_> = serde_json::from_str(line).map_err(|error| column_only(&error))?;
    let label = line.entry.as_deref().unwrap_or(line.target.as_str());
    let label = labels
        .get(label)
        .map(Arc::clone)
        .ok_or_else(|| format!("`{label}` is not in the first line"))?;
    let source = names
        .get(&*line.source)
        .map_or_else(|| Arc::from(&*line.source), Arc::clone);
    // Arch's repositories publish no digests; nor does any source but a repository's index.
    let is_published = line.source == "mirror" && line.target.as_str() != "arch";
    if version < WITH_NOTES && !is_published {
        for package in &mut line.packages {
            package.is_noted = package.sha256.is_some();
        }
    }
    Ok(LockedKernel {
        label,
        kernel: Arc::new(Kernel {
            target: line.target,
            release: line.release,
            version: line.version,
            architecture: line.architecture,
            packages: line.packages,
            config_sha256: line.config_sha256,
            upstream: line.upstream,
            source,
        }),
        first_seen: line.first_seen,
        state: match (line.gone, line.unconfirmed) {
            (Some(since), _) => State::Gone(since),
            (None, Some(since)) => State::Unconfirmed(since),
            (None, None) => State::Confirmed,
        },
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
