//! driverkit-matrix builds Falco's drivers for a whole grid of kernels.
//!
//! Data flows one way: a matrix is expanded into a plan; a run looks up the plan's builds in the cache, executes the
//! others as jobs of an executor, and sends events; reporters read the events. A stage never imports a later stage.
//!
//! `docs/architecture.md` shows which module may import which.

pub mod attest;
pub mod bucket;
pub mod cache;
pub mod cli;
pub mod diagnostic;
pub mod digest;
pub mod discover;
pub mod driver;
pub mod driverkit;
pub mod engine;
pub mod error;
pub mod event;
pub mod executor;
pub mod exit;
pub mod failure;
pub mod fetch;
pub mod fs;
pub mod history;
pub mod image;
pub mod kernel;
pub mod matrix;
pub mod plan;
pub mod proof;
pub mod publish;
pub mod recipe;
pub mod redact;
pub mod remote;
pub mod report;
pub mod resolve;
pub mod run;
pub mod script;
pub mod session;
pub mod sign;
pub mod source;
pub mod store;
pub mod target;
pub mod text;
pub mod unpack;
pub mod verify;
pub mod views;
pub mod yaml;
