//! Attestations as they are read, whose author is not known yet.

use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::envelope::{Envelope, PAYLOAD_TYPE, Signature, signed_bytes};
use super::public_key::PublicKey;
use super::statement::{BUILD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE};
use crate::digest::Sha256;
use crate::fs::{self, FileError};

/// How large an attestation may be.
pub const ATTESTATION_BYTES: u64 = 1 << 20;

/// An attestation of an artifact. Nothing in it is true unless a trusted key signed it.
#[derive(Clone, Debug)]
pub struct Attestation {
    envelope: Envelope,
    statement: Vec<u8>,
    read: Statement,
}

// Structures, not maps: a key that is there twice is an error.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
    predicate_type: String,
    predicate: Predicate,
}

#[derive(Clone, Debug, Deserialize)]
struct Subject {
    name: String,
    digest: Digest,
}

#[derive(Clone, Debug, Deserialize)]
struct Digest {
    sha256: Sha256,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: String,
}

#[derive(Clone, Debug, Deserialize)]
struct RunDetails {
    builder: Builder,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Clone, Debug, Deserialize)]
struct Builder {
    id: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    invocation_id: Option<String>,
}

/// Reads the file of an attestation, of which never more than one byte too much; nothing if it does not exist.
pub fn read_attestation(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let failed = || FileError::of("read", path);
    let file = match fs::open_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed())?,
    };
    let mut content = Vec::new();
    let mut limited = file.take(ATTESTATION_BYTES + 1);
    limited.read_to_end(&mut content).map_err(failed())?;
    Ok(Some(content))
}

impl Attestation {
    /// Parses one; the error completes "the attestation is".
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > ATTESTATION_BYTES {
            return Err(format!("larger than {ATTESTATION_BYTES} bytes"));
        }
        let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let envelope: Envelope = serde_json::from_slice(line)
            .map_err(|error| format!("not a line with a DSSE envelope: {error}"))?;
        if envelope.payload_type != PAYLOAD_TYPE {
            return Err(format!(
                "of the type `{}`: expected {PAYLOAD_TYPE}",
                envelope.payload_type
            ));
        }
        let statement = envelope.payload().ok_or("damaged: invalid base64")?;
        let read: Statement = serde_json::from_slice(&statement)
            .map_err(|error| format!("not an in-toto statement with provenance: {error}"))?;
        // Other readers see the same statement: no key is there twice.
        let canonical = serde_json::from_slice(&statement)
            .and_then(|value: serde_json::Value| serde_json::to_vec(&value));
        if canonical.ok().as_ref() != Some(&statement) {
            return Err("not in canonical form: a key is there twice or out of order".to_owned());
        }
        for (found, expected) in [
            (&read.kind, STATEMENT_TYPE),
            (&read.predicate_type, PREDICATE_TYPE),
            (&read.predicate.build_definition.build_type, BUILD_TYPE),
        ] {
            if found != expected {
                return Err(format!("of the type `{found}`: expected {expected}"));
            }
        }
        Ok(Self {
            envelope,
            statement,
            read,
        })
    }

    /// The statement.
    pub fn statement(&self) -> &[u8] {
        &self.statement
    }

    /// The builder.
    pub fn builder(&self) -> &str {
        &self.read.predicate.run_details.builder.id
    }

    /// The run.
    pub fn run(&self) -> Option<&str> {
        self.read
            .predicate
            .run_details
            .metadata
            .invocation_id
            .as_deref()
    }

    /// Whether there is a signature, by any key.
    pub fn is_signed(&self) -> bool {
        !self.envelope.signatures.is_empty()
    }

    /// The one of these keys that signed it.
    pub fn signed_by<'k>(&self, keys: &'k [PublicKey]) -> Option<&'k PublicKey> {
        let message = signed_bytes(&self.statement);
        let signatures = self.envelope.signatures.iter();
        let signatures: Vec<Vec<u8>> = signatures.filter_map(Signature::bytes).collect();
        keys.iter().find(|key| {
            let mut signatures = signatures.iter();
            signatures.any(|signature| key.has_signed(&message, signature))
        })
    }

    /// Checks that one of these keys signed it, and returns that key; without keys, nothing is checked. The error is a
    /// whole sentence.
    pub fn check_signature<'k>(
        &self,
        keys: &'k [PublicKey],
    ) -> Result<Option<&'k PublicKey>, String> {
        if keys.is_empty() {
            return Ok(None);
        }
        if !self.is_signed() {
            return Err("it is not signed".to_owned());
        }
        match self.signed_by(keys) {
            Some(key) => Ok(Some(key)),
            None => Err(format!(
                "its signature is not of the given key (the envelope names key {})",
                self.key_names()
            )),
        }
    }

    /// The keys that the envelope names, not yet checked.
    pub fn key_names(&self) -> String {
        let names = self.envelope.signatures.iter();
        let names: Vec<String> = names
            .map(|one| one.keyid.chars().take(12).collect())
            .collect();
        names.join(", ")
    }

    /// Fails unless it is about the content with this digest under this name: the name of a file, or the file with the
    /// two directories above it. The error is a whole sentence.
    pub fn check_subject(&self, name: &str, sha256: Sha256) -> Result<(), String> {
        let subjects = &self.read.subject;
        let is_named = |subject: &Subject| {
            let own = subject.name.strip_suffix(name);
            own.is_some_and(|before| before.is_empty() || before.ends_with('/'))
        };
        let has_digest = |subject: &Subject| subject.digest.sha256 == sha256;
        if subjects.iter().any(|one| is_named(one) && has_digest(one)) {
            return Ok(());
        }
        let names = |subject: &Subject| subject.name.clone();
        if let Some(named) = subjects.iter().find(|one| is_named(one)) {
            let attested = named.digest.sha256.short();
            let found = sha256.short();
            return Err(format!(
                "it is about other content: it attests digest {attested}, the artifact has {found}"
            ));
        }
        let attested: Vec<String> = subjects.iter().map(names).take(3).collect();
        Err(if subjects.iter().any(has_digest) {
            format!(
                "it is about this content under another name: {}",
                attested.join(", ")
            )
        } else {
            format!("it is about another artifact: {}", attested.join(", "))
        })
    }
}
