//! `run` from a matrix to artifacts and manifest, with a fake executor in place of compilers.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "run/cached.rs"]
mod cached;
#[path = "run/changes.rs"]
mod changes;
#[path = "run/commands.rs"]
mod commands;
#[path = "run/diff.rs"]
mod diff;
#[path = "run/disk.rs"]
mod disk;
#[path = "run/downloads.rs"]
mod downloads;
#[path = "run/failures.rs"]
mod failures;
#[path = "run/flatcar.rs"]
mod flatcar;
#[path = "common/grid.rs"]
mod grid;
#[path = "run/named.rs"]
mod named;
#[path = "run/names.rs"]
mod names;
#[path = "run/offline.rs"]
mod offline;
#[path = "run/packages.rs"]
mod packages;
#[path = "run/prepared.rs"]
mod prepared;
#[path = "run/rebuild.rs"]
mod rebuild;
#[path = "run/secrets.rs"]
mod secrets;
#[path = "common/server.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod server;
#[path = "run/sharing.rs"]
mod sharing;
#[path = "run/status.rs"]
mod status;
#[path = "run/stopping.rs"]
mod stopping;

/// Where the module of the usual grid belongs.
const MODULE: &str = "out/one/x86_64/scap_debian_6.1.1-1-amd64_1.ko";

/// The build of the usual grid.
const BUILD: &str = "one/x86_64/debian_6.1.1-1-amd64_1";

/// No job was run.
const NOTHING: [&str; 0] = [];
