//! Finds the kernels of Flatcar. Each channel has one directory for each release. Two text files in the directory list
//! the kernel and compiler versions, and the kernel configuration.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::error::{DiscoverMirrorError, broken};
use super::{known_target, listing};
use crate::digest::Sha256;
use crate::discover::decode;
use crate::discover::listed::{Found, Listed, new_kernel};
use crate::discover::lists::{self, ListedKernel};
use crate::discover::{Context, DiscoverError, select};
use crate::fetch::{ContentKind, FetchError, Fetcher};
use crate::kernel::{Architecture, Kernel, KernelRelease};
use crate::matrix::{MirrorSource, Selection, TargetEntry};
use crate::target::Target;

/// The target, and the name of the lists in messages.
const NAME: &str = "flatcar";

/// The URLs of the channels, in order of preference.
const CHANNELS: [&str; 4] = [
    "https://stable.release.flatcar-linux.net/",
    "https://beta.release.flatcar-linux.net/",
    "https://alpha.release.flatcar-linux.net/",
    "https://lts.release.flatcar-linux.net/",
];

/// The maximum size of a page or a text file, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// The number of releases that are read at the same time.
const AT_ONCE: usize = 4;

/// A progress message is printed each time this many releases are read.
const TOLD_EVERY: usize = 50;

/// Reads the channels, and returns the kernels that `selection` accepts. Text files of other releases are not read.
pub(super) async fn discover(
    entry: &TargetEntry,
    source: &MirrorSource,
    selection: &Selection,
    context: Context<'_>,
) -> Result<Listed, DiscoverError> {
    let (id, target) = known_target(NAME)?;
    let fetcher = context.fetcher()?;
    let is_usual = source.urls.is_empty();
    let channels: Vec<String> = if is_usual {
        CHANNELS.map(str::to_owned).into()
    } else {
        source.urls.clone()
    };
    let mut folders: HashMap<(KernelRelease, Architecture), String> = HashMap::new();
    let mut found = Vec::new();
    let mut notices = Vec::new();
    for channel in &channels {
        // A channel is the first word of its host's name.
        let word = channel
            .split("://")
            .last()
            .and_then(|host| host.split('.').next());
        let is_wanted = |flavour: &String| Some(flavour.as_str()) == word;
        if !source.flavours.is_empty() && !source.flavours.iter().any(is_wanted) {
            continue;
        }
        for &architecture in &entry.architectures {
            let folder = format!("{}/{architecture}-usr/", channel.trim_end_matches('/'));
            (context.progress)(&format!("{NAME}: reading {folder}"));
            let releases = match releases(fetcher, &folder, target, architecture).await {
                Err(DiscoverMirrorError::Repository { cause: source, .. })
                    if is_usual && source.is_not_there() =>
                {
                    notices.push(format!("{folder} does not exist"));
                    continue;
                }
                releases => releases?,
            };
            for release in releases {
                let folder = format!("{folder}{release}/");
                let key = (release.clone(), architecture);
                if folders.contains_key(&key) {
                    continue;
                }
                folders.insert(key, folder);
                let kernel = new_kernel(id.clone(), release, architecture, "mirror".into());
                found.push(Found {
                    kernel: kernel.into(),
                    published: None,
                    position: 0,
                });
            }
        }
    }
    select::apply(entry, selection, &mut found, context.first_seen);
    let count = found.len();
    let read: Vec<Result<ListedKernel, String>> = stream::iter(found.into_iter().enumerate())
        .map(|(position, one)| {
            let folder = folders.get(&(one.kernel.release.clone(), one.kernel.architecture));
            let folder = folder.cloned().unwrap_or_default();
            async move {
                if position > 0 && position % TOLD_EVERY == 0 {
                    (context.progress)(&format!("{NAME}: {position} of {count} releases read"));
                }
                describe(fetcher, target, Arc::unwrap_or_clone(one.kernel), &folder).await
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let mut listed = lists::collect(&format!("{NAME}'s mirror"), read)?;
    notices.append(&mut listed.notices);
    Ok(Listed { notices, ..listed })
}

fn failed(url: &str, source: FetchError) -> DiscoverMirrorError {
    DiscoverMirrorError::Repository {
        url: url.to_owned(),
        cause: source,
    }
}

/// Returns the releases that a channel's page links to.
async fn releases(
    fetcher: &Fetcher,
    folder: &str,
    target: &dyn Target,
    architecture: Architecture,
) -> Result<Vec<KernelRelease>, DiscoverMirrorError> {
    let page = fetcher.get_index(folder, MOST_BYTES).await;
    let page = page.map_err(|source| failed(folder, source))?;
    let releases: Vec<KernelRelease> = listing::names(&page)
        .iter()
        .filter_map(|name| name.trim_end_matches('/').parse().ok())
        .filter(|release| target.check_release(release, architecture).is_ok())
        .collect();
    if releases.is_empty() {
        return Err(broken(folder, "its page has no link to a release"));
    }
    Ok(releases)
}

/// Returns the kernel of a release. The inner result is an error if a file is missing or invalid.
async fn describe(
    fetcher: &Fetcher,
    target: &dyn Target,
    mut kernel: Kernel,
    folder: &str,
) -> Result<Result<ListedKernel, String>, DiscoverMirrorError> {
    let list = format!("{folder}flatcar_production_image_packages.txt");
    let config = format!("{folder}flatcar_production_image_kernel_config.txt");
    let (list, config) = match (text(fetcher, &list).await?, text(fetcher, &config).await?) {
        (Ok(list), Ok(config)) => (list, config),
        (Err(reason), _) | (_, Err(reason)) => return Ok(Err(reason)),
    };
    match target.read_upstream(&list) {
        Ok(upstream) => kernel.upstream = Some(Box::new(upstream)),
        Err(reason) => return Ok(Err(format!("{folder}: {reason}"))),
    }
    if !config.lines().any(|line| line.starts_with("CONFIG_")) {
        return Ok(Err(format!(
            "{folder}: its kernel configuration has no options"
        )));
    }
    let config = config.into_bytes();
    if ContentKind::Configuration.is_cut_off(&config) {
        return Ok(Err(format!(
            "{folder}: its kernel configuration is cut off"
        )));
    }
    kernel.config_sha256 = Some(Sha256::of(&config));
    let found = Found {
        kernel: kernel.into(),
        published: None,
        position: 0,
    };
    Ok(Ok((found, Some(config))))
}

/// Reads a text file. The inner result is an error if the file is missing or not a text.
async fn text(fetcher: &Fetcher, url: &str) -> Result<Result<String, String>, DiscoverMirrorError> {
    match fetcher.get_index(url, MOST_BYTES).await {
        Ok(bytes) if decode::is_web_page(&bytes) => Ok(Err(format!("{url} is a web page"))),
        Ok(bytes) => Ok(String::from_utf8(bytes).map_err(|_| format!("{url} is not UTF-8 text"))),
        Err(error) if error.is_not_there() => Ok(Err(format!("{url} does not exist"))),
        Err(source) => Err(failed(url, source)),
    }
}
