//! Measures the overhead of a job in the Docker executor over `docker run` of the same script with the same
//! restrictions.
//!
//! `cargo bench --bench docker`: alternating pairs, medians. It needs a Docker daemon on this machine with the image
//! `driverkit-matrix/builder:bookworm` (`driverkit-matrix images build bookworm`), and reports if that image is missing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use driverkit_matrix::executor::{
    DockerExecutor, Executor as _, Exit, Job, Limits, Toolchain, image_identity,
};
use support::tell::{median, tell};
use tokio_util::sync::CancellationToken;

const IMAGE: &str = "driverkit-matrix/builder:bookworm";
const PAIRS: usize = 21;
const MEMORY_BYTES: u64 = 2 << 30;
const PROCESSES: u32 = 1024;

fn main() {
    let Some(toolchain) = toolchain() else {
        tell(
            "overhead of a Docker job",
            "no daemon or no image",
            "150 ms",
        );
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let executor = runtime
        .block_on(DockerExecutor::connect())
        .expect("a daemon");
    let output = tempfile::tempdir().expect("a temporary folder");
    let job = Job {
        name: "overhead".to_owned(),
        run_id: "bench".to_owned(),
        toolchain,
        script: "true".to_owned(),
        mounts: Vec::new(),
        environment: Vec::new(),
        network: driverkit_matrix::executor::Network::None,
        kvm: false,
        limits: Limits {
            timeout: Duration::from_mins(1),
            memory_bytes: MEMORY_BYTES,
            output_bytes: 2 << 30,
            output_files: 200_000,
            processes: PROCESSES,
        },
        output: output.path().to_owned(),
    };
    let through_executor = || {
        let start = Instant::now();
        let mut log = Vec::new();
        let cancel = CancellationToken::new();
        let done = runtime
            .block_on(executor.run(&job, &mut log, &cancel))
            .expect("a job that can be run");
        assert_eq!(
            done.exit,
            Exit::Code(0),
            "{}",
            String::from_utf8_lossy(&log)
        );
        start.elapsed()
    };
    let bare = || {
        let start = Instant::now();
        let status = docker_run(output.path()).status().expect("docker");
        assert!(status.success(), "docker run: {status}");
        start.elapsed()
    };
    // The first job of an executor also asks the daemon for the image, and checks whether the daemon sees this
    // machine's directories.
    let first = through_executor();
    bare();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        if pair % 2 == 0 {
            ours.push(through_executor());
            theirs.push(bare());
        } else {
            theirs.push(bare());
            ours.push(through_executor());
        }
    }
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
    let (ours, theirs) = (milliseconds(median(ours)), milliseconds(median(theirs)));
    let result = format!("{:.0} ms ({ours:.0} - {theirs:.0})", ours - theirs);
    tell("overhead of a Docker job", &result, "150 ms");
    let result = format!("{:.0} ms", milliseconds(first));
    tell("first job of a run", &result, "none");
}

fn toolchain() -> Option<Toolchain> {
    let format = "{{range .RootFS.Layers}}{{println .}}{{end}}";
    let inspected = Command::new("docker")
        .args(["image", "inspect", "--format", format, IMAGE])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(inspected.stdout).ok()?;
    let layers: Vec<&str> = text.split_whitespace().collect();
    Some(Toolchain::Image {
        name: IMAGE.to_owned(),
        identity: image_identity(&layers),
        archive: None,
    })
}

/// Returns the `docker` command for the same container.
fn docker_run(output: &Path) -> Command {
    let mut command = Command::new("docker");
    command
        .args(["run", "--rm", "--network=none", "--cap-drop=ALL"])
        .args(["--security-opt=no-new-privileges", "--read-only"])
        .arg(format!(
            "--tmpfs=/tmp:rw,exec,nosuid,nodev,mode=1777,size={MEMORY_BYTES}"
        ))
        .arg(format!("--memory={MEMORY_BYTES}"))
        .arg(format!("--memory-swap={MEMORY_BYTES}"))
        .arg(format!("--pids-limit={PROCESSES}"))
        .args(["--ulimit=core=0", "--log-driver=none", "--hostname=builder"])
        .args(["--user=65534:65534", "--workdir=/tmp", "--no-healthcheck"])
        .arg(format!(
            "--mount=type=bind,src={},dst=/out",
            output.display()
        ))
        .args(["--entrypoint=/bin/sh", IMAGE, "-e", "-c", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
