//! The header packages of a kernel for which the user names none and no rule computes the URLs, as for Debian: they are
//! looked up on the distribution's mirror and cached, so that the same build does not query the mirror again.

use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Sha256;
use crate::event::BuildReport;
use crate::failure::FailureClass;
use crate::fetch::{Fetcher, Settings};
use crate::fs;
use crate::kernel::{Architecture, Kernel, Package, PackageSet};
use crate::resolve::{
    Context, MirrorSelection, ResolveError, discover_all, open_store, runtime, sources_of_mirror,
};
use crate::target;

/// The directory of the cache that holds the packages found.
const FOLDER: &str = "found";

/// The packages found for a kernel.
pub(super) struct Found {
    /// The kernel with its packages; unchanged if none were found or none are missing.
    pub(super) kernel: Kernel,
    /// The file that caches the packages.
    record: Option<PathBuf>,
}

impl Found {
    /// Removes the cached packages if the build shows that they do not exist, have changed or do not fit; the mirror
    /// may have newer ones by now.
    pub(super) fn learn_from(&self, report: &BuildReport) {
        let is_stale = |class| {
            matches!(
                class,
                FailureClass::HeadersNotFound | FailureClass::Checksum | FailureClass::WrongHeaders
            )
        };
        let mut failures = report.artifacts.iter().flat_map(|one| &one.failure);
        if let Some(record) = &self.record
            && failures.any(|failure| is_stale(failure.class))
        {
            // If the file cannot be removed, the next build tries the cached packages again, with the same result.
            drop(fs::remove_file(record));
        }
    }
}

/// Adds the packages of a kernel for which none are given.
pub(super) fn with_packages(
    context: &Context,
    kernel: &Kernel,
    settings: Settings,
) -> Result<Found, ResolveError> {
    let mut found = Found {
        kernel: kernel.clone(),
        record: None,
    };
    if !is_to_be_asked(kernel) {
        return Ok(found);
    }
    let name = Sha256::of(kernel.id().to_string());
    let record = context.cache.join(FOLDER).join(format!("{name}.json"));
    let known = std::fs::read(&record).ok();
    let known = known.and_then(|bytes| serde_json::from_slice::<PackageSet>(&bytes).ok());
    if let Some(packages) = known {
        found.kernel.packages = packages;
    } else if let Some(packages) = ask(context, kernel, settings)? {
        let text = serde_json::to_vec(&packages)
            .map_err(|error| fs::FileError::of("write", &record)(error.into()))?;
        fs::write(&record, text)?;
        found.kernel.packages = packages;
    }
    found.record = Some(record);
    Ok(found)
}

/// Whether a kernel has no known packages and its mirror may have them.
fn is_to_be_asked(kernel: &Kernel) -> bool {
    let Some(target) = target::find(&kernel.target) else {
        return false;
    };
    let is_computed = target
        .header_packages(kernel, Architecture::of_host())
        .is_ok();
    kernel.packages.is_empty() && !is_computed && target.upstream_list(kernel).is_none()
}

/// Returns the mirror's packages for the kernel; the newest if it has several of that name.
fn ask(
    context: &Context,
    kernel: &Kernel,
    settings: Settings,
) -> Result<Option<PackageSet>, ResolveError> {
    let target = kernel.target.as_str();
    let sources = sources_of_mirror(target, &[kernel.architecture], MirrorSelection::default())?;
    let run_id = format!("find-{}", std::process::id());
    let store = Arc::new(open_store(context, &run_id)?);
    context.notice(&format!(
        "asking the mirror of {target} for the packages of {}",
        kernel.release
    ));
    let fetcher = Fetcher::new(store, settings);
    let found = discover_all(&sources, target, context, &fetcher, &runtime()?, &|_| {});
    let kernels = match found {
        Ok(kernels) => kernels,
        // Only the mirror can tell that a kernel has no packages; a network failure must not be taken for that.
        Err(ResolveError::Infrastructure { message, .. }) => {
            return Err(ResolveError::Infrastructure {
                message: format!(
                    "failed to get the packages of {} from the mirror of {target}: {message}",
                    kernel.release
                ),
                help: Some(
                    "name them with `kernelurls`, or name a mirror that can be reached with --mirror"
                        .to_owned(),
                ),
            });
        }
        Err(error) => {
            // The build reports which packages are missing.
            context.notice(&format!("failed to read the mirror: {error}"));
            return Ok(None);
        }
    };
    let newest = kernels
        .into_iter()
        .filter(|one| one.architecture == kernel.architecture && is_meant(one, kernel))
        .max_by(|left, right| left.release.cmp(&right.release));
    Ok(newest.map(|one| one.packages))
}

/// Whether a kernel of the mirror is the requested one: its name in the mirror's list matches, or the release printed
/// by `uname -r`, which is part of the names of Debian's header packages.
fn is_meant(found: &Kernel, asked: &Kernel) -> bool {
    let start = format!("linux-headers-{}_", asked.release);
    let is_named = |package: &Package| package.file_name().starts_with(&start);
    found.release == asked.release || found.packages.iter().any(is_named)
}
