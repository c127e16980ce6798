//! What the kinds of kernel lists have in common.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use rayon::prelude::*;

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
    /// `None` for the usual `1`.
    pub(super) version: Option<&'a str>,
    pub(super) headers: Vec<Cow<'a, str>>,
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
        kernel: Arc::new(kernel),
        published: None,
    };
    Ok((found, config))
}

fn package(url: Cow<'_, str>) -> Result<Package, String> {
    if url.is_empty()
        || url
            .chars()
            .any(|character| character.is_control() || character == ' ')
    {
        return Err(format!("invalid URL {url:?}"));
    }
    Ok(Package::at(url))
}

/// The id by which the loader asks today, for ids that lists spell otherwise.
pub(super) fn current_id(id: &str) -> Cow<'_, str> {
    let lower = if id.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(id.to_ascii_lowercase())
    } else {
        Cow::Borrowed(id)
    };
    match &*lower {
        "oracle" | "oraclelinux" | "oracle6" | "oracle7" | "oracle8" | "oracle9" => "ol".into(),
        "alma" => "almalinux".into(),
        "photonos" => "photon".into(),
        "rockylinux" => "rocky".into(),
        "rhel" => "redhat".into(),
        "amazonlinux1" => "amazonlinux".into(),
        "archlinux" => "arch".into(),
        _ => lower,
    }
}

/// The good entries of a list; the bad ones are counted, and some of them named.
#[derive(Default)]
pub(super) struct Collected {
    listed: Listed,
    /// Why each of the others is skipped.
    pub(super) skipped: Vec<String>,
}

impl Collected {
    pub(super) fn add(&mut self, entry: Result<ListedKernel, String>) {
        match entry {
            Ok((found, config)) => {
                if let (Some(digest), Some(config)) = (found.kernel.config_sha256, config) {
                    self.listed.configs.insert(digest, config);
                }
                self.listed.found.push(found);
            }
            Err(reason) => self.skipped.push(reason),
        }
    }

    /// What the list `name` gives.
    pub(super) fn finish(self, name: &str) -> Result<Listed, DiscoverError> {
        let Self {
            mut listed,
            skipped,
        } = self;
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
            let mut shown = shortened(&skipped);
            if skipped.len() > NAMED_ENTRIES {
                shown += " (`lock --all` lists them)";
            }
            let notice = format!("{name}: {} skipped: {shown}", skipped.len());
            listed.notices.push(notice);
            listed.skipped = skipped
                .into_iter()
                .map(|reason| format!("{name}: {reason}"))
                .collect();
        }
        merge_repeated(name, &mut listed);
        Ok(listed)
    }
}

/// Collects the entries of the list `name`.
pub(super) fn collect(
    name: &str,
    entries: impl IntoIterator<Item = Result<ListedKernel, String>>,
) -> Result<Listed, DiscoverError> {
    let mut collected = Collected::default();
    for entry in entries {
        collected.add(entry);
    }
    collected.finish(name)
}

/// The first few of several reasons, and how many more there are.
fn shortened(reasons: &[String]) -> String {
    let mut named = reasons[..reasons.len().min(NAMED_ENTRIES)].join("; ");
    if let Some(more @ 1..) = reasons.len().checked_sub(NAMED_ENTRIES) {
        named = format!("{named}; and {more} more");
    }
    named
}

/// Merges the entries of each kernel that is listed more than once, and sorts by identity. Where entries contradict
/// each other, the first in canonical order counts, so that the order of the list never does; a notice names the
/// kernels.
pub(super) fn merge_repeated(name: &str, listed: &mut Listed) {
    fn rank(kernel: &Kernel) -> impl Ord + '_ {
        let (packages, config) = (&kernel.packages, &kernel.config_sha256);
        (packages.is_empty(), packages, config.is_none(), config)
    }
    // Equal in both are entries that say the same: no need for a stable sort, which takes a second list.
    listed.found.par_sort_unstable_by(|left, right| {
        let (left, right) = (&left.kernel, &right.kernel);
        let order = left.identity().cmp(&right.identity());
        order.then_with(|| rank(left).cmp(&rank(right)))
    });
    let mut contradicted: Vec<String> = Vec::new();
    listed.found.dedup_by(|next, first| {
        let is_repeated = next.kernel.identity() == first.kernel.identity();
        if is_repeated {
            first.published = first.published.max(next.published);
            if !Arc::make_mut(&mut first.kernel).absorb(&next.kernel) {
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

/// Puts lists together.
pub(super) fn join(lists: impl IntoIterator<Item = Listed>) -> Listed {
    let mut joined = Listed::default();
    for mut list in lists {
        joined.found.append(&mut list.found);
        joined.configs.append(&mut list.configs);
        joined.notices.append(&mut list.notices);
        joined.skipped.append(&mut list.skipped);
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
