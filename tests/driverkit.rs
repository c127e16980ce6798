//! driverkit's commands, with a fake executor in place of compilers.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "driverkit/cluster.rs"]
mod cluster;
#[path = "driverkit/docker.rs"]
mod docker;
#[path = "driverkit/drop_in.rs"]
mod drop_in;
#[path = "driverkit/flags.rs"]
mod flags;
#[path = "common/grid.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod grid;
#[path = "driverkit/local.rs"]
mod local;
#[path = "common/server.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod server;
#[path = "driverkit/tree.rs"]
mod tree;
#[path = "common/workspace.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod workspace;
