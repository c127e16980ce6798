//! Signing: a step after the checks of a module. Its result is a new file, derived from the module, the certificate and
//! the hash. The module's own outcome does not change, so that another certificate requires no compilation.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::cache::{ArtifactFacts, StepResult};
use crate::digest::{KeyBuilder, Sha256};
use crate::engine::Engine;
use crate::engine::halt::{Halt, Mode};
use crate::engine::work::{Done, Work};
use crate::event::SignatureReport;
use crate::failure::{Failure, FailureClass, Phase};
use crate::fs::blocking;
use crate::sign::{SignError, Signer};

/// Signs modules.
pub(crate) struct Signing {
    engine: Arc<Engine>,
    signer: Arc<Signer>,
    /// Signing is quick, but holds a module in memory.
    slots: Semaphore,
}

impl Signing {
    /// Signs at most `slots` modules at once.
    pub(crate) fn new(engine: Arc<Engine>, signer: Arc<Signer>, slots: usize) -> Self {
        Self {
            engine,
            signer,
            slots: Semaphore::new(slots.max(1)),
        }
    }

    /// Returns the signed form of a module, if it is cached.
    pub(crate) fn find(&self, module: Sha256) -> Result<Option<Done>, Halt> {
        self.engine.steps.find(&self.key_of(module), Phase::Sign)
    }

    /// Signs a module that was checked, or finds its cached signed form. The outcome has the log of the module.
    /// `placed` is the path of the module if the store does not have it.
    pub(crate) async fn sign(
        &self,
        (module, log): (&ArtifactFacts, Option<Sha256>),
        placed: Option<PathBuf>,
        mode: Mode,
    ) -> Result<Done, Halt> {
        let work = async {
            let Ok(_slot) = self.slots.acquire().await else {
                return Err(Halt::NotRun);
            };
            let store = &self.engine.store;
            let is_here = self.engine.has_whole_blob(module.sha256, Phase::Sign);
            let path = if is_here.await? || store.fetch_shared(module.sha256).await {
                store.blob_path(module.sha256)
            } else {
                placed.unwrap_or_else(|| store.blob_path(module.sha256))
            };
            let stored = self.engine.stored(Phase::Sign);
            let of_folder = store.clone();
            let folder = blocking(move || of_folder.temporary_folder()).await;
            let folder = folder.map_err(stored)?;
            let signed = self.signer.sign(&path, folder.path()).await;
            let signed = signed.map_err(|error| failure(&error))?;
            let store = store.clone();
            let put = blocking(move || store.put_blob(signed.as_slice())).await;
            let (sha256, size_bytes) = put.map_err(stored)?;
            let signed = ArtifactFacts {
                sha256,
                size_bytes,
                ..module.clone()
            };
            Ok(Work {
                log,
                ..Work::plain(StepResult::Artifact(signed))
            })
        };
        let key = self.key_of(module.sha256);
        self.engine
            .step(mode, Phase::Sign, key, Box::pin(work))
            .await
    }

    /// Returns the manifest's record of a module's signature.
    pub(crate) fn report(&self, module: Sha256) -> SignatureReport {
        let certificate = self.signer.certificate();
        SignatureReport {
            certificate_sha256: certificate.sha256,
            subject: certificate.subject.clone(),
            hash: self.signer.hash().to_string(),
            unsigned_sha256: module,
        }
    }

    /// The key over everything that a signature depends on. The certificate identifies the private key.
    fn key_of(&self, module: Sha256) -> KeyBuilder {
        KeyBuilder::new("sign", 1)
            .field("module", module)
            .field("certificate", self.signer.certificate().sha256)
            .field("hash", self.signer.hash())
    }
}

/// A missing token or a failing command is temporary: the same module may be signed the next time.
fn failure(error: &SignError) -> Failure {
    Failure::new(FailureClass::Infrastructure, Phase::Sign, error.to_string())
}
