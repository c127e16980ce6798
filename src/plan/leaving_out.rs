//! Leaves out artifacts that are already published, or not built yet.

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
        let names = &self.names;
        let is_there = |build: &Build, artifact: Artifact| {
            let own = LoaderName::of(&build.kernel);
            let names = std::iter::once(&own).chain(names.published_alias(build, artifact));
            names
                .map(|name| build.path_for(name, artifact))
                .all(|path| is_published(&path))
        };
        let left_out = &mut self.left_out;
        remove(&mut self.builds, is_there, |build, artifacts| {
            let entry = |artifact| LeftOut::of_build(build, artifact, LeftOut::PUBLISHED, &reason);
            if artifacts.len() == build.artifacts.len() {
                left_out.push(entry(None));
                skipped += 1;
            } else {
                left_out.extend(artifacts.iter().map(|one| entry(Some(*one))));
            }
        });
        skipped
    }

    /// Leaves out the artifacts that are not built yet. Returns their number.
    pub fn skip_unbuilt(&mut self, is_built: impl Fn(&Build, Artifact) -> bool) -> usize {
        let reason: Arc<str> = "not built yet: use `driverkit-matrix run` first".into();
        let mut skipped = 0;
        let left_out = &mut self.left_out;
        let is_missing = |build: &Build, artifact: Artifact| !is_built(build, artifact);
        remove(&mut self.builds, is_missing, |build, artifacts| {
            skipped += artifacts.len();
            left_out.extend(artifacts.iter().map(|artifact| {
                LeftOut::of_build(build, Some(*artifact), LeftOut::NOT_BUILT, &reason)
            }));
        });
        skipped
    }
}

/// Removes artifacts from builds, and builds that have none left. Before that, calls `note` with each such build and
/// the artifacts to be removed.
fn remove(
    builds: &mut Vec<Build>,
    is_removed: impl Fn(&Build, Artifact) -> bool,
    mut note: impl FnMut(&Build, &[Artifact]),
) {
    builds.retain_mut(|build| {
        let artifacts = build.artifacts.iter();
        let (removed, kept): (Vec<Artifact>, Vec<Artifact>) =
            artifacts.partition(|one| is_removed(build, **one));
        if removed.is_empty() {
            return true;
        }
        note(build, &removed);
        let is_kept = !kept.is_empty();
        build.artifacts = kept.into();
        is_kept
    });
}
