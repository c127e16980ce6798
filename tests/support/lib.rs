//! Shared by tests and benchmarks: small grids, servers, daemons, real kernels, and measurements.

#![expect(
    missing_docs,
    clippy::new_without_default,
    clippy::print_stderr,
    clippy::return_self_not_must_use,
    clippy::unwrap_used,
    reason = "a test that cannot be set up fails, and says where"
)]

use std::path::{Path, PathBuf};

pub mod archive;
pub mod docker_daemon;
pub mod driverkit;
pub mod events;
pub mod fake_s3;
pub mod grid;
pub mod host;
pub mod kernel_lists;
pub mod lists;
pub mod locks;
pub mod measure;
pub mod measured;
pub mod memory_group;
pub mod nights;
pub mod object_store;
pub mod published;
pub mod real;
pub mod rootless_podman;
pub mod rpmbuild;
pub mod server;
pub mod service;
pub mod signing;
pub mod small_image;
pub mod tell;
pub mod workspace;

/// The project's root directory.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/support is in it")
}

/// The path of the built program.
pub fn program() -> PathBuf {
    assert_cmd::cargo::cargo_bin("driverkit-matrix")
}

/// The directory for files that tests create once and keep: `target/tmp`.
pub fn scratch() -> PathBuf {
    let program = program();
    let target = program.ancestors().nth(2).expect("target/PROFILE/program");
    target.join("tmp")
}
