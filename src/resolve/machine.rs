//! Checks that this machine has what a plan needs: compilers, directories and disk space.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::planned::Planned;
use super::sources::Sources;
use super::{Context, ResolveError};
use crate::diagnostic::{Diagnostic, Place};
use crate::kernel::Kernel;
use crate::matrix::{Prove, Settings};
use crate::plan::{Build, BuildSettings};
use crate::recipe::{Refusal, Toolchains};
use crate::report::read_manifest;
use crate::text::{count, size};

/// The maximum size of a kernel's tree, with the trees derived from it, as a multiple of the size of its packages.
const UNPACKED: u64 = 8;

/// Reports compilers and images that a matrix demands and no toolchain provides.
pub(crate) fn check_toolchains(
    planned: &Planned,
    toolchains: &Toolchains,
) -> Result<(), ResolveError> {
    let refusals = refusals(planned, toolchains).into_iter();
    let faults: Vec<Diagnostic> = refusals
        .map(|(refusal, place)| {
            let Refusal { message, help, .. } = refusal;
            demanded_at(Diagnostic::error(message).maybe_help(help), place)
        })
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(ResolveError::Diagnostics(faults))
    }
}

/// Like [`check_toolchains`], but for `plan`, which needs no image: an image that has not been built yet is a warning.
pub(crate) fn check_demands(
    context: &Context,
    planned: &Planned,
    toolchains: &Toolchains,
) -> Result<(), ResolveError> {
    let (mut faults, mut warnings) = (Vec::new(), Vec::new());
    for (refusal, place) in refusals(planned, toolchains) {
        let Refusal {
            message,
            help,
            is_unbuilt,
        } = refusal;
        let (list, diagnostic) = if is_unbuilt {
            (&mut warnings, Diagnostic::warning(message))
        } else {
            (&mut faults, Diagnostic::error(message))
        };
        list.push(demanded_at(diagnostic.maybe_help(help), place));
    }
    context.warn(&warnings);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(ResolveError::Diagnostics(faults))
    }
}

fn demanded_at(diagnostic: Diagnostic, place: Option<Place>) -> Diagnostic {
    match place {
        Some(place) => diagnostic.at(place, "required here"),
        None => diagnostic,
    }
}

/// Returns each demand that cannot be met once, with its place in the matrix.
fn refusals(planned: &Planned, toolchains: &Toolchains) -> Vec<(Refusal, Option<Place>)> {
    let mut seen = HashSet::new();
    let mut refusals = Vec::new();
    let mut messages = HashSet::new();
    for build in &planned.plan.builds {
        let settings = Arc::as_ptr(&build.settings);
        if !seen.insert((settings, build.kernel.architecture, &build.kernel.target)) {
            continue;
        }
        let Some(refusal) = toolchains.refuses(build) else {
            continue;
        };
        if messages.insert(refusal.message.clone()) {
            refusals.push((refusal, demand(&planned.sources, &build.settings)));
        }
    }
    refusals
}

/// Returns an error if modules are to be proved and no kernel can be booted. `over` overrides the matrices.
pub(crate) fn check_proofs(
    planned: &Planned,
    toolchains: &Toolchains,
    over: Option<Prove>,
) -> Result<(), ResolveError> {
    let wanted = |build: &Build| !over.unwrap_or(build.settings.prove).is_none();
    if !planned.plan.builds.iter().any(wanted) {
        return Ok(());
    }
    match toolchains.refuses_proofs() {
        None => Ok(()),
        Some(Refusal { message, help, .. }) => Err(ResolveError::Input { message, help }),
    }
}

/// The place where a matrix demands the compiler or the image of a build.
fn demand(sources: &Sources, wanted: &BuildSettings) -> Option<Place> {
    sources.matrices.iter().find_map(|matrix| {
        let targets = matrix.targets.iter().map(|entry| &entry.settings);
        let overrides = matrix.overrides.iter().map(|one| &one.settings);
        let mut all = overrides.chain(targets).chain([&matrix.defaults]);
        let own = |settings: &Settings| {
            let gcc = settings.gcc_span.clone();
            let gcc = gcc.filter(|_| wanted.gcc.is_some() && settings.gcc == wanted.gcc);
            let image = settings.image_span.clone();
            gcc.or(image.filter(|_| wanted.image.is_some() && settings.image == wanted.image))
        };
        all.find_map(own).map(|span| matrix.place(span))
    })
}

/// Returns an error if the output path is not a directory, or if the directory contains a matrix, which a run must not
/// overwrite.
pub(crate) fn check_out(planned: &Planned, out: &Path) -> Result<(), ResolveError> {
    check_directory(out, "--out")?;
    let whole = |path: &Path| std::fs::canonicalize(path).ok();
    let Some(folder) = whole(out) else {
        return Ok(());
    };
    let holds = |matrix: &&(PathBuf, crate::digest::Sha256)| {
        whole(&matrix.0).is_some_and(|path| path.parent() == Some(&*folder))
    };
    match planned.matrices.iter().find(holds) {
        Some((matrix, _)) => Err(ResolveError::Input {
            message: format!(
                "the output directory {} contains a matrix, {}",
                out.display(),
                matrix.display()
            ),
            help: Some("name a separate directory with --out".to_owned()),
        }),
        None => Ok(()),
    }
}

/// Returns an error if the path given with `flag` cannot be used as a writable directory.
pub(crate) fn check_directory(path: &Path, flag: &str) -> Result<(), ResolveError> {
    let shown = path.display();
    let refuse = |message: String| {
        Err(ResolveError::Input {
            message,
            help: Some(format!("name another directory with {flag}")),
        })
    };
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => refuse(format!("{shown} is a file, not a directory")),
        Ok(_) => match rustix::fs::access(path, rustix::fs::Access::WRITE_OK) {
            Err(rustix::io::Errno::ACCESS) => refuse(format!(
                "no permission to write to {shown}: it belongs to {}",
                owner(path)
            )),
            Err(rustix::io::Errno::ROFS) => {
                refuse(format!("{shown} is on a read-only file system"))
            }
            _ => Ok(()),
        },
        Err(_) if path.is_symlink() => refuse(format!(
            "{shown} is a symbolic link to something that does not exist"
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            refuse(format!("a part of {shown} is a file, not a directory"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            refuse(format!("no permission to use {shown}"))
        }
        Err(_) => Ok(()),
    }
}

fn owner(path: &Path) -> String {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map_or_else(
        |_| "another user".to_owned(),
        |metadata| format!("user {}", metadata.uid()),
    )
}

/// Returns an error if the disks have less free space than the missing builds need, estimated from the sizes of their
/// packages and of the artifacts of earlier runs.
pub(crate) fn check_room(
    planned: &Planned,
    missing: usize,
    cache: &Path,
    out: &Path,
) -> Result<(), ResolveError> {
    let builds = &planned.plan.builds;
    if builds.is_empty() {
        return Ok(());
    }
    let mut seen: HashSet<*const Kernel> = HashSet::new();
    let kernels = builds.iter().map(|build| &build.kernel);
    let packages: u64 = kernels
        .filter(|kernel| seen.insert(Arc::as_ptr(kernel)))
        .flat_map(|kernel| kernel.packages.iter())
        .filter_map(|package| package.size_bytes)
        .sum();
    let artifacts = mean_artifact_bytes(out).saturating_mul(planned.plan.artifact_count() as u64);
    let whole = packages.saturating_mul(UNPACKED).saturating_add(artifacts);
    // An estimate by number is enough: which of the builds are missing does not matter.
    let needed = u128::from(whole) * missing as u128 / builds.len() as u128;
    let Some((folder, free)) = [cache, out]
        .into_iter()
        .filter_map(free_bytes)
        .min_by_key(|one| one.1)
    else {
        return Ok(());
    };
    if u128::from(free) >= needed {
        return Ok(());
    }
    let needed = u64::try_from(needed).unwrap_or(u64::MAX);
    Err(ResolveError::Infrastructure {
        message: format!(
            "{} has {} free, and {} will need about {}",
            folder.display(),
            size(free),
            count(missing, "missing build"),
            size(needed),
        ),
        help: Some(
            "free disk space with `driverkit-matrix cache gc`, or build less at once with --shard, --target or --kernel"
                .to_owned(),
        ),
    })
}

/// The existing ancestor of a path, and the free bytes of its file system.
fn free_bytes(path: &Path) -> Option<(PathBuf, u64)> {
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().find(|one| one.is_dir())?;
    let stat = rustix::fs::statvfs(there).ok()?;
    Some((
        there.to_owned(),
        stat.f_bavail.saturating_mul(stat.f_frsize),
    ))
}

fn mean_artifact_bytes(out: &Path) -> u64 {
    let Ok(manifest) = read_manifest(out) else {
        return 0;
    };
    let artifacts = manifest.builds.iter().flat_map(|build| &build.artifacts);
    let sizes: Vec<u64> = artifacts
        .filter_map(|artifact| artifact.size_bytes)
        .collect();
    sizes
        .iter()
        .sum::<u64>()
        .checked_div(sizes.len() as u64)
        .unwrap_or_default()
}
