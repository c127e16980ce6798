//! Between locks and the store: kernel configurations go there before a run, digests of packages come back after it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::run::fetch_settings;
use super::{CliError, Context, Planned};
use crate::cache::Outcomes;
use crate::digest::Sha256;
use crate::discover::lock::{self, Lock};
use crate::fetch::Fetcher;
use crate::scheduler::was_unpacked;
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

/// Notes in the locks what the packages turned out to be. A lock that cannot be written is as good as before.
pub(super) fn fill_in_locks(context: &Context, planned: &Planned, store: &Arc<Store>) {
    let fetcher = Fetcher::new(Arc::clone(store), fetch_settings(planned));
    let outcomes = Outcomes::new(store.root());
    for (matrix, _) in &planned.matrices {
        let path = lock::path_of(matrix);
        // Read anew: another run may have written it meanwhile.
        let Ok(Some(mut lock)) = Lock::read(&path) else {
            continue;
        };
        let filled = lock.fill_in(|package| {
            let fetched = fetcher.known(&[Arc::clone(&package.url)], None)?;
            let is_good = |sha256| was_unpacked(&outcomes, sha256);
            if package.sha256 == Some(fetched.sha256) {
                return None;
            }
            // Bytes that nobody has unpacked yet may be broken.
            is_good(fetched.sha256).then_some((fetched.sha256, fetched.size_bytes))
        });
        if filled.count == 0 {
            continue;
        }
        for (url, before, now) in &filled.replaced {
            context.notice(&format!(
                "{}: {url} has SHA-256 {now} now; the note of {before}, which no index published, is replaced",
                path.display()
            ));
        }
        if let Err(error) = lock.write(&path, &BTreeMap::new()) {
            context.notice(&format!("digests are not noted: {error}"));
        }
    }
}
