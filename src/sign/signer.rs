//! Signs modules with a key that has been checked.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::process::Command;

use super::appended::{append, split};
use super::certificate::Certificate;
use super::key::{Keyed, check_file};
use super::process::{openssl, output};
use super::{About, Hash, Key, Settings, SignError};
use crate::fs::{self, FileError, blocking};

/// The environment variable from which the kernel's `sign-file` reads the password of its key.
const PASSWORD_OF_SIGN_FILE: &str = "KBUILD_SIGN_PIN";

/// Signs modules, with settings that have been checked.
#[derive(Clone, Debug)]
pub struct Signer {
    settings: Settings,
    certificate: Certificate,
}

impl Signer {
    /// Reads the certificate and checks the key, which must belong to the certificate.
    pub async fn open(settings: Settings) -> Result<Self, SignError> {
        let certificate = Certificate::read(&settings.certificate, Timestamp::now()).await?;
        let signer = Self {
            settings,
            certificate,
        };
        signer.keyed().check_password()?;
        match &signer.settings.key {
            Some(Key::File(path)) => check_file(path)?,
            // Only the command can use such a key.
            Some(Key::Token(_)) | None if !signer.settings.command.is_empty() => return Ok(signer),
            Some(Key::Token(_)) => {}
            None => return Err(SignError::new(About::Key, "no signing key is given")),
        }
        signer.check_key().await?;
        Ok(signer)
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The digest that is signed.
    pub fn hash(&self) -> Hash {
        self.settings.hash
    }

    /// Fails unless openssl can read the key and it belongs to the certificate.
    async fn check_key(&self) -> Result<(), SignError> {
        let public_key = self.keyed().public_key().await?;
        if self.certificate.has_key(&public_key) {
            return Ok(());
        }
        let message = format!(
            "the key does not match the certificate {} ({})",
            self.settings.certificate.display(),
            self.certificate.subject
        );
        Err(SignError::new(About::Key, message))
    }

    fn keyed(&self) -> Keyed<'_> {
        Keyed {
            key: self.settings.key.as_ref(),
            password: self.settings.password.as_deref(),
        }
    }

    /// Signs the module in the file `module` and returns it. Temporary files are written to `folder`.
    pub async fn sign(&self, module: &Path, folder: &Path) -> Result<Vec<u8>, SignError> {
        let signature = folder.join("signature");
        let unsigned = read(module).await?;
        let signed = if self.settings.command.is_empty() {
            self.sign_by_openssl(module, &signature).await?;
            append(&unsigned, &read(&signature).await?)
        } else {
            let signed = self.sign_by_command(&unsigned, folder).await?;
            let of = |message| SignError::new(About::Command, message);
            let Some((content, found)) = split(&signed) else {
                return Err(of("the command appended no signature to the module"));
            };
            if content != unsigned {
                return Err(of("the command changed the content of the module"));
            }
            write(&signature, found.to_vec()).await?;
            signed
        };
        verify(module, &signature, &self.settings.certificate).await?;
        Ok(signed)
    }

    /// Creates the same signature as the kernel's `sign-file`: detached, without attributes and certificates.
    async fn sign_by_openssl(&self, module: &Path, signature: &Path) -> Result<(), SignError> {
        let mut command = openssl(["cms", "-sign", "-binary", "-noattr", "-nocerts"]);
        command.args(["-nosmimecap", "-md", self.settings.hash.as_str()]);
        command.arg("-in").arg(module);
        command.arg("-signer").arg(&self.settings.certificate);
        self.keyed().add_to(&mut command, "-inkey", "-keyform");
        command.args(["-outform", "DER", "-out"]).arg(signature);
        let secret = self.keyed().secret();
        let signed = output(
            &mut command,
            About::Key,
            "sign the module",
            secret.as_deref(),
        );
        signed.await.map(drop)
    }

    async fn sign_by_command(&self, unsigned: &[u8], folder: &Path) -> Result<Vec<u8>, SignError> {
        let copy = folder.join("module.ko");
        write(&copy, unsigned.to_vec()).await?;
        let Some((program, arguments)) = self.settings.command.split_first() else {
            return Err(SignError::new(About::Command, "the command is empty"));
        };
        let mut command = Command::new(program);
        command.args(arguments).arg(self.settings.hash.as_str());
        match &self.settings.key {
            Some(Key::File(path)) => command.arg(path),
            Some(Key::Token(uri)) => command.arg(uri),
            None => command.arg(""),
        };
        command.arg(&self.settings.certificate).arg(&copy);
        let secret = self.keyed().secret();
        if let Some(password) = &secret {
            command.env(PASSWORD_OF_SIGN_FILE, password);
        }
        let doing = "sign the module";
        output(&mut command, About::Command, doing, secret.as_deref()).await?;
        read(&copy).await
    }
}

/// Fails unless a module has a signature by the key of a certificate. Whether to trust the certificate is up to the
/// kernel. Temporary files are written to `folder`.
pub async fn check_signature(
    module: &[u8],
    certificate: &Path,
    folder: &Path,
) -> Result<(), SignError> {
    let Some((content, signature)) = split(module) else {
        return Err(SignError::new(About::Key, "the module has no signature"));
    };
    let (module, file) = (folder.join("module.ko"), folder.join("signature"));
    write(&module, content.to_vec()).await?;
    write(&file, signature.to_vec()).await?;
    verify(&module, &file, certificate).await
}

async fn verify(module: &Path, signature: &Path, certificate: &Path) -> Result<(), SignError> {
    let mut command = openssl(["cms", "-verify", "-binary", "-noverify", "-nointern"]);
    command.args(["-inform", "DER", "-in"]).arg(signature);
    command.arg("-content").arg(module);
    command.arg("-certfile").arg(certificate);
    command.args(["-out", "/dev/null"]);
    let doing = "verify the signature of the module";
    output(&mut command, About::Key, doing, None)
        .await
        .map(drop)
}

fn of_machine(error: &FileError) -> SignError {
    SignError::new(About::Machine, error.to_string())
}

pub(super) async fn read(path: &Path) -> Result<Vec<u8>, SignError> {
    let path = path.to_owned();
    let read = blocking(move || fs::read(&path)).await;
    read.map_err(|error| of_machine(&error))
}

pub(super) async fn write(path: &Path, bytes: Vec<u8>) -> Result<(), SignError> {
    let path: PathBuf = path.to_owned();
    let written = blocking(move || fs::write_unsynced(&path, bytes)).await;
    written.map_err(|error| of_machine(&error))
}
