//! The execution of any step of a build: outcomes, trees, jobs, stopping.

pub(crate) mod ended;
pub(crate) mod events;
pub(crate) mod halt;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod memo;
pub(crate) mod second;
pub(crate) mod slots;
pub(crate) mod step;
pub(crate) mod stop;
pub(crate) mod trees;
pub(crate) mod work;

pub use events::Events;
pub use halt::{Failed, Halt, Mode};
pub use second::SecondExecutor;
pub use step::{Asked, RetryClasses};
pub use stop::{Stop, StopReason};

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::digest::{KeyBuilder, Sha256};
use crate::engine::jobs::Jobs;
use crate::engine::step::StepRunner;
use crate::engine::trees::Trees;
use crate::engine::work::{Done, Work};
use crate::failure::Phase;
use crate::fetch::Fetcher;
use crate::fs::{FileError, blocking};
use crate::kernel::Architecture;
use crate::store::Store;

/// What the owners of a build's parts share: the store, and the execution of steps and jobs.
pub(crate) struct Engine {
    /// The architecture of the machine that compiles.
    pub(crate) host: Architecture,
    pub(crate) store: Arc<Store>,
    pub(crate) steps: Arc<StepRunner>,
    pub(crate) trees: Arc<Trees>,
    pub(crate) jobs: Jobs,
    pub(crate) fetcher: Fetcher,
    pub(crate) events: Events,
    pub(crate) stop: Arc<Stop>,
}

impl Engine {
    /// Returns an error if nothing new may start.
    pub(crate) fn may_begin(&self, mode: Mode) -> Result<(), Halt> {
        self.steps.may_begin(mode)
    }

    /// Returns a function that converts a file error into the failure of a build in `phase`.
    pub(crate) fn stored(&self, phase: Phase) -> impl Fn(FileError) -> Halt + Copy {
        self.steps.stored(phase)
    }

    /// Whether the store contains the file with this digest; a file that was corrupted on disk is removed.
    pub(crate) async fn has_whole_blob(&self, digest: Sha256, phase: Phase) -> Result<bool, Halt> {
        let store = self.store.clone();
        blocking(move || store.has_whole_blob(digest))
            .await
            .map_err(self.stored(phase))
    }

    /// Returns the outcome of a step, from the cache or from `work`: see [`StepRunner::step`]. A failure in `work` is
    /// the step's outcome if `work` marks it as such ([`Halt::of_step`]); any other failure means that the step's
    /// inputs could not be prepared.
    pub(crate) async fn step(
        &self,
        mode: Mode,
        phase: Phase,
        inputs: KeyBuilder,
        work: BoxFuture<'_, Result<Work, Halt>>,
    ) -> Result<Done, Halt> {
        let work = async { self.trees.settle(work.await).await };
        self.steps.step(mode, phase, inputs, work).await
    }
}
