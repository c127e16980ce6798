//! Shared code of all kinds of kernel lists.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use rayon::prelude::*;

use super::DiscoverError;
use super::listed::{Found, Listed, new_kernel};
use crate::digest::Sha256;
use crate::kernel::{Architecture, Kernel, Package};

/// The number of skipped entries that a notice names.
const NAMED_ENTRIES: usize = 3;

/// An entry of a list, before parsing.
#[derive(Debug, Default)]
pub(super) struct Entry<'a> {
    pub(super) target: &'a str,
    pub(super) release: &'a str,
    /// The kernel version; `None` for the default, `1`.
    pub(super) version: Option<&'a str>,
    pub(super) headers: Vec<Cow<'a, str>>,
    /// The kernel configuration in base64.
    pub(super) config: Option<&'a str>,
}

/// Returns the line of each of these positions in a list (see [`Found::position`]), which are sorted.
pub(super) type LinesOf<'a> = Option<&'a dyn Fn(&[usize]) -> Vec<usize>>;

/// A kernel of a list, with its configuration.
pub(super) type ListedKernel = (Found, Option<Vec<u8>>);

/// Parses an entry.
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
        position: 0,
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

/// Returns the id that the loader uses today, for ids that lists spell differently.
pub(super) fn current_id(id: &str) -> Cow<'_, str> {
    let lower = if id.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(id.to_ascii_lowercase())
    } else {
        Cow::Borrowed(id)
    };
    match &*lower {
        "oracle" | "oraclelinux" => "ol".into(),
        release if is_oracle_release(release) => "ol".into(),
        "alma" => "almalinux".into(),
        "photonos" => "photon".into(),
        "rockylinux" => "rocky".into(),
        "rhel" => "redhat".into(),
        "amazonlinux1" => "amazonlinux".into(),
        "archlinux" => "arch".into(),
        _ => lower,
    }
}

/// Whether a name is a release of Oracle Linux as lists write it, such as `oracle8`.
fn is_oracle_release(name: &str) -> bool {
    name.strip_prefix("oracle").is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Returns a pattern in lower case, with the current id of the target that it begins with. A release of Oracle Linux
/// (`oracle8`) keeps its name, since it is less than the target.
pub(super) fn in_current_names(pattern: &str) -> String {
    let lower = pattern.to_ascii_lowercase();
    let (first, rest) = lower.split_once(' ').unwrap_or((&lower, ""));
    if is_oracle_release(first) {
        return lower;
    }
    format!("{} {rest}", current_id(first))
        .trim_end()
        .to_owned()
}

/// The valid entries of a list, and the reasons for the skipped ones.
#[derive(Default)]
pub(super) struct Collected {
    listed: Listed,
    /// The reason for each skipped entry.
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

    /// Returns the content of the list `name`. A notice counts the skipped entries, and names some of them. It is an
    /// error if all entries are invalid.
    pub(super) fn finish(self, name: &str, lines_of: LinesOf<'_>) -> Result<Listed, DiscoverError> {
        let Self {
            mut listed,
            skipped,
        } = self;
        if listed.found.is_empty() && !skipped.is_empty() {
            return Err(DiscoverError::Format {
                name: name.to_owned(),
                message: format!(
                    "none of its {} entries is valid: {}",
                    skipped.len(),
                    skipped[0]
                ),
            });
        }
        if !skipped.is_empty() {
            let notice = format!("{name}: {} skipped: {}", skipped.len(), shortened(&skipped));
            listed.notices.push(notice);
            listed.skipped = skipped
                .into_iter()
                .map(|reason| format!("{name}: {reason}"))
                .collect();
        }
        merge_repeated(name, &mut listed, lines_of);
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
    collected.finish(name, None)
}

/// Returns the first few reasons, and the number of the others.
fn shortened(reasons: &[String]) -> String {
    let mut named = reasons[..reasons.len().min(NAMED_ENTRIES)].join("; ");
    if let Some(more @ 1..) = reasons.len().checked_sub(NAMED_ENTRIES) {
        named = format!("{named}; and {more} more (`lock --all` lists them)");
    }
    named
}

/// An entry that contradicts another entry of the same kernel.
struct Ignored {
    position: u32,
    kernel: String,
    /// The file names of both, if they differ.
    files: Option<[String; 2]>,
}

impl Ignored {
    fn new(taken: &Kernel, ignored: &Found) -> Self {
        let others = &ignored.kernel.packages;
        // Missing packages contradict nothing.
        let has_same_packages = others.is_empty() || taken.packages.is_same_content(others);
        let names = |kernel: &Kernel| kernel.packages.file_names().join(" ");
        Self {
            position: ignored.position,
            kernel: taken.to_string(),
            files: (!has_same_packages).then(|| [names(taken), names(&ignored.kernel)]),
        }
    }

    fn reason(&self) -> String {
        let kernel = &self.kernel;
        match &self.files {
            Some([taken, ignored]) => format!("{kernel}: {taken}, not {ignored}"),
            None => format!("{kernel}: another configuration"),
        }
    }
}

/// Merges the entries of each kernel that is listed more than once, and sorts by identity. If entries contradict each
/// other, the first in canonical order is used, so the order of the list never matters. A notice names such kernels,
/// and the ignored entries are among the skipped ones.
pub(super) fn merge_repeated(name: &str, listed: &mut Listed, lines_of: LinesOf<'_>) {
    fn rank(kernel: &Kernel) -> impl Ord + '_ {
        let (packages, config) = (&kernel.packages, &kernel.config_sha256);
        (packages.is_empty(), packages, config.is_none(), config)
    }
    // Entries that compare equal have the same content, so no stable sort is needed, which would allocate a second
    // list.
    listed.found.par_sort_unstable_by(|left, right| {
        let positions = left.position.cmp(&right.position);
        let (left, right) = (&left.kernel, &right.kernel);
        let order = left.identity().cmp(&right.identity());
        order
            .then_with(|| rank(left).cmp(&rank(right)))
            .then(positions)
    });
    let mut ignored: Vec<Ignored> = Vec::new();
    listed.found.dedup_by(|next, first| {
        let is_repeated = next.kernel.identity() == first.kernel.identity();
        if is_repeated {
            first.published = first.published.max(next.published);
            if !Arc::make_mut(&mut first.kernel).absorb(&next.kernel) {
                ignored.push(Ignored::new(&first.kernel, next));
            }
        }
        is_repeated
    });
    if ignored.is_empty() {
        return;
    }
    ignored.sort_by_key(|one| one.position);
    let positions: Vec<usize> = ignored.iter().map(|one| one.position as usize).collect();
    let lines = lines_of
        .map(|lines_of| lines_of(&positions))
        .unwrap_or_default();
    let mut lines = lines.into_iter();
    let reasons: Vec<String> = ignored
        .iter()
        .map(|one| match lines.next() {
            Some(line) => format!("line {line}, {}", one.reason()),
            None => one.reason(),
        })
        .collect();
    let has_files = |one: &&Ignored| one.files.is_some();
    let what = match ignored.iter().filter(has_files).count() {
        0 => "another configuration",
        files => {
            const ADVICE: &str = "if the ignored packages are correct, set them as `headers`";
            if files == ignored.len() {
                &format!("different packages ({ADVICE})")
            } else {
                &format!("different packages or another configuration ({ADVICE})")
            }
        }
    };
    listed.notices.push(format!(
        "{name}: {} ignored because another entry of the same kernel has {what}: {}",
        ignored.len(),
        shortened(&reasons)
    ));
    let reasons = reasons.into_iter();
    listed.skipped.extend(
        reasons
            .map(|reason| format!("{name}: {reason} (another entry of the same kernel is used)")),
    );
}

/// Joins lists into one.
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

/// Removes the configurations that no kernel uses.
pub(super) fn drop_unused(configs: &mut BTreeMap<Sha256, Vec<u8>>, found: &[Found]) {
    let used: std::collections::HashSet<Sha256> = found
        .iter()
        .filter_map(|one| one.kernel.config_sha256)
        .collect();
    configs.retain(|digest, _| used.contains(digest));
}
