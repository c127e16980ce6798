//! The digest of a tree: over names, kinds and contents only.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::UnpackError;
use super::error::shown;
use crate::digest::{HashingWriter, Sha256};
use crate::fs::FileError;

/// A directory, identified by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The digest over the sorted list of all its entries.
    pub sha256: Sha256,
    /// The number of files, directories and links.
    pub entries: u64,
    /// The total size of its files in bytes.
    pub size_bytes: u64,
}

/// An entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Folder,
    File { is_executable: bool, sha256: Sha256 },
    Link { target: Vec<u8> },
}

/// The entries of a tree, by path relative to its root.
pub(super) type Listing = BTreeMap<Vec<u8>, Node>;

/// Returns the digest of a listing. The encoding is length-prefixed, so that different listings have different
/// encodings.
pub(super) fn digest(listing: &Listing) -> io::Result<Sha256> {
    let mut state = HashingWriter::new(io::sink());
    state.write_all(b"driverkit-matrix tree 1\n")?;
    for (path, node) in listing {
        let (kind, content) = match node {
            Node::Folder => (b'd', &[][..]),
            Node::File {
                is_executable,
                sha256,
            } => (
                if *is_executable { b'x' } else { b'f' },
                &sha256.as_bytes()[..],
            ),
            Node::Link { target } => (b'l', &target[..]),
        };
        state.write_all(&[kind])?;
        for part in [path, content] {
            state.write_all(&(part.len() as u64).to_le_bytes())?;
            state.write_all(part)?;
        }
    }
    Ok(state.finish().0)
}

/// Returns the digest of a directory on disk, equal to that of the tree from which it was written. Reads every file.
pub fn tree_digest_of_folder(root: &Path) -> Result<Sha256, UnpackError> {
    let metadata = root
        .symlink_metadata()
        .map_err(FileError::of("read", root))?;
    if !metadata.is_dir() {
        return Err(UnpackError::NotFolder(root.display().to_string()));
    }
    let mut listing = Listing::new();
    let mut files = Vec::new();
    let mut folders = vec![(root.to_owned(), Vec::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let read = |error| FileError::of("read directory", &folder)(error);
        for entry in fs::read_dir(&folder).map_err(read)? {
            let path = entry.map_err(read)?.path();
            let mut name: Vec<u8> = prefix.clone();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(path.file_name().unwrap_or_default().as_bytes());
            let metadata = path
                .symlink_metadata()
                .map_err(FileError::of("read", &path))?;
            if metadata.is_dir() {
                listing.insert(name.clone(), Node::Folder);
                folders.push((path, name));
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).map_err(FileError::of("read", &path))?;
                let target = target.into_os_string().as_bytes().to_vec();
                listing.insert(name, Node::Link { target });
            } else if metadata.is_file() {
                files.push((path, name, metadata.mode() & 0o100 != 0));
            } else {
                return Err(UnpackError::SpecialFile(shown(&name)));
            }
        }
    }
    let hash = |(path, name, is_executable): (PathBuf, Vec<u8>, bool)| {
        let (sha256, _) = File::open(&path)
            .and_then(Sha256::of_reader)
            .map_err(FileError::of("read", &path))?;
        let node = Node::File {
            is_executable,
            sha256,
        };
        Ok((name, node))
    };
    let hashed: Result<Vec<_>, FileError> = files.into_par_iter().map(hash).collect();
    listing.extend(hashed?);
    digest(&listing).map_err(UnpackError::Broken)
}
