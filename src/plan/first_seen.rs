//! The days on which kernels were first seen.

use std::sync::Arc;

use jiff::civil::Date;

use crate::kernel::{Identity, Kernel};

/// The kernels of a lock with the days on which they were first seen, sorted by identity.
type Known = [(Arc<Kernel>, Date)];

/// The days on which the kernels in locks were first seen. Few of the many kernels are looked up, so the kernels stay
/// in the sorted lists of the locks and are found by binary search.
#[derive(Clone, Debug, Default)]
pub struct FirstSeen(Vec<Vec<(Arc<Kernel>, Date)>>);

impl FirstSeen {
    /// Adds the kernels of a lock, which are sorted by identity.
    pub fn add(&mut self, kernels: Vec<(Arc<Kernel>, Date)>) {
        self.0.push(kernels);
    }

    /// Returns the earliest day that the locks have for a kernel.
    pub fn of(&self, kernel: Identity<'_>) -> Option<Date> {
        first_day(self.0.iter().map(Vec::as_slice), kernel)
    }

    /// Returns the days of the kernels from `first` to `last`, so that lookups of neighbours search a short list.
    pub(super) fn between(&self, first: Identity<'_>, last: Identity<'_>) -> NearFirstSeen<'_> {
        let near = self.0.iter().map(|known| {
            let start = known.partition_point(|(one, _)| one.identity() < first);
            let known = &known[start..];
            &known[..known.partition_point(|(one, _)| one.identity() <= last)]
        });
        NearFirstSeen(near.collect())
    }
}

/// A part of [`FirstSeen`].
pub(super) struct NearFirstSeen<'a>(Vec<&'a Known>);

impl NearFirstSeen<'_> {
    /// Returns the earliest day that the locks have for a kernel of this part.
    pub(super) fn of(&self, kernel: Identity<'_>) -> Option<Date> {
        first_day(self.0.iter().copied(), kernel)
    }
}

fn first_day<'a>(locks: impl Iterator<Item = &'a Known>, kernel: Identity<'_>) -> Option<Date> {
    let days = locks.flat_map(|known| {
        let start = known.partition_point(|(one, _)| one.identity() < kernel);
        let same = known[start..].iter();
        same.take_while(move |(one, _)| one.identity() == kernel)
    });
    days.map(|(_, day)| *day).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{Architecture, PackageSet};

    fn kernel(release: &str) -> Arc<Kernel> {
        Arc::new(Kernel {
            target: "debian".parse().unwrap(),
            release: release.parse().unwrap(),
            version: "1".parse().unwrap(),
            architecture: Architecture::Amd64,
            packages: PackageSet::default(),
            config_sha256: None,
            upstream: None,
            image: None,
            source: "mirror".into(),
        })
    }

    #[test]
    fn the_earliest_first_seen_day_of_all_locks_is_used() {
        let lock = |kernels: &[(&str, i8)]| -> Vec<(Arc<Kernel>, Date)> {
            let day = |day| jiff::civil::date(2026, 11, day);
            let kernels = kernels.iter();
            kernels
                .map(|&(release, seen)| (kernel(release), day(seen)))
                .collect()
        };
        let mut first_seen = FirstSeen::default();
        first_seen.add(lock(&[("5.9.1", 7), ("5.10.1", 5), ("5.10.1", 4)]));
        first_seen.add(lock(&[("5.9.1", 3), ("5.10.1", 6)]));
        for (release, day) in [
            ("5.9.1", Some(3)),
            ("5.10.1", Some(4)),
            ("5.10.2", None),
            ("5.8.0", None),
        ] {
            let kernel = kernel(release);
            let kernel = kernel.identity();
            let near = first_seen.between(kernel, kernel);
            for found in [first_seen.of(kernel), near.of(kernel)] {
                assert_eq!(found.map(Date::day), day, "{release}");
            }
        }
    }
}
