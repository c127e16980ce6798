//! Kernels that a distribution's mirror or the sources of matrices currently offer, without a lock.

use std::sync::Arc;

use toml::Spanned;

use super::sources::Sources;
use super::waiting::said_what_is_asked;
use super::{Context, ResolveError};
use crate::discover::{
    self, DiscoverError, Discovered, KnownKernels, SharedLists, expand_inline, lock, overlay,
};
use crate::fetch::Fetcher;
use crate::kernel::{Architecture, Kernel, KernelRelease, ParseKernelError, TargetId};
use crate::matrix::{
    KernelSources, Matrix, MirrorSource, Pattern, Selection, Settings, Source, SourceKind,
    TargetEntry, hint_for_target,
};
use crate::target;

/// Which kernels to select from the distribution's mirror.
#[derive(Clone, Copy, Default)]
pub(crate) struct MirrorSelection<'a> {
    /// The suites; if empty, the usual suites.
    pub(crate) suites: &'a [String],
    /// The number of newest kernels of each flavour and suite.
    pub(crate) latest: Option<u32>,
    /// Only this kernel.
    pub(crate) release: Option<&'a KernelRelease>,
}

/// Returns a matrix whose source is the distribution's mirror.
pub(crate) fn sources_of_mirror(
    target: &str,
    architectures: &[Architecture],
    selection: MirrorSelection<'_>,
) -> Result<Sources, ResolveError> {
    let MirrorSelection {
        suites,
        latest,
        release,
    } = selection;
    let name =
        Pattern::for_names(target).map_err(|error| ResolveError::input(error.to_string()))?;
    check_target(target)?;
    let usual = discover::usual_suites(target);
    let mirror = MirrorSource {
        suites: match (usual, suites) {
            ([], _) => Vec::new(),
            (usual, []) => usual.iter().map(ToString::to_string).collect(),
            (_, suites) => suites.to_vec(),
        },
        allows_expired: !usual.is_empty(),
        skips_missing: !usual.is_empty() && suites.is_empty(),
        ..MirrorSource::default()
    };
    let release = release.map(|release| release.as_str().parse::<Pattern>());
    let release = release.transpose();
    let release = release.map_err(|error| ResolveError::input(error.to_string()))?;
    let source = Source {
        kind: SourceKind::Mirror(mirror),
        selection: Selection {
            matches: release.into_iter().collect(),
            latest,
            ..Selection::default()
        },
    };
    let mut architectures = architectures.to_vec();
    architectures.sort();
    let entry = TargetEntry {
        label: target.to_owned(),
        name: Spanned::new(0..0, name),
        kernels: Spanned::new(
            0..0,
            KernelSources {
                inline: Vec::new(),
                sources: vec![Spanned::new(0..0, source)],
            },
        ),
        settings: Settings::default(),
        drivers: Vec::new(),
        architectures: architectures.clone(),
        artifacts: Vec::new(),
    };
    Ok(Sources {
        matrices: vec![Matrix::of_entry(entry)],
    })
}

/// Returns an error for an unknown target.
fn check_target(target: &str) -> Result<(), ResolveError> {
    let id: TargetId = target
        .parse()
        .map_err(|error: ParseKernelError| ResolveError::input(error.to_string()))?;
    if target::find(&id).is_some() {
        return Ok(());
    }
    Err(ResolveError::Input {
        message: format!("unknown target `{target}`"),
        help: Some(
            hint_for_target(target)
                .unwrap_or_else(|| format!("known targets: {}", target::known_ids().join(", "))),
        ),
    })
}

/// Returns the kernels that the sources name for a target.
pub(crate) fn discover_all(
    sources: &Sources,
    target: &str,
    context: &Context,
    fetcher: &Fetcher,
    runtime: &tokio::runtime::Runtime,
    progress: &dyn Fn(&str),
) -> Result<Vec<Kernel>, ResolveError> {
    let asked = discover::Context {
        mirrors: &context.mirrors,
        fetcher: Some(fetcher),
        lists: &SharedLists::default(),
        known: &KnownKernels::default(),
        first_seen: &|_| lock::today(),
        progress,
    };
    let mut all = Vec::new();
    let mut is_named = false;
    for matrix in &sources.matrices {
        for entry in &matrix.targets {
            let name = entry.name.get_ref();
            let is_literal = name.as_str() == target;
            if !is_literal && !name.matches_name(target) {
                continue;
            }
            is_named = true;
            let inline = &entry.kernels.get_ref().inline;
            if !inline.is_empty() {
                let written =
                    expand_inline(matrix, entry, inline).map_err(ResolveError::Diagnostics)?;
                let kernels = written.kernels.into_iter();
                all.push(kernels.map(|(kernel, _)| kernel).collect());
            }
            let asked = discover::discover(entry, asked);
            let found = said_what_is_asked(context, fetcher.activity(), asked);
            all.push(taken(runtime.block_on(found), matrix, entry, progress)?);
        }
    }
    if !is_named {
        return Err(ResolveError::input(format!(
            "no [[target]] of these matrices is for `{target}`"
        )));
    }
    let mut kernels = overlay(all);
    kernels.retain(|kernel| kernel.target.as_str() == target);
    Ok(kernels.into_iter().map(Arc::unwrap_or_clone).collect())
}

/// Returns the kernels that a source found, and prints its notices.
fn taken(
    found: Result<Discovered, DiscoverError>,
    matrix: &Matrix,
    entry: &TargetEntry,
    progress: &dyn Fn(&str),
) -> Result<Vec<Arc<Kernel>>, ResolveError> {
    match found {
        Ok(discovered) => {
            for notice in &discovered.notices {
                progress(notice);
            }
            Ok(discovered.kernels)
        }
        Err(error) if error.is_bad_input() && matrix.file.text.is_empty() => {
            Err(ResolveError::input(error.to_string()))
        }
        Err(error) if error.is_bad_input() => {
            Err(ResolveError::Diagnostics(error.diagnostics(matrix, entry)))
        }
        Err(error) => Err(ResolveError::infrastructure(error.to_string())),
    }
}
