//! The Kubernetes executor on a real cluster: `make test-cluster` brings it up and runs these.
//!
//! They share one node and its components, so each takes its turn.

mod bucket;
mod common;
mod deploy;
mod ends;
mod host_programs;
mod runs;
mod settings;
mod single;
