//! Lists in the format of kernel-crawler, all generations.
//!
//! Lists of 2022 are keyed by distribution names (`AmazonLinux2`) and give `kernelversion` mostly as a number, or not
//! at all; since 2023 the keys are target ids and versions are strings. The target is read from each entry, not from
//! the key.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::lists::{self, Entry, ListedKernel, NumberOrText};
use super::{DiscoverError, Listed};
use crate::kernel::Architecture;

/// Reads a list; `name` is what it is called in messages.
pub(super) fn read(
    name: &str,
    bytes: &[u8],
    architecture: Architecture,
) -> Result<Listed, DiscoverError> {
    let wrong = |message: String| DiscoverError::Format {
        name: name.to_owned(),
        message,
    };
    if lists::is_web_page(bytes) {
        return Err(wrong("it is a web page".to_owned()));
    }
    let parsed: BTreeMap<String, Vec<Value>> =
        serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    let source: Arc<str> = "kernel-crawler".into();
    let entries: Vec<(&String, usize, &Value)> = parsed
        .iter()
        .flat_map(|(key, list)| {
            list.iter()
                .enumerate()
                .map(move |(index, value)| (key, index, value))
        })
        .collect();
    let read: Vec<Result<_, String>> = entries
        .into_par_iter()
        .map(|(key, index, value)| {
            read_entry(value, architecture, &source)
                .map_err(|reason| format!("{key}[{index}]: {reason}"))
        })
        .collect();
    lists::collect(name, read)
}

#[derive(Deserialize)]
struct JsonEntry<'a> {
    kernelrelease: &'a str,
    #[serde(default)]
    kernelversion: Option<NumberOrText>,
    target: &'a str,
    #[serde(default)]
    headers: Option<Vec<String>>,
    #[serde(default)]
    kernelconfigdata: Option<&'a str>,
}

fn read_entry(
    value: &Value,
    architecture: Architecture,
    source: &Arc<str>,
) -> Result<ListedKernel, String> {
    let entry = JsonEntry::deserialize(value).map_err(|error| error.to_string())?;
    let entry = Entry {
        target: entry.target,
        release: entry.kernelrelease,
        version: entry.kernelversion.as_ref().map(|version| &*version.0),
        headers: entry.headers.unwrap_or_default(),
        config: entry.kernelconfigdata,
    };
    lists::read_entry(entry, architecture, source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Sha256;
    use serde_json::json;

    fn read(value: &Value) -> Result<ListedKernel, String> {
        read_entry(value, Architecture::Amd64, &"kernel-crawler".into())
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
            (json!([]), "invalid"),
            (
                json!({"kernelversion": "1", "target": "debian"}),
                "missing field `kernelrelease`",
            ),
            (
                json!({"kernelrelease": "6.1; rm -rf /", "kernelversion": 1, "target": "debian"}),
                "no kernel release",
            ),
            (
                json!({"kernelrelease": "6.1", "kernelversion": [], "target": "debian"}),
                "a number or a text",
            ),
            (
                json!({"kernelrelease": "6.1", "kernelversion": 1, "target": "a/b"}),
                "'/'",
            ),
            (
                json!({"kernelrelease": "6.1", "kernelversion": 1, "target": "debian", "headers": ["a\nb"]}),
                "no address",
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
}
