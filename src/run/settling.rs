//! Checks of finished builds before they are reported: proofs of their artifacts, and second builds.

use std::sync::Arc;

use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::engine::halt::{Halt, Mode};
use crate::event::{
    ArtifactReport, BuildReport, DoubleReport, DoubleResult, ProofReport, ProofResult,
};
use crate::recipe::double::DoubleOutcome;
use crate::recipe::proof::{ModuleFile, ProofOutcome};
use crate::run::builds::Builds;
use crate::run::notes::Notes;
use crate::run::proving::{Ended, Scope};

impl Builds {
    /// Loads the modules, and the probes if `scope` has them, of builds of one kernel into it. In [`Mode::Lookup`],
    /// only looks up the result and returns `None` if it is not cached. The result is added to the reports; artifacts
    /// that the kernel rejects are removed from the output directory.
    pub(crate) async fn prove(
        &self,
        ended: Vec<Ended>,
        scope: Scope,
        mode: Mode,
    ) -> Option<Vec<BuildReport>> {
        let mut modules = Vec::new();
        for (build, report) in &ended {
            for artifact in &report.artifacts {
                if let Some(sha256) = to_prove(artifact, scope) {
                    let place = self.placing.full_path(build, artifact.artifact);
                    modules.push(ModuleFile { sha256, place });
                }
            }
        }
        let Some((build, report)) = ended.first().filter(|_| !modules.is_empty()) else {
            return Some(ended.into_iter().map(|(_, report)| report).collect());
        };
        let inputs = report.inputs.iter();
        let headers: Vec<Arc<str>> = inputs.map(|input| Arc::clone(&input.url)).collect();
        let proofs = &self.proofs;
        let proven = proofs.prove(build, &headers, &modules, scope.may_build, mode);
        let reason = match proven.await {
            Ok(proven) => return Some(self.with_proofs(ended, scope, proven, mode).await),
            Err(Halt::Missing) => return None,
            Err(Halt::Failed(failed)) => failed.failure.message,
            Err(Halt::NotRun | Halt::Elsewhere) => NOT_BEGUN.to_owned(),
        };
        let reports = ended.into_iter();
        Some(
            reports
                .map(|(_, report)| not_proven(report, scope, &reason))
                .collect(),
        )
    }

    /// Returns the reports in order, with the results of loading their modules and probes.
    async fn with_proofs(
        &self,
        ended: Vec<Ended>,
        scope: Scope,
        proven: Vec<ProofOutcome>,
        mode: Mode,
    ) -> Vec<BuildReport> {
        let mut proven = proven.into_iter();
        let mut reports = Vec::with_capacity(ended.len());
        for (build, mut report) in ended {
            for artifact in &mut report.artifacts {
                if to_prove(artifact, scope).is_none() {
                    continue;
                }
                let Some(proven) = proven.next() else { break };
                let (result, message) = match proven {
                    ProofOutcome::Loaded(message) => (ProofResult::Loaded, message),
                    ProofOutcome::NotProven(reason) => (ProofResult::NotProven, reason),
                    ProofOutcome::Refused(failed) => {
                        let message = failed.failure.message.clone();
                        *artifact = self
                            .placing
                            .refuse(&build, artifact.clone(), *failed, mode)
                            .await;
                        (ProofResult::Refused, message)
                    }
                };
                artifact.proof = Some(ProofReport { result, message });
            }
            reports.push(report);
        }
        reports
    }

    /// Repeats a build. In [`Mode::Lookup`], only looks up the result and returns `None` if it is not cached. The
    /// result is added to the report; an artifact that differs in the second build is removed from the output
    /// directory.
    pub(crate) async fn double(
        &self,
        (build, mut report): Ended,
        mode: Mode,
    ) -> Option<BuildReport> {
        let mut notes = Notes::default();
        let ingredients = self.ingredients(&build, mode, &mut notes).await;
        for artifact in report
            .artifacts
            .iter_mut()
            .filter(|one| one.status.is_success())
        {
            let signature = artifact.signature.as_ref();
            let first = signature
                .map(|signature| signature.unsigned_sha256)
                .or(artifact.sha256);
            let Some(first) = first else { continue };
            let outcome = match &ingredients {
                Ok(ingredients) => {
                    let kind = artifact.artifact;
                    let placed = self.placing.full_path(&build, kind);
                    self.doubles
                        .double(kind, ingredients, first, placed, mode)
                        .await
                }
                Err(halt) => Err(halt.clone()),
            };
            let (result, message) = match outcome {
                Ok(DoubleOutcome::Same(message)) => (DoubleResult::Same, message),
                Ok(DoubleOutcome::NotDone(reason)) => (DoubleResult::NotDone, reason),
                Ok(DoubleOutcome::Different(failed)) => {
                    let message = failed.failure.message.clone();
                    let proof = artifact.proof.clone();
                    *artifact = self
                        .placing
                        .refuse(&build, artifact.clone(), *failed, mode)
                        .await;
                    artifact.proof = proof;
                    (DoubleResult::Different, message)
                }
                Err(Halt::Missing) => return None,
                Err(Halt::Failed(failed)) => (DoubleResult::NotDone, failed.failure.message),
                Err(Halt::NotRun | Halt::Elsewhere) => {
                    (DoubleResult::NotDone, NOT_BEGUN.to_owned())
                }
            };
            artifact.double = Some(DoubleReport { result, message });
        }
        Some(report)
    }
}

/// The reason why a module was not proven or a build was not repeated, if the run ended first.
pub(super) const NOT_BEGUN: &str = "the run ended first";

/// Returns the digest of an artifact, if it was built successfully and is to be proven.
fn to_prove(artifact: &ArtifactReport, scope: Scope) -> Option<Sha256> {
    let is_proven = scope.has_probes || artifact.artifact != Artifact::Probe;
    artifact
        .sha256
        .filter(|_| is_proven && artifact.status.is_success())
}

/// Returns the report with the reason why its artifacts were not proven.
pub(super) fn not_proven(mut report: BuildReport, scope: Scope, reason: &str) -> BuildReport {
    for artifact in &mut report.artifacts {
        if to_prove(artifact, scope).is_some() {
            artifact.proof = Some(ProofReport {
                result: ProofResult::NotProven,
                message: reason.to_owned(),
            });
        }
    }
    report
}

/// Returns the report with the reason why its artifacts were not built a second time.
pub(super) fn not_doubled(mut report: BuildReport, reason: &str) -> BuildReport {
    let artifacts = report.artifacts.iter_mut();
    for artifact in artifacts.filter(|one| one.status.is_success()) {
        artifact.double = Some(DoubleReport {
            result: DoubleResult::NotDone,
            message: reason.to_owned(),
        });
    }
    report
}
