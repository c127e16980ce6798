//! The format of a pack: a line with the name of the format, a line of JSON with the digest and the MAC of the rest,
//! and the rest, which is compressed with zstd.
//!
//! The decompressed rest consists of lines: `O <key> <outcome>` and a line with the checksum of the outcome, both as
//! in a store on disk; `R <URL> <record>`, the record of a download; `C <digest> <size>`, a content in the bucket.

use std::io::{Read as _, Write as _};

use serde::{Deserialize, Serialize};

use super::keys::Trust;
use crate::digest::Sha256;

const MAGIC: &str = "driverkit-matrix pack 1\n";

/// The maximum size of a decompressed pack: 51,472 builds need about 300 MB.
const LIMIT_BYTES: u64 = 4 << 30;

/// The maximum length of the second line.
const LONGEST_HEADER: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Header {
    sha256: Sha256,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mac: Option<String>,
}

/// The reason why a pack is not trusted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum PackError {
    #[error("it is not a pack of this version")]
    Format,
    #[error("its content is damaged: the digest does not match")]
    Digest,
    #[error("its MAC does not match: it was changed, or signed with another key of the same name")]
    Mac,
    #[error("it was signed with the key {0}, which is not one of this run's keys")]
    OtherKey(String),
    #[error("it is not signed, and the bucket is not declared trusted")]
    Unsigned,
    #[error("line {0} cannot be read")]
    Line(usize),
}

/// Builds a pack.
pub(super) struct Writer {
    lines: zstd::stream::write::Encoder<'static, Vec<u8>>,
}

impl Writer {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            lines: zstd::stream::write::Encoder::new(Vec::new(), 3)?,
        })
    }

    /// Adds an outcome in its format on disk: one line, or two.
    pub(super) fn outcome(&mut self, key: Sha256, text: &[u8]) -> std::io::Result<()> {
        let mut lines = text.split(|&byte| byte == b'\n');
        write!(self.lines, "O {key} ")?;
        for line in [lines.next(), lines.next()] {
            self.lines.write_all(line.unwrap_or_default())?;
            self.lines.write_all(b"\n")?;
        }
        Ok(())
    }

    pub(super) fn record(&mut self, url: &str, text: &[u8]) -> std::io::Result<()> {
        if url.contains([' ', '\n']) || text.contains(&b'\n') {
            return Ok(());
        }
        write!(self.lines, "R {url} ")?;
        self.lines.write_all(text)?;
        self.lines.write_all(b"\n")
    }

    pub(super) fn content(&mut self, sha256: Sha256, size_bytes: u64) -> std::io::Result<()> {
        writeln!(self.lines, "C {sha256} {size_bytes}")
    }

    /// Returns the pack, signed if there is a key.
    pub(super) fn finish(self, trust: &Trust) -> std::io::Result<Vec<u8>> {
        let content = self.lines.finish()?;
        let signature = trust.keys.as_ref().and_then(|keys| keys.sign(&content));
        let (key, mac) = signature.unzip();
        let header = Header {
            sha256: Sha256::of(&content),
            key,
            mac,
        };
        let header = serde_json::to_string(&header)?;
        let mut pack = format!("{MAGIC}{header}\n").into_bytes();
        pack.extend(content);
        Ok(pack)
    }
}

/// Returns the lines of a trusted pack.
pub(super) fn open(pack: &[u8], trust: &Trust) -> Result<Vec<u8>, PackError> {
    let rest = pack
        .strip_prefix(MAGIC.as_bytes())
        .ok_or(PackError::Format)?;
    let end = rest
        .iter()
        .take(LONGEST_HEADER)
        .position(|&byte| byte == b'\n');
    let (header, content) = rest.split_at(end.ok_or(PackError::Format)?);
    let content = &content[1..];
    let header: Header = serde_json::from_slice(header).map_err(|_| PackError::Format)?;
    if header.sha256 != Sha256::of(content) {
        return Err(PackError::Digest);
    }
    check(&header, content, trust)?;
    let mut lines = Vec::new();
    zstd::stream::read::Decoder::new(content)
        .and_then(|decoder| decoder.take(LIMIT_BYTES).read_to_end(&mut lines))
        .map_err(|_| PackError::Digest)?;
    Ok(lines)
}

fn check(header: &Header, content: &[u8], trust: &Trust) -> Result<(), PackError> {
    let Some(keys) = &trust.keys else {
        // Without keys, everyone who can write to a trusted bucket is trusted.
        return if trust.is_trusted {
            Ok(())
        } else {
            Err(PackError::Unsigned)
        };
    };
    match (&header.mac, &header.key) {
        (Some(mac), _) if keys.verify(content, mac) => Ok(()),
        _ if trust.is_trusted => Ok(()),
        (Some(_), Some(name)) if !keys.has(name) => Err(PackError::OtherKey(name.clone())),
        (Some(_), _) => Err(PackError::Mac),
        (None, _) => Err(PackError::Unsigned),
    }
}

/// A line of a pack.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// An outcome: its key, and the range of its text.
    Outcome(Sha256, std::ops::Range<usize>),
    /// The record of a download: its URL, and the range of its text.
    Record(&'a str, std::ops::Range<usize>),
    /// A content and its size.
    Content(Sha256, u64),
}

/// Calls `visit` for each line.
pub(super) fn read<'a>(lines: &'a [u8], mut visit: impl FnMut(Line<'a>)) -> Result<(), PackError> {
    let mut at = 0;
    let mut number = 0;
    let end_of = |from: usize| memchr::memchr(b'\n', &lines[from..]).map(|end| from + end);
    while at < lines.len() {
        number += 1;
        let bad = PackError::Line(number);
        let Some(end) = end_of(at) else {
            return Err(bad);
        };
        let line = &lines[at..end];
        let word = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok();
        let mut next = end + 1;
        let read = match line.split_at_checked(2) {
            Some((b"O ", rest)) if rest.len() > 65 && rest[64] == b' ' => {
                // The next line has the checksum.
                next = end_of(next).map_or(lines.len(), |end| end + 1);
                word(&rest[..64])
                    .and_then(|key| key.parse().ok())
                    .map(|key| Line::Outcome(key, at + 2 + 65..next))
            }
            Some((b"R ", rest)) => memchr::memchr(b' ', rest).and_then(|space| {
                let url = word(&rest[..space])?;
                Some(Line::Record(url, at + 2 + space + 1..end))
            }),
            Some((b"C ", rest)) => word(rest).and_then(|text| {
                let (sha256, size_bytes) = text.split_once(' ')?;
                Some(Line::Content(
                    sha256.parse().ok()?,
                    size_bytes.parse().ok()?,
                ))
            }),
            _ => None,
        };
        visit(read.ok_or(bad)?);
        at = next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::keys::Keys;

    fn trust(key: Option<&str>, is_trusted: bool) -> Trust {
        Trust {
            keys: key.map(|key| Keys::of_text(key).unwrap()),
            is_trusted,
        }
    }

    const KEY: &str = "a-key-of-enough-length";

    fn pack(trust: &Trust) -> Vec<u8> {
        let mut writer = Writer::new().unwrap();
        writer
            .outcome(Sha256::of("a"), b"{\"a\":1}\n{\"sha256\":2}\n")
            .unwrap();
        writer.outcome(Sha256::of("b"), b"{\"b\":1}").unwrap();
        writer.record("http://h/a", b"{\"url\":3}").unwrap();
        writer.content(Sha256::of("c"), 7).unwrap();
        writer.finish(trust).unwrap()
    }

    #[test]
    fn a_pack_is_read_back() {
        let trust = trust(Some(KEY), false);
        let lines = open(&pack(&trust), &trust).unwrap();
        let mut found = Vec::new();
        read(&lines, |line| {
            found.push(match line {
                Line::Outcome(key, range) => (key.short(), lines[range].to_vec()),
                Line::Record(url, range) => (url.to_owned(), lines[range].to_vec()),
                Line::Content(sha256, size) => (sha256.short(), vec![size.to_le_bytes()[0]]),
            });
        })
        .unwrap();
        let expected = [
            (
                Sha256::of("a").short(),
                b"{\"a\":1}\n{\"sha256\":2}\n".to_vec(),
            ),
            (Sha256::of("b").short(), b"{\"b\":1}\n\n".to_vec()),
            ("http://h/a".to_owned(), b"{\"url\":3}".to_vec()),
            (Sha256::of("c").short(), vec![7]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn packs_that_are_unsigned_or_signed_with_another_key_are_refused() {
        let (own, other) = (
            trust(Some(KEY), false),
            trust(Some("another-key-of-length"), false),
        );
        let (open_bucket, nobody) = (trust(None, true), trust(None, false));
        let refused = |pack: &[u8], trust: &Trust| open(pack, trust).unwrap_err();
        assert!(matches!(
            refused(&pack(&other), &own),
            PackError::OtherKey(_)
        ));
        assert_eq!(refused(&pack(&open_bucket), &own), PackError::Unsigned);
        assert_eq!(refused(&pack(&own), &nobody), PackError::Unsigned);
        assert!(open(&pack(&own), &open_bucket).is_ok());
        assert!(open(&pack(&other), &trust(Some(KEY), true)).is_ok());
        let mut changed = pack(&own);
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(refused(&changed, &own), PackError::Digest);
        assert_eq!(refused(b"<html>", &own), PackError::Format);
        // A forger who knows the name of the key, but not the key.
        let text = pack(&own);
        let end = text[MAGIC.len()..]
            .iter()
            .position(|&byte| byte == b'\n')
            .unwrap();
        let mut header: Header =
            serde_json::from_slice(&text[MAGIC.len()..MAGIC.len() + end]).unwrap();
        header.mac = Some(Sha256::of("guess").to_string());
        let mut forged =
            format!("{MAGIC}{}\n", serde_json::to_string(&header).unwrap()).into_bytes();
        forged.extend(&text[MAGIC.len() + end + 1..]);
        assert_eq!(refused(&forged, &own), PackError::Mac);
    }

    #[test]
    fn invalid_lines_are_named() {
        for (lines, number) in [
            (&b"C x 1\n"[..], 1),
            (b"R http://h/a {}\nX\n", 2),
            (b"O ", 1),
        ] {
            assert_eq!(read(lines, |_| ()), Err(PackError::Line(number)));
        }
    }
}
