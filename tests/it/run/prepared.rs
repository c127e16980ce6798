//! Tests of kernels whose tree is prepared from a kernel source.

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::fs;
use serde_json::{Value, json};

use crate::run::NOTHING;
use support::grid::{Grid, module, rule, tarball};

const SOURCE_RELEASE: &str = "6.1.55-edge";

/// A grid with one vanilla kernel for two driver versions, which differ only in their content.
fn grid() -> Grid {
    let grid = Grid::new();
    grid.write_driver("other", "other");
    let source = [
        ("linux-6.1.55/Makefile", "VERSION = 6\n"),
        ("linux-6.1.55/Kbuild", "\n"),
    ];
    grid.write("linux-6.1.55.tar", tarball(&source));
    grid.write("config", "CONFIG_X86_64=y\nCONFIG_GCC_VERSION=110300\n");
    grid.write("module.ko", module(SOURCE_RELEASE));
    grid.write_matrix(
        r#"
drivers = ["one", "two"]
architectures = ["amd64"]
artifacts = ["module"]

[[target]]
name = "vanilla"
kernels = [{ release = "6.1.55-edge", config = "config", headers = ["linux-6.1.55.tar"] }]

[driver."one"]
source = { path = "driver" }
module_name = "scap"

[driver."two"]
source = { path = "other" }
module_name = "scap"

[defaults]
retries = 0
"#,
    );
    grid.fake(&[prepares(SOURCE_RELEASE)]);
    grid
}

/// A job that prepares a tree of kernel `release`.
fn prepares(release: &str) -> Value {
    prepares_for("*", SOURCE_RELEASE, release)
}

/// The same for the builds that match `builds`, in the directory of kernel `of`.
fn prepares_for(builds: &str, of: &str, release: &str) -> Value {
    let file = |name: &str| format!("tree/usr/src/linux-{of}/{name}");
    rule(
        &format!("prepare {builds}"),
        &json!({ "outputs": {
            file(".config"): "CONFIG_X86_64=y\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n",
            file("include/generated/utsrelease.h"): format!("#define UTS_RELEASE \"{release}\"\n"),
        }}),
    )
}

#[test]
fn a_source_is_prepared_once_for_all_drivers_and_cached() {
    let grid = grid();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["check", "module", "module", "prepare"]);
    let manifest = grid.manifest();
    for build in &manifest.builds {
        let tree = build.tree.unwrap();
        assert_eq!(
            serde_json::to_value(tree).unwrap(),
            json!({ "origin": "source", "symbols_checked": false, "host_programs": "rebuilt" })
        );
        // The compiler is the one of the kernel configuration.
        assert_eq!(build.toolchain.as_ref().unwrap().gcc_used, "11");
    }
    let csv = fs::read_to_string(&grid.path("out/manifest.csv")).unwrap();
    assert_eq!(csv.matches(",false,rebuilt,,,,,\r\n").count(), 2, "{csv}");

    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), NOTHING);

    // Another compiler gives another tree; the driver's sources do not affect the tree.
    grid.edit_matrix("retries = 0", "retries = 0\ngcc = \"12\"");
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.jobs(), ["check", "module", "module", "prepare"]);
    grid.write_driver("other", "changed");
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.jobs(), ["module"]);
    grid.write(
        "config",
        "CONFIG_X86_64=y\nCONFIG_GCC_VERSION=110300\nCONFIG_SMP=y\n",
    );
    assert_eq!(grid.run(&[]).0, 0);
    // The prepared tree is the same, so no other job runs.
    assert_eq!(grid.jobs(), ["prepare"]);
}

#[test]
fn a_removed_tree_is_prepared_again_when_a_job_needs_it() {
    let grid = grid();
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    fs::remove_folder(&grid.path("cache/trees")).unwrap();
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.jobs(), NOTHING);
    grid.write_driver("other", "changed");
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["module", "prepare"]);
}

#[test]
fn damaged_configuration_is_read_again() {
    let grid = grid();
    assert_eq!(grid.run(&[]).0, 0);
    let jobs = grid.jobs();
    let text = fs::read(&grid.path("config")).unwrap();
    let digest = Sha256::of(&text).to_string();
    let blob = format!("cache/blobs/{}/{digest}", &digest[..2]);
    let mut damaged = text.clone();
    damaged[0] ^= 1;
    grid.write(&blob, &damaged);
    for folder in ["cache/outcomes", "cache/trees"] {
        fs::remove_folder(&grid.path(folder)).unwrap();
    }
    let (code, text_of_run) = grid.run(&[]);
    assert_eq!(code, 0, "{text_of_run}");
    assert_eq!(grid.jobs(), jobs);
    assert_eq!(fs::read(&grid.path(&blob)).unwrap(), text);
}

#[test]
fn another_machine_uses_the_prepared_tree_in_the_store() {
    let grid = grid();
    fs::create_folder(&grid.path("store")).unwrap();
    let store = grid.path("store").display().to_string();
    let kept = r#"["artifacts", "headers", "prepared"]"#;
    let table = format!("[store]\nurl = \"file://{store}\"\ntrusted = true\nkeep = {kept}\n");
    let matrix = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    grid.write_matrix(&format!("{matrix}\n{table}"));
    let (code, text) = grid.run(&["--cache", "cache-a"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["check", "module", "module", "prepare"]);

    grid.write_driver("other", "changed");
    let (code, text) = grid.run(&["--cache", "cache-b"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["module"]);

    // A tree that was changed in the store is prepared again.
    let contents = walkdir::WalkDir::new(format!("{store}/contents"));
    for entry in contents.into_iter().flatten() {
        if entry.file_type().is_file() && fs::read(entry.path()).unwrap().starts_with(&ZSTD) {
            fs::write(entry.path(), "forged").unwrap();
        }
    }
    grid.write_driver("other", "once more");
    let (code, text) = grid.run(&["--cache", "cache-c"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("is rejected"), "{text}");
    assert_eq!(grid.jobs(), ["module", "prepare"]);
}

/// The first bytes of a compressed archive.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

fn failure(grid: &Grid) -> (String, String) {
    let (code, text) = grid.run(&["--driver", "one"]);
    assert_eq!(code, 1, "{text}");
    let (_, class, message) = grid.outcome();
    (class, message)
}

#[test]
fn missing_or_wrong_sources_are_reported() {
    let grid = grid();
    grid.edit_matrix("config = \"config\", ", "");
    let (code, text) = grid.run(&["--driver", "one"]);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("write `config = \"FILE\"` beside its release")
            && text.contains("matrix.toml:8:12"),
        "{text}"
    );
    assert_eq!(grid.jobs(), NOTHING);

    let grid = self::grid();
    grid.write("linux-6.1.55.tar", tarball(&[("a/b", "c"), ("a/d", "e")]));
    let (class, message) = failure(&grid);
    assert_eq!(class, "wrong-headers");
    assert!(
        message.contains("does not contain a kernel source"),
        "{message}"
    );
    assert_eq!(grid.jobs(), NOTHING);

    let grid = self::grid();
    grid.fake(&[prepares("6.1.56-edge")]);
    let (class, message) = failure(&grid);
    assert_eq!(class, "wrong-headers");
    assert!(
        message.contains("is of kernel 6.1.56-edge, not 6.1.55-edge"),
        "{message}"
    );

    let grid = self::grid();
    grid.fake(&[]);
    let (class, message) = failure(&grid);
    assert_eq!(class, "output-missing");
    assert!(message.contains("left no header tree"), "{message}");
}

#[test]
fn missing_parts_of_the_toolchain_are_named_if_preparing_fails() {
    for (log, lacks) in [
        (
            "/bin/sh: 1: flex: not found\nmake[2]: *** [scripts/Makefile.host:9: scripts/kconfig/lexer.lex.c] Error 127\n",
            "the program flex is missing",
        ),
        (
            "/source/tools/objtool/include/objtool/elf.h:10:10: fatal error: gelf.h: No such file or directory\n",
            "the library header gelf.h is missing",
        ),
        (
            "gcc-11: error: unrecognized command-line option '-fmin-function-alignment=16'\n",
            "the compiler does not support -fmin-function-alignment=16",
        ),
    ] {
        let grid = grid();
        grid.fake(&[rule("prepare *", &json!({ "log": log, "code": 2 }))]);
        let (class, message) = failure(&grid);
        assert_eq!(
            (class.as_str(), message.as_str()),
            ("toolchain-mismatch", lacks)
        );
        // The failure is cached: no job runs again.
        grid.jobs();
        assert_eq!(failure(&grid).0, "toolchain-mismatch");
        assert_eq!(grid.jobs(), NOTHING);
    }
}

#[test]
fn fail_fast_ignores_a_kernel_that_cannot_be_built_for_a_proof() {
    const OTHER: &str = "6.1.55-other";
    let grid = grid();
    grid.edit_matrix(
        "kernels = [",
        &format!(
            "kernels = [{{ release = \"{OTHER}\", config = \"config\", headers = [\"linux-6.1.55.tar\"] }}, "
        ),
    );
    grid.write("other.ko", module(OTHER));
    grid.fake(&[
        rule(
            &format!("module *{OTHER}*"),
            &json!({ "copies": { "module.ko": grid.path("other.ko") } }),
        ),
        prepares_for(&format!("*{OTHER}*"), OTHER, OTHER),
        prepares(SOURCE_RELEASE),
        rule("prove *", &json!({ "code": 2 })),
    ]);
    let (code, text) = grid.run(&["--prove", "all", "--fail-fast", "--jobs", "1"]);
    let jobs = grid.jobs();
    let proofs = grid.manifest().builds.into_iter().map(|mut build| {
        let proof = build.artifacts.remove(0).proof;
        proof.map(|proof| proof.message).unwrap_or_default()
    });
    for message in proofs {
        assert!(
            message.contains("the kernel cannot be built from its source"),
            "{message}\n{text}"
        );
    }
    assert_eq!(code, 0, "{text}");
    // Both kernels were booted.
    assert_eq!(
        jobs.iter().filter(|job| *job == "prove").count(),
        2,
        "{text}"
    );
}
