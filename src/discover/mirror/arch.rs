//! Finds the kernels of Arch Linux. The archive has a directory for each package; its page links to every version of
//! the package.

use std::collections::BTreeMap;

use super::error::{DiscoverMirrorError, broken};
use super::{known_target, listing};
use crate::discover::listed::{Found, Listed, new_kernel};
use crate::discover::{Context, DiscoverError, select};
use crate::fetch::{FetchError, Fetcher};
use crate::kernel::{Architecture, Kernel, Package, TargetId};
use crate::matrix::{MirrorSource, Selection, TargetEntry};
use crate::target::Target;

/// The target.
const NAME: &str = "arch";

/// The maximum size of a page, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// The archive of one architecture.
struct Archive {
    architecture: Architecture,
    url: &'static str,
    /// Header packages, each with the name of its flavour in a matrix.
    packages: &'static [(&'static str, &'static str)],
}

const ARCHIVES: [Archive; 2] = [
    Archive {
        architecture: Architecture::Amd64,
        url: "https://archive.archlinux.org/packages/l/",
        packages: &[
            ("linux-headers", "plain"),
            ("linux-lts-headers", "lts"),
            ("linux-zen-headers", "zen"),
            ("linux-hardened-headers", "hardened"),
        ],
    },
    Archive {
        architecture: Architecture::Arm64,
        url: "https://alaa.ad24.cz/packages/l/",
        packages: &[("linux-aarch64-headers", "plain")],
    },
];

/// Reads the archives, and returns the kernels that `selection` accepts. If the matrix names archives, each package is
/// read from the first of them that has it.
pub(super) async fn discover(
    entry: &TargetEntry,
    source: &MirrorSource,
    selection: &Selection,
    context: Context<'_>,
) -> Result<Listed, DiscoverError> {
    let (id, target) = known_target(NAME)?;
    let fetcher = context.fetcher()?;
    let mut listed = Listed::default();
    for archive in &ARCHIVES {
        if !entry.architectures.contains(&archive.architecture) {
            continue;
        }
        let named = source.urls.iter().map(String::as_str);
        let mut urls: Vec<&str> = named.collect();
        if urls.is_empty() {
            urls.push(archive.url);
        }
        for (package, flavour) in archive.packages {
            if !source.flavours.is_empty() && !source.flavours.iter().any(|one| one == flavour) {
                continue;
            }
            let (folder, page) = read_first(fetcher, &urls, package, context).await?;
            let kernels = read_page(&folder, &page, package, archive.architecture, target, &id)?;
            listed.notices.extend(kernels.notices);
            listed.found.extend(kernels.found);
        }
    }
    select::apply(entry, selection, &mut listed.found, context.first_seen);
    Ok(listed)
}

/// Returns the URL of a package's directory in the first archive that has it, and the page of the directory.
async fn read_first(
    fetcher: &Fetcher,
    urls: &[&str],
    package: &str,
    context: Context<'_>,
) -> Result<(String, Vec<u8>), DiscoverMirrorError> {
    let mut error = FetchError { tried: Vec::new() };
    for url in urls {
        let folder = format!("{}/{package}/", url.trim_end_matches('/'));
        (context.progress)(&format!("{NAME}: reading {folder}"));
        match fetcher.get_index(&folder, MOST_BYTES).await {
            Ok(page) => return Ok((folder, page)),
            Err(failed) => {
                let is_absent = failed.is_not_there();
                error.tried.extend(failed.tried);
                if !is_absent {
                    break;
                }
            }
        }
    }
    Err(DiscoverMirrorError::Repository {
        url: format!("{package}/"),
        cause: error,
    })
}

/// Returns the kernels on a package's page.
fn read_page(
    folder: &str,
    page: &[u8],
    package: &str,
    architecture: Architecture,
    target: &dyn Target,
    id: &TargetId,
) -> Result<Listed, DiscoverMirrorError> {
    let mut listed = Listed::default();
    // The file of each version. If a version exists in both compressions, `zst` replaces `xz`.
    let mut versions: BTreeMap<String, String> = BTreeMap::new();
    for file in listing::names(page) {
        let version = ["xz", "zst"].iter().find_map(|end| {
            file.strip_prefix(package)?
                .strip_prefix('-')?
                .strip_suffix(&format!("-{}.pkg.tar.{end}", architecture.machine()))
        });
        if let Some(version) = version {
            versions.insert(version.to_owned(), file);
        }
    }
    if versions.is_empty() {
        return Err(broken(folder, format!("its page has no link to {package}")));
    }
    let mut foreign = Vec::new();
    for (version, file) in versions {
        let Ok(release) = version.parse() else {
            foreign.push(version);
            continue;
        };
        let mut kernel = new_kernel(id.clone(), release, architecture, "mirror".into());
        // Releases of the first years do not show which package they belong to.
        if !is_computed(target, &kernel, &file) {
            foreign.push(version);
            continue;
        }
        kernel
            .packages
            .insert(Package::at(format!("{folder}{file}")));
        listed.found.push(Found {
            kernel: kernel.into(),
            published: None,
            position: 0,
        });
    }
    if let Some(first) = foreign.first() {
        listed.notices.push(format!(
            "{folder}: {} skipped because the version does not show that it belongs to {package}, such as {first}",
            foreign.len()
        ));
    }
    Ok(listed)
}

/// Whether the name of the file can be computed from the kernel.
fn is_computed(target: &dyn Target, kernel: &Kernel, file: &str) -> bool {
    target
        .check_release(&kernel.release, kernel.architecture)
        .and_then(|()| target.header_packages(kernel, kernel.architecture))
        .is_ok_and(|wanted| {
            let mut candidates = wanted.iter().flat_map(|package| &package.candidates);
            candidates.any(|url| crate::kernel::file_name(url) == file)
        })
}
