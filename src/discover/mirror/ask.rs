//! Selects the base URLs of a distribution's mirrors, and the URLs that locks record instead of them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use arcstr::Substr;
use url::Url;

use super::error::DiscoverMirrorError;
use super::{apt, arch, flatcar, known_target, rpm};
use crate::discover::listed::{Found, Listed};
use crate::discover::{Context, DiscoverError, lists, select};
use crate::kernel::{Architecture, Kernel};
use crate::matrix::{MirrorSource, Selection, TargetEntry};
use crate::target::RpmIndex;
use crate::text::count;

/// The default base URLs of archives. Each has the name under which another URL can be given at run time. Locks record
/// the default URLs, so that a lock is the same wherever it is made. Downloads use the mirror.
pub const DEFAULT_MIRRORS: &[(&str, &str)] = &[
    ("debian", "http://ftp.debian.org/debian"),
    (
        "debian-security",
        "http://security.debian.org/debian-security",
    ),
    ("ubuntu", "http://archive.ubuntu.com/ubuntu"),
    ("ubuntu-security", "http://security.ubuntu.com/ubuntu"),
    ("ubuntu-ports", "http://ports.ubuntu.com/ubuntu-ports"),
];

/// The names of Debian's archives.
const DEBIAN: &[&str] = &["debian", "debian-security"];

/// Returns the suites of a distribution's archive that are read by default. A mirror need not have all of them. The
/// result is empty for distributions whose archives have no suites.
pub fn usual_suites(target: &str) -> &'static [&'static str] {
    if target == "debian" {
        &[
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
        ]
    } else if is_ubuntu(target) {
        &[
            "bionic",
            "bionic-security",
            "bionic-updates",
            "focal",
            "focal-security",
            "focal-updates",
            "jammy",
            "jammy-security",
            "jammy-updates",
            "noble",
            "noble-security",
            "noble-updates",
        ]
    } else {
        &[]
    }
}

fn is_ubuntu(target: &str) -> bool {
    target.starts_with("ubuntu")
}

/// Returns the names of Ubuntu's archives for an architecture.
fn ubuntu_archives(architecture: Architecture) -> &'static [&'static str] {
    match architecture {
        Architecture::Amd64 => &["ubuntu", "ubuntu-security"],
        Architecture::Arm64 => &["ubuntu-ports"],
    }
}

/// Reads the mirrors of one `[[target]]`, and returns the kernels that `selection` accepts.
pub(in crate::discover) async fn discover(
    entry: &TargetEntry,
    source: &MirrorSource,
    selection: &Selection,
    context: Context<'_>,
) -> Result<Listed, DiscoverError> {
    let name = entry.name.get_ref().as_str();
    match name {
        "debian" => debian(entry, source, selection, context).await,
        "arch" => arch::discover(entry, source, selection, context).await,
        "flatcar" => flatcar::discover(entry, source, selection, context).await,
        _ if is_ubuntu(name) => ubuntu(entry, source, selection, context).await,
        _ => match rpm_index(name) {
            Some(index) => {
                let mut listed = rpm_repositories(entry, source, &index, context).await?;
                select::apply(entry, selection, &mut listed.found, context.first_seen);
                Ok(listed)
            }
            None => Err(DiscoverError::unsupported(format!(
                "mirrors of {name} are not supported; use a kernel list"
            ))),
        },
    }
}

/// Returns the properties of a target's rpm repositories, if it has rpm repositories.
fn rpm_index(name: &str) -> Option<RpmIndex> {
    let (_, target) = known_target(name).ok()?;
    target.rpm_index()
}

/// Reads the repositories that the matrix names, or else the default repositories. A default repository that does not
/// exist is skipped. A kernel that several repositories have comes from the first of them.
async fn rpm_repositories(
    entry: &TargetEntry,
    source: &MirrorSource,
    index: &RpmIndex,
    context: Context<'_>,
) -> Result<Listed, DiscoverError> {
    let name = entry.name.get_ref().as_str();
    let (target, _) = known_target(name)?;
    let fetcher = context.fetcher()?;
    let is_usual = source.urls.is_empty();
    let named: Vec<&str> = if is_usual {
        index.repositories.iter().map(String::as_str).collect()
    } else {
        source.urls.iter().map(String::as_str).collect()
    };
    let mut absent = Vec::new();
    let mut urls = Vec::new();
    for url in named {
        match rpm::expand(fetcher, url, index.oldest_release).await {
            Err(DiscoverMirrorError::Repository { url, cause: source })
                if is_usual && source.is_not_there() =>
            {
                absent.push(url);
            }
            expanded => urls.extend(expanded?),
        }
    }
    let mut all = Listed::default();
    let mut seen = HashSet::new();
    let mut passed_over = BTreeSet::new();
    for (position, url) in urls.iter().enumerate() {
        (context.progress)(&format!(
            "{name}: repository {} of {}: {url}",
            position + 1,
            urls.len()
        ));
        for &architecture in &entry.architectures {
            let asked = rpm::Asked {
                target: &target,
                index,
                architecture,
            };
            let read = rpm::discover(fetcher, asked, url).await;
            let rpm::Repository {
                mut listed,
                passed_over: unknown,
            } = match read {
                Err(DiscoverMirrorError::Repository { cause: source, .. })
                    if is_usual && source.is_not_there() =>
                {
                    absent.push(url.replace("$arch", architecture.machine()));
                    continue;
                }
                read => read?,
            };
            (context.progress)(&format!(
                "{name}: {} of {architecture}",
                count(listed.found.len(), "kernel")
            ));
            passed_over.extend(unknown);
            // The order of an index does not matter: the locations of a package that it lists twice are merged. The
            // order of repositories does: the first one that has a kernel counts.
            lists::merge_repeated(url, &mut listed, None);
            all.notices.extend(listed.notices);
            all.skipped.extend(listed.skipped);
            let new = listed
                .found
                .into_iter()
                .filter(|one| seen.insert((one.kernel.release.clone(), one.kernel.architecture)));
            all.found.extend(new);
        }
    }
    if let Some(first) = absent.first() {
        all.notices.push(format!(
            "{name}: {} of the default repositories do not exist, such as {first}",
            absent.len()
        ));
    }
    if let Some(first) = passed_over.first() {
        all.notices.push(format!(
            "{name}: skipped {} of packages that look like kernel headers, such as {first}: it is unknown which \
             kernel they are for",
            match passed_over.len() {
                1 => "1 name".to_owned(),
                count => format!("{count} names"),
            }
        ));
    }
    Ok(all)
}

async fn debian(
    entry: &TargetEntry,
    source: &MirrorSource,
    selection: &Selection,
    context: Context<'_>,
) -> Result<Listed, DiscoverError> {
    let bases = Bases::of(source, context, DEBIAN)?;
    let told = told(entry, context);
    let question = question(entry, source, &told)?;
    let found = apt::discover_debian(context.fetcher()?, &bases.urls(), question).await?;
    Ok(selected(entry, selection, context, found, &[bases]))
}

async fn ubuntu(
    entry: &TargetEntry,
    source: &MirrorSource,
    selection: &Selection,
    context: Context<'_>,
) -> Result<Listed, DiscoverError> {
    let mut urls = BTreeMap::new();
    let mut all = Vec::new();
    for &architecture in &entry.architectures {
        let bases = Bases::of(source, context, ubuntu_archives(architecture))?;
        urls.insert(architecture, bases.urls());
        all.push(bases);
    }
    let told = told(entry, context);
    let question = question(entry, source, &told)?;
    let is_asked = |name: &str| entry.name.get_ref().matches_name(name);
    let found = apt::discover_ubuntu(context.fetcher()?, &urls, is_asked, question).await?;
    Ok(selected(entry, selection, context, found, &all))
}

/// Returns a progress function that puts the name of the `[[target]]` before each message.
fn told<'a>(entry: &'a TargetEntry, context: Context<'a>) -> impl Fn(&str) + 'a {
    move |message| (context.progress)(&format!("{}: {message}", entry.name.get_ref()))
}

/// Returns the query for an archive of apt.
fn question<'a>(
    entry: &'a TargetEntry,
    source: &'a MirrorSource,
    progress: &'a dyn Fn(&str),
) -> Result<apt::Question<'a>, DiscoverError> {
    if source.suites.is_empty() {
        let name = entry.name.get_ref().as_str();
        let example = if is_ubuntu(name) {
            "[\"jammy\", \"jammy-updates\"]"
        } else {
            "[\"bookworm\", \"trixie\"]"
        };
        return Err(DiscoverError::unsupported(format!(
            "the mirrors of {name} need the names of suites: write suites = {example}"
        )));
    }
    Ok(apt::Question {
        suites: &source.suites,
        architectures: &entry.architectures,
        flavours: &source.flavours,
        keyring: source.keyring.as_deref(),
        allows_expired: source.allows_expired,
        skips_missing: source.skips_missing,
        progress,
    })
}

/// Returns the kernels that the selection accepts. Package URLs of mirrors are replaced with the default URLs.
fn selected(
    entry: &TargetEntry,
    selection: &Selection,
    context: Context<'_>,
    found: apt::MirrorKernels,
    bases: &[Bases],
) -> Listed {
    let takes = |kernel: &Kernel| {
        let found = Found {
            kernel: kernel.clone().into(),
            published: None,
            position: 0,
        };
        select::takes(entry, selection, &found, context.first_seen)
    };
    let mut kernels = apt::newest(found.kernels, selection.latest, takes);
    for kernel in &mut kernels {
        kernel.packages.update(|package| {
            let mut bases = bases.iter().flat_map(|bases| &bases.0);
            let usual = bases.find_map(|base| base.usual_address(&package.url));
            let is_other = usual.is_some();
            if let Some(url) = usual {
                package.url = url;
            }
            is_other
        });
    }
    let found_one = |kernel: Kernel| Found {
        kernel: kernel.into(),
        published: None,
        position: 0,
    };
    Listed {
        found: kernels.into_iter().map(found_one).collect(),
        configs: BTreeMap::new(),
        notices: found.notices,
        skipped: Vec::new(),
    }
}

/// Mirrors, in the order in which they are read.
struct Bases(Vec<Base>);

/// A mirror, and the URL that locks record instead of it.
struct Base {
    url: Url,
    usual: String,
}

impl Base {
    /// Returns the URL that a lock records for a URL of this mirror.
    fn usual_address(&self, url: &str) -> Option<Substr> {
        let rest = url.strip_prefix(self.url.as_str().trim_end_matches('/'))?;
        rest.starts_with('/')
            .then(|| format!("{}{rest}", self.usual).into())
    }
}

impl Bases {
    /// Returns the URLs of the matrix, if it has any. Else returns only the URLs that are given at run time for the
    /// archives with these names. Without any of them, returns the default URLs.
    fn of(
        source: &MirrorSource,
        context: Context<'_>,
        names: &[&str],
    ) -> Result<Self, DiscoverError> {
        let base = |url: &str, usual: &str| {
            let parsed = url.parse().map_err(|error: url::ParseError| {
                DiscoverError::unsupported(format!("the mirror's URL `{url}` is invalid: {error}"))
            })?;
            Ok(Base {
                url: parsed,
                usual: usual.trim_end_matches('/').to_owned(),
            })
        };
        let usual = || {
            let all = DEFAULT_MIRRORS.iter();
            all.filter(|(name, _)| names.contains(name))
        };
        let given: Vec<(&str, &str)> = usual()
            .filter_map(|(name, usual)| Some((context.mirrors.get(*name)?.as_str(), *usual)))
            .collect();
        let all: Vec<(&str, &str)> = if !source.urls.is_empty() {
            source
                .urls
                .iter()
                .map(|url| (url.as_str(), url.as_str()))
                .collect()
        } else if !given.is_empty() {
            given
        } else {
            usual().map(|(_, url)| (*url, *url)).collect()
        };
        let bases: Result<Vec<Base>, DiscoverError> = all
            .into_iter()
            .map(|(url, usual)| base(url, usual))
            .collect();
        bases.map(Self)
    }

    fn urls(&self) -> Vec<Url> {
        self.0.iter().map(|base| base.url.clone()).collect()
    }
}
