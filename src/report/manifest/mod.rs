//! The manifest: the request, the environment and the result of every build of a run, as JSON and CSV.
//!
//! Input: events. Output: `run.json`, `builds.jsonl.zst`, `manifest.json` and `manifest.csv` under `out/`, which at
//! any time are a readable account of the finished builds; the journal has the events since. `docs/manifest.md`
//! describes the fields and which of them vary between equal runs.

mod earlier;
mod excluded;
mod extent;
mod failing;
mod merge;
mod outdated;
mod read;
mod record;
mod rows;
mod totals;
mod update;
mod write;

pub use earlier::{KEEP_NIGHTS, earlier_manifests, newest_complete};
pub use excluded::Excluded;
pub use extent::Extent;
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
pub(super) use totals::{Available, exit_reason};

/// The version of the manifest's format. It is raised when a field is removed or changes its meaning, not when one is
/// added; readers reject a newer one.
pub const SCHEMA: u32 = 2;

/// The version of `manifest.json`, which is still written for readers of version 1.
const JSON_SCHEMA: u32 = 1;
