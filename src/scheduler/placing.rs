//! Putting what a step gave to where the loader asks for it, and saying so in a report.

use std::path::PathBuf;
use std::sync::Arc;

use super::artifact::{Ingredients, phase_of};
use super::out_folder::Linked;
use super::pipeline::Pipeline;
use super::step::{Failed, Halt};
use super::work::{Done, unexpected};
use crate::cache::{ArtifactFacts, StepResult};
use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::event::ArtifactReport;
use crate::failure::{Phase, Status};
use crate::fs::{self, FileError};
use crate::kernel::Kernel;
use crate::plan::{Build, BuildId};
use crate::report::log_path;
use crate::verify;

/// The further names of an artifact.
#[derive(Default)]
struct Names {
    /// Those that it has.
    aliases: Vec<PathBuf>,
    /// The build whose artifact has the name by which the loader would ask for this one.
    name_taken_by: Option<BuildId>,
}

impl Pipeline {
    /// Whether an artifact of an earlier run cannot be used: neither the output folder nor the store has its content, or
    /// it is a module of another kernel, whatever led to that.
    pub(super) fn is_lost(
        &self,
        ingredients: &Ingredients<'_>,
        artifact: Artifact,
        facts: &ArtifactFacts,
    ) -> Result<bool, Halt> {
        let stored = |error: FileError| self.steps.storage_failure(&error, Phase::Store);
        let tree = &ingredients.kernel.inspection.facts;
        let vermagic = facts.vermagic.as_deref().unwrap_or_default();
        if artifact == Artifact::Module
            && vermagic.split_whitespace().next() != Some(&tree.uts_release)
        {
            return Ok(true);
        }
        let path = ingredients.build.artifact_path(artifact);
        let is_placed = self.out.has(&path, facts.sha256, facts.size_bytes);
        if is_placed.map_err(stored)? {
            return Ok(false);
        }
        if !self.store.has_whole_blob(facts.sha256).map_err(stored)? {
            return Ok(true);
        }
        if artifact != Artifact::Module {
            return Ok(false);
        }
        // It is about to be published; the tree may be cleaned away, so its symbols are not compared again.
        let bytes = fs::read(&self.store.blob_path(facts.sha256)).map_err(stored)?;
        let expected = verify::ExpectedModule {
            name: &ingredients.driver.facts.module_name,
            architecture: ingredients.build.kernel.architecture,
            tree,
            symvers: None,
        };
        Ok(verify::verify_module(&bytes, &expected).is_err())
    }

    /// The report of an artifact whose step has an outcome.
    pub(super) fn finished(
        &self,
        build: &Build,
        artifact: Artifact,
        done: &Done,
    ) -> ArtifactReport {
        let facts = match done.result() {
            Ok(StepResult::Artifact(facts)) => facts,
            Ok(other) => {
                let halt = unexpected(other, phase_of(artifact));
                return self.halted(build, artifact, Some(done.key), halt);
            }
            Err(halt) => return self.halted(build, artifact, Some(done.key), halt),
        };
        match self.place(build, artifact, facts) {
            Ok(Names {
                aliases,
                name_taken_by,
            }) => ArtifactReport {
                status: if done.is_cached {
                    Status::Cached
                } else {
                    Status::Built
                },
                key: Some(done.key),
                log: self.place_log(build, artifact, done.outcome.log, done.is_cached),
                sha256: Some(facts.sha256),
                size_bytes: Some(facts.size_bytes),
                vermagic: facts.vermagic.clone(),
                srcversion: facts.srcversion.clone(),
                aliases,
                name_taken_by,
                path: Some(build.artifact_path(artifact)),
                ..ArtifactReport::not_run(artifact)
            },
            Err(error) => {
                let halt = self.steps.storage_failure(&error, Phase::Store);
                self.halted(build, artifact, Some(done.key), halt)
            }
        }
    }

    fn place(
        &self,
        build: &Build,
        artifact: Artifact,
        facts: &ArtifactFacts,
    ) -> Result<Names, FileError> {
        let path = build.artifact_path(artifact);
        self.out
            .place(&self.store, &path, facts.sha256, facts.size_bytes)?;
        let Some(alias) = self.names.alias(&build.kernel) else {
            return Ok(Names::default());
        };
        if let Some(kernel) = &alias.taken_by {
            return Ok(Names {
                name_taken_by: Some(BuildId::of(&build.driver.version, kernel)),
                ..Names::default()
            });
        }
        let of_rival = |kernel: &Arc<Kernel>| {
            let kernel = Arc::clone(kernel);
            let rival = Build {
                kernel,
                ..build.clone()
            };
            rival.artifact_path(artifact)
        };
        let rivals: Vec<PathBuf> = alias.rivals.iter().map(of_rival).collect();
        let alias = build.path_for(&alias.name, artifact);
        Ok(match self.out.link(&path, &alias, &rivals)? {
            Linked::There => Names {
                aliases: vec![alias],
                ..Names::default()
            },
            Linked::SingleFiles => Names::default(),
            Linked::TakenBy(other) => Names {
                name_taken_by: BuildId::of_artifact(&other, &build.driver.module_name),
                ..Names::default()
            },
        })
    }

    /// Puts the log beside the artifacts. One that cannot be had does not fail a build.
    fn place_log(
        &self,
        build: &Build,
        artifact: Artifact,
        log: Option<Sha256>,
        is_cached: bool,
    ) -> Option<PathBuf> {
        let path = log_path(&build.artifact_path(artifact));
        self.out.place_log(&self.store, &path, log, is_cached)
    }

    pub(super) fn halted(
        &self,
        build: &Build,
        artifact: Artifact,
        key: Option<Sha256>,
        halt: Halt,
    ) -> ArtifactReport {
        let failed = match halt {
            Halt::Failed(failed) => *failed,
            Halt::Missing | Halt::NotRun => {
                return ArtifactReport::not_run(artifact);
            }
        };
        let Failed {
            failure,
            log,
            is_cached,
        } = failed;
        ArtifactReport {
            status: failure.class.status(),
            failure_is_cached: is_cached,
            key,
            log: self.place_log(build, artifact, log, false),
            failure: Some(failure),
            ..ArtifactReport::not_run(artifact)
        }
    }
}
