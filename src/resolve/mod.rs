//! From matrices and their locks to a plan: queries sources, refreshes locks, expands kernels, selects builds.
//!
//! A [`PlanRequest`] describes what to plan; a [`Context`] names caches and mirrors and receives messages.

mod attesting;
mod availability;
mod common_table;
mod context;
mod doubts;
mod error;
pub(crate) mod export;
mod import;
mod kernels;
mod lock_notes;
mod machine;
mod mirror_kernels;
mod notes;
mod planned;
mod preflight;
mod refresh;
mod refreshed;
mod signing;
mod sources;
mod waiting;

pub(crate) use attesting::check_attestation;
pub(crate) use availability::{Availability, Unavailable};
pub use context::{Context, Listener, Silent};
pub(crate) use doubts::warn_of_doubts;
pub use error::ResolveError;
pub(crate) use import::import;
pub(crate) use lock_notes::{fill_in_locks, store_configs};
pub(crate) use machine::{
    check_demands, check_directory, check_out, check_proofs, check_room, check_toolchains,
};
pub(crate) use mirror_kernels::{MirrorSelection, discover_all, sources_of_mirror};
pub(crate) use planned::filter_error;
pub use planned::{PlanRequest, Planned};
pub(crate) use refresh::{fetcher, refresh_all, runtime};
pub(crate) use refreshed::{RefreshOptions, Refreshed};
pub(crate) use signing::check_signing;
pub use sources::{LockUse, Sources};
pub(crate) use sources::{mirror_names, mirrors_of};
pub(crate) use waiting::{
    open_store, said_what_is_asked, said_while_busy, said_while_opening, said_while_reading,
    said_while_waiting,
};
