//! Tests of the program with real engines, real files and real faults: Docker, Podman, bubblewrap, package managers,
//! kernels.
//!
//! No test is skipped: on a machine without Docker or bubblewrap, the tests fail with advice (`scripts/setup.sh`).

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod apt_mirror;
mod apt_signatures;
mod attestations;
mod browser;
mod bucket_faults;
mod buckets;
mod builder_repositories;
mod built_kernels;
#[cfg(feature = "kubernetes")]
mod cluster;
mod compressed_kernels;
mod configure_checks;
mod docker_hosts;
mod doubles;
mod driver_sources;
mod executors;
mod fetch_drivers;
mod host_programs;
mod hostile;
mod images;
mod kvm;
mod leases;
mod nights;
mod podman;
mod prepared_sources;
mod proof;
mod proxy;
mod publishing;
mod readme;
mod real_builds;
mod real_daemons;
mod real_driverkit;
mod real_local;
mod round_trip;
mod rpm_repositories;
mod signing;
mod subscriptions;
mod targets;
mod unpack;
