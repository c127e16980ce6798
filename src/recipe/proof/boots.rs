//! Boots a kernel, and stores the outcomes.

use std::time::Duration;

use super::{Boots, Kept, ModuleFile, ProofOutcome, Proofs, Proven, proof_of};
use crate::cache::StepResult;
use crate::digest::{KeyBuilder, Sha256};
use crate::engine::halt::Halt;
use crate::engine::job::{JobRequest, JobResult};
use crate::engine::work::Work;
use crate::executor::{Mount, Network};
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::{self, FileError, blocking};
use crate::proof::{self, CONSOLE_FILE, ModuleToProve, Shown, Verdict, read_console};
use crate::store::Store;
use crate::unpack::{UnpackError, tree_digest_of_folder};

/// The minimum time limit of a boot, whatever the time limit of a build's steps is.
const SHORTEST_BOOT: Duration = Duration::from_secs(30);

/// The outcomes of the first modules.
pub(super) struct Booted {
    pub(super) outcomes: Vec<ProofOutcome>,
    /// Why the other modules have no outcome.
    pub(super) why_not: String,
}

impl Proofs {
    /// Boots as often as necessary, and stores an outcome for each module, in the order of the modules. What a time-out
    /// or a failure of the machine ended has an outcome that is not stored, or none. Returns an inner error if the
    /// package is at fault.
    pub(super) async fn boot_for(
        &self,
        boots: &Boots<'_>,
        wanted: &[(ModuleFile, KeyBuilder)],
    ) -> Result<Result<Booted, Proven>, Halt> {
        let mut outcomes = Vec::with_capacity(wanted.len());
        let mut why_not = String::new();
        let mut is_confirmed = false;
        // Whether the next module has a boot of its own.
        let mut is_alone = false;
        while outcomes.len() < wanted.len() {
            let rest = &wanted[outcomes.len()..];
            let rest = if is_alone { &rest[..1] } else { rest };
            let (result, console) = match self.boot(boots, rest).await {
                Ok(booted) => booted,
                // The machine is at fault, or a limit, but never the module.
                Err(Halt::Failed(failed)) => {
                    why_not = failed.failure.message;
                    break;
                }
                Err(halt) => return Err(halt),
            };
            let boot = read_console(&console, rest.len());
            let is_good = !boot.verdicts.is_empty() && boot.verdicts.iter().all(Verdict::is_good);
            if !is_good && !is_confirmed {
                if let Err(broken) = self.confirm(boots.asked).await? {
                    return Ok(Err(broken));
                }
                is_confirmed = true;
            }
            if boot.verdicts.is_empty() {
                let reason = format!("the kernel did not start the program: {}", boot.last_words);
                let message = match boot.exit {
                    Some(0) => None,
                    _ if boot.has_timed_out() => {
                        Some(format!("{reason} (within {:?})", boots.timeout))
                    }
                    _ => Some(format!("{reason} (qemu failed)")),
                };
                if let Some(message) = message {
                    why_not = message;
                    break;
                }
                for (_, key) in rest {
                    let facts = Work::of_facts(&Kept::NotProven(reason.clone()), Phase::Prove)?;
                    outcomes.push(self.keep(key, facts.result, &result).await?);
                }
                continue;
            }
            let cut = boot.is_cut.then(|| boot.verdicts.last()).flatten();
            let certain = boot.verdicts.len() - usize::from(cut.is_some());
            for ((_, key), verdict) in rest.iter().zip(&boot.verdicts[..certain]) {
                outcomes.push(self.keep(key, result_of(verdict)?, &result).await?);
            }
            // The module may have had too little of the shared time, or be slow because of the modules before it.
            is_alone = boot.has_timed_out() && cut.is_some() && rest.len() > 1;
            if let Some(cut) = cut.filter(|_| !is_alone) {
                outcomes.push(uncertain(cut, &result)?);
            }
        }
        Ok(Ok(Booted { outcomes, why_not }))
    }

    async fn keep(
        &self,
        key: &KeyBuilder,
        kept: StepResult,
        job: &JobResult,
    ) -> Result<ProofOutcome, Halt> {
        let kept = self
            .engine
            .steps
            .keep(key.clone(), job.work(kept), Phase::Prove);
        proof_of(&kept.await?)
    }

    /// Boots once and returns the text of the console.
    async fn boot(
        &self,
        boots: &Boots<'_>,
        wanted: &[(ModuleFile, KeyBuilder)],
    ) -> Result<(JobResult, String), Halt> {
        let stored = self.engine.stored(Phase::Prove);
        let modules: Vec<ModuleFile> = wanted.iter().map(|(module, _)| module.clone()).collect();
        for module in &modules {
            if module.place.as_ref().is_none_or(|place| !place.exists()) {
                // A missing module is an error when it is read.
                self.engine.store.fetch_shared(module.sha256).await;
            }
        }
        let (store, kernel) = (self.engine.store.clone(), boots.kernel.clone());
        let laid_out = blocking(move || lay_out(&store, &kernel, &modules)).await;
        let tree = laid_out.map_err(stored)??;
        let architecture = boots.asked.build.kernel.architecture;
        let request = JobRequest {
            phase: Phase::Prove,
            toolchain: boots.asked.toolchain.clone(),
            script: proof::script(architecture, boots.timeout.max(SHORTEST_BOOT), &[]),
            mounts: vec![Mount {
                source: self.engine.store.tree_path(tree),
                target: "/proof".into(),
            }],
            network: Network::None,
            kvm: proof::uses_kvm(architecture),
        };
        let ran = self.engine.jobs.run(boots.asked.build, &request).await;
        let store = self.engine.store.clone();
        // The tree is large and a copy of files in the store.
        blocking(move || match store.find_tree(tree) {
            Some(found) => store.discard_tree(&found),
            None => Ok(()),
        })
        .await
        .map_err(stored)?;
        let result = ran?;
        let path = result.output.path().join(CONSOLE_FILE);
        let read = move || {
            let shown = fs::open_file(&path).and_then(Shown::read);
            shown.map_err(FileError::of("read", &path))
        };
        let shown = blocking(read).await.map_err(stored)?;
        Ok((result, shown.into_text()))
    }
}

/// Returns the outcome for a verdict.
fn result_of(verdict: &Verdict) -> Result<StepResult, Halt> {
    let kept = match verdict {
        &Verdict::Loaded {
            devices,
            parameters,
        } => Some(Kept::Loaded {
            devices,
            parameters,
        }),
        &Verdict::TakenPrograms { programs, maps } => Some(Kept::TakenPrograms { programs, maps }),
        Verdict::NotProven { reason } => Some(Kept::NotProven(reason.clone())),
        _ => None,
    };
    if let Some(kept) = kept {
        return Ok(Work::of_facts(&kept, Phase::Prove)?.result);
    }
    Ok(StepResult::Failure(failure_of(verdict)))
}

fn failure_of(verdict: &Verdict) -> Failure {
    let mut failure = Failure::new(FailureClass::Load, Phase::Prove, verdict.to_string());
    failure.first_error = verdict.first_error();
    failure
}

/// Returns the outcome, which is not stored, of a module whose boot did not end by itself.
fn uncertain(verdict: &Verdict, job: &JobResult) -> Result<ProofOutcome, Halt> {
    if let Verdict::NotProven { reason } = verdict {
        return Ok(ProofOutcome::NotProven(reason.clone()));
    }
    match job.failed(failure_of(verdict)) {
        Halt::Failed(failed) => Ok(ProofOutcome::Refused(failed)),
        halt => Err(halt),
    }
}

/// Puts the input files of a boot into a tree of the store.
fn lay_out(
    store: &Store,
    kernel: &[u8],
    modules: &[ModuleFile],
) -> Result<Result<Sha256, Halt>, FileError> {
    let defect = |message: String| {
        Halt::from(Failure::new(
            FailureClass::OutputInvalid,
            Phase::Prove,
            message,
        ))
    };
    let mut read = Vec::with_capacity(modules.len());
    for module in modules {
        let blob = store.blob_path(module.sha256);
        let path = match &module.place {
            Some(place) if !blob.exists() => place,
            _ => &blob,
        };
        match ModuleToProve::read(path) {
            Ok(found) if Sha256::of(&found.bytes) != module.sha256 => {
                return Ok(Err(defect(format!("{} was changed", path.display()))));
            }
            Ok(module) => read.push(module),
            Err(proof::ModuleError::File(error)) => return Err(error),
            Err(error) => return Ok(Err(defect(error.to_string()))),
        }
    }
    let work = store.temporary_folder()?;
    let folder = work.path().join("proof");
    proof::write_input(&folder, kernel, &read)?;
    let tree = match tree_digest_of_folder(&folder) {
        Ok(tree) => tree,
        Err(UnpackError::File(error)) => return Err(error),
        Err(error) => return Ok(Err(defect(error.to_string()))),
    };
    if !store.has_tree(tree) {
        store.put_tree(&folder, tree)?;
    }
    Ok(Ok(tree))
}
