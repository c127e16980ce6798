//! What every step of a build is done with, whatever the step is about.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::events::Events;
use super::halt::{Halt, Mode};
use super::jobs::Jobs;
use super::step::StepRunner;
use super::stop::Stop;
use super::trees::Trees;
use super::work::{Done, Work};
use crate::digest::{KeyBuilder, Sha256};
use crate::failure::Phase;
use crate::fetch::Fetcher;
use crate::fs::{FileError, blocking};
use crate::kernel::Architecture;
use crate::store::Store;

/// What the owners of a build's parts share: where things are kept, and how steps and jobs are done.
pub(super) struct Engine {
    /// The architecture of the machine that compiles.
    pub(super) host: Architecture,
    pub(super) store: Arc<Store>,
    pub(super) steps: Arc<StepRunner>,
    pub(super) trees: Arc<Trees>,
    pub(super) jobs: Jobs,
    pub(super) fetcher: Fetcher,
    pub(super) events: Events,
    pub(super) stop: Arc<Stop>,
}

impl Engine {
    /// Whether something new may begin.
    pub(super) fn may_begin(&self, mode: Mode) -> Result<(), Halt> {
        self.steps.may_begin(mode)
    }

    /// What a file that could not be read or written means for a build in `phase`.
    pub(super) fn stored(&self, phase: Phase) -> impl Fn(FileError) -> Halt + Copy {
        self.steps.stored(phase)
    }

    /// Whether the store holds the file with this digest; one that a broken disk changed is removed.
    pub(super) async fn has_whole_blob(&self, digest: Sha256, phase: Phase) -> Result<bool, Halt> {
        let store = self.store.clone();
        blocking(move || store.has_whole_blob(digest))
            .await
            .map_err(self.stored(phase))
    }

    /// The outcome of a step, from the cache or from `work`: see [`StepRunner::step`]. What failed in `work` is the step's
    /// outcome if `work` says so ([`Halt::of_step`]); all else says that the step's inputs could not be made ready.
    pub(super) async fn step(
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
