//! Tests of `verify` with good and with manipulated drivers.

use super::*;

#[test]
fn a_published_driver_is_verified_as_file_directory_and_url() {
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
            // The test server does not decode URLs, so the file also gets its encoded name.
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
    // A downloaded file with its attestation, and nothing else.
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
        &[
            "exit 0",
            "index.json does not exist",
            "attestation       ok",
        ],
    );
    let said = verify(folder, &[&local]);
    assert_says(
        &said,
        &[
            "exit 1",
            "was not checked: no --key was given",
            "no index or signed attestation confirms this digest",
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
fn a_manipulated_attestation_is_refused_and_named() {
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
            "it is not signed by a given key",
        ),
        (
            signature_changed.to_string(),
            "it is not signed by a given key",
        ),
        (unsigned(text.as_bytes()), "it is not signed"),
        (unsigned(twice.as_bytes()), "duplicate field `_type`"),
        (
            unsigned(subject_twice.as_bytes()),
            "not in canonical form: a key is duplicated",
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
        (" ".repeat(2 << 20), "more than the limit of 1048576 bytes"),
    ];
    for (content, message) in cases {
        space.put(&format!("to/{}", file(&name)), &content);
        // The index is changed as well: the author of the attestation could have written it.
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
fn a_manipulated_artifact_is_refused_and_named() {
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
            "it is not signed by a given key",
        ],
    );
    // A manipulated artifact.
    space.put(&format!("to/{name}"), "0ne");
    check(&[
        &name,
        "index             FAILED",
        "index.json lists digest",
        "it is about other content",
    ]);
    space.put(&format!("to/{name}"), "on");
    check(&["artifact          FAILED"]);
    // An artifact with the attestation of another kernel, as a malicious mirror could offer it.
    space.put(&format!("to/{name}"), MODULES[1].2);
    space.put(
        &format!("to/{}", file(&name)),
        &space.get(&format!("to/{}", file(&other))),
    );
    check(&["about this content under another name: 0.20.0+driver/x86_64/"]);
}

#[test]
fn a_manipulated_index_is_refused_and_named() {
    let space = published();
    let folder = space.path();
    let name = key(MODULES[0].0, OLD);
    let index = space.get("to/index.json");
    let check = |message: &[&str]| {
        let said = verify(folder, &["to", "--key", "attest.pub"]);
        assert_says(&said, &["exit 1"]);
        assert_says(&said, message);
    };
    // A manipulated index.
    let sums = space.get("to/SHA256SUMS");
    space.put("to/SHA256SUMS", &sums.replace('a', "b"));
    check(&[
        "artifact          FAILED",
        "; SHA256SUMS does not match its digest in index.json",
        "index             FAILED",
        "SHA256SUMS does not match its digest in index.json",
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
            "index.json is invalid: it lists an artifact twice",
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
            "more than the limit of 268435456",
        ],
    );
}

#[test]
fn a_module_signature_is_checked_with_a_certificate() {
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
    // Without its signature the module differs from the attested one.
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
            "index.json lists digest",
        ],
    );
    let said = verify(&folder, &["out", "--certificate", "other.pem"]);
    assert_says(&said, &["exit 1", &format!("{MODULE}: module signature: ")]);
}

#[test]
fn an_output_directory_is_compared_with_its_attestations() {
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
            "the statement differs from the manifest",
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
    // The next run writes the same attestation again.
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
