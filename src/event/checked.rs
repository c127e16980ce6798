//! What was done with an artifact after it was built: signed, built a second time, proven.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256;

/// The result of building an artifact a second time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoubleReport {
    /// The word.
    pub result: DoubleResult,
    /// How they differ, or why there was no second build.
    pub message: String,
}

/// Whether a second build gave the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoubleResult {
    /// It did.
    Same,
    /// It did not: the artifact failed.
    Different,
    /// There was none.
    NotDone,
}

impl DoubleResult {
    /// The text form: `not_done`.
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
    /// Whose certificate it is: `CN=Falco modules`.
    pub subject: String,
    /// The digest that was signed: `sha256`.
    pub hash: String,
    /// The digest of the module without the signature.
    pub unsigned_sha256: Sha256,
}

/// The result of loading an artifact into its kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofReport {
    /// The word.
    pub result: ProofResult,
    /// What the kernel did, or why it was not asked.
    pub message: String,
}

/// Whether a kernel loaded an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProofResult {
    /// It loaded, used and unloaded it.
    Loaded,
    /// It did not: the artifact failed.
    Refused,
    /// It was not asked.
    NotProven,
}

impl ProofResult {
    /// The text form: `not_proven`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Refused => "refused",
            Self::NotProven => "not_proven",
        }
    }
}
