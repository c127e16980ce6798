//! Tests of `prove` with matrices: it proves what earlier runs built, and builds nothing.

use std::process::Output;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::event::ProofResult;
use driverkit_matrix::failure::{FailureClass, Status};
use driverkit_matrix::fs;
use serde_json::json;

use crate::run::proofs::{assert_has_no_kernel, boot, grid, loaded, proof};
use crate::run::{BUILD, MODULE};
use support::grid::{Grid, RELEASE, deb, tarball};
use support::server::Server;

/// Runs `prove` with the fake executor; returns the exit code and the output.
fn prove(grid: &Grid, words: &[&str]) -> (i32, String) {
    let mut all = vec!["prove", "matrix.toml", "--executor", "fake"];
    all.extend(words);
    say(grid, &all)
}

fn say(grid: &Grid, words: &[&str]) -> (i32, String) {
    let output = grid.program(words).output().unwrap();
    let Output { stdout, stderr, .. } = &output;
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.code().unwrap(), text.concat())
}

/// A grid of four kernels, each with its own package.
fn grid_of_four() -> Grid {
    let grid = Grid::of_four();
    for number in ["1", "2", "3", "4"] {
        let name = format!("debs/linux-image-{RELEASE}-unsigned_6.1.{number}-1_amd64.deb");
        let image = format!("kernel {number}");
        grid.write(&name, deb(&[("boot/vmlinuz-6.1.0-1-amd64", &image)]));
    }
    grid.fake(&[boot(&loaded(0))]);
    grid
}

#[test]
fn prove_loads_what_an_earlier_run_built() {
    let grid = grid(&loaded(0));
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    let (code, text) = prove(&grid, &[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["prove"]);
    assert!(text.contains("1 loaded, 0 refused, 0 not proven"), "{text}");
    assert_eq!(proof(&grid).result, ProofResult::Loaded);
    let manifest = grid.manifest();
    assert!(!manifest.run.is_partial);
    assert!(manifest.left_out.is_empty());
    assert_eq!(manifest.builds[0].status, Status::Cached);
    assert!(grid.path(MODULE).exists());

    let (code, text) = prove(&grid, &["--offline"]);
    assert_eq!((code, grid.jobs()), (0, Vec::new()), "{text}");
    assert_eq!(proof(&grid).result, ProofResult::Loaded);
}

#[test]
fn prove_builds_nothing_and_counts_what_is_not_built() {
    let grid = grid_of_four();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    grid.write_driver("driver", "changed for two kernels");
    let two = ["--kernel", ">=6.1.3"];
    assert_eq!(grid.run(&two).0, 0);
    grid.jobs();
    let (code, text) = prove(&grid, &[]);
    assert_eq!(code, 1, "{text}");
    assert_eq!(grid.jobs(), ["prove", "prove"]);
    assert!(text.contains("2 loaded, 0 refused, 0 not proven"), "{text}");
    for words in [
        "2 x not built: not built yet: use `driverkit-matrix run` first",
        "all 2 wanted artifacts are available; 2 more are not built yet",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let manifest = grid.manifest();
    assert!(manifest.run.is_partial);
    assert_eq!(manifest.builds.len(), 2);
    assert_eq!(manifest.exit.unwrap().code, 1);
    let (code, why) = say(&grid, &["why", BUILD]);
    assert_eq!(code, 0, "{why}");
    assert!(why.contains("left out by the rule `not built`"), "{why}");

    // A later night is compared with the last complete one, not with the proof.
    let (code, text) = grid.run(&["--baseline", "out"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("using the newest complete one"), "{text}");

    // Filters select what is proven, not what may be built.
    grid.write_driver("driver", "changed again");
    grid.jobs();
    let (code, text) = prove(&grid, &two);
    assert_eq!((code, grid.path("journal").exists()), (1, false), "{text}");
    assert!(text.contains("no artifact is built yet"), "{text}");
    grid.write_driver("driver", "changed for two kernels");

    // With the same filters as the run, nothing is missing.
    let (code, text) = prove(&grid, &two);
    assert_eq!(code, 0, "{text}");
    assert!(!grid.path("journal").exists(), "{text}");
    assert!(!text.contains("not built"), "{text}");
}

#[test]
fn prove_fails_if_nothing_is_built() {
    let grid = grid(&loaded(0));
    let (code, text) = prove(&grid, &[]);
    assert_eq!(code, 1, "{text}");
    assert!(!grid.path("journal").exists(), "{text}");
    assert!(
        text.contains("no artifact is built yet, so none was proven"),
        "{text}"
    );
    assert!(!grid.path(MODULE).exists());
}

#[test]
fn prove_loads_the_module_of_a_build_without_its_probe() {
    let grid = grid(&loaded(0));
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    grid.edit_matrix("[\"module\"]", "[\"module\", \"probe\"]");
    let (code, text) = prove(&grid, &[]);
    assert_eq!(code, 1, "{text}");
    assert_eq!(grid.jobs(), ["prove"]);
    assert!(text.contains("1 loaded, 0 refused, 0 not proven"), "{text}");
    assert!(text.contains("1 x not built: "), "{text}");
    let artifacts = grid.record().artifacts;
    assert_eq!(artifacts.len(), 1);
    let (code, why) = say(&grid, &["why", BUILD]);
    assert_eq!(code, 0);
    assert!(why.contains("It was tested in its kernel: loaded"), "{why}");
}

#[test]
fn prove_refuses_and_removes_a_module_and_retries_on_request() {
    let grid = grid("proof: 0 load 1\nproof: 0 loaded -8\n");
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    let (code, text) = prove(&grid, &[]);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("0 loaded, 1 refused, 0 not proven"), "{text}");
    assert!(!grid.path(MODULE).exists());
    let failure = grid.record().artifacts.remove(0).failure.unwrap();
    assert_eq!(failure.class, FailureClass::Load);
    assert_eq!(grid.jobs(), ["prove"]);

    let again = boot(&loaded(0));
    grid.fake(&[json!({ "job": "prove *", "script": "BOOT_SECONDS='77'", "then": again["then"] })]);
    let (code, text) = prove(&grid, &["--retry", "load", "--timeout", "77s"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["prove"]);
    assert!(grid.path(MODULE).exists());
}

#[test]
fn prove_takes_modules_of_the_shared_store() {
    let grid = grid(&loaded(0));
    let server = Server::of(&grid.path(""));
    grid.point_to(&server);
    let store = format!("file://{}", grid.path("store").display());
    fs::create_folder(&grid.path("store")).unwrap();
    let shared = ["--store", &store, "--store-trusted"];
    let (code, text) = grid.run(&shared);
    assert_eq!(code, 0, "{text}");
    grid.jobs();
    let other = [&shared[..], &["--cache", "other", "--out", "other-out"]].concat();
    let (code, text) = prove(&grid, &other);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["prove"]);
    assert!(grid.path(&MODULE.replacen("out", "other-out", 1)).exists());
}

#[test]
fn prove_series_boots_the_newest_kernel() {
    let grid = grid_of_four();
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    let (code, text) = prove(&grid, &["--prove", "series"]);
    assert_eq!(code, 0, "{text}");
    let proven = |number: usize| grid.manifest().builds[number].artifacts[0].proof.is_some();
    assert!(proven(3));
    let (code, text) = prove(&grid, &["--prove", "none"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("expected all or series"), "{text}");
}

/// The sources of a driver that is a branch are those that the earlier run used.
#[test]
fn prove_does_not_ask_for_newer_sources() {
    let grid = grid(&loaded(0));
    let write = |content: &str| {
        let files = [
            ("libs/Makefile", "scap-y += main.o\nobj-m += scap.o\n"),
            ("libs/driver_config.h", "#define DRIVER_NAME \"scap\"\n"),
            ("libs/main.c", content),
        ];
        grid.write("libs/archive/main.tar.gz", tarball(&files));
    };
    write("main");
    let server = Server::of(&grid.path(""));
    let url = format!("url = \"{}/libs/archive/main.tar.gz\"", server.address);
    grid.edit_matrix("path = \"driver\"", &url);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    grid.jobs();
    write("newer");
    let (code, text) = prove(&grid, &[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["prove"]);
    // A run would build with them.
    assert_eq!(grid.run(&[]).0, 0);
    assert!(grid.jobs().contains(&"module".to_owned()));
}

/// A machine without a network proves with the kernels of a bundle.
#[test]
fn bundle_contains_the_kernels_of_proofs() {
    let grid = grid(&loaded(0));
    let server = Server::of(&grid.path(""));
    grid.point_to(&server);
    let export = ["bundle", "export", "b.tar", "matrix.toml"];
    let (code, text) = say(&grid, &export);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("wrote 3 files"), "{text}");

    grid.edit_matrix("retries = 1", "retries = 1\nprove = \"all\"");
    let (code, text) = say(&grid, &export);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("wrote 4 files"), "{text}");
    let other = ["--cache", "other"];
    let (code, text) = say(
        &grid,
        &[&other[..], &["bundle", "import", "b.tar"]].concat(),
    );
    assert_eq!(code, 0, "{text}");
    let asked = server.requests();
    let (code, text) = grid.run(&[&other[..], &["--offline"]].concat());
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("missing for"), "{text}");
    assert_eq!(server.requests(), asked);
    assert_eq!(proof(&grid).result, ProofResult::Loaded);

    // Without the kernel, the bundle is not complete, and an offline run says so.
    let name = format!("debs/linux-image-{RELEASE}-unsigned_6.1.1-1_amd64.deb");
    fs::remove_file(&grid.path(&name)).unwrap();
    let third = ["--cache", "third"];
    let (code, text) = say(&grid, &[&third[..], &export].concat());
    assert_eq!(code, 1, "{text}");
    let missing = "missing for proofs in debian 6.1.1-1-amd64 #1 amd64: ";
    assert!(text.contains(missing), "{text}");
    let (code, text) = grid.run(&[&third[..], &["--offline"]].concat());
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(missing), "{text}");
    assert_eq!(proof(&grid).result, ProofResult::NotProven);
}

/// The indexes of mirrors name the package of a kernel with its digest, and the lock records it.
#[test]
fn kernel_package_of_a_lock_is_compared_with_its_digest() {
    let grid = grid(&loaded(0));
    crate::run::packages::by_list(&grid);
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    let lock = fs::read_to_string(&grid.path("matrix.lock")).unwrap();
    let package = deb(&[("boot/vmlinuz-6.1.0-1-amd64", "another kernel")]);
    let path = grid.path("debs/other.deb");
    grid.write("debs/other.deb", &package);
    let name = |sha256: Sha256| {
        let image = json!({ "url": path, "sha256": sha256 });
        let source = ",\"source\":";
        assert!(lock.contains(source), "{lock}");
        let lock = lock.replace(source, &format!(",\"image\":{image}{source}"));
        grid.write("matrix.lock", lock);
    };
    name(Sha256::of("another file"));
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!((code, grid.jobs()), (0, Vec::new()), "{text}");
    assert_has_no_kernel(&grid);

    name(Sha256::of(&package));
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["prove"]);
    assert_eq!(proof(&grid).result, ProofResult::Loaded);
    // The digest is enough to find the proof again.
    fs::remove_file(&path).unwrap();
    let (code, text) = grid.run(&["--prove", "all", "--offline"]);
    assert_eq!((code, grid.jobs()), (0, Vec::new()), "{text}");
    assert_eq!(proof(&grid).result, ProofResult::Loaded);
    let lock = fs::read_to_string(&grid.path("matrix.lock")).unwrap();
    assert!(lock.contains("other.deb"), "{lock}");
}

#[test]
fn mixed_forms_of_prove_are_explained() {
    let grid = grid(&loaded(0));
    grid.write("scap.ko", "module");
    for (words, message) in [
        (
            &["prove", "matrix.toml", "scap.ko"][..],
            "matrix.toml is a matrix, and scap.ko is a module or probe",
        ),
        (
            &["prove", "matrix.toml", "--kernel-image", "vmlinuz"],
            "`--kernel-image` is for modules and probes that are named",
        ),
        (
            &["prove", "matrix.toml", "--console", "log"],
            "`--console` is for modules and probes that are named",
        ),
        (
            &["prove", "matrix.toml", "--json"],
            "`--json` is for modules and probes that are named",
        ),
        (
            &["prove", "--kernel-parameter", "quiet"],
            "`--kernel-parameter` is for modules and probes that are named",
        ),
        (
            &[
                "prove",
                "scap.ko",
                "--kernel-image",
                "vmlinuz",
                "--only",
                "x",
            ],
            "`--only` is for matrices, and scap.ko is a module or probe",
        ),
        (
            &[
                "prove",
                "scap.ko",
                "--kernel-image",
                "vmlinuz",
                "--executor",
                "docker",
            ],
            "`--executor` is for matrices, and scap.ko is a module or probe",
        ),
        (&["prove", "scap.ko"], "`--kernel-image FILE` is missing"),
    ] {
        let (code, text) = say(&grid, words);
        assert_eq!(code, 2, "{words:?}: {text}");
        assert!(text.contains(message), "{words:?}: {text}");
    }
    // The variable of the executor is for all commands.
    let mut command = grid.program(&["prove", "scap.ko", "--kernel-image", "vmlinuz"]);
    let output = command.env("DRIVERKIT_MATRIX_EXECUTOR", "fake").output();
    let text = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(!text.contains("matrices"), "{text}");
}
