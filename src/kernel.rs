//! The parts of a kernel's identity: release, version, architecture.
//!
//! In: the strings of a matrix, a lock or a kernel list. Out: checked, ordered values. The rules of distributions are
//! in [`crate::target`], not here.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arcstr::Substr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod entry;
mod packages;
mod text;

pub use entry::{Identity, Kernel, KernelId, TargetId, Upstream};
pub use packages::{Members, Package, PackageSet, file_name, local_file_name};

/// The error for a string that is not a valid release, version or architecture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseKernelError {
    /// The release does not start with a number.
    #[error("kernel release `{0}` does not start with a number such as 6.1.0")]
    NoNumber(String),
    /// A character that is not allowed (white space, slash, quote, ...).
    #[error(
        "invalid {what} `{text}`: {found:?} is not allowed; only letters, digits and `. {}+ ~ -` are allowed",
        if *what == TARGET { "" } else { "_ " }
    )]
    Character {
        /// The kind of value, such as `kernel release`.
        what: &'static str,
        /// The whole text.
        text: String,
        /// The first character that is not allowed.
        found: char,
    },
    /// A target that does not start with a letter or digit. Paths contain the names of targets.
    #[error("invalid target `{0}`: the first character must be a letter or digit")]
    Start(String),
    /// An empty text, or one longer than 255 bytes.
    #[error("the {what} has {length} characters; 1 to 255 are allowed")]
    Length {
        /// The kind of value, such as `kernel release`.
        what: &'static str,
        /// The length in bytes.
        length: usize,
    },
    /// A version that does not start with a digit, or `uname -v` output that contains more than the version.
    #[error("`{text}` {}", match meant {
        Some(meant) => format!("contains more than the kernel version, the number after `#` in `uname -v`: \
            use `{meant}`"),
        None => "does not start with a digit: expected the number after `#` in `uname -v`, such as `1`, \
            `24~20.04.3` or `1_1.26.0`".to_owned(),
    })]
    Version {
        /// The whole text.
        text: String,
        /// The version that the text contains, if any.
        meant: Option<String>,
    },
    /// An architecture that is not supported.
    #[error("unknown architecture `{0}`: expected amd64 (or x86_64) or arm64 (or aarch64)")]
    Architecture(String),
}

/// The names of the three kinds of values in messages.
const TARGET: &str = "target";
const RELEASE: &str = "kernel release";
const VERSION: &str = "kernel version";

fn check_characters(what: &'static str, text: &str) -> Result<(), ParseKernelError> {
    if text.is_empty() || text.len() > 255 {
        let length = text.len();
        return Err(ParseKernelError::Length { what, length });
    }
    let is_allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'~' | b'-');
    // Every byte before the first disallowed one is ASCII, so a character begins there.
    let other = text.bytes().position(|byte| !is_allowed(byte));
    match other.and_then(|position| text[position..].chars().next()) {
        Some(found) => Err(ParseKernelError::Character {
            what,
            text: text.to_owned(),
            found,
        }),
        None => Ok(()),
    }
}

/// A kernel release as `uname -r` prints it: `6.1.0-56-cloud-amd64`.
///
/// Ordered by version: numbers compare as numbers, `~` sorts before the end of the text (as in Debian versions),
/// everything else as text. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KernelRelease {
    text: Substr,
    numbers: [u32; 3],
}

impl KernelRelease {
    /// Returns the release as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the major, minor and patch number; missing numbers are 0. `6.1.0-56-amd64` gives `[6, 1, 0]`.
    pub fn numbers(&self) -> [u32; 3] {
        self.numbers
    }

    /// Parses a release that is part of a shared text.
    pub fn of_shared(text: Substr) -> Result<Self, ParseKernelError> {
        let numbers = Self::parse_numbers(&text)?;
        Ok(Self { text, numbers })
    }

    fn parse_numbers(text: &str) -> Result<[u32; 3], ParseKernelError> {
        check_characters(RELEASE, text)?;
        let mut numbers = [0; 3];
        let mut rest = text;
        for (position, number) in numbers.iter_mut().enumerate() {
            if position > 0 {
                // A plus sign before the patch number: old Debian backports such as `4.19+105+deb10u4`.
                let separators: &[char] = if position == 2 { &['.', '+'] } else { &['.'] };
                match rest.strip_prefix(separators) {
                    Some(next) if next.starts_with(|digit: char| digit.is_ascii_digit()) => {
                        rest = next;
                    }
                    _ => break,
                }
            }
            let end = rest
                .find(|digit: char| !digit.is_ascii_digit())
                .unwrap_or(rest.len());
            let digits = &rest[..end];
            let has_leading_zero = digits.len() > 1 && digits.starts_with('0');
            match digits.parse() {
                Ok(value) if !(position == 0 && has_leading_zero) => *number = value,
                _ if position > 0 => break,
                _ => return Err(ParseKernelError::NoNumber(text.to_owned())),
            }
            rest = &rest[end..];
        }
        Ok(numbers)
    }
}

impl FromStr for KernelRelease {
    type Err = ParseKernelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = Self::parse_numbers(text)?;
        let text = text.into();
        Ok(Self { text, numbers })
    }
}

impl Ord for KernelRelease {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| compare_versions(&self.text, &other.text))
    }
}

impl PartialOrd for KernelRelease {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Compares two version texts: runs of digits as numbers, `~` before everything (also before the end), the rest
/// byte by byte. Equal only for equal texts.
pub fn compare_versions(left: &str, right: &str) -> Ordering {
    let weight = |byte: Option<u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) => i32::from(byte) + 1,
    };
    let (a, b) = (left.as_bytes(), right.as_bytes());
    // Neighbours in a list have most of their texts in common: continue where the first different number starts.
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let digits_before = a[..same]
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_digit());
    let start = same - digits_before.count();
    let (mut a, mut b) = (&a[start..], &b[start..]);
    loop {
        let digits = |bytes: &[u8]| {
            bytes
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        };
        let (a_digits, b_digits) = (digits(a), digits(b));
        if a_digits > 0 && b_digits > 0 {
            fn strip(number: &[u8]) -> &[u8] {
                let zeros = number.iter().take_while(|&&byte| byte == b'0').count();
                &number[zeros..]
            }
            let (a_number, b_number) = (strip(&a[..a_digits]), strip(&b[..b_digits]));
            let order = a_number
                .len()
                .cmp(&b_number.len())
                .then_with(|| a_number.cmp(b_number));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[a_digits..], &b[b_digits..]);
        } else {
            let (x, y) = (a.first().copied(), b.first().copied());
            if x.is_none() && y.is_none() {
                return left.cmp(right);
            }
            let order = weight(x).cmp(&weight(y));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[1..], &b[1..]);
        }
    }
}

/// The number after `#` in `uname -v`, with the distribution's suffix: `1`, `24~20.04.3`, `1_1.26.0`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KernelVersion(Arc<str>);

impl KernelVersion {
    /// Returns the version as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for KernelVersion {
    fn default() -> Self {
        Self("1".into())
    }
}

impl FromStr for KernelVersion {
    type Err = ParseKernelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The whole of `uname -v` (`#63~20.04.1-Ubuntu SMP ...`), or its first word.
        let word = text.trim_start_matches('#');
        let word = word.split_whitespace().next().unwrap_or_default();
        let (number, rest) = word.split_at(word.find('-').unwrap_or(word.len()));
        let is_of_uname = text.starts_with('#') || text.contains(char::is_whitespace);
        let has_name = rest.starts_with("-Ubuntu") && !number.contains('_');
        let starts_well = number.starts_with(|first: char| first.is_ascii_digit());
        if (is_of_uname || has_name) && starts_well {
            return Err(ParseKernelError::Version {
                text: text.to_owned(),
                meant: Some(number.to_owned()),
            });
        }
        check_characters(VERSION, text)?;
        if !text.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(ParseKernelError::Version {
                text: text.to_owned(),
                meant: None,
            });
        }
        Ok(Self(text.into()))
    }
}

impl Ord for KernelVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_versions(&self.0, &other.0)
    }
}

impl PartialOrd for KernelVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Lets sets and maps of the type be searched by text.
macro_rules! borrowed_text {
    ($type:ty) => {
        impl std::borrow::Borrow<str> for $type {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }
    };
}

borrowed_text!(TargetId);
borrowed_text!(KernelVersion);

macro_rules! text_form {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.as_str())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{:?}", self.as_str())
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::parsed(deserializer)
            }
        }
    };
}

text_form!(TargetId);
text_form!(KernelRelease);
text_form!(KernelVersion);
text_form!(Architecture);

/// A processor architecture.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Architecture {
    /// 64-bit x86: `amd64`, `x86_64`.
    Amd64,
    /// 64-bit ARM: `arm64`, `aarch64`.
    Arm64,
}

impl Architecture {
    /// Both architectures, in the order of tables and manifests.
    pub const ALL: [Self; 2] = [Self::Amd64, Self::Arm64];

    /// Returns the name that Debian, Go and driverkit use: `amd64`, `arm64`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// Returns the name that the kernel, rpm and the directories of `out/` use: `x86_64`, `aarch64`.
    pub fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Returns the architecture that this program runs on.
    pub fn of_host() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Arm64
        } else {
            Self::Amd64
        }
    }
}

impl FromStr for Architecture {
    type Err = ParseKernelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|architecture| text == architecture.as_str() || text == architecture.machine())
            .ok_or_else(|| ParseKernelError::Architecture(text.to_owned()))
    }
}

#[cfg(test)]
mod tests;
