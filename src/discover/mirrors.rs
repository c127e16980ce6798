//! Mirrors of distributions: which base addresses are asked, and what locks say in their place.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use url::Url;

use super::mirror::DiscoverMirrorError;
use super::{Context, DiscoverError, Found, Listed, fetcher, mirror, rpm, select};
use crate::kernel::{Kernel, ParseKernelError, TargetId};
use crate::matrix::{MirrorSource, Selection, TargetEntry};

/// The usual base addresses of distributions, by the names under which others are given at run time. Locks hold
/// these, so that they read the same wherever they were made; downloads are rewritten.
pub const DEFAULT_MIRRORS: &[(&str, &str)] = &[
    ("debian", "http://ftp.debian.org/debian"),
    (
        "debian-security",
        "http://security.debian.org/debian-security",
    ),
];

/// The suites of Debian's archive that are looked at where nobody names some; a mirror need not have all of them.
pub const USUAL_SUITES: &[&str] = &[
    "bullseye",
    "bullseye-security",
    "bullseye-backports",
    "bookworm",
    "bookworm-security",
    "bookworm-backports",
    "trixie",
    "trixie-security",
    "trixie-backports",
    "sid",
];

/// Asks the mirrors of one `[[target]]`, and takes what `selection` takes.
pub(super) async fn discover(
    entry: &TargetEntry,
    source: &MirrorSource,
    selection: &Selection,
    context: Context<'_>,
) -> Result<Listed, DiscoverError> {
    let target = entry.name.get_ref().as_str();
    if target == "debian" {
        return debian(entry, source, selection, context).await;
    }
    let mut listed = match rpm::family(target) {
        Some(family) => rpm_repositories(entry, source, family, context).await?,
        None => {
            return Err(unsupported(format!(
                "the mirrors of {target} cannot be read; take its kernels from a list"
            )));
        }
    };
    select::apply(entry, selection, &mut listed.found, context.first_seen);
    Ok(listed)
}

/// Reads the repositories that the matrix names or, passing over those that are not there, the usual ones. A kernel
/// that several of them hold is taken from the first.
async fn rpm_repositories(
    entry: &TargetEntry,
    source: &MirrorSource,
    family: &'static rpm::Family,
    context: Context<'_>,
) -> Result<Listed, DiscoverError> {
    let name = entry.name.get_ref().as_str();
    let target: TargetId = name
        .parse()
        .map_err(|error: ParseKernelError| unsupported(error.to_string()))?;
    let is_usual = source.urls.is_empty();
    let usual = || family.repositories.iter().map(|&url| url.to_owned());
    let urls: Vec<String> = if is_usual {
        usual().collect()
    } else {
        source.urls.clone()
    };
    if urls.is_empty() {
        return Err(unsupported(format!(
            "the addresses of {name}'s repositories hold a number that only you know: write urls = [\"http://.../$arch/\"]"
        )));
    }
    let fetcher = fetcher(context)?;
    let mut all = Listed::default();
    let mut seen = HashSet::new();
    for (position, url) in urls.iter().enumerate() {
        (context.progress)(&format!(
            "{name}: repository {} of {}: {url}",
            position + 1,
            urls.len()
        ));
        for &architecture in &entry.architectures {
            let read = rpm::discover(fetcher, &target, family, url, architecture).await;
            let listed = match read {
                Err(DiscoverMirrorError::Repository { source, .. })
                    if is_usual && source.is_not_there() =>
                {
                    all.notices
                        .push(format!("{url} has nothing for {architecture}"));
                    continue;
                }
                read => read?,
            };
            all.notices.extend(listed.notices);
            let new = listed
                .found
                .into_iter()
                .filter(|one| seen.insert((one.kernel.release.clone(), one.kernel.architecture)));
            all.found.extend(new);
        }
    }
    Ok(all)
}

fn unsupported(message: String) -> DiscoverError {
    DiscoverError::Unsupported { message }
}

async fn debian(
    entry: &TargetEntry,
    source: &MirrorSource,
    selection: &Selection,
    context: Context<'_>,
) -> Result<Listed, DiscoverError> {
    if source.suites.is_empty() {
        return Err(unsupported(
            "Debian's mirrors need the names of suites: write suites = [\"bookworm\", \"trixie\"]"
                .to_owned(),
        ));
    }
    let fetcher = fetcher(context)?;
    let bases = base_urls(source, context.mirrors)
        .map_err(|error| unsupported(format!("a mirror's address is wrong: {error}")))?;
    let urls: Vec<Url> = bases.iter().map(|base| base.url.clone()).collect();
    let (suites, flavours) = (&source.suites, &source.flavours);
    let question = mirror::Question {
        suites,
        architectures: &entry.architectures,
        flavours,
        keyring: source.keyring.as_deref(),
        allows_expired: source.allows_expired,
        skips_missing: source.skips_missing,
    };
    let found = mirror::discover(fetcher, &urls, question).await?;
    let takes = |kernel: &Kernel| {
        let found = Found {
            kernel: kernel.clone(),
            published: None,
        };
        select::takes(entry, selection, &found, context.first_seen)
    };
    let mut kernels = mirror::newest(found.kernels, selection.latest, takes);
    for package in kernels.iter_mut().flat_map(|kernel| &mut kernel.packages) {
        if let Some(url) = bases
            .iter()
            .find_map(|base| base.usual_address(&package.url))
        {
            package.url = url;
        }
    }
    Ok(Listed {
        found: kernels
            .into_iter()
            .map(|kernel| Found {
                kernel,
                published: None,
            })
            .collect(),
        configs: BTreeMap::new(),
        notices: found.notices,
    })
}

/// A mirror, and the address that stands for it in locks.
struct Base {
    url: Url,
    usual: String,
}

impl Base {
    /// What a lock says for an address of this mirror.
    fn usual_address(&self, url: &str) -> Option<Arc<str>> {
        let rest = url.strip_prefix(self.url.as_str().trim_end_matches('/'))?;
        rest.starts_with('/')
            .then(|| format!("{}{rest}", self.usual).into())
    }
}

/// The matrix's own addresses; else those that are given at run time, and no others; else the usual ones.
fn base_urls(
    source: &MirrorSource,
    mirrors: &BTreeMap<String, String>,
) -> Result<Vec<Base>, url::ParseError> {
    let base = |url: &str, usual: &str| {
        let (url, usual) = (url.parse()?, usual.trim_end_matches('/').to_owned());
        Ok(Base { url, usual })
    };
    if !source.urls.is_empty() {
        return source.urls.iter().map(|url| base(url, url)).collect();
    }
    let given: Vec<Base> = DEFAULT_MIRRORS
        .iter()
        .filter_map(|(name, usual)| Some(base(mirrors.get(*name)?, usual)))
        .collect::<Result<_, _>>()?;
    if !given.is_empty() {
        return Ok(given);
    }
    DEFAULT_MIRRORS
        .iter()
        .map(|(_, usual)| base(usual, usual))
        .collect()
}
