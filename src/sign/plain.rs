//! Plain signatures of bytes, for attestations.

use std::path::Path;

use super::key::{Keyed, check_file};
use super::process::{openssl, output};
use super::signer::{read, write};
use super::{About, Hash, Key, SignError};

/// Signs bytes with a private key, which only openssl reads.
#[derive(Clone, Debug)]
pub struct PlainSigner {
    key: Key,
    password: Option<String>,
}

impl PlainSigner {
    /// Opens the key and returns the signer with the public key in PEM form. Fails if openssl cannot read the key.
    pub async fn open(key: Key, password: Option<String>) -> Result<(Self, Vec<u8>), SignError> {
        let signer = Self { key, password };
        signer.keyed().check_password()?;
        if let Key::File(path) = &signer.key {
            check_file(path)?;
        }
        let public_key = signer.keyed().public_key().await?;
        Ok((signer, public_key))
    }

    fn keyed(&self) -> Keyed<'_> {
        Keyed {
            key: Some(&self.key),
            password: self.password.as_deref(),
        }
    }

    /// Signs `bytes`: their hash, or the bytes themselves if the kind of key uses no separate hash (Ed25519). Temporary
    /// files are written to `folder`.
    pub async fn sign(
        &self,
        bytes: Vec<u8>,
        hash: Option<Hash>,
        folder: &Path,
    ) -> Result<Vec<u8>, SignError> {
        let (content, signature) = (folder.join("content"), folder.join("signature"));
        write(&content, bytes).await?;
        let mut command = openssl(["pkeyutl", "-sign", "-rawin"]);
        if let Some(hash) = hash {
            command.args(["-digest", hash.as_str()]);
        }
        self.keyed().add_to(&mut command, "-inkey", "-keyform");
        command.arg("-in").arg(content).arg("-out").arg(&signature);
        let secret = self.keyed().secret();
        let doing = "sign the attestation";
        output(&mut command, About::Key, doing, secret.as_deref()).await?;
        read(&signature).await
    }
}
