//! Checks the signatures of `Release` files with `gpgv`, which every Debian and Ubuntu has.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::error::DiscoverMirrorError;
use crate::fetch::Fetcher;
use crate::fs::{self, blocking};

/// The maximum size of a signature, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Returns the signed text of an `InRelease` file, or of a `Release` file with its `Release.gpg`, if it is signed by a
/// key of the keyring. Text before and after the signed text is removed.
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
    blocking(work).await.map_err(failed)
}

fn run_gpgv(keyring: &Path, bytes: &[u8], detached: Option<&[u8]>) -> Result<Vec<u8>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let keyring = std::path::absolute(keyring).map_err(|error| text(&error))?;
    if !keyring.is_file() {
        return Err(format!("the keyring {} does not exist", keyring.display()));
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
        .args(["--status-fd", "1", "--homedir"])
        .arg(folder.path())
        .arg("--keyring")
        .arg(&keyring);
    match detached {
        Some(signature) => command.arg(put("release.gpg", signature)?).arg(&file),
        None => command.arg("--output").arg(&output).arg(&file),
    };
    let run = command
        .output()
        .map_err(|error| format!("gpgv cannot be started ({error}): install the package gpgv"))?;
    // One signature by a known key is enough, even if there are others. The exit status of gpgv does not report this,
    // and it is also success for an expired key. So the status lines are read.
    let status = String::from_utf8_lossy(&run.stdout);
    if let Some(problem) = problem(&status) {
        return Err(problem);
    }
    match detached {
        Some(_) => Ok(bytes.to_vec()),
        None => fs::read(&output).map_err(|error| text(&error)),
    }
}

/// Returns the problem with the signatures, read from the status lines of gpgv.
fn problem(status: &str) -> Option<String> {
    let mut problems = Vec::new();
    let mut is_good = false;
    let lines = status.lines();
    for line in lines.filter_map(|line| line.strip_prefix("[GNUPG:] ")) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (key, who) = rest.split_once(' ').unwrap_or((rest, ""));
        match word {
            "GOODSIG" => is_good = true,
            "BADSIG" => {
                return Some(format!(
                    "the signature of {who} ({key}) does not match its content"
                ));
            }
            "EXPSIG" => problems.push(format!("the signature of {who} ({key}) has expired")),
            "EXPKEYSIG" => problems.push(format!("the key of {who} ({key}) has expired")),
            "REVKEYSIG" => problems.push(format!("the key of {who} ({key}) is revoked")),
            "NO_PUBKEY" => problems.push(format!(
                "it is signed with the key {key}, which is not in the keyring"
            )),
            _ => {}
        }
    }
    if is_good {
        return None;
    }
    if problems.is_empty() {
        problems.push("it has no signature that gpgv can read".to_owned());
    }
    Some(problems.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_good_signature_is_enough_and_a_bad_one_is_too_much() {
        let good = "[GNUPG:] NEWSIG\n[GNUPG:] GOODSIG 01 Someone <a@example.org>\n[GNUPG:] VALIDSIG 0102\n";
        let unknown = "[GNUPG:] ERRSIG 02 1 8 01 1 9 -\n[GNUPG:] NO_PUBKEY 02\n";
        let bad = "[GNUPG:] BADSIG 03 Other <b@example.org>\n";
        assert_eq!(problem(&format!("{unknown}{good}")), None);
        for (status, expected) in [
            (
                unknown.to_owned(),
                "signed with the key 02, which is not in the keyring",
            ),
            (
                format!("{good}{bad}"),
                "the signature of Other <b@example.org> (03) does not match",
            ),
            (
                "[GNUPG:] REVKEYSIG 04 Lost <c@example.org>\n".to_owned(),
                "key of Lost <c@example.org> (04) is revoked",
            ),
            ("[GNUPG:] NODATA 4\n".to_owned(), "no signature"),
        ] {
            let found = problem(&status).unwrap();
            assert!(found.contains(expected), "{found}");
        }
    }
}
