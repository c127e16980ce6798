//! Events of a simulated run, to test the readers of events.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::driver::{Artifact, Driver, DriverLocation};
use driverkit_matrix::event::{
    ArtifactReport, BuildReport, Common, Event, EventKind, HostFacts, HostPrograms, InputReport,
    Reproduce, RunFacts, ToolchainReport, TreeOrigin, TreeReport,
};
use driverkit_matrix::failure::{CompilerError, Failure, FailureClass, Phase, Status};
use driverkit_matrix::kernel::{Architecture, Kernel, PackageSet};
use driverkit_matrix::plan::{Build, BuildSettings, LeftOut};
use driverkit_matrix::report::log_path;
use jiff::Timestamp;

/// The start time of the simulated runs.
pub const START: &str = "2026-11-23T01:00:00Z";

/// Returns an event `millis` milliseconds after the start.
pub fn event(millis: u64, kind: EventKind) -> Event {
    let elapsed = Duration::from_millis(millis);
    Event {
        at: at(millis),
        elapsed,
        kind,
    }
}

fn at(millis: u64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + Duration::from_millis(millis)
}

pub fn kernel(release: &str, architecture: Architecture) -> Kernel {
    Kernel {
        target: "debian".parse().unwrap(),
        release: release.parse().unwrap(),
        version: "1".parse().unwrap(),
        architecture,
        packages: PackageSet::default(),
        config_sha256: None,
        upstream: None,
        image: None,
        source: "mirror".into(),
    }
}

pub fn build(release: &str, architecture: Architecture, driver: &str) -> Build {
    Build {
        kernel: Arc::new(kernel(release, architecture)),
        driver: Arc::new(Driver {
            version: driver.parse().unwrap(),
            location: DriverLocation::Path("libs".into()),
            module_name: "falco".to_owned(),
            device_name: "falco".to_owned(),
        }),
        artifacts: Arc::new([Artifact::Module]),
        settings: Arc::new(BuildSettings::default()),
    }
}

/// Returns a build that left the queue at second `second` and took 14.2 seconds, without artifacts.
pub fn report(build: &Build, second: u64) -> BuildReport {
    BuildReport {
        build_id: build.id(),
        target: build.kernel.target.clone(),
        kernel_release: build.kernel.release.clone(),
        kernel_version: build.kernel.version.clone(),
        architecture: build.kernel.architecture,
        driver_version: build.driver.version.clone(),
        module_name: build.driver.module_name.clone(),
        device_name: build.driver.device_name.clone(),
        source: Arc::clone(&build.kernel.source),
        first_seen: Some(jiff::civil::date(2026, 11, 2)),
        artifacts: Common::default(),
        inputs: vec![InputReport {
            url: "http://mirror.example/linux-headers.deb".into(),
            sha256: Some(Sha256::of("headers")),
            size_bytes: Some(1_234_567),
        }]
        .into(),
        driver_sha256: Some(Sha256::of("driver")),
        toolchain: Some(Common::from(ToolchainReport {
            image: "driverkit-matrix/builder:bookworm".to_owned(),
            image_sha256: Sha256::of("image"),
            gcc_wanted: "12".to_owned(),
            gcc_used: "12.2.0".to_owned(),
            reason: "the kernel's own".to_owned(),
        })),
        tree: Some(TreeReport {
            origin: TreeOrigin::Headers,
            symbols_checked: true,
            host_programs: HostPrograms::Packaged,
        }),
        checks: [("CLASS_CREATE_1", false), ("ACCESS_OK_2", true)]
            .map(|(name, passed)| (name.to_owned(), passed))
            .into_iter()
            .collect(),
        retries: Vec::new(),
        phases: vec![
            (Phase::Fetch, Duration::from_millis(1_200)),
            (Phase::Module, Duration::from_secs(13)),
        ],
        cpu: Some(Duration::from_millis(11_400)),
        peak_memory_bytes: Some(230_000_000),
        started: at(second * 1000),
        finished: at(second * 1000 + 15_000),
    }
}

fn artifact(build: &Build, artifact: Artifact, status: Status) -> ArtifactReport {
    let path = build.artifact_path(artifact);
    let is_begun = status != Status::NotRun;
    ArtifactReport {
        artifact,
        status,
        failure: None,
        failure_is_cached: false,
        key: is_begun.then(|| Sha256::of(build.id().as_str())),
        path: None,
        aliases: Vec::new(),
        name_taken_by: None,
        sha256: None,
        size_bytes: None,
        vermagic: None,
        srcversion: None,
        log: is_begun.then(|| log_path(&path)),
        ..ArtifactReport::not_run(artifact)
    }
}

/// Returns an artifact that exists.
pub fn there(build: &Build, kind: Artifact, status: Status) -> ArtifactReport {
    let release = build.kernel.release.as_str();
    ArtifactReport {
        path: Some(build.artifact_path(kind)),
        sha256: Some(Sha256::of(format!("{} {kind}", build.id()))),
        size_bytes: Some(700_123),
        vermagic: (kind == Artifact::Module)
            .then(|| format!("{release} SMP mod_unload modversions")),
        srcversion: (kind == Artifact::Module).then(|| "0123456789ABCDEF".to_owned()),
        ..artifact(build, kind, status)
    }
}

/// Returns an artifact that does not exist.
pub fn missing(build: &Build, kind: Artifact, failure: &Failure) -> ArtifactReport {
    ArtifactReport {
        failure: Some(failure.clone()),
        ..artifact(build, kind, failure.class.status())
    }
}

/// Returns an artifact that was not started.
pub fn not_run(build: &Build, kind: Artifact) -> ArtifactReport {
    artifact(build, kind, Status::NotRun)
}

/// Returns the error of an old driver compiled for a new kernel.
pub fn compile_error() -> Failure {
    Failure {
        first_error: Some(CompilerError {
            file: "ppm_fillers.c".to_owned(),
            line: 1234,
            message: "implicit declaration of function 'class_create'".to_owned(),
        }),
        exit_code: Some(2),
        ..Failure::new(
            FailureClass::Compile,
            Phase::Module,
            "make ended with exit code 2",
        )
    }
}

pub fn facts(run_id: &str, builds: usize, artifacts: usize) -> RunFacts {
    RunFacts {
        run_id: run_id.to_owned(),
        started: at(0),
        tool_version: "0.1.0".to_owned(),
        command: vec![
            "driverkit-matrix".to_owned(),
            "run".to_owned(),
            "matrices/debian.toml".to_owned(),
        ],
        reproduce: Some(Reproduce::Rebuild(vec!["matrices/debian.toml".to_owned()])),
        host: HostFacts {
            architecture: Architecture::Amd64,
            system: "Debian GNU/Linux 12, Linux 6.1.0-56-amd64".to_owned(),
            cores: 2,
            memory_bytes: 8 << 30,
        },
        executor: "docker".to_owned(),
        executor_version: "20.10.24".to_owned(),
        jobs: 2,
        shard: None,
        is_partial: false,
        matrices: vec![(PathBuf::from("matrices/debian.toml"), Sha256::of("matrix"))],
        plan_sha256: Sha256::of("plan"),
        builds,
        artifacts,
        left_out: Vec::new(),
        images: vec![(
            "driverkit-matrix/builder:bookworm".to_owned(),
            Sha256::of("image"),
        )],
    }
}

pub fn left_out(release: &str, rule: &str, reason: &str) -> LeftOut {
    LeftOut {
        kernel: Arc::new(kernel(release, Architecture::Amd64)),
        driver: Some("0.23.2".parse().unwrap()),
        artifact: Some(Artifact::Probe),
        rule: rule.into(),
        reason: reason.into(),
        place: Some("matrices/debian.toml:7".into()),
        first_seen: None,
    }
}

/// Returns the event of a build that finished at second `second`.
pub fn finished(build: &Build, second: u64, artifacts: Vec<ArtifactReport>) -> Event {
    let report = BuildReport {
        artifacts: artifacts.into(),
        ..report(build, second)
    };
    event(
        second * 1000 + 15_000,
        EventKind::BuildFinished(Arc::new(report)),
    )
}

/// Returns the event of a fully cached build.
pub fn cached(build: &Build, second: u64) -> Event {
    let artifacts = vec![there(build, Artifact::Module, Status::Cached)];
    let report = BuildReport {
        artifacts: artifacts.into(),
        phases: Vec::new(),
        cpu: None,
        peak_memory_bytes: None,
        finished: at(second * 1000),
        ..report(build, second)
    };
    event(second * 1000, EventKind::BuildFinished(Arc::new(report)))
}

/// Returns the events of a run that contains each kind of result.
#[expect(clippy::too_many_lines, reason = "a list of events")]
pub fn small_run(run_id: &str) -> Vec<Event> {
    let facts = RunFacts {
        left_out: vec![
            left_out(
                "4.9.0-1-amd64",
                "support floor",
                "a probe needs kernel 4.14",
            ),
            left_out(
                "4.9.0-2-amd64",
                "support floor",
                "a probe needs kernel 4.14",
            ),
            left_out(
                "3.16.0-1-amd64",
                "exclude",
                "below the floor of this driver",
            ),
        ],
        ..facts(run_id, 7, 8)
    };
    let amd64 = |release, driver| build(release, Architecture::Amd64, driver);
    let both = amd64("6.1.0-56-amd64", "0.20.0+driver");
    let old = [
        amd64("6.12.9-1-amd64", "7.0.0+driver"),
        amd64("6.12.10-1-amd64", "7.0.0+driver"),
    ];
    let arm = build("6.1.0-56-arm64", Architecture::Arm64, "0.20.0+driver");
    let gone = amd64("5.10.0-40-amd64", "0.20.0+driver");
    let known = amd64("6.1.0-9-amd64", "0.20.0+driver");
    let late = amd64("7.2.0-1-amd64", "0.20.0+driver");
    let fetch = |class, answer: &str| {
        let message = format!("http://mirror.example/linux-headers.deb answered {answer}");
        Failure::new(class, Phase::Fetch, message)
    };
    let download = fetch(FailureClass::Download, "503");
    let not_found = fetch(FailureClass::HeadersNotFound, "404");
    let mut as_before = missing(&old[1], Artifact::Module, &compile_error());
    as_before.failure_is_cached = true;
    vec![
        event(0, EventKind::RunStarted(Box::new(facts))),
        event(
            5,
            EventKind::Note {
                message: "2 containers of a dead run were removed".to_owned(),
            },
        ),
        cached(&known, 0),
        event(20, EventKind::BuildStarted { build: both.id() }),
        event(
            30,
            EventKind::PhaseStarted {
                build: both.id(),
                phase: Phase::Fetch,
                live_log: None,
            },
        ),
        event(
            40,
            EventKind::Retrying {
                build: both.id(),
                failure: Box::new(download.clone()),
                attempt: 1,
                wait: Duration::from_secs(2),
            },
        ),
        finished(
            &both,
            1,
            vec![
                there(&both, Artifact::Module, Status::Built),
                missing(
                    &both,
                    Artifact::Probe,
                    &Failure::new(
                        FailureClass::Timeout,
                        Phase::Probe,
                        "the probe took longer than 10 minutes",
                    ),
                ),
            ],
        ),
        finished(
            &old[0],
            2,
            vec![missing(&old[0], Artifact::Module, &compile_error())],
        ),
        finished(&old[1], 3, vec![as_before]),
        finished(&arm, 4, vec![there(&arm, Artifact::Module, Status::Built)]),
        finished(&gone, 5, vec![missing(&gone, Artifact::Module, &not_found)]),
        event(
            21_000,
            EventKind::Stopping {
                reason: "SIGTERM".to_owned(),
            },
        ),
        finished(&late, 6, vec![not_run(&late, Artifact::Module)]),
        event(
            22_000,
            EventKind::RunFinished {
                duration: Duration::from_secs(22),
                exit_code: 130,
            },
        ),
    ]
}
