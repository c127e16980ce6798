//! Groups failures that look alike: one broken driver on a hundred kernels is one problem.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use super::signature::signature;
use super::text::failure_text;
use crate::event::BuildReport;
use crate::failure::{FailureClass, Phase, Status};
use crate::plan::BuildId;

/// The number of builds that are listed for each group.
const SAMPLES: usize = 3;

/// Artifacts that failed in the same way.
#[derive(Default)]
pub(super) struct Group {
    /// The number of artifacts.
    pub(super) artifacts: usize,
    /// For downloads, the servers and their answers.
    servers: Option<String>,
    /// The number of artifacts whose failure is cached from an earlier run.
    pub(super) as_before: usize,
    /// True if a rule expects them; known and unexpected failures are never in one group.
    pub(super) is_known: bool,
    /// The first builds of the group by ID, each with the failure text and the log.
    pub(super) samples: BTreeMap<BuildId, (String, Option<PathBuf>)>,
}

impl Group {
    /// The failure text: for several downloads, what they have in common; otherwise that of the first build.
    pub(super) fn text(&self) -> &str {
        if let Some(servers) = self.servers.as_deref().filter(|_| self.samples.len() > 1) {
            return servers;
        }
        let first = self.samples.values().next();
        first.map_or("", |(text, _)| text)
    }
}

/// All failures of a run.
#[derive(Default)]
pub(super) struct Groups(HashMap<(FailureClass, Phase, String, bool), Group>);

impl Groups {
    /// Adds the failures of a finished build.
    pub(super) fn add(&mut self, report: &BuildReport) {
        for artifact in &report.artifacts {
            let Some(failure) = artifact.failing() else {
                continue;
            };
            let signature = signature(failure, report.into());
            let is_download = failure.class == FailureClass::Download;
            let servers = is_download.then(|| format!("{}: {signature}", failure.class));
            let is_known = artifact.status == Status::Known;
            let key = (failure.class, failure.phase, signature, is_known);
            let group = self.0.entry(key).or_default();
            group.servers = servers;
            group.is_known = is_known;
            group.artifacts += 1;
            group.as_before += usize::from(artifact.failure_is_cached);
            let sample = || (failure_text(failure), artifact.log.clone());
            group
                .samples
                .entry(report.build_id.clone())
                .or_insert_with(sample);
            if group.samples.len() > SAMPLES {
                group.samples.pop_last();
            }
        }
    }

    /// Returns the groups, the largest first.
    pub(super) fn largest_first(&self) -> Vec<(Phase, &Group)> {
        let mut groups: Vec<_> = self.0.iter().collect();
        groups.sort_unstable_by_key(|(key, group)| (std::cmp::Reverse(group.artifacts), *key));
        groups
            .into_iter()
            .map(|((_, phase, ..), group)| (*phase, group))
            .collect()
    }
}
