//! Tests of driverkit's commands, with a fake executor in place of compilers.

mod cluster;
mod docker;
mod drop_in;
mod flags;
mod local;
mod tree;
