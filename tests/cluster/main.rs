//! The Kubernetes executor on a real cluster: `make test-cluster` brings it up and runs these.
//!
//! They share one node and its components, so each takes its turn.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod bucket;
mod common;
mod deploy;
mod ends;
mod host_programs;
#[path = "../common/real.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod real;
mod runs;
mod settings;
mod single;
