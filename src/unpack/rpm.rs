//! The outer format of an rpm: a lead, two headers of tagged values, and the compressed cpio archive.
//!
//! Only values needed for unpacking are read from the headers: the digest of the payload, and the list of files if the
//! archive does not contain their names. Every number in them is checked before it is used.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;

use super::cpio::ListedFile;
use super::decompress::Compression;
use super::{Limits, UnpackError};
use crate::digest::Sha256;

/// The first bytes of every rpm.
pub(super) const MAGIC: &[u8] = &[0xed, 0xab, 0xee, 0xdb];

const LEAD_BYTES: u64 = 96;
const HEADER_MAGIC: &[u8] = &[0x8e, 0xad, 0xe8, 0x01];
const HEADER_BYTES: usize = 16;
const INDEX_BYTES: usize = 16;

/// The maximum number of values in a header: rpm's own limit.
const MOST_VALUES: u32 = 0xffff;

/// The maximum number of items in one value: more than the number of files in any package.
const MOST_ITEMS: u32 = 1 << 20;

/// The maximum size of a header's values; a kernel's largest package has some 5 MiB.
const MOST_VALUE_BYTES: u32 = 64 << 20;

// Tags and types from rpm's documentation of its format.
const TAG_FILE_SIZES: u32 = 1028;
const TAG_FILE_MODES: u32 = 1030;
const TAG_FILE_DEVICES: u32 = 1095;
const TAG_FILE_INODES: u32 = 1096;
const TAG_FOLDER_NUMBERS: u32 = 1116;
const TAG_BASE_NAMES: u32 = 1117;
const TAG_FOLDER_NAMES: u32 = 1118;
const TAG_LONG_FILE_SIZES: u32 = 5008;
const TAG_PAYLOAD_DIGEST: u32 = 5092;
const TAG_PAYLOAD_DIGEST_ALGORITHM: u32 = 5093;
const TYPE_INT16: u32 = 3;
const TYPE_INT32: u32 = 4;
const TYPE_INT64: u32 = 5;
const TYPE_STRING_ARRAY: u32 = 8;
const ALGORITHM_SHA256: u64 = 8;

fn broken(problem: &'static str) -> UnpackError {
    UnpackError::BrokenPackage {
        kind: "rpm",
        problem,
    }
}

/// An rpm with the position of its header.
pub(super) struct Rpm {
    file: File,
    header: Header,
}

/// The position of a header in the file.
#[derive(Clone, Copy)]
struct Header {
    start: u64,
    values: u32,
    value_bytes: u32,
}

/// One value of a header.
#[derive(Clone, Copy)]
struct Value {
    kind: u32,
    offset: u32,
    count: u32,
}

/// Finds the headers of an rpm.
pub(super) fn open(file: File) -> Result<Rpm, UnpackError> {
    let mut lead = [0; 8];
    file.read_exact_at(&mut lead, 0)
        .map_err(UnpackError::Broken)?;
    if !matches!(lead[4], 3 | 4) {
        return Err(broken("it is not of format 3 or 4"));
    }
    let signature = Header::read(&file, LEAD_BYTES)?;
    // The first header is padded to a multiple of eight.
    let header = Header::read(&file, signature.end().next_multiple_of(8))?;
    Ok(Rpm { file, header })
}

impl Header {
    fn read(file: &File, start: u64) -> Result<Self, UnpackError> {
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, start)
            .map_err(UnpackError::Broken)?;
        if !bytes.starts_with(HEADER_MAGIC) {
            return Err(broken("a header has no magic number"));
        }
        let header = Self {
            start,
            values: number(&bytes[8..12]),
            value_bytes: number(&bytes[12..16]),
        };
        if header.values > MOST_VALUES || header.value_bytes > MOST_VALUE_BYTES {
            return Err(broken("a header is too large"));
        }
        Ok(header)
    }

    fn index_start(&self) -> u64 {
        self.start + HEADER_BYTES as u64
    }

    fn index_bytes(&self) -> u64 {
        u64::from(self.values) * INDEX_BYTES as u64
    }

    fn values_start(&self) -> u64 {
        self.index_start() + self.index_bytes()
    }

    fn end(&self) -> u64 {
        self.values_start() + u64::from(self.value_bytes)
    }
}

/// Reads a big-endian number of up to four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u32::from(byte))
}

impl Rpm {
    /// Returns the compression of the archive and a reader at its start. Verifies its digest first, if the header has
    /// one; rpms before 4.14 have none.
    pub(super) fn payload(&self) -> Result<(Compression, File), UnpackError> {
        let start = self.header.end();
        let mut head = [0; 6];
        self.file
            .read_exact_at(&mut head, start)
            .map_err(UnpackError::Broken)?;
        let compression = match Compression::of(&head) {
            Some(compression) => compression,
            None if head.starts_with(b"0707") => Compression::None,
            None => {
                let found = format!("a payload that starts with {head:02x?}");
                return Err(UnpackError::Compression(found));
            }
        };
        let at_start = || {
            let mut file = self.file.try_clone()?;
            file.seek(SeekFrom::Start(start)).map(|_| file)
        };
        if let Some(expected) = self.payload_digest()? {
            let found = at_start().and_then(Sha256::of_reader);
            let (found, _) = found.map_err(UnpackError::Broken)?;
            if found != expected {
                return Err(UnpackError::PayloadDigest { expected, found });
            }
        }
        Ok((compression, at_start().map_err(UnpackError::Broken)?))
    }

    fn payload_digest(&self) -> Result<Option<Sha256>, UnpackError> {
        let values = self.values()?;
        if values.numbers(TAG_PAYLOAD_DIGEST_ALGORITHM)?.as_deref() != Some(&[ALGORITHM_SHA256]) {
            return Ok(None);
        }
        let texts = values.texts(TAG_PAYLOAD_DIGEST)?.unwrap_or_default();
        let Some(text) = texts.first() else {
            return Ok(None);
        };
        let digest = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        digest
            .map(Some)
            .ok_or(broken("payload digest is not a SHA-256"))
    }

    /// Returns the package's list of files.
    pub(super) fn files(&self, limits: &Limits) -> Result<Vec<ListedFile>, UnpackError> {
        let values = self.values()?;
        let names = values.texts(TAG_BASE_NAMES)?.unwrap_or_default();
        if names.len() as u64 > limits.entries {
            return Err(UnpackError::TooManyEntries(limits.entries));
        }
        let incomplete = || broken("its list of files is not complete");
        let numbers = |tag| {
            let numbers = values.numbers(tag)?;
            numbers
                .filter(|numbers| numbers.len() == names.len())
                .ok_or_else(incomplete)
        };
        let folders = values.texts(TAG_FOLDER_NAMES)?.unwrap_or_default();
        let folder_numbers = numbers(TAG_FOLDER_NUMBERS)?;
        let modes = numbers(TAG_FILE_MODES)?;
        let devices = numbers(TAG_FILE_DEVICES)?;
        let inodes = numbers(TAG_FILE_INODES)?;
        let sizes = numbers(TAG_LONG_FILE_SIZES).or_else(|_| numbers(TAG_FILE_SIZES))?;
        let mut files = Vec::with_capacity(names.len());
        let mut last_of = HashMap::new();
        for (position, name) in names.iter().enumerate() {
            let folder = usize::try_from(folder_numbers[position])
                .ok()
                .and_then(|number| folders.get(number))
                .ok_or_else(incomplete)?;
            let folder = folder.strip_prefix(b"/").unwrap_or(folder);
            let identity = (devices[position], inodes[position]);
            let mode = u32::try_from(modes[position]).unwrap_or_default();
            let is_file = mode & 0o170_000 == 0o100_000;
            let (count, last) = last_of.entry(identity).or_insert((0, position));
            if is_file {
                (*count, *last) = (*count + 1, position);
            }
            files.push(ListedFile {
                path: [folder, name].concat(),
                mode,
                size_bytes: sizes[position],
                identity,
                has_content: true,
                is_shared: is_file,
            });
        }
        for (position, file) in files
            .iter_mut()
            .enumerate()
            .filter(|(_, file)| file.is_shared)
        {
            let (count, last) = last_of
                .get(&file.identity)
                .copied()
                .unwrap_or((1, position));
            file.is_shared = count > 1;
            file.has_content = last == position;
        }
        Ok(files)
    }

    fn values(&self) -> Result<Values, UnpackError> {
        let header = self.header;
        let read = |start, length: u64| {
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let mut bytes = vec![0; length];
            self.file
                .read_exact_at(&mut bytes, start)
                .map_err(UnpackError::Broken)?;
            Ok::<_, UnpackError>(bytes)
        };
        let index = read(header.index_start(), header.index_bytes())?;
        let bytes = read(header.values_start(), header.value_bytes.into())?;
        Ok(Values { index, bytes })
    }
}

/// The values of a header.
struct Values {
    index: Vec<u8>,
    bytes: Vec<u8>,
}

impl Values {
    fn find(&self, tag: u32) -> Result<Option<Value>, UnpackError> {
        let entries = self.index.chunks_exact(INDEX_BYTES);
        let mut fields = entries.map(|entry| [0, 4, 8, 12].map(|at| number(&entry[at..at + 4])));
        let found = fields.find(|fields| fields[0] == tag);
        let value = found.map(|[_, kind, offset, count]| Value {
            kind,
            offset,
            count,
        });
        match value {
            Some(value) if value.count > MOST_ITEMS => Err(broken("a value has too many items")),
            value => Ok(value),
        }
    }

    fn bytes_at(&self, value: Value) -> Result<&[u8], UnpackError> {
        let start = usize::try_from(value.offset).unwrap_or(usize::MAX);
        self.bytes
            .get(start..)
            .ok_or(broken("a value is beyond its header"))
    }

    /// Returns an array of numbers; `None` if the header does not have the tag.
    fn numbers(&self, tag: u32) -> Result<Option<Vec<u64>>, UnpackError> {
        let Some(value) = self.find(tag)? else {
            return Ok(None);
        };
        let size = match value.kind {
            TYPE_INT16 => 2,
            TYPE_INT32 => 4,
            TYPE_INT64 => 8,
            _ => return Err(broken("header value is not an integer array")),
        };
        let length = usize::try_from(value.count)
            .ok()
            .and_then(|count| count.checked_mul(size));
        let bytes = length
            .and_then(|length| self.bytes_at(value).ok()?.get(..length))
            .ok_or(broken("a value is beyond its header"))?;
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .fold(0, |number, &byte| number << 8 | u64::from(byte))
        };
        Ok(Some(bytes.chunks_exact(size).map(number).collect()))
    }

    /// Returns an array of strings; `None` if the header does not have the tag.
    fn texts(&self, tag: u32) -> Result<Option<Vec<&[u8]>>, UnpackError> {
        let Some(value) = self.find(tag)? else {
            return Ok(None);
        };
        if value.kind != TYPE_STRING_ARRAY {
            return Err(broken("header value is not a string array"));
        }
        let mut left = self.bytes_at(value)?;
        let mut texts = Vec::new();
        for _ in 0..value.count {
            let end = left
                .iter()
                .position(|&byte| byte == 0)
                .ok_or(broken("a value is beyond its header"))?;
            texts.push(&left[..end]);
            left = &left[end + 1..];
        }
        Ok(Some(texts))
    }
}
