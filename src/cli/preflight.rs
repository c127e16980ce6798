//! What can be known to be wrong before the first build: said once, with its place in the matrix.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::output::count;
use super::sources::Sources;
use super::{CliError, Planned};
use crate::diagnostic::{Diagnostic, Place};
use crate::driver::{Driver, DriverLocation};
use crate::kernel::Kernel;
use crate::matrix::{Matrix, Settings};
use crate::plan::{BuildSettings, Plan, lacks_configuration};
use crate::recipe::{Refusal, Toolchains};
use crate::report::read_manifest;
use crate::source;

/// How many times as large as its packages a kernel's tree is, at most, with the trees that are made of it.
const UNPACKED: u64 = 8;

/// The faults of a plan that its matrices alone show: driver sources that are not there, kernels that cannot be made without
/// a configuration.
pub(super) fn check_plan(sources: &Sources, plan: &Plan) -> Vec<Diagnostic> {
    let mut faults = check_drivers(sources, plan);
    faults.extend(check_configurations(sources, plan));
    faults
}

fn check_drivers(sources: &Sources, plan: &Plan) -> Vec<Diagnostic> {
    let mut seen: HashSet<*const Driver> = HashSet::new();
    let mut faults = Vec::new();
    for build in &plan.builds {
        if !seen.insert(Arc::as_ptr(&build.driver)) {
            continue;
        }
        let driver = &build.driver;
        let Some(message) = fault_of(driver) else {
            continue;
        };
        let place = sources.matrices.iter().find_map(|matrix| {
            let mut drivers = matrix.drivers.iter();
            let own = drivers.find(|one| one.get_ref() == driver)?;
            Some(driver_place(matrix, driver, own.span()))
        });
        let fault = Diagnostic::error(format!("driver {}: {message}", driver.version))
            .help("paths start at the directory of the matrix");
        faults.push(match place {
            Some(place) => fault.at(place, ""),
            None => fault,
        });
    }
    faults
}

/// Where a driver's sources are written, else its version.
fn driver_place(matrix: &Matrix, driver: &Driver, version: std::ops::Range<usize>) -> Place {
    let span = matrix.driver_sources.get(&driver.version).cloned();
    matrix.place(span.unwrap_or(version))
}

/// Why the sources of a driver cannot be had, where that can be seen without a network.
fn fault_of(driver: &Driver) -> Option<String> {
    match &driver.location {
        DriverLocation::Url(url) => {
            let path = url.strip_prefix("file://")?;
            missing(Path::new(path))
        }
        DriverLocation::Path(path) => missing(path),
        DriverLocation::Git {
            repository,
            reference,
        } => missing(repository).or_else(|| {
            let resolved = source::resolve(repository, reference);
            resolved.err().map(|error| error.to_string())
        }),
    }
}

fn missing(path: &Path) -> Option<String> {
    match std::fs::metadata(path) {
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Some(format!("{} does not exist", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Some(format!("no permission to read {}", path.display()))
        }
        Err(error) => Some(format!("{} cannot be read: {error}", path.display())),
    }
}

/// Kernels that the matrix itself names, that are made of a kernel source, and whose configuration nobody knows.
fn check_configurations(sources: &Sources, plan: &Plan) -> Vec<Diagnostic> {
    let mut seen: HashSet<*const Kernel> = HashSet::new();
    let mut faults = Vec::new();
    for build in &plan.builds {
        let kernel = &build.kernel;
        let is_inline = &*kernel.source == "inline" && kernel.config_sha256.is_none();
        if !is_inline || !seen.insert(Arc::as_ptr(kernel)) {
            continue;
        }
        if !lacks_configuration(kernel) {
            continue;
        }
        let place = sources.matrices.iter().find_map(|matrix| {
            let mut entries = matrix.targets.iter();
            let of_kernel = |release: &str| release == kernel.release.as_str();
            entries.find_map(|entry| {
                let names_it = entry.name.get_ref().matches_name(kernel.target.as_str());
                let mut inline = entry.kernels.get_ref().inline.iter();
                let own = inline.find(|one| of_kernel(one.get_ref().release.as_str()));
                own.filter(|_| names_it).map(|one| matrix.place(one.span()))
            })
        });
        let fault = Diagnostic::error(format!(
            "{kernel} is made from a kernel source, and its configuration is not known"
        ))
        .help(
            "write `config = \"FILE\"` beside its release, with the content of /proc/config.gz or /boot/config-* of such a \
             machine",
        );
        faults.push(match place {
            Some(place) => fault.at(place, ""),
            None => fault,
        });
    }
    faults
}

/// The faults that show once it is known which compilers there are: what a matrix demands and nobody has.
pub(super) fn check_toolchains(planned: &Planned, toolchains: &Toolchains) -> Result<(), CliError> {
    let mut seen = HashSet::new();
    let mut faults = Vec::new();
    let mut messages = HashSet::new();
    for build in &planned.plan.builds {
        let settings = Arc::as_ptr(&build.settings);
        if !seen.insert((settings, build.kernel.architecture, &build.kernel.target)) {
            continue;
        }
        let Some(Refusal { message, help }) = toolchains.refuses(build) else {
            continue;
        };
        if !messages.insert(message.clone()) {
            continue;
        }
        let fault = Diagnostic::error(message).maybe_help(help);
        faults.push(match demand(&planned.sources, &build.settings) {
            Some(place) => fault.at(place, "demanded here"),
            None => fault,
        });
    }
    if faults.is_empty() {
        Ok(())
    } else {
        Err(CliError::Diagnostics(faults))
    }
}

/// Where a matrix demands the compiler or the image of a build.
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

/// Refuses an output directory that is none, or that holds what a run must not write to.
pub(super) fn check_out(planned: &Planned, out: &Path) -> Result<(), CliError> {
    check_directory(out, "--out")?;
    let whole = |path: &Path| std::fs::canonicalize(path).ok();
    let Some(folder) = whole(out) else {
        return Ok(());
    };
    let holds = |matrix: &&(PathBuf, crate::digest::Sha256)| {
        whole(&matrix.0).is_some_and(|path| path.parent() == Some(&*folder))
    };
    match planned.matrices.iter().find(holds) {
        Some((matrix, _)) => Err(CliError::Input {
            message: format!(
                "the output directory {} holds a matrix, {}",
                out.display(),
                matrix.display()
            ),
            help: Some("name a directory of its own with --out".to_owned()),
        }),
        None => Ok(()),
    }
}

/// Refuses a path of a flag that cannot be a directory of ours.
pub(super) fn check_directory(path: &Path, flag: &str) -> Result<(), CliError> {
    let shown = path.display();
    let refuse = |message: String| {
        Err(CliError::Input {
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

/// Refuses a run for which the disks have less room than the missing builds will need, by the sizes of their packages and
/// those of earlier runs' artifacts.
pub(super) fn check_room(
    planned: &Planned,
    missing: usize,
    cache: &Path,
    out: &Path,
) -> Result<(), CliError> {
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
    // Which of them are missing is not worth knowing.
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
    let megabytes = |bytes: u128| bytes / 1_000_000;
    Err(CliError::Infrastructure {
        message: format!(
            "{} has {} MB free, and {} will need about {} MB",
            folder.display(),
            megabytes(u128::from(free)),
            count(missing, "missing build"),
            megabytes(needed),
        ),
        help: Some(
            "free some with `driverkit-matrix cache gc`, or build less at once with --shard, --target or --kernel"
                .to_owned(),
        ),
    })
}

/// The free bytes of the file system that a directory is, or will be, on.
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
