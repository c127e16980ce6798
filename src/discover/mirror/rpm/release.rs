//! Expands `$release` in URLs: one URL for each release of the distribution that exists.

use super::super::error::{DiscoverMirrorError, broken};
use super::super::listing;
use super::repository::fetch_error;
use crate::fetch::Fetcher;

/// The placeholder for a release of the distribution in a URL.
const RELEASE: &str = "$release";

/// The maximum size of a directory page, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// Returns the URLs that `url` expands to, newest release first. A URL without `$release` is returned unchanged. Else
/// there is one URL for each directory at the place of `$release` whose name is a version from `oldest` on.
pub(in crate::discover::mirror) async fn expand(
    fetcher: &Fetcher,
    url: &str,
    oldest: u32,
) -> Result<Vec<String>, DiscoverMirrorError> {
    let Some((folder, rest)) = url.split_once(RELEASE) else {
        return Ok(vec![url.to_owned()]);
    };
    let page = fetcher.get_index(folder, MOST_BYTES).await;
    let page = page.map_err(|source| fetch_error(folder, source))?;
    let mut releases: Vec<(Vec<u32>, String)> = listing::names(&page)
        .into_iter()
        .filter_map(|name| {
            let name = name.trim_end_matches('/').to_owned();
            Some((numbers(&name)?, name))
        })
        .collect();
    if releases.is_empty() {
        return Err(broken(folder, "its page has no link to a release"));
    }
    releases.retain(|(numbers, _)| numbers[0] >= oldest);
    releases.sort_by(|left, right| right.cmp(left));
    let releases = releases.into_iter().map(|(_, name)| name);
    Ok(releases
        .map(|name| format!("{folder}{name}{rest}"))
        .collect())
}

/// Returns the numbers of a version such as `9.1` or `40`; `None` if the name is not a version.
fn numbers(name: &str) -> Option<Vec<u32>> {
    name.split('.').map(|part| part.parse().ok()).collect()
}
