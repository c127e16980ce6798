//! Public keys that attestations are verified with.

use std::path::Path;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::RawPublicKeyEntity;
use webpki::ring::{ECDSA_P256_SHA256, ED25519, RSA_PKCS1_2048_8192_SHA256};

use crate::digest::Sha256;
use crate::fs::in_words;
use crate::sign::Hash;

/// The maximum size of a key file.
const KEY_BYTES: u64 = 1 << 16;

/// A public key: Ed25519, ECDSA on P-256 with SHA-256, or RSA (PKCS #1 v1.5) with SHA-256.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    der: Vec<u8>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Ed25519,
    P256,
    Rsa,
}

/// The reason why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

impl PublicKey {
    /// Reads a key from a PEM file.
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        let failed = |why: String| KeyError(format!("the key {}: {why}", path.display()));
        let size = std::fs::metadata(path).map_err(|error| failed(in_words(&error)))?;
        if size.len() > KEY_BYTES || !size.is_file() {
            return Err(failed("not a public key in PEM form".to_owned()));
        }
        let pem = std::fs::read(path).map_err(|error| failed(in_words(&error)))?;
        Self::parse(&pem).map_err(|error| failed(error.0))
    }

    /// Parses a key in PEM form.
    pub fn parse(pem: &[u8]) -> Result<Self, KeyError> {
        let text = String::from_utf8_lossy(pem);
        if text.contains("PRIVATE KEY-----") {
            let why = "a private key; expected the public one (openssl pkey -in KEY -pubout)";
            return Err(KeyError(why.to_owned()));
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem);
        let der =
            der.map_err(|_| KeyError("not a public key in PEM form (BEGIN PUBLIC KEY)".into()))?;
        let der = der.to_vec();
        // The object identifiers of the algorithm are at the start.
        let head = &der[..der.len().min(32)];
        let has = |identifier: &[u8]| memchr::memmem::find(head, identifier).is_some();
        let kind = if has(&[0x06, 0x03, 0x2b, 0x65, 0x70]) {
            Kind::Ed25519
        } else if has(&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07]) {
            Kind::P256
        } else if has(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01]) {
            Kind::Rsa
        } else {
            let why = "this kind of key is not supported: expected Ed25519, ECDSA on P-256 or RSA";
            return Err(KeyError(why.to_owned()));
        };
        Ok(Self { der, kind })
    }

    /// The name of the key in envelopes: the digest of its DER form.
    pub fn id(&self) -> Sha256 {
        Sha256::of(&self.der)
    }

    /// The hash algorithm for signing; `None` for Ed25519, which has no choice.
    pub fn hash(&self) -> Option<Hash> {
        (self.kind != Kind::Ed25519).then_some(Hash::Sha256)
    }

    /// Returns true if `signature` is a valid signature of `message` by this key.
    pub fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn SignatureVerificationAlgorithm = match self.kind {
            Kind::Ed25519 => ED25519,
            Kind::P256 => ECDSA_P256_SHA256,
            Kind::Rsa => RSA_PKCS1_2048_8192_SHA256,
        };
        let der = SubjectPublicKeyInfoDer::from(self.der.as_slice());
        RawPublicKeyEntity::try_from(&der)
            .is_ok_and(|key| key.verify_signature(algorithm, message, signature).is_ok())
    }
}
