//! The command `plan`, by the binary itself.

mod faults;
mod names;
mod output;
mod releases;
mod whole;
