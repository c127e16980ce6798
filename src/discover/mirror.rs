//! Kernels of Debian, from the indexes of a mirror.
//!
//! In: the base addresses of mirrors, suites and architectures. Out: every kernel whose header packages the suites
//! hold, with addresses, sizes and digests as the indexes publish them. An index is believed only with the digest
//! that the suite's `Release` file gives for it; that file only with a signature of the keyring, where one is given.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use debversion::Version;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use url::Url;

use super::debian_index::{self, IndexPackage, find};
use super::signature;
use crate::digest::Sha256;
use crate::fetch::{Answer, ContentKind, FetchError, Fetcher, Request};
use crate::kernel::{Architecture, Kernel, KernelVersion, Package};
use crate::target::split_debian_abi;

/// The most bytes of a `Release` file or a compressed index.
const MOST_BYTES: u64 = 128 << 20;

/// Indexes that are read at a time: each takes some 60 MB of memory.
const INDEXES_AT_A_TIME: usize = 3;

/// The flavour without a name.
const PLAIN: &str = "plain";

/// A kernel of a mirror, with what it is selected by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorKernel {
    /// The kernel.
    pub kernel: Kernel,
    /// The suite that holds it.
    pub suite: String,
    /// Its flavour, without architecture: `plain`, `cloud`, `rt`, `16k`.
    pub flavour: String,
    /// The version of its packages.
    pub version: Version,
}

/// What the mirrors hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MirrorKernels {
    /// The kernels: suite by suite as asked for, in each by flavour and architecture, the newest first.
    pub kernels: Vec<MirrorKernel>,
    /// What a person should know: kernels that were left out since packages are missing.
    pub notices: Vec<String>,
}

/// Why a mirror could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverMirrorError {
    /// No mirror has the suite.
    #[error("no mirror has the suite {suite}: {source}")]
    NoSuite {
        /// The suite.
        suite: String,
        /// What was tried.
        source: FetchError,
    },
    /// A mirror did not give one of its files.
    #[error("the mirror of {suite} cannot be read: {source}")]
    Fetch {
        /// The suite.
        suite: String,
        /// What was tried.
        source: FetchError,
    },
    /// A repository did not give one of its files.
    #[error("the repository cannot be read: {source}")]
    Repository {
        /// The file.
        url: String,
        /// What was tried.
        source: FetchError,
    },
    /// The suite has no packages of an architecture.
    #[error("the suite {suite} has no index for {architecture}")]
    NoIndex {
        /// The suite.
        suite: String,
        /// The architecture.
        architecture: Architecture,
    },
    /// A file is not what the suite's `Release` file says: broken, or the mirror is just being updated.
    #[error("{url} has SHA-256 {found}, but its repository says {expected}")]
    Checksum {
        /// The file.
        url: String,
        /// The digest by the `Release` file.
        expected: Sha256,
        /// The digest that was found.
        found: Sha256,
    },
    /// A `Release` file without a good signature.
    #[error("{url} is not believed: {message}")]
    Signature {
        /// The file.
        url: String,
        /// What is wrong with its signature.
        message: String,
    },
    /// A `Release` file that is too old.
    #[error(
        "{url} was valid until {until} only: the mirror stands still; ask another one, or write allow_expired = true"
    )]
    Expired {
        /// The file.
        url: String,
        /// Its `Valid-Until`.
        until: jiff::Timestamp,
    },
    /// A file that cannot be understood.
    #[error("{url} is broken: {message}")]
    Broken {
        /// The file.
        url: String,
        /// What is wrong.
        message: String,
    },
}

impl DiscoverMirrorError {
    /// Whether the same question may be answered a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Fetch { .. } | Self::Checksum { .. } => true,
            Self::Repository { source, .. } => !source.is_not_there(),
            _ => false,
        }
    }
}

/// What is asked of mirrors.
#[derive(Clone, Copy, Debug, Default)]
pub struct Question<'a> {
    /// The suites.
    pub suites: &'a [String],
    /// The architectures.
    pub architectures: &'a [Architecture],
    /// The flavours; empty for all.
    pub flavours: &'a [String],
    /// The keys that `Release` files must be signed with; none for not looking at signatures.
    pub keyring: Option<&'a Path>,
    /// Whether a `Release` file past its `Valid-Until` is taken, with a notice.
    pub allows_expired: bool,
    /// Whether suites that no mirror has, and architectures that a suite has not, are passed over.
    pub skips_missing: bool,
}

/// Gives the kernels that are asked for. Each suite is taken from the first of the `base_urls` that has it, so that
/// security suites may have their own.
pub async fn discover(
    fetcher: &Fetcher,
    base_urls: &[Url],
    question: Question<'_>,
) -> Result<MirrorKernels, DiscoverMirrorError> {
    let Question {
        architectures,
        flavours,
        ..
    } = question;
    let mut notices = Vec::new();
    let mut releases = Vec::new();
    for suite in question.suites {
        match Release::read(fetcher, base_urls, suite, question, &mut notices).await {
            Ok(release) => releases.push(release),
            Err(DiscoverMirrorError::NoSuite { .. }) if question.skips_missing => {}
            Err(error) => return Err(error),
        }
    }
    let mut wanted = Vec::new();
    for (position, release) in releases.iter().enumerate() {
        // Of both, since a kernel of one can be built on a machine of the other with its linux-kbuild.
        for architecture in Architecture::ALL {
            match release.index(architecture) {
                Some(index) => wanted.push((position, architecture, index)),
                None if architectures.contains(&architecture) && !question.skips_missing => {
                    return Err(DiscoverMirrorError::NoIndex {
                        suite: release.suite.clone(),
                        architecture,
                    });
                }
                None => {}
            }
        }
    }
    let indexes: HashMap<(usize, Architecture), Vec<IndexPackage>> = stream::iter(wanted)
        .map(|(position, architecture, index)| {
            let release = &releases[position];
            async move {
                let packages = release.read_index(fetcher, index).await?;
                Ok(((position, architecture), packages))
            }
        })
        .buffer_unordered(INDEXES_AT_A_TIME)
        .try_collect()
        .await?;
    let mut found = MirrorKernels {
        notices,
        ..MirrorKernels::default()
    };
    for (position, release) in releases.iter().enumerate() {
        for &architecture in architectures {
            let Some(packages) = indexes.get(&(position, architecture)) else {
                continue;
            };
            let suite = Suite {
                release,
                architecture,
                packages,
                other_packages: Architecture::ALL
                    .into_iter()
                    .filter(|&other| other != architecture)
                    .find_map(|other| Some((other, indexes.get(&(position, other))?.as_slice()))),
            };
            suite.kernels(flavours, &mut found);
        }
    }
    Ok(found)
}

/// Of each suite, flavour and architecture the `latest` newest kernels that `takes` lets through, or all of them;
/// a kernel that several suites hold is given once.
pub fn newest(
    kernels: Vec<MirrorKernel>,
    latest: Option<u32>,
    takes: impl Fn(&Kernel) -> bool,
) -> Vec<Kernel> {
    let mut counts: HashMap<(String, String, Architecture), u32> = HashMap::new();
    let mut seen = HashSet::new();
    let mut taken = Vec::new();
    for found in kernels {
        if !takes(&found.kernel) {
            continue;
        }
        let architecture = found.kernel.architecture;
        let count = counts
            .entry((found.suite, found.flavour, architecture))
            .or_default();
        *count += 1;
        let is_new = latest.is_none_or(|latest| *count <= latest);
        if is_new && seen.insert((found.kernel.release.clone(), architecture)) {
            taken.push(found.kernel);
        }
    }
    taken
}

/// A suite's `Release` file.
struct Release {
    suite: String,
    base_url: String,
    files: BTreeMap<String, (Sha256, u64)>,
    is_by_hash: bool,
}

struct Index {
    path: String,
    sha256: Sha256,
    size_bytes: u64,
}

impl Release {
    async fn read(
        fetcher: &Fetcher,
        base_urls: &[Url],
        suite: &str,
        question: Question<'_>,
        notices: &mut Vec<String>,
    ) -> Result<Self, DiscoverMirrorError> {
        let mut missing = FetchError { tried: Vec::new() };
        for base_url in base_urls {
            let base_url = base_url.as_str().trim_end_matches('/');
            for name in ["InRelease", "Release"] {
                let url = format!("{base_url}/dists/{suite}/{name}");
                match fetcher.get_index(&url, MOST_BYTES).await {
                    Ok(bytes) => {
                        let bytes = match question.keyring {
                            Some(keyring) => {
                                signature::verify(fetcher, &url, bytes, keyring).await?
                            }
                            None => bytes,
                        };
                        let release = debian_index::read_release(&bytes).map_err(|message| {
                            let url = url.clone();
                            DiscoverMirrorError::Broken { url, message }
                        })?;
                        if let Some(until) = release.expired(jiff::Timestamp::now()) {
                            if !question.allows_expired {
                                return Err(DiscoverMirrorError::Expired { url, until });
                            }
                            notices.push(format!("{url} was valid until {until} only"));
                        }
                        return Ok(Self {
                            suite: suite.to_owned(),
                            base_url: base_url.to_owned(),
                            files: release.files,
                            is_by_hash: release.is_by_hash,
                        });
                    }
                    Err(error) if error.is_not_there() => missing.tried.extend(error.tried),
                    Err(source) => {
                        return Err(DiscoverMirrorError::Fetch {
                            suite: suite.to_owned(),
                            source,
                        });
                    }
                }
            }
        }
        Err(DiscoverMirrorError::NoSuite {
            suite: suite.to_owned(),
            source: missing,
        })
    }

    fn failed(&self, url: &str, source: FetchError) -> DiscoverMirrorError {
        let mut answers = source.tried.iter().map(|tried| &tried.answer);
        let found = answers.find_map(|answer| match answer {
            Answer::Checksum { expected, found } => Some((*expected, *found)),
            _ => None,
        });
        match found {
            Some((expected, found)) => DiscoverMirrorError::Checksum {
                url: url.to_owned(),
                expected,
                found,
            },
            None => DiscoverMirrorError::Fetch {
                suite: self.suite.clone(),
                source,
            },
        }
    }

    /// The smallest form of the index of an architecture.
    fn index(&self, architecture: Architecture) -> Option<Index> {
        [".xz", ".gz", ""].into_iter().find_map(|extension| {
            let path = format!("main/binary-{architecture}/Packages{extension}");
            let &(sha256, size_bytes) = self.files.get(&path)?;
            Some(Index {
                path,
                sha256,
                size_bytes,
            })
        })
    }

    async fn read_index(
        &self,
        fetcher: &Fetcher,
        index: Index,
    ) -> Result<Vec<IndexPackage>, DiscoverMirrorError> {
        let folder = format!("{}/dists/{}", self.base_url, self.suite);
        let url = format!("{folder}/{}", index.path);
        let mut candidates: Vec<Arc<str>> = Vec::new();
        if self.is_by_hash {
            // Stays the same while a mirror is updated. Not every copy of a mirror has it.
            let parent = url.rsplit_once('/').map_or("", |(parent, _)| parent);
            candidates.push(format!("{parent}/by-hash/SHA256/{}", index.sha256).into());
        }
        candidates.push(url.as_str().into());
        if index.size_bytes > MOST_BYTES {
            return Err(DiscoverMirrorError::Broken {
                url,
                message: format!("it has more than {MOST_BYTES} bytes"),
            });
        }
        let request = Request {
            candidates,
            sha256: Some(index.sha256),
            size_bytes: Some(index.size_bytes),
            kind: ContentKind::Any,
        };
        // An index that is there already under its digest is not asked for again.
        let bytes = fetcher
            .fetch_bytes(&request)
            .await
            .map_err(|source| self.failed(&url, source))?;
        let broken_url = url.clone();
        let read = tokio::task::spawn_blocking(move || {
            debian_index::read_packages(&index.path, &bytes)
                .map_err(|message| DiscoverMirrorError::Broken { url, message })
        });
        read.await.map_err(|error| DiscoverMirrorError::Broken {
            url: broken_url,
            message: error.to_string(),
        })?
    }
}

/// The packages of a suite, seen from one architecture.
struct Suite<'a> {
    release: &'a Release,
    architecture: Architecture,
    packages: &'a [IndexPackage],
    other_packages: Option<(Architecture, &'a [IndexPackage])>,
}

impl Suite<'_> {
    fn kernels(&self, flavours: &[String], found: &mut MirrorKernels) {
        let mut kernels = Vec::new();
        for headers in self.packages {
            let Some(flavour) = self.flavour(headers) else {
                continue;
            };
            if !flavours.is_empty() && !flavours.iter().any(|wanted| wanted == flavour) {
                continue;
            }
            // Names that stand for the newest kernel of a line depend on its header package, and are none themselves.
            let stands_for = headers
                .dependency(|name| name.starts_with("linux-headers-") && name != headers.name);
            if stands_for.is_some_and(|name| !name.contains("-common")) {
                continue;
            }
            match self.kernel(headers) {
                Ok(kernel) => kernels.push(MirrorKernel {
                    kernel,
                    suite: self.release.suite.clone(),
                    flavour: flavour.to_owned(),
                    version: headers.version.clone(),
                }),
                Err(reason) => found.notices.push(format!(
                    "{} {} of {} is left out: {reason}",
                    headers.name, headers.version, self.release.suite
                )),
            }
        }
        kernels.sort_by(|left, right| {
            (&left.flavour, &right.version).cmp(&(&right.flavour, &left.version))
        });
        found.kernels.extend(kernels);
    }

    /// The flavour of a package that is the header package of one kernel.
    fn flavour<'b>(&self, package: &'b IndexPackage) -> Option<&'b str> {
        let architecture = self.architecture.as_str();
        if package.architecture != architecture {
            return None;
        }
        let (_, flavour) = split_debian_abi(package.name.strip_prefix("linux-headers-")?)?;
        let rest = flavour
            .strip_suffix(architecture)
            .map(|start| start.trim_end_matches('-'))
            .or_else(|| flavour.strip_prefix(architecture)?.strip_prefix('-'))?;
        Some(if rest.is_empty() { PLAIN } else { rest })
    }

    fn kernel(&self, headers: &IndexPackage) -> Result<Kernel, String> {
        let common = headers
            .dependency(|name| name.starts_with("linux-headers-") && name.contains("-common"))
            .ok_or("it depends on no common headers")?;
        let common = find(self.packages, common, &headers.version)
            .ok_or_else(|| format!("{common} is not there"))?;
        let kbuild_name = headers
            .dependency(|name| name.starts_with("linux-kbuild-"))
            .ok_or("it depends on no linux-kbuild")?;
        let kbuild = find(self.packages, kbuild_name, &headers.version)
            .ok_or_else(|| format!("{kbuild_name} is not there"))?;
        let mut packages = vec![
            self.package(headers, None),
            self.package(common, None),
            self.package(kbuild, Some(self.architecture)),
        ];
        if let Some((other, other_packages)) = self.other_packages {
            let other_kbuild = find(other_packages, kbuild_name, &headers.version);
            packages.extend(other_kbuild.map(|kbuild| self.package(kbuild, Some(other))));
        }
        let version = debian_index::without_epoch(&headers.version);
        let uts_release = headers
            .name
            .strip_prefix("linux-headers-")
            .unwrap_or_default();
        let (_, flavour) = split_debian_abi(uts_release).ok_or("it names no kernel")?;
        let parsed = |error: crate::kernel::ParseKernelError| error.to_string();
        Ok(Kernel {
            target: "debian".parse().map_err(parsed)?,
            release: format!("{version}-{flavour}").parse().map_err(parsed)?,
            version: KernelVersion::default(),
            architecture: self.architecture,
            packages,
            config_sha256: None,
            upstream: None,
            source: "mirror".into(),
        })
    }

    fn package(&self, package: &IndexPackage, host: Option<Architecture>) -> Package {
        Package {
            url: format!("{}/{}", self.release.base_url, package.path).into(),
            size_bytes: Some(package.size_bytes),
            sha256: Some(package.sha256),
            host,
        }
    }
}
