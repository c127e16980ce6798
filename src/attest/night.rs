//! Writes the attestations of a run next to its artifacts, and compares them later.

use std::path::{Path, PathBuf};

use futures_util::{StreamExt as _, TryStreamExt as _};
use rayon::prelude::*;

use super::envelope::{Envelope, Signature, signed_bytes};
use super::public_key::{KeyError, PublicKey};
use super::read::{Attestation, read_attestation};
use super::statement::statement_of;
use crate::digest::Sha256;
use crate::event::ArtifactReport;
use crate::fs::{self, FileError, blocking};
use crate::report::{BuildRecord, Manifest, attestation_of};
use crate::sign::{Key, PlainSigner, SignError};

/// The builder that attests, and the signing key, if any.
#[derive(Clone, Debug)]
pub struct Attester {
    builder: String,
    key: Option<(PlainSigner, PublicKey)>,
}

/// An error from writing attestations.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The key cannot sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The key is of a kind that is not supported.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The signature from openssl does not verify with the key.
    #[error("the signature of the attestation of {0} does not verify with the key")]
    Signature(String),
}

/// The result of attesting the artifacts of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attested {
    /// The number of attestations written.
    pub written: usize,
    /// The number of attestations that already existed.
    pub unchanged: usize,
}

/// An attestation to be written.
struct Wanted {
    file: PathBuf,
    statement: Vec<u8>,
}

impl Attester {
    /// Creates an attester. Fails if a key is given and cannot sign.
    pub async fn open(
        builder: String,
        key: Option<Key>,
        password: Option<String>,
    ) -> Result<Self, AttestError> {
        let key = match key {
            Some(key) => {
                let (signer, public_key) = PlainSigner::open(key, password).await?;
                Some((signer, PublicKey::parse(&public_key)?))
            }
            None => None,
        };
        Ok(Self { builder, key })
    }

    /// The public key.
    pub fn public_key(&self) -> Option<&PublicKey> {
        Some(&self.key.as_ref()?.1)
    }

    /// Returns true if the file already has this statement, signed by this key or unsigned if there is no key.
    /// Signatures are not compared: some algorithms give a different signature each time.
    fn has_made(&self, file: &Path, statement: &[u8]) -> bool {
        let Ok(Some(found)) = read_attestation(file) else {
            return false;
        };
        Attestation::parse(&found).is_ok_and(|found| {
            found.statement() == statement
                && match self.public_key() {
                    Some(key) => found.signed_by(std::slice::from_ref(key)).is_some(),
                    None => !found.is_signed(),
                }
        })
    }

    async fn write(&self, wanted: Wanted) -> Result<(), AttestError> {
        let Wanted { file, statement } = wanted;
        let mut signatures = Vec::new();
        if let Some((signer, key)) = &self.key {
            let folder = blocking(tempfile::tempdir).await;
            let folder = folder.map_err(FileError::of("create", "directory"))?;
            let message = signed_bytes(&statement);
            let signed = signer.sign(message.clone(), key.hash(), folder.path());
            let signature = signed.await?;
            if !key.has_signed(&message, &signature) {
                return Err(AttestError::Signature(file.display().to_string()));
            }
            signatures.push(Signature::new(key.id().to_string(), &signature));
        }
        let line = Envelope::new(&statement, signatures).to_line();
        let line = line.map_err(|error| FileError::of("encode", &file)(error.into()))?;
        Ok(blocking(move || fs::write(&file, line)).await?)
    }
}

/// Writes the attestation of each artifact of a manifest that is in its output directory, `at_once` at a time. Skips
/// attestations that already exist.
pub async fn attest(
    out: &Path,
    manifest: &Manifest,
    attester: &Attester,
    at_once: usize,
) -> Result<Attested, AttestError> {
    let builds = manifest.builds.par_iter();
    let all: Vec<Option<Wanted>> = builds
        .flat_map_iter(|build| build.artifacts.iter().map(move |one| (build, one)))
        .filter_map(|(build, artifact)| {
            let path = artifact.path.as_ref()?;
            let statement = statement_at(out, build, artifact, &attester.builder)?;
            let file = out.join(attestation_of(path));
            let is_there = attester.has_made(&file, &statement);
            Some((!is_there).then_some(Wanted { file, statement }))
        })
        .collect();
    let unchanged = all.iter().filter(|wanted| wanted.is_none()).count();
    let wanted: Vec<Wanted> = all.into_iter().flatten().collect();
    let written = wanted.len();
    futures_util::stream::iter(wanted)
        .map(|wanted| attester.write(wanted))
        .buffer_unordered(at_once.max(1))
        .try_for_each(async |()| Ok(()))
        .await?;
    Ok(Attested { written, unchanged })
}

/// Compares the attestations in an output directory with its manifest and with `keys`, and returns each mismatch with
/// the file's path. If keys are given, a missing attestation is a mismatch.
pub fn compare(
    out: &Path,
    manifest: &Manifest,
    keys: &[PublicKey],
) -> Result<Vec<(PathBuf, String)>, FileError> {
    let builds = manifest.builds.par_iter();
    let found: Result<Vec<Option<(PathBuf, String)>>, FileError> = builds
        .flat_map_iter(|build| build.artifacts.iter().map(move |one| (build, one)))
        .map(|(build, artifact)| {
            let (Some(path), Some(sha256)) = (&artifact.path, artifact.sha256) else {
                return Ok(None);
            };
            let name = attestation_of(path);
            let Some(content) = read_attestation(&out.join(&name))? else {
                let missing = (!keys.is_empty()).then(|| (name, "missing".to_owned()));
                return Ok(missing);
            };
            let checked = Attestation::parse(&content)
                .map_err(|why| format!("the attestation is {why}"))
                .and_then(|read| {
                    read.check_subject(&path.to_string_lossy(), sha256)?;
                    let expected = statement_at(out, build, artifact, read.builder());
                    if expected.as_deref() != Some(read.statement()) {
                        return Err("the statement differs from the manifest".to_owned());
                    }
                    read.check_signature(keys).map(drop)
                });
            Ok(checked.err().map(|why| (name, why)))
        })
        .collect();
    Ok(found?.into_iter().flatten().collect())
}

/// The statement about an artifact in an output directory, including the digest of its log.
pub(super) fn statement_at(
    out: &Path,
    build: &BuildRecord,
    artifact: &ArtifactReport,
    builder: &str,
) -> Option<Vec<u8>> {
    let log = artifact.log.as_ref().and_then(|log| {
        let file = std::fs::File::open(out.join(log)).ok()?;
        Some(Sha256::of_reader(file).ok()?.0)
    });
    statement_of(build, artifact, log, builder)
}
