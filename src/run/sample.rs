//! The builds that are repeated: a part of the plan that is the same each night.

use std::collections::HashSet;
use std::str::FromStr;

use crate::digest::Sha256;
use crate::plan::{Build, BuildId, Plan};

/// The size of a sample of a plan's builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// This number of hundredths of a percent of the builds, at least one build.
    Share(u32),
    /// This number of builds.
    Count(usize),
}

impl Sample {
    /// Returns the size of the sample of `all` builds.
    fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Share(hundredths) => {
                (all * usize::try_from(hundredths).unwrap_or(usize::MAX)).div_ceil(10_000)
            }
        }
    }
}

impl FromStr for Sample {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = || {
            format!(
                "invalid sample `{text}`: expected a number of builds or a share from 0.01% to 100%"
            )
        };
        let Some(share) = text.strip_suffix('%') else {
            let count = text.parse().ok().filter(|count| *count > 0);
            return count.map(Self::Count).ok_or_else(expected);
        };
        let (whole, fraction) = share.split_once('.').unwrap_or((share, "0"));
        let is_number =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.len() > 2 {
            return Err(expected());
        }
        let hundredths: Option<u32> = format!("{whole}{fraction:0<2}").parse().ok();
        hundredths
            .filter(|hundredths| (1..=10_000).contains(hundredths))
            .map(Self::Share)
            .ok_or_else(expected)
    }
}

/// The builds of a plan that are repeated.
#[derive(Debug, Default)]
pub(super) struct Sampled {
    builds: HashSet<BuildId>,
}

impl Sampled {
    /// Selects the builds of `plan` whose names have the lowest digests.
    pub(super) fn new(plan: &Plan, sample: Option<Sample>) -> Self {
        let Some(sample) = sample else {
            return Self::default();
        };
        let mut builds: Vec<(Sha256, BuildId)> = plan
            .builds
            .iter()
            .map(Build::id)
            .map(|build| (Sha256::of(build.as_str()), build))
            .collect();
        builds.sort();
        let count = sample.of(builds.len());
        let builds = builds.into_iter().take(count);
        Self {
            builds: builds.map(|(_, build)| build).collect(),
        }
    }

    /// Whether a build is repeated.
    pub(super) fn has(&self, build: &BuildId) -> bool {
        self.builds.contains(build)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_and_numbers_are_parsed() {
        for (text, of_1000) in [
            ("1%", 10),
            ("0.01%", 1),
            ("2.5%", 25),
            ("100%", 1000),
            ("7", 7),
        ] {
            let sample: Sample = text.parse().unwrap();
            assert_eq!(sample.of(1000), of_1000, "{text}");
        }
        assert_eq!("1%".parse::<Sample>().unwrap().of(3), 1);
        for text in [
            "", "0", "-1", "0%", "%", "101%", "1.%", ".5%", "0.001%", "x",
        ] {
            assert!(text.parse::<Sample>().is_err(), "{text}");
        }
    }
}
