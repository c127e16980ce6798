//! Archives to trees: Debian packages, rpms, Arch packages and tarballs, unpacked without running any program.
//!
//! In: a file, as it came from a server, and [`Limits`]. Out: a directory, and its digest as a [`Tree`]. Nothing that
//! an archive says is trusted: whatever would write outside the directory, make anything but files, directories and
//! links, or fill the disk is an [`UnpackError`], one variant a defect.
//!
//! Owners, times and most permission bits of an archive are not kept, so that equal contents are equal trees: a
//! file can be run or not, a directory is a directory. Targets of links are kept as they are: an absolute one is meant
//! for the place where the tree is shown to a build, and nothing here follows it.

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

/// What an archive may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most entries.
    pub entries: u64,
    /// The most entries of a tree without content; each KiB of content allows one more.
    pub empty_entries: u64,
    /// The most bytes after decompression.
    pub size_bytes: u64,
    /// The most bytes after decompression for one byte before, once there are more than 16 MiB.
    pub ratio: u64,
    /// The longest path.
    pub path_bytes: usize,
    /// The most segments of a path.
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
