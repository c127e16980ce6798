//! Reads attestations that are not trusted yet.

use std::io::Read as _;
use std::path::Path;

use serde::Deserialize;

use super::envelope::{Envelope, PAYLOAD_TYPE, Signature, signed_bytes};
use super::public_key::PublicKey;
use super::statement::{BUILD_TYPE, PREDICATE_TYPE, STATEMENT_TYPE};
use crate::digest::Sha256;
use crate::fs::{self, FileError};

/// The maximum size of an attestation.
pub const ATTESTATION_BYTES: u64 = 1 << 20;

/// An attestation of an artifact. Its content is untrusted until a signature has been checked.
#[derive(Clone, Debug)]
pub struct Attestation {
    envelope: Envelope,
    statement: Vec<u8>,
    read: Statement,
}

// Structs, not maps: a duplicate key is an error.
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

/// Reads an attestation file, at most one byte more than [`ATTESTATION_BYTES`]. Returns `None` if it does not exist.
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
    /// Parses an attestation. The error completes the sentence "the attestation is".
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
        // Rejects duplicate keys, so that other parsers see the same statement.
        let canonical = serde_json::from_slice(&statement)
            .and_then(|value: serde_json::Value| serde_json::to_vec(&value));
        if canonical.ok().as_ref() != Some(&statement) {
            return Err("not in canonical form: a key is duplicated or out of order".to_owned());
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

    /// The id of the builder.
    pub fn builder(&self) -> &str {
        &self.read.predicate.run_details.builder.id
    }

    /// The id of the run.
    pub fn run(&self) -> Option<&str> {
        self.read
            .predicate
            .run_details
            .metadata
            .invocation_id
            .as_deref()
    }

    /// Returns true if the envelope has a signature, whether valid or not.
    pub fn is_signed(&self) -> bool {
        !self.envelope.signatures.is_empty()
    }

    /// Returns the first of `keys` that signed the attestation.
    pub fn signed_by<'k>(&self, keys: &'k [PublicKey]) -> Option<&'k PublicKey> {
        let message = signed_bytes(&self.statement);
        let signatures = self.envelope.signatures.iter();
        let signatures: Vec<Vec<u8>> = signatures.filter_map(Signature::bytes).collect();
        keys.iter().find(|key| {
            let mut signatures = signatures.iter();
            signatures.any(|signature| key.has_signed(&message, signature))
        })
    }

    /// Checks that one of `keys` signed the attestation, and returns that key. Without keys, nothing is checked. The
    /// error is a full sentence.
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
                "it is not signed by a given key (the envelope names key {})",
                self.key_names()
            )),
        }
    }

    /// The key ids that the envelope claims, unchecked and shortened.
    pub fn key_names(&self) -> String {
        let names = self.envelope.signatures.iter();
        let names: Vec<String> = names
            .map(|one| one.keyid.chars().take(12).collect())
            .collect();
        names.join(", ")
    }

    /// Fails unless the statement has a subject with this digest and this name. `name` is a file name, or a file name
    /// with the two directories above it. The error is a full sentence.
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
