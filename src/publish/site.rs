//! The JSON files of Falco's driver site: one per driver version, and one with the versions.
//!
//! The fields are those that the site reads today, and `kernelversion` and `sha256`: the site derives the kernel
//! version from file names, which fails for releases with an underscore.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::index::{Entry, Index};
use super::layout::SITE;
use crate::digest::Sha256;
use crate::driver::Artifact;

#[derive(Serialize)]
struct SiteFile<'a> {
    date: Timestamp,
    index: SiteIndex<'a>,
    drivers: Vec<SiteDriver<'a>>,
}

#[derive(Default, Serialize)]
struct SiteIndex<'a> {
    lib: BTreeSet<&'a str>,
    arch: BTreeSet<&'a str>,
    kind: BTreeSet<&'a str>,
    target: BTreeSet<&'a str>,
}

#[derive(Serialize)]
struct SiteDriver<'a> {
    lib: &'a str,
    arch: &'a str,
    kind: &'a str,
    kernel: &'a str,
    target: &'a str,
    name: &'a str,
    download: String,
    sizebytes: u64,
    size: String,
    lastmodified: Timestamp,
    kernelversion: &'a str,
    sha256: Sha256,
}

/// Returns the files, by name below the destination. `public_url` is the public URL of the destination.
pub(super) fn site_files(
    index: &Index,
    public_url: Option<&str>,
) -> serde_json::Result<BTreeMap<String, Vec<u8>>> {
    let mut by_lib: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in index.artifacts.values() {
        let lib = by_lib.entry(entry.driver_version.as_str()).or_default();
        lib.push(entry);
    }
    let mut files = BTreeMap::new();
    let libs: Vec<&str> = by_lib.keys().copied().collect();
    files.insert(format!("{SITE}/index.json"), serde_json::to_vec(&libs)?);
    for (lib, entries) in by_lib {
        let mut file = SiteFile {
            // Not the time of writing, so that the file of an unchanged list does not change.
            date: Timestamp::UNIX_EPOCH,
            index: SiteIndex::default(),
            drivers: Vec::with_capacity(entries.len()),
        };
        for entry in entries {
            let driver = driver_of(entry, public_url);
            file.date = file.date.max(entry.published_at);
            file.index.lib.insert(driver.lib);
            file.index.arch.insert(driver.arch);
            file.index.kind.insert(driver.kind);
            file.index.target.insert(driver.target);
            file.drivers.push(driver);
        }
        files.insert(format!("{SITE}/{lib}.json"), serde_json::to_vec(&file)?);
    }
    Ok(files)
}

fn driver_of<'a>(entry: &'a Entry, public_url: Option<&str>) -> SiteDriver<'a> {
    let path = escaped(&entry.key);
    SiteDriver {
        lib: entry.driver_version.as_str(),
        arch: entry.architecture.machine(),
        kind: match entry.artifact {
            Artifact::Module => "kmod",
            Artifact::Probe => "ebpf",
        },
        kernel: entry.kernel_release.as_str(),
        target: entry.target.as_str(),
        name: entry.key.rsplit('/').next().unwrap_or(&entry.key),
        download: match public_url {
            Some(url) => format!("{}/{path}", url.trim_end_matches('/')),
            None => path,
        },
        sizebytes: entry.size_bytes,
        size: size_in_words(entry.size_bytes),
        lastmodified: entry.published_at,
        kernelversion: entry.kernel_version.as_str(),
        sha256: entry.sha256,
    }
}

/// Escapes a key for a URL. A plus sign is escaped because S3 servers decode it as a space.
fn escaped(key: &str) -> String {
    key.replace('+', "%2B")
}

/// Formats a size as the site shows it: `1.3 MB`, with steps of 1,024.
#[expect(
    clippy::cast_precision_loss,
    reason = "two digits of the size are shown"
)]
fn size_in_words(bytes: u64) -> String {
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while size >= 1024.0
        && let Some(next) = units.next()
    {
        size /= 1024.0;
        unit = next;
    }
    let size = (size * 10.0 + 0.5).floor() / 10.0;
    if size < 10.0 {
        format!("{size:.1} {unit}")
    } else {
        format!("{size:.0} {unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_printed_as_on_falcos_site() {
        for (bytes, shown) in [
            (9, "9 B"),
            (1023, "1023 B"),
            (1024, "1.0 kB"),
            (700_123, "684 kB"),
            (5_400_000, "5.1 MB"),
        ] {
            assert_eq!(size_in_words(bytes), shown);
        }
    }
}
