//! Unpacks archives into trees: Debian packages, rpms, Arch packages and tarballs, without running any program.
//!
//! In: a file, as downloaded from a server, and [`Limits`]. Out: a directory, and its digest as a [`Tree`]. Nothing in
//! an archive is trusted: whatever would write outside the directory, create anything but files, directories and links,
//! or fill the disk is an [`UnpackError`], with one variant for each defect.
//!
//! Owners, times and most permission bits of an archive are dropped, so that equal contents are equal trees: a file is
//! executable or not, and a directory is a directory. Targets of links are kept unchanged: an absolute target refers to
//! the tree's location in a build, and nothing here follows it.

mod archive;
mod attributes;
mod cpio;
mod deb;
mod decompress;
mod error;
mod path;
mod rpm;
mod search;
mod tarball;
mod tree;
mod write;

pub use archive::{
    check_archive, read_from_archive, unpack, unpack_into_store, unpack_into_store_until,
};
pub use error::UnpackError;
pub use tree::{Tree, tree_digest_of_folder};

/// Limits for an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of entries.
    pub entries: u64,
    /// The maximum number of entries of a tree without content; each KiB of content allows one more.
    pub empty_entries: u64,
    /// The maximum decompressed size in bytes.
    pub size_bytes: u64,
    /// The maximum ratio of decompressed to compressed size, for more than 16 MiB of decompressed data.
    pub ratio: u64,
    /// The maximum length of a path in bytes.
    pub path_bytes: usize,
    /// The maximum number of segments in a path.
    pub path_depth: usize,
}

impl Default for Limits {
    /// Several times what the largest header package or kernel source needs.
    fn default() -> Self {
        Self {
            entries: 250_000,
            empty_entries: 50_000,
            size_bytes: 8 << 30,
            ratio: 250,
            path_bytes: 1024,
            path_depth: 64,
        }
    }
}
