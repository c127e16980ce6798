//! The keys that sign packs, and which packs are trusted.

use std::fmt;
use std::path::Path;

use ring::hmac;

use crate::digest::Sha256;
use crate::fs::{self, FileError};

/// The prefix of signed data, so that a signature cannot be used for another purpose.
const PURPOSE: &[u8] = b"driverkit-matrix pack 1\n";

/// The minimum length of a key in characters.
const SHORTEST: usize = 16;

/// The reason why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no key, or one is too short.
    #[error("expected keys of at least {SHORTEST} characters, one per line")]
    Short,
}

/// The keys for packs: the first signs, all are trusted, so that keys can be replaced.
#[derive(Clone)]
pub struct Keys(Vec<Vec<u8>>);

impl fmt::Debug for Keys {
    /// Omits the keys.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} keys", self.0.len())
    }
}

impl Keys {
    /// Parses one key per line; empty lines and lines that start with `#` are skipped.
    pub fn of_text(text: &str) -> Result<Self, KeysError> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().to_vec()).collect();
        if keys.is_empty() || keys.iter().any(|key| key.len() < SHORTEST) {
            return Err(KeysError::Short);
        }
        Ok(Self(keys))
    }

    /// Reads the keys of a file.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        Self::of_text(&fs::read_to_string(path)?)
    }

    /// Returns the name of a key, which reveals nothing about it.
    fn name(key: &[u8]) -> String {
        Sha256::of([b"driverkit-matrix key name\n", key].concat()).short()
    }

    /// Returns the name of the signing key and the MAC of a content.
    pub(super) fn sign(&self, content: &[u8]) -> Option<(String, String)> {
        let key = self.0.first()?;
        let mac = hmac::sign(&of(key), &purposed(content));
        Some((Self::name(key), hex(mac.as_ref())))
    }

    /// Returns true if the MAC of a content was created with one of the keys.
    pub(super) fn verify(&self, content: &[u8], mac: &str) -> bool {
        let Some(mac) = unhex(mac) else {
            return false;
        };
        let content = purposed(content);
        let made_by = |key: &Vec<u8>| hmac::verify(&of(key), &content, &mac).is_ok();
        self.0.iter().any(made_by)
    }

    /// Returns true if a key has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|key| Self::name(key) == name)
    }
}

fn of(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

/// Returns the bytes that are signed for a content: the purpose and the digest.
fn purposed(content: &[u8]) -> Vec<u8> {
    [PURPOSE, Sha256::of(content).as_bytes()].concat()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    // The MAC is as long as a digest.
    let digest: Sha256 = text.parse().ok()?;
    Some(digest.as_bytes().to_vec())
}

/// Which packs are trusted.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// The keys whose signatures are trusted.
    pub keys: Option<Keys>,
    /// True if everyone who can write to the bucket is trusted.
    pub is_trusted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_accepted_and_the_first_signs() {
        let old = Keys::of_text("an-old-key-of-some-length").unwrap();
        let both = "# new\na-new-key-of-some-length\n\nan-old-key-of-some-length\n";
        let both = Keys::of_text(both).unwrap();
        let (_, mac) = old.sign(b"pack").unwrap();
        assert!(both.verify(b"pack", &mac) && !both.verify(b"park", &mac));
        let (name, mac) = both.sign(b"pack").unwrap();
        assert!(!old.verify(b"pack", &mac) && !old.has(&name) && both.has(&name));
        assert!(!both.verify(b"pack", "ab") && !both.verify(b"pack", ""));
        assert_eq!(format!("{both:?}"), "2 keys");
    }

    #[test]
    fn short_or_missing_keys_are_refused() {
        for text in [
            "",
            "# only a comment",
            "short",
            "long-enough-for-a-key\nshort",
        ] {
            assert!(Keys::of_text(text).is_err(), "{text}");
        }
    }
}
