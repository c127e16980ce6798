//! The DSSE envelope of a statement.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The media type of the payload.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A payload and its signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    payload: String,
    /// The media type of the payload.
    pub payload_type: String,
    /// The signatures; empty if no key was given.
    pub signatures: Vec<Signature>,
}

/// A signature of an envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// A hint at the key that signed. The signature does not cover this field.
    #[serde(default)]
    pub keyid: String,
    sig: String,
}

impl Signature {
    /// Creates a signature entry for the key `keyid`.
    pub fn new(keyid: String, signature: &[u8]) -> Self {
        Self {
            keyid,
            sig: STANDARD.encode(signature),
        }
    }

    /// Returns the signature's bytes, or `None` if they are not valid base64.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.sig).ok()
    }
}

impl Envelope {
    /// Wraps a statement in an envelope.
    pub fn new(statement: &[u8], signatures: Vec<Signature>) -> Self {
        Self {
            payload: STANDARD.encode(statement),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures,
        }
    }

    /// Returns the payload, or `None` if it is not valid base64.
    pub fn payload(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.payload).ok()
    }

    /// Returns the envelope as one line of JSON.
    pub fn to_line(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// The bytes that a signature of a statement covers: DSSE's pre-authentication encoding of the payload and its type.
pub fn signed_bytes(statement: &[u8]) -> Vec<u8> {
    let (words, length) = (PAYLOAD_TYPE.len(), statement.len());
    let head = format!("DSSEv1 {words} {PAYLOAD_TYPE} {length} ");
    [head.as_bytes(), statement].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_bytes_match_the_specification() {
        assert_eq!(
            signed_bytes(b"{}"),
            b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
        );
    }
}
