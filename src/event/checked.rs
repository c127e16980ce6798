//! Reports of the steps after a build: signature, second build, proof.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;

/// The result of building an artifact a second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoubleReport {
    /// The result.
    pub result: DoubleResult,
    /// How the two artifacts differ, or why there was no second build.
    pub message: String,
}

/// The result of comparing a second build with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoubleResult {
    /// Both builds gave the same bytes.
    Same,
    /// The builds gave different bytes; the artifact failed.
    Different,
    /// There was no second build.
    NotDone,
}

impl DoubleResult {
    /// Returns the name as in the manifest: `not_done`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Different => "different",
            Self::NotDone => "not_done",
        }
    }
}

/// The signature of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureReport {
    /// The digest of the certificate's DER form.
    pub certificate_sha256: Sha256,
    /// The subject of the certificate: `CN=Falco modules`.
    pub subject: String,
    /// The digest that was signed: `sha256`.
    pub hash: String,
    /// The digest of the module without the signature.
    pub unsigned_sha256: Sha256,
}

/// The result of loading an artifact into its kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofReport {
    /// The result.
    pub result: ProofResult,
    /// What the kernel did, or why it was not booted.
    pub message: String,
}

/// The result of proving an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofResult {
    /// The kernel loaded, used and unloaded the artifact.
    Loaded,
    /// The kernel refused the artifact; the artifact failed.
    Refused,
    /// The artifact was not tried in its kernel.
    NotProven,
}

impl ProofResult {
    /// Returns the name as in the manifest: `not_proven`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Refused => "refused",
            Self::NotProven => "not_proven",
        }
    }
}
