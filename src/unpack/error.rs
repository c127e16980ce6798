//! What can be wrong with an archive.

use std::io;

use crate::digest::Sha256;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::FileError;

/// Why an archive was not unpacked: one variant a defect.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive or the tree could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The caller asked for an end before all was unpacked.
    #[error("was not unpacked to its end: the run was stopped")]
    Stopped,
    /// None of the formats that are known.
    #[error("is neither a Debian package, nor an rpm, nor a tarball")]
    UnknownFormat,
    /// A package whose outer format is broken.
    #[error("is not a valid {kind}: {problem}")]
    BrokenPackage {
        /// What it should be.
        kind: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A package without files.
    #[error("holds no data.tar")]
    NoContent,
    /// A compression that is not supported.
    #[error("holds {0}, a compression that is not supported; xz, gz, zst, bz2 and none are")]
    Compression(String),
    /// The compressed data or the archive is broken or cut off.
    #[error("is broken: {0}")]
    Broken(io::Error),
    /// A cpio archive that is not one.
    #[error("holds a broken cpio archive: {0}")]
    BrokenCpio(&'static str),
    /// An rpm whose payload is not the one that its header names.
    #[error("has a payload with SHA-256 {found}, but its header names {expected}")]
    PayloadDigest {
        /// The digest in its header.
        expected: Sha256,
        /// The digest of what follows.
        found: Sha256,
    },
    /// A name that starts with a slash.
    #[error("holds the absolute path `{0}`")]
    AbsolutePath(String),
    /// A name with a segment `..`.
    #[error("holds the path `{0}`, which climbs out of its directory")]
    ParentSegment(String),
    /// A name or the target of a link with a NUL byte, which no file system takes.
    #[error("holds the path `{0}`, which has a NUL byte")]
    NulByte(String),
    /// A name that is longer or deeper than the limit.
    #[error("holds a path beyond the limits of {limit}: `{path}`")]
    LongPath {
        /// The start of the path.
        path: String,
        /// The limit that it exceeds: `1024 bytes`.
        limit: String,
    },
    /// Two entries of one name.
    #[error("holds `{0}` twice")]
    Duplicate(String),
    /// An entry below a link or file of the same archive.
    #[error("holds `{path}` below `{parent}`, which is not a directory")]
    BelowNoFolder {
        /// The entry.
        path: String,
        /// The link or file above it.
        parent: String,
    },
    /// A symbolic link to a relative target outside the tree, or to nothing.
    #[error("holds the link `{path}` to `{target}`, which leaves the tree")]
    LinkLeavesTree {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
    /// A symbolic link that leads back to itself, alone or with others.
    #[error("holds the link `{path}` to `{target}`, which leads back to itself")]
    LinkLoop {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
    /// More names of one file than a file system takes.
    #[error("holds `{0}`, one name too many of its file")]
    TooManyNames(String),
    /// A hard link to something that is not an earlier file of the archive.
    #[error("holds the hard link `{path}` to `{target}`, which is not an earlier file of it")]
    HardLinkTarget {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// Something else in the place of a directory.
    #[error("{0} is not a directory")]
    NotFolder(String),
    /// A device, pipe or socket.
    #[error("holds `{0}`, which is not a file, a directory or a link")]
    SpecialFile(String),
    /// A kind of entry that no package of a distribution has.
    #[error("holds the entry `{path}` of a kind that is not supported ({kind})")]
    UnsupportedEntry {
        /// Its path.
        path: String,
        /// Its kind.
        kind: String,
    },
    /// More entries than the limit.
    #[error("holds more than {0} entries")]
    TooManyEntries(u64),
    /// More bytes than the limit.
    #[error("is larger than {0} bytes when unpacked")]
    TooLarge(u64),
    /// Compressed so well that it must be a trap.
    #[error("unpacks to more than {0} times its size")]
    Ratio(u64),
}

impl UnpackError {
    /// The failure of a build that needs the tree; `archive` names the package.
    pub fn failure(&self, archive: &str) -> Failure {
        let class = match self {
            Self::File(_) => FailureClass::Infrastructure,
            Self::Stopped => FailureClass::Cancelled,
            _ => FailureClass::Unpack,
        };
        Failure::new(class, Phase::Unpack, format!("{archive} {self}"))
    }
}

/// A path of an archive, safe to print.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(200)])
        .escape_debug()
        .to_string()
}
