//! Tests of attestations: their content, their paths, and what `verify` accepts and refuses.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use driverkit_matrix::attest::signed_bytes;
use driverkit_matrix::digest::Sha256;
use driverkit_matrix::fs;
use driverkit_matrix::publish::Index;
use serde_json::{Value, json};

use crate::json_schema::assert_fits;
use support::grid::Grid;
use support::published::{MODULES, NEW, OLD, key, write_out};
use support::server::Server;
use support::signing::{RSA, assert_nowhere, certificate, expired_certificate, new_key, openssl};
use support::workspace::Workspace;

mod published;
mod verify;

const MODULE: &str = "one/x86_64/scap_debian_6.1.1-1-amd64_1.ko";
const TABLE: &str =
    "[attestation]\nkey = \"attest.key\"\nbuilder = \"https://builds.example.org/night\"\n";

/// Creates `NAME.key` and `NAME.pub`.
fn make_key(folder: &Path, name: &str, kind: &str) {
    new_key(folder, kind, name);
    openssl(
        folder,
        &format!("pkey -in {name}.key -pubout -out {name}.pub"),
    );
}

const ED25519: &str = "-algorithm ED25519";
const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";

/// A grid whose matrix attests with an Ed25519 key.
fn grid() -> Grid {
    let grid = Grid::new();
    make_key(&grid.path(""), "attest", ED25519);
    grid.edit_matrix("[defaults]", &format!("{TABLE}\n[defaults]"));
    grid
}

fn file(name: &str) -> String {
    format!("{name}.intoto.jsonl")
}

fn envelope(text: &str) -> Value {
    serde_json::from_str(text).expect("an envelope")
}

fn payload(text: &str) -> Vec<u8> {
    let payload = envelope(text)["payload"].as_str().unwrap().to_owned();
    STANDARD.decode(payload).unwrap()
}

fn statement(text: &str) -> Value {
    serde_json::from_slice(&payload(text)).expect("a statement")
}

/// Returns the envelope of a statement without signatures.
fn unsigned(statement: &[u8]) -> String {
    let payload = STANDARD.encode(statement);
    json!({ "payload": payload, "payloadType": "application/vnd.in-toto+json", "signatures": [] })
        .to_string()
}

/// Returns the exit code and the output of `verify`.
fn verify(folder: &Path, words: &[&str]) -> String {
    let output = Command::new(support::program())
        .arg("verify")
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap();
    format!(
        "exit {code}\n{}{}",
        text(&output.stdout),
        text(&output.stderr)
    )
}

#[track_caller]
fn assert_says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in:\n{said}");
    }
}

#[test]
fn attestation_contains_every_digest_of_the_manifest_and_is_stable() {
    let grid = grid();
    certificate(&grid.path(""), "signing");
    let signing = "[signing]\nkey = \"signing.key\"\ncertificate = \"signing.pem\"\n";
    grid.edit_matrix("[defaults]", &format!("{signing}\n[defaults]"));
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_says(
        &text,
        &["1 attestation written, 0 unchanged (signed by key "],
    );
    let path = grid.path("out").join(file(MODULE));
    let first = fs::read_to_string(&path).unwrap();
    let said = statement(&first);
    let row = grid.record();
    let artifact = &row.artifacts[0];
    assert_eq!(said["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(said["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(said["subject"][0]["name"], MODULE);
    let module = Sha256::of(fs::read(&grid.path("out").join(MODULE)).unwrap());
    assert_eq!(said["subject"][0]["digest"]["sha256"], module.to_string());
    let details = &said["predicate"]["runDetails"];
    assert_eq!(details["builder"]["id"], "https://builds.example.org/night");
    assert_eq!(details["metadata"]["invocationId"], grid.manifest().run.id);
    for time in ["startedOn", "finishedOn"] {
        let time = details["metadata"][time].as_str().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }
    let text = String::from_utf8(payload(&first)).unwrap();
    let signature = artifact.signature.as_ref().unwrap();
    let log = fs::read(&grid.path("out").join(artifact.log.as_ref().unwrap())).unwrap();
    let mut digests = vec![
        row.driver_sha256.unwrap(),
        row.toolchain.as_ref().unwrap().image_sha256,
        artifact.key.unwrap(),
        signature.certificate_sha256,
        signature.unsigned_sha256,
        Sha256::of(log),
    ];
    digests.extend(row.inputs.iter().map(|input| input.sha256.unwrap()));
    assert!(digests.len() > 6, "{digests:?}");
    for digest in digests {
        assert!(
            text.contains(&digest.to_string()),
            "{digest} is not in {text}"
        );
    }

    // A path of the building machine is of no use to others.
    assert!(!text.contains(grid.path("").to_str().unwrap()), "{text}");
    let said = &said["predicate"]["buildDefinition"]["resolvedDependencies"];
    let package = said.as_array().unwrap().iter().find(|one| {
        one["uri"]
            == "urn:driverkit-matrix:file:linux%2Dkbuild%2D6%2E1%5F6%2E1%2E1%2D1%5Famd64%2Edeb"
    });
    let kbuild = Sha256::of(fs::read(&grid.headers("1")[2]).unwrap());
    assert_eq!(package.unwrap()["digest"]["sha256"], kbuild.to_string());

    // Cached artifacts, with the same and with an empty output directory.
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_says(&text, &["0 attestations written, 1 unchanged"]);
    let (code, text) = grid.run(&["--out", "other"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(
        fs::read_to_string(&grid.path("other").join(file(MODULE))).unwrap(),
        first
    );
    let said = verify(
        &grid.path(""),
        &["out", "--key", "attest.pub", "--certificate", "signing.pem"],
    );
    assert_eq!(said, "exit 0\nall files match the manifest\n");
}

#[test]
fn keys_of_every_kind_sign_and_openssl_verifies_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_out(&folder.join("out"), "run-1", 0, &MODULES);
    let name = file(&key(MODULES[0].0, OLD));
    for (kind, options, digest) in [
        ("ed", ED25519, ""),
        ("p256", P256, " -digest sha256"),
        ("rsa", RSA, " -digest sha256"),
    ] {
        make_key(folder, kind, options);
        let attest = || {
            let output = Command::new(support::program())
                .args(["attest", "--key", &format!("{kind}.key")])
                .current_dir(folder)
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{text}");
            text
        };
        // With another key, the attestations are written again.
        assert_says(&attest(), &["3 attestations written, 0 unchanged"]);
        assert_says(&attest(), &["0 attestations written, 3 unchanged"]);
        let text = fs::read_to_string(&folder.join("out").join(&name)).unwrap();
        let signature = envelope(&text)["signatures"][0]["sig"]
            .as_str()
            .unwrap()
            .to_owned();
        fs::write(&folder.join("sig"), STANDARD.decode(signature).unwrap()).unwrap();
        fs::write(&folder.join("message"), signed_bytes(&payload(&text))).unwrap();
        let words = format!(
            "pkeyutl -verify -rawin{digest} -pubin -inkey {kind}.pub -in message -sigfile sig"
        );
        openssl(folder, &words);
        let said = verify(folder, &["out", "--key", &format!("{kind}.pub")]);
        assert_says(&said, &["exit 0"]);
    }
    let said = verify(folder, &["out", "--key", "ed.pub"]);
    assert_says(
        &said,
        &["exit 1", "attestation: it is not signed by a given key"],
    );
    let said = verify(folder, &["out", "--key", "ed.pub", "--key", "rsa.pub"]);
    assert_says(&said, &["exit 0"]);
    make_key(
        folder,
        "p384",
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
    );
    for (given, message) in [
        ("p384.pub", "this kind of key is not supported"),
        ("rsa.key", "a private key; expected the public one"),
        ("sig", "not a public key in PEM form"),
        ("gone.pub", "does not exist"),
    ] {
        let said = verify(folder, &["out", "--key", given]);
        assert_says(&said, &["exit 2", message, given]);
    }
}

/// A destination with attested modules, published from `out`.
fn published() -> Workspace {
    let space = Workspace::new();
    let folder = space.path();
    std::fs::create_dir(folder.join("to")).unwrap();
    write_out(&folder.join("out"), "run-1", 0, &MODULES);
    make_key(folder, "attest", ED25519);
    make_key(folder, "other", ED25519);
    let path = std::env::var_os("PATH").unwrap();
    let path = [("PATH", Path::new(&path))];
    let said = space.run_with(&["attest", "--key", "attest.key"], &path);
    assert!(said.starts_with("exit 0\n"), "{said}");
    let said = space.run(&["publish", "to"]);
    assert!(said.starts_with("exit 0\n"), "{said}");
    space
}

#[test]
fn an_encrypted_key_attests_and_is_written_nowhere() {
    let grid = grid();
    openssl(
        &grid.path(""),
        "pkey -in attest.key -aes256 -passout pass:hunter-two -out encrypted.key",
    );
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(grid.path("encrypted.key"), mode).unwrap();
    grid.edit_matrix(
        "\"attest.key\"",
        "\"encrypted.key\"\npassword = \"ATTEST_PASSWORD\"",
    );
    std::fs::create_dir(grid.path("to")).unwrap();
    let words = [
        "run",
        "matrix.toml",
        "--executor",
        "fake",
        "--log",
        "debug",
        "--publish",
        "to",
    ];
    let mut program = grid.program(&words);
    let output = program
        .env("ATTEST_PASSWORD", "hunter-two")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_says(
        &verify(&grid.path(""), &["to", "--key", "attest.pub"]),
        &["exit 0"],
    );
    let key = fs::read_to_string(&grid.path("attest.key")).unwrap();
    let line = key.lines().nth(1).unwrap().to_owned();
    assert!(
        !text.contains("hunter-two") && !text.contains(&line),
        "{text}"
    );
    for folder in ["out", "cache", "to"] {
        assert_nowhere(&grid.path(folder), &["hunter-two", &line]);
    }
}

#[test]
fn a_key_that_cannot_attest_is_an_error_before_the_first_build() {
    let grid = grid();
    let folder = grid.path("");
    make_key(
        &folder,
        "p384",
        "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
    );
    let matrix = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let key = "\"attest.key\"";
    for (from, to, message) in [
        (key, "\"gone.key\"", "gone.key cannot be read"),
        (key, "\"p384.key\"", "this kind of key is not supported"),
        (key, "\"attest.pub\"", "accessible to everybody"),
        (
            key,
            "\"pkcs11:object=a;pin-value=1\"",
            "the `pkcs11:` URI in [attestation] contains the PIN of the token",
        ),
        (
            key,
            "\"attest.key\"\npassword = \"NOT_SET\"",
            "the environment variable NOT_SET",
        ),
        (
            "https://builds.example.org/night",
            "nobody",
            "invalid `builder` `nobody`: expected a URI",
        ),
        (key, "\"attest.key\"\nhash = \"sha256\"", "hash"),
    ] {
        grid.write_matrix(&matrix.replace(from, to));
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 2, "{text}");
        assert_says(&text, &[message]);
        assert_eq!(grid.jobs(), [""; 0]);
    }
    // If the key is lost during the run, the drivers are built, but nothing is published.
    grid.write_matrix(&matrix);
    std::fs::create_dir(grid.path("to")).unwrap();
    let openssl = "#!/bin/sh\n[ \"$1\" = pkeyutl ] && { echo token is gone >&2; exit 1; }\nexec /usr/bin/openssl \"$@\"\n";
    grid.write("bin/openssl", openssl);
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(grid.path("bin/openssl"), mode).unwrap();
    let path = format!("{}:/usr/bin:/bin", grid.path("bin").display());
    let words = [
        "run",
        "matrix.toml",
        "--executor",
        "fake",
        "--publish",
        "to",
    ];
    let output = grid.program(&words).env("PATH", path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert_says(
        &text,
        &[
            "attestations are missing, so nothing is published",
            "token is gone",
        ],
    );
    assert!(grid.path("out").join(MODULE).exists());
    assert!(!grid.path("to/index.json").exists());
}
