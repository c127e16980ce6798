//! Digests that no index published, compared with later downloads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arcstr::Substr;

use super::Context;
use crate::cache::Outcomes;
use crate::digest::Sha256;
use crate::discover::lock::Lock;
use crate::fetch::{ContentKind, Fetcher};
use crate::kernel::Package;
use crate::recipe::was_unpacked;

/// Whether two locations delivered the same package for a URL, and the package was unpacked completely.
pub(super) fn is_fact(
    fetcher: &Fetcher,
    outcomes: &Outcomes,
    package: &Package,
    sha256: Sha256,
) -> bool {
    fetcher.is_agreed(&[Arc::from(&*package.url)], sha256) && was_unpacked(outcomes, sha256)
}

/// Corrects unpublished digests in a lock that later downloads contradict: if a URL later delivered a different package
/// that was unpacked completely, the package is requested again from its server, and its current digest is recorded.
pub(crate) async fn repair_notes(
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
            doubtful.insert(package.url.clone());
        }
    }
    let mut now = BTreeMap::new();
    for url in doubtful {
        // If the server does not answer, the recorded digest stays.
        if fetcher
            .renew(&url, ContentKind::of_address(&url))
            .await
            .is_ok()
            && good(&url).is_some()
            && let Some(fetched) = fetcher.known(&[Arc::from(&*url)], None)
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

pub(super) fn tell_replaced(
    context: &Context,
    path: &Path,
    replaced: &BTreeSet<(Substr, Sha256, Sha256)>,
) {
    for (url, before, now) in replaced {
        context.notice(&format!(
            "{}: {url} has SHA-256 {now} now, which replaces the unpublished digest {before}",
            path.display()
        ));
    }
}
