//! The jobs that answer, and what their answers mean.

use super::super::job::{JobRequest, JobResult};
use super::super::pipeline::Pipeline;
use super::super::step::{Failed, Halt, Mode};
use super::super::toolchain::ChosenToolchain;
use super::super::work::{Done, Work};
use super::questions::{Question, Subject, TEMPLATES, VERSION};
use super::{kernel_settings, script_failure};
use crate::cache::StepResult;
use crate::digest::KeyBuilder;
use crate::executor::{Mount, Network};
use crate::failure::{Failure, FailureClass, Phase};
use crate::script::{
    self, CheckToRun, ChecksSettings, KernelSettings, MODULE_TOOLCHAIN_CHECK, PROBE_TOOLCHAIN_CHECK,
};

impl Pipeline {
    /// Whether the compilers make a program for the BPF machine: no kernel and no driver have a part in it.
    pub(super) async fn probe_toolchain(
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
        self.steps.step(mode, Phase::Check, inputs, work).await
    }

    /// Whether the compilers make an empty module for the kernel, without a driver.
    pub(super) async fn module_toolchain(&self, subject: &Subject<'_>) -> Result<Work, Halt> {
        let kernel = kernel_settings(subject.kernel, subject.toolchain);
        let settings = ChecksSettings {
            kernel: &kernel,
            has_toolchain_check: true,
            has_probe_toolchain_check: false,
            checks: Vec::new(),
        };
        self.materialise_kernel(subject.build, subject.kernel)
            .await?;
        let mounts = self.kernel_mounts(subject.kernel);
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
        let result = self.run_checks(subject, settings, mounts.clone()).await?;
        let failed = |log: &str, status| {
            StepResult::Failure(toolchain_failure(log, subject.toolchain, status))
        };
        let kept = match (&result.failure, answer_to(&result, id)?) {
            (Some(failure), _) => StepResult::Failure(failure.clone()),
            (None, Some((0, _))) => StepResult::Check { passed: true },
            (None, Some((status, log))) => failed(&log, status),
            (None, None) => StepResult::Failure(unanswered(id)),
        };
        Ok(result.work(self.confirmed_job(&mounts, kept)?))
    }

    /// Asks the questions of one group in one job. What comes of each is in their order.
    pub(super) async fn ask(
        &self,
        subject: &Subject<'_>,
        group: &[&Question],
    ) -> Result<Vec<Work>, Halt> {
        let kernel = kernel_settings(subject.kernel, subject.toolchain);
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
        self.materialise_kernel(subject.build, subject.kernel)
            .await?;
        let mut mounts = self.kernel_mounts(subject.kernel);
        mounts.push(self.driver_mount(subject.build, subject.driver).await?);
        let result = self.run_checks(subject, &settings, mounts).await?;
        let mut works: Vec<Work> = Vec::with_capacity(group.len());
        for question in group {
            let id = question.check.id();
            let kept = match (&result.failure, answer_to(&result, &id)?) {
                (Some(failure), _) => StepResult::Failure(of_driver(failure)),
                (None, Some((status, _))) => StepResult::Check {
                    passed: status == 0,
                },
                (None, None) => StepResult::Failure(unanswered(&question.check.name)),
            };
            let mut work = result.work(kept);
            // What the job used is counted once, with its first answer.
            if !works.is_empty() {
                work.wall = std::time::Duration::ZERO;
                work.cpu = None;
            }
            works.push(work);
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
            script,
            mounts,
        };
        let result = self.run_job(subject.build, &request).await?;
        match &result.failure {
            // What depends on the run, not on what was asked, ends the build.
            Some(failure) if !failure.class.is_deterministic() => {
                Err(Halt::Failed(Box::new(Failed {
                    failure: failure.clone(),
                    log: Some(result.log),
                    is_cached: false,
                })))
            }
            _ => Ok(result),
        }
    }
}

/// Exit status and log of a check, if the job has answered it.
fn answer_to(result: &JobResult, id: &str) -> Result<Option<(i32, String)>, Halt> {
    let answers = script::read_answers(result.output.path(), [id]).map_err(|error| {
        let class = match error {
            script::AnswersError::File(_) => FailureClass::Infrastructure,
            script::AnswersError::Status { .. } => FailureClass::Configure,
        };
        Failure::new(class, Phase::Check, error.to_string())
    })?;
    Ok(answers.into_iter().next().map(|answer| {
        let log = answer.read_log();
        (answer.status, log)
    }))
}

fn unanswered(check: &str) -> Failure {
    let message = format!("the job of checks ended well, but check {check} has no answer");
    Failure::new(FailureClass::OutputMissing, Phase::Check, message)
}

/// The failure of a job in which a driver's checks run: whether the toolchain works is asked elsewhere.
fn of_driver(failure: &Failure) -> Failure {
    let mut failure = failure.clone();
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
