//! Exchange between locks and the store: stores kernel configurations before a run, and writes package digests to the
//! locks after it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use arcstr::Substr;
use rayon::prelude::*;

use super::notes::{is_fact, tell_replaced};
use super::{Context, Planned, ResolveError};
use crate::cache::Outcomes;
use crate::digest::Sha256;
use crate::discover::lock::{self, Lock};
use crate::fetch::Fetcher;
use crate::plan::BuildId;
use crate::recipe::was_unpacked;
use crate::store::Store;

/// Puts the kernel configurations of a plan into the store, from which the step that prepares a kernel source reads
/// them.
pub(crate) fn store_configs(store: &Store, planned: &Planned) -> Result<(), ResolveError> {
    let kernels = planned.plan.builds.iter().map(|build| &build.kernel);
    let wanted: BTreeSet<Sha256> = kernels.filter_map(|kernel| kernel.config_sha256).collect();
    for digest in wanted {
        if store.has_whole_blob(digest)? {
            continue;
        }
        let file = planned.configs.get(&digest).ok_or_else(|| {
            ResolveError::input(format!(
                "no file is known for the kernel configuration {digest}"
            ))
        })?;
        store.put_blob(file.read(digest)?.as_slice())?;
    }
    Ok(())
}

/// Records the digests and sizes of downloaded packages in the locks, except for packages of the builds in
/// `wrong_headers`. If a lock cannot be written, it stays as it is.
pub(crate) fn fill_in_locks(
    context: &Context,
    planned: &Planned,
    store: &Arc<Store>,
    wrong_headers: &BTreeSet<BuildId>,
) {
    let fetcher = Fetcher::new(Arc::clone(store), planned.fetch_settings());
    let outcomes = Outcomes::new(store.root());
    let builds = planned.plan.builds.iter();
    let wrong: HashSet<&str> = builds
        .filter(|build| !wrong_headers.is_empty() && wrong_headers.contains(&build.id()))
        .flat_map(|build| build.kernel.packages.iter())
        .map(|package| &*package.url)
        .collect();
    for (matrix, _) in &planned.matrices {
        let path = lock::path_of(matrix);
        // Read the lock again: another run may have written it in the meantime.
        let Ok(Some(mut lock)) = Lock::read(&path) else {
            continue;
        };
        let news = news_of(&lock, &fetcher);
        if news.is_empty() {
            continue;
        }
        let is_told = |url: &str| news.contains(url) && !wrong.contains(url);
        let filled = lock.fill_in(|package| {
            let fetched = is_told(&package.url)
                .then(|| fetcher.known(&[Arc::from(&*package.url)], None))
                .flatten()?;
            if package.sha256 == Some(fetched.sha256) {
                return None;
            }
            // A package that has not been unpacked yet may be corrupt.
            was_unpacked(&outcomes, fetched.sha256).then_some((fetched.sha256, fetched.size_bytes))
        });
        let agreed = lock.confirm(|package, sha256| {
            is_told(&package.url) && is_fact(&fetcher, &outcomes, package, sha256)
        });
        if filled.count + agreed == 0 {
            continue;
        }
        tell_replaced(context, &path, &filled.replaced);
        if let Err(error) = lock.write(&path, &BTreeMap::new()) {
            context.notice(&format!(
                "the digests of this run are not in the lock: {error}"
            ));
        }
    }
}

/// Returns the URLs of packages without a published digest whose download differs from the lock. On most nights, these
/// are few among tens of thousands.
fn news_of(lock: &Lock, fetcher: &Fetcher) -> HashSet<Substr> {
    let kernels = lock.kernels.par_iter();
    let packages = kernels.flat_map_iter(|locked| locked.kernel.packages.iter());
    let open = packages.filter(|package| package.sha256.is_none() || package.is_noted);
    let news = open.filter(|package| fetcher.has_news(&package.url, package.sha256));
    news.map(|package| package.url.clone()).collect()
}
