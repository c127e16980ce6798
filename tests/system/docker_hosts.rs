//! Tests of builds spread over several real Docker daemons, which these tests start (this needs root).

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use driverkit_matrix::executor::{Completion, DockerAddress, DockerPool, Executor, Exit, Job};
use driverkit_matrix::fs;
use rustix::process::Signal;
use support::docker_daemon::{Daemon, SETUP, make_certificates};
use tokio_util::sync::CancellationToken;

fn job(script: &str, output: &Path) -> Job {
    support::small_image::job(script, format!("test-{}", std::process::id()), output)
}

struct Ended {
    completion: Completion,
    log: String,
    output: tempfile::TempDir,
}

/// Runs a script on one of the daemons.
async fn run(pool: &DockerPool, script: &str) -> Ended {
    let output = tempfile::tempdir().unwrap();
    let mut log = Vec::new();
    let completion = pool
        .run(
            &job(script, output.path()),
            &mut log,
            &CancellationToken::new(),
        )
        .await
        .unwrap();
    Ended {
        completion,
        log: String::from_utf8(log).unwrap(),
        output,
    }
}

async fn pool(daemons: &[&Daemon]) -> DockerPool {
    let addresses: Vec<_> = daemons
        .iter()
        .map(|daemon| daemon.address.clone())
        .collect();
    let (pool, notes) = DockerPool::connect(&addresses).await.unwrap();
    assert_eq!(notes, Vec::<String>::new());
    pool
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_spread_and_survive_the_death_of_a_daemon() {
    for signal in [Signal::KILL, Signal::TERM] {
        let (mut one, mut two) = (Daemon::on_socket(), Daemon::with_tls());
        tokio::join!(one.wait(), two.wait());
        let pool = Arc::new(pool(&[&one, &two]).await);
        let cores = std::thread::available_parallelism().unwrap().get();
        assert_eq!(pool.slots(), Some(2 * cores));
        let version = pool.version().await.unwrap();
        assert!(version.contains(one.address.as_str()) && version.contains(two.address.as_str()));

        // The jobs run until their daemon is gone, or until the file `open` exists.
        let gate = tempfile::tempdir().unwrap();
        let jobs: Vec<_> = (0..4)
            .map(|number| {
                let (pool, gate) = (pool.clone(), gate.path().to_owned());
                tokio::spawn(async move {
                    let output = tempfile::tempdir().unwrap();
                    let script = format!(
                        "echo began {number}; echo {number} > /out/began; \
                         while [ ! -e /gate/open ]; do sleep 0.05; done; \
                         ls /out; echo done {number} > /out/done"
                    );
                    let mut job = job(&script, output.path());
                    job.mounts.push(driverkit_matrix::executor::Mount {
                        source: gate,
                        target: "/gate".into(),
                    });
                    let mut log = Vec::new();
                    let ended = pool.run(&job, &mut log, &CancellationToken::new()).await;
                    (number, ended, String::from_utf8(log).unwrap(), output)
                })
            })
            .collect();
        // Two jobs on each daemon.
        wait_for_containers(&one, 2);
        wait_for_containers(&two, 2);
        one.end(signal);
        fs::write(&gate.path().join("open"), "").unwrap();
        let mut moved = 0;
        for job in jobs {
            let (number, ended, log, output) = job.await.unwrap();
            assert_eq!(ended.unwrap().exit, Exit::Code(0), "{log}");
            let done = fs::read_to_string(&output.path().join("done")).unwrap();
            assert_eq!(done, format!("done {number}\n"));
            moved += usize::from(log.contains("restarting this job"));
        }
        assert_eq!(moved, 2, "{signal:?}");
        let notes = pool.notes();
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].contains(one.address.as_str()) && notes[0].ends_with("jobs restarted: 2"),
            "{notes:?}"
        );
        // The other daemon runs all further jobs.
        let ended = run(&pool, "echo x > /out/x").await;
        assert_eq!(
            (ended.completion.exit, ended.log.as_str()),
            (Exit::Code(0), "")
        );
        assert!(ended.output.path().join("x").exists());
        pool.finish().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_silent_daemon_are_run_elsewhere() {
    let (mut one, mut two) = (Daemon::on_socket(), Daemon::on_socket());
    tokio::join!(one.wait(), two.wait());
    let both = pool(&[&one, &two]).await;
    // Often enough for a test, and with enough patience for a slow machine.
    let both = Arc::new(both.with_heartbeat(Duration::from_secs(1), Duration::from_secs(10)));
    let gate = tempfile::tempdir().unwrap();
    let folder = gate.path().to_owned();
    let job = tokio::spawn(async move {
        let output = tempfile::tempdir().unwrap();
        let script = "while [ ! -e /gate/open ]; do sleep 0.05; done; echo done > /out/done";
        let mut job = job(script, output.path());
        job.mounts.push(driverkit_matrix::executor::Mount {
            source: folder,
            target: "/gate".into(),
        });
        let mut log = Vec::new();
        let ended = both.run(&job, &mut log, &CancellationToken::new()).await;
        let log = String::from_utf8(log).unwrap();
        (ended, log, both.notes(), output)
    });
    wait_for_containers(&one, 1);
    // The stopped daemon keeps its connections open but sends nothing.
    one.signal(Signal::STOP);
    wait_for_containers(&two, 1);
    fs::write(&gate.path().join("open"), "").unwrap();
    let (ended, log, notes, output) = job.await.unwrap();
    assert_eq!(ended.unwrap().exit, Exit::Code(0), "{log}");
    assert!(output.path().join("done").exists());
    assert!(log.contains("restarting this job"), "{log}");
    assert!(notes[0].ends_with("jobs restarted: 1"), "{notes:?}");
    one.end(Signal::KILL);
}

/// Waits until a daemon runs `count` containers.
fn wait_for_containers(daemon: &Daemon, count: usize) {
    let folder = daemon
        .folder
        .path()
        .join("exec/containerd/daemon/io.containerd.runtime.v2.task/moby");
    for _ in 0..1200 {
        let running = std::fs::read_dir(&folder).map_or(0, Iterator::count);
        if running >= count {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!(
        "timed out waiting for {count} containers of {}",
        daemon.address
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_daemons_are_reported_and_the_others_are_used() {
    let mut daemon = Daemon::with_tls();
    daemon.wait().await;
    let plain = daemon
        .address
        .as_str()
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    let other = tempfile::tempdir().unwrap();
    make_certificates(other.path());
    let strangers = format!("{plain}?certificates={}", other.path().display());
    let missing = format!("{plain}?certificates=/nonexistent");
    let addresses: Vec<DockerAddress> = [
        "unix:///nonexistent.sock",
        daemon.address.as_str(),
        daemon.address.as_str(),
        &plain,
        &strangers,
        &missing,
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    let (pool, notes) = DockerPool::connect(&addresses).await.unwrap();
    assert_eq!(notes.len(), 5, "{notes:#?}");
    for (note, words) in notes.iter().zip([
        "not used: no Docker daemon answers at unix:///nonexistent.sock",
        "it counts once",
        plain.as_str(),
        strangers.as_str(),
        missing.as_str(),
    ]) {
        assert!(note.contains(words), "{note}");
    }
    let ended = run(&pool, "echo here").await;
    assert_eq!(ended.log, "here\n");

    let error = DockerPool::connect(&addresses[..1]).await.err().unwrap();
    assert!(
        error
            .to_string()
            .starts_with("no Docker daemon answers at unix:///nonexistent.sock"),
        "{error}"
    );
    let twice = [addresses[0].clone(), addresses[0].clone()];
    let error = DockerPool::connect(&twice).await.err().unwrap();
    assert!(
        error
            .to_string()
            .starts_with("none of the Docker daemons can be used: "),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_daemons_fails_and_uses_a_daemon_that_comes_back() {
    let mut daemon = Daemon::on_socket();
    daemon.wait().await;
    let pool = pool(&[&daemon]).await.with_patience(Duration::from_secs(1));
    daemon.end(Signal::TERM);
    let output = tempfile::tempdir().unwrap();
    let mut log = Vec::new();
    let job = job("echo back", output.path());
    let error = pool
        .run(&job, &mut log, &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no Docker daemon has answered for 1 s"),
        "{error}"
    );
    let Daemon { folder, .. } = &daemon;
    let again = tempfile::tempdir_in(folder.path()).unwrap();
    let mut back = Daemon::start(again, daemon.address.as_str(), &[]);
    back.wait().await;
    assert_eq!(run(&pool, "echo back").await.log, "back\n");
}

/// An ssh daemon on a port of this machine that accepts one key and leads to another Docker daemon than this machine's
/// default one.
struct Sshd {
    process: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Sshd {
    fn start(docker: &Daemon) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for key in ["host", "user"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)])
                .status()
                .expect(SETUP);
            assert!(made.success());
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {}\nAuthorizedKeysFile {}\nPasswordAuthentication no\n\
             StrictModes no\nPermitRootLogin yes\nUsePAM no\nPidFile none\nSetEnv DOCKER_HOST={}\n",
            path("host"),
            path("user.pub"),
            docker.address
        );
        fs::write(&folder.path().join("sshd_config"), config).unwrap();
        // The service of the package would create this directory.
        fs::create_folder(Path::new("/run/sshd")).unwrap();
        let process = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "TERM",
                "/usr/sbin/sshd",
                "-D",
                "-e",
                "-f",
                &path("sshd_config"),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create_new(path("log")).unwrap())
            .spawn()
            .expect(SETUP);
        let host_key = fs::read_to_string(Path::new(&path("host.pub"))).unwrap();
        let known = format!("[127.0.0.1]:{port} {host_key}");
        fs::write(&folder.path().join("known_hosts"), known).unwrap();
        Self {
            process,
            folder,
            port,
        }
    }

    /// Returns the directory of an `ssh` that knows the key and the host; `key` names the key file.
    fn client(&self, key: &str) -> std::path::PathBuf {
        let folder = self.folder.path().join(format!("client-{key}"));
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let script = format!(
            "#!/bin/sh\nexec /usr/bin/ssh -F none -o IdentitiesOnly=yes -o IdentityFile={} -o UserKnownHostsFile={} \"$@\"\n",
            path(key),
            path("known_hosts")
        );
        let program = folder.join("ssh");
        fs::write(&program, script).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        folder
    }

    fn wait(&mut self) {
        for _ in 0..1200 {
            if std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            let ended = self.process.try_wait().unwrap();
            assert!(ended.is_none(), "{SETUP} (sshd ended)");
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("timed out waiting for sshd");
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

const BEHIND_SSH: &str = "DRIVERKIT_MATRIX_TEST_BEHIND_SSH";

/// Runs one test of this program in a separate process with another `ssh`; returns whether it succeeded, and its
/// output.
fn with_ssh(client: &Path, address: &str, test: &str) -> (bool, String) {
    let path = std::env::var("PATH").unwrap();
    let test = format!("docker_hosts::{test}");
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test, "--ignored", "--nocapture"])
        .env("PATH", format!("{}:{path}", client.display()))
        .env(BEHIND_SSH, address)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_behind_ssh_runs_jobs_like_a_local_one() {
    let mut daemon = Daemon::on_socket();
    daemon.wait().await;
    let mut sshd = Sshd::start(&daemon);
    sshd.wait();
    let address = format!("ssh://root@127.0.0.1:{}", sshd.port);
    let (is_good, text) = with_ssh(&sshd.client("user"), &address, "behind_ssh");
    assert!(is_good && text.contains("1 passed"), "{text}");
    // With a key that the daemon does not accept.
    let (is_good, text) = with_ssh(&sshd.client("host"), &address, "refused_by_ssh");
    assert!(is_good && text.contains("1 passed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above, with an ssh of its own"]
async fn behind_ssh() {
    let address: DockerAddress = std::env::var(BEHIND_SSH).unwrap().parse().unwrap();
    let (pool, notes) = DockerPool::connect(&[address]).await.unwrap();
    assert_eq!(notes, Vec::<String>::new());
    let (one, two) = tokio::join!(
        run(&pool, "echo one; echo x > /out/x"),
        run(&pool, "sleep 1; echo two >&2; exit 3")
    );
    assert_eq!(
        (one.completion.exit, one.log.as_str()),
        (Exit::Code(0), "one\n")
    );
    assert!(one.output.path().join("x").exists());
    assert_eq!(
        (two.completion.exit, two.log.as_str()),
        (Exit::Code(3), "two\n")
    );
    pool.finish().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by the test above, with an ssh of its own"]
async fn refused_by_ssh() {
    let address: DockerAddress = std::env::var(BEHIND_SSH).unwrap().parse().unwrap();
    let error = DockerPool::connect(std::slice::from_ref(&address))
        .await
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(
        text.contains(address.as_str()) && text.contains("Permission denied"),
        "{text}"
    );
}
