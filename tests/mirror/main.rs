//! Discovery from mirrors, in the layouts that distributions have: small ones made here, and the one that this
//! machine's apt uses.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up fails, and says where"
)]

mod answers;
mod apt;
mod arch;
mod archive;
mod debian;
mod flatcar;
#[path = "../common/host.rs"]
mod host;
#[path = "../common/locks.rs"]
mod locks;
mod repositories;
#[path = "../common/server.rs"]
#[expect(dead_code, reason = "these tests need a part of it")]
mod server;
mod signatures;
mod ubuntu;
mod usual;
mod variants;
#[path = "../common/workspace.rs"]
mod workspace;
