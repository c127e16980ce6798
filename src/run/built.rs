//! Runs that build nothing: artifacts that are not in the cache are left out.

use std::borrow::Cow;
use std::collections::HashSet;

use futures_util::FutureExt as _;

use super::Run;
use crate::driver::Artifact;
use crate::engine::halt::Mode;
use crate::event::BuildReport;
use crate::plan::{Build, BuildId, Plan};
use crate::run::builds::Builds;

impl Builds {
    /// Looks up a build in the cache. If `only_built`, the report contains the artifacts that are cached; otherwise it
    /// is `None` unless all of them are.
    pub(super) fn look_up(&self, build: &Build, only_built: bool) -> Option<BuildReport> {
        let look_up = |build: &Build| self.build(build, Mode::Lookup).now_or_never().flatten();
        let whole = look_up(build);
        if whole.is_some() || !only_built || build.artifacts.len() == 1 {
            return whole;
        }
        let parts = build.artifacts.iter().filter_map(|&artifact| {
            look_up(&Build {
                artifacts: [artifact].into(),
                ..build.clone()
            })
        });
        parts.reduce(|mut one, other| {
            one.artifacts.extend(other.artifacts.iter().cloned());
            one
        })
    }
}

impl Run {
    /// Leaves out of the run and its plan what is not in the cache, if the settings demand it. Returns the number of
    /// these artifacts.
    pub fn skip_unbuilt(&mut self, plan: &mut Cow<'_, Plan>) -> usize {
        if !self.settings.only_built {
            return 0;
        }
        self.missing.clear();
        let unfinished = self.unproven.iter().chain(&self.undoubled);
        let unfinished = unfinished.map(|(_, report)| report);
        let found = self.found.iter().map(|report| &**report).chain(unfinished);
        let built: HashSet<(BuildId, Artifact)> = found
            .flat_map(|report| {
                let artifacts = report.artifacts.iter();
                artifacts.map(|one| (report.build_id.clone(), one.artifact))
            })
            .collect();
        let is_built = |build: &Build, artifact| built.contains(&(build.id(), artifact));
        self.not_built = plan.to_mut().skip_unbuilt(is_built);
        self.not_built
    }
}
