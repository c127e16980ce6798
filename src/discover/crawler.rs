//! Reads lists in all formats of kernel-crawler.
//!
//! In lists of 2022, the keys are distribution names (`AmazonLinux2`), and `kernelversion` is mostly a number or
//! missing. Since 2023 the keys are target ids and the versions are strings. The target is read from each entry, not
//! from the key. A list is parsed as a stream, without a tree of values in memory: a list can have 600,000 kernels. If
//! a key is repeated, the entries of all its arrays are read.

mod value;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::listed::{Found, Listed};
use super::lists::{self, Collected, Entry, ListedKernel};
use super::{DiscoverError, KnownKernels};
use crate::diagnostic::plain_words;
use crate::kernel::Architecture;
use value::{RawEntry, Value};

/// The number of entries that all processors convert to kernels in one step.
const ENTRIES_AT_ONCE: usize = 16_384;

/// The number of characters that are shown of a text that is not a list.
const SHOWN_CHARACTERS: usize = 40;

/// Reads a list. Messages call it `name`. If an entry describes a kernel in `known` and has no new values, the known
/// object is returned.
pub(super) fn read(
    name: &str,
    text: &str,
    architecture: Architecture,
    known: &KnownKernels,
) -> Result<Listed, DiscoverError> {
    let mut reading = Reading {
        architecture,
        source: "kernel-crawler".into(),
        known,
        collected: Collected::default(),
        count: 0,
        bad: Vec::new(),
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let result = reading.deserialize(&mut deserializer);
    result
        .and_then(|()| deserializer.end())
        .map_err(|error| DiscoverError::Format {
            name: name.to_owned(),
            message: format!(
                "{} at line {} column {}{}",
                plain_words(&error),
                error.line(),
                error.column(),
                advice(&error, text)
            ),
        })?;
    let Reading {
        mut collected, bad, ..
    } = reading;
    let lines_of = |entries: &[usize]| value::lines_of_entries(text, entries);
    if !bad.is_empty() {
        let lines = lines_of(&bad);
        for (reason, line) in collected.skipped.iter_mut().zip(lines) {
            *reason = format!("line {line}, {reason}");
        }
    }
    collected.finish(name, Some(&lines_of))
}

/// Returns advice about a text that is not JSON.
fn advice(error: &serde_json::Error, text: &str) -> String {
    let head = text.trim_start().lines().next().unwrap_or_default();
    if error.is_eof() {
        ": the file is cut off, download it again".to_owned()
    } else if error.is_syntax() && !head.starts_with('{') {
        let head: String = head.chars().take(SHOWN_CHARACTERS).collect();
        format!(": it starts with `{head}`, use the URL of kernel-crawler's JSON")
    } else {
        String::new()
    }
}

struct Reading<'a> {
    architecture: Architecture,
    source: Arc<str>,
    known: &'a KnownKernels,
    collected: Collected,
    /// How many entries were read.
    count: usize,
    /// The positions of the invalid entries.
    bad: Vec<usize>,
}

impl Reading<'_> {
    /// Converts entries of a key. `first` is the position of the first of them in the array of the key.
    fn take(&mut self, key: &str, first: usize, entries: &mut Vec<RawEntry<'_>>) {
        let results: Vec<_> = entries
            .par_drain(..)
            .map(|entry| read_entry(entry, self.architecture, &self.source, self.known))
            .collect();
        for (index, mut result) in (first..).zip(results) {
            match &mut result {
                Ok((found, _)) => found.position = u32::try_from(self.count).unwrap_or(u32::MAX),
                Err(_) => self.bad.push(self.count),
            }
            self.count += 1;
            self.collected
                .add(result.map_err(|reason| format!("{key}[{index}]: {reason}")));
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reading<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Reading<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object with an array of kernels for each distribution")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            map.next_value_seed(Entries {
                key: &key,
                reading: &mut *self,
            })?;
        }
        Ok(())
    }
}

/// The array of one key.
struct Entries<'a, 'k> {
    key: &'a str,
    reading: &'a mut Reading<'k>,
}

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "an array of kernels as the value of `{}`",
            self.key
        )
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut first = 0;
        let mut some = Vec::new();
        while let Some(entry) = entries.next_element::<RawEntry<'de>>()? {
            some.push(entry);
            if some.len() == ENTRIES_AT_ONCE {
                self.reading.take(self.key, first, &mut some);
                first += ENTRIES_AT_ONCE;
            }
        }
        self.reading.take(self.key, first, &mut some);
        Ok(())
    }
}

fn read_entry(
    entry: RawEntry<'_>,
    architecture: Architecture,
    source: &Arc<str>,
    known: &KnownKernels,
) -> Result<ListedKernel, String> {
    let mut fields = entry.fields()?;
    let headers = match fields.take("headers") {
        None => Vec::new(),
        Some(Value::Texts(headers)) => headers,
        Some(other) => {
            return Err(format!(
                "`headers` is {other}, expected an array of strings"
            ));
        }
    };
    let release = fields
        .text("kernelrelease")?
        .ok_or("missing field `kernelrelease`")?;
    let target = fields.text("target")?.ok_or("missing field `target`")?;
    let config = fields.text("kernelconfigdata")?;
    let version = match fields.take("kernelversion") {
        Some(Value::Number(number)) => Some(Cow::Owned(number.to_string())),
        Some(Value::Text(text)) => Some(text),
        None => None,
        Some(other) => {
            return Err(format!(
                "`kernelversion` is {other}, expected a number or a string"
            ));
        }
    };
    let entry = Entry {
        target: &target,
        release: &release,
        version: version.as_deref(),
        headers,
        config: config.as_deref(),
    };
    match known.find(&entry, architecture, source) {
        Some(kernel) => {
            let published = None;
            Ok((
                Found {
                    kernel,
                    published,
                    position: 0,
                },
                None,
            ))
        }
        None => lists::read_entry(entry, architecture, source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;
    use serde_json::{Value as Json, json};

    fn read(value: &Json) -> Result<ListedKernel, String> {
        let text = value.to_string();
        let entry = serde_json::from_str(&text).unwrap();
        let known = KnownKernels::default();
        read_entry(entry, Architecture::Amd64, &"kernel-crawler".into(), &known)
    }

    #[test]
    fn all_generations() {
        let (old, _) = read(&json!({
            "kernelversion": 1, "kernelrelease": "4.9.17-8.31.amzn1.x86_64", "target": "amazonlinux",
            "headers": ["http://example.org/kernel-devel-4.9.17-8.31.amzn1.x86_64.rpm"],
        }))
        .unwrap();
        assert_eq!(
            old.kernel.to_string(),
            "amazonlinux 4.9.17-8.31.amzn1.x86_64 #1 amd64"
        );
        assert_eq!(old.kernel.packages.len(), 1);
        let (oldest, _) = read(&json!({
            "kernelrelease": "4.9.17-8.31.amzn1.x86_64", "target": "amazonlinux", "headers": null,
        }))
        .unwrap();
        assert_eq!(oldest.kernel.version.as_str(), "1");
        let (new, config) = read(&json!({
            "kernelversion": "1_1.26.0", "kernelrelease": "5.10.57", "target": "minikube",
            "kernelconfigdata": "Q09ORklHX1g9eQo=",
        }))
        .unwrap();
        assert_eq!(new.kernel.version.as_str(), "1_1.26.0");
        assert_eq!(config.as_deref(), Some(b"CONFIG_X=y\n".as_slice()));
        assert_eq!(new.kernel.config_sha256, Some(Sha256::of("CONFIG_X=y\n")));
        let (ol, _) = read(&json!({
            "kernelversion": "2", "kernelrelease": "5.4.17-2136.el8uek.x86_64", "target": "oracle8",
        }))
        .unwrap();
        assert_eq!(ol.kernel.target.as_str(), "ol");
    }

    #[test]
    fn bad_entries_say_what_is_wrong() {
        for (value, expected) in [
            (json!([]), "an array, expected an object"),
            (
                json!({"kernelrelease": 6, "target": "debian"}),
                "a number, expected a string",
            ),
            (
                json!({"kernelversion": "1", "target": "debian"}),
                "missing field `kernelrelease`",
            ),
            (
                json!({"kernelrelease": "6.1; rm -rf /", "kernelversion": 1, "target": "debian"}),
                "invalid kernel release",
            ),
            (
                json!({"kernelrelease": "6.1", "kernelversion": [], "target": "debian"}),
                "a number or a string",
            ),
            (
                json!({"kernelrelease": "6.1", "kernelversion": 1, "target": "a/b"}),
                "'/'",
            ),
            (
                json!({"kernelrelease": "6.1", "kernelversion": 1, "target": "debian", "headers": ["a\nb"]}),
                "invalid URL",
            ),
            (
                json!({"kernelrelease": "6.1", "kernelversion": 1, "target": "minikube", "kernelconfigdata": "%"}),
                "kernelconfigdata",
            ),
        ] {
            let error = read(&value).unwrap_err();
            assert!(error.contains(expected), "{value}: {error}");
        }
    }

    #[test]
    fn entries_are_found_by_line() {
        let list = "{\"a]\": [1,\n {\"x\": \"\\\"[\"}\n, [\n2]],\n\"b\": [], \"c\": [\n\n\"t\"]}";
        assert_eq!(value::lines_of_entries(list, &[0, 1, 2, 3]), [1, 2, 3, 7]);
        assert_eq!(value::lines_of_entries(list, &[3]), [7]);
    }
}
