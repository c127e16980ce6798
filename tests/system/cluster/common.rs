//! The cluster that tests/cluster/up.sh creates, and jobs for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::executor::{
    CacheVolume, Completion, Executor as _, ExecutorError, Job, KubernetesExecutor,
    KubernetesSettings, Limits, Mount, Toolchain,
};
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

/// The address of the pods' bridge, which up.sh creates.
pub(crate) const BRIDGE: &str = "10.244.0.1:0";

/// The image that test-cluster.sh loads into the node.
pub(crate) const IMAGE: &str = "driverkit-matrix/builder:bookworm";

/// Only one test runs at a time, since they share the node.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

pub(crate) fn blocking_turn() -> MutexGuard<'static, ()> {
    TURN.blocking_lock()
}

pub(crate) fn script(name: &str) -> Command {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster");
    Command::new(folder.join(name))
}

pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text_of(&output));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn text_of(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

pub(crate) fn kubectl(arguments: &[&str]) -> String {
    succeed(script("kubectl.sh").args(arguments))
}

pub(crate) fn component(action: &str, name: &str) {
    succeed(script("component.sh").args([action, name]));
}

/// Polls until the cluster has reached a state.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !is_so() {
        // Building some real modules on a slow machine takes that long.
        assert!(
            start.elapsed() < Duration::from_mins(20),
            "timed out waiting until {what}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Applies an object in YAML to the cluster.
pub(crate) fn apply(object: &str) {
    let mut child = script("kubectl.sh")
        .args(["apply", "-f", "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), object.as_bytes()).unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success(), "{object}");
}

/// Returns the directory of a namespace's volume claim on this machine.
pub(crate) fn volume_of(namespace: &str) -> PathBuf {
    let state = std::env::var("KUBE_STATE");
    let state = state.unwrap_or_else(|_| "/var/lib/test-kubernetes".to_owned());
    Path::new(&state).join("volumes").join(namespace)
}

pub(crate) fn copy(from: &Path, to: &Path) {
    succeed(Command::new("cp").arg("-R").arg(from).arg(to));
}

/// Builds the image of the program with deploy/image.sh and loads it into the node; returns its name.
pub(crate) fn load_program() -> String {
    let name = "driverkit-matrix/program:test";
    let make = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/image.sh");
    let program = env!("CARGO_BIN_EXE_driverkit-matrix");
    succeed(Command::new(make).args([name, program, IMAGE]));
    succeed(script("load-image.sh").arg(name));
    name.to_owned()
}

/// Deploys a directory of deploy/ into the namespace with an overlay in `folder`, as a user would write it: the
/// namespace, the image, the configuration, and the claim of namespace.sh instead of the two claims of the base.
pub(crate) fn deploy(namespace: &str, part: &str, folder: &Path, configuration: &str) {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for part in ["base", "one-kernel"] {
        copy(&deploy.join(part), folder);
    }
    let text = format!(
        "
namespace: {namespace}
resources: [{part}]
images: [{{name: driverkit-matrix, newName: driverkit-matrix/program, newTag: test}}]
configMapGenerator:
{configuration}
patches:
  - patch: |
      {{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: driverkit-matrix}}, $patch: delete}}
  - patch: |
      {{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: driverkit-matrix-trees}}, $patch: delete}}
  - patch: |
      apiVersion: batch/v1
      kind: CronJob
      metadata: {{name: driverkit-matrix}}
      spec:
        jobTemplate:
          spec:
            template:
              spec:
                containers: [{{name: run, resources: {{requests: {{cpu: 100m}}}}}}]
                volumes: [{{name: data, persistentVolumeClaim: {{claimName: trees}}}}]
"
    );
    driverkit_matrix::fs::write(&folder.join("kustomization.yaml"), text).unwrap();
    let of_deploy = deploy.join(part);
    let of_deploy = of_deploy.to_str().unwrap();
    let asked = ["apply", "--dry-run=server", "-k", of_deploy];
    kubectl(&[&["-n", namespace], &asked[..]].concat());
    kubectl(&["apply", "-k", folder.to_str().unwrap()]);
}

/// Starts the `CronJob` at once and waits for its end; returns whether it succeeded, and its output.
pub(crate) fn run_cron_job(namespace: &str) -> (bool, String) {
    let in_namespace = |words: &[&str]| kubectl(&[&["-n", namespace], words].concat());
    in_namespace(&["create", "job", "--from=cronjob/driverkit-matrix", "now"]);
    let conditions = "jsonpath={.status.conditions[*].type}";
    let mut found = String::new();
    until("the run has ended", || {
        found = in_namespace(&["get", "job/now", "-o", conditions]);
        found.contains("Complete") || found.contains("Failed")
    });
    let said = in_namespace(&["logs", "job/now", "--all-containers"]);
    (found.contains("Complete"), said)
}

/// Returns the number of Jobs in the namespace.
pub(crate) fn jobs_in(namespace: &str) -> usize {
    kubectl(&["-n", namespace, "get", "jobs", "-o", "name"])
        .lines()
        .count()
}

/// Creates an empty namespace; returns settings for it.
pub(crate) fn namespace(name: &str) -> KubernetesSettings {
    succeed(script("namespace.sh").arg(name));
    KubernetesSettings {
        kubeconfig: Some(kubeconfig()),
        namespace: Some(name.to_owned()),
        listen: Some(BRIDGE.parse().unwrap()),
        cpu: "100m".to_owned(),
        cache: CacheVolume::Claim("trees".to_owned()),
        ..KubernetesSettings::default()
    }
}

pub(crate) fn kubeconfig() -> PathBuf {
    std::env::var_os("KUBECONFIG")
        .expect("make test-cluster sets KUBECONFIG")
        .into()
}

/// A connected executor with its own store.
pub(crate) struct Cluster {
    pub(crate) executor: KubernetesExecutor,
    pub(crate) store: tempfile::TempDir,
}

impl Cluster {
    pub(crate) async fn connect(settings: KubernetesSettings) -> Self {
        let store = tempfile::tempdir().unwrap();
        let executor = KubernetesExecutor::connect(settings, store.path())
            .await
            .unwrap();
        Self { executor, store }
    }

    pub(crate) async fn run(&self, work: &Work) -> Done {
        self.run_until(work, &CancellationToken::new()).await
    }

    pub(crate) async fn run_until(&self, work: &Work, cancel: &CancellationToken) -> Done {
        let output = tempfile::tempdir_in(self.store.path()).unwrap();
        let job = Job {
            name: "module test".to_owned(),
            run_id: "test-run".to_owned(),
            toolchain: Toolchain::Image {
                name: work.image.clone(),
                identity: Sha256::of("not looked at"),
                archive: None,
            },
            script: work.script.clone(),
            mounts: work.mounts.clone(),
            environment: Vec::new(),
            network: driverkit_matrix::executor::Network::None,
            kvm: false,
            limits: Limits {
                timeout: work.timeout,
                memory_bytes: work.memory_bytes,
                output_bytes: 2 << 30,
                output_files: 200_000,
                processes: 1000,
            },
            output: output.path().to_owned(),
        };
        let mut log = Vec::new();
        let ended = self.executor.run(&job, &mut log, cancel).await;
        Done {
            ended,
            log: String::from_utf8(log).unwrap(),
            output,
        }
    }
}

/// A script and its limits.
#[derive(Clone)]
pub(crate) struct Work {
    pub(crate) image: String,
    pub(crate) script: String,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) timeout: Duration,
    pub(crate) memory_bytes: u64,
}

impl Work {
    pub(crate) fn new(script: &str) -> Self {
        Self {
            image: IMAGE.to_owned(),
            script: script.to_owned(),
            mounts: Vec::new(),
            timeout: Duration::from_mins(2),
            memory_bytes: 256 << 20,
        }
    }
}

pub(crate) struct Done {
    pub(crate) ended: Result<Completion, ExecutorError>,
    pub(crate) log: String,
    pub(crate) output: tempfile::TempDir,
}
