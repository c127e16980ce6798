//! Tests that are specific to Docker daemons: leftovers of dead runs, a daemon that does not see this machine's
//! directories, existing and missing images, and an unavailable daemon.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptions, RemoveImageOptions};
use driverkit_matrix::digest::Sha256;
use driverkit_matrix::error::chain;
use driverkit_matrix::executor::{
    DockerExecutor, Executor, ExecutorError, Exit, Job, Mount, Network, Toolchain, image_identity,
};
use tokio_util::sync::CancellationToken;

use crate::executors::{
    CancelAtOutput, containers_of, docker, executors, job, local, run, run_id, volumes_of,
};
use support::small_image::{TestImage, image};

#[tokio::test(flavor = "multi_thread")]
async fn sweeping_removes_leftovers_of_dead_runs_only() {
    let executor = docker().await;
    let daemon = Docker::connect_with_defaults().unwrap();
    let output = tempfile::tempdir().unwrap();
    let job = job("echo begun; sleep 1000", output.path());
    let begun = CancellationToken::new();
    let cancel = CancellationToken::new();
    let mut log = CancelAtOutput(begun.clone());
    let (completion, ()) = tokio::join!(executor.run(&job, &mut log, &cancel), async {
        begun.cancelled().await;
        let [live] = containers_of(&daemon, &job.run_id)
            .await
            .try_into()
            .unwrap();
        let inspected = daemon.inspect_container(&live, None).await.unwrap();
        let mut labels = inspected.config.unwrap().labels.unwrap();
        assert_eq!(labels["org.driverkit-matrix.job"], "case");
        // The owner has the same process ID but another start time: its process is gone.
        let owner = labels.get_mut("org.driverkit-matrix.owner").unwrap();
        owner.push('9');
        let dead_run = format!("{}-dead", job.run_id);
        labels.insert("org.driverkit-matrix.run".to_owned(), dead_run.clone());
        let body = ContainerCreateBody {
            image: Some(TestImage::NAME.to_owned()),
            cmd: Some(vec!["/bin/true".to_owned()]),
            labels: Some(labels),
            ..Default::default()
        };
        daemon
            .create_container(None::<CreateContainerOptions>, body)
            .await
            .unwrap();
        assert_eq!(containers_of(&daemon, &dead_run).await.len(), 1);
        assert!(executor.sweep().await.unwrap() >= 1);
        assert_eq!(containers_of(&daemon, &dead_run).await.len(), 0);
        assert_eq!(containers_of(&daemon, &job.run_id).await, [live]);
        cancel.cancel();
    });
    assert_eq!(completion.unwrap().exit, Exit::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_are_copied_once_and_removed_at_the_end() {
    let executor = docker().await.copying_trees();
    let daemon = Docker::connect_with_defaults().unwrap();
    let input = tempfile::tempdir().unwrap();
    driverkit_matrix::fs::write(&input.path().join("a/file"), "content").unwrap();
    std::os::unix::fs::symlink("a/file", input.path().join("link")).unwrap();
    // A link as in header packages.
    std::os::unix::fs::symlink("../../src/there", input.path().join("beside")).unwrap();
    let run_id = run_id();
    let one = async |name: &str| {
        let output = tempfile::tempdir().unwrap();
        let mut job = job(
            "cd /lib/tree; cat link; stat -c %F link; ls -d beside/.",
            output.path(),
        );
        job.run_id.clone_from(&run_id);
        name.clone_into(&mut job.name);
        job.mounts.push(Mount {
            source: input.path().to_owned(),
            target: PathBuf::from("/lib/tree"),
        });
        run(&executor, &job).await.unwrap().1
    };
    let expected = "contentsymbolic link\nbeside/.\n";
    let (first, second) = tokio::join!(one("first"), one("second"));
    assert_eq!((first.as_str(), second.as_str()), (expected, expected));
    assert_eq!(volumes_of(&daemon, &run_id).await, 1);
    executor.finish().await.unwrap();
    assert_eq!(volumes_of(&daemon, &run_id).await, 0);
    assert_eq!(containers_of(&daemon, &run_id).await, Vec::<String>::new());
}

/// A second Docker daemon with its own temporary directory, so that it does not see the directories of jobs.
struct DaemonElsewhere {
    process: Child,
    address: String,
}

impl DaemonElsewhere {
    fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap());
        drop(listener);
        let script = "mount -t tmpfs tmpfs \"$1\" && mkdir \"$1/dockerd\" && cd \"$1/dockerd\" && \
            mkdir -p /run/containerd && mount -t tmpfs tmpfs /run/containerd && \
            exec setpriv --pdeathsig TERM dockerd --host \"$2\" --tls=false --data-root \"$PWD/data\" \
            --exec-root \"$PWD/exec\" --pidfile \"$PWD/pid\" --bridge none --iptables=false --ip6tables=false";
        let process = Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                script,
                "sh",
            ])
            .arg(std::env::temp_dir())
            .arg(&address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, address }
    }

    /// Connects as soon as the daemon answers.
    async fn connect(&mut self) -> DockerExecutor {
        loop {
            match DockerExecutor::connect_to(&self.address.parse().unwrap()).await {
                Ok(executor) => return executor,
                Err(error) => {
                    let ended = self.process.try_wait().unwrap();
                    assert!(
                        ended.is_none(),
                        "a second dockerd ended (it needs root): {ended:?}; {error}"
                    );
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for DaemonElsewhere {
    fn drop(&mut self) {
        // Not with SIGKILL, since the daemon must stop its containerd.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        drop(self.process.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_does_not_see_our_directories_is_detected() {
    let mut elsewhere = DaemonElsewhere::start();
    let executor = elsewhere.connect().await;
    let daemon = Docker::connect_with_host(&elsewhere.address).unwrap();
    let input = tempfile::tempdir().unwrap();
    driverkit_matrix::fs::write(&input.path().join("file"), "content\n").unwrap();
    let run_id = run_id();
    for number in 0..2 {
        let output = tempfile::tempdir().unwrap();
        let mut job = job(
            "cat /usr/lib/tree/file > /out/file; cat /out/file",
            output.path(),
        );
        job.run_id.clone_from(&run_id);
        job.mounts.push(Mount {
            source: input.path().to_owned(),
            target: PathBuf::from("/usr/lib/tree"),
        });
        let (completion, log, files) = run(&executor, &job).await.unwrap();
        assert_eq!(
            (completion.exit, log.as_str()),
            (Exit::Code(0), "content\n"),
            "{number}"
        );
        assert_eq!(
            files,
            BTreeMap::from([("file".to_owned(), "content\n".to_owned())]),
            "{number}"
        );
        // Both jobs share one copy of the tree.
        assert_eq!(volumes_of(&daemon, &run_id).await, 1, "{number}");
    }
    executor.finish().await.unwrap();
    assert_eq!(volumes_of(&daemon, &run_id).await, 0);
    assert_eq!(containers_of(&daemon, &run_id).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_job_that_cannot_be_created_leaves_nothing() {
    let daemon = Docker::connect_with_defaults().unwrap();
    let executor = docker().await.copying_trees();
    let output = tempfile::tempdir().unwrap();
    let mut job = job("true", output.path());
    // Below the minimum that the daemon accepts.
    job.limits.memory_bytes = 1;
    run(&executor, &job).await.expect_err("too little memory");
    assert_eq!(
        containers_of(&daemon, &job.run_id).await,
        Vec::<String>::new()
    );
    assert_eq!(volumes_of(&daemon, &job.run_id).await, 0);
}

fn with_image(name: &str, identity: Sha256, archive: Option<PathBuf>, output: &Path) -> Job {
    let toolchain = Toolchain::Image {
        name: name.to_owned(),
        identity,
        archive,
    };
    Job {
        toolchain,
        ..job("true", output)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_with_another_identity_is_refused() {
    let output = tempfile::tempdir().unwrap();
    let wanted = Sha256::of("another image");
    for (name, executor) in executors().await {
        // Makes sure that the daemon has the image.
        run(&*executor, &job("true", output.path())).await.unwrap();
        let found = image().identity.to_string();
        let job = with_image(
            TestImage::NAME,
            wanted,
            Some(image().archive.clone()),
            output.path(),
        );
        let error = run(&*executor, &job).await.expect_err(name);
        let text = error.to_string();
        assert!(
            matches!(error, ExecutorError::Image { .. }),
            "{name}: {text}"
        );
        assert!(
            text.contains(&wanted.to_string()) && text.contains(&found),
            "{name}: {text}"
        );
        // The correct image has kept its name.
        run(&*executor, &self::job("true", output.path()))
            .await
            .unwrap();

        let job = with_image("driverkit-matrix/test:missing", wanted, None, output.path());
        let error = run(&*executor, &job).await.expect_err(name);
        assert!(
            matches!(error, ExecutorError::Image { .. }),
            "{name}: {error}"
        );
        // Docker may pull an image that was not built here; bubblewrap cannot.
        let expected = match name {
            "local" => "build the builder images first",
            _ => "cannot pull it",
        };
        assert!(error.to_string().contains(expected), "{name}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_imported_from_its_archive() {
    let daemon = Docker::connect_with_defaults().unwrap();
    let name = "driverkit-matrix/test:imported";
    drop(
        daemon
            .remove_image(name, None::<RemoveImageOptions>, None)
            .await,
    );
    let executor = docker().await;
    let output = tempfile::tempdir().unwrap();
    let job = with_image(
        name,
        image().identity,
        Some(image().archive.clone()),
        output.path(),
    );
    assert_eq!(run(&executor, &job).await.unwrap().0.exit, Exit::Code(0));
    let layers = daemon
        .inspect_image(name)
        .await
        .unwrap()
        .root_fs
        .unwrap()
        .layers
        .unwrap();
    assert_eq!(image_identity(&layers), image().identity);
    daemon
        .remove_image(name, None::<RemoveImageOptions>, None)
        .await
        .unwrap();
}

/// Returns an error as it is printed: with its causes and the advice.
fn said(error: &ExecutorError) -> String {
    let help = error.help().unwrap_or_default();
    format!("{}; {help}", chain(error))
}

#[tokio::test]
async fn an_unavailable_daemon_is_reported_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let address = format!("unix://{}", socket.display());
    for address in [address.as_str(), "tcp://127.0.0.1:1"] {
        let error = DockerExecutor::connect_to(&address.parse().unwrap())
            .await
            .err()
            .unwrap();
        let error = said(&error);
        assert!(
            error.contains(address) && error.contains("docker.io"),
            "{error}"
        );
    }
    // A socket without a listener.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let error = DockerExecutor::connect_to(&address.parse().unwrap())
        .await
        .err()
        .unwrap();
    let error = said(&error);
    assert!(
        error.contains("refused") && error.contains("docker.io"),
        "{error}"
    );
}

/// The package manager in the user's image runs as root in a copy of the image, with the network of this machine.
#[tokio::test(flavor = "multi_thread")]
async fn only_docker_runs_jobs_with_network_access() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = format!(
        "id -u; touch /usr/there; exec 3<>/dev/tcp/127.0.0.1/{}; cat <&3 >/out/said",
        address.port()
    );
    let output = tempfile::tempdir().unwrap();
    let job = Job {
        network: Network::Host,
        ..job(&format!("exec bash -ec '{script}'"), output.path())
    };
    let error = run(&local().await, &job).await.expect_err("refused");
    assert!(
        error
            .to_string()
            .contains("cannot give a job network access")
    );
    let greeter = std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
    });
    let (completion, log, files) = run(&docker().await, &job).await.unwrap();
    assert_eq!(completion.exit, Exit::Code(0), "{log}");
    assert_eq!(log, "0\n");
    assert_eq!(files["said"], "hello");
    greeter.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_manager_that_fills_its_image_is_stopped() {
    let script = "i=0; while [ $i -lt 40 ]; do head -c 10000000 /dev/zero >/usr/$i; i=$((i + 1)); done; sleep 100";
    let output = tempfile::tempdir().unwrap();
    let mut job = Job {
        network: Network::Host,
        ..job(script, output.path())
    };
    job.limits.output_bytes = 100 << 20;
    let (completion, log, _) = run(&docker().await, &job).await.unwrap();
    assert_eq!(completion.exit, Exit::TooMuchOutput, "{log}");
}
