//! Tar archives, entry by entry.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use super::error::shown;
use super::write::TreeWriter;
use super::{Limits, UnpackError};

/// Files with metadata at the start of an Arch package; `makepkg` creates no others.
const PACMAN_NAMES: [&[u8]; 5] = [
    b".BUILDINFO",
    b".PKGINFO",
    b".MTREE",
    b".INSTALL",
    b".CHANGELOG",
];

/// The maximum size of an entry that only describes the next one.
const MOST_DESCRIPTION_BYTES: u64 = 64 << 10;

/// Writes the entries of the tar archive `reader`. If the first entry is a metadata file of an Arch package, leaves out
/// all such files.
pub(super) fn unpack(
    reader: impl Read,
    writer: &mut TreeWriter<'_>,
    limits: &Limits,
) -> Result<(), UnpackError> {
    let mut archive = tar::Archive::new(reader);
    let mut count = 0;
    let mut is_pacman = None;
    let mut description = Description::default();
    for entry in archive.entries().map_err(UnpackError::Broken)?.raw(true) {
        let mut entry = entry.map_err(UnpackError::Broken)?;
        count += 1;
        if count > limits.entries {
            return Err(UnpackError::TooManyEntries(limits.entries));
        }
        let header = entry.header().clone();
        let size_bytes = header.entry_size().map_err(UnpackError::Broken)?;
        if description.add(&header, size_bytes, &mut entry)? {
            continue;
        }
        let Description { path, link, size } = std::mem::take(&mut description);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let is_about_package = PACMAN_NAMES.contains(&path.strip_prefix(b"./").unwrap_or(&path));
        if *is_pacman.get_or_insert(is_about_package) && is_about_package {
            continue;
        }
        let target = link
            .or_else(|| Some(header.link_name_bytes()?.into_owned()))
            .unwrap_or_default();
        let unsupported = |kind: String| UnpackError::UnsupportedEntry {
            path: shown(&path),
            kind,
        };
        if size.is_some_and(|size| size != size_bytes) {
            return Err(unsupported(
                "a size that differs from its header".to_owned(),
            ));
        }
        match header.entry_type() {
            EntryType::Directory => writer.add_folder(&path)?,
            // The oldest tar format has no type for directories.
            EntryType::Regular if path.ends_with(b"/") => writer.add_folder(&path)?,
            EntryType::Regular => {
                let mode = header.mode().map_err(UnpackError::Broken)?;
                writer.add_file(&path, mode & 0o111 != 0, size_bytes, &mut entry)?;
            }
            EntryType::Symlink => writer.add_link(&path, &target)?,
            EntryType::Link => writer.add_hard_link(&path, &target)?,
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                return Err(UnpackError::SpecialFile(shown(&path)));
            }
            other => {
                return Err(unsupported(format!(
                    "type {:?}",
                    char::from(other.as_byte())
                )));
            }
        }
    }
    // The rest is padding, but the checksum at its end covers everything before it.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(UnpackError::Broken)?;
    Ok(())
}

/// Attributes that one entry defines for the next: names that do not fit into a header.
#[derive(Default)]
struct Description {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Description {
    /// Reads the entry if it is a description, and returns whether it was one.
    fn add(
        &mut self,
        header: &Header,
        size_bytes: u64,
        content: &mut impl Read,
    ) -> Result<bool, UnpackError> {
        let kind = header.entry_type();
        let is_description = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if !is_description {
            return Ok(false);
        }
        let unsupported = |kind: &str| UnpackError::UnsupportedEntry {
            path: shown(&header.path_bytes()),
            kind: kind.to_owned(),
        };
        if size_bytes > MOST_DESCRIPTION_BYTES {
            return Err(unsupported("a very long description"));
        }
        let mut bytes = Vec::new();
        content
            .read_to_end(&mut bytes)
            .map_err(UnpackError::Broken)?;
        let until_zero = |bytes: &[u8]| {
            let end = bytes.iter().position(|&byte| byte == 0);
            bytes[..end.unwrap_or(bytes.len())].to_vec()
        };
        if kind.is_gnu_longname() {
            self.path = Some(until_zero(&bytes));
        } else if kind.is_gnu_longlink() {
            self.link = Some(until_zero(&bytes));
        } else {
            let is_global = kind.is_pax_global_extensions();
            for extension in PaxExtensions::new(&bytes) {
                let extension = extension.map_err(UnpackError::Broken)?;
                let value = until_zero(extension.value_bytes());
                match extension.key_bytes() {
                    b"path" | b"linkpath" | b"size" if is_global => {
                        return Err(unsupported("a name or size for all entries"));
                    }
                    b"path" => self.path = Some(value),
                    b"linkpath" => self.link = Some(value),
                    b"size" => {
                        let text = extension.value().ok();
                        let size = text.and_then(|text| text.parse().ok());
                        self.size =
                            Some(size.ok_or_else(|| unsupported("a size that is not a number"))?);
                    }
                    key if key.starts_with(b"GNU.sparse") => return Err(unsupported("sparse")),
                    _ => {}
                }
            }
        }
        Ok(true)
    }
}
