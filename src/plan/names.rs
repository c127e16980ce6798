//! Assigns the names by which the loader requests kernels, and resolves conflicts when several kernels claim one name.
//!
//! Names are assigned over the whole plan, so that neither a filter nor a shard changes the result. A kernel whose own
//! name equals the claimed name keeps it. Otherwise the kernel whose version appears unchanged in the name gets it,
//! otherwise the first kernel in plan order.
//!
//! A file belongs to a driver version. So a kernel gets a name only for artifacts that the plan contains for it: if rules
//! leave one out, the next kernel gets the name for that artifact.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::FixedState;
use rayon::prelude::*;
use smallvec::SmallVec;

use super::Build;
use crate::driver::{Artifact, DriverVersion};
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
    /// Artifacts for which another kernel got the name, because the plan does not contain the artifact of the kernel
    /// that got it otherwise; sorted like `named`.
    exceptions: Vec<Exception>,
    /// The targets with a kernel that no host requests by its own name; `None` if they are not known.
    unasked: Option<BTreeSet<TargetId>>,
}

/// An artifact of a kernel with an alias that is assigned in its own way.
#[derive(Clone, Debug)]
struct Exception {
    driver: DriverVersion,
    artifact: Artifact,
    named: Named,
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

    /// Returns the claim's alias if `winner` gets the name; `all` are the kernels that claim it.
    fn named(&self, winner: &Arc<Kernel>, all: &[&Arc<Kernel>]) -> Named {
        let is_winner = Arc::ptr_eq(self.kernel, winner);
        let others = all.iter().copied();
        let rivals = others.filter(|one| is_winner && !Arc::ptr_eq(one, self.kernel));
        Named {
            hash: hash(self.kernel.identity()),
            kernel: Arc::clone(self.kernel),
            alias: Alias {
                name: self.name.clone(),
                taken_by: (!is_winner).then(|| Arc::clone(winner)),
                rivals: rivals.map(Arc::clone).collect(),
            },
        }
    }

    /// Orders claims by the hash of the name, then by the name.
    fn order(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Names {
    /// Assigns the names of all kernels of a plan. `kernels` must be sorted and may contain a kernel several times, if
    /// several matrices name it; the claims must be in their order. `unasked` are the targets with a kernel that no host
    /// requests by its own name. `builds` are those of the plan, sorted by kernel.
    pub(super) fn of<'a>(
        builds: &[Build],
        kernels: &[&'a Arc<Kernel>],
        mut claims: Vec<Claim<'a>>,
        unasked: BTreeSet<TargetId>,
    ) -> Self {
        let own = own_names(kernels, &claims);
        claims.par_sort_by(Claim::order);
        let groups: Vec<&[Claim<'_>]> = claims
            .chunk_by(|left, right| left.order(right).is_eq())
            .collect();
        let mut named: Vec<Named> = Vec::with_capacity(claims.len());
        let mut exceptions: Vec<Exception> = Vec::new();
        // In parts, because collecting all at once would hold them in memory twice.
        for some in groups.chunks(DECIDED_AT_ONCE) {
            let some = some.par_iter();
            named.par_extend(
                some.clone()
                    .flat_map_iter(|claims| decided(claims, winner_of(claims, kernels, &own))),
            );
            exceptions.par_extend(some.flat_map_iter(|claims| {
                let winner = winner_of(claims, kernels, &own);
                if claims.iter().all(|claim| Arc::ptr_eq(claim.kernel, winner)) {
                    return Vec::new();
                }
                exceptions_of(claims, winner, builds)
            }));
        }
        named.par_sort_unstable_by_key(|one| one.hash);
        exceptions.sort_by_key(|one| one.named.hash);
        Self {
            named,
            exceptions,
            unasked: Some(unasked),
        }
    }

    /// Returns true if hosts request every kernel of a target by its own name. A plan that was not expanded from
    /// matrices does not know.
    pub fn are_all_asked(&self, target: &TargetId) -> bool {
        let unasked = self.unasked.as_ref();
        unasked.is_some_and(|unasked| !unasked.contains(target))
    }

    /// The alias of an artifact of a build.
    pub fn alias(&self, build: &Build, artifact: Artifact) -> Option<&Alias> {
        if self.named.is_empty() {
            return None;
        }
        let identity = build.kernel.identity();
        let hash = hash(identity);
        let is_of = |named: &Named| named.kernel.identity() == identity;
        let start = self.exceptions.partition_point(|one| one.named.hash < hash);
        let mut same = self.exceptions[start..]
            .iter()
            .take_while(|one| one.named.hash == hash);
        let exception = same.find(|one| {
            one.artifact == artifact && one.driver == build.driver.version && is_of(&one.named)
        });
        if let Some(exception) = exception {
            return Some(&exception.named.alias);
        }
        let start = self.named.partition_point(|one| one.hash < hash);
        let mut same = self.named[start..]
            .iter()
            .take_while(|one| one.hash == hash);
        let named = same.find(|one| is_of(one))?;
        Some(&named.alias)
    }

    /// The alias of an artifact, unless another kernel got the name.
    pub fn published_alias(&self, build: &Build, artifact: Artifact) -> Option<&LoaderName> {
        let alias = self.alias(build, artifact)?;
        alias.taken_by.is_none().then_some(&alias.name)
    }

    /// The other kernel that got the name by which the loader requests the artifact.
    pub fn taken_by(&self, build: &Build, artifact: Artifact) -> Option<&Arc<Kernel>> {
        self.alias(build, artifact)?.taken_by.as_ref()
    }

    /// Returns true if another kernel got the alias of some kernel.
    pub fn has_conflicts(&self) -> bool {
        self.named.iter().any(|one| one.alias.taken_by.is_some())
    }
}

/// Returns the alias of each kernel that claims one name.
fn decided<'a>(
    claims: &'a [Claim<'a>],
    winner: &'a Arc<Kernel>,
) -> impl Iterator<Item = Named> + 'a {
    let claims = claims.iter();
    let others: SmallVec<[&Arc<Kernel>; 2]> = claims.clone().map(|claim| claim.kernel).collect();
    claims.map(move |claim| claim.named(winner, &others))
}

/// Returns the artifacts that the plan does not contain for the winner of a name, but for other kernels that claim it.
fn exceptions_of(claims: &[Claim<'_>], winner: &Arc<Kernel>, builds: &[Build]) -> Vec<Exception> {
    let artifacts_of = |kernel: &Kernel| -> BTreeSet<(DriverVersion, Artifact)> {
        let start = builds.partition_point(|build| build.kernel.identity() < kernel.identity());
        let own = builds[start..]
            .iter()
            .take_while(|build| build.kernel.identity() == kernel.identity());
        own.flat_map(|build| {
            let artifacts = build.artifacts.iter();
            artifacts.map(|artifact| (build.driver.version.clone(), *artifact))
        })
        .collect()
    };
    let of_winner = artifacts_of(winner);
    let mut claimed: BTreeMap<(DriverVersion, Artifact), Vec<&Claim<'_>>> = BTreeMap::new();
    for claim in claims {
        for artifact in artifacts_of(claim.kernel) {
            if !of_winner.contains(&artifact) {
                claimed.entry(artifact).or_default().push(claim);
            }
        }
    }
    let decided = claimed
        .into_iter()
        .flat_map(|((driver, artifact), claims)| {
            let winner = best_of(claims.iter().copied());
            let others: Vec<&Arc<Kernel>> = claims.iter().map(|claim| claim.kernel).collect();
            let exceptions = claims.iter().map(|claim| Exception {
                driver: driver.clone(),
                artifact,
                named: claim.named(winner, &others),
            });
            exceptions.collect::<Vec<_>>()
        });
    decided.collect()
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

/// Returns the kernel that gets a claimed name. This is the kernel with that name in its list, if there is one,
/// otherwise the best claimant. `own` is the result of [`own_names`].
fn winner_of<'a>(
    claims: &[Claim<'a>],
    kernels: &[&'a Arc<Kernel>],
    own: &[u64],
) -> &'a Arc<Kernel> {
    let is_owned = own.binary_search(&claims[0].hash).is_ok();
    let owner = is_owned.then(|| owner_of(&claims[0], kernels)).flatten();
    owner.unwrap_or_else(|| best_of(claims.iter()))
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

/// Returns the first claimant whose version appears unchanged in the name, otherwise the first claimant. There is at
/// least one.
fn best_of<'a, 'b: 'a>(claims: impl IntoIterator<Item = &'a Claim<'b>>) -> &'b Arc<Kernel> {
    let is_exact = |claim: &&Claim<'_>| {
        let target = target::find(&claim.kernel.target);
        target.is_some_and(|target| target.has_exact_loader_name(claim.kernel))
    };
    let claims: SmallVec<[&Claim<'_>; 2]> = claims.into_iter().collect();
    // Most names are claimed once.
    if let [only] = claims[..] {
        return only.kernel;
    }
    let exact = claims.iter().copied().find(is_exact);
    exact.unwrap_or(claims[0]).kernel
}
