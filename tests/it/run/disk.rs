//! Tests of full disks and of wrong paths in place of directories. Needs root, as CI has it.

use std::path::{Path, PathBuf};
use std::process::Command;

use driverkit_matrix::fs;

use support::grid::{Grid, RELEASE, module};

/// A small file system, unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn new(path: PathBuf, kibibytes: u32) -> Self {
        std::fs::create_dir(&path).unwrap();
        let size = format!("size={kibibytes}k");
        mount(&[
            "mount",
            "-t",
            "tmpfs",
            "-o",
            &size,
            "tmpfs",
            &path.display().to_string(),
        ]);
        Self(path)
    }

    fn grow(&self) {
        mount(&[
            "mount",
            "-o",
            "remount,size=50m",
            &self.0.display().to_string(),
        ]);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        mount(&["umount", &self.0.display().to_string()]);
    }
}

fn mount(words: &[&str]) {
    assert!(
        Command::new(words[0])
            .args(&words[1..])
            .status()
            .unwrap()
            .success()
    );
}

fn artifacts(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Four kernels with different modules of 16 KiB.
fn grid() -> Grid {
    let grid = Grid::of_four();
    let mut large = module(RELEASE);
    large.resize(16 << 10, 0);
    grid.write("module.ko", large);
    grid
}

#[test]
fn a_full_output_directory_ends_the_run_and_loses_nothing() {
    let grid = grid();
    let small = Small::new(grid.path("small"), 64);
    fs::write(&small.0.join("filler"), vec![0; 24 << 10]).unwrap();
    let (code, text) = grid.run(&["--out", "small/out"]);
    let folder = small.0.join("out/one/x86_64");
    assert_eq!(code, 3, "{text}");
    assert!(text.to_lowercase().contains("no space"), "{text}");
    assert!(artifacts(&folder) < 4);
    small.grow();
    let (code, text) = grid.run(&["--out", "small/out"]);
    assert_eq!((code, artifacts(&folder)), (0, 4), "{text}");
}

#[test]
fn a_full_store_ends_the_run_and_loses_nothing() {
    // The disk is too small for the packages, the trees, the outcomes or the artifacts.
    for kibibytes in [16, 40, 80, 120, 160, 200] {
        let grid = grid();
        let small = Small::new(grid.path("cache"), kibibytes);
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 3, "{kibibytes}: {text}");
        assert!(
            text.to_lowercase().contains("no space"),
            "{kibibytes}: {text}"
        );
        small.grow();
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{kibibytes}: {text}");
        assert_eq!(artifacts(&grid.path("out/one/x86_64")), 4);
    }
}

#[test]
fn a_file_in_place_of_the_output_directory_is_refused() {
    let grid = Grid::new();
    grid.write("taken", "a file");
    let (code, text) = grid.run(&["--out", "taken"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("taken"), "{text}");
    assert!(!grid.path("journal").exists());
    assert_eq!(fs::read(&grid.path("taken")).unwrap(), b"a file");
}

#[test]
fn a_read_only_output_directory_is_refused() {
    let grid = Grid::new();
    let small = Small::new(grid.path("small"), 64);
    mount(&["mount", "-o", "remount,ro", &small.0.display().to_string()]);
    let (code, text) = grid.run(&["--out", "small/out"]);
    assert_eq!(code, 2, "{text}");
    assert!(
        text.contains("small/out") && text.contains("read-only"),
        "{text}"
    );
    assert!(!grid.path("journal").exists());
}

#[test]
fn exceeding_the_file_size_limit_is_an_error_like_a_full_disk() {
    let grid = grid();
    let program = env!("CARGO_BIN_EXE_driverkit-matrix");
    // The unit is 1,024 bytes.
    let line = format!("ulimit -f 8; exec {program} run matrix.toml --executor fake");
    let output = Command::new("bash")
        .args(["-c", &line])
        .current_dir(grid.path(""))
        .env("DRIVERKIT_MATRIX_CACHE", grid.path("cache"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("ulimit -f"), "{text}");
}

#[test]
fn a_pipe_at_the_path_of_an_artifact_is_replaced() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let place = grid.path(crate::run::MODULE);
    fs::remove_file(&place).unwrap();
    let made = Command::new("mkfifo").arg(&place).status().unwrap();
    assert!(made.success());
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(fs::read(&place).unwrap(), module(RELEASE));
}
