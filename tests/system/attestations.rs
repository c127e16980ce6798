//! Attestations and the bill of materials, read by third-party libraries: in-toto, securesystemslib, `CycloneDX`.

use std::path::{Path, PathBuf};
use std::process::Command;

use driverkit_matrix::fs;
use driverkit_matrix::report::attestation_of;

use crate::proof::run;
use support::grid::Grid;
use support::signing::openssl;

/// Returns a Python with the libraries, which is created once for each list of libraries.
fn python() -> PathBuf {
    let list =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/system/attestations/requirements.txt");
    let digest = driverkit_matrix::digest::Sha256::of(fs::read(&list).unwrap());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{}", digest.short()));
    let python = folder.join("bin/python");
    let lock = fs::Lock::exclusive(&folder.with_extension("lock")).unwrap();
    if !folder.join("complete").exists() {
        run(Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&folder));
        let mut pip = Command::new(&python);
        run(pip
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(&list));
        fs::write(&folder.join("complete"), "").unwrap();
    }
    drop(lock);
    python
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/system/attestations")
        .join(name)
}

#[test]
fn third_party_libraries_verify_attestations_of_every_kind_of_key() {
    for (name, options) in [
        ("ed", "-algorithm ED25519"),
        ("p256", "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"),
        ("rsa", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048"),
    ] {
        let grid = Grid::new();
        let folder = grid.path("");
        openssl(
            &folder,
            &format!("genpkey -quiet {options} -out {name}.key"),
        );
        openssl(
            &folder,
            &format!("pkey -in {name}.key -pubout -out {name}.pub"),
        );
        openssl(&folder, "genpkey -quiet -algorithm ED25519 -out other.key");
        openssl(&folder, "pkey -in other.key -pubout -out other.pub");
        let table = format!("[attestation]\nkey = \"{name}.key\"\n\n[defaults]");
        grid.edit_matrix("[defaults]", &table);
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{text}");
        let module = grid.record().artifacts.remove(0).path.unwrap();
        let module = grid.path("out").join(module);
        let check = |key: &str| {
            let mut command = Command::new(python());
            command
                .arg(script("check.py"))
                .arg(grid.path(key))
                .arg(&module);
            command.output().unwrap()
        };
        let checked = check(&format!("{name}.pub"));
        let text = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{text}");
        assert_eq!(String::from_utf8_lossy(&checked.stdout), "1 verified\n");
        let checked = check("other.pub");
        assert!(!checked.status.success());
        assert!(String::from_utf8_lossy(&checked.stderr).contains("VerificationError"));
        // The libraries refuse a changed statement as well.
        let file = attestation_of(&module);
        let text = fs::read_to_string(&file).unwrap();
        let changed = text.replacen("\"payload\":\"e", "\"payload\":\"f", 1);
        assert_ne!(changed, text);
        fs::write(&file, changed).unwrap();
        assert!(!check(&format!("{name}.pub")).status.success());
    }
}

#[test]
fn the_bill_of_materials_matches_the_cyclonedx_schema() {
    let grid = Grid::of_four();
    let (code, text) = grid.run(&["--report", "cyclonedx=night.json"]);
    assert_eq!(code, 0, "{text}");
    let check = |file: &str| {
        let mut command = Command::new(python());
        command
            .arg(script("bill.py"))
            .arg(file)
            .current_dir(grid.path(""));
        command.output().unwrap()
    };
    let checked = check("night.json");
    let text = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{text}");
    let bill = fs::read_to_string(&grid.path("night.json")).unwrap();
    grid.write("wrong.json", bill.replace("device-driver", "driver"));
    assert!(!check("wrong.json").status.success());
}
