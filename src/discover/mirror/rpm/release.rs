//! Addresses that hold `$release`: one for each release of the distribution that is there.

use super::super::error::{DiscoverMirrorError, broken};
use super::super::listing;
use super::repository::fetch_error;
use crate::fetch::Fetcher;

/// What stands for a release of the distribution in an address.
const RELEASE: &str = "$release";

/// The most bytes of a directory page.
const MOST_BYTES: u64 = 64 << 20;

/// The addresses that `url` stands for, those of the newest release first: itself where it has no `$release`, else
/// one for each directory before it whose name is a version, from `oldest` on.
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
        return Err(broken(folder, "its page links to no release"));
    }
    releases.retain(|(numbers, _)| numbers[0] >= oldest);
    releases.sort_by(|left, right| right.cmp(left));
    let releases = releases.into_iter().map(|(_, name)| name);
    Ok(releases
        .map(|name| format!("{folder}{name}{rest}"))
        .collect())
}

/// The numbers of a version such as `9.1` or `40`; of anything else, nothing.
fn numbers(name: &str) -> Option<Vec<u32>> {
    name.split('.').map(|part| part.parse().ok()).collect()
}
