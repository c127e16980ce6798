//! Lists in the format of kernel-crawler, both generations.
//!
//! Lists of 2022 are keyed by distribution names (`AmazonLinux2`) and give `kernelversion` mostly as a number; since
//! 2023 the keys are target ids and versions are strings. The target is read from each entry, not from the key.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::{DiscoverError, Discovered};
use crate::digest::Sha256;
use crate::fs;
use crate::kernel::{Architecture, Kernel, KernelVersion, Package, TargetId};
use crate::matrix::{CrawlerSource, TargetEntry};

/// How many skipped entries a notice names.
const NAMED_ENTRIES: usize = 3;

/// Reads the lists of `source` and takes what `entry` asks for.
pub(super) fn discover(
    entry: &TargetEntry,
    source: &CrawlerSource,
) -> Result<Discovered, DiscoverError> {
    let lists: Vec<List> = source
        .paths
        .par_iter()
        .filter(|(architecture, _)| entry.architectures.contains(architecture))
        .map(|(architecture, path)| read_list(&source.folder.join(path.get_ref()), *architecture))
        .collect::<Result<_, _>>()?;
    let mut discovered = Discovered::default();
    for list in lists {
        discovered.notices.extend(list.notice());
        for (kernel, config) in list.kernels {
            let is_wanted = entry.name.get_ref().matches_name(kernel.target.as_str())
                && source.selection.takes(&kernel.release);
            if is_wanted {
                if let (Some(digest), Some(content)) = (kernel.config_sha256, config) {
                    discovered.configs.insert(digest, content);
                }
                discovered.kernels.push(kernel);
            }
        }
    }
    if let Some(latest) = source.selection.latest {
        keep_latest(&mut discovered.kernels, latest as usize, |kernel| {
            (kernel.target.clone(), kernel.architecture)
        });
        let used: Vec<_> = discovered
            .kernels
            .iter()
            .filter_map(|kernel| kernel.config_sha256)
            .collect();
        discovered.configs.retain(|digest, _| used.contains(digest));
    }
    Ok(discovered)
}

/// Keeps the `count` newest kernels of each group.
pub(super) fn keep_latest<G: Ord>(
    kernels: &mut Vec<Kernel>,
    count: usize,
    group: impl Fn(&Kernel) -> G,
) {
    kernels.sort_by(|left, right| {
        group(left)
            .cmp(&group(right))
            .then_with(|| (&right.release, &right.version).cmp(&(&left.release, &left.version)))
    });
    let mut last: Option<G> = None;
    let mut kept = 0;
    kernels.retain(|kernel| {
        let this = group(kernel);
        if last.as_ref() != Some(&this) {
            last = Some(this);
            kept = 0;
        }
        kept += 1;
        kept <= count
    });
}

/// One file, read.
struct List {
    name: String,
    kernels: Vec<(Kernel, Option<Vec<u8>>)>,
    skipped: Vec<String>,
}

impl List {
    fn notice(&self) -> Option<String> {
        if self.skipped.is_empty() {
            return None;
        }
        let mut named: Vec<&str> = self
            .skipped
            .iter()
            .take(NAMED_ENTRIES)
            .map(String::as_str)
            .collect();
        let more = format!(
            "and {} more",
            self.skipped.len().saturating_sub(NAMED_ENTRIES)
        );
        if self.skipped.len() > NAMED_ENTRIES {
            named.push(&more);
        }
        let (name, count) = (&self.name, self.skipped.len());
        Some(format!("{name}: {count} skipped: {}", named.join("; ")))
    }
}

fn read_list(path: &Path, architecture: Architecture) -> Result<List, DiscoverError> {
    let bytes = fs::read(path)?;
    let parsed: BTreeMap<String, Vec<Value>> =
        serde_json::from_slice(&bytes).map_err(|error| DiscoverError::Format {
            path: path.to_owned(),
            message: error.to_string(),
        })?;
    drop(bytes);
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
    let mut list = List {
        name: path.display().to_string(),
        kernels: Vec::with_capacity(read.len()),
        skipped: Vec::new(),
    };
    for entry in read {
        match entry {
            Ok(kernel) => list.kernels.push(kernel),
            Err(reason) => list.skipped.push(reason),
        }
    }
    Ok(list)
}

#[derive(Deserialize)]
struct Entry<'a> {
    kernelrelease: &'a str,
    kernelversion: NumberOrText,
    target: &'a str,
    #[serde(default)]
    headers: Option<Vec<String>>,
    #[serde(default)]
    kernelconfigdata: Option<&'a str>,
}

/// A version, written as a number or a text.
struct NumberOrText(String);

impl<'de> Deserialize<'de> for NumberOrText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = NumberOrText;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a kernel version as a number or a text")
            }

            fn visit_u64<E>(self, number: u64) -> Result<NumberOrText, E> {
                Ok(NumberOrText(number.to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<NumberOrText, E> {
                Ok(NumberOrText(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn read_entry(
    value: &Value,
    architecture: Architecture,
    source: &Arc<str>,
) -> Result<(Kernel, Option<Vec<u8>>), String> {
    let entry = Entry::deserialize(value).map_err(|error| error.to_string())?;
    let text = |error: crate::kernel::ParseKernelError| error.to_string();
    let target: TargetId = current_id(entry.target).parse().map_err(text)?;
    let version: KernelVersion = entry.kernelversion.0.parse().map_err(text)?;
    let config = match entry.kernelconfigdata {
        None | Some("" | "no-data") => None,
        Some(encoded) => Some(
            base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .map_err(|error| format!("{}: kernelconfigdata: {error}", entry.kernelrelease))?,
        ),
    };
    let kernel = Kernel {
        target,
        release: entry.kernelrelease.parse().map_err(text)?,
        version,
        architecture,
        packages: entry
            .headers
            .unwrap_or_default()
            .into_iter()
            .map(package)
            .collect::<Result<_, _>>()?,
        config_sha256: config.as_ref().map(Sha256::of),
        upstream: None,
        source: Arc::clone(source),
    };
    Ok((kernel, config))
}

fn package(url: String) -> Result<Package, String> {
    if url
        .chars()
        .any(|character| character.is_control() || character == ' ')
    {
        return Err(format!("{url:?} is no address"));
    }
    Ok(Package {
        url: url.into(),
        size_bytes: None,
        sha256: None,
        host: None,
    })
}

/// The id by which the loader asks today, for ids that lists of 2022 spell otherwise.
fn current_id(id: &str) -> &str {
    match id {
        "oracle6" | "oracle7" | "oracle8" => "ol",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: &Value) -> Result<(Kernel, Option<Vec<u8>>), String> {
        read_entry(value, Architecture::Amd64, &"kernel-crawler".into())
    }

    #[test]
    fn both_generations() {
        let (old, _) = read(&json!({
            "kernelversion": 1, "kernelrelease": "4.9.17-8.31.amzn1.x86_64", "target": "amazonlinux",
            "headers": ["http://example.org/kernel-devel-4.9.17-8.31.amzn1.x86_64.rpm"],
        }))
        .unwrap();
        assert_eq!(
            old.to_string(),
            "amazonlinux 4.9.17-8.31.amzn1.x86_64 #1 amd64"
        );
        assert_eq!(old.packages.len(), 1);
        let (new, config) = read(&json!({
            "kernelversion": "1_1.26.0", "kernelrelease": "5.10.57", "target": "minikube",
            "kernelconfigdata": "Q09ORklHX1g9eQo=",
        }))
        .unwrap();
        assert_eq!(new.version.as_str(), "1_1.26.0");
        assert_eq!(config.as_deref(), Some(b"CONFIG_X=y\n".as_slice()));
        assert_eq!(new.config_sha256, Some(Sha256::of("CONFIG_X=y\n")));
        let (ol, _) = read(&json!({
            "kernelversion": "2", "kernelrelease": "5.4.17-2136.el8uek.x86_64", "target": "oracle8",
        }))
        .unwrap();
        assert_eq!(ol.target.as_str(), "ol");
    }

    #[test]
    fn bad_entries_say_what_is_wrong() {
        for (value, expected) in [
            (json!([]), "invalid"),
            (
                json!({"kernelrelease": "6.1"}),
                "missing field `kernelversion`",
            ),
            (
                json!({"kernelrelease": "6.1; rm -rf /", "kernelversion": 1, "target": "debian"}),
                "no kernel release",
            ),
            (
                json!({"kernelrelease": "6.1", "kernelversion": null, "target": "debian"}),
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

    #[test]
    fn the_newest_of_each_group() {
        let kernel = |release: &str, architecture| Kernel {
            target: "debian".parse().unwrap(),
            release: release.parse().unwrap(),
            version: KernelVersion::default(),
            architecture,
            packages: Vec::new(),
            config_sha256: None,
            upstream: None,
            source: "kernel-crawler".into(),
        };
        let mut kernels = vec![
            kernel("6.1.9-1", Architecture::Amd64),
            kernel("6.1.10-1", Architecture::Amd64),
            kernel("5.10.1-1", Architecture::Arm64),
            kernel("6.1.8-1", Architecture::Amd64),
        ];
        keep_latest(&mut kernels, 2, |kernel| kernel.architecture);
        let releases: Vec<&str> = kernels
            .iter()
            .map(|kernel| kernel.release.as_str())
            .collect();
        assert_eq!(releases, ["6.1.10-1", "6.1.9-1", "5.10.1-1"]);
    }
}
