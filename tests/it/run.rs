//! Tests of `run` from a matrix to artifacts and manifest, with a fake executor in place of compilers.

mod cached;
mod changes;
mod commands;
mod compilers;
mod diff;
mod disk;
mod doubles;
mod downloads;
mod failures;
mod flatcar;
mod incomplete;
mod index;
mod known;
mod merge;
mod named;
mod names;
mod night;
mod offline;
mod packages;
mod prepared;
mod proofs;
mod proving;
mod publishing;
mod rebuild;
mod secrets;
mod shared_store;
mod sharing;
mod signing;
mod status;
mod stopping;
mod trace;
mod why;

/// The path of the module of the default grid.
const MODULE: &str = "out/one/x86_64/scap_debian_6.1.1-1-amd64_1.ko";

/// The build of the default grid.
pub(crate) const BUILD: &str = "one/x86_64/debian_6.1.1-1-amd64_1";

/// The list of jobs if no job was run.
const NOTHING: [&str; 0] = [];
