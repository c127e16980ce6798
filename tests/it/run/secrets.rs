//! Secrets in the user's URLs are never written: not to the output directory, the cache, a log or the terminal.

use std::path::Path;

use driverkit_matrix::report::read_log;

use crate::run::MODULE;
use serde_json::json;
use support::grid::{Grid, rule};
use support::published::{MODULES, write_out};
use support::server::Server;

const SECRET: &str = "s3cret";

/// Returns every file below `folder` that contains the secret, also in compressed logs. The matrix and its lock, which
/// the user wrote, are not searched.
fn files_with_the_secret(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.unwrap();
        if !entry.file_type().is_file() {
            continue;
        }
        let name = entry.path().to_string_lossy().into_owned();
        let bytes = std::fs::read(entry.path()).unwrap();
        let text = read_log(entry.path()).unwrap_or_default();
        let has = |text: &[u8]| {
            text.windows(SECRET.len())
                .any(|part| part == SECRET.as_bytes())
        };
        if name.contains(SECRET) || has(&bytes) || has(text.as_bytes()) {
            found.push(name);
        }
    }
    found
}

/// Writes a matrix whose packages are on `server`, with credentials and signatures in their URLs.
fn with_secrets(grid: &Grid, server: &Server) {
    let host = server.address.strip_prefix("http://").unwrap();
    for path in grid.headers("1") {
        let name = path
            .strip_prefix(grid.path(""))
            .unwrap()
            .display()
            .to_string();
        let url = format!("http://user:{SECRET}@{host}/{name}?X-Amz-Signature={SECRET}#{SECRET}");
        grid.edit_matrix(&path.display().to_string(), &url);
    }
}

#[test]
fn no_run_writes_a_secret() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    with_secrets(&grid, &server);
    let mirror = format!("debian=http://user:{SECRET}}}\"{SECRET}@127.0.0.1:9/debian?t={SECRET}");
    let extra = [
        "--mirror",
        &mirror,
        "--log",
        "trace",
        "--log-file",
        "out/trace.log",
        "--registry-name",
        "registry.example",
        "--registry-user",
        "user",
        "--registry-password",
        SECRET,
    ];
    std::fs::create_dir(grid.path("out")).unwrap();
    let run = |grid: &Grid, code: i32| {
        let (found, text) = grid.run(&extra);
        assert_eq!(found, code, "{text}");
        assert!(!text.contains(SECRET), "{text}");
        for folder in ["out", "cache"] {
            let found = files_with_the_secret(&grid.path(folder));
            assert!(found.is_empty(), "{found:#?}");
        }
    };
    grid.fake(&[rule(
        "module *",
        &json!({ "code": 2, "log": "main.c:1:1: error: no\n" }),
    )]);
    run(&grid, 1);
    let url = &*grid.record().inputs[0].url;
    assert!(url.ends_with("_amd64.deb?..."), "{url}");

    grid.fake(&[]);
    grid.write_driver("driver", "other");
    run(&grid, 0);
    assert!(grid.path(MODULE).exists());

    let gone = Grid::new();
    let empty = Server::refusing("404 Not Found");
    with_secrets(&gone, &empty);
    std::fs::create_dir(gone.path("out")).unwrap();
    run(&gone, 1);
}

#[test]
fn urls_with_different_queries_are_different_files() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    with_secrets(&grid, &server);
    assert_eq!(grid.run(&[]).0, 0);
    let before = server.requests();
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(server.requests(), before, "the download is cached");
    grid.edit_matrix("X-Amz-Signature", "X-Amz-Other");
    assert_eq!(grid.run(&[]).0, 0);
    assert!(server.requests() > before, "another query is another URL");
}

/// Passwords with characters that end a URL, a word in quotes, or the host of a URL.
const PASSWORDS: [&str; 4] = ["x}s3cret", "x\"s3cret", "s3cret/x", "s3cret#x"];

/// Runs a command, checks that it prints no secret, and returns its exit code.
fn exit_code(grid: &Grid, words: &[&str], variables: &[(&str, &str)]) -> Option<i32> {
    let mut program = grid.program(words);
    let output = program
        .env("HOME", grid.path("home"))
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!text.contains(SECRET), "{words:?} {variables:?}: {text}");
    output.status.code()
}

/// Runs a command that fails because of its input, and checks what it prints.
fn refused(grid: &Grid, words: &[&str], variables: &[(&str, &str)]) {
    let code = exit_code(grid, words, variables);
    assert_eq!(code, Some(2), "{words:?} {variables:?}");
}

const DRIVERKIT: [&str; 7] = [
    "--target",
    "debian",
    "--kernelrelease",
    "9.9.9-1-amd64",
    "--output-module",
    "here.ko",
    "--loglevel=debug",
];

fn driverkit<'a>(command: &'a str, words: &[&'a str]) -> Vec<&'a str> {
    [&[command], &DRIVERKIT[..], words].concat()
}

/// Passes this password to each flag and variable that takes a URL or the name of an image, and checks that the command
/// fails and does not print it.
fn refuse_password(grid: &Grid, password: &str) {
    let run = |flag: &str, value: String| {
        let words = ["run", "matrix.toml", "--executor", "fake"];
        refused(grid, &[&words[..], &[flag, &value]].concat(), &[]);
    };
    let rest = format!("user:{password}@host/a?token={SECRET}");
    run("--docker-host", format!("ftp://{rest}"));
    run("--docker-host", format!("user:{password}@host"));
    run("--mirror", format!("ftp://{rest}"));
    run("--mirror", format!("none=http://user:{password}@host/a"));
    run("--builderrepo", format!("user:{password}@reg/x"));
    run("--builderimage", format!("user:{password}@reg/x"));
    for command in ["docker", "local"] {
        for (key, value) in [
            ("proxy", format!("user:{password}@h:1")),
            ("proxy", format!("ftp://user:{password}@h:1")),
            ("kernelurls", format!("ftp://{rest}")),
        ] {
            let flag = format!("--{key}");
            refused(grid, &driverkit(command, &[&flag, &value]), &[]);
        }
        let url = format!("ftp://{rest}");
        refused(
            grid,
            &driverkit(command, &[]),
            &[("DRIVERKIT_KERNELURLS", &url)],
        );
    }
    for value in [format!("user:{password}@reg/x"), format!("http://{rest}")] {
        for key in ["builderrepo", "builderimage"] {
            let flag = format!("--{key}");
            refused(grid, &driverkit("docker", &[&flag, &value]), &[]);
            let variable = format!("DRIVERKIT_{}", key.to_uppercase());
            refused(grid, &driverkit("docker", &[]), &[(&variable, &value)]);
        }
    }
    let host = format!("user:{password}@h");
    let variables = [("DOCKER_HOST", &*host)];
    let code = exit_code(grid, &driverkit("docker", &[]), &variables);
    assert_ne!(code, Some(0));
}

#[test]
fn no_secret_of_an_invalid_flag_is_printed() {
    let grid = Grid::new();
    // The program repeats a failed connection for some seconds.
    std::thread::scope(|scope| {
        for password in PASSWORDS {
            scope.spawn(|| refuse_password(&grid, password));
        }
    });
    for words in [["--env", SECRET], ["--env", "s3cret=="]] {
        refused(&grid, &driverkit("local", &words), &[]);
    }
    refused(
        &grid,
        &driverkit("local", &[]),
        &[("DRIVERKIT_ENV", SECRET)],
    );
}

#[test]
fn a_public_url_has_no_secret() {
    let grid = Grid::new();
    std::fs::create_dir(grid.path("pub")).unwrap();
    write_out(&grid.path("out"), "run-1", 0, &MODULES);
    let to = format!("file://{}", grid.path("pub").display());
    for url in [
        "https://u:s3cret@h/d",
        "https://u:s3cret}x@h/d",
        "https://s3cret@h/d",
        "u:s3cret@h/d",
        "https://h/d?token=s3cret",
        "https://h/d#s3cret",
    ] {
        for command in [
            vec!["publish", &to],
            vec!["run", "matrix.toml", "--executor", "fake", "--publish", &to],
            vec!["prune", &to, "--newest-drivers", "1"],
        ] {
            refused(&grid, &[command, vec!["--public-url", url]].concat(), &[]);
        }
    }
    let found = files_with_the_secret(&grid.path("pub"));
    assert!(found.is_empty(), "{found:#?}");
    let published = grid
        .program(&["publish", &to, "--public-url", "https://h/d/"])
        .output()
        .unwrap();
    assert!(published.status.success());
}

#[test]
fn a_destination_with_a_secret_is_refused_without_it() {
    let grid = Grid::new();
    write_out(&grid.path("out"), "run-1", 0, &MODULES);
    for password in PASSWORDS {
        for scheme in ["https", "s3", "gs"] {
            let to = format!("{scheme}://u:{password}@h/d?x={SECRET}");
            refused(&grid, &["publish", &to], &[]);
        }
    }
}

#[test]
fn no_secret_of_a_configuration_file_is_printed() {
    let grid = Grid::new();
    for (name, text) in [
        (
            "z.yaml",
            "registry-password: s3cret\nregistry-password: s3cret\n",
        ),
        ("z.yaml", "registry-password: [s3cret]\n"),
        ("z.yaml", "registry-password:\n  - s3cret\n"),
        ("z.yaml", "registry-pasword: s3cret\n"),
        ("z.yaml", "registry-password s3cret\n"),
        ("z.yaml", "target: debian\nregistry-password s3cret\n"),
        ("z.yaml", "token: [s3cret]\n"),
        ("z.yaml", "env: [\"A=s3cret\", {b: 1}]\n"),
        ("z.yaml", "env:\n- A=s3cret\n- {b: s3cret}\n"),
        ("z.yaml", "kernelurls: [\"ftp://u:s3cret}x@h/a\"]\n"),
        ("z.yaml", "output-module: u:s3cret/x@h\n"),
        ("z.json", "{\"token\": \"s3cret\", \"token\": \"s3cret\"}"),
        ("z.toml", "registry-password = [\"s3cret\"]\n"),
        ("z.toml", "[env]\nA = \"s3cret\"\nA = \"s3cret\"\n"),
    ] {
        grid.write(name, text);
        for command in ["docker", "local"] {
            refused(
                &grid,
                &[
                    command,
                    "--target",
                    "debian",
                    "--kernelrelease",
                    "9.9.9-1-amd64",
                    "-c",
                    name,
                ],
                &[],
            );
        }
        if name == "z.yaml" {
            refused(&grid, &["validate", name], &[]);
        }
    }
}

#[test]
fn no_secret_of_a_matrix_or_list_is_printed() {
    for password in ["x}s3cret", "s3cret/x", "s3cret#x"] {
        let grid = Grid::new();
        let matrix = |text: &str| {
            grid.write("m.toml", text);
            refused(&grid, &["validate", "m.toml"], &[]);
        };
        let kernel = "[[kernel]]\ntarget = \"debian\"\nkernelrelease = \"9.9.9-1-amd64\"";
        let drivers = "drivers = [\"8.1.0+driver\"]";
        for url in [
            format!("ftp://user:{password}@h:x/a"),
            format!("u:{password}@h:x.git"),
        ] {
            matrix(&format!(
                "{drivers}\n{kernel}\nheaders = [\"{url}\"]\nnone = 1\n"
            ));
            matrix(&format!(
                "{drivers}\n[mirrors]\ndebian = \"{url}\"\n{kernel}\n"
            ));
            matrix(&format!(
                "drivers = [{{ version = \"8.1.0+driver\", git = \"{url}\" }}]\n{kernel}\n"
            ));
            let list = serde_json::json!({ "Debian": [{
                "kernelrelease": url, "target": "debian", "headers": [url], "kernelversion": url,
            }]});
            grid.write("list.json", list.to_string());
            let from = "kernels = { from = \"kernel-crawler\", path = { amd64 = \"list.json\" } }";
            grid.write(
                "m.toml",
                format!("{drivers}\n[[target]]\nname = \"*\"\n{from}\n"),
            );
            exit_code(&grid, &["plan", "m.toml"], &[]);
        }
    }
}
