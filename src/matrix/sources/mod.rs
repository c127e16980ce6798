//! The sources of a target's kernels: the value of `kernels`.

mod read;

use std::path::PathBuf;
use std::sync::Arc;

use jiff::civil::Date;
use toml::Spanned;

use super::Pattern;
use crate::digest::{KeyBuilder, Sha256};
use crate::driver::Artifact;
use crate::kernel::{Architecture, KernelRelease, KernelVersion};

/// The value of `kernels`: one source, or an array of sources and kernels, which are merged.
#[derive(Clone, Debug, Default)]
pub struct KernelSources {
    /// The kernels that are listed in the matrix itself.
    pub inline: Vec<Spanned<InlineKernel>>,
    /// The sources, in the order of the file: for a kernel in several sources, the first one counts.
    pub sources: Vec<Spanned<Source>>,
}

/// A kernel written in the matrix.
#[derive(Clone, Debug)]
pub struct InlineKernel {
    /// The release.
    pub release: KernelRelease,
    /// The version.
    pub version: KernelVersion,
    /// The architecture; `None` for every architecture of the target that the release can belong to.
    pub architecture: Option<Architecture>,
    /// URLs or paths of the header packages; paths are resolved.
    pub headers: Vec<Arc<str>>,
    /// The path of the kernel's configuration, resolved.
    pub config: Option<PathBuf>,
    /// The version of the kernel source, for a release of an operating system.
    pub upstream: Option<KernelRelease>,
    /// URL or path of the package of the kernel itself, resolved.
    pub image: Option<Arc<str>>,
}

/// A table with `from`.
#[derive(Clone, Debug)]
pub struct Source {
    /// The kind and location of the source.
    pub kind: SourceKind,
    /// Which kernels of the source are used.
    pub selection: Selection,
}

/// The kind and location of a source.
#[derive(Clone, Debug)]
pub enum SourceKind {
    /// `from = "kernel-crawler"`: lists in kernel-crawler's format, one for each architecture.
    Crawler(Vec<(Architecture, Spanned<ListPlace>)>),
    /// `from = "driverkit"`: a directory of driverkit's or dbg-go's YAML files.
    Driverkit {
        /// The directory.
        place: Spanned<ListPlace>,
        /// `outputs`: only files that request exactly these artifacts, sorted; `None` for all files.
        outputs: Option<Vec<Artifact>>,
    },
    /// `from = "csv"`: a table with a header line.
    Csv(Spanned<ListPlace>),
    /// `from = "text"`: one kernel per line.
    Text(Spanned<ListPlace>),
    /// `from = "mirror"`: the distribution's own repository indexes.
    Mirror(MirrorSource),
}

/// The location of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPlace {
    /// The original text: a URL or a path.
    pub written: String,
    /// The directory that relative paths start from.
    pub folder: PathBuf,
}

impl ListPlace {
    /// Returns true if the list is on a server.
    pub fn is_remote(&self) -> bool {
        self.written.contains("://")
    }

    /// Returns the path of a local list.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.written)
    }
}

/// Which kernels of a source are used.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// `match`, an array or `all` in a table: all of these patterns must match; empty for all kernels.
    pub matches: Vec<Pattern>,
    /// `any` in the table of `match`: at least one of these must match; empty for all kernels.
    pub any: Vec<Pattern>,
    /// `exclude`: none of these may match.
    pub excludes: Vec<Pattern>,
    /// `latest`: the number of newest kernels of each target, architecture and flavour; for a Debian mirror, also of
    /// each suite.
    pub latest: Option<u32>,
    /// `since`: only kernels that were published since that day, or, if the source has no dates, that the source has
    /// named since then.
    pub since: Option<Date>,
}

impl Selection {
    /// Returns true if `match` and `exclude` accept a release.
    pub fn takes(&self, release: &KernelRelease) -> bool {
        self.matches.iter().all(|one| one.matches_release(release))
            && (self.any.is_empty() || self.any.iter().any(|one| one.matches_release(release)))
            && !self.excludes.iter().any(|one| one.matches_release(release))
    }
}

/// `from = "mirror"`.
#[derive(Clone, Debug, Default)]
pub struct MirrorSource {
    /// Base URLs; empty for the distribution's default URLs, or those set at run time. In URLs of rpm repositories,
    /// `$arch` is replaced by `x86_64` or `aarch64`.
    pub urls: Vec<String>,
    /// The suites of Debian's archive: `bookworm`, `bookworm-backports`.
    pub suites: Vec<String>,
    /// The flavours: `plain` for the one without a name, `cloud`, `rt`, `uek`; empty for all.
    pub flavours: Vec<String>,
    /// The keys that Debian's `Release` files must be signed with, resolved.
    pub keyring: Option<PathBuf>,
    /// True if a `Release` file past its `Valid-Until` is accepted.
    pub allows_expired: bool,
    /// True if suites that no mirror has are skipped.
    pub skips_missing: bool,
}

impl SourceKind {
    /// Returns the value of `from`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Crawler(_) => "kernel-crawler",
            Self::Driverkit { .. } => "driverkit",
            Self::Csv(_) => "csv",
            Self::Text(_) => "text",
            Self::Mirror(_) => "mirror",
        }
    }

    /// Returns the URL or path of an architecture's list, as the matrix contains it; `None` for a mirror.
    pub fn place(&self, architecture: Architecture) -> Option<&str> {
        let place = match self {
            Self::Crawler(lists) => {
                let mut lists = lists.iter();
                &lists.find(|(one, _)| *one == architecture)?.1
            }
            Self::Driverkit { place, .. } | Self::Csv(place) | Self::Text(place) => place,
            Self::Mirror(_) => return None,
        };
        Some(&place.get_ref().written)
    }

    /// Returns true if the source can contain several of the targets that `pattern` matches.
    pub fn names_targets(&self, pattern: &Pattern) -> bool {
        match self {
            Self::Crawler(_) | Self::Driverkit { .. } | Self::Csv(_) => true,
            Self::Text(_) => false,
            // Each flavour of Ubuntu is a target, and all are in one archive.
            Self::Mirror(_) => pattern.as_str().starts_with("ubuntu"),
        }
    }
}

impl KernelSources {
    /// Returns a digest of all settings of the sources, for `name` and `architectures`: when it changes, a lock is
    /// stale.
    pub fn digest(&self, name: &Pattern, architectures: &[Architecture]) -> Sha256 {
        let mut key = KeyBuilder::new("kernel sources", 2).field("target", name);
        for architecture in architectures {
            key = key.field("architecture", architecture);
        }
        for source in &self.sources {
            key = add_source(key, source.get_ref());
        }
        key.key()
    }
}

impl KernelSources {
    /// Returns the names by which kernels record their sources, in the order of the file: the kind, from the second
    /// source of a kind on with its number (`csv`, `mirror`, `csv 2`).
    pub fn names(&self) -> Vec<Arc<str>> {
        let kinds = self.sources.iter().map(|one| one.get_ref().kind.name());
        let mut seen: Vec<&str> = Vec::with_capacity(self.sources.len());
        kinds
            .map(|kind| {
                seen.push(kind);
                match seen.iter().filter(|one| **one == kind).count() {
                    1 => kind.into(),
                    number => format!("{kind} {number}").into(),
                }
            })
            .collect()
    }

    /// Returns a digest of the settings that limit the sources besides names, URLs, `match` and `exclude`: their
    /// kinds, suites and flavours, `since` and `latest`.
    pub fn limits(&self) -> Sha256 {
        let mut key = KeyBuilder::new("limits of kernel sources", 1);
        for source in &self.sources {
            let Source { kind, selection } = source.get_ref();
            key = key.field("from", kind.name());
            if let SourceKind::Mirror(mirror) = kind {
                for suite in &mirror.suites {
                    key = key.field("suite", suite);
                }
                for flavour in &mirror.flavours {
                    key = key.field("flavour", flavour);
                }
            }
            if let Some(since) = selection.since {
                key = key.field("since", since);
            }
            key = key.field("latest", selection.latest.unwrap_or_default());
        }
        key.key()
    }
}

fn add_source(mut key: KeyBuilder, source: &Source) -> KeyBuilder {
    key = key.field("from", source.kind.name());
    match &source.kind {
        SourceKind::Crawler(lists) => {
            for (architecture, place) in lists {
                key = key.field(architecture.as_str(), &place.get_ref().written);
            }
        }
        SourceKind::Driverkit { place, outputs } => {
            key = key.field("path", &place.get_ref().written);
            if let Some(outputs) = outputs {
                key = key.field("outputs", outputs.len());
                for artifact in outputs {
                    key = key.field("output", artifact);
                }
            }
        }
        SourceKind::Csv(place) | SourceKind::Text(place) => {
            key = key.field("path", &place.get_ref().written);
        }
        SourceKind::Mirror(mirror) => {
            for url in &mirror.urls {
                key = key.field("url", url);
            }
            for suite in &mirror.suites {
                key = key.field("suite", suite);
            }
            for flavour in &mirror.flavours {
                key = key.field("flavour", flavour);
            }
        }
    }
    let selection = &source.selection;
    for pattern in &selection.matches {
        key = key.field("match", pattern);
    }
    for pattern in &selection.any {
        key = key.field("match any", pattern);
    }
    for pattern in &selection.excludes {
        key = key.field("exclude", pattern);
    }
    if let Some(since) = selection.since {
        key = key.field("since", since);
    }
    key.field("latest", selection.latest.unwrap_or_default())
}
