//! Which kernels prove their modules, and the builds whose reports wait until they have.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::driver::Artifact;
use crate::event::BuildReport;
use crate::kernel::{Architecture, Kernel, TargetId};
use crate::matrix::Prove;
use crate::plan::{Build, Plan, number_of};
use crate::recipe::proof::is_built_to_prove;
use crate::target::{self, Series};

/// In so many nights each kernel that is not the newest of its series has its turn.
const NIGHTS_OF_A_ROUND: u64 = 30;

/// A build that has ended, and what is known of it.
pub(crate) type Ended = (Build, BuildReport);

/// A kernel of a plan, whose builds share it.
type Address = usize;

fn address(kernel: &Arc<Kernel>) -> Address {
    Arc::as_ptr(kernel).addr()
}

/// The kernels of a plan that prove their modules.
#[derive(Debug, Default)]
pub(super) struct Proving {
    /// Each with whether it is built where only its source can be had.
    kernels: HashMap<Address, bool>,
}

impl Proving {
    /// The kernels of `plan` that do, on the day with this number; `over` stands above what the matrices say.
    pub(super) fn new(plan: &Plan, over: Option<Prove>, day: u64) -> Self {
        let wanted = |build: &Build| over.unwrap_or(build.settings.prove);
        let mut kernels = HashMap::new();
        let mut newest: BTreeMap<Group<'_>, &Arc<Kernel>> = BTreeMap::new();
        for of_kernel in plan.builds.chunk_by(Build::shares_kernel) {
            let kernel = &of_kernel[0].kernel;
            if of_kernel.iter().any(|build| wanted(build) == Prove::All) {
                kernels.insert(address(kernel), true);
            } else if of_kernel.iter().any(|build| wanted(build) == Prove::Series) {
                if has_turn(kernel, day) {
                    kernels.insert(address(kernel), false);
                }
                let best = newest.entry(Group::of(kernel)).or_insert(kernel);
                if (&kernel.release, &kernel.version) > (&best.release, &best.version) {
                    *best = kernel;
                }
            }
        }
        kernels.extend(newest.into_values().map(|kernel| (address(kernel), false)));
        Self { kernels }
    }

    /// Whether the kernel of a build does.
    pub(super) fn has(&self, build: &Build) -> bool {
        self.kernels.contains_key(&address(&build.kernel))
    }

    /// Whether the kernel of a build is built for its proof where only its source can be had.
    pub(super) fn may_build(&self, build: &Build) -> bool {
        self.kernels.get(&address(&build.kernel)) == Some(&true)
    }

    /// How many kernels of these builds are built for their proofs.
    pub(super) fn kernels_to_build<'a>(&self, builds: impl Iterator<Item = &'a Build>) -> usize {
        let kernels = builds.filter(|build| {
            let has_module = build.artifacts.contains(&Artifact::Module);
            has_module && self.may_build(build) && is_built_to_prove(&build.kernel)
        });
        let kernels: HashSet<Address> = kernels.map(|build| address(&build.kernel)).collect();
        kernels.len()
    }
}

/// Whether it is the night of a kernel that is not the newest of its series.
fn has_turn(kernel: &Kernel, day: u64) -> bool {
    // The low half decides about shards: each shard is to have its part of every night.
    (number_of(kernel) >> 32) % NIGHTS_OF_A_ROUND == day % NIGHTS_OF_A_ROUND
}

/// Kernels of which the newest stands for the others.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group<'a> {
    target: &'a TargetId,
    architecture: Architecture,
    series: Series,
    /// The words of the release: `rt`, `cloud`, `azure`.
    flavour: Vec<&'a str>,
}

impl<'a> Group<'a> {
    fn of(kernel: &'a Kernel) -> Self {
        let words = kernel
            .release
            .as_str()
            .split(|found: char| !found.is_ascii_alphabetic());
        Self {
            target: &kernel.target,
            architecture: kernel.architecture,
            series: target::find(&kernel.target)
                .map(|target| target.series(kernel))
                .unwrap_or_default(),
            flavour: words.filter(|word| !word.is_empty()).collect(),
        }
    }
}

/// Reports of builds whose kernels are not done: a kernel's modules are proven together.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// How many builds of each kernel have not ended.
    left: HashMap<Address, usize>,
    ended: HashMap<Address, Vec<Ended>>,
}

impl Waiting {
    /// Expects this build to end.
    pub(super) fn expect(&mut self, build: &Build) {
        *self.left.entry(address(&build.kernel)).or_default() += 1;
    }

    /// Takes a report that is known from the start.
    pub(super) fn add_known(&mut self, (build, report): Ended) {
        let of_kernel = self.ended.entry(address(&build.kernel)).or_default();
        of_kernel.push((build, report));
    }

    /// Takes the report of a build that was expected. Returns all of its kernel with the last of them.
    pub(super) fn add(&mut self, ended: Ended) -> Option<Vec<Ended>> {
        let kernel = address(&ended.0.kernel);
        self.add_known(ended);
        let left = self.left.get_mut(&kernel)?;
        *left = left.saturating_sub(1);
        (*left == 0).then(|| self.ended.remove(&kernel).unwrap_or_default())
    }

    /// The reports of kernels of which nothing is left to be built.
    pub(super) fn take_complete(&mut self) -> Vec<Vec<Ended>> {
        let left = &self.left;
        let is_complete =
            |kernel: &Address, _: &mut Vec<Ended>| left.get(kernel).is_none_or(|left| *left == 0);
        let taken = self.ended.extract_if(is_complete);
        taken.map(|(_, ended)| ended).collect()
    }

    /// All that wait.
    pub(super) fn into_reports(self) -> impl Iterator<Item = BuildReport> {
        let ended = self.ended.into_values().flatten();
        ended.map(|(_, report)| report)
    }
}
