//! How driverkit's arguments and files are read (the order of words, file formats, keys), and what a dry run shows of
//! them.

use predicates::prelude::*;
use predicates::str::contains;

use support::grid::{Grid, module, tarball};

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
fn the_file_in_the_home_directory_may_be_yaml_json_or_toml() {
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
fn a_flat_output_key_overrides_a_nested_one() {
    let grid = Grid::new();
    grid.write("c.yaml", format!("{GOOD}output-module: other.ko\n"));
    program(&grid, &["docker", "-c", "c.yaml", "--dryrun"])
        .assert()
        .success()
        .stderr(
            contains("`output.module` has no effect together with `output-module`")
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
        "gccversion: v8 (from --gccversion)",
        "moduledevicename: acme (from DRIVERKIT_MODULEDEVICENAME)",
        "target: debian (from c.yaml:2:9)",
        "with gcc 8, builder image automatic",
        "... (65559 characters)",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");
    assert!(text.len() < 10_000, "{}", text.len());
}

#[test]
fn a_dry_run_shows_computed_urls_and_missing_installed_headers() {
    let grid = Grid::new();
    let kernel = [
        "--dryrun",
        "--target=ubuntu",
        "--kernelrelease=5.15.0-100-generic",
        "--kernelversion=110",
        "--output-module=falco.ko",
    ];
    let shown = |words: &[&str]| {
        let assert = program(&grid, &[words, &kernel].concat())
            .assert()
            .success();
        String::from_utf8(assert.get_output().stderr.clone()).unwrap()
    };
    let text = shown(&["docker", "--architecture=amd64"]);
    for expected in [
        "/main/l/linux/linux-headers-5.15.0-100-generic_5.15.0-100.110_amd64.deb, the first of ",
        "/main/l/linux/linux-headers-5.15.0-100_5.15.0-100.110_all.deb, the first of ",
        "with gcc the kernel's own, builder image automatic",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let text = shown(&["local"]);
    assert!(
        text.contains("with the installed headers, which are missing")
            && text.contains("with gcc the kernel's own of this machine"),
        "{text}"
    );
    let text = shown(&["local", "--download-headers"]);
    assert!(text.contains("_5.15.0-100.110_"), "{text}");
}

#[test]
fn loglevel_debug_shows_the_same_keys_as_a_dry_run() {
    let grid = Grid::new();
    grid.write("c.yaml", format!("{GOOD}kernelurls: [/nowhere/x.deb]\n"));
    let shown = |words: &[&str]| {
        let assert = program(&grid, words).assert();
        let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        text.lines()
            .filter(|line| {
                line.starts_with("with ") || line.contains(" (from ") || line.starts_with("conf")
            })
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let dry = shown(&["docker", "-c", "c.yaml", "--dryrun"]);
    assert!(dry.len() >= 9, "{dry:?}");
    assert_eq!(shown(&["docker", "-c", "c.yaml", "-l", "debug"]), dry);
}

/// No rule knows the release: the build tree in the named package is used.
#[test]
fn a_custom_kernel_is_built_from_named_packages() {
    for (target, urls) in [
        ("generic", "acme.tar"),
        ("rocky", "acme.tar"),
        ("generic", "tree"),
    ] {
        let grid = Grid::new();
        let files = [
            ("Makefile", "all:\n"),
            (
                ".config",
                "CONFIG_X86_64=y\nCONFIG_GCC_VERSION=120200\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n",
            ),
            (
                "include/generated/utsrelease.h",
                "#define UTS_RELEASE \"6.6.30-acme\"\n",
            ),
            ("scripts/x", "x\n"),
        ];
        let named = files.map(|(name, content)| (format!("opt/acme/linux/{name}"), content));
        let named: Vec<(&str, &str)> = named.iter().map(|(name, text)| (&**name, *text)).collect();
        grid.write("acme.tar", tarball(&named));
        for (name, content) in files {
            grid.write(&format!("tree/{name}"), content);
        }
        grid.write("module.ko", module("6.6.30-acme"));
        let url = grid.path(urls).display().to_string();
        let words = [
            "docker",
            "--target",
            target,
            "--kernelrelease=6.6.30-acme",
            "--architecture=amd64",
            "--driverversion=one",
            "--src-dir=driver",
            "--moduledrivername=scap",
            "--output-module=here/scap.ko",
            "--kernelurls",
            &url,
        ];
        let shown = program(&grid, &[&words[..], &["--dryrun"]].concat())
            .assert()
            .success();
        let shown = String::from_utf8_lossy(&shown.get_output().stderr).into_owned();
        assert!(
            shown.contains(&format!("with the header package {url}"))
                && !shown.contains("nothing can be built"),
            "{shown}"
        );
        program(&grid, &words)
            .env("DRIVERKIT_MATRIX_EXECUTOR", "fake")
            .assert()
            .success();
        assert!(grid.path("here/scap.ko").is_file(), "{target} {urls}");
    }
}

#[test]
fn the_first_of_several_yaml_documents_is_read_with_a_warning() {
    let grid = Grid::new();
    grid.write("c.yaml", format!("{GOOD}---\ntarget: ubuntu\n"));
    program(&grid, &["docker", "-c", "c.yaml", "--dryrun"])
        .assert()
        .success()
        .stderr(
            contains("warning: the file contains several YAML documents")
                .and(contains("c.yaml:6:1"))
                .and(contains("target: debian (from c.yaml:2:9)")),
        );
    grid.write(
        "tree/debian_6.1.0-50-amd64_1.yaml",
        format!("{GOOD}---\ntarget: ubuntu\n"),
    );
    program(&grid, &["validate", "tree"])
        .assert()
        .code(2)
        .stderr(contains("several YAML documents").and(contains("_1.yaml:6:1")));
}

#[test]
fn a_number_as_a_release_keeps_its_spelling() {
    let grid = Grid::new();
    for (name, text, release) in [
        ("c.yaml", "kernelrelease: 7\n", "7"),
        ("d.yaml", "kernelrelease: 6.10\n", "6.10"),
        ("c.json", "{\"kernelrelease\": 6.10}", "6.10"),
        ("c.toml", "kernelrelease = 6.10\n", "6.10"),
    ] {
        grid.write(name, text);
        let words = [
            "-t",
            "generic",
            "--kernelurls",
            "/x.deb",
            "--output-module",
            "x.ko",
        ];
        let words = [&["docker", "-c", name, "--dryrun"], &words[..]].concat();
        let build = format!("would build module master/x86_64/generic_{release}_1: ");
        program(&grid, &words)
            .assert()
            .success()
            .stderr(contains(build));
    }
}

#[test]
fn long_values_are_shortened_in_messages() {
    let grid = Grid::new();
    let long = "a".repeat(16_384);
    grid.write("good.yaml", GOOD);
    let refused = |words: &[&str]| {
        let assert = program(&grid, words).assert().code(2);
        let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        assert!(text.len() < 5000, "{words:.50?}: {} bytes", text.len());
        assert!(!text.contains(&long[..1000]), "{words:.50?}");
    };
    for key in [
        "architecture",
        "builderimage",
        "driverversion",
        "gccversion",
        "kernelconfigdata",
        "kernelrelease",
        "kernelurls",
        "kernelversion",
        "moduledrivername",
        "output-module",
        "repo-org",
        "target",
    ] {
        let value = format!("{long}!");
        refused(&["docker", "-c", "good.yaml", &format!("--{key}={value}")]);
        let others: Vec<&str> = GOOD.lines().filter(|line| !line.starts_with(key)).collect();
        let others = others.join("\n");
        grid.write("c.yaml", format!("{others}\n{key}: \"{value}\"\n"));
        refused(&["docker", "-c", "c.yaml"]);
        grid.write("c.toml", format!("{key} = \"{value}\"\n"));
        refused(&["docker", "-c", "c.toml"]);
    }
    grid.write(
        "c.json",
        format!("{{\"{long}\": 1, \"target\": {{\"{long}\": 1}}}}"),
    );
    refused(&["docker", "-c", "c.json"]);
    for flag in ["--proxy", "--timeout", "--loglevel"] {
        refused(&["docker", "-c", "good.yaml", flag, &long]);
    }
    refused(&[&long]);
    refused(&["plan", &long]);
}

#[test]
fn images_are_requested_through_the_proxy() {
    let grid = Grid::new();
    // Nothing listens on this port; the failure shows that the proxy was used.
    let words = [
        "images",
        "--proxy",
        "http://127.0.0.1:1",
        "--builderrepo",
        "example.org/a/b",
    ];
    program(&grid, &words)
        .assert()
        .code(3)
        .stderr(contains("example.org/a/b"));
    program(&grid, &["images", "--proxy", "ftp://a"])
        .assert()
        .code(2)
        .stderr(contains("is not the URL of a proxy"));
}

#[test]
fn as_user_extra_is_checked_and_needs_as() {
    let grid = Grid::new();
    grid.write(
        "c.yaml",
        format!("{GOOD}as: jane\nas-user-extra: [\"dn=cn=jane,ou=x y\"]\n"),
    );
    program(&grid, &["kubernetes", "-c", "c.yaml", "--dryrun"])
        .assert()
        .success()
        .stderr(contains(
            "as-user-extra: dn=cn=jane,ou=x y (from c.yaml:7:16)",
        ));
    for (words, message) in [
        (
            ["--as-user-extra", "scopes"],
            "invalid `scopes`: expected NAME=VALUE",
        ),
        (["--as-user-extra", "scopes=view"], "`as` is missing"),
    ] {
        grid.write("c.yaml", GOOD);
        let words = [&["kubernetes", "-c", "c.yaml"], &words[..]].concat();
        program(&grid, &words)
            .assert()
            .code(2)
            .stderr(contains(message));
    }
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
fn an_empty_list_of_images_exits_with_code_1() {
    let grid = Grid::new();
    program(&grid, &["images", "--gccversion", "99"])
        .assert()
        .code(1)
        .stdout(contains("| Image |"))
        .stderr(contains("no matching image"));
}

#[test]
fn shells_complete_targets_and_architectures() {
    let grid = Grid::new();
    let assert = program(&grid, &["completion", "bash"]).assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(text.contains("almalinux") && text.contains("flatcar"));
    assert!(text.contains("amd64 arm64"));
}
