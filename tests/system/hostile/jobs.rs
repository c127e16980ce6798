//! Hostile jobs: too much output, answers for other drivers, a full disk; and interference from the machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use driverkit_matrix::fs;
use driverkit_matrix::report::BuildRecord;
use rustix::process::Signal;

use super::sandboxed::{EXECUTORS, HONEST, Sandboxed};
use super::trees::{flip, forget_outcomes, in_trees};
use support::docker_daemon::Daemon;
use support::grid::wait_until;

#[test]
fn a_job_that_writes_too_much_is_stopped() {
    let settings = "output = \"64MiB\"\noutput_files = 2000\nmodule_size = \"1MiB\"";
    let one_file = "dd if=/dev/zero of=/out/big bs=1M count=6000\n";
    let many_files = "i=0; while [ $i -lt 1000 ]; do dd if=/dev/zero of=/out/$i bs=1M count=6 2>/dev/null\n\
                      i=$((i + 1)); done; sleep 60\n";
    let sparse = "truncate -s 3G /out/module.ko\n";
    let files =
        "mkdir /out/d; cd /out/d; i=0; while [ $i -lt 1000000 ]; do : >$i; i=$((i + 1)); done\n";
    let scratch =
        "i=0; while :; do dd if=/dev/zero of=/tmp/$i bs=1M count=6 || exit; i=$((i + 1)); done\n";
    let silent = "dd if=/dev/zero of=/tmp/big bs=1M 2>/dev/null || exit 1\n";
    let scratch_files =
        "mkdir /tmp/d; cd /tmp/d; i=0; while [ $i -lt 1000000 ]; do : >$i; i=$((i + 1)); done\n";
    let artifact = "dd if=/dev/zero of=$1/pad bs=1M count=2\n\
                    objcopy --add-section pad=$1/pad $1/ready.ko $1/scap.ko\n";
    for executor in EXECUTORS {
        for job in [
            one_file,
            many_files,
            sparse,
            files,
            scratch,
            silent,
            scratch_files,
            artifact,
        ] {
            let sandboxed = Sandboxed::new(executor, job, settings);
            let (_, text) = sandboxed.run_bounded();
            let (status, class, message) = sandboxed.grid.outcome();
            assert_eq!(
                (&*status, &*class),
                ("error", "too-much-output"),
                "{executor}, {job}: {message}\n{text}"
            );
            // No file stays, and the driver is tried again with a higher limit.
            assert!(
                !sandboxed
                    .grid
                    .path("cache/tmp")
                    .read_dir()
                    .is_ok_and(|mut left| left.next().is_some())
            );
            sandboxed.grid.write("driver/job.sh", HONEST);
            sandboxed.expect("built", "");
        }
    }
}

#[test]
fn builds_work_with_every_umask_and_private_sources() {
    for executor in EXECUTORS {
        for mask in ["027", "007", "077"] {
            let sandboxed = Sandboxed::new(executor, HONEST, "");
            for name in ["driver/job.sh", "driver/ready.ko", "driver/main.c"] {
                let closed = std::fs::Permissions::from_mode(0o600);
                std::fs::set_permissions(sandboxed.grid.path(name), closed).unwrap();
            }
            let (code, text) = sandboxed.run_after(&format!("umask {mask}"), &[]);
            assert_eq!(code, 0, "{executor}, umask {mask}: {text}");
        }
    }
}

#[test]
fn failures_caused_by_a_damaged_disk_are_not_cached() {
    for executor in EXECUTORS {
        let sandboxed = Sandboxed::new(executor, HONEST, "");
        sandboxed.expect("built", "");
        // The job fails because of the damaged file, whose modification time is unchanged.
        forget_outcomes(&sandboxed.grid, "module");
        flip(
            &in_trees(&sandboxed.grid, "linux-headers-6.1.0-1-amd64/Makefile"),
            true,
        );
        let (status, class, text) = sandboxed.outcome();
        assert_eq!((&*status, &*class), ("error", "infrastructure"), "{text}");
        assert!(text.contains("was damaged on disk"), "{text}");
        sandboxed.expect("built", "");
    }
}

/// Starts a server that waits for the gate, so that the test can end the daemon in the middle of a run.
fn slow_server(gate: &Path) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let gate = gate.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let gate = gate.clone();
            std::thread::spawn(move || answer(&mut stream, &gate));
        }
    });
    address
}

/// Answers one request with a file from the gate's directory, once the gate is open.
fn answer(stream: &mut std::net::TcpStream, gate: &Path) {
    use std::io::{Read as _, Write as _};
    let mut request = vec![0; 8192];
    let length = stream.read(&mut request).unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    fs::write(&gate.with_extension("asked"), "").unwrap();
    wait_until("the gate", || gate.exists());
    let path = request.split(' ').nth(1).unwrap_or_default();
    let folder = gate.parent().unwrap();
    let body = fs::read(&folder.join(path.trim_start_matches('/'))).unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let is_head = request.starts_with("HEAD");
    let body = if is_head { &[] } else { &*body };
    // The client may have closed the connection.
    drop(stream.write_all(&[head.as_bytes(), body].concat()));
}

#[test]
fn a_lost_daemon_ends_the_run_with_exit_code_3() {
    let mut daemon = Daemon::on_socket();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(daemon.wait());
    let sandboxed = Sandboxed::new("docker", HONEST, "");
    let grid = &sandboxed.grid;
    let gate = grid.path("gate");
    let folder = grid.path("").display().to_string();
    grid.edit_matrix(folder.trim_end_matches('/'), &slow_server(&gate));
    std::thread::scope(|scope| {
        let host = daemon.address.as_str().to_owned();
        let sandboxed = &sandboxed;
        let run = scope
            .spawn(move || sandboxed.run(&["--docker-host", &host, "--docker-patience", "2s"]));
        wait_until("a download", || gate.with_extension("asked").exists());
        daemon.end(Signal::KILL);
        fs::write(&gate, "").unwrap();
        let (code, text) = run.join().unwrap();
        assert_eq!(code, 3, "{text}");
        assert!(
            text.contains("no Docker daemon has answered for 2 s"),
            "{text}"
        );
    });
}

#[test]
fn jobs_cannot_write_to_shared_memory() {
    let job = format!("if touch /dev/shm/x 2>/dev/null; then exit 1; fi\n{HONEST}");
    for executor in EXECUTORS {
        Sandboxed::new(executor, &job, "").expect("built", "");
    }
}

#[test]
fn a_killed_compiler_is_an_infrastructure_error() {
    let job = "sh -c 'kill -9 $$'\n";
    for executor in EXECUTORS {
        let sandboxed = Sandboxed::new(executor, job, "");
        for _ in 0..2 {
            let (code, text) = sandboxed.run(&[]);
            assert_eq!(code, 3, "{text}");
            let (status, class, message) = sandboxed.grid.outcome();
            assert_eq!(
                (status.as_str(), class.as_str()),
                ("error", "infrastructure"),
                "{message}"
            );
            let record: BuildRecord = sandboxed.grid.record();
            assert!(!record.artifacts[0].failure_is_cached, "{message}");
        }
    }
}

#[test]
fn a_container_killed_from_outside_is_no_failure_of_the_driver() {
    let sandboxed = Sandboxed::new("docker", &format!("echo begun; sleep 20\n{HONEST}"), "");
    let folder = sandboxed.grid.path("");
    let killer = std::thread::spawn(move || {
        for _ in 0..600 {
            let Some(id) = container_of(&folder) else {
                std::thread::sleep(std::time::Duration::from_millis(100));
                continue;
            };
            let log = docker(&["top", &id]);
            if log.contains("sleep 20") {
                return docker(&["kill", &id]);
            }
        }
        panic!("the container did not start");
    });
    let (code, text) = sandboxed.run(&[]);
    killer.join().unwrap();
    assert_eq!(code, 3, "{text}");
    let (_, class, message) = sandboxed.grid.outcome();
    assert_eq!(class, "infrastructure", "{message}");
    sandboxed.expect("built", "");
}

fn docker(words: &[&str]) -> String {
    let output = std::process::Command::new("docker")
        .args(words)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns the container with a mounted directory below this one.
fn container_of(folder: &Path) -> Option<String> {
    let ids = docker(&["ps", "-q"]);
    let is_it = |id: &&str| {
        docker(&["inspect", "-f", "{{range .Mounts}}{{.Source}} {{end}}", id])
            .contains(folder.to_str().unwrap())
    };
    ids.lines().find(is_it).map(str::to_owned)
}

#[test]
fn a_full_disk_during_linking_is_no_failure_of_the_driver() {
    let job = format!(
        "dd if=/dev/zero of=/out/linked bs=1M count=60 || exit 1\n{HONEST}rm /out/linked\n"
    );
    for executor in EXECUTORS {
        let sandboxed = Sandboxed::new(executor, &job, "");
        let disk = Disk::mount(&sandboxed.grid.path("cache"), "40m");
        let (code, text) = sandboxed.run(&[]);
        assert_eq!(code, 3, "{text}");
        let (status, class, message) = sandboxed.grid.outcome();
        assert_eq!(
            (status.as_str(), class.as_str()),
            ("error", "infrastructure"),
            "{message}"
        );
        disk.resize("400m");
        sandboxed.expect("built", "");
    }
}

/// A small file system.
struct Disk(PathBuf);

impl Disk {
    fn mount(folder: &Path, size: &str) -> Self {
        fs::create_folder(folder).unwrap();
        mount(
            &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"],
            folder,
        );
        Self(folder.to_owned())
    }

    fn resize(&self, size: &str) {
        mount(&["-o", &format!("remount,size={size}")], &self.0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let ended = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
        assert!(ended.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn mount(words: &[&str], folder: &Path) {
    let ended = std::process::Command::new("mount")
        .args(words)
        .arg(folder)
        .status();
    assert!(ended.unwrap().success(), "mounting needs root");
}

#[test]
fn a_check_cannot_answer_for_another_driver() {
    // The job answers no to every check, again and again.
    let evil = "for check in toolchain-module toolchain-probe $(ls /out/checks); do\n\
                mkdir -p /out/checks/$check; echo 1 >/out/checks/$check/status; : >/out/checks/$check/log; done\n\
                (while :; do for status in /out/checks/*/status; do echo 1 >$status; done; done) &\nexit 0\n";
    let compiled = "probe-y += test.o\nobj-m += probe.o\n\nKERNELDIR ?= /lib/modules/$(shell uname -r)/build\n\
                    TOP := $(shell pwd)\n\nall:\n\t$(MAKE) -C $(KERNELDIR) M=$(TOP) modules\n";
    let script = "SCRIPT=$(readlink -f \"$0\")\nSCRIPT_DIR=$(dirname ${SCRIPT})\n\
                  make CC=\"${CC}\" -C ${SCRIPT_DIR} > ${SCRIPT_DIR}/build.log 2>&1\n";
    for executor in EXECUTORS {
        let sandboxed = Sandboxed::new(executor, HONEST, "");
        let grid = &sandboxed.grid;
        let write_checks = || {
            grid.write("driver/configure/COMPILED/Makefile", compiled);
            grid.write("driver/configure/COMPILED/build.sh", script);
            grid.write("driver/configure/COMPILED/test.c", "int compiled;\n");
        };
        write_checks();
        // The same checks, one check that gives answers for them, and files that would mislead kbuild.
        grid.write("driver/configure/EVIL/build.sh", evil);
        grid.write(
            "driver/configure/COMPILED/Kbuild",
            "$(shell echo 1 >/out/x)\n",
        );
        sandboxed.run(&[]);
        fs::remove_folder(&grid.path("driver/configure")).unwrap();
        grid.write("driver/configure/CHECK/build.sh", "exit 0\n");
        grid.write("driver/configure/CHECK/test.c", "int x;\n");
        write_checks();
        sandboxed.expect("built", "");
        let checks = grid.record().checks;
        let expected = ["CHECK", "COMPILED"]
            .map(|name| (name.to_owned(), true))
            .into();
        assert_eq!(*checks, expected, "{executor}");
    }
}

/// A check of an honest driver that fills `/tmp` is a failure of this driver, and does not affect the next driver.
#[test]
fn a_check_that_fills_its_disk_does_not_affect_other_drivers() {
    let fills = "i=0; while dd if=/dev/zero of=/tmp/fill$i bs=1M count=6 2>/dev/null; do i=$((i + 1)); done\nexit 0\n";
    for executor in EXECUTORS {
        let sandboxed = Sandboxed::new(executor, HONEST, "output = \"64MiB\"");
        let grid = &sandboxed.grid;
        grid.write("driver/configure/FILLS/build.sh", fills);
        grid.write("driver/configure/FILLS/test.c", "int fills;\n");
        let (_, _, text) = sandboxed.outcome();
        let class = grid.outcome().1;
        assert!(
            ["too-much-output", "configure"].contains(&&*class),
            "{class}: {text}"
        );
        fs::remove_folder(&grid.path("driver/configure/FILLS")).unwrap();
        sandboxed.expect("built", "");
    }
}

#[test]
fn a_check_that_breaks_its_job_is_a_failure_of_the_driver() {
    for executor in EXECUTORS {
        let sandboxed = Sandboxed::new(executor, HONEST, "");
        sandboxed.expect("built", "");
        sandboxed.grid.write(
            "driver/configure/CHECK/build.sh",
            "chmod 000 /out/checks 2>/dev/null; rm -rf /tmp/build\n",
        );
        sandboxed.expect("failed", "configure");
        let (_, text) = sandboxed.run(&[]);
        assert!(
            sandboxed.grid.record().artifacts[0].failure_is_cached,
            "{text}"
        );
        // The check has no answer if its compiler was killed.
        sandboxed.grid.write(
            "driver/configure/CHECK/build.sh",
            "echo 'gcc: fatal error: Killed signal terminated program cc1' >\"${0%build.sh}build.log\"; exit 1\n",
        );
        sandboxed.expect("error", "infrastructure");
    }
}

#[test]
fn compiler_messages_are_limited_and_printable() {
    let job = "printf 'main.c:1:1: error: \\033[31m%0130000d\\n' 0; exit 1\n";
    for executor in EXECUTORS {
        let sandboxed = Sandboxed::new(executor, job, "");
        sandboxed.expect("failed", "compile");
        for file in ["manifest.json", "manifest.csv"] {
            let text = fs::read_to_string(&sandboxed.grid.path("out").join(file)).unwrap();
            assert!(
                !text.contains('\u{1b}') && !text.contains("\\u001b"),
                "{file}"
            );
            assert!(text.len() < 50_000, "{file}: {}", text.len());
        }
    }
}
