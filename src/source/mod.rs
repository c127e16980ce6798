//! Driver sources: their files, their layout and the configure checks of a driver.
//!
//! In: an unpacked directory of sources. Out: [`DriverSource`] (layout, names, probe) before configuration, and
//! [`ConfiguredDriver`] (module, probe, configure checks) for the tree produced by the configure step, or for flat
//! sources as they are. Nothing here downloads, unpacks or compiles.

mod check;
mod configured;
mod copy;
mod git;
mod kbuild_module;
mod layout;
mod old_layout;

pub use check::ConfigureCheck;
pub use configured::{ConfiguredDriver, read_configured_driver};
pub use copy::{copy_folder, copy_parts};
pub use git::{archive, resolve};
pub use layout::{DriverSource, Layout, SourceError, read_source, single_folder};
pub use old_layout::configure_old;
