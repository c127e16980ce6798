//! The program against real engines, real files and real faults: what it takes for granted is what it gets here.
//!
//! Nothing is skipped: a machine without Docker or bubblewrap fails here with what to do (`scripts/setup.sh`).

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[expect(dead_code, reason = "other tests need more of it")]
#[path = "../common/docker_daemon.rs"]
mod docker_daemon;
#[expect(dead_code, reason = "other tests need more of it")]
#[path = "../common/grid.rs"]
mod grid;
mod hostile;
#[path = "../common/real.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod real;
#[expect(dead_code, reason = "other tests need more of it")]
#[path = "../common/server.rs"]
mod server;
#[path = "../common/service.rs"]
mod service;
#[path = "../common/small_image.rs"]
mod small_image;
