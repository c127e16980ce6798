//! Updates a lock if only some sources of a `[[target]]` could be read.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::latest::Latest;
use super::{Asked, Changes, Lock, LockedKernel, RefreshRules, State};
use crate::kernel::{Kernel, KernelId};

impl Lock {
    /// Returns the kernels of a `[[target]]` that are in the lock and asked for.
    pub fn known(&self, asked: &Asked<'_>) -> Vec<Arc<Kernel>> {
        let known = self.known_of(asked);
        known.map(|locked| Arc::clone(&locked.kernel)).collect()
    }

    fn known_of<'a>(&'a self, asked: &'a Asked<'_>) -> impl Iterator<Item = &'a LockedKernel> {
        self.kernels.iter().filter(|locked| {
            *locked.label == *asked.label
                && !matches!(locked.state, State::Gone(_))
                && (asked.takes)(&locked.kernel, locked.first_seen)
        })
    }

    /// Like [`Lock::refresh`], if not all sources of the `[[target]]` could be read. Missing kernels are kept as they
    /// were. If the lock was stale, it stays stale.
    pub fn refresh_partly(
        &mut self,
        asked: &Asked<'_>,
        mut discovered: Vec<Arc<Kernel>>,
        rules: &RefreshRules<'_>,
    ) -> Changes {
        let label = asked.label;
        let found: HashSet<KernelId> = discovered.iter().map(|kernel| kernel.id()).collect();
        let kept: HashMap<KernelId, State> = self
            .known_of(asked)
            .map(|locked| (locked.kernel.id(), locked.state))
            .filter(|(id, _)| !found.contains(id))
            .collect();
        let missing = self
            .kernels
            .iter()
            .filter(|locked| *locked.label == *label && kept.contains_key(&locked.kernel.id()));
        let missing: Vec<Arc<Kernel>> = missing.map(|locked| Arc::clone(&locked.kernel)).collect();
        self.drop_slid(asked, &mut discovered, &missing);
        discovered.extend(missing);
        let source = self.sources.get(label).copied();
        let limits = self.limits.get(label).copied();
        let mut changes = self.refresh(asked, discovered, rules);
        for (map, before) in [(&mut self.sources, source), (&mut self.limits, limits)] {
            match before {
                Some(before) => map.insert(label.to_owned(), before),
                None => map.remove(label),
            };
        }
        for locked in &mut self.kernels {
            if *locked.label == *label
                && let Some(state) = kept.get(&locked.kernel.id())
            {
                locked.state = *state;
                changes.unconfirmed.push(Arc::clone(&locked.kernel));
            }
        }
        changes
    }

    /// Drops new kernels that `latest` would exclude if their source also listed the missing kernels.
    fn drop_slid(
        &self,
        asked: &Asked<'_>,
        discovered: &mut Vec<Arc<Kernel>>,
        missing: &[Arc<Kernel>],
    ) {
        let listed = discovered.clone();
        let listed = || listed.iter().map(|kernel| &**kernel);
        let alone = Latest::of(asked.sources, listed());
        let missing = missing.iter().map(|kernel| &**kernel);
        let all = Latest::of(asked.sources, listed().chain(missing));
        let known: HashSet<KernelId> = self.known_of(asked).map(|one| one.kernel.id()).collect();
        discovered.retain(|kernel| {
            known.contains(&kernel.id()) || alone.excludes(kernel) || !all.excludes(kernel)
        });
    }
}
