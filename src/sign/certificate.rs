//! The certificate of the signing key.

use std::path::Path;

use jiff::Timestamp;

use super::process::{openssl, output};
use super::{About, SignError};
use crate::digest::Sha256;
use crate::fs::in_words;

/// A certificate that was valid when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The SHA-256 fingerprint: the digest of the DER form.
    pub sha256: Sha256,
    /// The subject: `CN=Falco modules`.
    pub subject: String,
    /// The public key in PEM form.
    pub(super) public_key: String,
}

impl Certificate {
    /// Reads a certificate. Fails unless it is valid at `now`.
    pub async fn read(path: &Path, now: Timestamp) -> Result<Self, SignError> {
        let of = |message: String| SignError::new(About::Certificate, message);
        if let Err(error) = tokio::fs::File::open(path).await {
            let (path, why) = (path.display(), in_words(&error));
            return Err(of(format!("the certificate {path} cannot be read: {why}")));
        }
        let doing = format!("read the certificate {}", path.display());
        let read = async |arguments: &[&str]| {
            let mut command = openssl(["x509", "-in"]);
            command.arg(path).args(arguments);
            output(&mut command, About::Certificate, &doing, None).await
        };
        let der = read(&["-outform", "DER"]).await?;
        let facts = read(&[
            "-noout",
            "-subject",
            "-nameopt",
            "RFC2253",
            "-startdate",
            "-enddate",
            "-dateopt",
            "iso_8601",
            "-pubkey",
        ])
        .await?;
        let facts = String::from_utf8_lossy(&facts);
        let line = |name: &str| facts.lines().find_map(|line| line.strip_prefix(name));
        let time = |name: &str| -> Result<Timestamp, SignError> {
            let text = line(name).unwrap_or_default();
            let parsed = text.parse();
            parsed.map_err(|_| of(format!("failed to {doing}: invalid time `{text}`")))
        };
        let (begins, ends) = (time("notBefore=")?, time("notAfter=")?);
        if now > ends {
            let message = format!("the certificate {} expired on {ends}", path.display());
            return Err(of(message).with_help("sign with a certificate that is valid"));
        }
        if now < begins {
            let message = format!(
                "the certificate {} is valid from {begins} on",
                path.display()
            );
            return Err(of(message).with_help("check the clock of this machine"));
        }
        let start = facts.find("-----BEGIN PUBLIC KEY-----").unwrap_or_default();
        let end = facts.find("-----END PUBLIC KEY-----").unwrap_or(start);
        Ok(Self {
            sha256: Sha256::of(der),
            subject: line("subject=").unwrap_or_default().to_owned(),
            public_key: facts[start..end].to_owned(),
        })
    }

    /// Returns true if a public key in PEM form belongs to the certificate.
    pub(super) fn has_key(&self, public_key: &[u8]) -> bool {
        !self.public_key.is_empty()
            && String::from_utf8_lossy(public_key).contains(&self.public_key)
    }
}
