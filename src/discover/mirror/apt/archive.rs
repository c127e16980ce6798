//! Reads the suites of an archive: `Release` files, and the indexes that they list.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use url::Url;

use super::super::error::{DiscoverMirrorError, broken, wrong_digest};
use super::index::{self, IndexPackage, ReleaseFile};
use super::{Question, signature};
use crate::digest::Sha256;
use crate::discover::decode;
use crate::fetch::{ContentKind, FetchError, Fetcher, Probed, Request, Tried};
use crate::fs::blocking;
use crate::kernel::{Architecture, Package};
use crate::target::kernel_package_names;

/// The maximum size of a `Release` file or a compressed index, in bytes.
const MOST_BYTES: u64 = 128 << 20;

/// The number of suites that are read at the same time. Each needs about 60 MB of memory.
const SUITES_AT_A_TIME: usize = 3;

/// A suite with the indexes of the requested architectures.
pub(super) struct Suite {
    pub(super) name: String,
    pub(super) indexes: BTreeMap<Architecture, Index>,
}

impl Suite {
    /// Returns the progress message about the suite: the number of header packages for each architecture.
    fn found(&self) -> String {
        let counts: Vec<String> = self
            .indexes
            .iter()
            .map(|(architecture, index)| format!("{} for {architecture}", index.packages.len()))
            .collect();
        format!("{}: header packages: {}", self.name, counts.join(", "))
    }
}

/// The packages of one architecture.
pub(super) struct Index {
    /// The base URL of the archive with these packages, without a slash at the end.
    pub(super) base_url: String,
    pub(super) packages: Vec<IndexPackage>,
}

impl Index {
    /// Returns the package as an entry of a kernel.
    pub(super) fn package(&self, package: &IndexPackage, host: Option<Architecture>) -> Package {
        Package {
            is_noted: false,
            url: format!("{}/{}", self.base_url, package.path).into(),
            size_bytes: Some(package.size_bytes),
            sha256: Some(package.sha256),
            host,
        }
    }

    /// Returns the package of the kernel itself with these headers, if the index has it.
    pub(super) fn image(&self, headers: &IndexPackage) -> Option<Box<Package>> {
        let is_of_kernel = |package: &&IndexPackage, name: &str| {
            package.name == name
                && package.version == headers.version
                && package.architecture == headers.architecture
        };
        let image = kernel_package_names(&headers.name)
            .iter()
            .find_map(|name| self.packages.iter().find(|one| is_of_kernel(one, name)));
        image.map(|image| Box::new(self.package(image, None)))
    }
}

/// Returns true if a package may contain a kernel, by its name.
pub(super) fn is_image_name(name: &str) -> bool {
    ["linux-image-", "linux-binary-"]
        .iter()
        .any(|start| name.starts_with(start))
}

/// Archives, and what to read from them.
#[derive(Clone, Copy)]
pub(super) struct Archives<'a> {
    pub(super) fetcher: &'a Fetcher,
    /// Each suite is read from the first archive that has it, so that security suites can have an archive of their own.
    pub(super) base_urls: &'a [Url],
    pub(super) question: Question<'a>,
    /// The architectures that each suite must have.
    pub(super) required: &'a [Architecture],
    /// Architectures that are read too if a suite has them.
    pub(super) optional: &'a [Architecture],
    /// Whether a package is read, by its name.
    pub(super) is_wanted: fn(&str) -> bool,
}

impl Archives<'_> {
    /// Reads the requested suites, and returns them in the order of the request.
    pub(super) async fn read(
        self,
        notices: &mut Vec<String>,
    ) -> Result<Vec<Suite>, DiscoverMirrorError> {
        let count = self.question.suites.len();
        let read: Vec<(Option<Suite>, Vec<String>)> =
            stream::iter(self.question.suites.iter().enumerate())
                .map(|(position, suite)| async move {
                    (self.question.progress)(&format!(
                        "reading suite {} of {count}: {suite}",
                        position + 1
                    ));
                    let read = self.read_suite(suite).await?;
                    if let Some(suite) = &read.0 {
                        (self.question.progress)(&suite.found());
                    }
                    Ok(read)
                })
                .buffered(SUITES_AT_A_TIME)
                .try_collect()
                .await?;
        let mut suites = Vec::new();
        for (suite, told) in read {
            notices.extend(told);
            suites.extend(suite);
        }
        Ok(suites)
    }

    async fn read_suite(
        self,
        name: &str,
    ) -> Result<(Option<Suite>, Vec<String>), DiscoverMirrorError> {
        let mut notices = Vec::new();
        let mut missing = FetchError { tried: Vec::new() };
        let mut found: Option<Suite> = None;
        let mut absent: BTreeMap<Architecture, DiscoverMirrorError> = BTreeMap::new();
        for base_url in self.base_urls {
            let base_url = base_url.as_str().trim_end_matches('/');
            let release = self
                .read_release(base_url, name, &mut missing, &mut notices)
                .await?;
            let Some(release) = release else {
                continue;
            };
            let suite = found.get_or_insert_with(|| Suite {
                name: name.to_owned(),
                indexes: BTreeMap::new(),
            });
            for &architecture in self.required.iter().chain(self.optional) {
                if suite.indexes.contains_key(&architecture) {
                    continue;
                }
                match self.read_index(&release, architecture).await {
                    Ok(Some(index)) => {
                        suite.indexes.insert(architecture, index);
                    }
                    Ok(None) => {}
                    // An archive may list an index that only other archives have, for another architecture.
                    Err(DiscoverMirrorError::Fetch {
                        suite,
                        cause: source,
                    }) if source.is_not_there() => {
                        let error = DiscoverMirrorError::Fetch {
                            suite,
                            cause: source,
                        };
                        absent.entry(architecture).or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            let is_there = |architecture| suite.indexes.contains_key(architecture);
            if self.required.iter().all(is_there) {
                break;
            }
        }
        let Some(suite) = found else {
            if self.question.skips_missing {
                return Ok((None, notices));
            }
            return Err(DiscoverMirrorError::NoSuite {
                suite: name.to_owned(),
                cause: missing,
            });
        };
        if !self.question.skips_missing {
            for &architecture in self.required.iter().chain(self.optional) {
                if suite.indexes.contains_key(&architecture) {
                    continue;
                }
                if let Some(error) = absent.remove(&architecture) {
                    return Err(error);
                }
                if self.required.contains(&architecture) {
                    return Err(DiscoverMirrorError::NoIndex {
                        suite: name.to_owned(),
                        architecture,
                    });
                }
            }
        }
        Ok((Some(suite), notices))
    }

    /// Returns the suite's `Release` file. Returns `None` if the archive does not have it, and adds the attempts to
    /// `missing`.
    async fn read_release(
        self,
        base_url: &str,
        suite: &str,
        missing: &mut FetchError,
        notices: &mut Vec<String>,
    ) -> Result<Option<Release>, DiscoverMirrorError> {
        for name in ["InRelease", "Release"] {
            let folder = format!("{base_url}/dists/{suite}");
            let url = format!("{folder}/{name}");
            let bytes = match self.fetcher.get_index(&url, MOST_BYTES).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_not_there() => {
                    missing.tried.extend(error.tried);
                    continue;
                }
                Err(source) => {
                    return Err(DiscoverMirrorError::Fetch {
                        suite: suite.to_owned(),
                        cause: source,
                    });
                }
            };
            if decode::is_web_page(&bytes) {
                return Err(broken(&url, "it is a web page"));
            }
            let bytes = match self.question.keyring {
                Some(keyring) => signature::verify(self.fetcher, &url, bytes, keyring).await?,
                None => bytes,
            };
            let file = index::read_release(&bytes).map_err(|message| broken(&url, message))?;
            if let Some(until) = file.expired(jiff::Timestamp::now()) {
                if !self.question.allows_expired {
                    return Err(DiscoverMirrorError::Expired { url, until });
                }
                notices.push(format!("{url} expired at {until}"));
            }
            return Ok(Some(Release {
                suite: suite.to_owned(),
                base_url: base_url.to_owned(),
                folder,
                file,
            }));
        }
        Ok(None)
    }

    /// Reads the index of an architecture. Returns `None` if the `Release` file does not list one.
    async fn read_index(
        self,
        release: &Release,
        architecture: Architecture,
    ) -> Result<Option<Index>, DiscoverMirrorError> {
        let Some((path, sha256, size_bytes)) = release.index(architecture) else {
            return Ok(None);
        };
        let url = format!("{}/{path}", release.folder);
        let mut candidates: Vec<Arc<str>> = Vec::new();
        if release.file.is_by_hash {
            // The content of this URL does not change while a mirror is updated. Not every copy of a mirror has it.
            let parent = url.rsplit_once('/').map_or("", |(parent, _)| parent);
            candidates.push(format!("{parent}/by-hash/SHA256/{sha256}").into());
        }
        candidates.push(url.as_str().into());
        if size_bytes > MOST_BYTES {
            return Err(broken(
                &url,
                format!("it is larger than {MOST_BYTES} bytes"),
            ));
        }
        let request = Request {
            candidates,
            sha256: Some(sha256),
            size_bytes: Some(size_bytes),
            kind: ContentKind::Any,
        };
        // The store can already have an index with this digest. It may belong to another archive, because archives list
        // indexes that only others have. So the URL is checked without a download.
        if self.base_urls.len() > 1 && self.fetcher.known(&[], Some(sha256)).is_some() {
            let asked = self.fetcher.ask(&url).await;
            let is_absent =
                |probed: &Probed| matches!(&probed.answer, Err(answer) if answer.is_not_there());
            if !asked.is_empty() && asked.iter().all(is_absent) {
                let tried = asked.into_iter().filter_map(|probed| {
                    let (url, answer) = (probed.url, probed.answer.err()?);
                    Some(Tried { url, answer })
                });
                return Err(DiscoverMirrorError::Fetch {
                    suite: release.suite.clone(),
                    cause: FetchError {
                        tried: tried.collect(),
                    },
                });
            }
        }
        let fetched = self.fetcher.fetch_bytes(&request).await;
        let bytes = fetched.map_err(|source| {
            wrong_digest(&url, &source).unwrap_or_else(|| DiscoverMirrorError::Fetch {
                suite: release.suite.clone(),
                cause: source,
            })
        })?;
        let is_wanted = self.is_wanted;
        let read = blocking(move || index::read_packages(&path, &bytes, is_wanted)).await;
        let packages = read.map_err(|message| broken(&url, message))?;
        Ok(Some(Index {
            base_url: release.base_url.clone(),
            packages,
        }))
    }
}

/// A suite's `Release` file, and its location.
struct Release {
    suite: String,
    base_url: String,
    /// The URL of the suite's directory.
    folder: String,
    file: ReleaseFile,
}

impl Release {
    /// Returns path, digest and size of the index of an architecture, in the best compression that exists.
    fn index(&self, architecture: Architecture) -> Option<(String, Sha256, u64)> {
        [".xz", ".gz", ""].into_iter().find_map(|extension| {
            let path = format!("main/binary-{architecture}/Packages{extension}");
            let &(sha256, size_bytes) = self.file.files.get(&path)?;
            Some((path, sha256, size_bytes))
        })
    }
}
