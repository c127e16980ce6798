//! Between locks and the store: kernel configurations go there before a run, digests of packages come back after it.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::run::fetch_settings;
use super::{CliError, Context, Planned};
use crate::cache::Outcomes;
use crate::digest::Sha256;
use crate::discover::lock::{self, Lock};
use crate::fetch::{ContentKind, Fetcher};
use crate::kernel::Package;
use crate::plan::BuildId;
use crate::recipe::was_unpacked;
use crate::store::Store;

/// Puts the kernel configurations of a plan into the store, where the step that prepares a kernel source reads them.
pub(super) fn store_configs(store: &Store, planned: &Planned) -> Result<(), CliError> {
    let kernels = planned.plan.builds.iter().map(|build| &build.kernel);
    let wanted: BTreeSet<Sha256> = kernels.filter_map(|kernel| kernel.config_sha256).collect();
    for digest in wanted {
        if store.has_blob(digest) {
            continue;
        }
        let file = planned.configs.get(&digest).ok_or_else(|| {
            CliError::input(format!(
                "no file is known for the kernel configuration {digest}"
            ))
        })?;
        store.put_blob(file.read(digest)?.as_slice())?;
    }
    Ok(())
}

/// Notes in the locks what the packages turned out to be, but for those of the builds `wrong_headers`. A lock that
/// cannot be written is as good as before.
pub(super) fn fill_in_locks(
    context: &Context,
    planned: &Planned,
    store: &Arc<Store>,
    wrong_headers: &BTreeSet<BuildId>,
) {
    let fetcher = Fetcher::new(Arc::clone(store), fetch_settings(planned));
    let outcomes = Outcomes::new(store.root());
    let builds = planned.plan.builds.iter();
    let wrong: HashSet<&str> = builds
        .filter(|build| wrong_headers.contains(&build.id()))
        .flat_map(|build| build.kernel.packages.iter())
        .map(|package| &*package.url)
        .collect();
    for (matrix, _) in &planned.matrices {
        let path = lock::path_of(matrix);
        // Read anew: another run may have written it meanwhile.
        let Ok(Some(mut lock)) = Lock::read(&path) else {
            continue;
        };
        let filled = lock.fill_in(|package| {
            let is_wrong = wrong.contains(&*package.url);
            let fetched = (!is_wrong)
                .then(|| fetcher.known(&[Arc::clone(&package.url)], None))
                .flatten()?;
            if package.sha256 == Some(fetched.sha256) {
                return None;
            }
            // Bytes that nobody has unpacked yet may be broken.
            was_unpacked(&outcomes, fetched.sha256).then_some((fetched.sha256, fetched.size_bytes))
        });
        let agreed = lock.confirm(|package, sha256| {
            !wrong.contains(&*package.url) && is_fact(&fetcher, &outcomes, package, sha256)
        });
        if filled.count + agreed == 0 {
            continue;
        }
        tell_replaced(context, &path, &filled.replaced);
        if let Err(error) = lock.write(&path, &BTreeMap::new()) {
            context.notice(&format!("digests are not noted: {error}"));
        }
    }
}

/// Whether two places gave a package that was unpacked whole.
fn is_fact(fetcher: &Fetcher, outcomes: &Outcomes, package: &Package, sha256: Sha256) -> bool {
    fetcher.is_agreed(&[Arc::clone(&package.url)], sha256) && was_unpacked(outcomes, sha256)
}

/// Puts right the notes of a lock that later downloads contradict: where an address gave another package that was
/// unpacked whole, its server is asked what it has now.
pub(super) async fn repair_notes(
    context: &Context,
    fetcher: &Fetcher,
    lock: &mut Lock,
    path: &Path,
) {
    let outcomes = Outcomes::new(fetcher.store().root());
    let good = |url: &str| {
        let sha256 = fetcher.last_given(url)?;
        was_unpacked(&outcomes, sha256).then_some(sha256)
    };
    let mut doubtful = BTreeSet::new();
    let packages = lock
        .kernels
        .iter()
        .flat_map(|one| one.kernel.packages.iter());
    for package in packages.filter(|package| package.is_noted) {
        if good(&package.url).is_some_and(|sha256| package.sha256 != Some(sha256)) {
            doubtful.insert(Arc::clone(&package.url));
        }
    }
    let mut now = BTreeMap::new();
    for url in doubtful {
        // A server that does not answer says nothing: the note stays.
        if fetcher
            .renew(&url, ContentKind::of_address(&url))
            .await
            .is_ok()
            && good(&url).is_some()
            && let Some(fetched) = fetcher.known(&[Arc::clone(&url)], None)
        {
            now.insert(url, (fetched.sha256, fetched.size_bytes));
        }
    }
    let filled = lock.fill_in(|package| {
        let is_note = package.is_noted;
        now.get(&package.url).copied().filter(|_| is_note)
    });
    tell_replaced(context, path, &filled.replaced);
    lock.confirm(|package, sha256| is_fact(fetcher, &outcomes, package, sha256));
}

fn tell_replaced(context: &Context, path: &Path, replaced: &BTreeSet<(Arc<str>, Sha256, Sha256)>) {
    for (url, before, now) in replaced {
        context.notice(&format!(
            "{}: {url} has SHA-256 {now} now; the note of {before}, which no index published, is replaced",
            path.display()
        ));
    }
}
