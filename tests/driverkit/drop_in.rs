//! What driverkit takes, and how: the order of words, files, keys, and what is shown of them.

use predicates::prelude::*;
use predicates::str::contains;

use crate::grid::Grid;

const GOOD: &str = "kernelrelease: 6.1.0-50-amd64\ntarget: debian\narchitecture: amd64\noutput:\n  module: falco.ko\n";

fn program(grid: &Grid, words: &[&str]) -> assert_cmd::Command {
    let mut command = grid.program(words);
    command.env("HOME", grid.path("home"));
    command
}

#[test]
fn flags_may_stand_before_the_command() {
    let grid = Grid::new();
    grid.write("c.yaml", GOOD);
    for words in [
        ["-c", "c.yaml", "--dryrun", "docker"],
        ["--config=c.yaml", "docker", "--loglevel=info", "--dryrun"],
    ] {
        program(&grid, &words).assert().success().stderr(contains(
            "would build module master/x86_64/debian_6.1.0-50-amd64_1",
        ));
    }
    program(&grid, &["-v"])
        .assert()
        .success()
        .stdout(contains("driverkit-matrix "));
}

#[test]
fn the_file_in_the_home_folder_may_be_yaml_json_or_toml() {
    for (name, text) in [
        ("yaml", GOOD),
        ("yml", GOOD),
        (
            "json",
            r#"{"kernelrelease": "6.1.0-50-amd64", "target": "debian", "output": {"module": "falco.ko"}}"#,
        ),
        (
            "toml",
            "kernelrelease = \"6.1.0-50-amd64\"\ntarget = \"debian\"\nkernelversion = 7\n[output]\nmodule = \"falco.ko\"\n",
        ),
    ] {
        let grid = Grid::new();
        grid.write(&format!("home/.driverkit.{name}"), text);
        program(&grid, &["docker", "--dryrun"])
            .assert()
            .success()
            .stderr(contains("debian_6.1.0-50-amd64_").and(contains(format!(".driverkit.{name}"))));
    }
    let grid = Grid::new();
    grid.write("c.toml", "target = \"debian\"\nkernelurl = 1\n");
    program(&grid, &["docker", "-c", "c.toml"])
        .assert()
        .code(2)
        .stderr(contains("unknown key `kernelurl`").and(contains("c.toml:2:1")));
}

#[test]
fn a_flat_output_counts_before_a_nested_one() {
    let grid = Grid::new();
    grid.write("c.yaml", format!("{GOOD}output-module: other.ko\n"));
    program(&grid, &["docker", "-c", "c.yaml", "--dryrun"])
        .assert()
        .success()
        .stderr(
            contains("`output.module` has no effect beside `output-module`")
                .and(contains("other.ko")),
        );
}

#[test]
fn a_dry_run_shows_each_key_with_its_origin() {
    let grid = Grid::new();
    let url = format!("http://example.org/{}.deb", "a".repeat(65_536));
    grid.write("c.yaml", format!("{GOOD}kernelurls: [\"{url}\"]\n"));
    let assert = program(
        &grid,
        &["docker", "-c", "c.yaml", "--dryrun", "--gccversion", "v8"],
    )
    .env("DRIVERKIT_MODULEDEVICENAME", "acme")
    .env("DRIVERKIT_REGISTRY_PASSWORD", "hunter2")
    .env("DRIVERKIT_REGISTRY_USER", "me")
    .env("DRIVERKIT_REGISTRY_NAME", "example.org")
    .assert()
    .success();
    let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
    for expected in [
        "configuration file: c.yaml",
        "gccversion: v8 (by --gccversion)",
        "moduledevicename: acme (by DRIVERKIT_MODULEDEVICENAME)",
        "target: debian (by c.yaml:2:9)",
        "with gcc 8, builder image automatic",
        "... (65559 characters)",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.len() < 10_000, "{}", text.len());
}

#[test]
fn a_path_that_cannot_be_written_is_refused_before_the_build() {
    let grid = Grid::new();
    grid.write("c.yaml", GOOD);
    for path in [
        format!("{}.ko", "a".repeat(300)),
        format!("{}a.ko", "a/".repeat(3000)),
    ] {
        program(&grid, &["docker", "-c", "c.yaml", "--output-module", &path])
            .assert()
            .code(2)
            .stderr(contains("is too long"));
    }
}

#[test]
fn a_list_of_images_without_any_is_exit_code_1() {
    let grid = Grid::new();
    program(&grid, &["images", "--gccversion", "99"])
        .assert()
        .code(1)
        .stdout(contains("| Image |"))
        .stderr(contains("no image fits"));
}

#[test]
fn shells_complete_targets_and_architectures() {
    let grid = Grid::new();
    let assert = program(&grid, &["completion", "bash"]).assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(text.contains("almalinux") && text.contains("flatcar"));
    assert!(text.contains("amd64 arm64"));
}
