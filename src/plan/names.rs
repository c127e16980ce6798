//! Who has a name by which the loader asks for a kernel, where several kernels would have it.
//!
//! Decided over the whole plan, so that neither a filter nor a shard changes whose file has a name: a kernel that has
//! the name as its own keeps it; then comes the kernel whose version is in the name as it is, then the first in the
//! order of the plan.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::FixedState;
use rayon::prelude::*;

use crate::kernel::{Architecture, Identity, Kernel, TargetId};
use crate::target::{self, LoaderName};

/// The number of names that are decided before the results are collected.
const DECIDED_AT_ONCE: usize = 16 << 10;

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

/// The loader's names for the kernels of a plan, sorted by the hashes of the kernels' own names.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<Named>);

/// A kernel that has a further name.
#[derive(Clone, Debug)]
struct Named {
    /// Of its own name.
    hash: u64,
    kernel: Arc<Kernel>,
    alias: Alias,
}

/// A kernel that the loader asks for by a further name.
pub(super) struct Claim<'a> {
    hash: u64,
    name: LoaderName,
    kernel: &'a Arc<Kernel>,
}

impl<'a> Claim<'a> {
    pub(super) fn new(kernel: &'a Arc<Kernel>, name: LoaderName) -> Self {
        Self {
            hash: hash((
                &name.target,
                &name.release,
                &name.version,
                kernel.architecture,
            )),
            name,
            kernel,
        }
    }

    fn key(&self) -> (u64, &LoaderName, Architecture) {
        (self.hash, &self.name, self.kernel.architecture)
    }

    /// Orders by names: by their hashes as long as these differ.
    fn order(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Names {
    /// Decides about the names of all kernels of a plan, which are sorted; the claims are in the order of the kernels.
    pub(super) fn of(kernels: &[&Arc<Kernel>], mut claims: Vec<Claim<'_>>) -> Self {
        let own = own_names(kernels, &claims);
        claims.par_sort_by(Claim::order);
        let groups: Vec<&[Claim<'_>]> = claims
            .chunk_by(|left, right| left.order(right).is_eq())
            .collect();
        let mut named: Vec<Named> = Vec::with_capacity(claims.len());
        // In parts: a collection of all at once would be in memory twice.
        for some in groups.chunks(DECIDED_AT_ONCE) {
            named.par_extend(some.par_iter().flat_map_iter(|claims| {
                let is_owned = own.binary_search(&claims[0].hash).is_ok();
                let owner = is_owned.then(|| owner_of(&claims[0], kernels));
                let winner = owner.flatten().unwrap_or_else(|| best_of(claims));
                decided(claims, winner)
            }));
        }
        named.par_sort_unstable_by_key(|one| one.hash);
        Self(named)
    }

    /// The further name of a kernel.
    pub fn alias(&self, kernel: &Kernel) -> Option<&Alias> {
        if self.0.is_empty() {
            return None;
        }
        let identity = kernel.identity();
        let hash = hash(identity);
        let start = self.0.partition_point(|one| one.hash < hash);
        let mut same = self.0[start..].iter().take_while(|one| one.hash == hash);
        let named = same.find(|one| one.kernel.identity() == identity)?;
        Some(&named.alias)
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
        self.0.iter().any(|one| one.alias.taken_by.is_some())
    }
}

/// What the claimants of one name get.
fn decided(claims: &[Claim<'_>], winner: &Arc<Kernel>) -> impl Iterator<Item = Named> {
    claims.iter().map(|claim| {
        let kernel = claim.kernel;
        let is_winner = Arc::ptr_eq(kernel, winner);
        let others = claims.iter().map(|one| one.kernel);
        let rivals = others.filter(|one| is_winner && !Arc::ptr_eq(one, kernel));
        Named {
            hash: hash(kernel.identity()),
            kernel: Arc::clone(kernel),
            alias: Alias {
                name: claim.name.clone(),
                taken_by: (!is_winner).then(|| Arc::clone(winner)),
                rivals: rivals.map(Arc::clone).collect(),
            },
        }
    })
}

/// The hashes, sorted, of the own names of those kernels whose targets are in claimed names. Few kernels have another's
/// name: most names are told apart without a search among all kernels, which are sorted.
fn own_names(kernels: &[&Arc<Kernel>], claims: &[Claim<'_>]) -> Vec<u64> {
    let targets: BTreeSet<&TargetId> = claims
        .chunk_by(|left, right| left.name.target == right.name.target)
        .map(|claims| &claims[0].name.target)
        .collect();
    let mut hashes = Vec::new();
    for target in targets {
        let start = kernels.partition_point(|kernel| kernel.target < *target);
        let of_target = &kernels[start..];
        let count = of_target.partition_point(|kernel| kernel.target == *target);
        let of_target = of_target[..count].par_iter();
        hashes.par_extend(of_target.map(|kernel| hash(kernel.identity())));
    }
    hashes.par_sort_unstable();
    hashes
}

/// What stands for a name; several names may have one.
fn hash((target, release, version, architecture): Identity<'_>) -> u64 {
    let texts = (target.as_str(), release.as_str(), version.as_str());
    FixedState::default().hash_one((texts, architecture))
}

/// The kernel whose own name is claimed; `kernels` are sorted.
fn owner_of<'a>(claim: &Claim<'_>, kernels: &[&'a Arc<Kernel>]) -> Option<&'a Arc<Kernel>> {
    let LoaderName {
        target,
        release,
        version,
    } = &claim.name;
    let identity = (target, release, version, claim.kernel.architecture);
    let position = kernels.binary_search_by(|kernel| kernel.identity().cmp(&identity));
    Some(kernels[position.ok()?])
}

/// The first of the claimants whose version is in the name as it is, else the first.
fn best_of<'a>(claims: &[Claim<'a>]) -> &'a Arc<Kernel> {
    let is_exact = |claim: &&Claim<'_>| {
        let target = target::find(&claim.kernel.target);
        target.is_some_and(|target| target.has_exact_loader_name(claim.kernel))
    };
    claims.iter().find(is_exact).unwrap_or(&claims[0]).kernel
}
