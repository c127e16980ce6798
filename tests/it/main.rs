//! Tests that need only the program: no Docker, no mirror, no real kernel. Compilers are simulated by a fake executor,
//! and servers listen on loopback. Tests that need more are in `tests/system`.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod architecture;
mod attest;
mod bucket;
mod bundle;
mod check;
mod cli;
mod docs;
mod driverkit;
mod fetch;
mod formats;
mod fuzz_targets;
mod guard;
mod guesses;
mod header_urls;
mod history;
mod images_command;
mod independence;
mod json_schema;
mod kernels;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod library;
mod lists;
mod lock;
mod mirror;
mod mistakes;
mod outage;
mod plan;
mod preflight;
mod publish;
mod report;
mod run;
mod samples;
mod silence;
mod sources;
mod suggested;
mod terminal;
mod verify;
