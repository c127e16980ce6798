//! Updates sources that may have changed since the last run, before any lookup.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::fetch::{ContentKind, Fetcher, Renewed};
use crate::plan::Plan;

/// Updates the driver sources of the plan that come from a branch, and returns notices for the user. Opens no
/// connection if the plan has no such sources.
pub async fn renew_sources(fetcher: &Fetcher, plan: &Plan) -> Vec<String> {
    let mut moving = BTreeMap::new();
    let mut last = None;
    for build in &plan.builds {
        // Neighbouring builds often share a driver.
        if last.is_some_and(|last| std::sync::Arc::ptr_eq(last, &build.driver)) {
            continue;
        }
        last = Some(&build.driver);
        if build.driver.location.may_move() {
            moving.insert(build.driver.location.to_string(), &build.driver.version);
        }
    }
    let renewals = moving.iter().map(async |(url, version)| {
        let has_earlier = fetcher.has_earlier(url);
        let said = match fetcher.renew(url, ContentKind::Tarball).await {
            Ok(Renewed::Current) => return None,
            Ok(Renewed::NotAsked) => {
                "--offline uses the sources of an earlier run; there may be newer ones"
            }
            Err(_) => "cannot check for newer sources; --offline uses those of an earlier run",
        };
        // Without earlier sources, the build itself reports the error.
        has_earlier.then(|| format!("driver {version}: {said}"))
    });
    join_all(renewals).await.into_iter().flatten().collect()
}
