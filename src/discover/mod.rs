//! Discovery: finds kernels and the header packages that belong to them.
//!
//! Input: a `[[target]]` of a matrix. Output: [`Discovered`] kernels. Each source is one function in one file. The
//! kernels that it finds are kept in the [`lock`] beside the matrix. This module knows nothing about drivers or builds.

mod context;
mod crawler;
mod decode;
mod driverkit;
mod error;
mod inline;
mod known;
mod listed;
mod lists;
pub mod lock;
pub mod mirror;
mod overlay;
mod select;
mod shared;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;

use crate::digest::Sha256;
use crate::fs::{self, blocking};
use crate::kernel::{Architecture, Kernel};
use crate::matrix::{KernelSources, ListPlace, Source, SourceKind, TargetEntry};

use listed::Listed;

pub use context::Context;
pub use error::DiscoverError;
pub use inline::{InlineKernels, expand_inline};
pub use known::KnownKernels;
pub use mirror::{DEFAULT_MIRRORS, usual_suites};
pub use overlay::overlay;
pub use shared::SharedLists;

/// The result of reading the sources of a `[[target]]`.
#[derive(Debug, Default)]
pub struct Discovered {
    /// The kernels, in any order. A kernel that is unchanged since the lock can be the lock's own object.
    pub kernels: Vec<Arc<Kernel>>,
    /// The content of each kernel configuration, by its digest.
    pub configs: BTreeMap<Sha256, Vec<u8>>,
    /// Messages for the user, such as the number of skipped entries and the reasons.
    pub notices: Vec<String>,
    /// Every skipped entry of a list: the list, the entry and the reason.
    pub skipped: Vec<String>,
}

/// Reads the sources of one `[[target]]`. For inline kernels see [`expand_inline`].
pub async fn discover(
    entry: &TargetEntry,
    context: Context<'_>,
) -> Result<Discovered, DiscoverError> {
    let (discovered, failures) = discover_each(entry, context).await;
    match failures.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(discovered),
    }
}

/// Reads the sources of one `[[target]]` independently: returns the kernels of the sources that could be read, and an
/// error for each of the others.
pub async fn discover_each(
    entry: &TargetEntry,
    context: Context<'_>,
) -> (Discovered, Vec<DiscoverError>) {
    let mut discovered = Discovered::default();
    let mut kernels = Vec::new();
    let mut failures = Vec::new();
    let sources = entry.kernels.get_ref();
    for (source, name) in sources.sources.iter().zip(sources.names()) {
        match ask(entry, source, context).await {
            Ok(listed) => {
                discovered.notices.extend(listed.notices);
                discovered.skipped.extend(listed.skipped);
                discovered.configs.extend(listed.configs);
                let is_numbered = *name != *source.get_ref().kind.name();
                let found = listed.found.into_iter().map(|one| {
                    let mut kernel = one.kernel;
                    if is_numbered {
                        Arc::make_mut(&mut kernel).source = Arc::clone(&name);
                    }
                    kernel
                });
                kernels.push(found.collect());
            }
            Err(error) => failures.push(error),
        }
    }
    discovered.kernels = overlay(kernels);
    (discovered, failures)
}

/// Reads one source, and returns the kernels that its selection accepts.
async fn ask(
    entry: &TargetEntry,
    source: &Spanned<Source>,
    context: Context<'_>,
) -> Result<Listed, DiscoverError> {
    let Source { kind, selection } = source.get_ref();
    let mut listed = match kind {
        SourceKind::Crawler(places) => {
            let mut lists = Vec::new();
            for (architecture, place) in places {
                if entry.architectures.contains(architecture) {
                    let (list, said) = crawler_list(*architecture, place, context).await?;
                    lists.push(said);
                    lists.push(select::from_shared(
                        entry,
                        selection,
                        list,
                        context.first_seen,
                    ));
                }
            }
            lists::join(lists)
        }
        SourceKind::Driverkit { place, outputs } => {
            let place_ref = place.get_ref();
            if place_ref.is_remote() {
                return Err(DiscoverError::unsupported(
                    "a directory of YAML files must be local, got a URL",
                ));
            }
            driverkit::read(&place_ref.path(), outputs.as_deref())
                .map_err(|error| error.at(place.span()))?
        }
        SourceKind::Csv(place) | SourceKind::Text(place) => {
            let text = read_place(place, context).await?;
            let read = match kind {
                SourceKind::Csv(_) => table::read_csv,
                _ => table::read_text,
            };
            read(place.get_ref(), text, entry).map_err(|error| error.at(place.span()))?
        }
        SourceKind::Mirror(mirror) => {
            // Mirrors apply the selection themselves: for archives of apt, `latest` counts for each suite.
            let mut listed = mirror::discover(entry, mirror, selection, context)
                .await
                .map_err(|error| error.at(source.span()))?;
            let name = format!("the mirror of `{}`", entry.name.get_ref());
            lists::merge_repeated(&name, &mut listed, None);
            return Ok(listed);
        }
    };
    select::apply(entry, selection, &mut listed.found, context.first_seen);
    lists::drop_unused(&mut listed.configs, &listed.found);
    Ok(listed)
}

/// Returns a list in kernel-crawler's format, which is read once for all entries. The second value contains the
/// messages about the list; only the caller that reads the list gets them.
async fn crawler_list(
    architecture: Architecture,
    place: &Spanned<ListPlace>,
    context: Context<'_>,
) -> Result<(Arc<Listed>, Listed), DiscoverError> {
    let list = place.get_ref();
    // Several entries may ask for the list at the same time.
    let turn = context.lists.turn(architecture, list);
    let _turn = turn.lock().await;
    if let Some(known) = context.lists.find(architecture, list) {
        return Ok((known, Listed::default()));
    }
    if let Some(cause) = context.lists.failed(architecture, list) {
        return Err(DiscoverError::Fetch { cause }.at(place.span()));
    }
    let text = match read_place(place, context).await {
        Ok(text) => text,
        Err(error) => {
            context.lists.fail(architecture, list, &error);
            return Err(error);
        }
    };
    let read = crawler::read(&list.written, &text, architecture, context.known);
    let mut read = read.map_err(|error| error.at(place.span()))?;
    let said = Listed {
        notices: std::mem::take(&mut read.notices),
        skipped: std::mem::take(&mut read.skipped),
        ..Listed::default()
    };
    Ok((context.lists.keep(architecture, list, read), said))
}

/// Reads a list from a server or from this machine.
async fn read_place(
    place: &Spanned<ListPlace>,
    context: Context<'_>,
) -> Result<String, DiscoverError> {
    let at = |error: DiscoverError| error.at(place.span());
    let list = place.get_ref();
    let bytes = if list.is_remote() {
        let fetcher = context.fetcher()?;
        (context.progress)(&format!("reading {}", list.written));
        fetcher
            .get_index(&list.written, decode::MOST_BYTES)
            .await
            .map_err(|source| at(DiscoverError::Fetch { cause: source }))?
    } else {
        let path = list.path();
        let read = blocking(move || fs::read(&path)).await;
        read.map_err(|error| at(error.into()))?
    };
    decode::text(&list.written, bytes).map_err(at)
}

/// Whether any of the sources downloads anything.
pub fn needs_fetcher(kernels: &KernelSources) -> bool {
    let mut sources = kernels.sources.iter().map(Spanned::get_ref);
    sources.any(|source| match &source.kind {
        SourceKind::Mirror(_) => true,
        SourceKind::Crawler(lists) => lists.iter().any(|(_, place)| place.get_ref().is_remote()),
        SourceKind::Csv(place) | SourceKind::Text(place) => place.get_ref().is_remote(),
        SourceKind::Driverkit { .. } => false,
    })
}
