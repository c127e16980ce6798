//! The signatures of `Release` files, checked by `gpgv`, which every Debian has.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::mirror::DiscoverMirrorError;
use crate::fetch::Fetcher;
use crate::fs;

/// The most bytes of a signature.
const MOST_BYTES: u64 = 1 << 20;

/// The signed text of an `InRelease` file, or of a `Release` file with its `Release.gpg`, if it is signed by a key of
/// the keyring. What stands around the signed text is cut off.
pub(super) async fn verify(
    fetcher: &Fetcher,
    url: &str,
    bytes: Vec<u8>,
    keyring: &Path,
) -> Result<Vec<u8>, DiscoverMirrorError> {
    let failed = |message: String| DiscoverMirrorError::Signature {
        url: url.to_owned(),
        message,
    };
    let detached = if url.ends_with("/InRelease") {
        None
    } else {
        let signature = fetcher.get_index(&format!("{url}.gpg"), MOST_BYTES).await;
        Some(signature.map_err(|error| failed(format!("it has no signature: {error}")))?)
    };
    let keyring = keyring.to_owned();
    let work = move || run_gpgv(&keyring, &bytes, detached.as_deref());
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(failed),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn run_gpgv(keyring: &Path, bytes: &[u8], detached: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let keyring = std::path::absolute(keyring).map_err(|error| text(&error))?;
    if !keyring.is_file() {
        return Err(format!("the keyring {} is missing", keyring.display()));
    }
    let folder = tempfile::tempdir().map_err(|error| text(&error))?;
    let put = |name: &str, bytes: &[u8]| -> Result<PathBuf, String> {
        let path = folder.path().join(name);
        fs::write_unsynced(&path, bytes).map_err(|error| text(&error))?;
        Ok(path)
    };
    let file = put("release", bytes)?;
    let output = folder.path().join("signed");
    let mut command = Command::new("gpgv");
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .arg("--homedir")
        .arg(folder.path())
        .arg("--keyring")
        .arg(&keyring);
    match detached {
        Some(signature) => command.arg(put("release.gpg", signature)?).arg(&file),
        None => command.arg("--output").arg(&output).arg(&file),
    };
    let run = command
        .output()
        .map_err(|error| format!("gpgv cannot be run ({error}): install the package gpgv"))?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr);
        let lines = said.lines().map(|line| line.trim_start_matches("gpgv: "));
        let telling =
            lines.filter(|line| !line.starts_with("Signature made") && !line.contains("using"));
        let telling: Vec<&str> = telling.map(str::trim).collect();
        return Err(format!("gpgv says: {}", telling.join("; ")));
    }
    match detached {
        Some(_) => Ok(bytes.to_vec()),
        None => fs::read(&output).map_err(|error| text(&error)),
    }
}
