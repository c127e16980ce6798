//! The jobs that run checks, and the interpretation of their answers.

use std::sync::Arc;

use super::questions::{Question, Subject, TEMPLATES, VERSION};
use crate::cache::StepResult;
use crate::digest::KeyBuilder;
use crate::engine::Engine;
use crate::engine::ended::script_failure;
use crate::engine::halt::{Halt, Mode};
use crate::engine::job::{JobRequest, JobResult};
use crate::engine::work::{Done, Work};
use crate::executor::{Mount, Network};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::blocking;
use crate::recipe::driver::Drivers;
use crate::recipe::kernel::Kernels;
use crate::recipe::toolchain::ChosenToolchain;
use crate::script::{
    self, CheckToRun, ChecksSettings, KernelSettings, MODULE_TOOLCHAIN_CHECK, PROBE_TOOLCHAIN_CHECK,
};

/// Runs the jobs of checks.
pub(crate) struct CheckJobs {
    engine: Arc<Engine>,
    kernels: Arc<Kernels>,
    drivers: Arc<Drivers>,
}

impl CheckJobs {
    pub(crate) fn new(engine: Arc<Engine>, kernels: Arc<Kernels>, drivers: Arc<Drivers>) -> Self {
        Self {
            engine,
            kernels,
            drivers,
        }
    }

    /// Checks that the compilers can build a program for the BPF machine. Depends on no kernel and no driver.
    pub(crate) async fn probe_toolchain(
        &self,
        subject: &Subject<'_>,
        mode: Mode,
    ) -> Result<Done, Halt> {
        let compilers = &subject.toolchain.compilers;
        let inputs = KeyBuilder::new(PROBE_TOOLCHAIN_CHECK, VERSION)
            .field("toolchain", subject.toolchain.toolchain.identity())
            .field("clang", &compilers.clang)
            .field("llc", &compilers.llc)
            .field("template", *TEMPLATES);
        let work = async {
            let kernel = KernelSettings {
                folder: String::new(),
                has_symvers: false,
                compilers: compilers.clone(),
            };
            let settings = ChecksSettings {
                kernel: &kernel,
                has_toolchain_check: false,
                has_probe_toolchain_check: true,
                checks: Vec::new(),
            };
            self.ask_toolchain(subject, &settings, Vec::new(), PROBE_TOOLCHAIN_CHECK)
                .await
        };
        self.engine
            .step(mode, Phase::Check, inputs, Box::pin(work))
            .await
    }

    /// Checks that the compilers can build an empty module for the kernel, without a driver.
    pub(crate) async fn module_toolchain(&self, subject: &Subject<'_>) -> Result<Work, Halt> {
        let kernel = subject.kernel.settings(subject.toolchain);
        let settings = ChecksSettings {
            kernel: &kernel,
            has_toolchain_check: true,
            has_probe_toolchain_check: false,
            checks: Vec::new(),
        };
        let mounts = self.kernels.mounts(subject.build, subject.kernel).await?;
        self.ask_toolchain(subject, &settings, mounts, MODULE_TOOLCHAIN_CHECK)
            .await
    }

    async fn ask_toolchain(
        &self,
        subject: &Subject<'_>,
        settings: &ChecksSettings<'_>,
        mounts: Vec<Mount>,
        id: &str,
    ) -> Result<Work, Halt> {
        let result = self.run_checks(subject, settings, mounts).await?;
        match answer_to(&result, id).await? {
            Some((0, _)) => Ok(result.work(StepResult::Check { passed: true })),
            Some((status, log)) => {
                Err(result.failed(toolchain_failure(&log, subject.toolchain, status)))
            }
            None => Err(result.failed(unanswered(id))),
        }
    }

    /// Runs the checks of one group in one job. Returns a result for each question, in order; an inner error concerns
    /// only that question.
    pub(crate) async fn ask(
        &self,
        subject: &Subject<'_>,
        group: &[&Question],
    ) -> Result<Vec<Result<Work, Halt>>, Halt> {
        let kernel = subject.kernel.settings(subject.toolchain);
        let checks = group.iter().map(|question| CheckToRun {
            id: question.check.id(),
            folder: question.check.folder.clone(),
            files: question.check.files.clone(),
            objects: question.check.objects.clone(),
        });
        let settings = ChecksSettings {
            kernel: &kernel,
            has_toolchain_check: false,
            has_probe_toolchain_check: false,
            checks: checks.collect(),
        };
        let mut mounts = self.kernels.mounts(subject.build, subject.kernel).await?;
        mounts.push(self.drivers.mount(subject.build, subject.driver).await?);
        let result = match self.run_checks(subject, &settings, mounts).await {
            Err(Halt::Failed(mut failed)) if failed.own.is_some() => {
                failed.failure = of_driver(failed.failure);
                return Ok(vec![Err(Halt::Failed(failed)); group.len()]);
            }
            result => result?,
        };
        let mut works = Vec::with_capacity(group.len());
        for question in group {
            works.push(match answer_to(&result, &question.check.id()).await? {
                Some((status, _)) => Ok(result.work(StepResult::Check {
                    passed: status == 0,
                })),
                None => Err(result.failed(unanswered(&question.check.name))),
            });
        }
        Ok(works)
    }

    async fn run_checks(
        &self,
        subject: &Subject<'_>,
        settings: &ChecksSettings<'_>,
        mounts: Vec<Mount>,
    ) -> Result<JobResult, Halt> {
        let script = script::render_checks(settings).map_err(|error| script_failure(&error))?;
        let request = JobRequest {
            phase: Phase::Check,
            toolchain: subject.toolchain.toolchain.clone(),
            network: Network::None,
            kvm: false,
            script,
            mounts,
        };
        match self.engine.jobs.run(subject.build, &request).await {
            // A failure that depends on the run, not on the checks, ends the build.
            Err(Halt::Failed(failed)) if !failed.failure.class.is_deterministic() => {
                Err(Halt::Failed(failed).of_inputs())
            }
            result => result,
        }
    }
}

/// Returns the exit status and log of a check, if the job has run it.
async fn answer_to(result: &JobResult, id: &str) -> Result<Option<(i32, String)>, Halt> {
    let (output, id) = (result.output.path().to_owned(), id.to_owned());
    let read = move || -> Result<_, script::AnswersError> {
        let answers = script::read_answers(&output, [&*id])?;
        let mut answers = answers.into_iter();
        Ok(answers
            .next()
            .map(|answer| (answer.status, answer.read_log())))
    };
    let answered = blocking(read).await.map_err(|error| {
        let class = match error {
            script::AnswersError::File(_) => FailureClass::Infrastructure,
            script::AnswersError::Status { .. } => FailureClass::Configure,
        };
        Failure::new(class, Phase::Check, error.to_string())
    })?;
    Ok(answered)
}

fn unanswered(check: &str) -> Failure {
    let message = format!("the job of checks succeeded, but check {check} has no answer");
    Failure::new(FailureClass::OutputMissing, Phase::Check, message)
}

/// Blames the driver for the failure of a job with its checks: the toolchain has a check of its own.
fn of_driver(mut failure: Failure) -> Failure {
    if failure.class == FailureClass::ToolchainMismatch {
        failure.class = FailureClass::Configure;
    }
    failure
}

fn toolchain_failure(log: &str, toolchain: &ChosenToolchain, status: i32) -> Failure {
    let failure =
        script::classify_log(Phase::Check, log.lines()).into_failure(Phase::Check, status);
    let message = format!(
        "{} of {} cannot compile an empty module for this kernel: {}",
        toolchain.compilers.compiler, toolchain.report.image, failure.message
    );
    Failure {
        message: crate::failure::printable(&message),
        ..failure
    }
}
