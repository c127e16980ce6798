//! Values of any type in an entry. An invalid value invalidates its entry, not the whole list.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A value of an entry, with the types that matter to the reader of entries.
#[derive(Debug)]
pub(super) enum Value<'a> {
    Null,
    Text(Cow<'a, str>),
    Texts(Vec<Cow<'a, str>>),
    Number(u64),
    Other(&'static str),
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Null => "null",
            Self::Text(_) => "a string",
            Self::Texts(_) => "an array",
            Self::Number(_) => "a number",
            Self::Other(what) => what,
        })
    }
}

/// An entry of a list.
#[derive(Debug)]
pub(super) enum RawEntry<'a> {
    Fields(Fields<'a>),
    Other(&'static str),
}

impl<'a> RawEntry<'a> {
    pub(super) fn fields(self) -> Result<Fields<'a>, String> {
        match self {
            Self::Fields(fields) => Ok(fields),
            Self::Other(what) => Err(format!("it is {what}, expected an object")),
        }
    }
}

/// The known fields of an entry.
#[derive(Debug, Default)]
pub(super) struct Fields<'a>(Vec<(Known, Value<'a>)>);

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Known {
    KernelRelease,
    KernelVersion,
    Target,
    Headers,
    KernelConfigData,
    #[serde(other)]
    Other,
}

impl Known {
    fn name(self) -> &'static str {
        match self {
            Self::KernelRelease => "kernelrelease",
            Self::KernelVersion => "kernelversion",
            Self::Target => "target",
            Self::Headers => "headers",
            Self::KernelConfigData => "kernelconfigdata",
            Self::Other => "",
        }
    }
}

impl<'a> Fields<'a> {
    /// Removes and returns a field; `None` if it is missing or null.
    pub(super) fn take(&mut self, name: &str) -> Option<Value<'a>> {
        let position = self.0.iter().position(|(known, _)| known.name() == name)?;
        match self.0.swap_remove(position).1 {
            Value::Null => None,
            value => Some(value),
        }
    }

    /// Removes and returns a field with a string.
    pub(super) fn text(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(other) => Err(format!("`{name}` is {other}, expected a string")),
        }
    }
}

impl<'de> Deserialize<'de> for RawEntry<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = RawEntry<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an entry")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::with_capacity(5);
                while let Some(known) = map.next_key::<Known>()? {
                    if known == Known::Other {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    fields.push((known, map.next_value()?));
                }
                Ok(RawEntry::Fields(Fields(fields)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawEntry::Other("an array"))
            }

            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                Ok(RawEntry::Other("a string"))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(RawEntry::Other("a boolean"))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(RawEntry::Other("a number"))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(RawEntry::Other("a number"))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(RawEntry::Other("a number"))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(RawEntry::Other("null"))
            }
        }
        deserializer.deserialize_any(Entry)
    }
}

impl<'de> Deserialize<'de> for Value<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Value::Text(text.into()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Value::Text(text.to_owned().into()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Value::Number(number))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Value::Other("a negative number"))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Value::Other("a fraction"))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Value::Other("a boolean"))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut texts = Vec::new();
                let mut are_texts = true;
                while let Some(value) = seq.next_element::<Value<'de>>()? {
                    match value {
                        Value::Text(text) => texts.push(text),
                        _ => are_texts = false,
                    }
                }
                Ok(if are_texts {
                    Value::Texts(texts)
                } else {
                    Value::Other("an array with values that are not strings")
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Value::Other("an object"))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// Returns the line on which each of the `wanted` entries starts; the first line is 1. Entries are counted from 0 over
/// all keys of the list. `wanted` must be sorted, and the list must be valid JSON.
pub(super) fn lines_of_entries(list: &str, wanted: &[usize]) -> Vec<usize> {
    let mut lines = Vec::with_capacity(wanted.len());
    let (mut line, mut depth, mut entry) = (1, 0, 0);
    let (mut is_text, mut is_escaped, mut is_inside) = (false, false, false);
    for byte in list.bytes() {
        if byte == b'\n' {
            line += 1;
        }
        // Depth 2 is inside the array of a key. A value that starts there is an entry.
        let begins = depth == 2
            && !is_text
            && !is_inside
            && !matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b']');
        if begins {
            is_inside = true;
            if wanted.get(lines.len()) == Some(&entry) {
                lines.push(line);
            }
            entry += 1;
        }
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ if is_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        if depth == 2 && byte == b',' && !is_text || depth < 2 {
            is_inside = false;
        }
    }
    lines
}
