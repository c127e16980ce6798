//! Assigns the names by which the loader requests kernels, and resolves conflicts when several kernels claim one name.
//!
//! Names are assigned over the whole plan, so that neither a filter nor a shard changes the result. A kernel whose own
//! name equals the claimed name keeps it. Otherwise the kernel whose version appears unchanged in the name gets it,
//! otherwise the first kernel in plan order.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::FixedState;
use rayon::prelude::*;

use crate::kernel::{Architecture, Identity, Kernel, TargetId};
use crate::target::{self, LoaderName};

/// The number of names that are assigned before the results are collected.
const DECIDED_AT_ONCE: usize = 16 << 10;

/// A name by which the loader requests a kernel, different from the kernel's name in its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The name.
    pub name: LoaderName,
    /// The kernel that got the name instead; `None` if this kernel got it.
    pub taken_by: Option<Arc<Kernel>>,
    /// If this kernel got the name: the other kernels that claimed it.
    pub rivals: Vec<Arc<Kernel>>,
}

/// The loader's names for the kernels of a plan.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// The kernels with an alias, sorted by the hashes of the kernels' own names.
    named: Vec<Named>,
    /// True if hosts request every kernel of the plan by its own name.
    are_all_asked: bool,
}

/// A kernel with an alias.
#[derive(Clone, Debug)]
struct Named {
    /// The hash of the kernel's own name.
    hash: u64,
    kernel: Arc<Kernel>,
    alias: Alias,
}

/// A kernel that claims a name as its alias.
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

    /// Orders claims by the hash of the name, then by the name.
    fn order(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Names {
    /// Assigns the names of all kernels of a plan. `kernels` must be sorted, and the claims must be in their order.
    /// `are_all_asked` is true if hosts request every kernel by its own name.
    pub(super) fn of(
        kernels: &[&Arc<Kernel>],
        mut claims: Vec<Claim<'_>>,
        are_all_asked: bool,
    ) -> Self {
        let own = own_names(kernels, &claims);
        claims.par_sort_by(Claim::order);
        let groups: Vec<&[Claim<'_>]> = claims
            .chunk_by(|left, right| left.order(right).is_eq())
            .collect();
        let mut named: Vec<Named> = Vec::with_capacity(claims.len());
        // In parts, because collecting all at once would hold them in memory twice.
        for some in groups.chunks(DECIDED_AT_ONCE) {
            named.par_extend(some.par_iter().flat_map_iter(|claims| {
                let is_owned = own.binary_search(&claims[0].hash).is_ok();
                let owner = is_owned.then(|| owner_of(&claims[0], kernels));
                let winner = owner.flatten().unwrap_or_else(|| best_of(claims));
                decided(claims, winner)
            }));
        }
        named.par_sort_unstable_by_key(|one| one.hash);
        Self {
            named,
            are_all_asked,
        }
    }

    /// Returns true if hosts request every kernel of the plan by its own name. A plan that was not expanded from
    /// matrices does not know.
    pub fn are_all_asked(&self) -> bool {
        self.are_all_asked
    }

    /// The alias of a kernel.
    pub fn alias(&self, kernel: &Kernel) -> Option<&Alias> {
        if self.named.is_empty() {
            return None;
        }
        let identity = kernel.identity();
        let hash = hash(identity);
        let start = self.named.partition_point(|one| one.hash < hash);
        let mut same = self.named[start..]
            .iter()
            .take_while(|one| one.hash == hash);
        let named = same.find(|one| one.kernel.identity() == identity)?;
        Some(&named.alias)
    }

    /// The alias of a kernel, unless another kernel got the name.
    pub fn published_alias(&self, kernel: &Kernel) -> Option<&LoaderName> {
        let alias = self.alias(kernel)?;
        alias.taken_by.is_none().then_some(&alias.name)
    }

    /// The other kernel that got the name by which the loader requests `kernel`.
    pub fn taken_by(&self, kernel: &Kernel) -> Option<&Arc<Kernel>> {
        self.alias(kernel)?.taken_by.as_ref()
    }

    /// Returns true if another kernel got the alias of some kernel.
    pub fn has_conflicts(&self) -> bool {
        self.named.iter().any(|one| one.alias.taken_by.is_some())
    }
}

/// Returns the alias of each kernel that claims one name.
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

/// Returns the sorted hashes of the own names of those kernels whose targets are in claimed names. Few claimed names
/// equal another kernel's own name, so comparing hashes avoids searching all kernels for most of them.
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

/// Returns the hash of a name; different names may have the same hash.
fn hash((target, release, version, architecture): Identity<'_>) -> u64 {
    let texts = (target.as_str(), release.as_str(), version.as_str());
    FixedState::default().hash_one((texts, architecture))
}

/// Returns the kernel whose own name is claimed; `kernels` must be sorted.
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

/// Returns the first claimant whose version appears unchanged in the name, otherwise the first claimant.
fn best_of<'a>(claims: &[Claim<'a>]) -> &'a Arc<Kernel> {
    let is_exact = |claim: &&Claim<'_>| {
        let target = target::find(&claim.kernel.target);
        target.is_some_and(|target| target.has_exact_loader_name(claim.kernel))
    };
    claims.iter().find(is_exact).unwrap_or(&claims[0]).kernel
}
