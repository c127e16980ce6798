//! The manifest: what a run was asked, what it found, the result of every build, as JSON and CSV.
//!
//! In: events. Out: `run.json`, `builds.jsonl.zst`, `manifest.json` and `manifest.csv` under `out/`, at every moment a
//! readable account of what has finished; the journal has what happened since. `docs/manifest.md` describes the fields
//! and which of them vary from one run to an equal one.

mod earlier;
mod excluded;
mod failing;
mod merge;
mod read;
mod record;
mod rows;
mod totals;
mod update;
mod write;

pub use earlier::{KEEP_NIGHTS, earlier_manifests};
pub use excluded::Excluded;
pub use merge::{manifests_below, merge_manifests, read_night, shards_in, write_manifest};
pub use read::{ManifestError, MergeError, manifest_file, read_manifest};
pub use record::{BuildRecord, Exit, Manifest, Named, Run};
pub use rows::{
    Columns, IndexArtifact, IndexRow, RowsError, digest_of_inputs, find_rows, read_index, template,
};
pub use totals::{LeftOutGroup, Totals};
pub use update::{ManifestUpdate, UpdateError};
pub use write::ManifestReporter;

pub(super) use read::{Paths, is_being_written};
pub(super) use record::seconds;
pub(super) use totals::exit_reason;

/// The version of the manifest's format. It is raised when a field changes its meaning or goes, not when one is
/// added; readers refuse a newer one.
pub const SCHEMA: u32 = 2;

/// The version of `manifest.json`, which is still written for readers of version 1.
const JSON_SCHEMA: u32 = 1;
