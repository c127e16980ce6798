//! Tests of proofs of probes, which share the boot of their module.

use driverkit_matrix::event::ProofResult;
use driverkit_matrix::failure::FailureClass;
use driverkit_matrix::fs;
use serde_json::json;

use super::{boot, ended, grid, loaded};
use crate::run::{BUILD, MODULE, NOTHING};
use support::grid::Grid;

/// Returns the console output of a probe.
fn probe(steps: &[&str]) -> String {
    let steps = [&["load 1", "probe 1"], steps].concat();
    format!("proof: 1 {}\n", steps.join("\nproof: 1 "))
}

/// A grid with a module and a probe.
fn grid_with_probe(of_probe: &str) -> Grid {
    let console = loaded(0) + of_probe;
    let grid = grid(&console);
    grid.edit_matrix("[\"module\"]", "[\"module\", \"probe\"]");
    grid
}

#[test]
fn probe_shares_the_boot_of_its_module() {
    let taken = probe(&["maps 11", "programs 215", "refused 0", "loaded 0"]);
    let grid = grid_with_probe(&taken);
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("2 loaded, 0 refused, 0 not proven"), "{text}");
    let boots = grid.jobs().into_iter().filter(|job| job == "prove");
    assert_eq!(boots.count(), 1);
    let proof = |grid: &Grid| grid.record().artifacts.remove(1).proof.unwrap();
    assert_eq!(proof(&grid).message, "loaded (215 programs, 11 maps)");
    // The same result, from the cache.
    assert_eq!(grid.run(&["--prove", "all"]).0, 0);
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(proof(&grid).message, "loaded (215 programs, 11 maps)");
    let csv = fs::read_to_string(&grid.path("out/manifest.csv")).unwrap();
    assert!(
        csv.contains(",loaded,\"loaded (215 programs, 11 maps)\","),
        "{csv}"
    );
}

#[test]
fn refused_probe_fails_and_its_module_stays() {
    let refused = "proof: 1 load 1\nproof: 1 probe 1\n[ 5.1] bpf: raw_tracepoint/sys_enter: R2 !read_ok\nproof: 1 loaded -13\n";
    let grid = grid_with_probe(refused);
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 1, "{text}");
    let artifacts = grid.record().artifacts;
    assert!(artifacts[0].status.is_success());
    assert_eq!(artifacts[1].path, None);
    let failure = artifacts[1].failure.as_ref().unwrap();
    assert_eq!(failure.class, FailureClass::Load);
    let words = "refused, error 13: raw_tracepoint/sys_enter: R2 !read_ok";
    assert_eq!(failure.message, words);
    assert!(grid.path(MODULE).exists());
    assert!(!grid.path(&MODULE.replace(".ko", ".o")).exists());
    let output = grid.program(&["why", BUILD]).output().unwrap();
    let why = String::from_utf8(output.stdout).unwrap();
    assert!(why.contains(words), "{why}");
}

#[test]
fn probe_that_cannot_be_tried_is_not_proven() {
    let unknown = "proof: 1 load 1\nproof: 1 probe 1\n[ 5.1] bpf: its maps are elsewhere\nproof: 1 unknown 1\n";
    for (of_probe, reason) in [
        (unknown.to_owned(), "its maps are elsewhere"),
        (probe(&["loaded -38"]), "CONFIG_BPF_SYSCALL"),
    ] {
        let grid = grid_with_probe(&of_probe);
        let (code, text) = grid.run(&["--prove", "all"]);
        assert_eq!(code, 0, "{text}");
        let proof = grid.record().artifacts.remove(1).proof.unwrap();
        assert_eq!(proof.result, ProofResult::NotProven);
        assert!(proof.message.contains(reason), "{proof:?}");
    }
}

#[test]
fn a_module_that_timed_out_in_a_shared_boot_gets_its_own() {
    // The module times out in its first boot, the probe after it is loaded.
    let grid = grid_with_probe("");
    let unfinished = loaded(0)
        .split_once("proof: 0 unloaded")
        .unwrap()
        .0
        .to_owned();
    let [mut slow, then] = [ended(&unfinished, 124), boot(&loaded(0))];
    slow["times"] = json!(1);
    grid.fake(&[slow, then]);
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    let boots = grid.jobs().into_iter().filter(|job| job == "prove");
    // Together, the module alone, the probe.
    assert_eq!(boots.count(), 3);
    assert!(text.contains("2 loaded, 0 refused"), "{text}");
}
