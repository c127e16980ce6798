//! The plan: the ordered, deduplicated list of builds, and what was left out by which rule.
//!
//! In: an expanded matrix. Out: a [`Plan`]. The planner is a pure function: it opens no connection and knows no
//! executor.

mod build;
mod candidate;
mod doubts;
mod expand;
mod filter;
mod first_seen;
mod floor;
mod grid;
mod interned;
mod leaving_out;
mod merge;
mod names;
mod reasons;
mod used;

pub use build::{Build, BuildId, BuildSettings, LeftOut, Plan, Unbuilt};
pub use doubts::lacks_configuration;
pub use expand::{Expanded, Expansion, FoundAt, expand};
pub(crate) use filter::number_of;
pub use filter::{Filter, FilterError, ParseShardError, Shard, find_name};
pub use first_seen::FirstSeen;
pub use floor::supports;
pub use names::{Alias, Names};

#[cfg(test)]
mod tests;
