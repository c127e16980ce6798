//! Discovery: which kernels there are, and from which packages their header trees are made.
//!
//! In: a `[[target]]` of a matrix. Out: [`Discovered`] kernels. A source is one function in one file; what it finds
//! is kept in the [`lock`] beside the matrix. Nothing here knows drivers or builds.

mod crawler;
mod debian_index;
mod inline;
pub mod lock;
pub mod mirror;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use crate::diagnostic::Diagnostic;
use crate::digest::Sha256;
use crate::fetch::Fetcher;
use crate::fs::FileError;
use crate::kernel::Kernel;
use crate::matrix::{KernelSource, Matrix, MirrorSource, TargetEntry};

pub use inline::{InlineKernels, expand_inline};

/// The usual base addresses of distributions, by the names under which others are given at run time. Locks hold
/// these, so that they read the same wherever they were made; downloads are rewritten.
pub const DEFAULT_MIRRORS: &[(&str, &str)] = &[
    ("debian", "http://ftp.debian.org/debian"),
    (
        "debian-security",
        "http://security.debian.org/debian-security",
    ),
];

/// What sources need beside the matrix.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Base addresses given at run time, by the name of the distribution.
    pub mirrors: &'a BTreeMap<String, String>,
    /// Downloads, for sources that need them (see [`needs_fetcher`]).
    pub fetcher: Option<&'a Fetcher>,
}

/// What a source gave.
#[derive(Debug, Default)]
pub struct Discovered {
    /// The kernels, in any order.
    pub kernels: Vec<Kernel>,
    /// The content of each kernel configuration, by its digest.
    pub configs: BTreeMap<Sha256, Vec<u8>>,
    /// What a person should know: entries that were skipped, and why.
    pub notices: Vec<String>,
}

/// Why a source gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// A list could not be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A list is not in the format that it should be.
    #[error("{} is no kernel list: {message}", path.display())]
    Format {
        /// The list.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The source cannot do what the matrix asks; trying again changes nothing.
    #[error("{message}")]
    Unsupported {
        /// What it cannot do, and what can be done.
        message: String,
    },
    /// A mirror could not be read.
    #[error(transparent)]
    Mirror(#[from] mirror::DiscoverMirrorError),
}

impl DiscoverError {
    /// Whether the matrix or its files are at fault, rather than a server.
    pub fn is_bad_input(&self) -> bool {
        !matches!(self, Self::Mirror(error) if error.is_transient())
    }

    /// The value in the matrix that led to it: the path of a list, or all of `kernels`.
    fn span(&self, entry: &TargetEntry) -> std::ops::Range<usize> {
        let path = match self {
            Self::File(error) => Some(&error.path),
            Self::Format { path, .. } => Some(path),
            _ => None,
        };
        if let (KernelSource::Crawler(source), Some(path)) = (entry.kernels.get_ref(), path) {
            let mut lists = source.paths.iter();
            if let Some((_, written)) =
                lists.find(|(_, written)| source.folder.join(written.get_ref()) == **path)
            {
                return written.span();
            }
        }
        entry.kernels.span()
    }

    /// The error as a message at the place that led to it.
    pub fn diagnostic(&self, matrix: &Matrix, entry: &TargetEntry) -> Diagnostic {
        let place = matrix.place(self.span(entry));
        Diagnostic::error(format!("no kernels for `{}`: {self}", entry.name.get_ref()))
            .at(place, "asked for here")
    }
}

/// Asks the source of one `[[target]]`. Inline kernels need no asking: see [`expand_inline`].
pub async fn discover(
    entry: &TargetEntry,
    context: Context<'_>,
) -> Result<Discovered, DiscoverError> {
    match entry.kernels.get_ref() {
        KernelSource::Inline(_) => Ok(Discovered::default()),
        KernelSource::Crawler(source) => crawler::discover(entry, source),
        KernelSource::Mirror(source) => discover_mirror(entry, source, context).await,
    }
}

/// Whether a source downloads anything.
pub fn needs_fetcher(source: &KernelSource) -> bool {
    matches!(source, KernelSource::Mirror(_))
}

async fn discover_mirror(
    entry: &TargetEntry,
    source: &MirrorSource,
    context: Context<'_>,
) -> Result<Discovered, DiscoverError> {
    let unsupported = |message: String| Err(DiscoverError::Unsupported { message });
    let target = entry.name.get_ref().as_str();
    if target != "debian" {
        return unsupported(format!(
            "the mirrors of {target} cannot be read yet, only those of debian; take its kernels from a list"
        ));
    }
    let Some(fetcher) = context.fetcher else {
        return unsupported("a mirror cannot be read without downloads".to_owned());
    };
    let bases = match base_urls(source, context.mirrors) {
        Ok(bases) => bases,
        Err(error) => return unsupported(format!("a mirror's address is wrong: {error}")),
    };
    let urls: Vec<Url> = bases.iter().map(|base| base.url.clone()).collect();
    let (suites, flavours) = (&source.suites, &source.flavours);
    let found = mirror::discover(fetcher, &urls, suites, &entry.architectures, flavours).await?;
    let takes = |kernel: &Kernel| source.selection.takes(&kernel.release);
    let mut kernels = mirror::newest(found.kernels, source.selection.latest, takes);
    for package in kernels.iter_mut().flat_map(|kernel| &mut kernel.packages) {
        if let Some(url) = bases
            .iter()
            .find_map(|base| base.usual_address(&package.url))
        {
            package.url = url;
        }
    }
    Ok(Discovered {
        kernels,
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

/// The matrix's own address; else those that are given at run time, and no others; else the usual ones.
fn base_urls(
    source: &MirrorSource,
    mirrors: &BTreeMap<String, String>,
) -> Result<Vec<Base>, url::ParseError> {
    let base = |url: &str, usual: &str| {
        let (url, usual) = (url.parse()?, usual.trim_end_matches('/').to_owned());
        Ok(Base { url, usual })
    };
    if let Some(url) = &source.url {
        return Ok(vec![base(url, url)?]);
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
