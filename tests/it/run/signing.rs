//! Tests of signed modules: what is placed and cached, and keys that cannot sign.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use driverkit_matrix::event::SignatureReport;
use driverkit_matrix::failure::{FailureClass, Phase, Status};
use driverkit_matrix::fs;
use driverkit_matrix::sign::{split, unsigned};

use crate::run::{MODULE, NOTHING};
use support::grid::Grid;
use support::signing::{assert_nowhere, certificate, expired_certificate, openssl};

const SIGNING: &str = "[signing]\nkey = \"signing.key\"\ncertificate = \"signing.pem\"\n";

/// A grid whose matrix signs with the key of a new certificate.
fn grid() -> Grid {
    let grid = Grid::new();
    certificate(&grid.path(""), "signing");
    grid.edit_matrix("[defaults]", &format!("{SIGNING}\n[defaults]"));
    grid
}

fn signature(grid: &Grid) -> SignatureReport {
    let signature = grid.record().artifacts.remove(0).signature;
    *signature.expect("a signature")
}

/// Asserts that openssl verifies the signature of a module.
fn verify(grid: &Grid, module: &[u8], name: &str) {
    let (content, signature) = split(module).expect("a signed module");
    grid.write("content", content);
    grid.write("signature", signature);
    let words = format!(
        "cms -verify -binary -noverify -nointern -inform DER -in signature -content content -certfile {name}.pem -out /dev/null"
    );
    openssl(&grid.path(""), &words);
}

#[test]
fn a_module_is_placed_with_a_signature_that_openssl_verifies() {
    let grid = grid();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    let module = fs::read(&grid.path(MODULE)).unwrap();
    verify(&grid, &module, "signing");
    let own = fs::read(&grid.path("module.ko")).unwrap();
    assert_eq!(unsigned(&module), own);
    let artifact = grid.record().artifacts.remove(0);
    assert_eq!(artifact.size_bytes, Some(module.len() as u64));
    let report = signature(&grid);
    assert_eq!(report.subject, "CN=signing");
    assert_eq!(report.hash, "sha256");
    assert_ne!(artifact.sha256, Some(report.unsigned_sha256));
    assert!(grid.record().phase_seconds.contains_key(&Phase::Sign));
    assert!(grid.path("out").join(artifact.log.unwrap()).exists());
    grid.jobs();

    // The signed module is cached, and so is the unsigned one.
    assert_eq!(grid.run(&["--offline"]).0, 0);
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(grid.record().status, Status::Cached);
    assert_eq!(signature(&grid), report);
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), module);
    grid.edit_matrix(SIGNING, "");
    assert_eq!(grid.run(&["--offline"]).0, 0);
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), own);
    assert_eq!(grid.record().artifacts[0].signature, None);
}

#[test]
fn another_certificate_or_hash_signs_again_and_compiles_nothing() {
    let grid = grid();
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    let first = signature(&grid);
    certificate(&grid.path(""), "other");
    grid.edit_matrix("signing.key", "other.key");
    grid.edit_matrix("signing.pem", "other.pem");
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), NOTHING);
    let second = signature(&grid);
    assert_ne!(second.certificate_sha256, first.certificate_sha256);
    assert_eq!(second.unsigned_sha256, first.unsigned_sha256);
    verify(&grid, &fs::read(&grid.path(MODULE)).unwrap(), "other");

    grid.edit_matrix("certificate =", "hash = \"sha512\"\ncertificate =");
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(signature(&grid).hash, "sha512");
    verify(&grid, &fs::read(&grid.path(MODULE)).unwrap(), "other");

    // The signed modules of both certificates are cached.
    grid.edit_matrix("hash = \"sha512\"\n", "");
    grid.edit_matrix("other.key", "signing.key");
    grid.edit_matrix("other.pem", "signing.pem");
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(signature(&grid), first);
    assert_eq!(grid.record().status, Status::Cached);
}

#[test]
fn lost_signed_module_is_signed_again_to_the_same_bytes() {
    let grid = grid();
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    let module = fs::read(&grid.path(MODULE)).unwrap();
    let digest = grid.record().artifacts[0].sha256.unwrap().to_string();
    fs::remove_file(&grid.path(MODULE)).unwrap();
    let blob = grid.path("cache/blobs").join(&digest[..2]).join(&digest);
    assert!(blob.exists(), "{}", blob.display());
    fs::remove_file(&blob).unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), module);
}

#[test]
fn encrypted_key_signs_and_its_password_is_written_nowhere() {
    let grid = grid();
    openssl(
        &grid.path(""),
        "pkey -in signing.key -aes256 -passout pass:hunter-two -out encrypted.key",
    );
    std::fs::set_permissions(
        grid.path("encrypted.key"),
        std::fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    grid.edit_matrix(
        "\"signing.key\"",
        "\"encrypted.key\"\npassword = \"SIGNING_PASSWORD\"",
    );
    let run = || {
        let words = ["run", "matrix.toml", "--executor", "fake", "--log", "debug"];
        let mut program = grid.program(&words);
        program.env("SIGNING_PASSWORD", "hunter-two");
        program.output().unwrap()
    };
    let output = run();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    verify(&grid, &fs::read(&grid.path(MODULE)).unwrap(), "signing");
    let key = fs::read_to_string(&grid.path("signing.key")).unwrap();
    let line = key.lines().nth(1).unwrap().to_owned();
    assert!(!text.contains("hunter-two"), "{text}");
    for folder in ["out", "cache"] {
        assert_nowhere(&grid.path(folder), &["hunter-two", &line]);
    }
}

#[test]
fn key_that_cannot_sign_is_an_error_before_the_first_build() {
    let grid = grid();
    let folder = grid.path("");
    certificate(&folder, "other");
    expired_certificate(&folder, "expired");
    openssl(
        &folder,
        "pkey -in signing.key -aes256 -passout pass:right -out encrypted.key",
    );
    std::fs::copy(grid.path("signing.key"), grid.path("open.key")).unwrap();
    grid.write("text.key", "no key");
    for (name, mode) in [
        ("open.key", 0o644),
        ("encrypted.key", 0o600),
        ("text.key", 0o600),
    ] {
        std::fs::set_permissions(grid.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let matrix = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let key = "\"signing.key\"";
    let pem = "\"signing.pem\"";
    for (from, to, place, message) in [
        (
            key,
            "\"none.key\"",
            "9:7",
            "none.key cannot be read: it does not exist",
        ),
        (
            key,
            "\"other.key\"",
            "9:7",
            "the key does not match the certificate",
        ),
        (key, "\"text.key\"", "9:7", "failed to read the key"),
        (
            key,
            "\"open.key\"",
            "9:7",
            "is accessible to everybody (mode 644)",
        ),
        (
            key,
            "\"encrypted.key\"",
            "9:7",
            "the key is encrypted, and no password is given",
        ),
        (
            key,
            "\"encrypted.key\"\npassword = \"PATH\"",
            "10:12",
            "the password in PATH does not decrypt the key",
        ),
        (
            key,
            "\"encrypted.key\"\npassword = \"NOT_SET\"",
            "10:12",
            "the environment variable NOT_SET",
        ),
        (
            pem,
            "\"none.pem\"",
            "10:15",
            "none.pem cannot be read: it does not exist",
        ),
        (
            pem,
            "\"signing.key\"",
            "10:15",
            "failed to read the certificate",
        ),
        (pem, "\"expired.pem\"", "10:15", "expired on 2020-02-01"),
    ] {
        grid.write_matrix(&matrix.replace(from, to));
        for words in [&["run", "--executor", "fake"][..], &["plan", "--check"]] {
            let mut all = words.to_vec();
            all.push("matrix.toml");
            let output = grid.program(&all).output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{to}: {text}");
            assert!(text.contains(message), "{to}: {text}");
            assert!(
                text.contains(&format!("matrix.toml:{place}")),
                "{to}: {text}"
            );
        }
    }
    assert_eq!(grid.jobs(), NOTHING);
}

#[test]
fn errors_in_the_signing_table_are_reported_without_secrets() {
    let grid = grid();
    let matrix = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let key = "key = \"signing.key\"\n";
    for (from, to, message) in [
        (key, "", "`key` is missing in [signing]"),
        (
            "certificate = \"signing.pem\"\n",
            "",
            "`certificate` is missing in [signing]",
        ),
        (
            key,
            "key = \"signing.key\"\nhash = \"md5\"\n",
            "invalid hash `md5`",
        ),
        (key, "command = []\n", "`command` is empty"),
        (key, "command = \"sign-file\"\n", "expected an array"),
        (key, "keys = 1\n", "unknown key `keys` in [signing]"),
        (
            key,
            "key = \"signing.key\"\npassword = \"hunter-2 !\"\n",
            "not the name of an environment variable",
        ),
        (
            key,
            "key = \"pkcs11:object=a?pin-value=hunter-2\"\n",
            "contains the PIN of the token",
        ),
    ] {
        grid.write_matrix(&matrix.replace(from, to));
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(message), "{text}");
        assert!(text.contains("--> matrix.toml:"), "{text}");
        assert!(!text.contains("hunter-2"), "{text}");
    }
}

/// A grid whose matrix signs with this script as a command.
fn grid_of_command(script: &str) -> Grid {
    let grid = grid();
    let path = grid.path("sign");
    grid.write("sign", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    grid.edit_matrix(
        "key = \"signing.key\"",
        "command = [\"./sign\", \"first\"]\nkey = \"signing.key\"",
    );
    grid
}

#[test]
fn a_signing_command_is_called_like_sign_file_and_its_signature_is_checked() {
    // Signs like the kernel's sign-file.
    let sign = "test \"$1 $2\" = 'first sha256' || exit 7\n\
        openssl cms -sign -binary -noattr -nocerts -md \"$2\" -in \"$5\" -signer \"$4\" -inkey \"$3\" -outform DER -out \"$5.s\"\n\
        length=$(stat -c %s \"$5.s\")\n\
        { cat \"$5.s\"; printf '\\0\\0\\2\\0\\0\\0\\0\\0\\0\\0'; printf \"\\\\$(printf %o $((length / 256)))\\\\$(printf %o $((length % 256)))\"; \
        echo '~Module signature appended~'; } >>\"$5\"";
    let grid = grid_of_command(sign);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text} {:?}", grid.outcome());
    verify(&grid, &fs::read(&grid.path(MODULE)).unwrap(), "signing");

    for (script, expected) in [
        ("exit 0", "the command appended no signature to the module"),
        (
            "echo 'no token' >&2; exit 5",
            "failed to sign the module: no token",
        ),
        (
            "printf x >\"$5\"; cat signed >>\"$5\"",
            "the command changed the content of the module",
        ),
        (
            "{ printf 'signature\\0\\0\\2\\0\\0\\0\\0\\0\\0\\0\\0\\11'; echo '~Module signature appended~'; } >>\"$5\"",
            "failed to verify the signature of the module",
        ),
    ] {
        let grid = grid_of_command(script);
        let signed = driverkit_matrix::sign::append(b"other", b"signature");
        grid.write("signed", signed);
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 3, "{text}");
        let artifact = grid.record().artifacts.remove(0);
        let failure = artifact.failure.unwrap();
        assert_eq!(failure.class, FailureClass::Infrastructure);
        assert_eq!(failure.phase, Phase::Sign);
        assert!(failure.message.contains(expected), "{}", failure.message);
        assert!(!grid.path(MODULE).exists());
        // The unsigned module is cached.
        grid.jobs();
        grid.edit_matrix("command = [\"./sign\", \"first\"]\n", "");
        assert_eq!(grid.run(&[]).0, 0);
        assert_eq!(grid.jobs(), NOTHING);
    }
}

#[test]
fn rebuild_compares_modules_without_their_signatures() {
    let grid = grid();
    assert_eq!(grid.run(&[]).0, 0);
    let build = grid.record().build_id.to_string();
    // The key is not needed.
    fs::remove_file(Path::new(&grid.path("signing.key"))).unwrap();
    let words = ["rebuild", &build, "matrix.toml", "--executor", "fake"];
    let output = grid.program(&words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("identical to the one in out"), "{text}");
}
