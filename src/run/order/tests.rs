use super::*;
use crate::driver::{Artifact, Driver, DriverLocation};
use crate::kernel::{Architecture, Kernel};
use crate::plan::BuildSettings;
use std::sync::Arc;

fn build(release: &str, driver: &str) -> Build {
    Build {
        kernel: Arc::new(Kernel {
            target: "debian".parse().unwrap(),
            release: release.parse().unwrap(),
            version: "1".parse().unwrap(),
            architecture: Architecture::Amd64,
            packages: crate::kernel::PackageSet::default(),
            config_sha256: None,
            upstream: None,
            image: None,
            source: "inline".into(),
        }),
        driver: Arc::new(Driver {
            version: driver.parse().unwrap(),
            location: DriverLocation::Path("/driver".into()),
            module_name: "falco".into(),
            device_name: "falco".into(),
        }),
        artifacts: Arc::new([Artifact::Module]),
        settings: Arc::new(BuildSettings::default()),
    }
}

fn add(history: &mut History, build: &Build, took: Duration) {
    history.add(build.id(), build.driver.version.clone(), took);
}

#[test]
fn the_longest_kernels_come_first_and_builds_of_a_kernel_stay_together() {
    let short = build("6.1.1-1-amd64", "1");
    let long = build("6.1.2-1-amd64", "1");
    let long_too = build("6.1.2-1-amd64", "2");
    let mut history = History::default();
    add(&mut history, &short, Duration::from_secs(5));
    add(&mut history, &long, Duration::from_secs(9));
    add(&mut history, &long_too, Duration::from_secs(1));
    let mut builds = vec![short.clone(), long_too.clone(), long.clone()];
    longest_first(&mut builds, &history);
    assert_eq!(builds, [long, long_too, short]);
}

#[test]
fn an_unknown_build_is_estimated_by_the_mean_of_its_driver() {
    let mut history = History::default();
    add(
        &mut history,
        &build("6.1.1-1-amd64", "1"),
        Duration::from_secs(4),
    );
    add(
        &mut history,
        &build("6.1.2-1-amd64", "1"),
        Duration::from_secs(8),
    );
    let unseen = build("6.1.3-1-amd64", "1");
    assert_eq!(history.expected(&unseen), Duration::from_secs(6));
    assert_eq!(
        history.expected(&build("6.1.3-1-amd64", "2")),
        Duration::ZERO
    );
}
