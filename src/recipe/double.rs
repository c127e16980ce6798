//! The second build of an artifact: with another number of jobs, another clock and host name, and on another executor
//! if there is one. It must give the same bytes. The result of the first build stays as it is.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::cache::StepResult;
use crate::digest::{KeyBuilder, Sha256};
use crate::driver::Artifact;
use crate::engine::Engine;
use crate::engine::ended::script_failure;
use crate::engine::halt::{Failed, Halt, Mode};
use crate::engine::job::JobResult;
use crate::engine::work::{Work, unexpected};
use crate::failure::{Failure, FailureClass};
use crate::fs::{self, FileError, blocking};
use crate::recipe::artifacts::{Ingredients, key_of, left_file, phase_of, render};
use crate::recipe::driver::Drivers;
use crate::recipe::kernel::Kernels;
use crate::script;
use crate::sign::unsigned;
use crate::store::Store;
use crate::verify::first_differing_section;

/// The cached outcome of a second build that gave the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Same {
    /// The executor that ran it.
    executor: String,
}

/// The result of a second build.
pub(crate) enum DoubleOutcome {
    /// The same bytes, with a message.
    Same(String),
    /// Different bytes, or a failed build.
    Different(Box<Failed>),
    /// The reason why the second build could not be done.
    NotDone(String),
}

/// Builds artifacts a second time.
pub(crate) struct Doubles {
    engine: Arc<Engine>,
    kernels: Arc<Kernels>,
    drivers: Arc<Drivers>,
}

impl Doubles {
    pub(crate) fn new(engine: Arc<Engine>, kernels: Arc<Kernels>, drivers: Arc<Drivers>) -> Self {
        Self {
            engine,
            kernels,
            drivers,
        }
    }

    /// Builds an artifact again and compares it with the one that has the digest `first`, without its signature.
    /// `placed` is the path of the first artifact if the store does not have it.
    pub(crate) async fn double(
        &self,
        artifact: Artifact,
        ingredients: &Ingredients<'_>,
        first: Sha256,
        placed: Option<PathBuf>,
        mode: Mode,
    ) -> Result<DoubleOutcome, Halt> {
        let phase = phase_of(artifact);
        let script = render(artifact, ingredients, self.engine.host)?;
        let own = key_of(artifact, ingredients, Sha256::of(&script)).key();
        let script = script::varied(&script).map_err(|error| script_failure(&error))?;
        let key = KeyBuilder::new("double", 1)
            .field("artifact key", own)
            .field("artifact", first)
            .field("script", Sha256::of(&script));
        let work = async {
            let request = ingredients.job(artifact, script, &self.kernels, &self.drivers);
            let request = request.await?;
            let jobs = &self.engine.jobs;
            let (result, executor) = jobs.run_double(ingredients.build, &request).await?;
            let compared = self.compare(artifact, &result, first, placed).await?;
            match compared {
                None => {
                    let executor = executor.to_owned();
                    let facts = Work::of_facts(&Same { executor }, phase)?;
                    Ok(result.work(facts.result))
                }
                Some(message) => {
                    let message = format!("{message} (second build by {executor})");
                    let class = FailureClass::NotReproducible;
                    Err(result.failed(Failure::new(class, phase, message)))
                }
            }
        };
        let done = self.engine.step(mode, phase, key, Box::pin(work)).await;
        match done {
            Ok(done) => match done.result() {
                Ok(StepResult::Facts(_)) => {
                    let Same { executor } = done.facts(phase)?;
                    Ok(DoubleOutcome::Same(format!("the same bytes by {executor}")))
                }
                Ok(other) => Err(unexpected(other, phase)),
                Err(Halt::Failed(failed)) => Ok(judge(*failed)),
                Err(halt) => Err(halt),
            },
            Err(Halt::Failed(failed)) => Ok(judge(*failed)),
            Err(halt) => Err(halt),
        }
    }

    /// Describes how the result of a second build differs from the first artifact; `None` if it does not differ.
    async fn compare(
        &self,
        artifact: Artifact,
        result: &JobResult,
        first: Sha256,
        placed: Option<PathBuf>,
    ) -> Result<Option<String>, Halt> {
        let path = result.output.path().join(left_file(artifact));
        let store = self.engine.store.clone();
        let compare = move || {
            if !path.is_file() {
                return Ok(Some("the second build produced no file".to_owned()));
            }
            let second = fs::read(&path)?;
            let digest = Sha256::of(&second);
            if digest == first {
                return Ok(None);
            }
            let section = content_of(&store, first, placed)?
                .and_then(|first| first_differing_section(&first, &second));
            let section = section.map_or_else(
                || "outside of all sections".to_owned(),
                |section| format!("first in section {section}"),
            );
            let (first, second) = (first.short(), digest.short());
            Ok(Some(format!(
                "a second build gave different bytes, {section}: {first} before, {second} now"
            )))
        };
        let compared: Result<Option<String>, FileError> = blocking(compare).await;
        compared.map_err(self.engine.stored(phase_of(artifact)))
    }
}

/// Returns the bytes with this digest, from the store or from the file `placed` after removing its signature.
fn content_of(
    store: &Store,
    digest: Sha256,
    placed: Option<PathBuf>,
) -> Result<Option<Vec<u8>>, FileError> {
    if store.has_whole_blob(digest)? {
        return fs::read(&store.blob_path(digest)).map(Some);
    }
    let Some(placed) = placed.filter(|path| path.is_file()) else {
        return Ok(None);
    };
    let bytes = fs::read(&placed)?;
    let bytes = unsigned(&bytes);
    Ok((Sha256::of(bytes) == digest).then(|| bytes.to_vec()))
}

/// Interprets the failure of a second build: a deterministic failure is a difference, a machine failure is not.
fn judge(mut failed: Failed) -> DoubleOutcome {
    let failure = &failed.failure;
    match failure.class {
        FailureClass::NotReproducible => DoubleOutcome::Different(Box::new(failed)),
        class if class.is_deterministic() => {
            let message = format!("the second build failed: {}", failure.message);
            failed.failure.class = FailureClass::NotReproducible;
            failed.failure.message = message;
            DoubleOutcome::Different(Box::new(failed))
        }
        _ => DoubleOutcome::NotDone(failure.message.clone()),
    }
}
