//! What the table of a plan counts.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::driver::{Artifact, DriverVersion};
use crate::kernel::TargetId;
use crate::plan::{Build, Names, Plan};
use crate::target::{self, AskedNames, Subscription};

/// The counts of a plan, collected in one pass: fetching the kernels of a large lock from memory takes longer than
/// counting them.
#[derive(Default)]
pub(super) struct Counts<'a> {
    /// The counts of each target.
    pub(super) targets: BTreeMap<&'a TargetId, TargetCounts<'a>>,
    /// The number of builds whose own name no host requests.
    pub(super) unasked: usize,
    /// The builds whose packages a package manager downloads.
    pub(super) subscriptions: Vec<(&'a Build, Subscription)>,
}

/// The counts of a target.
#[derive(Default)]
pub(super) struct TargetCounts<'a> {
    pub(super) kernels: usize,
    pub(super) drivers: BTreeSet<&'a DriverVersion>,
    pub(super) builds: usize,
    pub(super) modules: usize,
    pub(super) probes: usize,
}

impl<'a> Counts<'a> {
    /// Counts the builds of a plan on all processors.
    pub(super) fn of(plan: &'a Plan) -> Self {
        // Builds of one kernel are adjacent.
        plan.builds
            .par_chunk_by(Build::is_of_same_kernel)
            .fold(Self::default, |counts, builds| {
                counts.with_kernel(builds, &plan.names)
            })
            .reduce(Self::default, Self::with_later)
    }

    /// Adds the builds of a kernel.
    fn with_kernel(mut self, builds: &'a [Build], names: &Names) -> Self {
        let kernel = &builds[0].kernel;
        self.targets.entry(&kernel.target).or_default().add(builds);
        if !names.are_all_asked(&kernel.target) && !AskedNames::of(kernel).own {
            self.unasked += builds.len();
        }
        if let Some(subscription) = target::subscription(kernel) {
            let builds = builds.iter().map(|build| (build, subscription.clone()));
            self.subscriptions.extend(builds);
        }
        self
    }

    /// Adds the counts of later builds.
    fn with_later(mut self, later: Self) -> Self {
        for (target, counts) in later.targets {
            self.targets.entry(target).or_default().append(counts);
        }
        self.unasked += later.unasked;
        self.subscriptions.extend(later.subscriptions);
        self
    }
}

impl<'a> TargetCounts<'a> {
    /// Adds the builds of one kernel.
    fn add(&mut self, builds: &'a [Build]) {
        self.kernels += 1;
        self.builds += builds.len();
        for build in builds {
            self.drivers.insert(&build.driver.version);
            self.modules += usize::from(build.artifacts.contains(&Artifact::Module));
            self.probes += usize::from(build.artifacts.contains(&Artifact::Probe));
        }
    }

    fn append(&mut self, mut other: Self) {
        self.kernels += other.kernels;
        self.builds += other.builds;
        self.drivers.append(&mut other.drivers);
        self.modules += other.modules;
        self.probes += other.probes;
    }
}
