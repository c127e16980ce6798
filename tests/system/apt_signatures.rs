//! Which `Release` files are accepted: with a signature by a key of the keyring, and not expired.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use driverkit_matrix::digest::Sha256;

use support::archive::linux;
use support::locks::lines;
use support::workspace::Workspace;

const SUITE: &str = "mirror/dists/bookworm";

/// Times for gpg's faked clock.
const LONG_AGO: &str = "20200101T000000!";
const A_LITTLE_LATER: &str = "20200110T000000!";

/// gpg keys in a separate directory. The gpg agent ends by itself when the directory is removed.
struct Keys<'a> {
    workspace: &'a Workspace,
    home: tempfile::TempDir,
}

impl<'a> Keys<'a> {
    fn new(workspace: &'a Workspace) -> Self {
        // The path must be short, since the agent's socket is in the directory.
        let home = tempfile::Builder::new()
            .prefix("gpg")
            .tempdir_in("/tmp")
            .unwrap();
        Self { workspace, home }
    }

    fn gpg(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .args(["--batch", "--quiet", "--yes", "--passphrase", ""])
            .args(arguments)
            .env("GNUPGHOME", self.home.path())
            .current_dir(self.workspace.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output.stdout
    }

    /// Creates a key, and a keyring of the same name that contains only this key.
    fn make(&self, name: &str, more: &[&str], expires: &str) {
        let user = format!("{name} <{name}@example.org>");
        self.gpg(
            &[
                more,
                &["--quick-generate-key", &user, "rsa2048", "sign", expires],
            ]
            .concat(),
        );
        let keyring = self.gpg(&["--export", &format!("{name}@example.org")]);
        put(self.workspace, &format!("{name}.gpg"), &keyring);
    }

    /// Signs `Release`: inline as `InRelease`, or detached as `Release.gpg`.
    fn sign(&self, names: &[&str], more: &[&str], is_detached: bool) {
        let users: Vec<String> = names
            .iter()
            .map(|name| format!("{name}@example.org"))
            .collect();
        let mut arguments = more.to_vec();
        for user in &users {
            arguments.extend(["--local-user", user]);
        }
        let (word, file) = if is_detached {
            ("--detach-sign", "Release.gpg")
        } else {
            ("--clearsign", "InRelease")
        };
        let (output, release) = (format!("{SUITE}/{file}"), format!("{SUITE}/Release"));
        arguments.extend(["--output", &output, word, &release]);
        self.gpg(&arguments);
    }
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        let mut stop = Command::new("gpgconf");
        stop.args(["--kill", "gpg-agent"])
            .env("GNUPGHOME", self.home.path());
        drop(stop.status());
    }
}

fn put(workspace: &Workspace, path: &str, content: &[u8]) {
    driverkit_matrix::fs::write(&workspace.path().join(path), content).unwrap();
}

/// Writes a suite with one kernel; `more` is added to its `Release` file.
fn suite(workspace: &Workspace, more: &str) {
    let index = linux("6.1.0-9", "6.1", "6.1.9-1", "amd64", &["amd64"]);
    let mut release = format!("Origin: Debian\nSuite: bookworm\n{more}SHA256:\n");
    let path = "main/binary-amd64/Packages";
    writeln!(release, " {} {} {path}", Sha256::of(&index), index.len()).unwrap();
    put(workspace, &format!("{SUITE}/{path}"), index.as_bytes());
    put(workspace, &format!("{SUITE}/Release"), release.as_bytes());
    remove(workspace, "InRelease");
    remove(workspace, "Release.gpg");
}

fn remove(workspace: &Workspace, file: &str) {
    drop(std::fs::remove_file(
        workspace.path().join(SUITE).join(file),
    ));
}

fn matrix(workspace: &Workspace, more: &str) {
    let url = format!("file://{}/mirror", workspace.path().display());
    workspace.put(
        "m.toml",
        &format!(
            "drivers = [\"9.1.0+driver\"]\narchitectures = [\"amd64\"]\n[[target]]\nname = \"debian\"\nkernels = {{ from = \"mirror\", url = {url:?}, suites = [\"bookworm\"]{more} }}\n"
        ),
    );
}

/// Removes `m.lock` and returns the output of `lock`.
fn lock(workspace: &Workspace) -> String {
    drop(std::fs::remove_file(workspace.path().join("m.lock")));
    // gpgv is in this directory.
    workspace.run_with(&["lock", "m.toml"], &[("PATH", Path::new("/usr/bin"))])
}

fn is_believed(workspace: &Workspace) {
    let report = lock(workspace);
    assert!(report.starts_with("exit 0"), "{report}");
    assert_eq!(lines(workspace, "m.lock").len(), 1);
}

/// Asserts that the old lock stays and that the message gives the reason.
fn is_refused(workspace: &Workspace, expected: &str) {
    let old = "{\"lock\":1,\"sources\":{}}\n";
    workspace.put("m.lock", old);
    let report = workspace.run_with(&["lock", "m.toml"], &[("PATH", Path::new("/usr/bin"))]);
    assert!(report.starts_with("exit 2"), "{report}");
    assert!(report.contains(expected), "not `{expected}`: {report}");
    assert_eq!(workspace.get("m.lock"), old);
}

#[test]
fn only_signatures_by_keys_of_the_keyring_are_accepted() {
    let workspace = Workspace::new();
    let keys = Keys::new(&workspace);
    for name in ["good", "other"] {
        keys.make(name, &[], "never");
    }
    matrix(&workspace, ", keyring = \"good.gpg\"");

    suite(&workspace, "");
    is_refused(&workspace, "it has no signature");
    keys.sign(&["good"], &[], false);
    is_believed(&workspace);
    // Text around the signed text is ignored.
    let path = format!("{SUITE}/InRelease");
    let signed = workspace.get(&path);
    workspace.put(&path, &format!("SHA256:\n abc 1 x\n\n{signed}"));
    is_believed(&workspace);
    workspace.put(&path, &signed.replace("Origin: Debian", "Origin: Somebody"));
    is_refused(&workspace, "the signature of good <good@example.org>");

    // A detached signature, as in older suites.
    suite(&workspace, "");
    keys.sign(&["good"], &[], true);
    is_believed(&workspace);
    keys.sign(&["other"], &[], true);
    is_refused(&workspace, "which is not in the keyring");

    suite(&workspace, "");
    keys.sign(&["other"], &[], false);
    is_refused(&workspace, "which is not in the keyring");
    // When Debian changes its keys, the old key also signs.
    keys.sign(&["other", "good"], &[], false);
    is_believed(&workspace);

    matrix(&workspace, ", keyring = \"nobody.gpg\"");
    is_refused(&workspace, "nobody.gpg does not exist");
    // Without a keyring, signatures are not verified.
    matrix(&workspace, "");
    is_believed(&workspace);
}

#[test]
fn expired_keys_signatures_and_files_are_refused() {
    let workspace = Workspace::new();
    let keys = Keys::new(&workspace);
    keys.make("good", &["--faked-system-time", LONG_AGO], "never");
    keys.make("old", &["--faked-system-time", LONG_AGO], "30d");
    matrix(&workspace, ", keyring = \"good.gpg\"");
    suite(&workspace, "");
    let then = ["--faked-system-time", A_LITTLE_LATER];
    keys.sign(
        &["good"],
        &[&then[..], &["--default-sig-expire", "1d"]].concat(),
        false,
    );
    is_refused(&workspace, "the signature of good <good@example.org>");

    matrix(&workspace, ", keyring = \"old.gpg\"");
    keys.sign(&["old"], &then, false);
    is_refused(&workspace, "the key of old <old@example.org>");

    // An outdated mirror delivers files with valid signatures.
    suite(&workspace, "Valid-Until: Sat, 14 Nov 2020 08:23:11 UTC\n");
    keys.sign(&["good"], &[], false);
    matrix(&workspace, ", keyring = \"good.gpg\"");
    is_refused(&workspace, "expired at 2020-11-14T08:23:11Z");
    matrix(&workspace, ", keyring = \"good.gpg\", allow_expired = true");
    is_believed(&workspace);
    suite(&workspace, "Valid-Until: some day\n");
    keys.sign(&["good"], &[], false);
    is_refused(&workspace, "Valid-Until `some day` is not a valid time");
}
