//! Checks of a plan before the first build; each error is reported once, with its place in the matrix.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::sources::Sources;
use crate::diagnostic::{Diagnostic, Place};
use crate::driver::{Driver, DriverLocation};
use crate::fs::in_words;
use crate::kernel::Kernel;
use crate::matrix::Matrix;
use crate::plan::{Plan, lacks_configuration};
use crate::source;

/// Returns the errors of a plan that can be found from its matrices alone: missing driver sources and kernels whose
/// sources cannot be prepared without a configuration.
pub(crate) fn check_plan(sources: &Sources, plan: &Plan) -> Vec<Diagnostic> {
    let mut faults = check_drivers(sources, plan);
    faults.extend(check_configurations(sources, plan));
    faults
}

fn check_drivers(sources: &Sources, plan: &Plan) -> Vec<Diagnostic> {
    let mut seen: HashSet<*const Driver, RandomState> = HashSet::default();
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

/// The place of a driver's sources in the matrix, or of its version if the matrix names no sources.
fn driver_place(matrix: &Matrix, driver: &Driver, version: std::ops::Range<usize>) -> Place {
    let span = matrix.driver_sources.get(&driver.version).cloned();
    matrix.place(span.unwrap_or(version))
}

/// Returns why the sources of a driver are unavailable, as far as that can be checked without network access.
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
        Err(error) => Some(format!(
            "{} cannot be read: {}",
            path.display(),
            in_words(&error)
        )),
    }
}

/// Reports kernels that the matrix itself names, that are built from a kernel source and whose configuration is
/// unknown.
fn check_configurations(sources: &Sources, plan: &Plan) -> Vec<Diagnostic> {
    let mut entries = sources.matrices.iter().flat_map(|matrix| &matrix.targets);
    if entries.all(|entry| entry.kernels.get_ref().inline.is_empty()) {
        return Vec::new();
    }
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
            "write `config = \"FILE\"` beside its release, with the content of /proc/config.gz or /boot/config-* of a machine \
             with this kernel",
        );
        faults.push(match place {
            Some(place) => fault.at(place, ""),
            None => fault,
        });
    }
    faults
}
