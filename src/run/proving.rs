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

/// What is proven in one kernel besides its modules, and at which cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    /// Whether its probes are proven too. Under emulation, the verifier takes four fifths of a boot's processor time.
    pub(crate) has_probes: bool,
    /// Whether the kernel is built if only its source is available.
    pub(crate) may_build: bool,
}

impl Scope {
    pub(super) const MODULES: Self = Self {
        has_probes: false,
        may_build: false,
    };
    pub(super) const WITH_PROBES: Self = Self {
        has_probes: true,
        may_build: false,
    };
    pub(super) const ALL: Self = Self {
        has_probes: true,
        may_build: true,
    };
}

/// The kernels of a plan that prove their modules.
#[derive(Debug, Default)]
pub(super) struct Proving {
    kernels: HashMap<Address, Scope>,
}

impl Proving {
    /// Selects the kernels of `plan` that prove their modules on the day with this number; `over` overrides the
    /// matrices.
    pub(super) fn new(plan: &Plan, over: Option<Prove>, day: u64) -> Self {
        let wanted = |build: &Build| over.unwrap_or(build.settings.prove);
        let mut kernels = HashMap::new();
        let mut newest: BTreeMap<Line<'_>, BTreeMap<Vec<&str>, &Arc<Kernel>>> = BTreeMap::new();
        for of_kernel in plan.builds.chunk_by(Build::shares_kernel) {
            let kernel = &of_kernel[0].kernel;
            if of_kernel.iter().any(|build| wanted(build) == Prove::All) {
                kernels.insert(address(kernel), Scope::ALL);
            } else if of_kernel.iter().any(|build| wanted(build) == Prove::Series) {
                if has_turn(kernel, day) {
                    kernels.insert(address(kernel), Scope::WITH_PROBES);
                }
                let flavours = newest.entry(Line::of(kernel)).or_default();
                let best = flavours.entry(flavour(kernel)).or_insert(kernel);
                if (&kernel.release, &kernel.version) > (&best.release, &best.version) {
                    *best = kernel;
                }
            }
        }
        for flavours in newest.into_values() {
            // The verifier is the same code in all flavours: one of them judges the probes, plain before special ones.
            let scopes =
                std::iter::once(Scope::WITH_PROBES).chain(std::iter::repeat(Scope::MODULES));
            let mut flavours: Vec<_> = flavours.into_iter().collect();
            flavours.sort_by_key(|(words, _)| words.len());
            for ((_, kernel), scope) in flavours.into_iter().zip(scopes) {
                kernels.entry(address(kernel)).or_insert(scope);
            }
        }
        Self { kernels }
    }

    /// Whether the kernel of a build proves its modules.
    pub(super) fn has(&self, build: &Build) -> bool {
        self.kernels.contains_key(&address(&build.kernel))
    }

    /// Returns what the kernel of a build proves, if it proves anything.
    pub(super) fn scope(&self, build: &Build) -> Option<Scope> {
        self.kernels.get(&address(&build.kernel)).copied()
    }

    /// Returns the number of kernels of these builds that are built for their proofs.
    pub(super) fn kernels_to_build<'a>(&self, builds: impl Iterator<Item = &'a Build>) -> usize {
        let kernels = builds.filter(|build| {
            let has_module = build.artifacts.contains(&Artifact::Module);
            let may_build = self.scope(build).is_some_and(|scope| scope.may_build);
            has_module && may_build && is_built_to_prove(&build.kernel)
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

/// The kernels that are released one after another, in several flavours.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Line<'a> {
    target: &'a TargetId,
    architecture: Architecture,
    series: Series,
}

impl<'a> Line<'a> {
    fn of(kernel: &'a Kernel) -> Self {
        Self {
            target: &kernel.target,
            architecture: kernel.architecture,
            series: target::find(&kernel.target)
                .map(|target| target.series(kernel))
                .unwrap_or_default(),
        }
    }
}

/// Returns the words in a release (`rt`, `cloud`, `azure`), which name the flavour; the plain one has the fewest.
fn flavour(kernel: &Kernel) -> Vec<&str> {
    let words = kernel
        .release
        .as_str()
        .split(|found: char| !found.is_ascii_alphabetic());
    words.filter(|word| !word.is_empty()).collect()
}

/// Reports of builds that wait for other builds of their kernels: a kernel's modules are proven together.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The number of unfinished builds of each kernel.
    left: HashMap<Address, usize>,
    ended: HashMap<Address, Vec<Ended>>,
    /// The kernels, in the order of their first reports.
    order: Vec<Address>,
}

impl Waiting {
    /// Registers a build that has not ended.
    pub(super) fn expect(&mut self, build: &Build) {
        *self.left.entry(address(&build.kernel)).or_default() += 1;
    }

    /// Adds a report that is known from the start.
    pub(super) fn add_known(&mut self, (build, report): Ended) {
        let kernel = address(&build.kernel);
        let of_kernel = self.ended.entry(kernel).or_insert_with(|| {
            self.order.push(kernel);
            Vec::new()
        });
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

    /// Returns the reports of kernels that have no unfinished builds, in the order in which they were added.
    pub(super) fn take_complete(&mut self) -> Vec<Vec<Ended>> {
        let left = &self.left;
        let is_complete = |kernel: &Address| left.get(kernel).is_none_or(|left| *left == 0);
        let complete: Vec<Address> = self
            .order
            .extract_if(.., |kernel| is_complete(kernel))
            .collect();
        let ended = complete
            .iter()
            .filter_map(|kernel| self.ended.remove(kernel));
        ended.collect()
    }

    /// Returns all waiting reports with their builds.
    pub(super) fn into_ended(self) -> impl Iterator<Item = Ended> {
        self.ended.into_values().flatten()
    }
}
