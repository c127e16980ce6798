//! Hostile archives, header trees and caches: links, damage, modes, names.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Output;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use serde_json::json;

use super::sandboxed::{EXECUTORS, HONEST, Sandboxed};
use crate::unpack::rpm::{cpio, entry, rpm};
use support::grid::{Grid, RELEASE, deb_of, rule};
use support::memory_group::MemoryGroup;

/// The path of the module of the default grid.
const MODULE: &str = "out/one/x86_64/scap_debian_6.1.1-1-amd64_1.ko";

/// The directory of the default grid's header tree.
const HEADERS: &str = "usr/src/linux-headers-6.1.0-1-amd64";

/// Runs the program through a shell that first sets limits; returns the exit code and the output.
fn run_after(grid: &Grid, limits: &str) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_driverkit-matrix");
    let script = format!("{limits} && exec \"$0\" run matrix.toml --executor fake --jobs 2");
    let Output { status, stderr, .. } = std::process::Command::new("sh")
        .args(["-c", &script, program])
        .current_dir(grid.path(""))
        .env("DRIVERKIT_MATRIX_CACHE", grid.path("cache"))
        .env("DRIVERKIT_MATRIX_FAKE", grid.path("fake.json"))
        .output()
        .unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Runs the program with 256 MiB of memory and a minute of processor time.
fn run_bounded(grid: &Grid) -> (Option<i32>, String) {
    let group = MemoryGroup::new(256);
    run_after(grid, &format!("{} && ulimit -t 60", group.entrance()))
}

/// An entry of an archive: its name, and its content or link target.
enum Entry<'a> {
    File(&'a [u8], &'a [u8]),
    Program(&'a [u8], &'a [u8]),
    Link(&'a [u8], &'a [u8]),
    Folder(&'a [u8]),
}

fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        let (kind, name, content, mode) = match entry {
            Entry::File(name, content) => (tar::EntryType::Regular, name, *content, 0o644),
            Entry::Program(name, content) => (tar::EntryType::Regular, name, *content, 0o755),
            Entry::Link(name, _) => (tar::EntryType::Symlink, name, &b""[..], 0o777),
            Entry::Folder(name) => (tar::EntryType::Directory, name, &b""[..], 0o755),
        };
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        if let Entry::Link(_, target) = entry {
            header.set_link_name(OsStr::from_bytes(target)).unwrap();
        }
        let name = Path::new(OsStr::from_bytes(name));
        builder.append_data(&mut header, name, content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Writes the package with the header tree; `entries` replace its entries of the same names.
fn write_headers(grid: &Grid, entries: &[Entry<'_>]) {
    let uts = format!("#define UTS_RELEASE \"{RELEASE}\"\n");
    let config =
        b"CONFIG_X86_64=y\nCONFIG_GCC_VERSION=120200\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n";
    let usual: [(&str, &[u8]); 3] = [
        (".config", config),
        ("include/generated/utsrelease.h", uts.as_bytes()),
        ("Makefile", b"all:\n"),
    ];
    let usual = usual.map(|(name, content)| (format!("{HEADERS}/{name}"), content));
    let name_of = |entry: &Entry<'_>| match entry {
        Entry::File(name, _)
        | Entry::Program(name, _)
        | Entry::Link(name, _)
        | Entry::Folder(name) => name.to_vec(),
    };
    let names: Vec<Vec<u8>> = entries.iter().map(name_of).collect();
    let mut data = Vec::new();
    for (name, content) in &usual {
        if !names.iter().any(|own| own == name.as_bytes()) {
            data.push(Entry::File(name.as_bytes(), content));
        }
    }
    data.extend(entries.iter().map(|entry| match *entry {
        Entry::File(name, content) => Entry::File(name, content),
        Entry::Program(name, content) => Entry::Program(name, content),
        Entry::Link(name, target) => Entry::Link(name, target),
        Entry::Folder(name) => Entry::Folder(name),
    }));
    let [package, ..] = grid.headers("1");
    fs::write(&package, deb_of(&archive(&data))).unwrap();
}

/// Asserts that a run ends with this class and exit code 1, and that the failure is cached.
fn assert_fault_of_tree(grid: &Grid, class: &str, part: &str) {
    for _ in 0..2 {
        let (code, text) = run_bounded(grid);
        assert_eq!(code, Some(1), "{text}");
        let (_, found, message) = grid.outcome();
        assert_eq!(found, class, "{message}");
        assert!(message.contains(part), "{message}");
    }
    assert!(grid.record().artifacts[0].failure_is_cached);
}

#[test]
fn links_of_a_header_tree_are_not_followed_on_the_host() {
    for name in [
        ".config",
        "include/generated/utsrelease.h",
        "include/generated/compile.h",
        "Module.symvers",
    ] {
        let grid = Grid::new();
        let pipe = grid.path("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let secret = grid.path("secret");
        fs::write(&secret, format!("#define UTS_RELEASE \"{RELEASE}\"\n")).unwrap();
        for target in [Path::new("/dev/zero"), &pipe, &secret] {
            let path = format!("{HEADERS}/{name}");
            let link = Entry::Link(path.as_bytes(), target.as_os_str().as_bytes());
            write_headers(&grid, &[link]);
            assert_fault_of_tree(&grid, "wrong-headers", "leaves its tree");
        }
    }
}

#[test]
fn a_link_to_a_file_in_the_same_tree_is_followed() {
    let grid = Grid::new();
    let config = format!("{HEADERS}/.config");
    let real = format!("{HEADERS}/config");
    write_headers(
        &grid,
        &[
            Entry::Link(config.as_bytes(), b"config"),
            Entry::File(real.as_bytes(), b"CONFIG_X86_64=y\nCONFIG_GCC_VERSION=120200\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n"),
        ],
    );
    let (code, text) = run_bounded(&grid);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn invalid_header_trees_are_wrong_headers() {
    let config = format!("{HEADERS}/.config");
    let config = config.as_bytes();
    let uts = format!("{HEADERS}/include/generated/utsrelease.h");
    let uts = uts.as_bytes();
    let long = vec![b'\n'; 5 << 10];
    let odd = [HEADERS.as_bytes(), b"/scripts/fixdep\xff"].concat();
    let program = std::fs::read("/bin/true").unwrap();
    for (entry, part) in [
        (Entry::Folder(config), "is a directory"),
        (Entry::File(config, b"CONFIG_X=\"\xff\"\n"), "UTF-8"),
        (Entry::File(uts, b"\xff\n"), "UTF-8"),
        (Entry::File(uts, &long), "larger than 4096 bytes"),
        (Entry::Folder(uts), "is a directory"),
        (Entry::Program(&odd, &program), "UTF-8"),
        (
            Entry::Folder(b"usr/src/linux-headers-6.1.0-1-\xff"),
            "UTF-8",
        ),
    ] {
        let grid = Grid::new();
        write_headers(&grid, &[entry]);
        assert_fault_of_tree(&grid, "wrong-headers", part);
    }
}

#[test]
fn an_archive_with_circular_links_is_an_unpack_failure() {
    let grid = Grid::new();
    write_headers(&grid, &[Entry::Link(b"a", b"b"), Entry::Link(b"b", b"a")]);
    let (code, text) = run_bounded(&grid);
    assert_eq!(code, Some(1), "{text}");
    let (_, class, message) = grid.outcome();
    assert_eq!(class, "unpack");
    assert!(message.contains("leads back to itself"), "{message}");
}

/// Lets the grid's kernel use only this package.
fn take_only(grid: &Grid, file: &str, package: &[u8]) {
    grid.write(file, package);
    let matrix = fs::read_to_string(&grid.path("matrix.toml")).unwrap();
    let (head, _) = matrix.split_once("[[target]]").unwrap();
    let path = grid.path(file).display().to_string();
    grid.write_matrix(&format!(
        "{head}[[target]]\nname = \"generic\"\nkernels = [{{ release = \"6.1.1-1-amd64\", architecture = \"amd64\", headers = [{path:?}] }}]\n"
    ));
}

/// The same packages with real sandboxes: no job starts, and the memory stays limited.
#[test]
fn hostile_packages_are_refused_before_any_job_starts() {
    let headers = |entries: &[Entry<'_>]| {
        let grid = Grid::new();
        write_headers(&grid, entries);
        fs::read(&grid.headers("1")[0]).unwrap()
    };
    let config = format!("{HEADERS}/.config");
    let config = config.as_bytes();
    let symbols = format!("{HEADERS}/Module.symvers");
    let nul = "has a NUL byte";
    let packages = [
        (
            headers(&[Entry::Link(config, b"/dev/zero")]),
            "wrong-headers",
            "leaves its tree",
        ),
        (
            headers(&[Entry::Link(symbols.as_bytes(), b"/etc/passwd")]),
            "wrong-headers",
            "leaves its tree",
        ),
        (
            headers(&[Entry::Folder(config)]),
            "wrong-headers",
            "is a directory",
        ),
        (
            headers(&[Entry::File(config, b"\xff")]),
            "wrong-headers",
            "UTF-8",
        ),
        (
            headers(&[Entry::Link(b"a", b"b"), Entry::Link(b"b", b"a")]),
            "unpack",
            "leads back to itself",
        ),
        (rpm(&cpio(&[entry("a\0b", 0o100_644, "")])), "unpack", nul),
        (rpm(&cpio(&[entry("a", 0o120_777, "b\0c")])), "unpack", nul),
    ];
    for executor in EXECUTORS {
        for (package, class, part) in &packages {
            let sandboxed = Sandboxed::new(executor, HONEST, "");
            if package.starts_with(b"!<arch>") {
                fs::write(&sandboxed.grid.headers("1")[0], package).unwrap();
            } else {
                take_only(&sandboxed.grid, "x.rpm", package);
            }
            let (code, text) = sandboxed.run_bounded();
            assert_eq!(code, 1, "{executor}, {part}: {text}");
            let (_, found, message) = sandboxed.grid.outcome();
            assert_eq!(found, *class, "{executor}: {message}");
            assert!(message.contains(part), "{executor}: {message}");
        }
    }
}

#[test]
fn links_of_a_driver_are_not_followed_on_the_host() {
    for name in [
        "Makefile",
        "configure/CHECK/test.c",
        "configure/CHECK/Makefile",
    ] {
        let grid = Grid::new();
        let path = grid.path("driver").join(name);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let (code, text) = run_bounded(&grid);
        // A check lacks a file, or the driver is refused; no file is read endlessly.
        assert!(matches!(code, Some(0 | 1)), "{name}: {code:?} {text}");
    }
}

fn trees(grid: &Grid) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(grid.path("cache/trees")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// Returns the only file in the store's trees with this end of its path.
pub(super) fn in_trees(grid: &Grid, end: &str) -> PathBuf {
    let files = walkdir::WalkDir::new(grid.path("cache/trees")).into_iter();
    let mut found = files
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.ends_with(end));
    let path = found.next().expect("a file");
    assert_eq!(found.next(), None);
    path
}

#[test]
fn trees_are_readable_for_jobs_under_every_umask() {
    for umask in ["022", "027", "007", "077"] {
        let grid = Grid::new();
        for (name, mode) in [("driver/main.c", 0o600), ("driver/bpf", 0o700)] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(grid.path(name), mode).unwrap();
        }
        let (code, text) = run_after(&grid, &format!("umask {umask}"));
        assert_eq!(code, Some(0), "{text}");
        let assert_open = || {
            for entry in walkdir::WalkDir::new(grid.path("cache/trees")).min_depth(1) {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().mode() & 0o7777;
                let expected = if entry.file_type().is_dir() {
                    0o755
                } else {
                    0o644
                };
                assert_eq!(mode, expected, "umask {umask}: {}", entry.path().display());
            }
        };
        assert_open();

        // Trees that an older version stored without read permission are opened when they are used again.
        for tree in trees(&grid) {
            let mode = std::fs::Permissions::from_mode(0o700);
            std::fs::set_permissions(tree, mode).unwrap();
        }
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(in_trees(&grid, "main.c"), mode).unwrap();
        forget_outcomes(&grid, "module");
        let (code, text) = run_after(&grid, &format!("umask {umask}"));
        assert_eq!(code, Some(0), "{text}");
        assert_open();
    }
}

/// Removes the outcomes of a step, so that it runs again.
pub(super) fn forget_outcomes(grid: &Grid, step: &str) {
    for path in outcomes(grid) {
        let text = fs::read_to_string(&path).unwrap();
        if text.contains(&format!("{{\"step\":\"{step}/")) {
            fs::remove_file(&path).unwrap();
        }
    }
}

fn outcomes(grid: &Grid) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(grid.path("cache/outcomes")).into_iter();
    files
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect()
}

/// Flips a bit in a file; with `is_silent`, the modification time stays, as with a decaying disk.
pub(super) fn flip(path: &Path, is_silent: bool) {
    let modified = path.metadata().unwrap().modified().unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    bytes[0] ^= 1;
    fs::write_unsynced(path, bytes).unwrap();
    if is_silent {
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_modified(modified).unwrap();
    }
}

#[test]
fn a_modified_tree_is_unpacked_again_before_use() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    for name in ["linux-headers-6.1.0-1-amd64/Makefile", "main.c"] {
        let path = in_trees(&grid, name);
        let whole = fs::read(&path).unwrap();
        flip(&path, false);
        forget_outcomes(&grid, "module");
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    let verified = grid.program(&["cache", "verify"]).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn failures_with_damaged_inputs_are_not_cached() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    forget_outcomes(&grid, "module");
    let path = in_trees(&grid, "linux-headers-6.1.0-1-amd64/Makefile");
    let whole = fs::read(&path).unwrap();
    flip(&path, true);
    grid.fake(&[rule(
        "module *",
        &json!({ "code": 2, "log": "a.c:1:1: error: no\n" }),
    )]);
    assert_ne!(grid.run(&[]).0, 0);
    let (_, class, message) = grid.outcome();
    assert_eq!(class, "infrastructure");
    assert!(message.contains("was damaged on disk"), "{message}");
    assert!(!path.exists());

    grid.fake(&[]);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(fs::read(&path).unwrap(), whole);
}

#[test]
fn a_damaged_package_is_fetched_again() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let [package, ..] = grid.headers("1");
    let digest = Sha256::of(fs::read(&package).unwrap()).to_string();
    let blob = grid.path("cache/blobs").join(&digest[..2]).join(&digest);
    flip(&blob, true);
    for tree in trees(&grid) {
        fs::remove_folder(&tree).unwrap();
    }
    forget_outcomes(&grid, "unpack");
    forget_outcomes(&grid, "module");
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(fs::read(&blob).unwrap(), fs::read(&package).unwrap());
}

#[test]
fn cache_verify_removes_results_of_damaged_files() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let path = in_trees(&grid, "linux-headers-6.1.0-1-amd64/Makefile");
    flip(&path, true);
    let left = grid.path("cache/outcomes/v1/ab/.dkm-tmp-1");
    fs::write(&left, "{").unwrap();
    let verified = grid.program(&["cache", "verify"]).output().unwrap();
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert_eq!(verified.status.code(), Some(1));
    assert!(
        text.contains("which is damaged") && !text.contains(".dkm-tmp-"),
        "{text}"
    );
    let removed = grid
        .program(&["cache", "verify", "--remove"])
        .output()
        .unwrap();
    assert!(removed.status.success() && !left.exists(), "{removed:?}");
    let verified = grid.program(&["cache", "verify"]).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
    grid.jobs();
    assert_eq!(grid.run(&[]).0, 0);
    assert!(grid.jobs().contains(&"module".to_owned()));
}

/// Returns the outcome file of the only artifact of each build of the last run.
fn outcome_files(grid: &Grid) -> Vec<PathBuf> {
    let builds = grid.manifest().builds;
    builds
        .iter()
        .map(|build| {
            let key = build.artifacts[0].key.unwrap().to_string();
            grid.path(&format!("cache/outcomes/v1/{}/{key}.json", &key[..2]))
        })
        .collect()
}

#[test]
fn an_outcome_of_another_key_is_not_used() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    let files = outcome_files(&grid);
    grid.jobs();
    fs::write(&files[1], fs::read(&files[0]).unwrap()).unwrap();
    let text = fs::read_to_string(&files[2]).unwrap();
    fs::write(&files[2], text.replace("SMP mod_unload", "SMP mod_onload")).unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["module", "module"]);
    assert_eq!(
        grid.statuses(),
        [Status::Built, Status::Built, Status::Cached, Status::Cached]
    );
}

#[test]
fn a_cached_module_of_another_kernel_is_not_published() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let [file] = &outcome_files(&grid)[..] else {
        panic!("expected one build");
    };
    // An outcome as a version without checksums wrote it.
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().next().unwrap();
    fs::write(
        file,
        line.replace(&format!("\"{RELEASE} "), "\"6.1.0-9-amd64 "),
    )
    .unwrap();
    grid.jobs();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["module"]);
}

#[test]
fn verify_compares_the_output_directory_with_the_manifest() {
    let grid = Grid::of_four();
    assert_eq!(grid.run(&[]).0, 0);
    let verify = || {
        let output = grid.program(&["verify", "out"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        (output.status.code(), lines)
    };
    assert_eq!(verify().0, Some(0));
    flip(&grid.path(MODULE), true);
    fs::remove_file(&grid.path(&MODULE.replace("6.1.1-1", "6.1.2-1"))).unwrap();
    grid.write("out/one/x86_64/other.ko", "");
    let (code, lines) = verify();
    assert_eq!(code, Some(1));
    let [other, digest, missing] = &lines[..] else {
        panic!("{lines:#?}");
    };
    assert_eq!(other, "one/x86_64/other.ko: not in the manifest");
    assert!(
        digest.contains("6.1.1-1-amd64_1.ko: different digest: "),
        "{digest}"
    );
    assert!(
        missing.ends_with("6.1.2-1-amd64_1.ko: missing"),
        "{missing}"
    );
}
