//! Tests of packages and driver sources that are missing or wrong.

use std::fmt::Write as _;
use std::sync::Arc;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::fs;
use driverkit_matrix::report::read_log;

use crate::run::{BUILD, NOTHING};
use support::grid::{Grid, RELEASE, deb};
use support::server::Server;

#[test]
fn missing_packages_are_unresolvable_until_they_exist() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    grid.point_to(&server);
    let [arch, ..] = grid.headers("1");
    fs::remove_file(&arch).unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 1, "{text}");
    let (status, class, message) = grid.outcome();
    assert_eq!(
        (status.as_str(), class.as_str()),
        ("unresolvable", "headers-not-found")
    );
    assert!(
        message.contains("404") && message.contains(&server.address),
        "{message}"
    );
    assert_eq!(grid.jobs(), NOTHING);

    grid.write_headers("1", RELEASE);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn an_overloaded_server_is_an_error_and_retried_by_the_next_run() {
    let grid = Grid::new();
    let server = Server::refusing("503 Service Unavailable");
    grid.point_to(&server);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 1, "{text}");
    let (status, class, message) = grid.outcome();
    assert_eq!((status.as_str(), class.as_str()), ("error", "download"));
    assert!(message.contains("503"), "{message}");
    assert!(server.requests() > 3, "it was asked once only");

    grid.write_matrix(&grid.matrix(&["1"]));
    assert_eq!(grid.run(&[]).0, 0);
}

/// Writes a mirror into directory `mirror`, whose index lists the grid's packages with their present digests.
fn write_mirror(grid: &Grid) {
    let paths = grid.headers("1");
    let names = [
        "linux-headers-6.1.0-1-amd64",
        "linux-headers-6.1.0-1-common",
        "linux-kbuild-6.1",
    ];
    let depends = "linux-headers-6.1.0-1-common (= 6.1.1-1), linux-kbuild-6.1";
    let mut index = String::new();
    for (path, name) in paths.iter().zip(names) {
        let bytes = fs::read(path).unwrap();
        let file = path.file_name().unwrap().to_string_lossy();
        let architecture = if name.ends_with("common") {
            "all"
        } else {
            "amd64"
        };
        let depends = if name.ends_with("amd64") { depends } else { "" };
        write!(
            index,
            "Package: {name}\nSource: linux\nVersion: 6.1.1-1\nArchitecture: {architecture}\nDepends: {depends}\n\
             Filename: pool/{file}\nSize: {}\nSHA256: {}\n\n",
            bytes.len(),
            Sha256::of(&bytes)
        )
        .unwrap();
        grid.write(&format!("mirror/pool/{file}"), bytes);
    }
    let release = format!(
        "Suite: sid\nSHA256:\n {} {} main/binary-amd64/Packages\n {} 0 main/binary-arm64/Packages\n",
        Sha256::of(&index),
        index.len(),
        Sha256::of("")
    );
    grid.write("mirror/dists/sid/Release", release);
    grid.write("mirror/dists/sid/main/binary-amd64/Packages", index);
    grid.write("mirror/dists/sid/main/binary-arm64/Packages", "");
}

#[test]
fn a_package_that_does_not_match_the_index_is_refused() {
    let grid = Grid::new();
    write_mirror(&grid);
    let matrix = grid.matrix(&["1"]);
    let (head, _) = matrix.split_once("kernels = ").unwrap();
    grid.write_matrix(&format!(
        "{head}kernels = {{ from = \"mirror\", suites = [\"sid\"] }}\n"
    ));
    let server = Server::of(&grid.path("mirror"));
    let mirror = format!("debian={}", server.address);
    let [package, ..] = grid.headers("1");
    let file = grid.path("mirror/pool").join(package.file_name().unwrap());
    let good = fs::read(&file).unwrap();
    let mut changed = good.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&file, &changed).unwrap();
    let (code, text) = grid.run(&["--mirror", &mirror]);
    assert_eq!(code, 1, "{text}");
    assert_eq!(grid.outcome().1, "checksum", "{text}");

    fs::write(&file, &good).unwrap();
    let (code, text) = grid.run(&["--mirror", &mirror]);
    assert_eq!(code, 0, "{text}");
    let asked = server.requests();
    let (code, text) = grid.run(&["--mirror", &mirror]);
    assert_eq!((code, server.requests()), (0, asked), "{text}");
}

#[test]
fn wrong_packages_have_different_failure_classes() {
    let grid = Grid::new();
    let [arch, ..] = grid.headers("1");
    let not_matching = fs::read(&arch).unwrap();

    fs::write(&arch, "<!DOCTYPE html><html>not here</html>").unwrap();
    assert_eq!(grid.run(&[]).0, 1);
    assert_eq!(grid.outcome().1, "download");

    fs::write(&arch, b"!<arch>\nbroken").unwrap();
    assert_eq!(grid.run(&[]).0, 1);
    assert_eq!(grid.outcome().1, "unpack");
    assert_eq!(grid.run(&[]).0, 1);
    assert!(grid.record().artifacts[0].failure_is_cached);

    grid.write_headers("1", "6.1.0-2-amd64");
    for is_cached in [false, true] {
        assert_eq!(grid.run(&[]).0, 1);
        assert_eq!(grid.outcome().1, "wrong-headers");
        assert!(grid.outcome().2.contains("6.1.0-2-amd64"));
        assert_eq!(grid.record().artifacts[0].failure_is_cached, is_cached);
    }

    // Headers of the same version but another flavour.
    grid.write_headers("1", "6.1.0-1-rt-amd64");
    assert_eq!(grid.run(&[]).0, 1);
    assert_eq!(grid.outcome().1, "wrong-headers");
    assert!(grid.outcome().2.contains("6.1.0-1-rt-amd64"));

    let [_, common, _] = grid.headers("1");
    fs::write(&arch, fs::read(&common).unwrap()).unwrap();
    assert_eq!(grid.run(&[]).0, 1);
    assert_eq!(grid.outcome().1, "wrong-headers");
    assert_eq!(grid.jobs(), NOTHING);

    fs::write(&arch, not_matching).unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
}

#[test]
fn sources_without_a_driver_are_refused() {
    let grid = Grid::new();
    fs::remove_file(&grid.path("driver/Makefile")).unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(
        (code, grid.outcome().1.as_str()),
        (1, "configure"),
        "{text}"
    );
    assert!(
        grid.outcome().2.contains("contains no driver"),
        "{:?}",
        grid.outcome()
    );
    grid.write_driver("driver", "main");
    assert_eq!(grid.run(&[]).0, 0);

    grid.edit_matrix("module_name = \"scap\"", "module_name = \"falco\"");
    let (code, text) = grid.run(&[]);
    assert_eq!(
        (code, grid.outcome().1.as_str()),
        (1, "configure"),
        "{text}"
    );
    assert!(text.contains("set `module_name`"), "{text}");
}

#[test]
fn the_module_is_built_if_the_sources_have_no_probe() {
    let grid = Grid::new();
    std::fs::remove_dir_all(grid.path("driver/bpf")).unwrap();
    grid.edit_matrix("[\"module\"]", "[\"module\", \"probe\"]");
    let (code, text) = grid.run(&["--only", BUILD]);
    assert_eq!(code, 1, "{text}");
    let artifacts = grid.record().artifacts;
    let statuses: Vec<String> = artifacts
        .iter()
        .map(|artifact| artifact.status.to_string())
        .collect();
    assert_eq!(statuses, ["built", "failed"]);
}

/// Lets the grid read its kernel from a list, with a kernel configuration besides the packages.
pub(crate) fn by_list(grid: &Grid) {
    let headers = grid.headers("1").map(|path| path.display().to_string());
    let list = serde_json::json!({ "debian": [{
        "kernelrelease": "6.1.1-1-amd64", "kernelversion": "1", "target": "debian",
        "headers": headers, "kernelconfigdata": "Q09ORklHX1g9eQo=",
    }] });
    grid.write("list.json", list.to_string());
    let matrix = grid.matrix(&["1"]);
    let (start, _) = matrix.split_once("kernels = ").unwrap();
    let source = "kernels = { from = \"kernel-crawler\", path = { amd64 = \"list.json\" } }\n";
    grid.write_matrix(&format!("{start}{source}"));
}

#[test]
fn noted_digests_are_replaced_by_other_content_of_the_same_url() {
    let grid = Grid::new();
    by_list(&grid);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    let [arch, ..] = grid.headers("1");
    let lock = std::fs::read_to_string(grid.path("matrix.lock")).unwrap();
    let content = std::fs::read(&arch).unwrap();
    let noted = format!(
        "\"size\":{},\"sha256\":\"{}\"",
        content.len(),
        Sha256::of(&content)
    );
    assert!(lock.contains(&noted), "{lock}");
    assert_eq!(lock.matches("\"sha256\"").count(), 3, "{lock}");

    // A refresh keeps the noted digests, even if packages moved.
    assert!(
        grid.program(&["lock", "--check", "matrix.toml"])
            .output()
            .unwrap()
            .status
            .success()
    );

    // The digests were only noted, not published: other content for the same kernel is accepted with a notice.
    std::fs::remove_dir_all(grid.path("cache")).unwrap();
    std::fs::remove_dir_all(grid.path("out")).unwrap();
    let mut other = content.clone();
    other.extend(b"other/          0           0     0     100644  0         `\n");
    fs::write(&arch, &other).unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("replaces the unpublished digest"), "{text}");
    let lock = std::fs::read_to_string(grid.path("matrix.lock")).unwrap();
    assert!(lock.contains(&Sha256::of(&other).to_string()), "{lock}");
}

#[test]
fn kernel_configurations_of_the_lock_are_stored_before_the_first_build() {
    let grid = Grid::new();
    by_list(&grid);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    let digest = Sha256::of("CONFIG_X=y\n").to_string();
    let blob = grid.path("cache/blobs").join(&digest[..2]).join(&digest);
    assert_eq!(std::fs::read_to_string(&blob).unwrap(), "CONFIG_X=y\n");

    fs::remove_file(&blob).unwrap();
    let config = grid.path("matrix.configs").join(format!("{digest}.zst"));
    fs::write(&config, zstd::encode_all(&b"CONFIG_Y=y\n"[..], 1).unwrap()).unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("has SHA-256") && text.contains(&digest),
        "{text}"
    );
    fs::remove_file(&config).unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("does not exist; create it again with"),
        "{text}"
    );
}

#[test]
fn failed_guesses_are_counted_in_the_message_and_listed_in_the_log() {
    let grid = Grid::new();
    let server = Server::of(&grid.path("nothing"));
    let matrix = grid.matrix(&["1"]);
    let (head, _) = matrix.split_once("[[target]]").unwrap();
    let address = &server.address;
    grid.write_matrix(&format!(
        "{head}[[target]]\nname = \"ubuntu\"\n\
         kernels = [{{ release = \"5.19.0-15-generic\", version = \"15\", architecture = \"amd64\" }}]\n\
         [mirrors]\noffline = true\n\"http://archive.ubuntu.com\" = [\"{address}\"]\n"
    ));
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 1, "{text}");
    let message = grid.outcome().2;
    let words: Vec<&str> = message.split_whitespace().collect();
    let count: usize = words[2].parse().unwrap();
    assert!(count > 4, "{message}");
    for answer in ["each was not requested: only mirrors", "each answered 404"] {
        assert_eq!(message.matches(answer).count(), 1, "{message}");
    }
    let log = grid.record().artifacts[0].log.clone().expect("a log");
    let log = read_log(&grid.path("out").join(log)).unwrap();
    assert_eq!(log.lines().count(), count + 1, "{log}");
}

#[test]
fn ubuntu_urls_are_guessed_in_few_requests_from_the_own_series_first() {
    for (target, release, version, pool) in [
        (
            "ubuntu-generic",
            "5.15.0-91-generic",
            "101~20.04.1",
            "/linux-hwe-5.15/",
        ),
        ("ubuntu-generic", "5.19.0-15-generic", "15", "/linux/"),
        (
            "ubuntu-azure",
            "5.15.0-1021-azure",
            "26~20.04.1",
            "/linux-azure-5.15/",
        ),
        ("ubuntu-aws", "5.0.0-1021-aws", "24", "/linux-aws"),
        ("ubuntu-gkeop", "5.4.0-1008-gkeop", "9", "/linux-gkeop/"),
    ] {
        let grid = Grid::new();
        let lines = Arc::default();
        let server = Server::remembering(Arc::clone(&lines));
        let matrix = grid.matrix(&[]);
        let (head, _) = matrix.split_once("[[target]]").unwrap();
        let hosts = [
            "https://mirrors.edge.kernel.org",
            "http://security.ubuntu.com",
            "http://archive.ubuntu.com",
        ];
        let mirrors = hosts.map(|host| format!("\"{host}\" = [\"{}\"]\n", server.address));
        grid.write_matrix(&format!(
            "{head}[[target]]\nname = \"{target}\"\n\
             kernels = [{{ release = \"{release}\", version = \"{version}\", architecture = \"amd64\" }}]\n\
             [mirrors]\noffline = true\n{}",
            mirrors.concat()
        ));
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 1, "{text}");
        let asked: Vec<String> = lines.lock().unwrap().clone();
        assert!((3..=20).contains(&asked.len()), "{release}: {asked:#?}");
        assert!(
            asked.iter().all(|line| line.starts_with("HEAD ")),
            "{asked:#?}"
        );
        let log = grid.record().artifacts[0].log.clone().expect("a log");
        let log = read_log(&grid.path("out").join(log)).unwrap();
        let first = log.lines().find(|line| line.contains(".deb"));
        assert!(first.is_some_and(|line| line.contains(pool)), "{log}");
    }
}

#[test]
fn reordered_headers_cause_no_new_build() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    let [a, b, c] = grid.headers("1").map(|path| path.display().to_string());
    for order in [[&b, &a, &c], [&c, &b, &a], [&b, &c, &a]] {
        let matrix = grid.matrix(&["1"]);
        let (before, _) = matrix.split_once("headers = ").unwrap();
        grid.write_matrix(&format!("{before}headers = {order:?} }}]\n"));
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{text}");
        assert!(!grid.path("journal").exists(), "{order:?}: {text}");
    }
}

/// If two packages contain the same directory, the one with the kernel's tree is used, in any order.
#[test]
fn if_packages_share_a_directory_the_one_with_the_tree_is_used() {
    let grid = Grid::new();
    let folder = format!("usr/src/linux-headers-{RELEASE}");
    let config =
        "CONFIG_X86_64=y\nCONFIG_GCC_VERSION=120200\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n";
    let uts = format!("#define UTS_RELEASE \"{RELEASE}\"\n");
    let tree = deb(&[
        (&format!("{folder}/.config"), config),
        (&format!("{folder}/include/generated/utsrelease.h"), &uts),
        (&format!("{folder}/Makefile"), "all:\n"),
    ]);
    let other = deb(&[(&format!("{folder}/README"), "x\n")]);
    for (first, second) in [(&tree, &other), (&other, &tree)] {
        grid.write("debs/a.deb", first);
        grid.write("debs/b.deb", second);
        let headers = ["a", "b"].map(|name| grid.path(&format!("debs/{name}.deb")));
        let kernel = format!("{{ release = \"{RELEASE}\", headers = {headers:?} }}");
        let matrix = grid.matrix(&[]);
        grid.write_matrix(&matrix.replace("kernels = []", &format!("kernels = [{kernel}]")));
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{text}");
    }
}
