//! The effects of a job on its machine, and of the machine on a run.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::query_parameters::ListContainersOptionsBuilder;
use driverkit_matrix::executor::{
    DockerPool, Executor, Exit, Job, LocalExecutor, Mount, host_toolchain,
};
use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::sync::CancellationToken;

use super::sandboxed::{HONEST, Sandboxed};
use support::docker_daemon::Daemon;
use support::grid::{Grid, deb, wait_until};
use support::small_image;

/// Enough time for a daemon to stop its containers on a slow machine.
const PATIENT: Duration = Duration::from_mins(3);

fn job(script: &str, output: &Path) -> Job {
    small_image::job(script, format!("hostile-{}", std::process::id()), output)
}

async fn local() -> LocalExecutor {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rootfs");
    LocalExecutor::new(&folder).await.unwrap()
}

/// Runs a script in the local sandbox with this machine's compilers; returns its log.
async fn run_locally(script: &str) -> String {
    let output = tempfile::tempdir().unwrap();
    let job = Job {
        toolchain: host_toolchain().unwrap().toolchain(),
        ..job(script, output.path())
    };
    let mut log = Vec::new();
    let cancel = CancellationToken::new();
    let completion = local().await.run(&job, &mut log, &cancel).await.unwrap();
    let log = String::from_utf8(log).unwrap();
    assert_eq!(completion.exit, Exit::Code(0), "{log}");
    log
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_sandbox_refuses_dangerous_system_calls() {
    // The arguments of each call are such that the kernel itself would give another answer.
    let log = run_locally(
        r#"cat > calls.c <<'END'
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#define TRY(name, ...) do { \
    errno = 0; \
    long result = syscall(__VA_ARGS__); \
    if (result != -1 || errno != ENOSYS) \
        printf("%s: %ld, %s\n", name, result, strerror(errno)); \
} while (0)
int main(void) {
    TRY("unshare", SYS_unshare, CLONE_NEWUSER);
    TRY("clone", SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    TRY("clone3", SYS_clone3, 0, 0);
    TRY("setns", SYS_setns, -1, 0);
    TRY("mount", SYS_mount, "none", "/tmp", "tmpfs", 0, 0);
    TRY("umount2", SYS_umount2, "/tmp", 0);
    TRY("pivot_root", SYS_pivot_root, ".", ".");
    TRY("chroot", SYS_chroot, "/tmp");
    TRY("fsopen", SYS_fsopen, "tmpfs", 0);
    TRY("bpf", SYS_bpf, 0, 0, 0);
    TRY("perf_event_open", SYS_perf_event_open, 0, 0, -1, -1, 0);
    TRY("keyctl", SYS_keyctl, 0, -3, 0, 0, 0);
    TRY("add_key", SYS_add_key, "user", "a", "b", 1, -3);
    TRY("request_key", SYS_request_key, "user", "a", 0, -3);
    TRY("ptrace", SYS_ptrace, 0, 0, 0, 0);
    TRY("process_vm_readv", SYS_process_vm_readv, 1, 0, 0, 0, 0, 0);
    TRY("userfaultfd", SYS_userfaultfd, 0);
    TRY("io_uring_setup", SYS_io_uring_setup, 1, 0);
    TRY("init_module", SYS_init_module, 0, 0, "");
    TRY("kexec_load", SYS_kexec_load, 0, 0, 0, 0);
    TRY("open_by_handle_at", SYS_open_by_handle_at, -1, 0, 0);
    TRY("reboot", SYS_reboot, 0, 0, 0, 0);
    TRY("vsock", SYS_socket, 40, SOCK_STREAM, 0);
    TRY("af_alg", SYS_socket, 38, SOCK_SEQPACKET, 0);
    TRY("packet", SYS_socket, 17, SOCK_RAW, 0);
#ifdef __x86_64__
    TRY("getpid of x32", SYS_getpid | 0x40000000);
#endif
    puts("all tried");
    return 0;
}
END
gcc -o calls calls.c && ./calls"#,
    )
    .await;
    assert_eq!(log, "all tried\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_local_sandbox_allows_no_user_namespaces() {
    let log = run_locally("unshare --user true 2> /dev/null || echo refused").await;
    assert_eq!(log, "refused\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn local_jobs_are_not_root_on_the_host() {
    let output = tempfile::tempdir().unwrap();
    let secret = tempfile::tempdir().unwrap();
    let tree = secret.path().join("tree");
    fs::write(&tree.join("secret"), "only for its owner").unwrap();
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(tree.join("secret"), closed).unwrap();
    // Directories of root are closed like this; the sandbox still sees the directories that are mounted.
    let closed = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(secret.path(), closed).unwrap();
    let script = "ls /driver > /out/names; cat /driver/secret > /out/secret || echo closed > /out/answer; \
                  echo x > /out/file; sleep 1000";
    let mut job = job(script, output.path());
    job.mounts.push(Mount {
        source: tree,
        target: "/driver".into(),
    });
    let (executor, cancel) = (local().await, CancellationToken::new());
    let mut log = Vec::new();
    let running = executor.run(&job, &mut log, &cancel);
    let watching = async {
        let file = output.path().join("file");
        let end = Instant::now() + PATIENT;
        while !file.exists() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let owner = file.metadata().unwrap().uid();
        cancel.cancel();
        owner
    };
    let (completion, owner) = tokio::join!(running, watching);
    assert_eq!(completion.unwrap().exit, Exit::Cancelled);
    let is_root = rustix::process::getuid().is_root();
    let left = |name: &str| std::fs::read_to_string(output.path().join(name)).unwrap_or_default();
    assert_eq!(left("names"), "secret\n");
    if is_root {
        assert_eq!((owner, left("answer").as_str()), (65534, "closed\n"));
    }
    // The files that the job left belong to us again.
    let file = output.path().join("file").metadata().unwrap();
    assert_eq!(file.uid(), rustix::process::getuid().as_raw());
}

async fn pool(daemon: &Daemon) -> DockerPool {
    let (pool, notes) = DockerPool::connect(std::slice::from_ref(&daemon.address))
        .await
        .unwrap();
    assert_eq!(notes, Vec::<String>::new());
    pool
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_survive_a_daemon_restart_and_run_once() {
    for signal in [Signal::TERM, Signal::KILL] {
        let mut daemon = Daemon::on_socket();
        daemon.wait().await;
        let pool = std::sync::Arc::new(pool(&daemon).await);
        let gate = tempfile::tempdir().unwrap();
        let jobs: Vec<_> = (0..8)
            .map(|number| {
                let (pool, gate) = (pool.clone(), gate.path().to_owned());
                tokio::spawn(async move {
                    let output = tempfile::tempdir().unwrap();
                    let script = format!(
                        "echo {number} >> /out/began; while [ ! -e /gate/open ]; do sleep 0.05; done; \
                         echo {number} > /out/done"
                    );
                    let mut job = job(&script, output.path());
                    job.mounts.push(Mount {
                        source: gate,
                        target: "/gate".into(),
                    });
                    let mut log = Vec::new();
                    let ended = pool.run(&job, &mut log, &CancellationToken::new()).await;
                    (number, ended, String::from_utf8(log).unwrap(), output)
                })
            })
            .collect();
        let client =
            Docker::connect_with_unix(daemon.address.as_str(), 120, bollard::API_DEFAULT_VERSION)
                .unwrap();
        while running(&client).await < 8 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        daemon.end(signal);
        tokio::time::sleep(Duration::from_secs(5)).await;
        daemon.start_again();
        daemon.wait().await;
        fs::write(&gate.path().join("open"), "").unwrap();
        for job in jobs {
            let (number, ended, log, output) = job.await.unwrap();
            assert_eq!(ended.unwrap().exit, Exit::Code(0), "{signal:?}: {log}");
            assert!(log.contains("restarting this job"), "{log}");
            for name in ["began", "done"] {
                let text = fs::read_to_string(&output.path().join(name)).unwrap();
                assert_eq!(text, format!("{number}\n"), "{name}");
            }
        }
        pool.finish().await.unwrap();
        let all = ListContainersOptionsBuilder::new().all(true).build();
        let left = client.list_containers(Some(all)).await.unwrap();
        assert_eq!(left.len(), 0, "{left:?}");
    }
}

async fn running(client: &Docker) -> usize {
    let containers = client.list_containers(None).await;
    containers.map_or(0, |containers| containers.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_an_unavailable_daemon_fail_in_time() {
    let mut daemon = Daemon::on_socket();
    daemon.wait().await;
    let pool = pool(&daemon).await.with_patience(Duration::from_secs(2));
    daemon.end(Signal::KILL);
    let output = tempfile::tempdir().unwrap();
    let job = job("echo begun", output.path());
    // The second job does not wait as long as the first did.
    for _ in 0..2 {
        let mut log = Vec::new();
        let never = CancellationToken::new();
        let ended = pool.run(&job, &mut log, &never);
        let error = tokio::time::timeout(PATIENT, ended)
            .await
            .expect("no end")
            .expect_err("nobody is there");
        let text = error.to_string();
        assert!(
            text.contains("no Docker daemon has answered for 2 s"),
            "{text}"
        );
        assert!(text.contains(daemon.address.as_str()), "{text}");
    }
    let cancel = CancellationToken::new();
    let mut log = Vec::new();
    cancel.cancel();
    let ended = pool.run(&job, &mut log, &cancel).await.unwrap();
    assert_eq!(ended.exit, Exit::Cancelled);
    daemon.start_again();
    daemon.wait().await;
}

#[test]
fn a_signal_stops_an_unpack_and_starts_no_other() {
    const FILES: usize = 45_000;
    let grid = Grid::of_four();
    for number in ["1", "2", "3", "4"] {
        // All files differ, so that trees share none.
        let files: Vec<(String, String)> = (0..FILES)
            .map(|file| {
                let name = format!("usr/lib/linux-kbuild-6.1/scripts/{}/{file}", file % 100);
                (name, format!("{number} {file}\n"))
            })
            .collect();
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_str()))
            .collect();
        let [_, _, kbuild] = grid.headers(number);
        fs::write(&kbuild, deb(&files)).unwrap();
    }
    let mut child = grid.start(&["--jobs", "1"]);
    let begun = || {
        let made = walkdir::WalkDir::new(grid.path("cache/temporary")).into_iter();
        made.flatten().take(2000).count() == 2000
    };
    wait_until("an unpack", begun);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let manifest = grid.manifest();
    assert_eq!(manifest.exit.as_ref().unwrap().code, 130);
    // One package was being unpacked; the other builds waited for it.
    let mut statuses = grid.statuses();
    statuses.sort_by_key(|status| *status == Status::NotRun);
    let not_run = [Status::NotRun; 3];
    assert_eq!(statuses, [&[Status::Cancelled], &not_run[..]].concat());
    let large = walkdir::WalkDir::new(grid.path("cache/trees"))
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_name() == "44999")
        .count();
    assert_eq!(large, 0, "some trees were unpacked completely");
}

#[test]
fn a_run_that_cannot_write_its_manifest_fails() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    // A directory in its place prevents replacing the manifest.
    fs::remove_file(&grid.path("out/manifest.json")).unwrap();
    fs::write(&grid.path("out/manifest.json/in the way"), "").unwrap();
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("exit 3"), "{text}");
    assert!(!text.contains("exit 0"), "{text}");
    assert!(text.contains("failed to write the report"), "{text}");
}

#[test]
fn a_fallback_to_this_machine_reports_why_no_daemon_is_usable() {
    let sandboxed = Sandboxed::new("auto", HONEST, "");
    let missing = "export DOCKER_HOST=unix:///nonexistent/docker.sock";
    let (code, text) = sandboxed.run_after(missing, &[]);
    assert_eq!(code, 0, "{text}");
    let note = text
        .lines()
        .find(|line| line.contains("no Docker daemon can be used"));
    let note = note.unwrap_or_else(|| panic!("{text}"));
    assert!(
        note.contains("unix:///nonexistent/docker.sock: "),
        "the cause is missing: {note}"
    );
}
