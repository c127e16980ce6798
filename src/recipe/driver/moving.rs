//! Sources that may be others than in the last run, asked for before anything is looked up.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use crate::fetch::{ContentKind, Fetcher, Renewed};
use crate::plan::Plan;

/// Brings up to date those of the plan's driver sources that come from a branch, and returns what the user should know
/// of it. Opens no connection if the plan has no such sources.
pub async fn renew_sources(fetcher: &Fetcher, plan: &Plan) -> Vec<String> {
    let mut moving = BTreeMap::new();
    let mut last = None;
    for build in &plan.builds {
        // Neighbours often have the same one.
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
                "--offline takes the sources of an earlier run; there may be newer ones"
            }
            Err(_) => {
                "it cannot be told whether there are newer sources; --offline takes those of an earlier run"
            }
        };
        // Where there are none, the build says what is wrong.
        has_earlier.then(|| format!("driver {version}: {said}"))
    });
    join_all(renewals).await.into_iter().flatten().collect()
}
