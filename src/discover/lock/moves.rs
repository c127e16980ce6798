//! Moves kernels of a lock from the `[[target]]` that listed them to the one that lists them now, so that they keep
//! their digests and the day on which they were first seen.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::refresh::versioned_names;
use super::{Asked, Lock, State};
use crate::kernel::Kernel;

/// The kernels that the sources of a `[[target]]` list now.
#[derive(Clone, Copy, Debug)]
pub struct Listing<'a> {
    /// The `[[target]]`.
    pub asked: Asked<'a>,
    /// Its kernels, in any order.
    pub kernels: &'a [Arc<Kernel>],
}

/// The label of the `[[target]]` that each moved kernel belongs to now, by the kernel's position in the lock.
type Moves = BTreeMap<usize, Arc<str>>;

impl Lock {
    /// Moves a kernel to another `[[target]]` that lists it, if its own does not ask for it any more, or lists it no
    /// more and the other one lists its packages under a new name. `all` contains the `[[target]]`s whose sources
    /// could all be read.
    pub fn follow_listed(&mut self, all: &[Listing<'_>]) {
        if all.len() < 2 || self.kernels.is_empty() {
            return;
        }
        let mut moves = Moves::new();
        let mut is_listed = vec![false; self.kernels.len()];
        let mut new: Vec<(&Listing<'_>, &Kernel)> = Vec::new();
        for listing in all {
            for kernel in listing.kernels {
                let mut same = self.positions_of(kernel);
                if same.is_empty() {
                    new.push((listing, kernel));
                    continue;
                }
                let label = listing.asked.label;
                let own = same.clone().find(|one| *self.kernels[*one].label == *label);
                if let Some(own) = own {
                    is_listed[own] = true;
                } else if let Some(other) = same.find(|one| self.is_unasked(*one, all)) {
                    moves.entry(other).or_insert_with(|| label.into());
                }
            }
        }
        if !new.is_empty() {
            let is_missing = |position: &usize| {
                let label = &*self.kernels[*position].label;
                !is_listed[*position]
                    && !moves.contains_key(position)
                    && all.iter().any(|listing| listing.asked.label == label)
            };
            let missing: Vec<usize> = (0..self.kernels.len()).filter(is_missing).collect();
            let renamed = self.renamed(&missing, &new);
            moves.extend(renamed);
        }
        if moves.is_empty() {
            return;
        }
        for (position, label) in moves {
            self.kernels[position].label = label;
        }
        self.sort();
    }

    /// Returns the positions of the kernels with the identity of `kernel`: one for each `[[target]]`.
    fn positions_of(&self, kernel: &Kernel) -> Range<usize> {
        let identity = kernel.identity();
        let start = self
            .kernels
            .partition_point(|locked| locked.kernel.identity() < identity);
        let same = self.kernels[start..]
            .iter()
            .take_while(|locked| locked.kernel.identity() == identity);
        start..start + same.count()
    }

    /// Whether the `[[target]]` of a kernel does not ask for it any more.
    fn is_unasked(&self, position: usize, all: &[Listing<'_>]) -> bool {
        let locked = &self.kernels[position];
        let mut all = all.iter();
        let own = all.find(|listing| *listing.asked.label == *locked.label);
        own.is_some_and(|own| !(own.asked.takes)(&locked.kernel, locked.first_seen))
    }

    /// Pairs missing kernels with new kernels of another `[[target]]` that have their packages, one to one.
    fn renamed(&self, missing: &[usize], new: &[(&Listing<'_>, &Kernel)]) -> Moves {
        let mut moves = Moves::new();
        let mut is_paired = vec![false; new.len()];
        // As within a `[[target]]`, missing kernels have precedence over gone ones, and then those of the same target.
        for (is_gone, within_target) in [(false, true), (false, false), (true, true), (true, false)]
        {
            let key = |kernel: &Kernel| {
                let target = within_target.then(|| kernel.target.clone());
                let names = versioned_names(kernel)?;
                Some((target, kernel.architecture, kernel.version.clone(), names))
            };
            let mut groups: HashMap<_, (Vec<usize>, Vec<usize>)> = HashMap::new();
            for (index, (_, kernel)) in new.iter().enumerate() {
                if let Some(key) = key(kernel).filter(|_| !is_paired[index]) {
                    groups.entry(key).or_default().1.push(index);
                }
            }
            for &position in missing {
                let locked = &self.kernels[position];
                let is_wanted = matches!(locked.state, State::Gone(_)) == is_gone
                    && !moves.contains_key(&position);
                if is_wanted
                    && let Some(key) = key(&locked.kernel)
                    && let Some(group) = groups.get_mut(&key)
                {
                    group.0.push(position);
                }
            }
            for group in groups.into_values() {
                let ([position], [index]) = (&*group.0, &*group.1) else {
                    continue;
                };
                let (locked, (listing, kernel)) = (&self.kernels[*position], new[*index]);
                if locked.kernel.packages.is_same_content(&kernel.packages) {
                    is_paired[*index] = true;
                    if *locked.label != *listing.asked.label {
                        moves.insert(*position, listing.asked.label.into());
                    }
                }
            }
        }
        moves
    }
}
