//! Jobs with Podman's Docker-compatible socket, rootless, give the same results as with Docker.
//!
//! This test starts the service as an ordinary user (nobody), in a mount namespace in which that user has subordinate
//! IDs. This needs root and the packages podman and uidmap (`scripts/setup.sh`).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use driverkit_matrix::executor::{DockerExecutor, Executor, Exit, Mount};
use driverkit_matrix::fs;
use support::rootless_podman::Podman;
use support::small_image::job;
use tokio_util::sync::CancellationToken;

struct Ended {
    exit: Exit,
    log: String,
    files: BTreeMap<String, String>,
}

async fn run(executor: &DockerExecutor, tree: &Path, script: &str, timeout: Duration) -> Ended {
    let output = tempfile::tempdir().unwrap();
    let run_id = format!("test-{}", std::process::id());
    let mut job = job(script, run_id, output.path());
    job.mounts.push(Mount {
        source: tree.to_owned(),
        target: "/usr/lib/tree".into(),
    });
    job.environment.push(("A".to_owned(), "b c".to_owned()));
    job.limits.timeout = timeout;
    let mut log = Vec::new();
    let completion = executor
        .run(&job, &mut log, &CancellationToken::new())
        .await
        .unwrap();
    let files = std::fs::read_dir(output.path()).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read_to_string(&entry.path()).unwrap())
    });
    Ended {
        exit: completion.exit,
        log: String::from_utf8(log).unwrap(),
        files: files.collect(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run_in_rootless_podman_as_in_docker() {
    let mut podman = Podman::start();
    let executor = podman.connect().await;
    let tree = tempfile::tempdir().unwrap();
    fs::write(&tree.path().join("file"), "content\n").unwrap();
    let long = Duration::from_mins(2);
    for (script, exit, log, files) in [
        (
            "echo one; echo two >&2; exit 7",
            Exit::Code(7),
            "one\ntwo\n",
            vec![],
        ),
        (
            "echo $A; cat /usr/lib/tree/file > /out/file",
            Exit::Code(0),
            "b c\n",
            vec![("file", "content\n")],
        ),
        (
            "touch /usr/new 2> /dev/null || echo read-only; touch /tmp/new",
            Exit::Code(0),
            "read-only\n",
            vec![],
        ),
        (
            "id -u; grep CapEff /proc/self/status",
            Exit::Code(0),
            "65534\nCapEff:\t0000000000000000\n",
            vec![],
        ),
    ] {
        let ended = run(&executor, tree.path(), script, long).await;
        let files: BTreeMap<String, String> = files
            .into_iter()
            .map(|(name, content)| (name.to_owned(), content.to_owned()))
            .collect();
        assert_eq!((ended.exit, ended.log.as_str()), (exit, log), "{script}");
        assert_eq!(ended.files, files, "{script}");
    }
    let ended = run(
        &executor,
        tree.path(),
        "echo began; sleep 60",
        Duration::from_secs(2),
    )
    .await;
    assert_eq!(
        (ended.exit, ended.log.as_str()),
        (Exit::TimedOut, "began\n")
    );
    executor.finish().await.unwrap();
    assert_eq!(executor.sweep().await.unwrap(), 0);
}

/// Podman's tmpfs has no limit on the number of files: a process outside that sees the job's processes counts them.
#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_files_of_a_job_in_podman_is_limited() {
    let mut podman = Podman::start_among_our_processes();
    let executor = podman.connect().await;
    let output = tempfile::tempdir().unwrap();
    let script = "i=0; while :; do : >/tmp/$i; i=$((i + 1)); done";
    let run_id = format!("test-{}", std::process::id());
    let mut job = job(script, run_id, output.path());
    job.limits.output_files = 1000;
    let mut log = Vec::new();
    let never = CancellationToken::new();
    let ended = executor.run(&job, &mut log, &never).await.unwrap();
    let log = String::from_utf8(log).unwrap();
    assert_eq!(ended.exit, Exit::TooMuchOutput, "{log}");
    executor.finish().await.unwrap();
}
