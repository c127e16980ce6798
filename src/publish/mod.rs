//! Publishing: artifacts of manifests to a bucket or a directory, laid out as the loader asks for them.
//!
//! In: manifests and the files beside them. Out: objects under `<driver version>/<architecture>/<name>`, and an index of
//! them. A publication is a transaction: what changed is uploaded under a condition and read back, then the index is
//! replaced as the last write, under a condition too. So a reader of the index never finds an artifact that is not there,
//! and two publications at once lose nothing. Only what a manifest says was verified is uploaded.

mod audit;
mod destination;
mod error;
mod index;
mod item;
mod kept;
mod layout;
mod options;
mod prune;
mod site;
mod transaction;
mod upload;

pub use audit::{Audit, Finding, FindingKind, audit, repair};
pub use destination::Destination;
pub use error::PublishError;
pub use index::{AttestationEntry, Entry, INDEX_SCHEMA, Index};
pub use item::{Item, Night, items_of};
pub use kept::fetch_manifests;
pub use layout::{INDEX_FILE, SUMS_FILE};
pub use options::{PublishOptions, PublishReport, Row, RowState};
pub use prune::{AccessLog, PrunePlan, PruneRules, Pruned, apply_prune, plan_prune, undo_prune};
pub use transaction::publish;
