//! The DSSE envelope of a statement.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// What the payload of an envelope is.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A payload and its signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    payload: String,
    /// What the payload is.
    pub payload_type: String,
    /// The signatures; empty if no key was given.
    pub signatures: Vec<Signature>,
}

/// A signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// Which key that may be; it is not signed.
    #[serde(default)]
    pub keyid: String,
    sig: String,
}

impl Signature {
    /// The signature of a key.
    pub fn new(keyid: String, signature: &[u8]) -> Self {
        Self {
            keyid,
            sig: STANDARD.encode(signature),
        }
    }

    /// Its bytes; nothing if they are not base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.sig).ok()
    }
}

impl Envelope {
    /// An envelope around a statement.
    pub fn new(statement: &[u8], signatures: Vec<Signature>) -> Self {
        Self {
            payload: STANDARD.encode(statement),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures,
        }
    }

    /// The payload; nothing if it is not base64.
    pub fn payload(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.payload).ok()
    }

    /// The envelope as a line.
    pub fn to_line(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// What a signature of a statement is about: DSSE's encoding of the payload with its type.
pub fn signed_bytes(statement: &[u8]) -> Vec<u8> {
    let (words, length) = (PAYLOAD_TYPE.len(), statement.len());
    let head = format!("DSSEv1 {words} {PAYLOAD_TYPE} {length} ");
    [head.as_bytes(), statement].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_bytes_are_those_of_the_specification() {
        assert_eq!(
            signed_bytes(b"{}"),
            b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
        );
    }
}
