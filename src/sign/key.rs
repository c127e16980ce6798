//! A private key for openssl: a file or a token, with the variable of its password. This program never uses the key
//! itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::process::Command;

use super::process::{openssl, output};
use super::{About, Key, SignError};
use crate::fs::in_words;

/// A private key and the location of its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keyed<'a> {
    pub(super) key: Option<&'a Key>,
    /// The environment variable with the password of the key or the PIN of the token.
    pub(super) password: Option<&'a str>,
}

impl Keyed<'_> {
    /// Returns the public key in PEM form. Fails unless openssl can read the key.
    pub(super) async fn public_key(&self) -> Result<Vec<u8>, SignError> {
        let mut command = openssl(["pkey", "-pubout"]);
        self.add_to(&mut command, "-in", "-inform");
        let secret = self.secret();
        let found = output(&mut command, About::Key, "read the key", secret.as_deref());
        found.await.map_err(|error| self.explain(error))
    }

    /// Adds the arguments for the key, and never lets openssl ask for a password at the terminal.
    pub(super) fn add_to(&self, command: &mut Command, key: &str, form: &str) {
        match self.key {
            Some(Key::File(path)) => {
                command.arg(key).arg(path);
            }
            Some(Key::Token(uri)) => {
                command.args(["-engine", "pkcs11", form, "engine", key, uri]);
            }
            None => {}
        }
        match self.password {
            Some(name) => command.args(["-passin", &format!("env:{name}")]),
            None => command.args(["-passin", "pass:"]),
        };
    }

    pub(super) fn secret(&self) -> Option<String> {
        std::env::var(self.password?).ok()
    }

    /// Fails unless the variable with the password is set.
    pub(super) fn check_password(&self) -> Result<(), SignError> {
        match self.password {
            Some(name) if std::env::var_os(name).is_none() => {
                let message = format!(
                    "the environment variable {name} with the password of the key is not set"
                );
                Err(SignError::new(About::Password, message))
            }
            _ => Ok(()),
        }
    }

    /// Whether the key is a file in PEM form whose head says that it is encrypted.
    fn is_encrypted(&self) -> bool {
        let Some(Key::File(path)) = self.key else {
            return false;
        };
        let text = crate::fs::read(path).unwrap_or_default();
        text.windows(b"ENCRYPTED".len())
            .any(|word| word == b"ENCRYPTED")
    }

    /// Explains why openssl cannot read the key, if a password is the cause.
    fn explain(&self, error: SignError) -> SignError {
        let words = ["decrypt", "password", "passphrase"];
        let names_password = || words.iter().any(|word| error.message.contains(word));
        // One wrong password in some hundred seems to decrypt a key; then openssl finds nothing that it knows.
        let is_unknown = || error.message.contains("No supported data") && self.is_encrypted();
        if error.about != About::Key || !(names_password() || is_unknown()) {
            return error;
        }
        match self.password {
            None => SignError::new(About::Key, "the key is encrypted, and no password is given")
                .with_help("name the environment variable with the password: password = \"NAME\""),
            Some(name) => {
                let message = format!("the password in {name} does not decrypt the key");
                SignError::new(About::Password, message)
            }
        }
    }
}

/// Fails unless a key file can be read, and is not accessible to everybody.
pub(super) fn check_file(path: &Path) -> Result<(), SignError> {
    let of = |message: String| SignError::new(About::Key, message);
    let opened = std::fs::File::open(path).and_then(|file| file.metadata());
    let metadata = opened.map_err(|error| {
        of(format!(
            "the key {} cannot be read: {}",
            path.display(),
            in_words(&error)
        ))
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        let path = path.display();
        let message = format!("the key {path} is accessible to everybody (mode {mode:o})");
        return Err(of(message).with_help(format!("chmod 600 {path}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_password_is_named_even_if_it_seems_to_decrypt_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let unknown = SignError::new(
            About::Key,
            "failed to read the key: No supported data to decode.",
        );
        for (head, message) in [
            (
                "ENCRYPTED PRIVATE KEY",
                "the password in NAME does not decrypt the key",
            ),
            ("CERTIFICATE", &*unknown.message),
        ] {
            let path = folder.path().join("key.pem");
            crate::fs::write(&path, format!("-----BEGIN {head}-----\n")).unwrap();
            let keyed = Keyed {
                key: Some(&Key::File(path)),
                password: Some("NAME"),
            };
            assert_eq!(keyed.explain(unknown.clone()).message, message);
        }
    }
}
