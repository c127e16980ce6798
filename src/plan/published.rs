//! Leaves out artifacts that are already published.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::{Build, LeftOut, Plan};
use crate::driver::Artifact;
use crate::target::LoaderName;

impl Plan {
    /// Returns the directories of the artifacts: `<driver version>/<machine>`.
    pub fn directories(&self) -> BTreeSet<String> {
        let builds = self.builds.iter();
        builds
            .map(|build| {
                let machine = build.kernel.architecture.machine();
                format!("{}/{machine}", build.driver.version)
            })
            .collect()
    }

    /// Leaves out the artifacts whose names are all published. Returns the number of builds that have no artifact left.
    /// `reason` says where the artifacts are published.
    pub fn skip_published(&mut self, is_published: impl Fn(&Path) -> bool, reason: &str) -> usize {
        let reason: Arc<str> = reason.into();
        let mut skipped = 0;
        let mut left_out = Vec::new();
        let names = &self.names;
        self.builds.retain_mut(|build| {
            let own = LoaderName::of(&build.kernel);
            let alias = names.published_alias(&build.kernel);
            let is_there = |artifact: Artifact| {
                let names = std::iter::once(&own).chain(alias);
                names
                    .map(|name| build.path_for(name, artifact))
                    .all(|path| is_published(&path))
            };
            let (there, wanted): (Vec<Artifact>, Vec<Artifact>) =
                build.artifacts.iter().partition(|one| is_there(**one));
            if wanted.is_empty() {
                left_out.push(of_build(build, None, &reason));
                skipped += 1;
                return false;
            }
            for artifact in &there {
                left_out.push(of_build(build, Some(*artifact), &reason));
            }
            if !there.is_empty() {
                build.artifacts = wanted.into();
            }
            true
        });
        self.left_out.extend(left_out);
        skipped
    }
}

fn of_build(build: &Build, artifact: Option<Artifact>, reason: &Arc<str>) -> LeftOut {
    LeftOut {
        kernel: Arc::clone(&build.kernel),
        driver: Some(build.driver.version.clone()),
        artifact,
        rule: LeftOut::PUBLISHED.into(),
        reason: Arc::clone(reason),
        place: None,
        first_seen: None,
    }
}
