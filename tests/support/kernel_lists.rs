//! The entries of the kernel lists: the real lists if available, otherwise one kernel of each kind.

use std::path::PathBuf;

use driverkit_matrix::kernel::Architecture;
use serde_json::Value;

/// An entry of a list.
pub struct Entry {
    pub target: String,
    pub release: String,
    pub version: String,
    pub architecture: Architecture,
    pub headers: Vec<String>,
}

/// All entries.
pub struct Lists {
    pub entries: Vec<Entry>,
    /// Whether they are the real lists, whose counts are known.
    pub are_real: bool,
}

impl Lists {
    /// Reads the lists in the directory named by `DRIVERKIT_MATRIX_KERNEL_LISTS`, or in `../shared/data` next to the
    /// checkout; if they do not exist, uses a few real entries and reports this on standard error.
    pub fn read() -> Self {
        let place = std::env::var_os("DRIVERKIT_MATRIX_KERNEL_LISTS")
            .map_or_else(|| crate::root().join("../shared/data"), PathBuf::from);
        let mut entries = Vec::new();
        let mut are_real = true;
        for (machine, architecture) in [
            ("x86_64", Architecture::Amd64),
            ("aarch64", Architecture::Arm64),
        ] {
            let path = place.join(format!("kernel-crawler-{machine}.json"));
            let text = std::fs::read_to_string(&path).unwrap_or_else(|_| {
                are_real = false;
                eprintln!(
                    "{} does not exist: a few entries are used instead",
                    path.display()
                );
                let folder = crate::root().join("tests/data");
                std::fs::read_to_string(folder.join(format!("kernel-list-{machine}.json"))).unwrap()
            });
            let lists: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
            let all = lists.values().flat_map(|list| list.as_array().unwrap());
            entries.extend(all.map(|value| Entry::read(value, architecture)));
        }
        Self { entries, are_real }
    }
}

impl Entry {
    fn read(value: &Value, architecture: Architecture) -> Self {
        let text = |key: &str| match &value[key] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let target = text("target");
        let headers = value["headers"].as_array();
        Self {
            target: if target.starts_with("oracle") {
                "ol".to_owned()
            } else {
                target
            },
            release: text("kernelrelease"),
            version: text("kernelversion"),
            architecture,
            headers: headers
                .into_iter()
                .flatten()
                .map(|url| url.as_str().unwrap().to_owned())
                .collect(),
        }
    }
}
