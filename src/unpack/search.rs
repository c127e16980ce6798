//! Reads one file of an archive, without unpacking the others.

use std::io::{self, Read};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::write::{Sought, TreeWriter};
use super::{Limits, UnpackError};
use crate::fs::FileError;

impl<'a> TreeWriter<'a> {
    /// Returns a writer that writes nothing and stops with [`UnpackError::Stopped`] at the file it looks for. `folder`
    /// is any existing directory.
    pub(super) fn for_search(
        folder: &'a Path,
        limits: &'a Limits,
        sought: Sought<'a>,
    ) -> Result<Self, UnpackError> {
        let root = Dir::open_ambient_dir(folder, ambient_authority())
            .map_err(FileError::of("open directory", folder))?;
        Ok(Self::that_makes_nothing(folder, root, limits, Some(sought)))
    }

    /// Returns the content of the file, if it was found.
    pub(super) fn found(self) -> Option<Vec<u8>> {
        self.sought?.found
    }

    /// Reads the content if this is the file to look for.
    pub(super) fn take_sought(
        &mut self,
        path: &[u8],
        size_bytes: u64,
        content: &mut impl Read,
    ) -> Result<(), UnpackError> {
        let Some(sought) = &mut self.sought else {
            return Ok(());
        };
        if !(sought.is_wanted)(path) {
            return Ok(());
        }
        if size_bytes > sought.limit_bytes {
            return Err(UnpackError::TooLarge(sought.limit_bytes));
        }
        let mut found = Vec::new();
        let read = content.take(size_bytes).read_to_end(&mut found);
        if read.map_err(UnpackError::Broken)? as u64 != size_bytes {
            return Err(UnpackError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        sought.found = Some(found);
        Err(UnpackError::Stopped)
    }
}
