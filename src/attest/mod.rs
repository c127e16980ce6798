//! Attestations: for each artifact an in-toto statement with SLSA provenance, in a DSSE envelope.
//!
//! In: a manifest, and a key that only openssl reads. Out: `<artifact>.intoto.jsonl` next to each artifact. A statement
//! is computed from the artifact's row alone, so that a cached artifact has the same statement on every machine.
//! Envelopes that are read may come from an untrusted author: they are parsed strictly and compared with an artifact
//! and with public keys.

mod envelope;
mod night;
mod public_key;
mod read;
mod statement;

pub use envelope::{Envelope, PAYLOAD_TYPE, Signature, signed_bytes};
pub use night::{AttestError, Attested, Attester, attest, compare};
pub use public_key::{KeyError, PublicKey};
pub use read::{ATTESTATION_BYTES, Attestation, read_attestation};
pub use statement::{BUILD_TYPE, DEFAULT_BUILDER, PREDICATE_TYPE, STATEMENT_TYPE, statement_of};
