//! The outer archive (ar) of a Debian package; only the member with the files is read.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};

use super::UnpackError;
use super::decompress::Compression;

/// The first bytes of every Debian package.
pub(super) const MAGIC: &[u8] = b"!<arch>\n";

const HEADER_BYTES: usize = 60;

/// The maximum number of members: Debian packages have three, signed ones a few more.
const MOST_MEMBERS: usize = 16;

/// Finds the archive with the package's files, and returns a reader at its start.
pub(super) fn content(mut file: File) -> Result<(Compression, io::Take<File>), UnpackError> {
    let broken = |problem| UnpackError::BrokenPackage {
        kind: "Debian package",
        problem,
    };
    let length = file.seek(SeekFrom::End(0)).map_err(UnpackError::Broken)?;
    let mut position = MAGIC.len() as u64;
    let mut found = None;
    let mut members = 0;
    while position < length {
        members += 1;
        if members > MOST_MEMBERS {
            return Err(broken("it has too many members"));
        }
        let mut header = [0; HEADER_BYTES];
        file.seek(SeekFrom::Start(position))
            .and_then(|_| file.read_exact(&mut header))
            .map_err(UnpackError::Broken)?;
        if &header[58..] != b"`\n" {
            return Err(broken("a member's header is damaged"));
        }
        let name = str::from_utf8(&header[..16])
            .map_err(|_| broken("a member's name is not text"))?
            .trim_end_matches(' ')
            .trim_end_matches('/');
        let size: u64 = str::from_utf8(&header[48..58])
            .ok()
            .and_then(|text| text.trim_end_matches(' ').parse().ok())
            .ok_or(broken("a member's size is not a number"))?;
        let start = position + HEADER_BYTES as u64;
        if start + size > length {
            return Err(broken("it ends in the middle of a member"));
        }
        if members == 1 {
            let mut version = [0; 2];
            if name != "debian-binary" || size < 4 {
                return Err(broken("its first member is not debian-binary"));
            }
            file.read_exact(&mut version).map_err(UnpackError::Broken)?;
            if &version != b"2." {
                return Err(broken("it is not of format 2"));
            }
        } else if let Some(extension) = name.strip_prefix("data.tar") {
            let compression = match extension {
                "" => Compression::None,
                ".gz" => Compression::Gzip,
                ".bz2" => Compression::Bzip2,
                ".xz" => Compression::Xz,
                ".zst" => Compression::Zstd,
                _ => return Err(UnpackError::Compression(name.to_owned())),
            };
            if found.replace((compression, start, size)).is_some() {
                return Err(broken("it has more than one data.tar"));
            }
        }
        position = start + size + size % 2;
    }
    let (compression, start, size) = found.ok_or(UnpackError::NoContent)?;
    file.seek(SeekFrom::Start(start))
        .map_err(UnpackError::Broken)?;
    Ok((compression, file.take(size)))
}
