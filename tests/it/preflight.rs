//! Errors that are known before the first build are reported once, with their place, and nothing is started.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use support::workspace::Workspace;

const KERNELS: &str = r#"[[target]]
name = "amazonlinux"
kernels = [{ release = "4.14.10-1.amzn1.x86_64", headers = ["http://h.example.org/kernel-devel-4.14.10-1.amzn1.x86_64.rpm"] }]
"#;

fn matrix(head: &str, rest: &str) -> Workspace {
    Workspace::new().with("m.toml", &format!("{head}\n{KERNELS}{rest}"))
}

#[test]
fn missing_driver_sources_are_an_error_of_the_plan() {
    for (source, place, message) in [
        ("{ path = \"gone\" }", "m.toml:6:10", "gone does not exist"),
        (
            "{ git = \"gone\", ref = \"main\" }",
            "m.toml:6:10",
            "gone does not exist",
        ),
        (
            "{ git = \".\", ref = \"main\" }",
            "m.toml:6:10",
            "git repository",
        ),
        (
            "{ url = \"file:///gone/a.tar.gz\" }",
            "m.toml:6:10",
            "/gone/a.tar.gz does not exist",
        ),
    ] {
        let workspace = matrix(
            "drivers = [\"dev\"]",
            &format!("[driver.dev]\nsource = {source}\n"),
        );
        for command in [
            &["plan", "m.toml"][..],
            &["run", "m.toml", "--executor", "fake"],
        ] {
            let report = workspace.run(command);
            assert!(report.starts_with("exit 2\n"), "{report}");
            assert!(
                report.contains(place) && report.contains(message),
                "{report}"
            );
        }
        assert!(!workspace.path().join("out").exists());
    }
}

#[test]
fn an_unavailable_compiler_is_an_error_with_its_place() {
    for (head, rest, place) in [
        (
            "drivers = [\"8.1.0+driver\"]",
            "[defaults]\ngcc = \"99\"\n",
            "m.toml:6:7",
        ),
        (
            "drivers = [\"8.1.0+driver\"]",
            "gcc = \"99\"\n",
            "m.toml:5:7",
        ),
    ] {
        for command in [
            &["plan", "m.toml"][..],
            &["plan", "m.toml", "--format", "json"],
            &["plan", "m.toml", "--executor", "fake"],
            &["run", "m.toml", "--executor", "fake"],
        ] {
            let report = matrix(head, rest).run(command);
            assert!(report.starts_with("exit 2\n"), "{command:?}: {report}");
            assert!(
                report.contains(place) && report.contains("gcc 99"),
                "{command:?}: {report}"
            );
            assert_eq!(report.matches("error").count(), 1, "{command:?}: {report}");
        }
    }
}

#[test]
fn plan_accepts_any_compiler_of_a_builder_repository_or_image() {
    let workspace = matrix("drivers = [\"8.1.0+driver\"]", "gcc = \"99\"\n");
    // The compilers of the repository are not known yet, and a named image may have any compiler.
    for words in [
        ["--builderrepo", "registry.example.org/builders"],
        ["--builderimage", "registry.example.org/any:1"],
    ] {
        let report = workspace.run(&[&["plan", "m.toml"][..], &words].concat());
        assert!(report.starts_with("exit 0\n"), "{words:?}: {report}");
    }
}

#[test]
fn plan_warns_of_an_image_that_is_not_built() {
    let named = matrix("drivers = [\"8.1.0+driver\"]", "image = \"bookworm\"\n");
    let report = named.run(&["plan", "m.toml"]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    assert!(
        report.contains("warning: builder image bookworm is not built")
            && report.contains("m.toml:5:9"),
        "{report}"
    );
}

#[test]
fn missing_images_are_an_error_with_the_command_that_builds_them() {
    let workspace = matrix("drivers = [\"8.1.0+driver\"]", "");
    for executor in ["auto", "local"] {
        let report = workspace.run(&["--offline", "run", "m.toml", "--executor", executor]);
        assert!(report.starts_with("exit 3\n"), "{report}");
        assert!(
            report.contains("no builder image is built")
                && report.contains("driverkit-matrix images build"),
            "{report}"
        );
    }
    let named = matrix("drivers = [\"8.1.0+driver\"]", "image = \"bookworm\"\n");
    let report = named.run(&["--offline", "run", "m.toml"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
    assert!(
        report.contains("m.toml:5:9") && report.contains("driverkit-matrix images build bookworm"),
        "{report}"
    );
}

#[test]
fn compilers_of_this_machine_are_refused_in_a_container() {
    let workspace = matrix("drivers = [\"8.1.0+driver\"]", "");
    let report = workspace.run(&[
        "--offline",
        "run",
        "m.toml",
        "--executor",
        "docker",
        "--toolchain",
        "host",
    ]);
    assert!(report.starts_with("exit 2\n"), "{report}");
    assert!(report.contains("cannot be used in a container"), "{report}");
}

/// A user without access to root's files.
const OTHER_USER: u32 = 65534;

#[test]
fn a_socket_without_permission_is_an_error_with_advice() {
    let workspace = matrix("drivers = [\"8.1.0+driver\"]", "");
    let socket = workspace.path().join("docker.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let closed = |path: &Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    closed(&socket, 0o000);
    closed(workspace.path(), 0o777);
    let address = format!("unix://{}", socket.display());
    for executor in ["docker", "auto"] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"));
        if rustix::process::getuid().is_root() {
            program.uid(OTHER_USER).gid(OTHER_USER);
        }
        let output = program
            .args(["run", "m.toml", "--executor", executor, "--docker-host"])
            .args([&address, "--builderimage", "registry.example.org/any:1"])
            .current_dir(workspace.path())
            .env_clear()
            .env("HOME", workspace.path())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{executor}: {text}");
        let message =
            format!("error: no permission to open the socket of the Docker daemon at {address}\n");
        assert!(text.contains(&message), "{executor}: {text}");
        assert!(
            text.contains("use `--executor local`"),
            "{executor}: {text}"
        );
    }
}

#[test]
fn directories_that_cannot_be_written_are_refused_with_advice() {
    let workspace = matrix("drivers = [\"8.1.0+driver\"]", "")
        .with("file", "")
        .with("matrices/a.toml", "");
    std::os::unix::fs::symlink("nowhere", workspace.path().join("link")).unwrap();
    let matrix = format!("drivers = [\"8.1.0+driver\"]\n{KERNELS}");
    workspace.put("matrices/a.toml", &matrix);
    for (words, expected) in [
        (
            &["run", "m.toml", "--out", "file"][..],
            "file is a file, not a directory",
        ),
        (
            &["run", "m.toml", "--out", "file/out"],
            "a part of file/out is a file",
        ),
        (
            &["run", "m.toml", "--out", "link"],
            "link is a symbolic link to something that does not exist",
        ),
        (
            &["run", "matrices/a.toml", "--out", "matrices"],
            "contains a matrix, matrices/a.toml",
        ),
        (
            &["--cache", "file", "plan", "m.toml"],
            "file is a file, not a directory",
        ),
        (
            &["plan", "m.toml", "--format", "driverkit", "--out", "file"],
            "file is a file, not a directory",
        ),
        (
            &["manifest", "merge", "gone", "--out", "file"],
            "file is a file, not a directory",
        ),
        (
            &["compilers", "m.toml", "--out", "file"],
            "file is a file, not a directory",
        ),
    ] {
        let report = workspace.run(words);
        assert!(
            report.starts_with("exit 2\n") && report.contains(expected),
            "{words:?}: {report}"
        );
        assert!(report.contains("help: name a"), "{report}");
    }
}

#[test]
fn a_run_that_needs_more_disk_space_than_free_does_not_start() {
    let list = r#"{"AmazonLinux": [{"kernelversion": 1, "kernelrelease": "4.14.10-1.amzn1.x86_64", "target": "amazonlinux", "headers": ["http://h.example.org/a.rpm"]}]}"#;
    let kernels = "{ from = \"kernel-crawler\", path = { amd64 = \"list.json\" } }";
    let workspace = Workspace::new().with("list.json", list).with(
        "m.toml",
        &format!("drivers = [\"8.1.0+driver\"]\n[[target]]\nname = \"*\"\nkernels = {kernels}\n"),
    );
    assert!(workspace.run(&["lock", "m.toml"]).starts_with("exit 0\n"));
    let lock = workspace.get("m.lock");
    let size = "\"http://h.example.org/a.rpm\",\"size\":1000000000000000";
    workspace.put(
        "m.lock",
        &lock.replace("\"http://h.example.org/a.rpm\"", size),
    );
    let report = workspace.run(&[
        "--offline",
        "run",
        "m.toml",
        "--locked",
        "--executor",
        "fake",
    ]);
    assert!(report.starts_with("exit 3\n"), "{report}");
    assert!(
        report.contains("1 missing build will need about 7,450,580.5 GiB"),
        "{report}"
    );
}
