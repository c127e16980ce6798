//! Places the results of steps where the loader expects them, and reports them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cache::{ArtifactFacts, StepResult};
use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::engine::Engine;
use crate::engine::halt::{Failed, Halt, Mode};
use crate::engine::work::{Done, unexpected};
use crate::event::{ArtifactReport, EventKind};
use crate::failure::{Phase, Status};
use crate::fs::{self, FileError, blocking};
use crate::kernel::Kernel;
use crate::plan::{Build, BuildId, Names};
use crate::recipe::artifacts::{Ingredients, phase_of};
use crate::report::log_path;
use crate::run::brings::Brings;
use crate::run::out_folder::{Linked, OutFolder, Placement};
use crate::verify;

/// The additional names of an artifact.
#[derive(Default)]
struct FurtherNames {
    /// The names that the artifact has.
    aliases: Vec<PathBuf>,
    /// The build whose artifact has the name under which the loader would request this artifact.
    name_taken_by: Option<BuildId>,
}

impl FurtherNames {
    fn of(alias: PathBuf) -> Self {
        Self {
            aliases: vec![alias],
            name_taken_by: None,
        }
    }
}

/// Places the artifacts of builds in the output directory.
#[derive(Clone)]
pub(crate) struct Placing {
    engine: Arc<Engine>,
    out: Arc<OutFolder>,
    /// The names under which the loader requests kernels that have other names in lists.
    names: Arc<Names>,
    /// Which artifacts of the shared store are downloaded.
    brings: Brings,
}

impl Placing {
    pub(crate) fn new(engine: Arc<Engine>, out: OutFolder, names: Names, brings: Brings) -> Self {
        Self {
            engine,
            out: Arc::new(out),
            names: Arc::new(names),
            brings,
        }
    }

    /// Saves the records of files in the output directory.
    pub(crate) fn save(&self) -> Result<(), FileError> {
        self.out.save()
    }

    /// Clears the lists of files in the output directory.
    pub(crate) fn forget_lists(&self) {
        self.out.forget_lists();
    }

    /// Whether an artifact of an earlier run is unusable: its content is neither in the output directory nor in the
    /// store, or it is a module for another kernel, for whatever reason.
    pub(crate) async fn is_lost(
        &self,
        ingredients: &Ingredients<'_>,
        artifact: Artifact,
        facts: &ArtifactFacts,
        mode: Mode,
    ) -> Result<bool, Halt> {
        let kernel = ingredients.kernel.clone();
        let vermagic = facts.vermagic.as_deref().unwrap_or_default();
        if artifact == Artifact::Module
            && vermagic.split_whitespace().next() != Some(&kernel.inspection.facts.uts_release)
        {
            return Ok(true);
        }
        let (out, store) = (self.out.clone(), self.engine.store.clone());
        let path = ingredients.build.artifact_path(artifact);
        let (sha256, size_bytes) = (facts.sha256, facts.size_bytes);
        let driver = ingredients.driver.facts.clone();
        let architecture = ingredients.build.kernel.architecture;
        let is_lost = move || {
            if out.has(&path, sha256, size_bytes)? {
                return Ok(false);
            }
            if !store.has_whole_blob(sha256)? {
                return Ok(!store.is_shared(sha256));
            }
            if artifact != Artifact::Module {
                return Ok(false);
            }
            // The module is about to be published. Its tree may have been removed, so its symbols are not compared
            // again.
            let bytes = fs::read(&store.blob_path(sha256))?;
            let expected = verify::ExpectedModule {
                name: &driver.module_name,
                architecture,
                tree: &kernel.inspection.facts,
                symvers: None,
            };
            Ok(verify::verify_module(&bytes, &expected).is_err())
        };
        mode.blocking(is_lost)
            .await
            .map_err(self.engine.stored(Phase::Store))
    }

    /// Returns the report of an artifact whose step has an outcome or could not run. On return, everything that belongs
    /// in the output directory is there.
    pub(crate) async fn report(
        &self,
        build: &Build,
        artifact: Artifact,
        done: Result<Done, Halt>,
        mode: Mode,
    ) -> ArtifactReport {
        if mode == Mode::Lookup {
            return self.report_now(build, artifact, done);
        }
        let (placing, build) = (self.clone(), build.clone());
        blocking(move || placing.report_now(&build, artifact, done)).await
    }

    /// Returns the path of an artifact, if it is placed in a directory.
    pub(crate) fn full_path(&self, build: &Build, artifact: Artifact) -> Option<PathBuf> {
        self.out.full_path(&build.artifact_path(artifact))
    }

    /// Returns the report of an artifact that its kernel rejects; removes the artifact and its names from the output
    /// directory.
    pub(crate) async fn refuse(
        &self,
        build: &Build,
        report: ArtifactReport,
        failed: Failed,
        mode: Mode,
    ) -> ArtifactReport {
        let (placing, build) = (self.clone(), build.clone());
        let refused = move || {
            let names = report.path.iter().chain(&report.aliases);
            let removed = names
                .map(|name| placing.out.remove(name))
                .collect::<Result<Vec<()>, FileError>>();
            let halt = match removed {
                Ok(_) => Halt::Failed(Box::new(failed)),
                Err(error) => placing.engine.steps.storage_failure(&error, Phase::Prove),
            };
            ArtifactReport {
                vermagic: report.vermagic,
                srcversion: report.srcversion,
                ..placing.halted(&build, report.artifact, report.key, halt)
            }
        };
        mode.blocking(refused).await
    }

    fn report_now(
        &self,
        build: &Build,
        artifact: Artifact,
        done: Result<Done, Halt>,
    ) -> ArtifactReport {
        match done {
            Ok(done) => self.finished(build, artifact, &done),
            Err(halt) => self.halted(build, artifact, None, halt),
        }
    }

    fn finished(&self, build: &Build, artifact: Artifact, done: &Done) -> ArtifactReport {
        let facts = match done.result() {
            Ok(StepResult::Artifact(facts)) => facts,
            Ok(other) => {
                let halt = unexpected(other, phase_of(artifact));
                return self.halted(build, artifact, Some(done.key), halt);
            }
            Err(halt) => {
                return ArtifactReport {
                    made_by: done.outcome.run_id.clone(),
                    made_at: done.outcome.done_at,
                    made_seconds: Some(done.outcome.wall.as_secs_f64()),
                    ..self.halted(build, artifact, Some(done.key), halt)
                };
            }
        };
        let path = build.artifact_path(artifact);
        match self.place_if_here(build, artifact, &path, facts) {
            Ok(names) => {
                let is_here = names.is_some();
                let names = names.unwrap_or_default();
                ArtifactReport {
                    status: if done.is_cached {
                        Status::Cached
                    } else {
                        Status::Built
                    },
                    key: Some(done.key),
                    log: self.place_log(&path, done.outcome.log, done.is_cached),
                    sha256: Some(facts.sha256),
                    size_bytes: Some(facts.size_bytes),
                    vermagic: facts.vermagic.clone(),
                    srcversion: facts.srcversion.clone(),
                    path: is_here.then_some(path),
                    aliases: names.aliases,
                    name_taken_by: names.name_taken_by,
                    made_by: done.outcome.run_id.clone(),
                    made_at: done.outcome.done_at,
                    made_seconds: Some(done.outcome.wall.as_secs_f64()),
                    ..ArtifactReport::not_run(artifact)
                }
            }
            Err(error) => {
                let halt = self.engine.steps.storage_failure(&error, Phase::Store);
                self.halted(build, artifact, Some(done.key), halt)
            }
        }
    }

    /// Places an artifact at its path in the output directory and returns its further names, unless its content is only
    /// in the shared store.
    fn place_if_here(
        &self,
        build: &Build,
        artifact: Artifact,
        path: &Path,
        facts: &ArtifactFacts,
    ) -> Result<Option<FurtherNames>, FileError> {
        let ArtifactFacts {
            sha256, size_bytes, ..
        } = *facts;
        let store = &self.engine.store;
        if store.shared().is_some()
            && !store.has_blob(sha256)
            && !self.out.has(path, sha256, size_bytes)?
            && store.is_shared(sha256)
        {
            return Ok(None);
        }
        self.place(build, artifact, path, facts).map(Some)
    }

    /// Downloads an artifact that is to be placed from the shared store. Returns false if it is not available.
    pub(crate) async fn bring(
        &self,
        build: &Build,
        artifact: Artifact,
        facts: &ArtifactFacts,
    ) -> bool {
        let store = &self.engine.store;
        if !self.brings.wants(build.id(), artifact, facts.sha256) || !store.is_shared(facts.sha256)
        {
            return true;
        }
        let (out, path) = (self.out.clone(), build.artifact_path(artifact));
        let (sha256, size_bytes) = (facts.sha256, facts.size_bytes);
        let is_there = move || out.has(&path, sha256, size_bytes).is_ok_and(|there| there);
        blocking(is_there).await || store.fetch_shared(sha256).await
    }

    fn place(
        &self,
        build: &Build,
        artifact: Artifact,
        path: &Path,
        facts: &ArtifactFacts,
    ) -> Result<FurtherNames, FileError> {
        let store = &self.engine.store;
        let placement = self
            .out
            .place(store, path, facts.sha256, facts.size_bytes)?;
        if let Placement::WrittenInPlaceOf(other) = placement {
            self.tell_moved_name(build, path, &other);
        }
        let Some(alias) = self.names.alias(build, artifact) else {
            return Ok(FurtherNames::default());
        };
        if let Some(kernel) = &alias.taken_by {
            return Ok(FurtherNames {
                name_taken_by: Some(BuildId::of(&build.driver.version, kernel)),
                ..FurtherNames::default()
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
        Ok(match self.out.link(path, &alias, &rivals)? {
            Linked::There => FurtherNames::of(alias),
            Linked::TakenFrom(other) => {
                self.tell_moved_name(build, &alias, &other);
                FurtherNames::of(alias)
            }
            Linked::SingleFiles => FurtherNames::default(),
            Linked::TakenBy(other) => FurtherNames {
                name_taken_by: BuildId::of_artifact(&other, &build.driver.module_name),
                ..FurtherNames::default()
            },
        })
    }

    /// Reports that the name `path` belonged to the artifact at `other` and now belongs to this build.
    fn tell_moved_name(&self, build: &Build, path: &Path, other: &Path) {
        let message = format!(
            "{} now belongs to {}: it was a further name of {}, which stays",
            path.display(),
            build.id(),
            other.display()
        );
        self.engine.events.send(EventKind::Note { message });
    }

    /// Places the log of the artifact at `path` next to the artifacts. A log that is not available does not fail the
    /// build.
    fn place_log(&self, path: &Path, log: Option<Sha256>, is_cached: bool) -> Option<PathBuf> {
        let store = &self.engine.store;
        self.out.place_log(store, &log_path(path), log, is_cached)
    }

    fn halted(
        &self,
        build: &Build,
        artifact: Artifact,
        key: Option<Sha256>,
        halt: Halt,
    ) -> ArtifactReport {
        let failed = match halt {
            Halt::Failed(failed) => *failed,
            Halt::Missing | Halt::NotRun | Halt::Elsewhere => {
                return ArtifactReport::not_run(artifact);
            }
        };
        let Failed {
            failure,
            log,
            is_cached,
            ..
        } = failed;
        ArtifactReport {
            status: failure.class.status(),
            failure_is_cached: is_cached,
            key,
            log: self.place_log(&build.artifact_path(artifact), log, false),
            failure: Some(failure),
            ..ArtifactReport::not_run(artifact)
        }
    }
}
