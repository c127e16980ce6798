//! What a run adds to the remote store.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::keys::Trust;
use super::pack::Writer;
use super::packs::Index;
use super::queue::{Queue, State};
use super::settings::Keep;
use super::trees;
use crate::cache::{Outcome, StepResult};
use crate::digest::Sha256;

/// What this run adds.
#[derive(Default)]
pub(super) struct News {
    pub(super) outcomes: BTreeMap<Sha256, New>,
    pub(super) records: BTreeMap<String, Vec<u8>>,
    /// Outcomes that turned out to be of no use.
    pub(super) forgotten: HashSet<Sha256>,
    /// The pack that holds what was finished so far.
    pub(super) pack: Option<String>,
    /// Contents that other machines sent meanwhile, with their sizes.
    pub(super) learned: HashMap<Sha256, u64>,
}

/// A new outcome.
pub(super) struct New {
    pub(super) text: Vec<u8>,
    /// Contents that it is nothing without.
    pub(super) needs: Vec<Sha256>,
    /// Whether another machine has it from its own work, and this one heard of it.
    pub(super) is_learned: bool,
}

/// The contents of an outcome.
pub(super) struct Contents {
    /// Those that it is nothing without.
    pub(super) needs: Vec<Sha256>,
    /// The others.
    pub(super) more: Vec<Sha256>,
    /// A tree that is kept.
    pub(super) tree: Option<Sha256>,
}

impl Contents {
    /// What is kept of an outcome; none where the outcome is nothing to others.
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
        // Those of host programs are as large as what they are made of, and made again in seconds.
        let tree = match (&outcome.result, outcome.inputs.kind()) {
            (StepResult::Tree { sha256, .. }, "prepare") if keep.prepared => Some(*sha256),
            _ => None,
        };
        Some(Self { needs, more, tree })
    }
}

impl News {
    /// A pack of everything new whose contents are in the bucket; how many outcomes are in it, and how many have to wait.
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

/// The digests of files that a download by a package manager gave.
fn digests_in(facts: &serde_json::Value) -> Vec<Sha256> {
    let files = facts.as_array().into_iter().flatten();
    let digests = files.filter_map(|file| file.get("sha256")?.as_str()?.parse().ok());
    digests.collect()
}
