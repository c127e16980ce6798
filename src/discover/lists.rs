//! What the kinds of kernel lists have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use rayon::prelude::*;
use serde::Deserialize;

use super::{DiscoverError, Found, Listed, new_kernel};
use crate::digest::Sha256;
use crate::kernel::{Architecture, Kernel, Package};

/// How many skipped entries a notice names.
const NAMED_ENTRIES: usize = 3;

/// An entry of a list, as texts.
#[derive(Debug, Default)]
pub(super) struct Entry<'a> {
    pub(super) target: &'a str,
    pub(super) release: &'a str,
    /// Nothing for the usual `1`.
    pub(super) version: Option<&'a str>,
    pub(super) headers: Vec<String>,
    /// In base64.
    pub(super) config: Option<&'a str>,
}

/// A kernel of a list, with its configuration.
pub(super) type ListedKernel = (Found, Option<Vec<u8>>);

/// Checks an entry.
pub(super) fn read_entry(
    entry: Entry<'_>,
    architecture: Architecture,
    source: &Arc<str>,
) -> Result<ListedKernel, String> {
    let text = |error: crate::kernel::ParseKernelError| error.to_string();
    let target = current_id(entry.target).parse().map_err(text)?;
    let release = entry.release.parse().map_err(text)?;
    let mut kernel = new_kernel(target, release, architecture, Arc::clone(source));
    if let Some(version) = entry.version {
        kernel.version = version.parse().map_err(text)?;
    }
    let config = match entry.config {
        None | Some("" | "no-data") => None,
        Some(encoded) => Some(
            base64::engine::general_purpose::STANDARD
                .decode(encoded)
                .map_err(|error| format!("{}: kernelconfigdata: {error}", entry.release))?,
        ),
    };
    kernel.config_sha256 = config.as_ref().map(Sha256::of);
    kernel.packages = entry
        .headers
        .into_iter()
        .map(package)
        .collect::<Result<_, _>>()?;
    let found = Found {
        kernel,
        published: None,
    };
    Ok((found, config))
}

fn package(url: String) -> Result<Package, String> {
    if url.is_empty()
        || url
            .chars()
            .any(|character| character.is_control() || character == ' ')
    {
        return Err(format!("{url:?} is no address"));
    }
    Ok(Package::at(url))
}

/// The id by which the loader asks today, for ids that lists of 2022 spell otherwise.
fn current_id(id: &str) -> &str {
    match id {
        "oracle6" | "oracle7" | "oracle8" => "ol",
        other if other.eq_ignore_ascii_case("photonos") => "photon",
        other => other,
    }
}

/// Collects the good entries of the list `name`; the bad ones are counted, and some of them named.
pub(super) fn collect(
    name: &str,
    entries: impl IntoIterator<Item = Result<ListedKernel, String>>,
) -> Result<Listed, DiscoverError> {
    let mut listed = Listed::default();
    let mut skipped = Vec::new();
    for entry in entries {
        match entry {
            Ok((found, config)) => {
                if let (Some(digest), Some(config)) = (found.kernel.config_sha256, config) {
                    listed.configs.insert(digest, config);
                }
                listed.found.push(found);
            }
            Err(reason) => skipped.push(reason),
        }
    }
    if listed.found.is_empty() && !skipped.is_empty() {
        return Err(DiscoverError::Format {
            name: name.to_owned(),
            message: format!(
                "none of its {} entries can be read: {}",
                skipped.len(),
                skipped[0]
            ),
        });
    }
    if !skipped.is_empty() {
        let notice = format!("{name}: {} skipped: {}", skipped.len(), shortened(&skipped));
        listed.notices.push(notice);
    }
    merge_repeated(name, &mut listed);
    Ok(listed)
}

/// The first few of several reasons, and how many more there are.
fn shortened(reasons: &[String]) -> String {
    let mut named = reasons[..reasons.len().min(NAMED_ENTRIES)].join("; ");
    if let Some(more @ 1..) = reasons.len().checked_sub(NAMED_ENTRIES) {
        named = format!("{named}; and {more} more");
    }
    named
}

/// Merges the entries of each kernel that is listed more than once, and sorts by identity. Where entries contradict each
/// other, the first in canonical order counts, so that the order of the list never does; a notice names the kernels.
pub(super) fn merge_repeated(name: &str, listed: &mut Listed) {
    fn rank(kernel: &Kernel) -> impl Ord + '_ {
        let (packages, config) = (&kernel.packages, &kernel.config_sha256);
        (packages.is_empty(), packages, config.is_none(), config)
    }
    listed.found.par_sort_by(|left, right| {
        let (left, right) = (&left.kernel, &right.kernel);
        let order = left.identity().cmp(&right.identity());
        order.then_with(|| rank(left).cmp(&rank(right)))
    });
    let mut contradicted: Vec<String> = Vec::new();
    listed.found.dedup_by(|next, first| {
        let is_repeated = next.kernel.identity() == first.kernel.identity();
        if is_repeated {
            first.published = first.published.max(next.published);
            if !first.kernel.absorb(&next.kernel) {
                let taken = first.kernel.packages.file_names().join(" ");
                let ignored = next.kernel.packages.file_names().join(" ");
                contradicted.push(format!("{}: {taken}, not {ignored}", first.kernel));
            }
        }
        is_repeated
    });
    if !contradicted.is_empty() {
        listed.notices.push(format!(
            "{name}: {} ignored because another entry of the same kernel has different packages (name them with `headers` \
             if these are the right ones): {}",
            contradicted.len(),
            shortened(&contradicted)
        ));
    }
}

/// Whether a text is a web page: what many servers give with status 200 in place of a list.
pub(super) fn is_web_page(bytes: &[u8]) -> bool {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(512)]).to_ascii_lowercase();
    let head = head.trim_start_matches('\u{feff}').trim_start();
    head.starts_with("<!doctype html") || head.starts_with("<html")
}

/// A version, written as a number or a text.
#[derive(Debug)]
pub(super) struct NumberOrText(pub(super) String);

impl<'de> Deserialize<'de> for NumberOrText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = NumberOrText;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

/// Puts lists together.
pub(super) fn join(lists: impl IntoIterator<Item = Listed>) -> Listed {
    let mut joined = Listed::default();
    for mut list in lists {
        joined.found.append(&mut list.found);
        joined.configs.append(&mut list.configs);
        joined.notices.append(&mut list.notices);
    }
    joined
}

/// The configurations that kernels still name.
pub(super) fn drop_unused(configs: &mut BTreeMap<Sha256, Vec<u8>>, found: &[Found]) {
    let used: std::collections::HashSet<Sha256> = found
        .iter()
        .filter_map(|one| one.kernel.config_sha256)
        .collect();
    configs.retain(|digest, _| used.contains(digest));
}
