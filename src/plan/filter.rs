//! Filters: select the part of a plan that a run builds.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{Build, BuildId, Plan, Unbuilt};
use crate::diagnostic::nearest;
use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::kernel::Kernel;
use crate::matrix::{Pattern, Selector};
use crate::text::count;

/// The maximum number of example names in a message.
const EXAMPLES: usize = 5;

/// Selects a part of a plan.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The patterns for each axis.
    pub selector: Selector,
    /// The ids of the selected builds; empty selects all.
    pub only: Vec<String>,
    /// Whether a unique part of an id selects its build too.
    pub takes_parts: bool,
    /// The selected shard; shards have about equal size.
    pub shard: Option<Shard>,
}

/// Shard `index` of `count`, written `2/8`.
///
/// All builds of a kernel are in the same shard. The rest of the plan does not change a kernel's shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// The error for a string that is not a valid [`Shard`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid shard `{0}`: expected I/N with 1 <= I <= N, such as 2/8")]
pub struct ParseShardError(String);

impl FromStr for Shard {
    type Err = ParseShardError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseShardError(text.to_owned());
        let (index, count) = text.split_once('/').ok_or_else(error)?;
        let index: u32 = index.parse().map_err(|_| error())?;
        let count: u32 = count.parse().map_err(|_| error())?;
        if (1..=count).contains(&index) {
            Ok(Self { index, count })
        } else {
            Err(error())
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.index, self.count)
    }
}

impl Shard {
    /// Returns whether a kernel's builds are in this shard.
    pub fn contains(self, kernel: &Kernel) -> bool {
        number_of(kernel) % u64::from(self.count) == u64::from(self.index - 1)
    }
}

/// Returns a number that depends only on the kernel's identity. The numbers are evenly distributed and divide kernels
/// into shards.
pub(crate) fn number_of(kernel: &Kernel) -> u64 {
    let digest = Sha256::of(kernel.to_string());
    digest.as_bytes()[..8]
        .iter()
        .fold(0, |number, byte| (number << 8) | u64::from(*byte))
}

/// Why a filter cannot be applied to a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A filter matches no build.
    #[error("{filter} matches no build ({} before this filter)", count(*builds, "build"))]
    Nothing {
        /// The option with its values.
        filter: String,
        /// The number of builds that the previous filters left.
        builds: usize,
        /// Values that would match.
        examples: Vec<String>,
    },
    /// The plan does not contain the build.
    #[error("the plan has no build `{id}`")]
    NoBuild {
        /// The id of the build.
        id: String,
        /// The most similar id in the plan.
        nearest: Option<String>,
    },
    /// Several builds have ids with this part.
    #[error("{} match `{part}`", count(ids.len(), "build"))]
    Several {
        /// The part of an id.
        part: String,
        /// The ids.
        ids: Vec<String>,
    },
}

/// Returns the position of the build whose id is `name`, or of the only one whose id contains it.
pub fn find_name<'a, I: Iterator<Item = &'a str>>(
    name: &str,
    ids: impl Fn() -> I,
) -> Result<usize, FilterError> {
    if let Some(at) = ids().position(|id| id == name) {
        return Ok(at);
    }
    let matching = || ids().enumerate().filter(|(_, id)| id.contains(name));
    let mut first = matching();
    match (first.next(), first.next()) {
        (Some((at, _)), None) => Ok(at),
        (Some(_), Some(_)) => Err(FilterError::Several {
            part: name.to_owned(),
            ids: matching().map(|(_, id)| id.to_owned()).collect(),
        }),
        (None, _) => Err(FilterError::NoBuild {
            id: name.to_owned(),
            nearest: nearest(name, ids()).map(str::to_owned),
        }),
    }
}

impl Filter {
    /// Returns whether the filter selects everything.
    pub fn is_empty(&self) -> bool {
        let Selector {
            targets,
            kernels,
            drivers,
            architectures,
            artifacts,
        } = &self.selector;
        let patterns = [targets, kernels, drivers, architectures, artifacts];
        self.shard.is_none() && self.only.is_empty() && patterns.iter().all(|list| list.is_empty())
    }

    /// Removes everything that does not match. Returns an error if a filter leaves no build; a shard may be empty.
    pub fn apply(&self, plan: &mut Plan) -> Result<(), FilterError> {
        let selector = &self.selector;
        for axis in axes(selector) {
            axis.keep(selector, plan)?;
        }
        self.keep_artifacts(plan)?;
        if self.takes_parts {
            for name in &self.only {
                let ids: Vec<BuildId> = plan.builds.iter().map(Build::id).collect();
                let at = find_name(name, || ids.iter().map(BuildId::as_str))?;
                plan.builds = vec![plan.builds.swap_remove(at)];
            }
        } else if !self.only.is_empty() {
            self.keep_only(plan)?;
        }
        if let Some(shard) = self.shard {
            plan.builds.retain(|build| shard.contains(&build.kernel));
        }
        plan.unbuilt.retain(|unbuilt| {
            let Unbuilt { kernel, driver } = unbuilt;
            selector.matches_kernel(kernel)
                && selector.matches_driver(&driver.version)
                && self.shard.is_none_or(|shard| shard.contains(kernel))
                && self.only.is_empty()
        });
        plan.left_out.retain(|left_out| {
            selector.matches_kernel(&left_out.kernel)
                && left_out
                    .driver
                    .as_ref()
                    .is_none_or(|driver| selector.matches_driver(driver))
                && left_out
                    .artifact
                    .is_none_or(|artifact| selector.matches_artifact(artifact))
                && self
                    .shard
                    .is_none_or(|shard| shard.contains(&left_out.kernel))
                && self.only.is_empty()
        });
        Ok(())
    }

    fn keep_artifacts(&self, plan: &mut Plan) -> Result<(), FilterError> {
        let selector = &self.selector;
        if selector.artifacts.is_empty() {
            return Ok(());
        }
        let kept: Vec<Artifact> = Artifact::ALL
            .into_iter()
            .filter(|artifact| selector.matches_artifact(*artifact))
            .collect();
        let kept: Arc<[Artifact]> = kept.into();
        let builds_before = plan.builds.len();
        plan.builds.retain_mut(|build| {
            if build
                .artifacts
                .iter()
                .all(|artifact| kept.contains(artifact))
            {
                return true;
            }
            if kept
                .iter()
                .all(|artifact| build.artifacts.contains(artifact))
            {
                build.artifacts = Arc::clone(&kept);
            } else {
                build.artifacts = Arc::new([]);
            }
            !build.artifacts.is_empty()
        });
        if plan.builds.is_empty() {
            return Err(FilterError::Nothing {
                filter: option("--artifact", &selector.artifacts),
                builds: builds_before,
                examples: Artifact::ALL.map(|artifact| artifact.to_string()).to_vec(),
            });
        }
        Ok(())
    }

    fn keep_only(&self, plan: &mut Plan) -> Result<(), FilterError> {
        let wanted: HashSet<&str> = self.only.iter().map(String::as_str).collect();
        let mut missing = wanted.clone();
        let (kept, others): (Vec<Build>, Vec<Build>) = std::mem::take(&mut plan.builds)
            .into_iter()
            .partition(|build| {
                let id = build.id();
                missing.remove(id.as_str());
                wanted.contains(id.as_str())
            });
        plan.builds = kept;
        let Some(id) = self.only.iter().find(|id| missing.contains(id.as_str())) else {
            return Ok(());
        };
        let ids: Vec<BuildId> = others.iter().map(Build::id).collect();
        let near = nearest(id, ids.iter().map(BuildId::as_str)).map(str::to_owned);
        Err(FilterError::NoBuild {
            id: id.clone(),
            nearest: near,
        })
    }
}

/// An axis of the grid that selects whole builds, with the option that filters it.
struct Axis<'a> {
    option: &'static str,
    patterns: &'a [Pattern],
    matches: fn(&Selector, &Build) -> bool,
    name: fn(&Build) -> &str,
}

fn axes(selector: &Selector) -> [Axis<'_>; 4] {
    [
        Axis {
            option: "--target",
            patterns: &selector.targets,
            matches: |selector, build| selector.matches_target(&build.kernel.target),
            name: |build| build.kernel.target.as_str(),
        },
        Axis {
            option: "--arch",
            patterns: &selector.architectures,
            matches: |selector, build| selector.matches_architecture(build.kernel.architecture),
            name: |build| build.kernel.architecture.as_str(),
        },
        Axis {
            option: "--driver",
            patterns: &selector.drivers,
            matches: |selector, build| selector.matches_driver(&build.driver.version),
            name: |build| build.driver.version.as_str(),
        },
        Axis {
            option: "--kernel",
            patterns: &selector.kernels,
            matches: |selector, build| selector.matches_kernel(&build.kernel),
            name: |build| build.kernel.release.as_str(),
        },
    ]
}

impl Axis<'_> {
    fn keep(&self, selector: &Selector, plan: &mut Plan) -> Result<(), FilterError> {
        if self.patterns.is_empty() {
            return Ok(());
        }
        let (kept, others): (Vec<Build>, Vec<Build>) = std::mem::take(&mut plan.builds)
            .into_iter()
            .partition(|build| (self.matches)(selector, build));
        plan.builds = kept;
        if !plan.builds.is_empty() {
            return Ok(());
        }
        let names: BTreeSet<&str> = others.iter().map(self.name).collect();
        Err(FilterError::Nothing {
            filter: option(self.option, self.patterns),
            builds: others.len(),
            examples: self.examples(&names),
        })
    }

    /// Returns the names most similar to the patterns, or the first few names if none is similar.
    fn examples(&self, names: &BTreeSet<&str>) -> Vec<String> {
        let near: Vec<String> = self
            .patterns
            .iter()
            .filter_map(|pattern| nearest(pattern.as_str(), names.iter().copied()))
            .map(str::to_owned)
            .collect();
        if near.is_empty() {
            names
                .iter()
                .take(EXAMPLES)
                .map(|name| (*name).to_owned())
                .collect()
        } else {
            near
        }
    }
}

fn option(name: &str, patterns: &[Pattern]) -> String {
    patterns
        .iter()
        .map(|pattern| format!("{name} {pattern:?}", pattern = pattern.as_str()))
        .collect::<Vec<_>>()
        .join(" ")
}
