//! Errors from unpacking.

use std::io;

use crate::digest::Sha256;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::FileError;

/// The reason why an archive was not unpacked, with one variant for each defect.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive or the tree could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The caller stopped the unpacking.
    #[error("was not fully unpacked: the run was stopped")]
    Stopped,
    /// The format is unknown.
    #[error("is neither a Debian package, nor an rpm, nor a tarball")]
    UnknownFormat,
    /// The outer format of the package is broken.
    #[error("is not a valid {kind}: {problem}")]
    BrokenPackage {
        /// The expected format.
        kind: &'static str,
        /// The defect.
        problem: &'static str,
    },
    /// The package has no files.
    #[error("contains no data.tar")]
    NoContent,
    /// The compression is not supported.
    #[error("contains {0}, a compression that is not supported: expected xz, gz, zst, bz2 or none")]
    Compression(String),
    /// The compressed data or the archive is broken or cut off.
    #[error("is broken: {0}")]
    Broken(io::Error),
    /// The cpio archive is broken.
    #[error("contains a broken cpio archive: {0}")]
    BrokenCpio(&'static str),
    /// The payload of the rpm does not match the digest in its header.
    #[error("has a payload with SHA-256 {found}, but its header names {expected}")]
    PayloadDigest {
        /// The digest in the header.
        expected: Sha256,
        /// The digest of the payload.
        found: Sha256,
    },
    /// A path starts with a slash.
    #[error("contains the absolute path `{0}`")]
    AbsolutePath(String),
    /// A path has a segment `..`.
    #[error("contains the path `{0}`, which climbs out of its directory")]
    ParentSegment(String),
    /// A path or the target of a link has a NUL byte, which no file system accepts.
    #[error("contains the path `{0}`, which has a NUL byte")]
    NulByte(String),
    /// A path is longer or deeper than the limit.
    #[error("contains a path beyond the limits of {limit}: `{path}`")]
    LongPath {
        /// The start of the path.
        path: String,
        /// The limit that it exceeds: `1024 bytes`.
        limit: String,
    },
    /// Two entries have the same path.
    #[error("contains `{0}` twice")]
    Duplicate(String),
    /// An entry is below a link or file of the same archive.
    #[error("contains `{path}` below `{parent}`, which is not a directory")]
    BelowNoFolder {
        /// The entry.
        path: String,
        /// The link or file above it.
        parent: String,
    },
    /// A symbolic link points outside the tree, or has an empty target.
    #[error("contains the link `{path}` to `{target}`, which leaves the tree")]
    LinkLeavesTree {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
    /// A symbolic link points to itself, directly or through other links.
    #[error("contains the link `{path}` to `{target}`, which leads back to itself")]
    LinkLoop {
        /// The link.
        path: String,
        /// Where it points.
        target: String,
    },
    /// A file has more hard links than the file system supports.
    #[error("contains `{0}`, one hard link too many to its file")]
    TooManyNames(String),
    /// A hard link does not point to an earlier file of the archive.
    #[error(
        "contains the hard link `{path}` to `{target}`, which is not an earlier file of the archive"
    )]
    HardLinkTarget {
        /// The link.
        path: String,
        /// Its target.
        target: String,
    },
    /// A path that should be a directory is something else.
    #[error("{0} is not a directory")]
    NotFolder(String),
    /// A device, pipe or socket.
    #[error("contains `{0}`, which is not a file, a directory or a link")]
    SpecialFile(String),
    /// An entry has a kind that is not supported and not used by packages of distributions.
    #[error("contains the entry `{path}` of a kind that is not supported ({kind})")]
    UnsupportedEntry {
        /// Its path.
        path: String,
        /// Its kind.
        kind: String,
    },
    /// The archive has more entries than the limit.
    #[error("contains more than {0} entries")]
    TooManyEntries(u64),
    /// The archive has more bytes than the limit.
    #[error("is larger than {0} bytes when unpacked")]
    TooLarge(u64),
    /// The compression ratio is that of a decompression bomb.
    #[error("unpacks to more than {0} times its size")]
    Ratio(u64),
}

impl UnpackError {
    /// Returns the failure of a build that needs the tree; `archive` names the package.
    pub fn failure(&self, archive: &str) -> Failure {
        let class = match self {
            Self::File(_) => FailureClass::Infrastructure,
            Self::Stopped => FailureClass::Cancelled,
            _ => FailureClass::Unpack,
        };
        Failure::new(class, Phase::Unpack, format!("{archive} {self}"))
    }
}

/// Returns the start of a path of an archive, safe to print.
pub(super) fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(200)])
        .escape_debug()
        .to_string()
}
