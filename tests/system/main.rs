//! The program against real engines, real files and real faults: what it takes for granted is what it gets here.
//!
//! Nothing is skipped: a machine without Docker or bubblewrap fails here with what to do (`scripts/setup.sh`).

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "../common/grid.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod grid;
mod hostile;
