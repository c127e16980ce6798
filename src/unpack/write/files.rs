//! Writes the files of a tree.

use std::fs::File;
use std::io::{self, Read, Write as _};

use rustix::fs::{OFlags, fchmod, futimens, openat};

use super::TreeWriter;
use crate::digest::{HashingWriter, Sha256};
use crate::fs::FileError;
use crate::store::{SharedFile, tree_times};
use crate::unpack::UnpackError;
use crate::unpack::attributes::{mode, name_of, umask_is_harmless};
use crate::unpack::path::split;
use crate::unpack::tree::Node;

/// Files up to this size are buffered before they are written: only these can be shared with other trees.
const BUFFER_BYTES: usize = 4 << 20;

impl TreeWriter<'_> {
    /// Adds a file of `size_bytes` bytes from `content`.
    pub(in crate::unpack) fn add_file(
        &mut self,
        raw: &[u8],
        is_executable: bool,
        size_bytes: u64,
        content: &mut impl Read,
    ) -> Result<(), UnpackError> {
        let path = self.new_path(raw)?;
        // Checked before the first byte is written, because the size in a header may be false.
        self.size_bytes = self.size_bytes.saturating_add(size_bytes);
        if self.size_bytes > self.limits.size_bytes {
            return Err(UnpackError::TooLarge(self.limits.size_bytes));
        }
        self.take_sought(&path, size_bytes, content)?;
        let sha256 = if self.is_survey {
            let copied = io::copy(&mut content.take(size_bytes), &mut io::sink());
            match copied.map_err(UnpackError::Broken)? {
                copied if copied == size_bytes => Sha256::of(""),
                _ => return Err(UnpackError::Broken(io::ErrorKind::UnexpectedEof.into())),
            }
        } else if size_bytes <= BUFFER_BYTES as u64 {
            self.add_small_file(&path, is_executable, size_bytes, content)?
        } else {
            self.add_large_file(&path, is_executable, size_bytes, content)?
        };
        self.insert(
            path,
            Node::File {
                is_executable,
                sha256,
            },
        )
    }

    fn add_small_file(
        &mut self,
        path: &[u8],
        is_executable: bool,
        size_bytes: u64,
        content: &mut impl Read,
    ) -> Result<Sha256, UnpackError> {
        let size = usize::try_from(size_bytes).unwrap_or(BUFFER_BYTES);
        if self.buffer.len() < size {
            self.buffer.resize(size, 0);
        }
        content
            .read_exact(&mut self.buffer[..size])
            .map_err(UnpackError::Broken)?;
        let bytes = &self.buffer[..size];
        let sha256 = Sha256::of(bytes);
        let file = SharedFile {
            sha256,
            is_executable,
        };
        if let Some(shared) = self.shared {
            let name = name_of(split(path).1);
            if shared.link(file, size_bytes, self.parent(), name)? {
                return Ok(sha256);
            }
            self.new_files.push((name_of(path).to_owned(), file));
        }
        let mut file = self.create(path, is_executable)?;
        file.write_all(bytes)
            .map_err(FileError::of("write", self.on_disk(path)))?;
        self.complete(&file, path, is_executable)?;
        Ok(sha256)
    }

    fn add_large_file(
        &mut self,
        path: &[u8],
        is_executable: bool,
        size_bytes: u64,
        content: &mut impl Read,
    ) -> Result<Sha256, UnpackError> {
        let file = self.create(path, is_executable)?;
        self.buffer.resize(BUFFER_BYTES, 0);
        let mut hashing = HashingWriter::new(&file);
        let mut left = size_bytes;
        while left > 0 {
            let size = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
            let bytes = &mut self.buffer[..size];
            content.read_exact(bytes).map_err(UnpackError::Broken)?;
            hashing
                .write_all(bytes)
                .map_err(FileError::of("write", self.path.join(name_of(path))))?;
            left -= size as u64;
        }
        let (sha256, _, _) = hashing.finish();
        self.complete(&file, path, is_executable)?;
        Ok(sha256)
    }

    /// Creates a file in the directory that was entered last. Its bare name cannot lead anywhere else, whatever exists
    /// there.
    fn create(&self, path: &[u8], is_executable: bool) -> Result<File, UnpackError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = name_of(split(path).1);
        openat(self.parent(), name, flags, mode(is_executable))
            .map(File::from)
            .map_err(|error| FileError::of("create", self.on_disk(path))(error.into()).into())
    }

    fn complete(&self, file: &File, path: &[u8], is_executable: bool) -> Result<(), UnpackError> {
        let mut result = futimens(file, &tree_times());
        if !umask_is_harmless() {
            result = result.and_then(|()| fchmod(file, mode(is_executable)));
        }
        result.map_err(|error| FileError::of("write", self.on_disk(path))(error.into()).into())
    }
}
