//! The command `plan`, by the binary itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod faults;
#[path = "../common/lists.rs"]
mod lists;
mod names;
mod output;
mod releases;
mod whole;
#[path = "../common/workspace.rs"]
mod workspace;
