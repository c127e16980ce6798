//! The checks of a kernel: do its tree and the compilers work together, and what must a driver know of it?
//!
//! Each answer is an outcome of its own, keyed by the kernel's trees, the toolchain and the content of the check, so
//! that driver versions share them. All that are not known yet are asked in one job.

use std::sync::{Arc, LazyLock};

use super::driver_inputs::DriverInputs;
use super::job::{JobRequest, failure_of, limits_of};
use super::kernel_inputs::KernelInputs;
use super::pipeline::Pipeline;
use super::step::{Failed, Halt, Mode};
use super::toolchain::ChosenToolchain;
use super::work::{Done, unexpected};
use crate::cache::StepResult;
use crate::digest::{KeyBuilder, Sha256};
use crate::driver::Artifact;
use crate::executor::Network;
use crate::failure::{Failure, FailureClass, Phase};
use crate::plan::Build;
use crate::script::{
    self, CheckToRun, ChecksSettings, KernelSettings, MODULE_TOOLCHAIN_CHECK, PROBE_TOOLCHAIN_CHECK,
};
use crate::source::ConfigureCheck;

/// What stands for the templates of a job of checks, in the key of each: it is asked for at every build.
static TEMPLATES: LazyLock<Sha256> = LazyLock::new(|| script::template_digest(Phase::Check));

/// What the checks of a kernel said.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    /// Why no module can be compiled for the kernel with these compilers.
    pub(super) module_toolchain: Result<(), Halt>,
    /// Why no probe can.
    pub(super) probe_toolchain: Result<(), Halt>,
    /// The driver's configure checks and whether each passed.
    pub(super) configure: Vec<(ConfigureCheck, bool)>,
    /// The outcomes that this build brought about.
    pub(super) new: Vec<Done>,
}

/// One question, with the key under which its answer is kept.
struct Question {
    id: String,
    inputs: KeyBuilder,
    check: Option<ConfigureCheck>,
}

impl Question {
    fn is_of(&self, artifact: Artifact) -> bool {
        self.check
            .as_ref()
            .is_some_and(|check| check.artifact == artifact)
    }
}

impl Pipeline {
    /// The answers that a build needs.
    pub(super) async fn answers(
        &self,
        build: &Build,
        kernel: &KernelInputs,
        toolchain: &ChosenToolchain,
        driver: &DriverInputs,
        mode: Mode,
    ) -> Result<Answers, Halt> {
        let questions = questions(build, kernel, toolchain, driver);
        let (mut done, missing) = self.known(&questions, mode)?;
        let mut new = Vec::new();
        if !missing.is_empty() {
            self.may_begin(mode)?;
            // One job a kernel and toolchain at a time: what it answers need not be asked by the next.
            let kernel_key = questions[0].inputs.key();
            let lock = self.check_locks.get(kernel_key);
            let _guard = lock.lock().await;
            let _lock = self.steps.lock(kernel_key, Phase::Check).await?;
            let missing = self.known(&questions, mode)?.1;
            if !missing.is_empty() {
                new = self.ask(build, kernel, toolchain, driver, &missing).await?;
            }
            let known = self.known(&questions, mode)?;
            done = known.0;
        }
        sort_answers(&questions, done, new)
    }

    fn known<'a>(
        &self,
        questions: &'a [Question],
        mode: Mode,
    ) -> Result<(Vec<Option<Done>>, Vec<&'a Question>), Halt> {
        let mut done = Vec::new();
        let mut missing = Vec::new();
        for question in questions {
            let found = match mode {
                Mode::Lookup => self.steps.find_shared(&question.inputs, Phase::Check)?,
                Mode::Run => self.steps.find(&question.inputs, Phase::Check)?,
            };
            if found.is_none() {
                missing.push(question);
            }
            done.push(found);
        }
        // Behind a toolchain check that failed, nothing is asked.
        for (question, found) in questions.iter().zip(&done) {
            if question.check.is_some() || !is_failure(found.as_ref()) {
                continue;
            }
            if question.id == MODULE_TOOLCHAIN_CHECK {
                missing.clear();
            } else {
                missing.retain(|other| !other.is_of(Artifact::Probe));
            }
        }
        Ok((done, missing))
    }

    async fn ask(
        &self,
        build: &Build,
        kernel: &KernelInputs,
        toolchain: &ChosenToolchain,
        driver: &DriverInputs,
        missing: &[&Question],
    ) -> Result<Vec<Done>, Halt> {
        let is_asked = |id: &str| missing.iter().any(|question| question.id == id);
        let kernel_settings = kernel_settings(kernel, toolchain);
        let settings = ChecksSettings {
            kernel: &kernel_settings,
            has_toolchain_check: is_asked(MODULE_TOOLCHAIN_CHECK),
            has_probe_toolchain_check: is_asked(PROBE_TOOLCHAIN_CHECK),
            checks: missing
                .iter()
                .filter_map(|question| {
                    let check = question.check.as_ref()?;
                    Some(CheckToRun {
                        id: question.id.clone(),
                        folder: check.folder.clone(),
                        objects: check.objects.clone(),
                    })
                })
                .collect(),
        };
        let script = script::render_checks(&settings).map_err(|error| script_failure(&error))?;
        self.materialise_kernel(build, kernel).await?;
        let mut mounts = self.kernel_mounts(kernel);
        if !settings.checks.is_empty() {
            mounts.push(self.driver_mount(build, driver).await?);
        }
        let request = JobRequest {
            phase: Phase::Check,
            toolchain: toolchain.toolchain.clone(),
            network: Network::None,
            script,
            mounts,
        };
        let result = self.run_job(build, &request).await?;
        if let Some(failure) = failure_of(&result, Phase::Check, limits_of(build)) {
            return Err(Halt::Failed(Box::new(Failed {
                failure,
                log: Some(result.log),
                is_cached: false,
            })));
        }
        let ids = missing.iter().map(|question| question.id.as_str());
        let answers = script::read_answers(result.output.path(), ids).map_err(|error| {
            Failure::new(
                FailureClass::Infrastructure,
                Phase::Check,
                error.to_string(),
            )
        })?;
        let toolchain_failed = answers
            .iter()
            .any(|answer| answer.status != 0 && is_toolchain_check(&answer.id));
        if answers.len() < missing.len() && !toolchain_failed {
            let message = "the job of checks ended well but left questions unanswered";
            return Err(Failure::new(FailureClass::OutputMissing, Phase::Check, message).into());
        }
        let mut new = Vec::new();
        for answer in answers {
            let Some(question) = missing.iter().find(|question| question.id == answer.id) else {
                continue;
            };
            let is_toolchain = question.check.is_none();
            let kept = if answer.status != 0 && is_toolchain {
                let text = std::fs::read(&answer.log).unwrap_or_default();
                StepResult::Failure(toolchain_failure(
                    &String::from_utf8_lossy(&text),
                    toolchain,
                    answer.status,
                ))
            } else {
                StepResult::Check {
                    passed: answer.status == 0,
                }
            };
            let mut work = result.work(self.confirmed_job(&request.mounts, kept)?);
            // What the job used is counted once, with its first answer.
            if !new.is_empty() {
                work.wall = std::time::Duration::ZERO;
                work.cpu = None;
            }
            let inputs = question.inputs.clone();
            new.push(
                self.steps
                    .keep(inputs.clone(), inputs.key(), work, Phase::Check)?,
            );
        }
        Ok(new)
    }
}

/// Everything that must be answered for a build, the module's toolchain check first.
fn questions(
    build: &Build,
    kernel: &KernelInputs,
    toolchain: &ChosenToolchain,
    driver: &DriverInputs,
) -> Vec<Question> {
    let wants_probe = build.artifacts.contains(&Artifact::Probe) && driver.facts.has_probe;
    let wants_module = build.artifacts.contains(&Artifact::Module);
    let base = |step: &str| {
        let key = KeyBuilder::new(step, 1)
            .field("architecture", build.kernel.architecture)
            .field("toolchain", toolchain.toolchain.identity())
            .field("compiler", &toolchain.compilers.compiler)
            .field("template", *TEMPLATES);
        kernel.add_to_key(key)
    };
    let mut questions = vec![Question {
        id: MODULE_TOOLCHAIN_CHECK.to_owned(),
        inputs: base(MODULE_TOOLCHAIN_CHECK),
        check: None,
    }];
    if wants_probe {
        // The kernel has no part in it.
        let inputs = KeyBuilder::new(PROBE_TOOLCHAIN_CHECK, 1)
            .field("toolchain", toolchain.toolchain.identity())
            .field("clang", &toolchain.compilers.clang)
            .field("llc", &toolchain.compilers.llc)
            .field("template", *TEMPLATES);
        questions.push(Question {
            id: PROBE_TOOLCHAIN_CHECK.to_owned(),
            inputs,
            check: None,
        });
    }
    for check in &driver.facts.checks {
        let is_wanted = match check.artifact {
            Artifact::Module => wants_module,
            Artifact::Probe => wants_probe,
        };
        if is_wanted {
            let mut inputs = base("check")
                .field("check", &check.name)
                .field("content", check.digest);
            if check.artifact == Artifact::Probe {
                inputs = inputs
                    .field("clang", &toolchain.compilers.clang)
                    .field("llc", &toolchain.compilers.llc);
            }
            questions.push(Question {
                id: check.id(),
                inputs,
                check: Some(check.clone()),
            });
        }
    }
    questions
}

fn sort_answers(
    questions: &[Question],
    done: Vec<Option<Done>>,
    new: Vec<Done>,
) -> Result<Answers, Halt> {
    let mut answers = Answers {
        module_toolchain: Ok(()),
        probe_toolchain: Ok(()),
        configure: Vec::new(),
        new,
    };
    let is_new = |done: &Done| answers.new.iter().any(|new| new.key == done.key);
    let mut failures = Vec::new();
    for (question, done) in questions.iter().zip(done) {
        let result = match done {
            Some(mut done) => {
                done.is_cached = !is_new(&done);
                done.result().cloned()
            }
            None => continue,
        };
        match (&question.check, result) {
            (Some(check), Ok(StepResult::Check { passed })) => {
                answers.configure.push((check.clone(), passed));
            }
            (None, Ok(StepResult::Check { .. })) => {}
            (None, Err(halt)) => failures.push((question.id.clone(), halt)),
            (_, Ok(other)) => return Err(unexpected(&other, Phase::Check)),
            (Some(_), Err(halt)) => return Err(halt),
        }
    }
    for (id, halt) in failures {
        if id == PROBE_TOOLCHAIN_CHECK {
            answers.probe_toolchain = Err(halt);
        } else {
            answers.module_toolchain = Err(halt.clone());
            answers.probe_toolchain = Err(halt);
        }
    }
    Ok(answers)
}

fn is_failure(done: Option<&Done>) -> bool {
    done.is_some_and(|done| matches!(done.outcome.result, StepResult::Failure(_)))
}

fn is_toolchain_check(id: &str) -> bool {
    [MODULE_TOOLCHAIN_CHECK, PROBE_TOOLCHAIN_CHECK].contains(&id)
}

fn toolchain_failure(log: &str, toolchain: &ChosenToolchain, status: i32) -> Failure {
    let mut failure =
        script::classify_log(Phase::Check, log.lines()).into_failure(Phase::Check, status);
    failure.message = format!(
        "{} of {} cannot compile an empty module for this kernel: {}",
        toolchain.compilers.compiler, toolchain.report.image, failure.message
    );
    failure
}

pub(super) fn kernel_settings(
    kernel: &KernelInputs,
    toolchain: &ChosenToolchain,
) -> KernelSettings {
    KernelSettings {
        folder: kernel.build_folder.display().to_string(),
        has_symvers: kernel.inspection.facts.has_symvers,
        compilers: toolchain.compilers.clone(),
    }
}

pub(super) fn script_failure(error: &script::ScriptError) -> Halt {
    let cause = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    Failure::new(
        FailureClass::Configure,
        Phase::Configure,
        format!("{error} {cause}"),
    )
    .into()
}

/// A lock for each key, made when first asked for.
#[derive(Debug, Default)]
pub(super) struct Locks(
    std::sync::Mutex<std::collections::HashMap<Sha256, Arc<tokio::sync::Mutex<()>>>>,
);

impl Locks {
    pub(super) fn get(&self, key: Sha256) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        locks.entry(key).or_default().clone()
    }
}
