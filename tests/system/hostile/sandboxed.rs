//! A grid whose jobs run in real sandboxes.

use std::path::Path;
use std::process::{Command, Output};

use driverkit_matrix::fs;

use support::grid::{Grid, RELEASE, deb, module};
use support::memory_group::MemoryGroup;
use support::real::images;

pub(super) const EXECUTORS: [&str; 2] = ["docker", "local"];

/// A kernel tree whose Makefile runs the driver's `job.sh` instead of a compiler. Checks that kbuild compiles together
/// all compile.
const KERNEL_MAKEFILE: &str = "modules:\n\t[ ! -e $(M)/job.sh ] || sh $(M)/job.sh $(M)\n";

/// The job of an honest driver.
pub(super) const HONEST: &str = "cp $1/ready.ko $1/scap.ko\n";

/// A grid whose jobs run in real sandboxes.
pub(super) struct Sandboxed {
    pub(super) grid: Grid,
    executor: &'static str,
}

impl Sandboxed {
    pub(super) fn new(executor: &'static str, job: &str, settings: &str) -> Self {
        let grid = Grid::new();
        grid.write("driver/ready.ko", module(RELEASE));
        grid.write("driver/job.sh", job);
        grid.edit_matrix("retries = 1", &format!("retries = 0\n{settings}"));
        let base = "usr/src/linux-headers-6.1.0-1-amd64";
        let config =
            "CONFIG_X86_64=y\nCONFIG_GCC_VERSION=120200\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n";
        let uts = format!("#define UTS_RELEASE \"{RELEASE}\"\n");
        let headers = deb(&[
            (&format!("{base}/.config"), config),
            (&format!("{base}/include/generated/utsrelease.h"), &uts),
            (&format!("{base}/Makefile"), KERNEL_MAKEFILE),
        ]);
        fs::write(&grid.headers("1")[0], headers).unwrap();
        Self { grid, executor }
    }

    /// Runs the matrix; returns the exit code and the output.
    pub(super) fn run(&self, words: &[&str]) -> (i32, String) {
        self.run_after(":", words)
    }

    /// Runs the matrix through a shell that first sets limits or a umask.
    pub(super) fn run_after(&self, first: &str, words: &[&str]) -> (i32, String) {
        let toolchain = if self.executor == "local" {
            "host"
        } else {
            "image"
        };
        let script = format!("{first} && exec \"$0\" \"$@\"");
        let mut all = vec!["run", "matrix.toml", "--jobs", "1", "--executor"];
        all.extend([self.executor, "--toolchain", toolchain]);
        all.extend(words);
        let descriptions = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
        let Output { status, stderr, .. } = self
            .through_shell(&script, &all)
            .env("DRIVERKIT_MATRIX_IMAGES", images())
            .env("DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS", descriptions)
            .output()
            .unwrap();
        (
            status.code().unwrap(),
            String::from_utf8_lossy(&stderr).into_owned(),
        )
    }

    /// Runs the matrix with 256 MiB of memory, including jobs of `local`, and a minute of processor time.
    pub(super) fn run_bounded(&self) -> (i32, String) {
        let group = MemoryGroup::new(256);
        self.run_after(&format!("{} && ulimit -t 60", group.entrance()), &[])
    }

    /// Returns the program in the grid's directory, started by a shell after `script`.
    fn through_shell(&self, script: &str, words: &[&str]) -> Command {
        let mut command = Command::new("sh");
        command
            .current_dir(self.grid.path(""))
            .env("DRIVERKIT_MATRIX_CACHE", self.grid.path("cache"))
            .env_remove("RUST_BACKTRACE")
            .args(["-c", script, env!("CARGO_BIN_EXE_driverkit-matrix")])
            .args(words);
        command
    }

    /// Runs the matrix; returns status, class and message of the only artifact.
    pub(super) fn outcome(&self) -> (String, String, String) {
        let (_, text) = self.run(&[]);
        let (status, class, message) = self.grid.outcome();
        (
            status,
            class,
            format!("{}: {message}\n{text}", self.executor),
        )
    }

    pub(super) fn expect(&self, status: &str, class: &str) {
        let (found, of, text) = self.outcome();
        assert_eq!((found.as_str(), of.as_str()), (status, class), "{text}");
    }
}
