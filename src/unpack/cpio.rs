//! The cpio archive in an rpm, entry by entry.
//!
//! There are two kinds of entries: the common one (`newc`) contains the file's name; the kind in packages with files of
//! 4 GiB and more ("stripped") contains only an index into the package's list of files.
//!
//! Not read by a crate, because the crates read names of any length into memory; see docs/architecture.md.

use std::collections::HashMap;
use std::io::{self, Read};

use super::error::shown;
use super::write::TreeWriter;
use super::{Limits, UnpackError};

const NEWC: &[u8] = b"070701";
const STRIPPED: &[u8] = b"07070X";

/// The name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// Identifies a file with several names: device and inode.
pub(super) type Identity = (u64, u64);

/// A file in the list of an rpm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedFile {
    /// The path, as in an entry of an archive.
    pub(super) path: Vec<u8>,
    /// Kind and permissions.
    pub(super) mode: u32,
    /// Its size in bytes.
    pub(super) size_bytes: u64,
    /// The same for all names of one file.
    pub(super) identity: Identity,
    /// True if the archive has its content: of several names of one file, only the last one.
    pub(super) has_content: bool,
    /// True if other files of the list are names of the same file.
    pub(super) is_shared: bool,
}

/// Writes the entries of the cpio archive `reader`. `files` returns the package's own list, if the archive needs it.
pub(super) fn unpack(
    mut reader: impl Read,
    files: impl FnOnce() -> Result<Vec<ListedFile>, UnpackError>,
    writer: &mut TreeWriter<'_>,
    limits: &Limits,
) -> Result<(), UnpackError> {
    let mut list_of_package = Some(files);
    let mut files = Vec::new();
    let mut names = Names::default();
    let mut count = 0;
    loop {
        let entry = match &exactly::<6>(&mut reader)?[..] {
            NEWC => match read_newc(&mut reader, limits)? {
                Some(entry) => entry,
                None => break,
            },
            STRIPPED => {
                if let Some(list) = list_of_package.take() {
                    files = list()?;
                }
                read_stripped(&mut reader, &files)?
            }
            _ => {
                return Err(UnpackError::BrokenCpio(
                    "an entry does not start with 070701 or 07070X",
                ));
            }
        };
        count += 1;
        if count > limits.entries {
            return Err(UnpackError::TooManyEntries(limits.entries));
        }
        write(entry, &mut reader, writer, &mut names, limits)?;
    }
    names.write_empty(writer)?;
    // The rest is padding, but the checksum at its end covers everything before it.
    io::copy(&mut reader, &mut io::sink()).map_err(UnpackError::Broken)?;
    Ok(())
}

struct Entry {
    path: Vec<u8>,
    mode: u32,
    size_bytes: u64,
    /// For a file with several names: its identity, and true if this entry has the content.
    shared: Option<(Identity, bool)>,
}

fn write(
    entry: Entry,
    reader: &mut impl Read,
    writer: &mut TreeWriter<'_>,
    names: &mut Names,
    limits: &Limits,
) -> Result<(), UnpackError> {
    let Entry {
        path,
        mode,
        size_bytes,
        shared,
    } = entry;
    match mode & 0o170_000 {
        0o100_000 => match shared {
            Some((identity, false)) => names.add(identity, path, mode, writer)?,
            shared => {
                writer.add_file(&path, mode & 0o111 != 0, size_bytes, reader)?;
                if let Some((identity, true)) = shared {
                    names.add_content(identity, path, writer)?;
                }
            }
        },
        0o040_000 if size_bytes == 0 => writer.add_folder(&path)?,
        0o120_000 => {
            // The writer refuses longer targets too, but only after they are in memory.
            let length = usize::try_from(size_bytes)
                .ok()
                .filter(|&length| length <= limits.path_bytes)
                .ok_or_else(|| UnpackError::LongPath {
                    path: shown(&path),
                    limit: format!("{} bytes", limits.path_bytes),
                })?;
            let mut target = vec![0; length];
            reader
                .read_exact(&mut target)
                .map_err(UnpackError::Broken)?;
            writer.add_link(&path, &target)?;
        }
        0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 => {
            return Err(UnpackError::SpecialFile(shown(&path)));
        }
        _ => {
            return Err(UnpackError::UnsupportedEntry {
                path: shown(&path),
                kind: format!("mode {mode:o}, {size_bytes} bytes"),
            });
        }
    }
    skip(reader, padding(size_bytes))
}

/// Names of files with several names: all but one have no content, and mostly precede the one that has it.
#[derive(Default)]
struct Names {
    /// Paths and modes of names whose content has not been seen yet.
    waiting: HashMap<Identity, Vec<(Vec<u8>, u32)>>,
    written: HashMap<Identity, Vec<u8>>,
}

impl Names {
    fn add(
        &mut self,
        identity: Identity,
        path: Vec<u8>,
        mode: u32,
        writer: &mut TreeWriter<'_>,
    ) -> Result<(), UnpackError> {
        if let Some(target) = self.written.get(&identity) {
            return writer.add_hard_link(&path, target);
        }
        self.waiting.entry(identity).or_default().push((path, mode));
        Ok(())
    }

    fn add_content(
        &mut self,
        identity: Identity,
        target: Vec<u8>,
        writer: &mut TreeWriter<'_>,
    ) -> Result<(), UnpackError> {
        for (path, _) in self.waiting.remove(&identity).unwrap_or_default() {
            writer.add_hard_link(&path, &target)?;
        }
        self.written.insert(identity, target);
        Ok(())
    }

    /// Writes the files whose names all have no content: they are empty.
    fn write_empty(self, writer: &mut TreeWriter<'_>) -> Result<(), UnpackError> {
        for names in self.waiting.into_values() {
            let mut names = names.into_iter();
            let Some((first, mode)) = names.next() else {
                continue;
            };
            writer.add_file(&first, mode & 0o111 != 0, 0, &mut io::empty())?;
            for (path, _) in names {
                writer.add_hard_link(&path, &first)?;
            }
        }
        Ok(())
    }
}

/// Reads the rest of an entry's header; `None` at the end of the archive.
fn read_newc(reader: &mut impl Read, limits: &Limits) -> Result<Option<Entry>, UnpackError> {
    let mut fields = [0; 13];
    for (field, digits) in fields
        .iter_mut()
        .zip(exactly::<104>(reader)?.chunks_exact(8))
    {
        *field = hexadecimal(digits)?;
    }
    let [
        inode,
        mode,
        _,
        _,
        links,
        _,
        size,
        major,
        minor,
        _,
        _,
        name_size,
        _,
    ] = fields;
    let most = limits.path_bytes as u64 + 1;
    // One byte more than allowed is enough to show the start of a path that is too long.
    let kept = usize::try_from(name_size.min(most + 1)).unwrap_or_default();
    let mut path = vec![0; kept];
    reader.read_exact(&mut path).map_err(UnpackError::Broken)?;
    if name_size > most {
        return Err(UnpackError::LongPath {
            path: shown(&path),
            limit: format!("{} bytes", limits.path_bytes),
        });
    }
    if path.pop() != Some(0) {
        return Err(UnpackError::BrokenCpio(
            "the name of an entry is not terminated",
        ));
    }
    skip(reader, padding(6 + 104 + name_size))?;
    if path == TRAILER {
        return Ok(None);
    }
    let identity = (major << 32 | minor, inode);
    Ok(Some(Entry {
        path,
        mode: u32::try_from(mode).unwrap_or_default(),
        size_bytes: size,
        shared: (links > 1).then_some((identity, size > 0)),
    }))
}

/// Reads the rest of an entry that has only an index into the package's list of files.
fn read_stripped(reader: &mut impl Read, files: &[ListedFile]) -> Result<Entry, UnpackError> {
    let number = hexadecimal(&exactly::<8>(reader)?)?;
    skip(reader, padding(6 + 8))?;
    let file = usize::try_from(number)
        .ok()
        .and_then(|number| files.get(number))
        .ok_or(UnpackError::BrokenCpio(
            "an entry is not in the package's list of files",
        ))?;
    let is_folder = file.mode & 0o170_000 == 0o040_000;
    Ok(Entry {
        path: file.path.clone(),
        mode: file.mode,
        // The list also has sizes for directories and for names without content.
        size_bytes: if is_folder || !file.has_content {
            0
        } else {
            file.size_bytes
        },
        shared: file.is_shared.then_some((file.identity, file.has_content)),
    })
}

fn exactly<const LENGTH: usize>(reader: &mut impl Read) -> Result<[u8; LENGTH], UnpackError> {
    let mut bytes = [0; LENGTH];
    reader.read_exact(&mut bytes).map_err(UnpackError::Broken)?;
    Ok(bytes)
}

fn hexadecimal(digits: &[u8]) -> Result<u64, UnpackError> {
    digits.iter().try_fold(0, |number, &digit| {
        let value = char::from(digit).to_digit(16);
        let value = value.ok_or(UnpackError::BrokenCpio(
            "a field is not a hexadecimal number",
        ))?;
        Ok(number << 4 | u64::from(value))
    })
}

/// Returns the number of bytes up to the next multiple of four.
fn padding(size_bytes: u64) -> usize {
    usize::try_from(size_bytes.wrapping_neg() % 4).unwrap_or_default()
}

fn skip(reader: &mut impl Read, count: usize) -> Result<(), UnpackError> {
    reader
        .read_exact(&mut [0; 3][..count])
        .map_err(UnpackError::Broken)
}
