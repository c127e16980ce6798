//! Tests of the command `plan`, through the binary.

mod faults;
mod names;
mod output;
mod releases;
mod whole;
