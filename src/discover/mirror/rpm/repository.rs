//! Reads the kernels of one repository from its index or directory page.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use url::Url;

use super::super::error::{DiscoverMirrorError, broken, wrong_digest};
use super::super::listing;
use super::index::{self, IndexFile, RpmPackage};
use crate::discover::decode;
use crate::discover::listed::{Found, Listed, new_kernel};
use crate::fetch::{ContentKind, FetchError, Fetcher, Request};
use crate::fs::blocking;
use crate::kernel::{Architecture, Package, PackageSet, TargetId};
use crate::target::{self, RpmIndex, RpmName, kernel_package_names};

/// The maximum size of an index, in bytes.
const MOST_BYTES: u64 = 512 << 20;

/// The target and architecture of a repository.
#[derive(Clone, Copy)]
pub(in crate::discover::mirror) struct Asked<'a> {
    pub(in crate::discover::mirror) target: &'a TargetId,
    pub(in crate::discover::mirror) index: &'a RpmIndex,
    pub(in crate::discover::mirror) architecture: Architecture,
}

/// The kernels of a repository.
#[derive(Debug, Default)]
pub(in crate::discover::mirror) struct Repository {
    pub(in crate::discover::mirror) listed: Listed,
    /// The names of packages that look like kernel headers, but whose kernel the target cannot determine.
    pub(in crate::discover::mirror) passed_over: BTreeSet<String>,
}

/// Reads one repository for one architecture. `url` may contain `$arch` or `$basearch`.
pub(in crate::discover::mirror) async fn discover(
    fetcher: &Fetcher,
    asked: Asked<'_>,
    url: &str,
) -> Result<Repository, DiscoverMirrorError> {
    let machine = asked.architecture.machine();
    let address = |url: &str| {
        let url = url.replace("$basearch", machine).replace("$arch", machine);
        format!("{}/", url.trim_end_matches('/'))
    };
    let base = if url.ends_with("/mirror.list") {
        let url = address(url);
        let list = url.trim_end_matches('/');
        let text = get(fetcher, list).await?;
        let first =
            first_address(&text).ok_or_else(|| broken(list, "it does not contain a URL"))?;
        address(&first)
    } else {
        address(url)
    };
    let repomd = format!("{base}repodata/repomd.xml");
    let packages = match fetcher.get_index(&repomd, MOST_BYTES).await {
        Ok(bytes) => {
            let files = parse(&repomd, bytes, move |bytes| index::read_repomd(&bytes)).await?;
            read_index(fetcher, &base, &repomd, files).await?
        }
        Err(error) if error.is_not_there() => read_page(fetcher, &base).await?,
        Err(source) => return Err(fetch_error(&repomd, source)),
    };
    Ok(kernels(asked, &base, packages))
}

pub(super) fn fetch_error(url: &str, source: FetchError) -> DiscoverMirrorError {
    wrong_digest(url, &source).unwrap_or_else(|| DiscoverMirrorError::Repository {
        url: url.to_owned(),
        cause: source,
    })
}

async fn get(fetcher: &Fetcher, url: &str) -> Result<Vec<u8>, DiscoverMirrorError> {
    let result = fetcher.get_index(url, MOST_BYTES).await;
    result.map_err(|source| fetch_error(url, source))
}

/// Parses `bytes` on a separate thread. Returns an error if they are a web page.
async fn parse<T: Send + 'static>(
    url: &str,
    bytes: Vec<u8>,
    read: impl FnOnce(Vec<u8>) -> Result<T, String> + Send + 'static,
) -> Result<T, DiscoverMirrorError> {
    if decode::is_web_page(&bytes) {
        return Err(broken(url, "it is a web page"));
    }
    let read = blocking(move || read(bytes)).await;
    read.map_err(|message| broken(url, message))
}

/// Returns the first URL of a `mirror.list`.
fn first_address(text: &[u8]) -> Option<String> {
    let text = str::from_utf8(text).ok()?;
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'))?;
    Url::parse(first).ok().map(|_| first.to_owned())
}

async fn read_index(
    fetcher: &Fetcher,
    base: &str,
    repomd: &str,
    files: Vec<IndexFile>,
) -> Result<Vec<RpmPackage>, DiscoverMirrorError> {
    let of_kind = |kind: &str| files.iter().find(|file| file.kind == kind).cloned();
    let (file, is_database) = match (of_kind("primary"), of_kind("primary_db")) {
        (Some(file), _) => (file, false),
        (None, Some(file)) => (file, true),
        (None, None) => return Err(broken(repomd, "it lists no primary index")),
    };
    let url = join(base, &file.path)
        .ok_or_else(|| broken(repomd, "the path of its primary index is invalid"))?;
    let bytes = if file.sha256.is_some() {
        let request = Request {
            candidates: vec![url.as_str().into()],
            sha256: file.sha256,
            size_bytes: file.size_bytes,
            kind: ContentKind::Any,
        };
        let fetched = fetcher.fetch_bytes(&request).await;
        fetched.map_err(|source| fetch_error(&url, source))?
    } else {
        get(fetcher, &url).await?
    };
    let path = file.path;
    parse(&url, bytes, move |bytes| {
        let is_wanted =
            |name: &str| RpmIndex::is_header_name(name) || RpmIndex::is_image_name(name);
        if is_database {
            index::read_database(&path, &bytes, is_wanted)
        } else {
            index::read_primary(&path, &bytes, is_wanted)
        }
    })
    .await
}

/// Returns the packages that a directory page links to. Version and architecture are parsed from the file names.
async fn read_page(fetcher: &Fetcher, base: &str) -> Result<Vec<RpmPackage>, DiscoverMirrorError> {
    let page = get(fetcher, base).await?;
    let names = listing::names(&page);
    let packages: Vec<RpmPackage> = names
        .iter()
        .filter_map(|name| {
            let (rest, architecture) = name.strip_suffix(".rpm")?.rsplit_once('.')?;
            let (rest, release) = rest.rsplit_once('-')?;
            let (package, version) = rest.rsplit_once('-')?;
            Some(RpmPackage {
                name: package.to_owned(),
                version: version.to_owned(),
                release: release.to_owned(),
                architecture: architecture.to_owned(),
                path: name.clone(),
                ..RpmPackage::default()
            })
        })
        .collect();
    if packages.is_empty() {
        return Err(broken(
            base,
            "it has no repodata, and its page has no link to an rpm",
        ));
    }
    let is_wanted = |package: &RpmPackage| RpmIndex::is_header_name(&package.name);
    Ok(packages.into_iter().filter(is_wanted).collect())
}

fn join(base: &str, path: &str) -> Option<String> {
    let url = Url::parse(base).ok()?.join(path).ok()?;
    Some(url.into())
}

/// The packages of kernels, by name, version, release and architecture.
struct Images(HashMap<[String; 4], RpmPackage>);

impl Images {
    /// Returns the header packages, and the packages of kernels.
    fn partition(packages: Vec<RpmPackage>) -> (Vec<RpmPackage>, Self) {
        let (headers, mut images): (Vec<_>, Vec<_>) = packages
            .into_iter()
            .partition(|package| RpmIndex::is_header_name(&package.name));
        // As for headers, the order of the index does not matter.
        images.sort_by(|left, right| right.path.cmp(&left.path));
        let with_key = |package: RpmPackage| (Self::key(&package.name, &package), package);
        (headers, Self(images.into_iter().map(with_key).collect()))
    }

    fn key(name: &str, package: &RpmPackage) -> [String; 4] {
        let RpmPackage {
            version,
            release,
            architecture,
            ..
        } = package;
        [name, version, release, architecture].map(str::to_owned)
    }

    /// Returns the package of the kernel with these headers.
    fn of(&self, headers: &RpmPackage) -> Option<&RpmPackage> {
        let names = kernel_package_names(&headers.name);
        let mut names = names.iter().map(|name| Self::key(name, headers));
        names.find_map(|key| self.0.get(&key))
    }
}

fn kernels(asked: Asked<'_>, base: &str, packages: Vec<RpmPackage>) -> Repository {
    let Asked {
        target: target_id,
        index,
        architecture,
    } = asked;
    // AlmaLinux also has packages for a second level of x86-64: `x86_64_v2`.
    let is_of_architecture = |package: &RpmPackage| {
        let rest = package.architecture.strip_prefix(architecture.machine());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("_v"))
    };
    let (packages, images) = Images::partition(packages);
    let (mut common, headers): (Vec<_>, Vec<_>) = packages
        .into_iter()
        .partition(|package| package.architecture == "noarch");
    // Of repeated packages the last one in this order is used, so that the order of the index does not matter.
    common.sort_by(|left, right| right.path.cmp(&left.path));
    let of_version = |package: RpmPackage| {
        let key = (
            package.name.clone(),
            package.version.clone(),
            package.release.clone(),
        );
        (key, package)
    };
    let common: HashMap<(String, String, String), RpmPackage> =
        common.into_iter().map(of_version).collect();
    let mut repository = Repository::default();
    let listed = &mut repository.listed;
    let source: Arc<str> = "mirror".into();
    for package in headers.into_iter().filter(is_of_architecture) {
        let name = (index.release_of)(&RpmName {
            name: &package.name,
            version: &package.version,
            release: &package.release,
            machine: &package.architecture,
        });
        let Some(name) = name else {
            repository.passed_over.insert(package.name);
            continue;
        };
        let Ok(release) = name.parse() else {
            listed.notices.push(format!(
                "{base}{}: invalid kernel release `{name}`",
                package.path
            ));
            continue;
        };
        if target::check_release(target_id, &release, architecture).is_err() {
            repository.passed_over.insert(package.name);
            continue;
        }
        let names = index.common.map(|names| names(&name));
        let shared = names.iter().flatten().find_map(|name| {
            let (version, release) = (package.version.clone(), package.release.clone());
            common.get(&(name.clone(), version, release))
        });
        if names.is_some() && shared.is_none() {
            listed.notices.push(format!(
                "{base}{} is skipped: its noarch package does not exist",
                package.path
            ));
            continue;
        }
        let mut kernel = new_kernel(
            target_id.clone(),
            release,
            architecture,
            Arc::clone(&source),
        );
        if let Some(version) = (index.kernel_version)(&name)
            && let Ok(version) = version.parse()
        {
            kernel.version = version;
        }
        let of = |package: &RpmPackage| {
            let start = package.base.as_deref().unwrap_or(base);
            Some(Package {
                is_noted: false,
                url: join(start, &package.path)?.into(),
                size_bytes: package.size_bytes,
                sha256: package.sha256,
                host: None,
            })
        };
        let all: Option<PackageSet> = std::iter::once(&package).chain(shared).map(of).collect();
        let Some(all) = all else {
            listed
                .notices
                .push(format!("{base}: invalid URL `{}`", package.path));
            continue;
        };
        kernel.packages = all;
        kernel.image = images.of(&package).and_then(of).map(Box::new);
        listed.found.push(Found {
            kernel: kernel.into(),
            published: package.built,
            position: 0,
        });
    }
    repository
}
