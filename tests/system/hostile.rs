//! Nothing that comes in can do harm: downloads, archives, header trees, drivers and what their jobs write.

mod downloads;
mod formats;
mod jobs;
mod sandbox;
mod sandboxed;
mod trees;
