//! The additions of a run to the remote store.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::keys::Trust;
use super::pack::Writer;
use super::packs::Index;
use super::queue::{Queue, State};
use super::settings::Keep;
use super::trees;
use crate::cache::{Outcome, StepResult};
use crate::digest::Sha256;

/// The additions of this run.
#[derive(Default)]
pub(super) struct News {
    pub(super) outcomes: BTreeMap<Sha256, New>,
    pub(super) records: BTreeMap<String, Vec<u8>>,
    /// Outcomes that turned out to be unusable.
    pub(super) forgotten: HashSet<Sha256>,
    /// The name of the last pack that this run wrote.
    pub(super) pack: Option<String>,
    /// Contents that other machines have uploaded since the start of the run, with their sizes.
    pub(super) learned: HashMap<Sha256, u64>,
}

/// A new outcome.
pub(super) struct New {
    pub(super) text: Vec<u8>,
    /// Contents without which the outcome is useless.
    pub(super) needs: Vec<Sha256>,
    /// True if the outcome came from another machine during the run.
    pub(super) is_learned: bool,
}

/// The contents of an outcome.
pub(super) struct Contents {
    /// Contents without which the outcome is useless.
    pub(super) needs: Vec<Sha256>,
    /// The others.
    pub(super) more: Vec<Sha256>,
    /// A tree to store.
    pub(super) tree: Option<Sha256>,
}

impl Contents {
    /// Returns the contents of an outcome to store; `None` if the outcome is useless to other machines.
    pub(super) fn of(outcome: &Outcome, keep: Keep) -> Option<Self> {
        let mut needs = Vec::new();
        match &outcome.result {
            StepResult::Artifact(facts) if keep.artifacts => needs.push(facts.sha256),
            StepResult::Artifact(_) => return None,
            _ => {}
        }
        let mut more = Vec::new();
        if keep.logs {
            more.extend(outcome.log);
        }
        if keep.headers {
            let fields = outcome.inputs.fields();
            let named = fields.filter(|(name, _)| {
                matches!(
                    (outcome.inputs.kind(), *name),
                    ("unpack", "package") | ("source", "tarball")
                )
            });
            more.extend(named.filter_map(|(_, value)| value.parse::<Sha256>().ok()));
            if let (StepResult::Facts(facts), "download") = (&outcome.result, outcome.inputs.kind())
            {
                more.extend(digests_in(facts));
            }
        }
        // Trees with host programs are as large as their inputs, and are rebuilt in seconds.
        let tree = match (&outcome.result, outcome.inputs.kind()) {
            (StepResult::Tree { sha256, .. }, "prepare") if keep.prepared => Some(*sha256),
            _ => None,
        };
        Some(Self { needs, more, tree })
    }
}

impl News {
    /// Returns a pack of all additions whose contents are in the bucket, the number of outcomes in it, and the number
    /// of those that have to wait.
    pub(super) fn pack(
        &self,
        index: &Index,
        queue: &Queue,
        trust: &Trust,
    ) -> std::io::Result<(Vec<u8>, (usize, usize))> {
        let mut writer = Writer::new()?;
        let (mut ready, mut waiting) = (0, 0);
        let is_there = |content: &Sha256| {
            index.size_of(*content).is_some()
                || self.learned.contains_key(content)
                || matches!(queue.state(*content), Some(State::Sent { .. }))
        };
        let is_lost = |content: &Sha256| queue.state(*content) == Some(State::Absent);
        for (key, new) in &self.outcomes {
            if new.needs.iter().all(is_there) {
                writer.outcome(*key, &new.text)?;
                ready += 1;
            } else if !new.needs.iter().any(is_lost) {
                waiting += 1;
            }
        }
        for (url, text) in &self.records {
            writer.record(url, text)?;
        }
        let learned = self.learned.iter().map(|(&content, &size)| (content, size));
        for (content, size_bytes) in queue.sent().into_iter().chain(learned) {
            writer.content(content, size_bytes)?;
        }
        for (tree, content) in queue.sent_trees() {
            writer.record(&trees::record_of(tree), content.to_string().as_bytes())?;
        }
        Ok((writer.finish(trust)?, (ready, waiting)))
    }
}

/// Returns the digests of the files that a package manager downloaded.
fn digests_in(facts: &serde_json::Value) -> Vec<Sha256> {
    let files = facts.as_array().into_iter().flatten();
    let digests = files.filter_map(|file| file.get("sha256")?.as_str()?.parse().ok());
    digests.collect()
}
