//! The checks of a published artifact: its content, the index, its attestation, the signature of a module.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::super::CliError;
use super::place::{GetError, Place};
use crate::attest::{ATTESTATION_BYTES, Attestation, PublicKey};
use crate::digest::Sha256;
use crate::fs::{FileError, blocking};
use crate::publish::{Entry, INDEX_FILE, Index, SUMS_FILE};
use crate::report::ATTESTATION_SUFFIX;
use crate::sign::{check_signature, split};
use crate::text::size;

/// The maximum size of an artifact.
const ARTIFACT_BYTES: u64 = 256 << 20;

/// The maximum size of the index and of the list of digests.
const INDEX_BYTES: u64 = 1 << 30;

/// The subject of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Subject {
    Artifact,
    Index,
    Attestation,
    ModuleSignature,
}

impl Subject {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Artifact => "artifact",
            Self::Index => "index",
            Self::Attestation => "attestation",
            Self::ModuleSignature => "module signature",
        }
    }
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Failed,
    Passed,
    NotChecked,
}

/// A check and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    #[serde(rename = "check")]
    pub(super) subject: Subject,
    pub(super) result: Outcome,
    pub(super) detail: String,
}

/// An artifact and its checks.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Checked {
    pub(super) name: String,
    pub(super) sha256: Option<Sha256>,
    pub(super) checks: Vec<Check>,
}

impl Checked {
    pub(super) fn has(&self, result: Outcome) -> bool {
        self.checks.iter().any(|check| check.result == result)
    }
}

/// The keys and files that artifacts are checked with.
pub(super) struct Verifier {
    pub(super) place: Place,
    pub(super) index: Option<PublishedIndex>,
    pub(super) keys: Vec<PublicKey>,
    pub(super) certificate: Option<PathBuf>,
}

/// The index of a destination.
pub(super) struct PublishedIndex {
    pub(super) index: Index,
    /// The list of digests, or the reason why it cannot be used.
    sums: Result<String, String>,
}

impl PublishedIndex {
    /// Reads the index with the list of digests; returns `None` if there is no index.
    pub(super) async fn read(place: &Place) -> Result<Option<Self>, CliError> {
        let failed = |error| match error {
            GetError::Damaged(why) => CliError::input(why),
            GetError::Place(error) => error,
        };
        let Some(bytes) = place.get(INDEX_FILE, INDEX_BYTES).await.map_err(failed)? else {
            return Ok(None);
        };
        let index = Index::parse(&bytes)
            .map_err(|why| CliError::input(format!("{}: {INDEX_FILE} is {why}", place.shown())))?;
        let sums = match place.get(SUMS_FILE, INDEX_BYTES).await {
            Ok(None) => Err(format!("{SUMS_FILE} does not exist")),
            Ok(Some(sums)) if index.files.get(SUMS_FILE) != Some(&Sha256::of(&sums)) => Err(
                format!("{SUMS_FILE} does not match its digest in {INDEX_FILE}"),
            ),
            Ok(Some(sums)) => {
                String::from_utf8(sums).map_err(|_| format!("{SUMS_FILE} is not text"))
            }
            Err(error) => return Err(failed(error)),
        };
        Ok(Some(Self { index, sums }))
    }

    fn check(&self, name: &str, sha256: Sha256) -> Result<&Entry, String> {
        let Some(entry) = self.index.artifacts.get(name) else {
            return Err(format!("{INDEX_FILE} does not list it"));
        };
        let found = sha256.short();
        if entry.sha256 != sha256 {
            let named = entry.sha256.short();
            return Err(format!(
                "{INDEX_FILE} lists digest {named}, but the artifact has {found}"
            ));
        }
        let sums = self.sums.as_ref().map_err(Clone::clone)?;
        let line = format!("{sha256}  {name}");
        if sums.lines().any(|one| one == line) {
            return Ok(entry);
        }
        Err(format!("{SUMS_FILE} does not list it with digest {found}"))
    }
}

impl Verifier {
    /// Checks the artifact `name` of the place.
    pub(super) async fn check(&self, name: &str) -> Result<Checked, CliError> {
        let mut checks = Vec::new();
        let content = match self.place.get(name, ARTIFACT_BYTES).await {
            Ok(Some(content)) => content,
            Ok(None) => {
                return Ok(unreadable(name, "it does not exist".to_owned()));
            }
            Err(GetError::Damaged(why)) => return Ok(unreadable(name, why)),
            Err(GetError::Place(error)) => return Err(error),
        };
        let sha256 = Sha256::of(&content);
        let mut add = |subject, result, detail: String| {
            checks.push(Check {
                subject,
                result,
                detail,
            });
        };
        let indexed = self.index.as_ref().map(|index| index.check(name, sha256));
        let entry = indexed
            .as_ref()
            .and_then(|entry| entry.as_ref().ok().copied());
        let why_refused = indexed
            .as_ref()
            .and_then(|entry| entry.as_ref().err().cloned());
        let (result, detail) = match &indexed {
            None => (Outcome::NotChecked, format!("{INDEX_FILE} does not exist")),
            Some(Ok(_)) => (
                Outcome::Passed,
                format!("the digest matches {INDEX_FILE} and {SUMS_FILE}"),
            ),
            Some(Err(why)) => (Outcome::Failed, why.clone()),
        };
        add(Subject::Index, result, detail);
        let (result, detail) = self.attestation(name, sha256, entry).await?;
        let is_named = entry.is_some() || result == Outcome::Passed;
        add(Subject::Attestation, result, detail);
        if Path::new(name).extension().is_some_and(|end| end == "ko") {
            let (result, detail) = self.module_signature(&content).await?;
            add(Subject::ModuleSignature, result, detail);
        }
        let content = format!("{}, sha256 {sha256}", size(content.len() as u64));
        let (result, detail) = match result_of(&checks, is_named) {
            Outcome::NotChecked => (
                Outcome::NotChecked,
                format!("{content}; no index or signed attestation confirms this digest"),
            ),
            Outcome::Failed => {
                let why = why_refused.unwrap_or_default();
                (Outcome::Failed, format!("{content}; {why}"))
            }
            Outcome::Passed => (Outcome::Passed, content),
        };
        let artifact = Check {
            subject: Subject::Artifact,
            result,
            detail,
        };
        checks.insert(0, artifact);
        Ok(Checked {
            name: name.to_owned(),
            sha256: Some(sha256),
            checks,
        })
    }

    async fn attestation(
        &self,
        name: &str,
        sha256: Sha256,
        entry: Option<&Entry>,
    ) -> Result<(Outcome, String), CliError> {
        let known = entry.and_then(|entry| entry.attestation.as_ref());
        let own = format!("{name}{ATTESTATION_SUFFIX}");
        let file = known.map_or(&own, |known| &known.name);
        let content = match self.place.get(file, ATTESTATION_BYTES).await {
            Ok(Some(content)) => content,
            Ok(None) if known.is_some() => {
                let why = format!("{file} does not exist, but {INDEX_FILE} lists it");
                return Ok((Outcome::Failed, why));
            }
            Ok(None) => {
                let why = format!("{file} does not exist");
                let result = match self.keys.len() {
                    0 => Outcome::NotChecked,
                    // With a key, a signature is required.
                    _ => Outcome::Failed,
                };
                return Ok((result, why));
            }
            Err(GetError::Damaged(why)) => return Ok((Outcome::Failed, why)),
            Err(GetError::Place(error)) => return Err(error),
        };
        let checked = self.check_attestation(&content, name, sha256, known.map(|one| one.sha256));
        Ok(checked.unwrap_or_else(|why| (Outcome::Failed, why)))
    }

    fn check_attestation(
        &self,
        content: &[u8],
        name: &str,
        sha256: Sha256,
        expected: Option<Sha256>,
    ) -> Result<(Outcome, String), String> {
        let read =
            Attestation::parse(content).map_err(|why| format!("the attestation is {why}"))?;
        let found = Sha256::of(content);
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let (expected, found) = (expected.short(), found.short());
            return Err(format!(
                "{INDEX_FILE} lists an attestation with digest {expected}, but this one has {found}"
            ));
        }
        read.check_subject(name, sha256)?;
        let key = read.check_signature(&self.keys)?;
        let run = read.run().unwrap_or("unknown");
        let about = format!(
            "about this artifact, by builder {}, run {run}",
            read.builder()
        );
        Ok(match key {
            Some(key) => {
                let id = key.id().short();
                (Outcome::Passed, format!("{about}, signed by key {id}"))
            }
            None if read.is_signed() => {
                let names = read.key_names();
                let why = format!(
                    "{about}; the signature (key {names}) was not checked: no --key was given"
                );
                (Outcome::NotChecked, why)
            }
            None => (Outcome::NotChecked, format!("{about}; it is not signed")),
        })
    }

    async fn module_signature(&self, module: &[u8]) -> Result<(Outcome, String), CliError> {
        let is_signed = split(module).is_some();
        let Some(certificate) = &self.certificate else {
            return Ok((
                Outcome::NotChecked,
                if is_signed {
                    "the module is signed; the signature was not checked: no --certificate was given"
                } else {
                    "the module is not signed"
                }
                .to_owned(),
            ));
        };
        Ok(match module_signature(module, certificate).await? {
            Ok(()) => (
                Outcome::Passed,
                format!("valid, by the key of {}", certificate.display()),
            ),
            Err(why) => (Outcome::Failed, why),
        })
    }
}

/// Checks that a module is signed by a certificate's key; the inner error is the reason if it is not.
pub(super) async fn module_signature(
    module: &[u8],
    certificate: &Path,
) -> Result<Result<(), String>, CliError> {
    let folder = blocking(tempfile::tempdir)
        .await
        .map_err(FileError::of("create", "directory"))?;
    let checked = check_signature(module, certificate, folder.path()).await;
    match checked {
        Err(error) if error.about == crate::sign::About::Machine => {
            Err(CliError::infrastructure(error.to_string()))
        }
        checked => Ok(checked.map_err(|error| error.to_string())),
    }
}

fn result_of(checks: &[Check], is_named: bool) -> Outcome {
    let is_other =
        |check: &Check| check.subject == Subject::Index && check.result == Outcome::Failed;
    if checks.iter().any(is_other) {
        Outcome::Failed
    } else if is_named {
        Outcome::Passed
    } else {
        Outcome::NotChecked
    }
}

fn unreadable(name: &str, why: String) -> Checked {
    Checked {
        name: name.to_owned(),
        sha256: None,
        checks: vec![Check {
            subject: Subject::Artifact,
            result: Outcome::Failed,
            detail: why,
        }],
    }
}
