use std::fs::File;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode as Permissions, OFlags, mknodat};

use super::*;
use crate::digest::Sha256;
use crate::driver::{Artifact, Driver, DriverLocation};
use crate::engine::{SecondExecutor, StopReason};
use crate::event::Reproduce;
use crate::fetch;
use crate::kernel::{Kernel, Package};
use crate::matrix::Prove;
use crate::plan::BuildSettings;

const BUILDS: usize = 16;

/// A timeout that is longer than anything here takes unless it hangs.
const PATIENCE: Duration = Duration::from_mins(1);

/// Returns builds of kernels whose headers are the directory `headers`.
fn plan_of(headers: &Path) -> Plan {
    let releases: Vec<String> = (0..BUILDS)
        .map(|number| format!("6.1.{number}-acme"))
        .collect();
    let releases: Vec<&str> = releases.iter().map(String::as_str).collect();
    plan_of_releases(headers, "generic", &releases)
}

fn plan_of_releases(headers: &Path, target: &str, releases: &[&str]) -> Plan {
    let package = Package::at(headers.to_str().unwrap());
    let build = |release: &&str| Build {
        kernel: Arc::new(Kernel {
            target: target.parse().unwrap(),
            release: release.parse().unwrap(),
            version: "1".parse().unwrap(),
            architecture: Architecture::Amd64,
            packages: [package.clone()].into_iter().collect(),
            config_sha256: None,
            upstream: None,
            image: None,
            source: "inline".into(),
        }),
        driver: Arc::new(Driver {
            version: "1.0.0".parse().unwrap(),
            location: DriverLocation::Path("/nonexistent".into()),
            module_name: "falco".into(),
            device_name: "falco".into(),
        }),
        artifacts: Arc::new([Artifact::Module]),
        settings: Arc::new(BuildSettings::default()),
    };
    Plan {
        builds: releases.iter().map(build).collect(),
        ..Plan::default()
    }
}

fn parts_in(root: &Path, stop: &Arc<Stop>) -> Parts {
    let store = Arc::new(Store::open(&root.join("cache"), "run").unwrap());
    // The events are discarded.
    let (sender, _) = mpsc::channel();
    Parts {
        run_id: "run".to_owned(),
        host: Architecture::Amd64,
        fetcher: Fetcher::new(store.clone(), fetch::Settings::default()),
        store,
        toolchains: Toolchains::Host {
            identity: Sha256::of("gcc"),
            compilers: vec![(Architecture::Amd64, "12".parse().unwrap())],
        },
        out: OutFolder::open(&root.join("out")).unwrap(),
        events: Events::new(sender),
        stop: stop.clone(),
    }
}

/// Opens the pipe for writing, if it has a reader.
fn open_if_read(pipe: &Path) -> Option<File> {
    let no_wait = OFlags::NONBLOCK.bits().cast_signed();
    let mut options = File::options();
    options.write(true).custom_flags(no_wait).open(pipe).ok()
}

/// The headers' Makefile is a pipe when builds start, so reading the tree takes until the test lets it end.
#[test]
fn a_signal_ends_a_run_during_file_work_of_its_builds() {
    let folder = tempfile::tempdir().unwrap();
    let headers = folder.path().join("headers");
    crate::fs::create_folder(&headers).unwrap();
    let makefile = headers.join("Makefile");
    crate::fs::write(&makefile, "").unwrap();

    let stop = Arc::new(Stop::default());
    let settings = RunSettings {
        jobs: BUILDS,
        fail_fast: false,
        deadline: None,
        retry: RetryClasses::default(),
        history: History::default(),
        reproduce: Reproduce::Same(Vec::new()),
        brings: Brings::All,
        annotations: None,
        only_built: false,
        prove: None,
        signer: None,
        double: None,
        second: SecondExecutor::default(),
    };
    let parts = parts_in(folder.path(), &stop);
    let run = Run::look_up(parts, settings, &plan_of(&headers));
    assert_eq!(run.missing(), BUILDS);
    crate::fs::remove_file(&makefile).unwrap();
    let mode = Permissions::RUSR | Permissions::WUSR;
    mknodat(CWD, &makefile, FileType::Fifo, mode, 0).unwrap();

    let (ended, has_ended) = mpsc::channel();
    let signal = std::thread::spawn(move || {
        let start = Instant::now();
        let reading = loop {
            match open_if_read(&makefile) {
                Some(reading) => break reading,
                None if start.elapsed() > PATIENCE => panic!("nobody read the tree"),
                None => std::thread::yield_now(),
            }
        };
        stop.request(StopReason::Signal);
        let has_ended = has_ended.recv_timeout(PATIENCE).is_ok();
        drop(reading);
        has_ended
    });
    // A single thread runs everything that must not block.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let result = runtime.block_on(run.finish(None)).unwrap();
    // The thread of the signal may have timed out.
    let _ = ended.send(());
    runtime.shutdown_background();
    assert!(signal.join().unwrap(), "the run waited for its file work");
    assert_eq!(result.stopped, Some(StopReason::Signal));
    assert_eq!(result.exit_code(), 130);
    assert_eq!(result.statuses.values().sum::<usize>(), BUILDS);
}

#[test]
fn the_newest_of_a_series_is_proven_and_the_others_once_each_round() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan_of(folder.path());
    let newest = plan
        .builds
        .iter()
        .max_by(|left, right| left.kernel.release.cmp(&right.kernel.release))
        .unwrap();
    let mut turns = vec![0; plan.builds.len()];
    for day in 100..130 {
        let proving = Proving::new(&plan, Some(Prove::Series), day);
        assert_eq!(proving.scope(newest), Some(Scope::WITH_PROBES));
        for (turns, build) in turns.iter_mut().zip(&plan.builds) {
            *turns += u32::from(proving.has(build));
        }
    }
    for (turns, build) in turns.iter().zip(&plan.builds) {
        let expected = if build.id() == newest.id() { 30 } else { 1 };
        assert_eq!(*turns, expected, "{}", build.id().as_str());
    }
    let nobody = Proving::new(&plan, None, 100);
    assert!(!plan.builds.iter().any(|build| nobody.has(build)));
    let all = Proving::new(&plan, Some(Prove::All), 100);
    assert!(plan.builds.iter().all(|build| all.has(build)));
}

#[test]
fn one_flavour_of_a_series_proves_its_probes() {
    let folder = tempfile::tempdir().unwrap();
    let releases = [
        "6.1.0-4-amd64",
        "6.1.0-9-amd64",
        "6.1.0-9-cloud-amd64",
        "6.1.0-9-rt-amd64",
        "6.12.2-rt-amd64",
    ];
    let plan = plan_of_releases(folder.path(), "debian", &releases);
    let modules = Some(Scope::MODULES);
    let probes = Some(Scope::WITH_PROBES);
    let mut turns = [0; 5];
    for day in 0..30 {
        let proving = Proving::new(&plan, Some(Prove::Series), day);
        let scopes: Vec<Option<Scope>> = plan
            .builds
            .iter()
            .map(|build| proving.scope(build))
            .collect();
        // Only the older kernel and flavours with more words wait for their turns.
        assert!(scopes[0].is_none() || scopes[0] == probes);
        assert_eq!((scopes[1], scopes[4]), (probes, probes));
        assert!(
            scopes[2..4]
                .iter()
                .all(|scope| [modules, probes].contains(scope))
        );
        for (turns, scope) in turns.iter_mut().zip(scopes) {
            *turns += u32::from(scope == probes);
        }
    }
    assert_eq!(turns, [1, 30, 1, 1, 30]);
    let all = Proving::new(&plan, Some(Prove::All), 0);
    assert!(
        plan.builds
            .iter()
            .all(|build| all.scope(build) == Some(Scope::ALL))
    );
}
