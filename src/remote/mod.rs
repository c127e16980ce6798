//! The remote store: what machines know of finished steps, and the contents that they made, behind an object store.
//!
//! Outcomes travel in packs, one object for each run, which a run lists and reads when it begins; contents are objects by
//! their digest, sent once and fetched when they are needed. A pack is believed if one of the run's keys signed it, or if
//! the bucket is declared trusted; a content only if its digest is right.

mod clean;
mod contents;
mod keys;
mod leases;
mod news;
mod pack;
mod packs;
mod queue;
mod settings;
mod shared;
mod trees;

pub use clean::{Cleaned, clean};
pub use keys::{Keys, KeysError, Trust};
pub use settings::{Finished, Keep, RemoteError, RemoteSettings, Summary, USUAL_LEASE};
pub use shared::Remote;
