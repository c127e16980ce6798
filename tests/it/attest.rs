//! Attestations: what they say, where they are, and what `verify` makes of good and of bad ones.

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
use support::grid::Grid;
use support::published::{MODULES, NEW, OLD, key, write_out};
use support::server::Server;
use support::signing::{certificate, expired_certificate, openssl};
use support::workspace::Workspace;

const MODULE: &str = "one/x86_64/scap_debian_6.1.1-1-amd64_1.ko";
const TABLE: &str =
    "[attestation]\nkey = \"attest.key\"\nbuilder = \"https://builds.example.org/night\"\n";

/// Makes `NAME.key` and `NAME.pub`.
fn make_key(folder: &Path, name: &str, kind: &str) {
    openssl(folder, &format!("genpkey -quiet {kind} -out {name}.key"));
    openssl(
        folder,
        &format!("pkey -in {name}.key -pubout -out {name}.pub"),
    );
}

const ED25519: &str = "-algorithm ED25519";
const P256: &str = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256";
const RSA: &str = "-algorithm RSA -pkeyopt rsa_keygen_bits:2048";

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

/// The envelope of a statement without signatures.
fn unsigned(statement: &[u8]) -> String {
    let payload = STANDARD.encode(statement);
    json!({ "payload": payload, "payloadType": "application/vnd.in-toto+json", "signatures": [] })
        .to_string()
}

/// What `verify` said of a place, after its exit code.
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
fn attestation_names_every_digest_of_the_manifest_and_is_the_same_when_cached() {
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

    // Cached, in the same directory and in an empty one.
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
    assert_eq!(said, "exit 0\neverything is what the manifest says\n");
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
        // The attestations of another key are made again.
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
        &[
            "exit 1",
            "attestation: its signature is not of the given key",
        ],
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
        ("gone.pub", "No such file"),
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
fn published_driver_is_verified_as_file_directory_and_url() {
    let space = published();
    let folder = space.path();
    let name = key(MODULES[2].0, NEW);
    let server = Server::of(&folder.join("to"));
    let whole = format!("file://{}", folder.join("to").display());
    let ok = [
        "exit 0",
        "artifact          ok",
        "index             ok",
        "attestation       ok",
        "signed by key ",
    ];
    for place in [
        format!("to/{name}"),
        format!("{whole}/{name}"),
        format!("{}/{}", server.address, name.replace('+', "%2B")),
    ] {
        if place.starts_with("http") {
            // The server of the tests decodes nothing.
            std::fs::copy(
                folder.join("to").join(&name),
                folder.join("to").join(name.replace('+', "%2B")),
            )
            .unwrap();
            std::fs::copy(
                folder.join("to").join(file(&name)),
                folder.join("to").join(file(&name).replace('+', "%2B")),
            )
            .unwrap();
        }
        let said = verify(folder, &[&place, "--key", "attest.pub"]);
        assert_says(&said, &ok);
        assert_says(
            &said,
            &["module signature  not checked  the module is not signed"],
        );
    }
    for place in ["to", &whole] {
        let said = verify(folder, &[place, "--key", "attest.pub"]);
        assert_says(
            &said,
            &[
                "exit 0",
                "3 artifacts; artifact: 3 ok; index: 3 ok; attestation: 3 ok",
            ],
        );
    }
    // Downloaded: the file with its attestation, nothing else.
    std::fs::create_dir(folder.join("here")).unwrap();
    let short = Path::new(&name).file_name().unwrap().to_str().unwrap();
    for one in [short.to_owned(), file(short)] {
        let from = Path::new(&name).with_file_name(&one);
        std::fs::copy(folder.join("to").join(from), folder.join("here").join(one)).unwrap();
    }
    let local = format!("here/{short}");
    let said = verify(folder, &[&local, "--key", "attest.pub"]);
    assert_says(
        &said,
        &["exit 0", "there is no index.json", "attestation       ok"],
    );
    let said = verify(folder, &[&local]);
    assert_says(
        &said,
        &[
            "exit 1",
            "was not checked: no --key was given",
            "nothing that can be checked names this digest",
        ],
    );
    let said = verify(folder, &[&local, "--key", "attest.pub", "--format", "json"]);
    let json: Value = serde_json::from_str(said.strip_prefix("exit 0\n").unwrap()).unwrap();
    assert_eq!(json["artifacts"][0]["checks"][2]["check"], "attestation");
    assert_eq!(json["artifacts"][0]["checks"][2]["result"], "passed");
    fs::remove_file(&folder.join("here").join(file(short))).unwrap();
    let said = verify(folder, &[&local, "--key", "attest.pub"]);
    assert_says(
        &said,
        &["exit 1", "attestation       FAILED", "does not exist"],
    );
    assert_says(
        &verify(
            folder,
            &[
                &server.address.replace("http:", "file:"),
                "--key",
                "attest.pub",
            ],
        ),
        &["exit 2"],
    );
    let said = verify(folder, &["https://127.0.0.1:9/x", "--key", "attest.pub"]);
    assert_says(
        &said,
        &["exit 3", "failed to read https://127.0.0.1:9/x/index.json"],
    );
}

#[test]
fn attestation_that_was_tampered_with_is_refused_by_name() {
    let space = published();
    let folder = space.path();
    let (name, other) = (key(MODULES[0].0, OLD), key(MODULES[1].0, OLD));
    let good = space.get(&format!("to/{}", file(&name)));
    let index = space.get("to/index.json");
    let text = String::from_utf8(payload(&good)).unwrap();
    let changed = text.replace("\"builder\":{\"id\":\"urn:", "\"builder\":{\"id\":\"urn:x-");
    assert_ne!(changed, text);
    let mut envelope_changed = envelope(&good);
    envelope_changed["payload"] = STANDARD.encode(&changed).into();
    let mut signature_changed = envelope(&good);
    signature_changed["signatures"][0]["sig"] = STANDARD.encode([7; 64]).into();
    let twice = text.replacen("\"_type\":", "\"_type\":\"x\",\"_type\":", 1);
    let subject_twice = text.replacen("\"sha256\":", "\"sha256\":\"00\",\"sha256\":", 1);
    let cases: Vec<(String, &str)> = vec![
        (
            envelope_changed.to_string(),
            "its signature is not of the given key",
        ),
        (
            signature_changed.to_string(),
            "its signature is not of the given key",
        ),
        (unsigned(text.as_bytes()), "it is not signed"),
        (unsigned(twice.as_bytes()), "duplicate field `_type`"),
        (
            unsigned(subject_twice.as_bytes()),
            "not in canonical form: a key is there twice",
        ),
        (
            good.replacen('{', "{\"payload\":\"\",", 1),
            "duplicate field `payload`",
        ),
        (
            good[..good.len() / 2].to_owned(),
            "not a line with a DSSE envelope",
        ),
        (format!("{good}{good}"), "trailing characters"),
        (String::new(), "not a line with a DSSE envelope"),
        (
            good.replace("vnd.in-toto+json", "json"),
            "of the type `application/json`",
        ),
        (
            unsigned(text.replace("provenance/v1", "provenance/v0").as_bytes()),
            "of the type `https://slsa.dev/provenance/v0`",
        ),
        (
            space.get(&format!("to/{}", file(&other))),
            "it is about another artifact: 0.20.0+driver/x86_64/",
        ),
        (
            " ".repeat(2 << 20),
            "more than the 1048576 that are expected at most",
        ),
    ];
    for (content, message) in cases {
        space.put(&format!("to/{}", file(&name)), &content);
        // The index says it all the same: it is whoever's who wrote the attestation.
        let mut lying: Value = serde_json::from_str(&index).unwrap();
        for entry in lying["artifacts"].as_array_mut().unwrap() {
            if entry["key"] == name {
                entry["attestation"]["sha256"] = Sha256::of(&content).to_string().into();
            }
        }
        space.put("to/index.json", &lying.to_string());
        let said = verify(folder, &[&format!("to/{name}"), "--key", "attest.pub"]);
        assert_says(&said, &["exit 1", "attestation       FAILED", message]);
        assert_says(&said, &["artifact          ok"]);
    }
    space.put("to/index.json", &index);
    let said = verify(folder, &[&format!("to/{name}"), "--key", "attest.pub"]);
    assert_says(&said, &["exit 1", "attestation       FAILED"]);
}

#[test]
fn artifact_that_was_tampered_with_is_refused_by_name() {
    let space = published();
    let folder = space.path();
    let (name, other) = (key(MODULES[0].0, OLD), key(MODULES[1].0, OLD));
    let check = |message: &[&str]| {
        let said = verify(folder, &["to", "--key", "attest.pub"]);
        assert_says(&said, &["exit 1"]);
        assert_says(&said, message);
    };
    assert_says(&verify(folder, &["to", "--key", "attest.pub"]), &["exit 0"]);
    assert_says(
        &verify(folder, &["to", "--key", "other.pub"]),
        &[
            "exit 1",
            "attestation: 3 FAILED",
            "its signature is not of the given key",
        ],
    );
    // The artifact.
    space.put(&format!("to/{name}"), "0ne");
    check(&[
        &name,
        "index             FAILED",
        "index.json names digest",
        "it is about other content",
    ]);
    space.put(&format!("to/{name}"), "on");
    check(&["artifact          FAILED"]);
    // An artifact with the attestation of another kernel's: what a mirror would do.
    space.put(&format!("to/{name}"), MODULES[1].2);
    space.put(
        &format!("to/{}", file(&name)),
        &space.get(&format!("to/{}", file(&other))),
    );
    check(&["about this content under another name: 0.20.0+driver/x86_64/"]);
}

#[test]
fn index_that_was_tampered_with_is_refused_by_name() {
    let space = published();
    let folder = space.path();
    let name = key(MODULES[0].0, OLD);
    let index = space.get("to/index.json");
    let check = |message: &[&str]| {
        let said = verify(folder, &["to", "--key", "attest.pub"]);
        assert_says(&said, &["exit 1"]);
        assert_says(&said, message);
    };
    // The index.
    let sums = space.get("to/SHA256SUMS");
    space.put("to/SHA256SUMS", &sums.replace('a', "b"));
    check(&[
        "index             FAILED",
        "SHA256SUMS is not the one that index.json names",
    ]);
    fs::remove_file(&folder.join("to/SHA256SUMS")).unwrap();
    check(&["SHA256SUMS does not exist"]);
    space.put("to/SHA256SUMS", &sums);
    let line = index.lines().find(|line| line.contains(&name)).unwrap();
    let line = line.trim_end_matches(',');
    space.put(
        "to/index.json",
        &index.replace(line, &format!("{line},{line}")),
    );
    let said = verify(folder, &["to"]);
    assert_says(
        &said,
        &[
            "exit 2",
            "index.json is invalid: it names an artifact twice",
        ],
    );
    space.put("to/index.json", "<html>");
    assert_says(
        &verify(folder, &["to"]),
        &["exit 2", "index.json is not an index"],
    );
    space.put("to/huge.ko", "");
    let huge = std::fs::File::options()
        .write(true)
        .open(folder.join("to/huge.ko"));
    huge.unwrap().set_len(1 << 40).unwrap();
    fs::remove_file(&folder.join("to/index.json")).unwrap();
    assert_says(
        &verify(
            folder,
            &[&format!("file://{}/to/x/y/huge.ko", folder.display())],
        ),
        &["exit 1", "it does not exist"],
    );
    assert_says(
        &verify(folder, &["to/huge.ko"]),
        &[
            "exit 1",
            "artifact          FAILED",
            "more than the 268435456",
        ],
    );
}

#[test]
fn module_signature_is_checked_with_a_certificate() {
    let grid = grid();
    let folder = grid.path("");
    certificate(&folder, "signing");
    certificate(&folder, "other");
    expired_certificate(&folder, "expired");
    let signing = "[signing]\nkey = \"signing.key\"\ncertificate = \"signing.pem\"\n";
    grid.edit_matrix("[defaults]", &format!("{signing}\n[defaults]"));
    std::fs::create_dir(grid.path("to")).unwrap();
    let (code, text) = grid.run(&["--publish", "to"]);
    assert_eq!(code, 0, "{text}");
    let place = format!("to/{MODULE}");
    let check = |certificate: &str| {
        verify(
            &folder,
            &[&place, "--key", "attest.pub", "--certificate", certificate],
        )
    };
    assert_says(&check("signing.pem"), &["exit 0", "module signature  ok"]);
    assert_says(&check("other.pem"), &["exit 1", "module signature  FAILED"]);
    assert_says(&check("expired.pem"), &["exit 2", "expired on 2020-02-01"]);
    assert_says(
        &verify(&folder, &[&place]),
        &[
            "exit 0",
            "the module is signed; the signature was not checked",
        ],
    );
    // Without its signature the module is no longer the one that was attested.
    fs::write(
        &grid.path(&place),
        fs::read(&grid.path("module.ko")).unwrap(),
    )
    .unwrap();
    assert_says(
        &check("signing.pem"),
        &[
            "exit 1",
            "the module has no signature",
            "it is about other content",
            "index.json names digest",
        ],
    );
    let said = verify(&folder, &["out", "--certificate", "other.pem"]);
    assert_says(&said, &["exit 1", &format!("{MODULE}: module signature: ")]);
}

#[test]
fn attestation_follows_its_artifact_through_publication_audit_and_prune() {
    let space = published();
    let name = key(MODULES[0].0, OLD);
    let index = || Index::parse(space.get("to/index.json").as_bytes()).unwrap();
    let known = index().artifacts[&name].attestation.clone().unwrap();
    assert_eq!(known.name, file(&name));
    assert_eq!(
        known.sha256,
        Sha256::of(space.get(&format!("to/{}", file(&name))))
    );
    let schema: Value = serde_json::from_str(include_str!("../../schemas/index.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let value = serde_json::from_str(&space.get("to/index.json")).unwrap();
    let faults: Vec<String> = schema
        .iter_errors(&value)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(faults, Vec::<String>::new());
    assert!(!index().artifacts.keys().any(|key| key.contains("intoto")));
    let sums = space.get("to/SHA256SUMS");
    assert_says(&sums, &[&format!("{}  {}", known.sha256, known.name)]);
    let site = space.get("to/site/0.20.0+driver.json");
    assert!(!site.contains("intoto"), "{site}");
    let said = space.run(&["publish", "to"]);
    assert_says(&said, &["0 published, 3 unchanged", " 0 of them writes"]);

    // One that is lost is found by the audit, and comes back; one without artifact is removed.
    fs::remove_file(&space.path().join("to").join(file(&name))).unwrap();
    let orphan = "0.23.2/x86_64/nobody.ko.intoto.jsonl";
    space.put(&format!("to/{orphan}"), "{}");
    let said = space.run(&["publish", "--audit", "out", "to"]);
    assert_says(
        &said,
        &[
            &format!("missing       {}", file(&name)),
            &format!("orphaned-attestation  {orphan}"),
        ],
    );
    space.run(&["publish", "--audit", "--repair", "out", "to"]);
    let said = space.run(&["publish", "--audit", "out", "to"]);
    assert_says(
        &said,
        &["exit 0", "3 artifacts as the index says, 0 findings"],
    );
    // Without the output directory it is not promised any more; the artifact stays.
    fs::remove_file(&space.path().join("to").join(file(&name))).unwrap();
    space.run(&["publish", "--audit", "--repair", "to"]);
    assert_eq!(index().artifacts[&name].attestation, None);
    let said = space.run(&["publish", "out", "to"]);
    assert_says(&said, &["1 found", "2 unchanged"]);
    assert!(index().artifacts[&name].attestation.is_some());

    let said = space.run(&[
        "prune",
        "to",
        "--newest-drivers",
        "1",
        "--max-share",
        "100",
        "--yes",
    ]);
    assert_says(&said, &["exit 0"]);
    assert!(!space.path().join("to").join(file(&name)).exists());
    assert!(
        space
            .path()
            .join("to")
            .join(file(&key(MODULES[2].0, NEW)))
            .exists()
    );
    let pruned = std::fs::read_dir(space.path().join("to/.driverkit-matrix/pruned")).unwrap();
    let id = pruned.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let id = id
        .into_iter()
        .find_map(|name| Some(name.strip_suffix(".json")?.to_owned()))
        .unwrap();
    assert_says(&space.run(&["prune", "to", "--undo", &id]), &["exit 0"]);
    assert_says(
        &verify(space.path(), &["to", "--key", "attest.pub"]),
        &["exit 0", "attestation: 3 ok"],
    );

    // A new content without attestation takes the old one away.
    write_out(
        &space.path().join("out"),
        "run-2",
        1,
        &[(MODULES[0].0, OLD, "new")],
    );
    let said = space.run(&["publish", "out", "to"]);
    assert_says(&said, &["exit 0", "1 published"]);
    assert_eq!(index().artifacts[&name].attestation, None);
    assert!(!space.path().join("to").join(file(&name)).exists());
    assert_says(&space.run(&["publish", "--audit", "to"]), &["exit 0"]);
}

#[test]
fn output_directory_is_compared_with_its_attestations() {
    let grid = grid();
    assert_eq!(grid.run(&[]).0, 0);
    let path = grid.path("out").join(file(MODULE));
    let good = fs::read_to_string(&path).unwrap();
    let folder = grid.path("");
    let text = String::from_utf8(payload(&good)).unwrap();
    for (content, message) in [
        (
            unsigned(text.replace("6.1.1", "6.1.2").as_bytes()),
            "about this content under another name",
        ),
        (
            unsigned(
                text.replace("\"kernel_version\":\"1\"", "\"kernel_version\":\"2\"")
                    .as_bytes(),
            ),
            "it does not say what the manifest says",
        ),
        (
            "{".to_owned(),
            "the attestation is not a line with a DSSE envelope",
        ),
    ] {
        assert_ne!(content, good);
        fs::write(&path, content).unwrap();
        let said = verify(&folder, &["out"]);
        assert_says(
            &said,
            &[
                "exit 1",
                &format!("{}: attestation: ", file(MODULE)),
                message,
            ],
        );
    }
    fs::remove_file(&path).unwrap();
    assert_says(&verify(&folder, &["out"]), &["exit 0"]);
    assert_says(
        &verify(&folder, &["out", "--key", "attest.pub"]),
        &["exit 1", "attestation: missing"],
    );
    // The next run makes it again, the same.
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(fs::read_to_string(&path).unwrap(), good);
    fs::write(
        &grid.path("out").join("one/x86_64/nobody.ko.intoto.jsonl"),
        "{}",
    )
    .unwrap();
    assert_says(
        &verify(&folder, &["out"]),
        &["exit 1", "nobody.ko.intoto.jsonl: not in the manifest"],
    );
}

#[test]
fn encrypted_key_attests_and_is_written_nowhere() {
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
        let grep = Command::new("grep")
            .args(["-rlF", "-e", "hunter-two", "-e", &line])
            .arg(grid.path(folder))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&grep.stdout), "");
    }
}

#[test]
fn key_that_cannot_attest_is_an_error_before_the_first_build() {
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
            "the `pkcs11:` URI in [attestation] has the PIN of the token",
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
    // A key that is lost during the run: drivers are there, and nothing is published.
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

#[test]
fn bill_of_materials_names_drivers_and_what_they_are_made_of() {
    let grid = Grid::new();
    let (code, text) = grid.run(&["--report", "cyclonedx=night.json"]);
    assert_eq!(code, 0, "{text}");
    let text = fs::read_to_string(&grid.path("night.json")).unwrap();
    let bom: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"]),
        (&json!("CycloneDX"), &json!("1.6"))
    );
    let row = grid.record();
    let drivers: Vec<&Value> = bom["components"].as_array().unwrap().iter().collect();
    let driver = drivers
        .iter()
        .find(|one| one["type"] == "device-driver")
        .unwrap();
    assert_eq!(driver["name"], MODULE);
    assert_eq!(
        driver["hashes"][0]["content"],
        row.artifacts[0].sha256.unwrap().to_string()
    );
    let materials = bom["dependencies"][0]["dependsOn"].as_array().unwrap();
    assert_eq!(materials.len(), row.inputs.len() + 2);
    for material in materials {
        assert!(
            drivers.iter().any(|one| one["bom-ref"] == *material),
            "{material}"
        );
    }
}
