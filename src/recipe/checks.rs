//! The checks of a kernel: do its tree and the compilers work together, and what must a driver know about it?
//!
//! Each answer is an outcome of its own, keyed by the kernel's trees, the toolchain and the content of the check, so
//! that driver versions share them. A job runs no code that is not covered by the keys of its answers:
//!
//! - checks that are plain kbuild modules are compiled and never executed, so all checks of a driver share a job;
//! - checks with their own scripts share a job too, and the key of each covers the content of all;
//! - whether the toolchain works at all is checked in a separate job without a driver, and only in case of doubt: no
//!   check of a driver with checks compiled, or the module of a driver without checks did not.

mod jobs;
mod questions;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::StepResult;
use crate::digest::{KeyBuilder, Sha256};
use crate::driver::Artifact;
use crate::engine::Engine;
use crate::engine::halt::{Halt, Mode};
use crate::engine::memo::OfOwner;
use crate::engine::work::{Done, unexpected};
use crate::failure::{Failure, FailureClass, Phase};
use crate::recipe::driver::Drivers;
use crate::recipe::kernel::Kernels;
use crate::recipe::kernel::tree::KernelInputs;
use crate::script::MODULE_TOOLCHAIN_CHECK;
use crate::source::ConfigureCheck;

use jobs::CheckJobs;
pub(crate) use questions::Subject;
use questions::{Asking, Question};

/// The answers of the checks of a kernel.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    /// An error if no module can be compiled for the kernel with these compilers.
    pub(crate) module_toolchain: Result<(), Halt>,
    /// An error if no probe can be compiled.
    pub(crate) probe_toolchain: Result<(), Halt>,
    /// The driver's configure checks and whether each passed.
    pub(crate) configure: Arc<[(Arc<ConfigureCheck>, bool)]>,
    /// The outcomes of the steps that this build ran itself.
    pub(crate) new: Vec<Done>,
}

impl Answers {
    /// True if a check of a module compiled: so the toolchain works.
    pub(crate) fn show_module_toolchain(&self) -> bool {
        let mut checks = self.configure.iter();
        checks.any(|(check, passed)| *passed && check.artifact == Artifact::Module)
    }

    /// The answers if the toolchain does not work.
    fn without(toolchain: Done) -> Self {
        let failed = toolchain.result().map(drop);
        Self {
            module_toolchain: failed.clone(),
            probe_toolchain: failed,
            configure: Arc::default(),
            new: new_of(toolchain),
        }
    }
}

/// Runs the checks that drivers and builds need of kernels and toolchains.
pub(crate) struct Checks {
    engine: Arc<Engine>,
    jobs: CheckJobs,
    locks: Locks,
    /// Cached answers by kernel.
    looked_up: OfOwner<KernelInputs, Asking, Answers>,
}

impl Checks {
    pub(crate) fn new(engine: Arc<Engine>, kernels: Arc<Kernels>, drivers: Arc<Drivers>) -> Self {
        Self {
            jobs: CheckJobs::new(engine.clone(), kernels, drivers),
            engine,
            locks: Locks::default(),
            looked_up: OfOwner::default(),
        }
    }

    /// Returns the answers that a build needs. In [`Mode::Lookup`], driver versions with the same checks share them.
    pub(crate) async fn answers(&self, subject: &Subject<'_>, mode: Mode) -> Result<Answers, Halt> {
        if mode == Mode::Run {
            return self.answers_now(subject, mode).await;
        }
        let is_same = |asking: &Asking| asking.is_of(subject);
        if let Some(known) = self.looked_up.get(subject.kernel, is_same) {
            return Ok(known);
        }
        let answers = self.answers_now(subject, mode).await?;
        let (kernel, asking) = (subject.kernel, subject.asking());
        self.looked_up.put(kernel, asking, answers.clone());
        Ok(answers)
    }

    /// Forgets the cached answers.
    pub(crate) fn forget(&self) {
        self.looked_up.clear();
    }

    async fn answers_now(&self, subject: &Subject<'_>, mode: Mode) -> Result<Answers, Halt> {
        let module_key = subject.base(MODULE_TOOLCHAIN_CHECK);
        let mut questions = subject.questions();
        let mut answered = self.answered(&questions, &module_key, mode)?;
        // After a failed toolchain check, no other check runs.
        let is_shown = answered.as_ref().is_some_and(|all| shows(&questions, all));
        if !is_shown
            && let Some(done) = self.known(&module_key, mode)?
            && done.result().is_err()
        {
            return Ok(Answers::without(done));
        }
        let mut new = Vec::new();
        let mut probe_toolchain = Ok(());
        if subject.wants_probe() {
            let done = self.jobs.probe_toolchain(subject, mode).await?;
            probe_toolchain = done.result().map(drop);
            new.extend(new_of(done));
            if probe_toolchain.is_err() {
                questions.retain(|question| question.check.artifact == Artifact::Module);
                answered = self.answered(&questions, &module_key, mode)?;
            }
        }
        if answered.is_none() {
            self.engine.may_begin(mode)?;
            // One job per kernel and toolchain at a time: the next caller finds the answers in the cache.
            let key = module_key.key();
            let lock = self.locks.get(key);
            let _guard = lock.lock().await;
            let _lock = self.engine.steps.lock(&module_key, Phase::Check).await?;
            answered = self.answered(&questions, &module_key, mode)?;
            if answered.is_none() {
                let made = self.ask_all(subject, &questions, &module_key).await?;
                if let Some(done) = made.iter().find(|done| done.key == key)
                    && done.result().is_err()
                {
                    return Ok(Answers::without(done.clone()));
                }
                new.extend(made);
                answered = self.answered(&questions, &module_key, mode)?;
            }
        }
        let answered = answered.ok_or_else(|| {
            let message = "the answers of checks were lost while they were read";
            Failure::new(FailureClass::Infrastructure, Phase::Check, message)
        })?;
        let mut configure = Vec::with_capacity(questions.len());
        for (question, done) in questions.into_iter().zip(answered) {
            let mut done = done;
            done.is_cached = !new.iter().any(|new| new.key == done.key);
            match done.result()? {
                StepResult::Check { passed } => configure.push((question.check, *passed)),
                other => return Err(unexpected(other, Phase::Check)),
            }
        }
        Ok(Answers {
            module_toolchain: Ok(()),
            probe_toolchain,
            configure: configure.into(),
            new,
        })
    }

    fn known(&self, inputs: &KeyBuilder, mode: Mode) -> Result<Option<Done>, Halt> {
        match mode {
            Mode::Lookup => self.engine.steps.find_shared(inputs, Phase::Check),
            Mode::Run => self.engine.steps.find(inputs, Phase::Check),
        }
    }

    /// Returns the outcomes of all questions if all are cached and the toolchain is not in doubt: if no check compiled,
    /// the cache must also have the check of an empty module.
    fn answered(
        &self,
        questions: &[Question],
        module_key: &KeyBuilder,
        mode: Mode,
    ) -> Result<Option<Vec<Done>>, Halt> {
        let mut all = Vec::with_capacity(questions.len());
        for question in questions {
            match self.known(&question.inputs, mode)? {
                Some(done) => all.push(done),
                None => return Ok(None),
            }
        }
        let is_believed = !questions.iter().any(Question::is_of_module)
            || shows(questions, &all)
            || self.known(module_key, mode)?.is_some();
        Ok(is_believed.then_some(all))
    }

    /// Compiles an empty module after a driver's module failed to compile, to find out whether the driver or the
    /// toolchain is to blame.
    pub(crate) async fn module_toolchain(
        &self,
        subject: &Subject<'_>,
        mode: Mode,
    ) -> Result<Done, Halt> {
        let inputs = subject.base(MODULE_TOOLCHAIN_CHECK);
        let work = self.jobs.module_toolchain(subject);
        self.engine
            .step(mode, Phase::Check, inputs, Box::pin(work))
            .await
    }

    /// Runs the checks without a cached answer, and the toolchain check if no answer shows that the toolchain works. If
    /// it does not work, its answers are not cached.
    async fn ask_all(
        &self,
        subject: &Subject<'_>,
        questions: &[Question],
        module_key: &KeyBuilder,
    ) -> Result<Vec<Done>, Halt> {
        let mut groups: VecDeque<Vec<&Question>> = VecDeque::new();
        // Only a compiled module check shows that the toolchain works; without such checks there is no doubt.
        let mut works = !questions.iter().any(Question::is_of_module);
        for question in questions {
            match self.known(&question.inputs, Mode::Run)? {
                Some(done) => works |= question.is_of_module() && has_passed(&done.outcome.result),
                None => match groups
                    .iter_mut()
                    .find(|group| group[0].group() == question.group())
                {
                    Some(group) => group.push(question),
                    None => groups.push_back(vec![question]),
                },
            }
        }
        let mut answers = Vec::new();
        while let Some(group) = groups.pop_front() {
            let work = self.jobs.ask(subject, &group).await?;
            let has_failed = work.iter().any(Result::is_err);
            if has_failed && group.len() > 1 && group[0].is_inert() {
                // Their keys do not cover each other, so each check runs alone to show which one failed.
                groups.extend(group.into_iter().map(|question| vec![question]));
                continue;
            }
            let is_module = group[0].is_of_module();
            let mut is_first = true;
            for (question, work) in group.into_iter().zip(work) {
                let mut work = self.engine.trees.settle(work).await?;
                // The job's resource usage is counted once, with its first answer.
                if !is_first {
                    work.used.wall = Duration::ZERO;
                    work.used.cpu = None;
                }
                is_first = false;
                works |= is_module && has_passed(&work.result);
                answers.push((question, work));
            }
        }
        let mut new = Vec::new();
        if !works && self.known(module_key, Mode::Run)?.is_none() {
            let work = self.jobs.module_toolchain(subject).await;
            let work = self.engine.trees.settle(work).await?;
            let done = self
                .engine
                .steps
                .keep(module_key.clone(), work, Phase::Check)
                .await?;
            let is_failure = done.result().is_err();
            new.push(done);
            if is_failure {
                return Ok(new);
            }
        }
        for (question, work) in answers {
            let steps = &self.engine.steps;
            new.push(
                steps
                    .keep(question.inputs.clone(), work, Phase::Check)
                    .await?,
            );
        }
        Ok(new)
    }
}

/// True if a check of a module compiled: so the toolchain works.
fn shows(questions: &[Question], answers: &[Done]) -> bool {
    let mut pairs = questions.iter().zip(answers);
    pairs.any(|(question, done)| question.is_of_module() && has_passed(&done.outcome.result))
}

fn has_passed(result: &StepResult) -> bool {
    matches!(result, StepResult::Check { passed: true })
}

/// Returns the step's outcome if this build ran the step itself.
fn new_of(done: Done) -> Vec<Done> {
    let is_new = done.is_own && !done.is_cached;
    is_new.then_some(done).into_iter().collect()
}

/// One lock per key, created on first use.
#[derive(Debug, Default)]
struct Locks(std::sync::Mutex<std::collections::HashMap<Sha256, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    fn get(&self, key: Sha256) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        locks.entry(key).or_default().clone()
    }
}
