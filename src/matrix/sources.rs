//! Where the kernels of a target come from: the value of `kernels`.

use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::Pattern;
use super::section::{Reader, Section};
use super::types::folder_of;
use crate::diagnostic::did_you_mean;
use crate::digest::KeyBuilder;
use crate::digest::Sha256;
use crate::kernel::{Architecture, KernelRelease, KernelVersion};

/// The value of `kernels`.
#[derive(Clone, Debug)]
pub enum KernelSource {
    /// An array: the kernels themselves.
    Inline(Vec<Spanned<InlineKernel>>),
    /// `from = "kernel-crawler"`: lists in kernel-crawler's format.
    Crawler(CrawlerSource),
    /// `from = "mirror"`: the distribution's own repository indexes.
    Mirror(MirrorSource),
}

/// A kernel written in the matrix.
#[derive(Clone, Debug)]
pub struct InlineKernel {
    /// The release.
    pub release: KernelRelease,
    /// The version.
    pub version: KernelVersion,
    /// The architecture; none for every architecture of the target that the release can belong to.
    pub architecture: Option<Architecture>,
    /// Addresses or paths of the header packages; paths are resolved.
    pub headers: Vec<Arc<str>>,
    /// The kernel's configuration, resolved.
    pub config: Option<PathBuf>,
}

/// Which kernels of a source are taken.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// `match`: every one of these patterns must match; none for all.
    pub matches: Vec<Pattern>,
    /// `exclude`: none of these may match.
    pub excludes: Vec<Pattern>,
    /// `latest`: how many of the newest are taken, in each group that the source documents.
    pub latest: Option<u32>,
}

impl Selection {
    /// Whether `match` and `exclude` take a release.
    pub fn takes(&self, release: &KernelRelease) -> bool {
        self.matches.iter().all(|one| one.matches_release(release))
            && !self.excludes.iter().any(|one| one.matches_release(release))
    }
}

/// `from = "kernel-crawler"`.
#[derive(Clone, Debug)]
pub struct CrawlerSource {
    /// The list of each architecture, as it is written.
    pub paths: Vec<(Architecture, Spanned<PathBuf>)>,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// Which kernels are taken; `latest` counts in each target and architecture.
    pub selection: Selection,
}

/// `from = "mirror"`.
#[derive(Clone, Debug)]
pub struct MirrorSource {
    /// The base address; none for the distribution's usual one, or the one that is given at run time.
    pub url: Option<String>,
    /// The suites: `bookworm`, `bookworm-backports`.
    pub suites: Vec<String>,
    /// The flavours, without architecture: `plain` for the one without a name, `cloud`, `rt`; empty for all.
    pub flavours: Vec<String>,
    /// Which kernels are taken; `latest` counts in each suite, flavour and architecture.
    pub selection: Selection,
}

impl KernelSource {
    /// The value of `from`; `inline` for an array.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Inline(_) => "inline",
            Self::Crawler(_) => "kernel-crawler",
            Self::Mirror(_) => "mirror",
        }
    }

    /// A digest over everything that the matrix says about the source, for `name` and `architectures`: when it
    /// changes, a lock is stale.
    pub fn digest(&self, name: &Pattern, architectures: &[Architecture]) -> Sha256 {
        let mut key = KeyBuilder::new("kernel source", 1)
            .field("target", name)
            .field("from", self.name());
        for architecture in architectures {
            key = key.field("architecture", architecture);
        }
        let selection = match self {
            Self::Inline(_) => return key.key(),
            Self::Crawler(source) => {
                for (architecture, path) in &source.paths {
                    key = key.field(architecture.as_str(), path.get_ref().display());
                }
                &source.selection
            }
            Self::Mirror(source) => {
                key = key.field("url", source.url.as_deref().unwrap_or_default());
                for suite in &source.suites {
                    key = key.field("suite", suite);
                }
                for flavour in &source.flavours {
                    key = key.field("flavour", flavour);
                }
                &source.selection
            }
        };
        for pattern in &selection.matches {
            key = key.field("match", pattern);
        }
        for pattern in &selection.excludes {
            key = key.field("exclude", pattern);
        }
        key.field("latest", selection.latest.unwrap_or_default())
            .key()
    }

    pub(super) fn read(reader: &mut Reader, value: &Spanned<DeValue<'_>>) -> Option<Self> {
        match value.get_ref() {
            DeValue::Array(array) => {
                let before = reader.diagnostics.len();
                let kernels: Vec<_> = array
                    .iter()
                    .filter_map(|value| read_inline(reader, value))
                    .collect();
                if kernels.is_empty() && reader.diagnostics.len() == before {
                    reader.error(value.span(), "`kernels` is empty", "", None);
                }
                Some(Self::Inline(kernels))
            }
            DeValue::Table(table) => {
                let section = Section::new("`kernels`", value.span(), table);
                read_table(reader, section)
            }
            _ => {
                reader.error(
                    value.span(),
                    "`kernels` has the wrong type",
                    "expected a table with `from`, or an array of kernels",
                    None,
                );
                None
            }
        }
    }
}

fn read_table(reader: &mut Reader, mut section: Section<'_>) -> Option<KernelSource> {
    let known = ["kernel-crawler", "mirror"];
    let Some(from) = section.text(reader, "from", "the name of a source") else {
        if section.value("from").is_none() {
            section.missing(
                reader,
                "from",
                "write from = \"kernel-crawler\" or from = \"mirror\"",
            );
        }
        return None;
    };
    let source = match from.get_ref().as_str() {
        "kernel-crawler" => read_crawler(reader, &mut section).map(KernelSource::Crawler),
        "mirror" => Some(KernelSource::Mirror(read_mirror(reader, &mut section))),
        other => {
            let help = did_you_mean(other, known)
                .unwrap_or_else(|| format!("known sources: {}", known.join(", ")));
            reader.error(
                from.span(),
                format!("`{other}` is no source of kernels"),
                "",
                Some(help),
            );
            return None;
        }
    };
    section.finish(reader);
    source
}

fn read_selection(reader: &mut Reader, section: &mut Section<'_>) -> Selection {
    let bare = |list: Vec<Spanned<Pattern>>| list.into_iter().map(Spanned::into_inner).collect();
    Selection {
        matches: bare(section.patterns(reader, "match", str::parse)),
        excludes: bare(section.patterns(reader, "exclude", str::parse)),
        latest: section.number(reader, "latest", 1..=1_000_000),
    }
}

fn read_crawler(reader: &mut Reader, section: &mut Section<'_>) -> Option<CrawlerSource> {
    let selection = read_selection(reader, section);
    let help = "write path = { amd64 = \"x86_64.json\", arm64 = \"aarch64.json\" }";
    let Some(value) = section.value("path") else {
        section.missing(reader, "path", help);
        return None;
    };
    let mut paths = Section::of_value(reader, "path", "`path`", value)?;
    let folder = folder_of(&reader.file.path).to_owned();
    let mut lists = Vec::new();
    for architecture in Architecture::ALL {
        if let Some(path) = paths.text(reader, architecture.as_str(), "a path") {
            let written = PathBuf::from(path.get_ref());
            lists.push((architecture, Spanned::new(path.span(), written)));
        }
    }
    if paths.entries().is_empty() {
        reader.error(
            value.span(),
            "`path` names no list",
            "",
            Some(help.to_owned()),
        );
    }
    paths.finish(reader);
    Some(CrawlerSource {
        paths: lists,
        folder,
        selection,
    })
}

fn read_mirror(reader: &mut Reader, section: &mut Section<'_>) -> MirrorSource {
    let word = |text: &str| {
        let is_allowed = |found: char| found.is_ascii_alphanumeric() || "._-/".contains(found);
        if text.chars().all(is_allowed) && !text.split('/').any(|part| part == "..") {
            Ok(text.to_owned())
        } else {
            Err(format!(
                "`{text}` holds a character that no suite or flavour has"
            ))
        }
    };
    let bare = |list: Vec<Spanned<String>>| list.into_iter().map(Spanned::into_inner).collect();
    let selection = read_selection(reader, section);
    let url = section.parsed(reader, "url", "an address", |text| {
        match url::Url::parse(text) {
            Ok(url) if ["http", "https", "file"].contains(&url.scheme()) => Ok(text.to_owned()),
            Ok(url) => Err(format!("`{}` addresses cannot be read", url.scheme())),
            Err(error) => Err(format!("`{text}` is no address: {error}")),
        }
    });
    let suites = section.list(reader, "suites", "the name of a suite", word);
    let is_named = match section.value("suites").map(Spanned::get_ref) {
        None => false,
        Some(DeValue::Array(array)) => !array.is_empty(),
        Some(_) => true,
    };
    if !is_named {
        let help = "write suites = [\"bookworm\", \"trixie\"]";
        section.missing(reader, "suites", help);
    }
    let flavours = section.list(reader, "flavours", "the name of a flavour", word);
    MirrorSource {
        url,
        suites: bare(suites.unwrap_or_default()),
        flavours: bare(flavours.unwrap_or_default()),
        selection,
    }
}

fn read_inline(reader: &mut Reader, value: &Spanned<DeValue<'_>>) -> Option<Spanned<InlineKernel>> {
    let mut section = Section::of_value(reader, "kernels", "a kernel", value)?;
    let folder = folder_of(&reader.file.path).to_owned();
    let release = section.parsed(reader, "release", "a kernel release", str::parse);
    let version = section.parsed(reader, "version", "a string such as \"1\"", str::parse);
    let architecture = section.parsed(reader, "architecture", "amd64 or arm64", str::parse);
    let headers = section.list(reader, "headers", "an address or a path", |text| {
        resolve_address(&folder, text)
    });
    let config = section.text(reader, "config", "a path");
    if section.value("release").is_none() {
        section.missing(reader, "release", "write what `uname -r` prints there");
    }
    section.finish(reader);
    let kernel = InlineKernel {
        release: release?,
        version: version.unwrap_or_default(),
        architecture,
        headers: headers
            .unwrap_or_default()
            .into_iter()
            .map(Spanned::into_inner)
            .collect(),
        config: config.map(|path| folder.join(path.get_ref())),
    };
    Some(Spanned::new(value.span(), kernel))
}

/// An address stays as it is, a path starts from the folder of the matrix.
fn resolve_address(folder: &std::path::Path, text: &str) -> Result<Arc<str>, String> {
    match text.split_once("://") {
        Some(("http" | "https" | "file", _)) => match url::Url::parse(text) {
            Ok(_) => Ok(text.into()),
            Err(error) => Err(format!("`{text}` is no address: {error}")),
        },
        Some((scheme, _)) => Err(format!(
            "`{scheme}` addresses cannot be fetched: http, https, file and paths can"
        )),
        None if text.is_empty() => Err("an empty path".to_owned()),
        None => Ok(folder.join(text).to_string_lossy().as_ref().into()),
    }
}
