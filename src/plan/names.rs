//! Who has a name by which the loader asks for a kernel, where several kernels would have it.
//!
//! Decided over the whole plan, so that neither a filter nor a shard changes whose file has a name: a kernel that has
//! the name as its own keeps it; then comes the kernel whose version is in the name as it is, then the first in the
//! order of the plan.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};
use rayon::prelude::*;

use crate::kernel::{Architecture, Kernel, KernelId};
use crate::target::{self, LoaderName};

/// A name by which the loader asks for a kernel that its list names otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The name.
    pub name: LoaderName,
    /// The kernel that has the name instead.
    pub taken_by: Option<Arc<Kernel>>,
    /// Where this kernel has it: those that would have had it too.
    pub rivals: Vec<Arc<Kernel>>,
}

/// The loader's names for the kernels of a plan.
#[derive(Clone, Debug, Default)]
pub struct Names(HashMap<KernelId, Alias, RandomState>);

impl Names {
    /// Decides about the names of all kernels of a plan, which are sorted; `named` are those with a further name.
    pub(super) fn of<'a>(
        kernels: &[&'a Arc<Kernel>],
        named: Vec<(&'a Arc<Kernel>, LoaderName)>,
    ) -> Self {
        let mut claims: HashMap<(LoaderName, Architecture), Vec<&Arc<Kernel>>, RandomState> =
            HashMap::with_capacity_and_hasher(named.len(), RandomState::default());
        for (kernel, name) in named {
            let key = (name, kernel.architecture);
            claims.entry(key).or_default().push(kernel);
        }
        if claims.is_empty() {
            return Self::default();
        }
        // Few kernels have another's name: most names are told apart without a search among all kernels.
        let mut own: Vec<u64> = kernels.par_iter().map(|kernel| own_name(kernel)).collect();
        own.par_sort_unstable();
        let aliases = claims
            .into_par_iter()
            .flat_map_iter(|((name, architecture), claimants)| {
                let hash = hash(&name.target, &name.release, &name.version, architecture);
                let is_owned = own.binary_search(&hash).is_ok();
                let owner = is_owned.then(|| owner_of(&name, architecture, kernels));
                let owner = owner.flatten();
                let winner = owner.unwrap_or_else(|| best_of(&claimants));
                aliases_of(&name, &claimants, winner)
            });
        Self(aliases.collect())
    }

    /// The further name of a kernel.
    pub fn alias(&self, kernel: &Kernel) -> Option<&Alias> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&kernel.id())
    }

    /// The further name of a kernel, where no other kernel has it.
    pub fn published_alias(&self, kernel: &Kernel) -> Option<&LoaderName> {
        let alias = self.alias(kernel)?;
        alias.taken_by.is_none().then_some(&alias.name)
    }

    /// The kernel that has the name by which the loader asks for `kernel`.
    pub fn taken_by(&self, kernel: &Kernel) -> Option<&Arc<Kernel>> {
        self.alias(kernel)?.taken_by.as_ref()
    }

    /// True if some kernel does not have its name.
    pub fn has_conflicts(&self) -> bool {
        self.0.values().any(|alias| alias.taken_by.is_some())
    }
}

/// The name as each of its claimants has it, by the claimant.
fn aliases_of(
    name: &LoaderName,
    claimants: &[&Arc<Kernel>],
    winner: &Arc<Kernel>,
) -> Vec<(KernelId, Alias)> {
    let alias_of = |kernel: &&Arc<Kernel>| {
        let is_winner = Arc::ptr_eq(kernel, winner);
        let others = claimants.iter().filter(|one| !Arc::ptr_eq(one, kernel));
        let alias = Alias {
            name: name.clone(),
            taken_by: (!is_winner).then(|| Arc::clone(winner)),
            rivals: others
                .filter(|_| is_winner)
                .map(|one| Arc::clone(one))
                .collect(),
        };
        (kernel.id(), alias)
    };
    claimants.iter().map(alias_of).collect()
}

/// What stands for a kernel's own name; several names may have one.
fn own_name(kernel: &Kernel) -> u64 {
    let (target, release, version, architecture) = kernel.identity();
    let texts = (target.as_str(), release.as_str(), version.as_str());
    hash(texts.0, texts.1, texts.2, architecture)
}

fn hash(target: &str, release: &str, version: &str, architecture: Architecture) -> u64 {
    FixedState::default().hash_one((target, release, version, architecture))
}

/// The kernel whose own name this is; `kernels` are sorted.
fn owner_of<'a>(
    name: &LoaderName,
    architecture: Architecture,
    kernels: &[&'a Arc<Kernel>],
) -> Option<&'a Arc<Kernel>> {
    let target = name.target.parse().ok()?;
    let release = name.release.parse().ok()?;
    let version = name.version.parse().ok()?;
    let identity = (&target, &release, &version, architecture);
    let position = kernels.binary_search_by(|kernel| kernel.identity().cmp(&identity));
    Some(kernels[position.ok()?])
}

/// The first of those whose version is in the name as it is, else the first.
fn best_of<'a>(claimants: &[&'a Arc<Kernel>]) -> &'a Arc<Kernel> {
    let is_exact = |kernel: &&&Arc<Kernel>| {
        target::find(&kernel.target).is_some_and(|target| target.has_exact_loader_name(kernel))
    };
    claimants.iter().find(is_exact).unwrap_or(&claimants[0])
}
