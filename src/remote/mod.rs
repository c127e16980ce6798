//! The remote store: outcomes of finished steps and their contents, which machines share in an object store.
//!
//! Outcomes are stored in packs, one object per run, which a run lists and reads when it begins. Contents are objects
//! named by their digest, uploaded once and downloaded when needed. A pack is trusted if one of the run's keys signed
//! it, or if the bucket is declared trusted; a content is trusted only if its digest is right.

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
