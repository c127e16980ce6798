//! Copies the parts of driver sources that a build needs.

use std::path::Path;

use walkdir::WalkDir;

use super::layout::{DriverSource, SourceError};
use crate::fs::{self, FileError};

/// Copies everything in `from` to the same relative path of `into`. Links are copied as links.
pub fn copy_folder(from: &Path, into: &Path) -> Result<(), SourceError> {
    copy_below(from, from, into)
}

/// Copies the parts of `source` that a build needs into the directory `into`, which is created. Links are copied as
/// links.
pub fn copy_parts(source: &DriverSource, into: &Path) -> Result<(), SourceError> {
    fs::create_folder(into)?;
    for part in source.parts() {
        copy_below(&source.folder, &source.folder.join(part), into)?;
    }
    Ok(())
}

/// Copies `from`, a directory in `root`, to the same relative path in `into`.
fn copy_below(root: &Path, from: &Path, into: &Path) -> Result<(), SourceError> {
    for entry in WalkDir::new(from)
        .into_iter()
        .filter_entry(|entry| entry.file_name() != ".git")
    {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(from).to_owned();
            FileError::of("read", path)(error.into())
        })?;
        let path = entry.path();
        let relative = path.strip_prefix(root).unwrap_or(path);
        let target = into.join(relative);
        let kind = entry.file_type();
        if kind.is_dir() {
            fs::create_folder(&target)?;
        } else if kind.is_symlink() {
            let link = std::fs::read_link(path).map_err(FileError::of("read link", path))?;
            std::os::unix::fs::symlink(link, &target).map_err(FileError::of("link", &target))?;
        } else if kind.is_file() {
            std::fs::copy(path, &target).map_err(FileError::of("copy to", &target))?;
        } else {
            return Err(SourceError::Kind(path.to_owned()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::read_source;

    #[test]
    fn only_files_that_a_build_needs_are_copied() {
        let folder = tempfile::tempdir().unwrap();
        for path in [
            "driver/CMakeLists.txt",
            "driver/.git/x",
            "cmake/modules/m.cmake",
            "userspace/big.cpp",
        ] {
            fs::write(&folder.path().join(path), path).unwrap();
        }
        std::os::unix::fs::symlink("CMakeLists.txt", folder.path().join("driver/link")).unwrap();
        let target = tempfile::tempdir().unwrap();
        let into = target.path().join("tree");
        copy_parts(&read_source(folder.path()).unwrap(), &into).unwrap();
        assert!(
            into.join("driver/CMakeLists.txt").is_file()
                && into.join("cmake/modules/m.cmake").is_file()
        );
        assert!(!into.join("userspace").exists() && !into.join("driver/.git").exists());
        assert_eq!(
            std::fs::read_link(into.join("driver/link")).unwrap(),
            Path::new("CMakeLists.txt")
        );
    }
}
