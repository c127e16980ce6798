//! A single build as requested from driverkit: names, defaults, environment variables, configuration file and checks.
//!
//! Input: flags, the environment, a file. Output: [`Values`], each with its origin (a flag overrides the environment,
//! which overrides the file), and a validated [`Request`]. This follows driverkit's documented behaviour as of 0.23,
//! except for its bugs. A directory of such files ([`read_tree`]) is read by the same rules. Nothing here uses clap
//! or opens a connection.

mod cluster;
mod file;
mod images;
mod keys;
mod names;
mod reader;
mod request;
mod tree;
mod tree_file;
mod values;

pub use cluster::{ClientRequest, PodRequest};
pub use file::{OfFile, read_file};
pub use images::{Image, ImageRequest, Registry};
pub use keys::{KEYS, LISTS, NOT_OF_LOCAL, ONLY_FLAGS, variable_of};
pub use names::{LogLevel, check_image_name, check_proxy, parse_log_level, parse_timeout};
pub use reader::Reader;
pub use request::{Output, Request, version_of_this_machine};
pub use tree::{Tree, TreeFile, read_tree};
pub use values::{Given, Origin, Values};

#[cfg(test)]
mod tests;
