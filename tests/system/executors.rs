//! Tests of the executors with real containers and sandboxes, all with the same table of cases.
//!
//! No test is skipped: on a machine without Docker or bubblewrap, the tests fail with advice.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptionsBuilder, ListVolumesOptionsBuilder};
use driverkit_matrix::executor::{
    Completion, DockerExecutor, Executor, ExecutorError, Exit, Job, Limits, LocalExecutor, LogSink,
    Mount, host_toolchain,
};
use tokio_util::sync::CancellationToken;

mod daemon;

const SETUP: &str = "these tests need a Docker daemon and bubblewrap: run scripts/setup.sh";

async fn docker() -> DockerExecutor {
    DockerExecutor::connect()
        .await
        .unwrap_or_else(|error| panic!("{SETUP} ({error})"))
}

async fn local() -> LocalExecutor {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rootfs");
    LocalExecutor::new(&folder)
        .await
        .unwrap_or_else(|error| panic!("{SETUP} ({error})"))
}

/// Every executor, including the one for daemons that do not see this machine's directories.
async fn executors() -> Vec<(&'static str, Box<dyn Executor>)> {
    vec![
        ("docker", Box::new(docker().await)),
        (
            "docker with copies",
            Box::new(docker().await.copying_trees()),
        ),
        ("local", Box::new(local().await)),
    ]
}

fn run_id() -> String {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    format!(
        "test-{}-{}",
        std::process::id(),
        name.trim_start_matches('.')
    )
}

fn job(script: &str, output: &Path) -> Job {
    support::small_image::job(script, run_id(), output)
}

/// The outcome of a job: completion, log, and the files in its output directory with their contents.
type Outcome = (Completion, String, BTreeMap<String, String>);

async fn run(executor: &dyn Executor, job: &Job) -> Result<Outcome, ExecutorError> {
    let mut log = Vec::new();
    let completion = executor
        .run(job, &mut log, &CancellationToken::new())
        .await?;
    let files = walkdir::WalkDir::new(&job.output)
        .into_iter()
        .map(Result::unwrap)
        .filter(|entry| !entry.file_type().is_dir())
        .map(|entry| {
            let name = entry
                .path()
                .strip_prefix(&job.output)
                .unwrap()
                .display()
                .to_string();
            let is_file = std::fs::symlink_metadata(entry.path()).unwrap().is_file();
            let content = is_file.then(|| std::fs::read_to_string(entry.path()).unwrap());
            let content = content.unwrap_or_else(|| "not a file".to_owned());
            (name, content)
        })
        .collect();
    Ok((completion, String::from_utf8(log).unwrap(), files))
}

struct Case {
    name: &'static str,
    script: &'static str,
    environment: &'static [(&'static str, &'static str)],
    exit: Exit,
    /// The complete log.
    log: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const DEFAULT: Case = Case {
    name: "",
    script: "",
    environment: &[],
    exit: Exit::Code(0),
    log: "",
    files: &[],
};

const CASES: &[Case] = &[
    Case {
        name: "output and exit code",
        script: "echo one; echo two >&2; exit 7; echo three",
        exit: Exit::Code(7),
        log: "one\ntwo\n",
        ..DEFAULT
    },
    Case {
        name: "the first failing command ends the script",
        script: "echo one; ls /nonexistent 2> /dev/null; echo two",
        exit: Exit::Code(2),
        log: "one\n",
        ..DEFAULT
    },
    Case {
        name: "environment",
        script: "env | grep -v ^PWD= | sort",
        environment: &[("A", "b  'c' $HOME"), ("LC_ALL", "C.UTF-8")],
        log: "A=b  'c' $HOME\nHOME=/tmp\nLC_ALL=C.UTF-8\n\
              PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nTZ=UTC\n",
        ..DEFAULT
    },
    Case {
        name: "nobody at a fixed place",
        script: "pwd; cat /proc/sys/kernel/hostname; id -u; id -g; echo $$; read line || echo no input",
        log: "/tmp\nbuilder\n65534\n65534\n1\nno input\n",
        ..DEFAULT
    },
    Case {
        name: "no capability and no way to one",
        script: "grep -E '^(Cap|NoNewPrivs)' /proc/self/status | grep -v CapBnd | sort -u; \
                 grep CapBnd /proc/self/status",
        log: "CapAmb:\t0000000000000000\nCapEff:\t0000000000000000\nCapInh:\t0000000000000000\n\
              CapPrm:\t0000000000000000\nNoNewPrivs:\t1\nCapBnd:\t0000000000000000\n",
        ..DEFAULT
    },
    Case {
        name: "no network",
        script: "while read name rest; do case $name in lo:|Inter-*|face*) ;; *) echo $name ;; esac; done < /proc/net/dev; \
                 if bash -c 'exec 3<> /dev/tcp/192.0.2.1/80' 2> /dev/null; then echo connected; fi",
        ..DEFAULT
    },
    Case {
        name: "everything but scratch and output is read-only",
        script: "for folder in / /usr /usr/lib /usr/src /etc /dev /proc /proc/sys/kernel /sys; do \
                   if touch $folder/new 2> /dev/null; then echo $folder; fi; done; \
                 for file in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/vm/drop_caches /usr/bin/sh; do \
                   if (: >> $file) 2> /dev/null; then echo $file; fi; done; \
                 touch /tmp/new /out/new",
        files: &[("new", "")],
        ..DEFAULT
    },
    Case {
        name: "scratch is empty, open to all, and runs programs",
        script: "ls -A /tmp; stat -c %a /tmp; printf '#!/bin/sh\\necho ran\\n' > /tmp/x; chmod +x /tmp/x; /tmp/x",
        log: "1777\nran\n",
        ..DEFAULT
    },
    Case {
        name: "only the wanted files are open",
        script: "ls /proc/self/fd | grep -v -x -e 0 -e 1 -e 2 -e 3",
        // Descriptor 3 is the directory that `ls` reads.
        exit: Exit::Code(1),
        ..DEFAULT
    },
    Case {
        name: "outputs, nested ones too",
        script: "mkdir -p /out/a/b; echo 1 > /out/one; echo 2 > /out/a/b/two; chmod 0 /out/one; chmod 500 /out/a",
        files: &[("a/b/two", "2\n"), ("one", "1\n")],
        ..DEFAULT
    },
    Case {
        name: "hostile outputs",
        script: "ln -s /etc/passwd /out/link; ln -s / /out/root; ln -s ../../../.. /out/up; mkfifo /out/pipe; \
                 mkdir /out/a; ln -s /etc/shadow /out/a/shadow; echo kept > /out/a/file; chmod 4755 /out/a/file; \
                 ln /out/a/file /out/hard",
        files: &[("a/file", "kept\n"), ("hard", "kept\n")],
        ..DEFAULT
    },
    Case {
        name: "outputs of a script that failed",
        script: "echo 1 > /out/one; exit 1",
        exit: Exit::Code(1),
        files: &[("one", "1\n")],
        ..DEFAULT
    },
    Case {
        name: "a child killed by a signal is not a memory failure",
        script: "bash -c 'kill -9 $$'",
        exit: Exit::Code(137),
        log: "Killed\n",
        ..DEFAULT
    },
    Case {
        name: "bytes that are the same everywhere",
        script: "for i in 1 2 3; do ls -ln /usr/bin /usr/lib/added; done > /out/listing.tmp; \
                 cat /usr/lib/added/file /driver/file > /out/bytes; \
                 ls /usr/lib /usr/src / | grep -e added -e there -e driver > /out/names; : > /out/listing.tmp",
        files: &[
            ("bytes", "content of added\ncontent of driver\n"),
            ("listing.tmp", ""),
            ("names", "driver\nadded\nthere\n"),
        ],
        ..DEFAULT
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn every_executor_gives_the_same_results() {
    let inputs = tempfile::tempdir().unwrap();
    let mounts: Vec<Mount> = [
        ("added", "/lib/added"),
        ("driver", "/driver"),
        ("there", "/usr/src/there"),
    ]
    .map(|(name, target)| {
        let source = inputs.path().join(name);
        driverkit_matrix::fs::write(&source.join("file"), format!("content of {name}\n")).unwrap();
        Mount {
            source,
            target: PathBuf::from(target),
        }
    })
    .into();
    for (executor_name, executor) in executors().await {
        for case in CASES {
            let output = tempfile::tempdir().unwrap();
            let environment = case.environment.iter();
            let job = Job {
                mounts: mounts.clone(),
                environment: environment
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                    .collect(),
                ..job(case.script, output.path())
            };
            let label = format!("{executor_name}: {}", case.name);
            let (completion, log, files) = run(&*executor, &job)
                .await
                .unwrap_or_else(|error| panic!("{label}: {error}"));
            let expected: BTreeMap<String, String> = case
                .files
                .iter()
                .map(|(name, content)| ((*name).to_owned(), (*content).to_owned()))
                .collect();
            assert_eq!(
                (completion.exit, log.as_str(), files),
                (case.exit, case.log, expected),
                "{label}"
            );
            assert!(completion.resources.wall > Duration::ZERO, "{label}");
        }
        executor.finish().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_are_read_only() {
    for (name, executor) in executors().await {
        let input = tempfile::tempdir().unwrap();
        let output = tempfile::tempdir().unwrap();
        driverkit_matrix::fs::write(&input.path().join("file"), "content").unwrap();
        let mut job = job(
            "if echo x 2> /dev/null > /usr/src/new/tree/file; then echo written; fi; \
             if touch /usr/src/new/tree/other 2> /dev/null; then echo made; fi; \
             if touch /usr/src/new/other 2> /dev/null; then echo made above; fi; cat /usr/src/new/tree/file",
            output.path(),
        );
        job.mounts.push(Mount {
            source: input.path().to_owned(),
            target: PathBuf::from("/usr/src/new/tree"),
        });
        let (completion, log, _) = run(&*executor, &job).await.unwrap();
        assert_eq!(
            (completion.exit, log.as_str()),
            (Exit::Code(0), "content"),
            "{name}"
        );
        executor.finish().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_enforced() {
    let second = Duration::from_secs(1);
    let tight = Limits {
        timeout: Duration::from_mins(2),
        memory_bytes: 64 << 20,
        output_bytes: 2 << 30,
        output_files: 200_000,
        processes: 20,
    };
    let short = Limits {
        timeout: second,
        ..tight
    };
    let cases = [
        (
            "timeout",
            "echo begun; trap '' TERM INT; sleep 1000",
            short,
            Exit::TimedOut,
            "begun\n",
        ),
        (
            "endless output",
            "while :; do echo line; done",
            short,
            Exit::TimedOut,
            "",
        ),
        (
            "memory of a child",
            "tail /dev/zero || exit 3",
            tight,
            Exit::OutOfMemory,
            "",
        ),
        (
            "memory of the script",
            "exec tail /dev/zero",
            tight,
            Exit::OutOfMemory,
            "",
        ),
        (
            "processes",
            "i=0; while [ $i -lt 19 ]; do sleep 1000 & i=$((i + 1)); done; echo 20; sleep 1000",
            tight,
            Exit::Code(2),
            "20\n",
        ),
        (
            "fork bomb",
            "bomb() { bomb | bomb & }; (bomb) 2> /dev/null & while :; do :; done",
            short,
            Exit::TimedOut,
            "",
        ),
    ];
    for (executor_name, executor) in executors().await {
        for (name, script, limits, exit, part) in cases {
            let output = tempfile::tempdir().unwrap();
            let job = Job {
                limits,
                ..job(script, output.path())
            };
            let (completion, log, _) = run(&*executor, &job).await.unwrap();
            assert_eq!(completion.exit, exit, "{executor_name}: {name}: {log}");
            assert!(log.contains(part), "{executor_name}: {name}: {log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_reports_its_resource_usage() {
    for (name, executor) in executors().await {
        let output = tempfile::tempdir().unwrap();
        let script = "printf 'cpu_seconds 1.25\\nmemory_peak_bytes 12345\\n' > /out/.resources; echo x > /out/kept";
        let (completion, _, files) = run(&*executor, &job(script, output.path())).await.unwrap();
        assert_eq!(
            completion.resources.cpu,
            Some(Duration::from_millis(1250)),
            "{name}"
        );
        assert_eq!(
            completion.resources.peak_memory_bytes,
            Some(12345),
            "{name}"
        );
        assert_eq!(files.keys().collect::<Vec<_>>(), ["kept"], "{name}");
    }
}

/// Cancels at the first output.
struct CancelAtOutput(CancellationToken);

impl LogSink for CancelAtOutput {
    fn write(&mut self, _: &[u8]) {
        self.0.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn output_streams_and_cancellation_leaves_nothing() {
    let daemon = Docker::connect_with_defaults().unwrap();
    for (name, executor) in executors().await {
        let output = tempfile::tempdir().unwrap();
        let mut job = job("", output.path());
        job.script = format!("echo begun; sleep 1000; echo {}", job.run_id);
        let cancel = CancellationToken::new();
        let mut log = CancelAtOutput(cancel.clone());
        let completion = executor.run(&job, &mut log, &cancel).await.unwrap();
        assert_eq!(completion.exit, Exit::Cancelled, "{name}");
        assert_eq!(processes_with(&job.run_id), 0, "{name}");
        assert_eq!(
            containers_of(&daemon, &job.run_id).await,
            Vec::<String>::new(),
            "{name}"
        );
        assert_eq!(volumes_of(&daemon, &job.run_id).await, 0, "{name}");
        // With a cancelled token, no job starts.
        let mut log = Vec::new();
        let completion = executor.run(&job, &mut log, &cancel).await.unwrap();
        assert_eq!((completion.exit, log.len()), (Exit::Cancelled, 0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_job_leaves_nothing() {
    let daemon = Docker::connect_with_defaults().unwrap();
    for (name, executor) in executors().await {
        let output = tempfile::tempdir().unwrap();
        let mut job = job("", output.path());
        job.script = format!("echo begun; sleep 1000; echo {}", job.run_id);
        let begun = CancellationToken::new();
        let mut log = CancelAtOutput(begun.clone());
        let never = CancellationToken::new();
        tokio::select! {
            result = executor.run(&job, &mut log, &never) => panic!("{name}: ended: {result:?}"),
            () = begun.cancelled() => {}
        }
        // The job is removed in the background; the time limit is that of the test harness.
        while processes_with(&job.run_id) > 0
            || !containers_of(&daemon, &job.run_id).await.is_empty()
            || volumes_of(&daemon, &job.run_id).await > 0
        {
            tokio::task::yield_now().await;
        }
    }
}

/// Returns the number of processes of this machine with `text` on their command line.
fn processes_with(text: &str) -> usize {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(text))
        .count()
}

async fn containers_of(daemon: &Docker, run: &str) -> Vec<String> {
    let label = format!("org.driverkit-matrix.run={run}");
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = ListContainersOptionsBuilder::new()
        .all(true)
        .filters(&filters)
        .build();
    let containers = daemon.list_containers(Some(options)).await.unwrap();
    containers
        .into_iter()
        .filter_map(|container| container.id)
        .collect()
}

async fn volumes_of(daemon: &Docker, run: &str) -> usize {
    let label = format!("org.driverkit-matrix.run={run}");
    let filters = HashMap::from([("label", vec![label.as_str()])]);
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    daemon
        .list_volumes(Some(options))
        .await
        .unwrap()
        .volumes
        .unwrap_or_default()
        .len()
}

#[tokio::test]
async fn sweeping_removes_control_groups_of_dead_runs() {
    let executor = local().await;
    let output = tempfile::tempdir().unwrap();
    let groups = || -> Vec<PathBuf> {
        walkdir::WalkDir::new("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .filter(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with("driverkit-matrix-")
            })
            .map(walkdir::DirEntry::into_path)
            .collect()
    };
    let begun = CancellationToken::new();
    let cancel = CancellationToken::new();
    let mut log = CancelAtOutput(begun.clone());
    let job = job("echo begun; sleep 1000", output.path());
    let (completion, ()) = tokio::join!(executor.run(&job, &mut log, &cancel), async {
        begun.cancelled().await;
        let own = format!(".{}.", std::process::id());
        let is_own = |path: &&PathBuf| path.to_string_lossy().contains(&own);
        let live = groups().iter().find(is_own).cloned().unwrap();
        // The owner has the same process ID but another start time: its process is gone.
        let name = live.file_name().unwrap().to_str().unwrap();
        let (owner, number) = name.rsplit_once('.').unwrap();
        let dead = live.with_file_name(format!("{owner}9.{number}"));
        std::fs::create_dir(&dead).unwrap();
        assert!(executor.sweep().await.unwrap() >= 1);
        assert!(!dead.exists());
        assert!(live.exists());
        cancel.cancel();
    });
    assert_eq!(completion.unwrap().exit, Exit::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_local_uses_the_compilers_of_this_machine() {
    let toolchain = host_toolchain().unwrap().toolchain();
    let output = tempfile::tempdir().unwrap();
    let script = "echo 'int main(void) { return 3; }' > a.c; gcc -o /out/a a.c; /out/a || echo $?; ls /root /etc";
    let job = Job {
        toolchain,
        ..job(script, output.path())
    };
    let mut log = Vec::new();
    let completion = local()
        .await
        .run(&job, &mut log, &CancellationToken::new())
        .await
        .unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.starts_with("3\n") && !log.contains("passwd"), "{log}");
    assert_eq!(completion.exit, Exit::Code(2), "{log}");
    let error = run(&docker().await, &job)
        .await
        .expect_err("not in a container");
    assert!(error.to_string().contains("--executor local"), "{error}");
}

#[tokio::test]
async fn a_script_that_is_too_long_is_refused() {
    for (name, executor) in executors().await {
        let output = tempfile::tempdir().unwrap();
        let longest = job(&format!("{}:", " ".repeat((128 << 10) - 2)), output.path());
        assert_eq!(
            run(&*executor, &longest).await.unwrap().0.exit,
            Exit::Code(0),
            "{name}"
        );
        let error = run(&*executor, &job(&" ".repeat(128 << 10), output.path()))
            .await
            .expect_err(name);
        assert!(
            error.to_string().contains("131072 bytes"),
            "{name}: {error}"
        );
    }
}
