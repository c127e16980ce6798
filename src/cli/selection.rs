//! Files and filters on the command line that select builds, for `plan` and `run`.

use std::path::PathBuf;

use clap::Args;

use super::{CliError, Context, Planned, completing};
use crate::matrix::{Pattern, Selector};
use crate::plan::{Filter, Shard};
use crate::resolve::{LockUse, PlanRequest};

/// The builds that a command applies to.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct Selection {
    /// Matrix files [default: matrices/*.toml]
    #[arg(value_name = "FILES", help_heading = None::<&str>)]
    pub files: Vec<PathBuf>,
    /// Only these targets (globs)
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::for_names, add = completing::targets())]
    pub target: Vec<Pattern>,
    /// Only these kernel releases (globs, or ranges such as ">=5.4, <6.9")
    #[arg(long, value_name = "PATTERN")]
    pub kernel: Vec<Pattern>,
    /// Only these driver versions (globs or ranges)
    #[arg(long, value_name = "PATTERN", add = completing::drivers())]
    pub driver: Vec<Pattern>,
    /// Only these architectures (globs)
    #[arg(long, alias = "architecture", value_name = "PATTERN", value_parser = Pattern::for_names)]
    pub arch: Vec<Pattern>,
    /// Only these artifacts (globs)
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::for_names)]
    pub artifact: Vec<Pattern>,
    /// Only the build with this name, as `plan` prints it
    #[arg(long, value_name = "BUILD", add = completing::builds())]
    pub only: Vec<String>,
    /// Only part I of N; a kernel always belongs to the same part
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Fail if a lock is missing or stale instead of refreshing it
    #[arg(long)]
    pub locked: bool,
    /// Whether `only` may be a unique part of a build's name, for commands that build only one.
    #[arg(skip)]
    pub takes_parts: bool,
    /// How locks are used, for commands that override the default.
    #[arg(skip)]
    pub lock_use: LockUse,
}

impl Selection {
    /// Returns the filters.
    pub fn filter(&self) -> Filter {
        Filter {
            selector: Selector {
                targets: self.target.clone(),
                kernels: self.kernel.clone(),
                drivers: self.driver.clone(),
                architectures: self.arch.clone(),
                artifacts: self.artifact.clone(),
            },
            only: self.only.clone(),
            takes_parts: self.takes_parts,
            shard: self.shard,
        }
    }

    /// Returns true if filters select only a part of the plan.
    pub fn is_partial(&self) -> bool {
        let filters = [
            &self.target,
            &self.kernel,
            &self.driver,
            &self.arch,
            &self.artifact,
        ];
        self.shard.is_some()
            || !self.only.is_empty()
            || filters.into_iter().any(|patterns| !patterns.is_empty())
    }

    /// Reads the matrices and their locks (refreshing those that are missing or stale), expands and filters. `image`
    /// is the builder image that the command line names.
    pub fn plan(&self, context: &Context, image: Option<&str>) -> Result<Planned, CliError> {
        let wanted = PlanRequest {
            files: &self.files,
            filter: self.filter(),
            lock_use: if self.locked {
                LockUse::Locked
            } else {
                self.lock_use
            },
            image,
        };
        wanted.plan(context)
    }
}
