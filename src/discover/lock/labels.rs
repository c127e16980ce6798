//! Which `[[target]]` of the matrix a kernel of the lock belongs to, once the matrix was edited: renaming or splitting
//! a `[[target]]` forgets nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;

use super::Lock;
use crate::digest::Sha256;
use crate::kernel::Kernel;

/// What a `[[target]]` asks for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The label of the `[[target]]`.
    pub label: &'a str,
    /// The digest of all that it says about its sources.
    pub source: Sha256,
    /// The digest of what limits its sources beside names and patterns: kinds, suites, flavours, numbers and days.
    /// While it stays, a kernel that is asked for and not named any more is one that the source lost.
    pub limits: Sha256,
    /// Whether the `[[target]]` asks for a kernel by target, architecture and patterns, and for one that is known since
    /// a day.
    pub takes: &'a dyn Fn(&Kernel, Date) -> bool,
    /// Whether kernels of targets without rules are meant, because the matrix names the target.
    pub is_literal: bool,
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Asked").field(&self.label).finish()
    }
}

impl Lock {
    /// Moves kernels to the `[[target]]`s that ask for them now. `all` are those of the matrix, in its order.
    pub fn follow(&mut self, all: &[Asked<'_>]) {
        self.follow_sources(all);
        let labels: BTreeSet<&str> = all.iter().map(|asked| asked.label).collect();
        let new: Vec<&Asked<'_>> = all
            .iter()
            .filter(|asked| !self.sources.contains_key(asked.label))
            .collect();
        if new.is_empty() {
            return;
        }
        let mut limits: BTreeMap<String, Sha256> = BTreeMap::new();
        let mut is_moved = false;
        for locked in &mut self.kernels {
            let own = all.iter().find(|asked| *asked.label == *locked.label);
            if own.is_some_and(|asked| (asked.takes)(&locked.kernel, locked.first_seen)) {
                continue;
            }
            let is_orphan = !labels.contains(&*locked.label);
            if !is_orphan && own.is_none() {
                continue;
            }
            if let Some(asked) = new
                .iter()
                .find(|asked| (asked.takes)(&locked.kernel, locked.first_seen))
            {
                if let Some(known) = self.limits.get(&*locked.label) {
                    limits.entry(asked.label.to_owned()).or_insert(*known);
                }
                locked.label = asked.label.into();
                is_moved = true;
            }
        }
        self.limits.extend(limits);
        if is_moved {
            self.sort();
        }
    }

    /// Renames what only has another label: a `[[target]]` that comes twice is `debian#2` until the first one goes.
    fn follow_sources(&mut self, all: &[Asked<'_>]) {
        let mut renamed: BTreeMap<String, &str> = BTreeMap::new();
        let is_kept = |label: &str, digest: &Sha256| {
            all.iter()
                .any(|asked| asked.label == label && asked.source == *digest)
        };
        for asked in all {
            if self.sources.get(asked.label) == Some(&asked.source) {
                continue;
            }
            let before = self.sources.iter().find(|(label, digest)| {
                **digest == asked.source && !is_kept(label, digest) && !renamed.contains_key(*label)
            });
            if let Some((before, _)) = before {
                renamed.insert(before.clone(), asked.label);
            }
        }
        if renamed.is_empty() {
            return;
        }
        let taken: BTreeSet<&str> = renamed.values().copied().collect();
        // What had the name before is another source, which the matrix has no more.
        self.kernels.retain(|locked| {
            renamed.contains_key(&*locked.label) || !taken.contains(&*locked.label)
        });
        for map in [&mut self.sources, &mut self.limits] {
            map.retain(|label, _| renamed.contains_key(label) || !taken.contains(label.as_str()));
            let moved: Vec<(String, Sha256)> = renamed
                .iter()
                .filter_map(|(before, after)| Some(((*after).to_owned(), map.remove(before)?)))
                .collect();
            map.extend(moved);
        }
        let after: BTreeMap<&str, Arc<str>> = renamed
            .iter()
            .map(|(before, after)| (before.as_str(), Arc::from(*after)))
            .collect();
        for locked in &mut self.kernels {
            if let Some(label) = after.get(&*locked.label) {
                locked.label = Arc::clone(label);
            }
        }
        self.sort();
    }
}
