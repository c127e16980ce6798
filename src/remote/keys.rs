//! Keys that packs are signed with, and whose packs are believed.

use std::fmt;
use std::path::Path;

use ring::hmac;

use crate::digest::Sha256;
use crate::fs::{self, FileError};

/// What is signed starts so, so that a key signs nothing else by accident.
const PURPOSE: &[u8] = b"driverkit-matrix pack 1\n";

/// The fewest characters of a key.
const SHORTEST: usize = 16;

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is missing, or it can be guessed.
    #[error("a key has at least {SHORTEST} characters, one key a line")]
    Short,
}

/// Keys for packs: the first signs, each of them is believed, so that keys can be exchanged.
#[derive(Clone)]
pub struct Keys(Vec<Vec<u8>>);

impl fmt::Debug for Keys {
    /// Without the keys.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} keys", self.0.len())
    }
}

impl Keys {
    /// One key a line; empty lines and those that start with `#` do not count.
    pub fn of_text(text: &str) -> Result<Self, KeysError> {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys: Vec<Vec<u8>> = lines.map(|line| line.as_bytes().to_vec()).collect();
        if keys.is_empty() || keys.iter().any(|key| key.len() < SHORTEST) {
            return Err(KeysError::Short);
        }
        Ok(Self(keys))
    }

    /// The keys of a file.
    pub fn read(path: &Path) -> Result<Self, KeysError> {
        Self::of_text(&fs::read_to_string(path)?)
    }

    /// The name of a key, which tells nothing of it.
    fn name(key: &[u8]) -> String {
        Sha256::of([b"driverkit-matrix key name\n", key].concat()).short()
    }

    /// The name of the signing key and the MAC of a content.
    pub(super) fn sign(&self, content: &[u8]) -> Option<(String, String)> {
        let key = self.0.first()?;
        let mac = hmac::sign(&of(key), &purposed(content));
        Some((Self::name(key), hex(mac.as_ref())))
    }

    /// Whether one of the keys made the MAC of a content.
    pub(super) fn verify(&self, content: &[u8], mac: &str) -> bool {
        let Some(mac) = unhex(mac) else {
            return false;
        };
        let content = purposed(content);
        let made_by = |key: &Vec<u8>| hmac::verify(&of(key), &content, &mac).is_ok();
        self.0.iter().any(made_by)
    }

    /// Whether a key has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|key| Self::name(key) == name)
    }
}

fn of(key: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

/// The digest of a content stands for it, so that it is read once.
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

/// Whose packs are believed.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Keys.
    pub keys: Option<Keys>,
    /// Whether everybody who may write to the bucket is believed.
    pub is_trusted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_believed_and_the_first_signs() {
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
