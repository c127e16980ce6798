//! The run: every build of a plan from its packages to its artifacts, asking the cache first.
//!
//! In: a plan, and the [`Parts`] that do the work. Out: events, artifacts in the [`OutFolder`], a [`RunResult`].
//! [`Run::look_up`] asks the cache for everything without opening a connection; [`Run::finish`] does what is missing.
//! The same code computes keys in both. Nothing here formats a line or reads a matrix.

mod adapted_tree;
mod artifacts;
mod builds;
mod checks;
mod downloads;
mod driver_sources;
mod drivers;
mod engine;
mod events;
mod files;
mod halt;
mod host_programs;
mod inspect;
mod installed;
mod jobs;
mod kernel_tree;
mod kernels;
mod memo;
mod moving;
mod needs;
mod order;
mod out_folder;
mod packages;
mod placing;
mod prepare;
mod reproduce;
mod run;
mod step;
mod stop;
mod subscription;
mod toolchain;
mod trees;
mod work;

pub use events::Events;
pub use halt::{Failed, Halt, Mode};
pub use moving::renew_sources;
pub use needs::{Need, needs};
pub use order::{History, longest_first};
pub use out_folder::OutFolder;
pub use packages::was_unpacked;
pub use reproduce::Reproduce;
pub use run::{Parts, Run, RunResult, RunSettings, explain};
pub use step::{Asked, RetryClasses};
pub use stop::{Stop, StopReason};
pub use toolchain::{BuilderImages, Toolchains};
