//! The record of a built image: a small JSON file next to its archive.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ImageDescription;
use crate::digest::Sha256;
use crate::fs::{self, FileError};

/// The version of the format. It is increased when the record or the way images are built changes, so that all images
/// are rebuilt.
const FORM: u32 = 1;

/// The error if the record of an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not a record.
    #[error("{} is not a record of a builder image: {cause}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: serde_json::Error,
    },
}

/// An image that was built and whose archive is on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltImage {
    /// The format version of this record and of the archive.
    form: u32,
    /// The image's name.
    pub name: String,
    /// The digest of the description that it was built from.
    pub description_sha256: Sha256,
    /// The digest of the archive.
    pub archive_sha256: Sha256,
    /// The size of the archive in bytes.
    pub archive_size_bytes: u64,
    /// Installed packages and their versions.
    pub packages: BTreeMap<String, String>,
    /// The uncompressed root file system archive.
    #[serde(skip)]
    pub archive: PathBuf,
}

impl BuiltImage {
    /// Creates the record of an archive that was just built for `description` in `folder`.
    pub(super) fn new(
        description: &ImageDescription,
        folder: &Path,
        (archive_sha256, archive_size_bytes): (Sha256, u64),
        packages: BTreeMap<String, String>,
    ) -> Self {
        Self {
            form: FORM,
            name: description.name.clone(),
            description_sha256: description.digest,
            archive_sha256,
            archive_size_bytes,
            packages,
            archive: archive_path(folder, &description.name),
        }
    }

    /// Returns the image in `folder`, or `None` if it was never built there, if its archive is missing or has another
    /// size, or if an older program built it in another way. Costs two small file accesses.
    pub fn load(folder: &Path, name: &str) -> Result<Option<Self>, RecordError> {
        let is_there = |image: &Self| {
            let size_bytes = image.archive.metadata().map(|metadata| metadata.len());
            size_bytes.ok() == Some(image.archive_size_bytes)
        };
        Ok(Self::load_record(folder, name)?.filter(is_there))
    }

    /// Like [`Self::load`], but does not require the archive, for executors whose images are stored elsewhere.
    pub fn load_record(folder: &Path, name: &str) -> Result<Option<Self>, RecordError> {
        let path = record_path(folder, name);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let form_error = |source| RecordError::Form {
            path: path.clone(),
            cause: source,
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(form_error)?;
        if value.get("form") != Some(&FORM.into()) {
            return Ok(None);
        }
        let mut image: Self = serde_json::from_value(value).map_err(form_error)?;
        image.archive = archive_path(folder, name);
        Ok(Some(image))
    }

    /// Whether the image was built from exactly this description.
    pub fn is_of(&self, description: &ImageDescription) -> bool {
        self.description_sha256 == description.digest
    }

    /// Returns the digest that identifies the image in cache keys.
    pub fn identity(&self) -> Sha256 {
        identity(&[self.archive_sha256])
    }

    /// Returns the version of the image's C library, for example 2.36.
    pub fn libc(&self) -> Option<(u32, u32)> {
        let (major, rest) = self.packages.get("libc6")?.split_once('.')?;
        let minor = rest.split(|other: char| !other.is_ascii_digit()).next()?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    }

    /// Whether the image contains the emulator of other architectures.
    pub fn has_emulator(&self) -> bool {
        self.packages.contains_key(super::runtime::EMULATOR_PACKAGE)
    }

    /// Writes the record. Its archive must be in place, and no older record may exist.
    pub(super) fn keep(&self, folder: &Path) -> Result<(), RecordError> {
        let path = record_path(folder, &self.name);
        let mut text = serde_json::to_vec_pretty(self).map_err(|source| RecordError::Form {
            path: path.clone(),
            cause: source,
        })?;
        text.push(b'\n');
        Ok(fs::write(&path, text)?)
    }
}

/// Returns the digest that identifies an image in cache keys: a digest of the digests of its file system layers, lowest
/// first, as Docker reports them (`RootFS.Layers`), joined by line breaks. Names, tags and build times are not
/// included.
pub fn identity(layers: &[Sha256]) -> Sha256 {
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| format!("sha256:{layer}"))
        .collect();
    crate::executor::image_identity(&layers)
}

pub(super) fn archive_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.tar"))
}

pub(super) fn record_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(folder: &Path) -> BuiltImage {
        let archive = archive_path(folder, "bookworm");
        fs::write(&archive, b"root file system").expect("write");
        let image = BuiltImage {
            form: FORM,
            name: "bookworm".to_owned(),
            description_sha256: Sha256::of("description"),
            archive_sha256: Sha256::of("root file system"),
            archive_size_bytes: 16,
            packages: BTreeMap::from([("gcc-12".to_owned(), "12.2.0-14".to_owned())]),
            archive,
        };
        image.keep(folder).expect("keep");
        image
    }

    #[test]
    fn a_written_record_is_read_back() {
        let folder = tempfile::tempdir().expect("folder");
        assert_eq!(
            BuiltImage::load(folder.path(), "bookworm").expect("none yet"),
            None
        );
        let image = kept(folder.path());
        assert_eq!(
            BuiltImage::load(folder.path(), "bookworm").expect("a record"),
            Some(image)
        );
    }

    #[test]
    fn a_truncated_or_removed_archive_counts_as_missing() {
        let folder = tempfile::tempdir().expect("folder");
        let image = kept(folder.path());
        fs::write(&image.archive, b"root").expect("write");
        assert_eq!(
            BuiltImage::load(folder.path(), "bookworm").expect("a record"),
            None
        );
        fs::remove_file(&image.archive).expect("remove");
        assert_eq!(
            BuiltImage::load(folder.path(), "bookworm").expect("a record"),
            None
        );
    }

    #[test]
    fn a_record_in_another_format_is_ignored_and_a_broken_one_is_an_error() {
        let folder = tempfile::tempdir().expect("folder");
        kept(folder.path());
        let path = record_path(folder.path(), "bookworm");
        fs::write(&path, br#"{"form": 0, "name": "bookworm"}"#).expect("write");
        assert_eq!(
            BuiltImage::load(folder.path(), "bookworm").expect("old"),
            None
        );
        fs::write(&path, b"{").expect("write");
        assert!(BuiltImage::load(folder.path(), "bookworm").is_err());
    }

    #[test]
    fn the_version_of_the_c_library_is_that_of_its_package() {
        let folder = tempfile::tempdir().expect("folder");
        let mut image = kept(folder.path());
        assert_eq!(image.libc(), None);
        for (version, libc) in [("2.36-9+deb12u14", (2, 36)), ("2.43-7", (2, 43))] {
            image
                .packages
                .insert("libc6".to_owned(), version.to_owned());
            assert_eq!(image.libc(), Some(libc));
        }
    }

    #[test]
    fn identity_covers_every_layer_in_order() {
        let [a, b] = [Sha256::of("a"), Sha256::of("b")];
        let identities = [&[][..], &[a], &[b], &[a, b], &[b, a]].map(identity);
        let distinct: std::collections::HashSet<_> = identities.into_iter().collect();
        assert_eq!(distinct.len(), 5);
    }
}
