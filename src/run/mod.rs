//! The run: every build of a plan from its packages to its artifacts, with a cache look-up first.
//!
//! In: a plan, and the [`Parts`] that do the work. Out: events, artifacts in the [`OutFolder`], a [`RunResult`].
//! [`Run::look_up`] looks up everything in the cache without opening a connection; [`Run::finish`] executes what is
//! missing. Both use the same code to compute keys. Nothing here formats a line or reads a matrix.

mod brings;
mod builds;
mod built;
mod course;
mod needs;
mod notes;
mod order;
mod out_folder;
mod placing;
mod proving;
mod sample;
mod settings;
mod settling;

pub use brings::Brings;
pub use needs::{Need, needs};
pub use order::{History, longest_first};
pub use out_folder::OutFolder;
pub use sample::Sample;
pub use settings::{Annotate, RunResult, RunSettings};

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{FutureExt as _, StreamExt as _};
use rayon::prelude::*;

use crate::cache::Outcomes;
use crate::engine::Engine;
use crate::engine::events::Events;
use crate::engine::halt::Mode;
use crate::engine::jobs::{JobSettings, Jobs};
use crate::engine::step::{Asked, RetryClasses, StepRunner};
use crate::engine::stop::Stop;
use crate::engine::trees::Trees;
use crate::event::BuildReport;
use crate::executor::Executor;
use crate::failure::{FailureClass, Phase};
use crate::fetch::Fetcher;
use crate::fs::FileError;
use crate::kernel::Architecture;
use crate::plan::{Build, Plan};
use crate::recipe::Toolchains;
use crate::recipe::signing::Signing;
use crate::run::builds::Builds;
use crate::run::course::Course;
use crate::run::proving::{Ended, Proving, Scope};
use crate::run::sample::Sampled;
use crate::store::Store;

/// The number of artifacts that are fetched concurrently from the shared store.
const BROUGHT_AT_ONCE: usize = 16;

/// The components of a run.
pub struct Parts {
    /// The unique name of the run.
    pub run_id: String,
    /// The architecture of the machine that compiles.
    pub host: Architecture,
    /// The store.
    pub store: Arc<Store>,
    /// Downloads into the store.
    pub fetcher: Fetcher,
    /// Builder images, or the compilers of this machine.
    pub toolchains: Toolchains,
    /// Receives the artifacts.
    pub out: OutFolder,
    /// Receives the events.
    pub events: Events,
    /// Ends the run early.
    pub stop: Arc<Stop>,
}

/// A run of a plan.
pub struct Run {
    builds: Arc<Builds>,
    settings: RunSettings,
    found: Vec<Arc<BuildReport>>,
    missing: Vec<Build>,
    proving: Proving,
    sampled: Sampled,
    /// Builds found in the cache, except for the proofs of their modules.
    unproven: Vec<Ended>,
    /// Builds found in the cache, except for their second builds.
    undoubled: Vec<Ended>,
    /// The number of artifacts that were left out because they are not built yet.
    not_built: usize,
}

impl Run {
    /// Looks up each build of a plan in the cache; opens no connection and starts no jobs.
    pub fn look_up(parts: Parts, settings: RunSettings, plan: &Plan) -> Self {
        let steps = steps(&parts, |outcomes| {
            outcomes.begin_look_up(parts.store.root())
        });
        if settings.retry.compiles_again() {
            steps.retry(settings.retry.clone());
        }
        let builds = Arc::new(builds_of(parts, &settings, plan, steps));
        let day = jiff::Timestamp::now().as_second().unsigned_abs() / (24 * 60 * 60);
        let proving = Proving::new(plan, settings.prove, day);
        let sampled = Sampled::new(plan, settings.double);
        // Builds of one kernel are adjacent; what they share is looked up once and then dropped.
        let look_up = |of_kernel: &[Build]| -> Vec<Option<Found>> {
            let look_up_one = |build| {
                let report = builds.look_up(build, settings.only_built)?;
                if has_failure_of(&report, &settings.retry) {
                    builds.doubt(build);
                    return None;
                }
                Some(report)
            };
            let mut found: Vec<Option<BuildReport>> = of_kernel.iter().map(look_up_one).collect();
            share_inputs(&mut found);
            let is_proven = proving.scope(&of_kernel[0]).is_none_or(|scope| {
                !settings.retry.has(FailureClass::Load)
                    && look_up_proofs(&builds, scope, of_kernel, &mut found)
            });
            let kind_of = |(build, report): (&Build, Option<BuildReport>)| {
                let report = report?;
                if !is_proven {
                    return Some(Found::Unproven(Box::new(report)));
                }
                if !sampled.has(&report.build_id) {
                    return Some(Found::Whole(Arc::new(report)));
                }
                let is_retried = settings.retry.has(FailureClass::NotReproducible);
                let ended = (build.clone(), report.clone());
                let doubled = builds.double(ended, Mode::Lookup).now_or_never();
                let doubled = doubled.flatten().filter(|_| !is_retried).map(Arc::new);
                Some(doubled.map_or_else(|| Found::Undoubled(Box::new(report)), Found::Whole))
            };
            let found = of_kernel.iter().zip(found).map(kind_of).collect();
            if let Some(build) = of_kernel.first() {
                builds.forget_kernel(build);
            }
            found
        };
        let looked_up: Vec<Option<Found>> = plan
            .builds
            .par_chunk_by(Build::shares_kernel)
            .flat_map_iter(look_up)
            .collect();
        let mut found = Vec::new();
        let mut unproven = Vec::new();
        let mut undoubled = Vec::new();
        let mut missing = Vec::new();
        for (build, report) in plan.builds.iter().zip(looked_up) {
            match report {
                Some(Found::Whole(report)) => found.push(report),
                Some(Found::Unproven(report)) => unproven.push((build.clone(), *report)),
                Some(Found::Undoubled(report)) => undoubled.push((build.clone(), *report)),
                None => missing.push(build.clone()),
            }
        }
        builds.forget_shared();
        builds.engine().steps.retry(settings.retry.clone());
        // They contain failures that may be retried.
        builds.forget_sources();
        longest_first(&mut missing, &settings.history);
        Self {
            builds,
            settings,
            found,
            missing,
            proving,
            sampled,
            unproven,
            undoubled,
            not_built: 0,
        }
    }

    /// Downloads and places what was found in the shared store. What is not available counts as missing.
    pub async fn bring_shared(&mut self, plan: &Plan) {
        let store = &self.builds.engine().store;
        let mut wanted = Vec::new();
        let unfinished = self.unproven.iter().chain(&self.undoubled);
        let unfinished = unfinished.map(|(_, report)| report);
        for report in self.found.iter().map(|report| &**report).chain(unfinished) {
            for artifact in &report.artifacts {
                let (None, Some(sha256), Some(key)) =
                    (&artifact.path, artifact.sha256, artifact.key)
                else {
                    continue;
                };
                let build = report.build_id.clone();
                let brings = &self.settings.brings;
                if brings.wants(build.clone(), artifact.artifact, sha256) {
                    wanted.push((build, sha256, key));
                }
            }
        }
        if wanted.is_empty() {
            return;
        }
        let brought = futures_util::stream::iter(wanted)
            .map(async |(build, sha256, key)| (build, key, store.fetch_shared(sha256).await));
        let brought: Vec<_> = brought.buffer_unordered(BROUGHT_AT_ONCE).collect().await;
        let mut again = BTreeSet::new();
        for (build, key, is_here) in brought {
            if !is_here {
                let steps = &self.builds.engine().steps;
                // If the outcome cannot be removed, placing its artifact fails later.
                drop(steps.forget(key, Mode::Run, Phase::Store).await);
            }
            again.insert(build);
        }
        self.found
            .retain(|report| !again.contains(&report.build_id));
        for unfinished in [&mut self.unproven, &mut self.undoubled] {
            unfinished.retain(|(_, report)| !again.contains(&report.build_id));
        }
        for build in plan
            .builds
            .iter()
            .filter(|build| again.contains(&build.id()))
        {
            match self.builds.look_up(build, self.settings.only_built) {
                // Its proof, if there is one, is looked up again.
                Some(report) if self.proving.has(build) => {
                    self.unproven.push((build.clone(), report));
                }
                Some(report) if self.sampled.has(&report.build_id) => {
                    self.undoubled.push((build.clone(), report));
                }
                Some(report) => self.found.push(Arc::new(report)),
                None => self.missing.push(build.clone()),
            }
        }
        longest_first(&mut self.missing, &self.settings.history);
    }

    /// Allows more concurrent jobs than the settings do.
    pub fn allow_jobs(&mut self, jobs: usize) {
        let more = jobs.saturating_sub(self.settings.jobs.max(1));
        self.builds.engine().jobs.add_slots(more);
        self.settings.jobs = self.settings.jobs.max(jobs);
    }

    /// Returns the number of builds that are not or only partly in the cache.
    pub fn missing(&self) -> usize {
        self.missing.len() + self.unproven.len() + self.undoubled.len()
    }

    /// Returns the number of kernels that are built from source to prove modules in them, unless the cache has them.
    pub fn kernels_to_build(&self) -> usize {
        let unproven = self.unproven.iter().map(|(build, _)| build);
        self.proving
            .kernels_to_build(self.missing.iter().chain(unproven))
    }

    /// Reports what was found and executes the rest with `executor`, which is required only if something is missing.
    pub async fn finish(self, executor: Option<Arc<dyn Executor>>) -> Result<RunResult, FileError> {
        let Self {
            builds,
            settings,
            found,
            missing,
            proving,
            sampled,
            unproven,
            undoubled,
            not_built,
        } = self;
        let mut course = Course::new(builds.clone(), settings, proving, sampled);
        for report in found {
            course.note(report);
        }
        if let Some(executor) = executor {
            builds.engine().jobs.set_executor(executor);
        }
        course.take(missing, unproven, undoubled);
        let mut result = course.run().await;
        let engine = builds.engine();
        result.stopped = engine.stop.reason();
        result.not_built = not_built;
        let fetcher = &engine.fetcher;
        let lacks_all = fetcher.is_offline() && result.lacks_all();
        result.has_no_network =
            fetcher.has_no_network() || (lacks_all && !fetcher.has_reached_a_server());
        builds.save()?;
        Ok(result)
    }
}

/// How much of a build the cache has.
enum Found {
    /// Everything.
    Whole(Arc<BuildReport>),
    /// Everything except the proof of its module.
    Unproven(Box<BuildReport>),
    /// Everything except its second build.
    Undoubled(Box<BuildReport>),
}

/// Lets the builds of a kernel share the list of its packages.
fn share_inputs(found: &mut [Option<BuildReport>]) {
    let mut reports = found.iter_mut().flatten();
    if let Some(first) = reports.next() {
        reports.for_each(|report| report.inputs.share_with(&first.inputs));
    }
}

/// Adds the proofs of modules to the cached builds of a kernel. Returns false if not all proofs are cached.
fn look_up_proofs(
    builds: &Builds,
    scope: Scope,
    of_kernel: &[Build],
    found: &mut [Option<BuildReport>],
) -> bool {
    let of_kernel = of_kernel.iter().zip(&*found);
    let ended = of_kernel.filter_map(|(build, report)| Some((build.clone(), report.clone()?)));
    let proven = builds
        .prove(ended.collect(), scope, Mode::Lookup)
        .now_or_never();
    let Some(proven) = proven.flatten() else {
        return false;
    };
    for (report, proven) in found.iter_mut().flatten().zip(proven) {
        *report = proven;
    }
    true
}

/// Whether an artifact failed in one of the classes.
fn has_failure_of(report: &BuildReport, classes: &RetryClasses) -> bool {
    let mut failures = report
        .artifacts
        .iter()
        .filter_map(|artifact| artifact.failure.as_ref());
    failures.any(|failure| classes.has(failure.class))
}

fn builds_of(parts: Parts, settings: &RunSettings, plan: &Plan, steps: StepRunner) -> Builds {
    let steps = Arc::new(steps);
    let trees = Arc::new(Trees::new(parts.store.clone(), steps.clone()));
    let jobs = Jobs::new(
        JobSettings {
            run_id: parts.run_id,
            slots: settings.jobs,
            fail_fast: settings.fail_fast,
            proxy: parts.fetcher.proxy().map(str::to_owned),
            reproduce: settings.reproduce.clone(),
            second: settings.second.clone(),
        },
        parts.store.clone(),
        steps.clone(),
        parts.events.clone(),
        parts.stop.clone(),
    );
    let engine = Engine {
        host: parts.host,
        store: parts.store,
        steps,
        trees,
        jobs,
        fetcher: parts.fetcher,
        events: parts.events,
        stop: parts.stop,
    };
    // Unpacking is limited by the disk as much as by processors.
    let unpack_slots = settings.jobs.clamp(1, 4);
    let placing = (parts.out, plan.names.clone(), settings.brings.clone());
    let engine = Arc::new(engine);
    let signing = settings
        .signer
        .clone()
        .map(|signer| Signing::new(engine.clone(), signer, settings.jobs));
    Builds::new(engine, parts.toolchains, placing, signing, unpack_slots)
}

fn steps(parts: &Parts, prepare: impl FnOnce(Outcomes) -> Outcomes) -> StepRunner {
    let outcomes = prepare(Outcomes::of(&parts.store));
    StepRunner::new(outcomes, &parts.run_id, parts.stop.clone())
}

/// Returns the steps of one build, each with the inputs of its key and its known result; opens no connection and starts
/// no jobs. If a step has no known outcome, the steps that depend on it cannot be named and are missing from the list.
pub fn explain(parts: Parts, settings: &RunSettings, plan: &Plan, build: &Build) -> Vec<Asked> {
    let steps = steps(&parts, std::convert::identity).with_trace();
    let builds = builds_of(parts, settings, plan, steps);
    // The future is ready at once, because no work may start.
    let _ = builds.ask_only(build).now_or_never();
    builds.engine().steps.trace()
}

#[cfg(test)]
mod tests;
