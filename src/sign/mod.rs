//! Signatures of modules in the kernel's own format, made outside of any sandbox by openssl or by a program with the
//! interface of the kernel's `sign-file`; and plain signatures of bytes.
//!
//! In: an unsigned module, a key that only those programs read, a certificate. Out: the signed module, whose signature
//! openssl has verified with the certificate.

mod appended;
mod certificate;
mod key;
mod plain;
mod process;
mod signer;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use appended::{append, split, unsigned};
pub use certificate::Certificate;
pub use plain::PlainSigner;
pub use signer::{Signer, check_signature};

/// The settings for signing modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The private key; optional if a command signs.
    pub key: Option<Key>,
    /// The certificate of the key, as PEM or DER.
    pub certificate: PathBuf,
    /// The digest that is signed.
    pub hash: Hash,
    /// The command that signs instead of openssl, called like the kernel's `sign-file`: `COMMAND... HASH KEY
    /// CERTIFICATE MODULE`.
    pub command: Vec<String>,
    /// The environment variable with the password of the key or the PIN of the token.
    pub password: Option<String>,
}

/// A private key, which this program never reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// A file.
    File(PathBuf),
    /// The `pkcs11:` URI of a key in a token.
    Token(String),
}

impl Key {
    /// Parses a path, relative to `folder`, or a `pkcs11:` URI. Returns `None` for a URI that contains a PIN.
    pub fn parse(text: &str, folder: &Path) -> Option<Self> {
        if !text.starts_with("pkcs11:") {
            return Some(Self::File(folder.join(text)));
        }
        (!text.contains("pin-value")).then(|| Self::Token(text.to_owned()))
    }
}

/// The digest that is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// The text form, which openssl and the kernel share: `sha256`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = [Self::Sha256, Self::Sha384, Self::Sha512];
        let found = known.into_iter().find(|hash| hash.as_str() == text);
        found.ok_or_else(|| format!("invalid hash `{text}`: expected sha256, sha384 or sha512"))
    }
}

/// The part of [`Settings`] that an error concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The key.
    Key,
    /// The certificate.
    Certificate,
    /// The command.
    Command,
    /// The password.
    Password,
    /// This machine: openssl or the disk.
    Machine,
}

/// An error that prevents signing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SignError {
    /// The part of the settings that it concerns.
    pub about: About,
    /// The error message.
    pub message: String,
    /// Advice for the user.
    pub help: Option<String>,
}

impl SignError {
    fn new(about: About, message: impl Into<String>) -> Self {
        Self {
            about,
            message: message.into(),
            help: None,
        }
    }

    fn with_help(self, help: impl Into<String>) -> Self {
        Self {
            help: Some(help.into()),
            ..self
        }
    }
}
