//! The canonical encoding that step keys are computed over.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Sha256;

/// The name and version of the encoding, which every encoded key starts with.
const ENCODING: &str = "driverkit-matrix key 1";

/// The initial capacities of a key: bytes of text, and ends of names and values. Most keys need less.
const TEXT_BYTES: usize = 768;
const ENDS: usize = 40;

/// Collects the named fields that can change a step's outcome, and turns them into the step's key.
///
/// The encoding is length-prefixed, so that no two different lists of fields encode alike, and starts with the
/// name and version of the encoding. Fields keep the order in which they were added.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyBuilder {
    /// The step, then the name and value of each field, in one allocation: a run creates and reads hundreds of
    /// thousands of keys.
    text: String,
    /// The end of each piece in `text`, in bytes.
    ends: Vec<usize>,
}

impl KeyBuilder {
    /// Starts a key for a step such as `module`; raise `version` when the meaning of a field changes.
    pub fn new(step: &str, version: u32) -> Self {
        Self::of(format_args!("{step}/{version}"))
    }

    fn of(step: impl fmt::Display) -> Self {
        let mut key = Self {
            text: String::with_capacity(TEXT_BYTES),
            ends: Vec::with_capacity(ENDS),
        };
        key.push(step);
        key
    }

    /// Returns the kind of step with the version of its fields: `module/1`.
    pub fn step(&self) -> &str {
        self.pieces().next().unwrap_or_default()
    }

    /// Returns the kind of step without the version: `module`.
    pub fn kind(&self) -> &str {
        self.step().split('/').next().unwrap_or_default()
    }

    /// Returns the name and value of each field, in order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut pieces = self.pieces().skip(1);
        std::iter::from_fn(move || pieces.next().zip(pieces.next()))
    }

    /// Adds one field.
    #[must_use]
    pub fn field(mut self, name: impl AsRef<str>, value: impl fmt::Display) -> Self {
        self.push(name.as_ref());
        self.push(value);
        self
    }

    /// Returns the key: the digest of the canonical encoding.
    pub fn key(&self) -> Sha256 {
        let prefixes = (self.ends.len() + 1) * size_of::<u64>();
        let mut bytes = Vec::with_capacity(ENCODING.len() + self.text.len() + prefixes);
        for piece in std::iter::once(ENCODING).chain(self.pieces()) {
            bytes.extend_from_slice(&(piece.len() as u64).to_le_bytes());
            bytes.extend_from_slice(piece.as_bytes());
        }
        Sha256::of(bytes)
    }

    fn push(&mut self, piece: impl fmt::Display) {
        // Writing to memory does not fail.
        let _ = write!(self.text, "{piece}");
        self.ends.push(self.text.len());
    }

    fn pieces(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let piece = &self.text[start..end];
            start = end;
            piece
        })
    }
}

impl fmt::Debug for KeyBuilder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = formatter.debug_struct(self.step());
        for (name, value) in self.fields() {
            all.field(name, &value);
        }
        all.finish()
    }
}

/// Serialises the fields of a key.
struct Fields<'a>(&'a KeyBuilder);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.fields())
    }
}

impl Serialize for KeyBuilder {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_struct("KeyBuilder", 2)?;
        all.serialize_field("step", self.step())?;
        all.serialize_field("fields", &Fields(self))?;
        all.end()
    }
}

/// A deserialised string: borrowed unless it contains an escaped character.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A deserialised key.
#[derive(Deserialize)]
struct Read<'a> {
    #[serde(borrow)]
    step: Text<'a>,
    #[serde(borrow)]
    fields: Vec<(Text<'a>, Text<'a>)>,
}

impl<'de> Deserialize<'de> for KeyBuilder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Read::deserialize(deserializer)?;
        let fields = read.fields.iter();
        Ok(fields.fold(Self::of(&read.step.0), |key, (name, value)| {
            key.field(&name.0, &value.0)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn key_equals_the_key_of_earlier_versions() {
        let key = KeyBuilder::new("check", 2)
            .field("tree", "abc")
            .field("", 7);
        let text = r#"{"step":"check/2","fields":[["tree","abc"],["","7"]]}"#;
        assert_eq!(serde_json::to_string(&key).unwrap(), text);
        assert_eq!(serde_json::from_str::<KeyBuilder>(text).unwrap(), key);
        assert_eq!((key.step(), key.kind()), ("check/2", "check"));
        assert_eq!(
            key.key().to_string(),
            "807507e6ce97811e6cc53a1ee73df895564cdeb4969d2d58005206dac50786a3"
        );
    }

    proptest! {
        /// Different lists of fields never share a key: moving a byte from a name to its value, or a field's
        /// end to the next one's start, changes it.
        #[test]
        fn encoding_is_injective(
            left in proptest::collection::vec(("[ab]{0,3}", "[ab]{0,3}"), 0..4),
            right in proptest::collection::vec(("[ab]{0,3}", "[ab]{0,3}"), 0..4),
        ) {
            let build = |fields: &[(String, String)]| {
                fields.iter().fold(KeyBuilder::new("s", 1), |key, (name, value)| key.field(name, value)).key()
            };
            prop_assert_eq!(left == right, build(&left) == build(&right));
        }

        #[test]
        fn written_key_is_read_back(fields in proptest::collection::vec((".{0,4}", ".{0,4}"), 0..4)) {
            let key = fields.iter().fold(KeyBuilder::new("s", 1), |key, (name, value)| key.field(name, value));
            let text = serde_json::to_string(&key).unwrap();
            prop_assert_eq!(serde_json::from_str::<KeyBuilder>(&text).unwrap(), key.clone());
            let pairs: Vec<(String, String)> =
                key.fields().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            prop_assert_eq!(pairs, fields);
        }
    }
}
