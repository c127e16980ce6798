//! Since when kernels are known.

use std::sync::Arc;

use jiff::civil::Date;

use crate::kernel::{Identity, Kernel};

/// The days on which kernels were first seen, of those that a lock knows. Asked for few of many kernels, so they are
/// found in the order of the locks.
#[derive(Clone, Debug, Default)]
pub struct FirstSeen(Vec<Vec<(Arc<Kernel>, Date)>>);

impl FirstSeen {
    /// Adds the kernels of a lock, which are sorted by identity.
    pub fn add(&mut self, kernels: Vec<(Arc<Kernel>, Date)>) {
        self.0.push(kernels);
    }

    /// The first of the days that locks know for a kernel.
    pub fn of(&self, kernel: Identity<'_>) -> Option<Date> {
        let days = self.0.iter().flat_map(|kernels| {
            let start = kernels.partition_point(|(one, _)| one.identity() < kernel);
            let same = kernels[start..].iter();
            same.take_while(|(one, _)| one.identity() == kernel)
        });
        days.map(|(_, day)| *day).min()
    }
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
    fn first_of_the_days_that_locks_know_counts() {
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
            let found = first_seen.of(kernel(release).identity());
            assert_eq!(found.map(Date::day), day, "{release}");
        }
    }
}
