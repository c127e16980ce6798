//! Hostile inputs do no harm: downloads, archives, header trees, drivers, and the output of their jobs.

mod downloads;
mod formats;
mod jobs;
mod sandbox;
mod sandboxed;
mod trees;
