//! Tests of the Kubernetes executor on a real cluster: `make test-cluster` starts it and runs these tests.
//!
//! The tests share one node and its components, so they run one after the other.

mod bucket;
mod common;
mod deploy;
mod ends;
mod host_programs;
mod runs;
mod settings;
mod single;
