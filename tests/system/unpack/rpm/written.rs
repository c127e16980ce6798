//! Writes rpms and cpio archives byte by byte, with arbitrary values in their headers.

use std::io::Write as _;

pub(crate) const FILE: u32 = 0o100_644;
pub(crate) const FOLDER: u32 = 0o040_755;
pub(crate) const LINK: u32 = 0o120_777;

/// An entry of a cpio archive.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) inode: u32,
    pub(crate) links: u32,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn entry(name: &str, mode: u32, content: &str) -> Entry {
    Entry {
        name: name.into(),
        mode,
        inode: 1,
        links: 1,
        content: content.into(),
    }
}

pub(crate) fn file(name: &str, content: &str) -> Entry {
    entry(name, FILE, content)
}

/// Returns one name of a file that has `links` names.
pub(crate) fn name_of(inode: u32, links: u32, name: &str, content: &str) -> Entry {
    Entry {
        inode,
        links,
        ..file(name, content)
    }
}

pub(crate) fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

pub(crate) fn newc(entry: &Entry) -> Vec<u8> {
    let size = entry.content.len();
    let name_size = entry.name.len() + 1;
    let mut bytes = b"070701".to_vec();
    for field in [
        entry.inode,
        entry.mode,
        0,
        0,
        entry.links,
        1,
        u32::try_from(size).unwrap(),
        8,
        1,
        0,
        0,
        u32::try_from(name_size).unwrap(),
        0,
    ] {
        write!(bytes, "{field:08x}").unwrap();
    }
    bytes.extend_from_slice(&entry.name);
    bytes.push(0);
    pad(&mut bytes);
    bytes.extend_from_slice(&entry.content);
    pad(&mut bytes);
    bytes
}

pub(crate) fn cpio(entries: &[Entry]) -> Vec<u8> {
    let end = file("TRAILER!!!", "");
    entries.iter().chain([&end]).flat_map(newc).collect()
}

/// A value in an rpm's header: tag, type, number of items, bytes.
pub(crate) type Value = (u32, u32, u32, Vec<u8>);

pub(crate) fn texts(tag: u32, texts: &[&str]) -> Value {
    let bytes = texts
        .iter()
        .flat_map(|text| [text.as_bytes(), b"\0"].concat());
    (tag, 8, u32::try_from(texts.len()).unwrap(), bytes.collect())
}

pub(crate) fn numbers(tag: u32, numbers: &[u32]) -> Value {
    let bytes = numbers.iter().flat_map(|number| number.to_be_bytes());
    (
        tag,
        4,
        u32::try_from(numbers.len()).unwrap(),
        bytes.collect(),
    )
}

pub(crate) fn header(values: &[Value]) -> Vec<u8> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (tag, kind, count, bytes) in values {
        let offset = u32::try_from(data.len()).unwrap();
        for field in [*tag, *kind, offset, *count] {
            index.extend(field.to_be_bytes());
        }
        data.extend_from_slice(bytes);
    }
    let mut header = vec![0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0];
    header.extend(u32::try_from(values.len()).unwrap().to_be_bytes());
    header.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
    [header, index, data].concat()
}

pub(crate) fn rpm_with(values: &[Value], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xed, 0xab, 0xee, 0xdb, 3, 0];
    bytes.resize(96, 0);
    // The length is not a multiple of eight, so that padding follows.
    bytes.extend(header(&[(1000, 7, 3, vec![1, 2, 3])]));
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend(header(values));
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) fn rpm(payload: &[u8]) -> Vec<u8> {
    rpm_with(&[texts(1000, &["kernel-devel"])], payload)
}
