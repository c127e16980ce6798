//! Determines which kernels prove their modules, and holds back reports of builds until their modules are proven.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::driver::Artifact;
use crate::event::BuildReport;
use crate::kernel::{Architecture, Kernel, TargetId};
use crate::matrix::Prove;
use crate::plan::{Build, Plan, number_of};
use crate::recipe::proof::is_built_to_prove;
use crate::target::{self, Series};

/// The number of nights in which each kernel that is not the newest of its series is proven once.
const NIGHTS_OF_A_ROUND: u64 = 30;

/// A finished build with its report.
pub(crate) type Ended = (Build, BuildReport);

/// Identifies a kernel of a plan, which its builds share.
type Address = usize;

fn address(kernel: &Arc<Kernel>) -> Address {
    Arc::as_ptr(kernel).addr()
}

/// The kernels of a plan that prove their modules.
#[derive(Debug, Default)]
pub(super) struct Proving {
    /// The kernels, each with whether it is built if only its source is available.
    kernels: HashMap<Address, bool>,
}

impl Proving {
    /// Selects the kernels of `plan` that prove their modules on the day with this number; `over` overrides the
    /// matrices.
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

    /// Whether the kernel of a build proves its modules.
    pub(super) fn has(&self, build: &Build) -> bool {
        self.kernels.contains_key(&address(&build.kernel))
    }

    /// Whether the kernel of a build may be built for its proof if only its source is available.
    pub(super) fn may_build(&self, build: &Build) -> bool {
        self.kernels.get(&address(&build.kernel)) == Some(&true)
    }

    /// Returns the number of kernels of these builds that are built for their proofs.
    pub(super) fn kernels_to_build<'a>(&self, builds: impl Iterator<Item = &'a Build>) -> usize {
        let kernels = builds.filter(|build| {
            let has_module = build.artifacts.contains(&Artifact::Module);
            has_module && self.may_build(build) && is_built_to_prove(&build.kernel)
        });
        let kernels: HashSet<Address> = kernels.map(|build| address(&build.kernel)).collect();
        kernels.len()
    }
}

/// Whether a kernel that is not the newest of its series is proven on this day.
fn has_turn(kernel: &Kernel, day: u64) -> bool {
    // The low half determines the shard; use the high half, so that each shard gets its part of every night.
    (number_of(kernel) >> 32) % NIGHTS_OF_A_ROUND == day % NIGHTS_OF_A_ROUND
}

/// A group of kernels that is represented by its newest kernel.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group<'a> {
    target: &'a TargetId,
    architecture: Architecture,
    series: Series,
    /// The words in the release: `rt`, `cloud`, `azure`.
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

/// Reports of builds that wait for other builds of their kernels: a kernel's modules are proven together.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The number of unfinished builds of each kernel.
    left: HashMap<Address, usize>,
    ended: HashMap<Address, Vec<Ended>>,
}

impl Waiting {
    /// Registers a build that has not ended.
    pub(super) fn expect(&mut self, build: &Build) {
        *self.left.entry(address(&build.kernel)).or_default() += 1;
    }

    /// Adds a report that is known from the start.
    pub(super) fn add_known(&mut self, (build, report): Ended) {
        let of_kernel = self.ended.entry(address(&build.kernel)).or_default();
        of_kernel.push((build, report));
    }

    /// Adds the report of a registered build. Returns all reports of its kernel once the last one was added.
    pub(super) fn add(&mut self, ended: Ended) -> Option<Vec<Ended>> {
        let kernel = address(&ended.0.kernel);
        self.add_known(ended);
        let left = self.left.get_mut(&kernel)?;
        *left = left.saturating_sub(1);
        (*left == 0).then(|| self.ended.remove(&kernel).unwrap_or_default())
    }

    /// Returns the reports of kernels that have no unfinished builds.
    pub(super) fn take_complete(&mut self) -> Vec<Vec<Ended>> {
        let left = &self.left;
        let is_complete =
            |kernel: &Address, _: &mut Vec<Ended>| left.get(kernel).is_none_or(|left| *left == 0);
        let taken = self.ended.extract_if(is_complete);
        taken.map(|(_, ended)| ended).collect()
    }

    /// Returns all waiting reports.
    pub(super) fn into_reports(self) -> impl Iterator<Item = BuildReport> {
        let ended = self.ended.into_values().flatten();
        ended.map(|(_, report)| report)
    }
}
