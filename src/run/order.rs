//! The order in which builds start: longest first, by their duration in earlier runs, so that no long build remains for
//! the end.

use std::collections::HashMap;
use std::time::Duration;

use crate::driver::DriverVersion;
use crate::plan::{Build, BuildId};

/// The durations of builds in earlier runs.
#[derive(Clone, Debug, Default)]
pub struct History {
    by_build: HashMap<BuildId, Duration>,
    by_driver: HashMap<DriverVersion, (Duration, u32)>,
}

impl History {
    /// Adds the duration of a build of a driver version.
    pub fn add(&mut self, build: BuildId, driver: DriverVersion, took: Duration) {
        let (sum, count) = self.by_driver.entry(driver).or_default();
        *sum += took;
        *count += 1;
        self.by_build.insert(build, took);
    }

    /// Returns the expected duration of a build: its last duration, or else the mean of its driver version, or else
    /// zero.
    fn expected(&self, build: &Build) -> Duration {
        let mean = || {
            let (sum, count) = self.by_driver.get(&build.driver.version)?;
            Some(*sum / *count)
        };
        let own = self.by_build.get(&build.id()).copied();
        own.or_else(mean).unwrap_or_default()
    }
}

/// Sorts builds so that kernels with the longest builds start first. Builds of one kernel stay together, so that its
/// trees are unpacked and its checks run once, when they are needed. Otherwise, the order of the plan is preserved.
pub fn longest_first(builds: &mut [Build], history: &History) {
    let mut longest: HashMap<_, Duration> = HashMap::new();
    for build in builds.iter() {
        let expected = history.expected(build);
        let kernel = longest.entry(build.kernel.id()).or_default();
        *kernel = (*kernel).max(expected);
    }
    builds.sort_by_cached_key(|build| {
        let of_kernel = longest.get(&build.kernel.id()).copied().unwrap_or_default();
        let own = history.expected(build);
        (
            std::cmp::Reverse(of_kernel),
            build.kernel.id(),
            std::cmp::Reverse(own),
        )
    });
}

#[cfg(test)]
mod tests;
