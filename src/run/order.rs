//! In which order builds start: longest first by what earlier runs took, so that no long one is left for the end.

use std::collections::HashMap;
use std::time::Duration;

use crate::plan::{Build, BuildId};

/// How long builds took in earlier runs.
#[derive(Clone, Debug, Default)]
pub struct History {
    by_build: HashMap<BuildId, Duration>,
    by_driver: HashMap<String, (Duration, u32)>,
}

impl History {
    /// Adds what one build took.
    pub fn add(&mut self, build: BuildId, took: Duration) {
        let driver = driver_of(build.as_str()).to_owned();
        let (sum, count) = self.by_driver.entry(driver).or_default();
        *sum += took;
        *count += 1;
        self.by_build.insert(build, took);
    }

    /// What a build will take: what it took last time, else the mean of its driver version; zero if that is unknown too.
    fn expected(&self, id: &BuildId) -> Duration {
        let mean = || {
            let (sum, count) = self.by_driver.get(driver_of(id.as_str()))?;
            Some(*sum / *count)
        };
        let own = self.by_build.get(id).copied();
        own.or_else(mean).unwrap_or_default()
    }
}

fn driver_of(build: &str) -> &str {
    build.split('/').next().unwrap_or_default()
}

/// Sorts builds so that the longest kernels start first. Builds of one kernel stay together, so that its trees are
/// unpacked and its checks run once, while they are needed; equal ones keep the plan's order.
pub fn longest_first(builds: &mut [Build], history: &History) {
    let mut longest: HashMap<_, Duration> = HashMap::new();
    for build in builds.iter() {
        let expected = history.expected(&build.id());
        let kernel = longest.entry(kernel_address(build)).or_default();
        *kernel = (*kernel).max(expected);
    }
    builds.sort_by_cached_key(|build| {
        let of_kernel = longest
            .get(&kernel_address(build))
            .copied()
            .unwrap_or_default();
        let own = history.expected(&build.id());
        (
            std::cmp::Reverse(of_kernel),
            build.kernel.identity_text(),
            std::cmp::Reverse(own),
        )
    });
}

fn kernel_address(build: &Build) -> String {
    build.kernel.identity_text()
}

#[cfg(test)]
mod tests;
