//! Publishing: uploads the artifacts of manifests to a bucket or a directory, under the names that the loader requests.
//!
//! Input: manifests and the files beside them. Output: objects under `<driver version>/<architecture>/<name>`, and an
//! index of them. A publication is a transaction: changed artifacts are uploaded with conditional writes and
//! verified, then the index is replaced by the last write, also conditionally. So a reader of the index never finds a
//! missing artifact, and concurrent publications lose nothing. Only artifacts that a manifest marks as verified are
//! uploaded.

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
