//! Measures the overhead of a job in the Kubernetes executor over a plain Job with the same script, and the load that
//! many jobs put on the program and the API server.
//!
//! `make bench-cluster` starts the cluster of tests/cluster/ and runs this. The API server itself counts the requests:
//! a `FlowSchema` selects this program's account, and the server's metrics are per `FlowSchema`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::executor::{
    CacheVolume, Executor as _, Exit, Job, KubernetesExecutor, KubernetesSettings, Limits, Mount,
    Toolchain,
};
use futures_util::StreamExt as _;
use support::tell::{median, tell};
use tokio_util::sync::CancellationToken;

const IMAGE: &str = "driverkit-matrix/builder:bookworm";
const NAMESPACE: &str = "dkm-bench";
const PAIRS: usize = 15;
const MEMORY_BYTES: u64 = 256 << 20;
const AT_ONCE: usize = 16;

fn main() {
    let jobs = std::env::var("BENCH_JOBS").map_or(1000, |text| text.parse().expect("a number"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    run(Command::new(script("namespace.sh")).arg(NAMESPACE));
    let kubeconfig = account();
    let settings = KubernetesSettings {
        kubeconfig: Some(kubeconfig.path().join("kubeconfig")),
        namespace: Some(NAMESPACE.to_owned()),
        listen: Some("10.244.0.1:0".parse().expect("an address")),
        cache: CacheVolume::Claim("trees".to_owned()),
        cpu: "10m".to_owned(),
        ..KubernetesSettings::default()
    };
    let store = tempfile::tempdir().expect("a folder");
    let tree = tempfile::tempdir().expect("a folder");
    driverkit_matrix::fs::write(&tree.path().join("Makefile"), "all:\n").expect("a tree");
    let executor = runtime
        .block_on(KubernetesExecutor::connect(settings, store.path()))
        .expect("a cluster");
    let executor = Arc::new(executor);
    let trees = [Mount {
        source: tree.path().to_owned(),
        target: "/usr/src/tree".into(),
    }];
    overhead(&runtime, &executor, &trees, store.path());
    many(&runtime, &executor, &trees, store.path(), jobs);
}

/// Alternating pairs, medians; the tree is on the node after the first job.
fn overhead(
    runtime: &tokio::runtime::Runtime,
    executor: &Arc<KubernetesExecutor>,
    trees: &[Mount],
    store: &Path,
) {
    let through_executor = || {
        let start = Instant::now();
        runtime.block_on(one(executor.clone(), trees.to_vec(), store.to_owned()));
        start.elapsed()
    };
    let first = through_executor();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        if pair % 2 == 0 {
            ours.push(through_executor());
            theirs.push(bare(pair));
        } else {
            theirs.push(bare(pair));
            ours.push(through_executor());
        }
    }
    let (ours, theirs) = (median(ours).as_secs_f64(), median(theirs).as_secs_f64());
    let result = format!("{:.2} s ({ours:.2} - {theirs:.2})", ours - theirs);
    tell("overhead of a Kubernetes job", &result, "1 s");
    let result = format!("{:.2} s", first.as_secs_f64());
    tell("first job of a run, trees pulled", &result, "none");
}

fn many(
    runtime: &tokio::runtime::Runtime,
    executor: &Arc<KubernetesExecutor>,
    trees: &[Mount],
    store: &Path,
    jobs: usize,
) {
    let before = requests();
    let start = Instant::now();
    runtime.block_on(async {
        let all = (0..jobs).map(|_| {
            let work = one(executor.clone(), trees.to_vec(), store.to_owned());
            async { tokio::spawn(work).await.expect("a job") }
        });
        let mut all = futures_util::stream::iter(all).buffer_unordered(AT_ONCE);
        while all.next().await.is_some() {}
    });
    let wall = start.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (each, rate) = (
        (requests() - before) as f64 / jobs as f64,
        jobs as f64 / wall,
    );
    let result = format!("{each:.2} each, {rate:.1} jobs/s");
    tell(&format!("API requests of {jobs} jobs"), &result, "6 each");
    let status = driverkit_matrix::fs::read_to_string(Path::new("/proc/self/status"));
    let status = status.expect("a status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok())
        .expect("a number");
    tell("highest memory", &format!("{} MiB", peak / 1024), "150 MB");
}

async fn one(executor: Arc<KubernetesExecutor>, mounts: Vec<Mount>, store: PathBuf) {
    let output = tempfile::tempdir_in(store).expect("a folder");
    let job = Job {
        name: "noop".to_owned(),
        run_id: "bench".to_owned(),
        toolchain: Toolchain::Image {
            name: IMAGE.to_owned(),
            identity: Sha256::of("not looked at"),
            archive: None,
        },
        script: "true".to_owned(),
        mounts,
        environment: Vec::new(),
        network: driverkit_matrix::executor::Network::None,
        kvm: false,
        limits: Limits {
            timeout: Duration::from_mins(5),
            memory_bytes: MEMORY_BYTES,
            output_bytes: 2 << 30,
            output_files: 200_000,
            processes: 1000,
        },
        output: output.path().to_owned(),
    };
    let mut log = Vec::new();
    let done = executor
        .run(&job, &mut log, &CancellationToken::new())
        .await
        .expect("a job that can be run");
    assert_eq!(
        done.exit,
        Exit::Code(0),
        "{}",
        String::from_utf8_lossy(&log)
    );
}

/// Runs the same script in a Job that does nothing else; one `kubectl` watch waits for its end.
fn bare(number: usize) -> Duration {
    let name = format!("bare-{number}");
    let text = format!(
        r#"{{"apiVersion": "batch/v1", "kind": "Job", "metadata": {{"name": "{name}"}}, "spec": {{"backoffLimit": 0,
        "template": {{"spec": {{"restartPolicy": "Never", "automountServiceAccountToken": false,
        "securityContext": {{"runAsNonRoot": true, "runAsUser": 65534, "seccompProfile": {{"type": "RuntimeDefault"}}}},
        "volumes": [{{"name": "trees", "persistentVolumeClaim": {{"claimName": "trees"}}}}],
        "containers": [{{"name": "build", "image": "{IMAGE}", "imagePullPolicy": "IfNotPresent",
          "command": ["/bin/sh", "-e", "-c", "true"],
          "resources": {{"limits": {{"memory": "{MEMORY_BYTES}"}}, "requests": {{"cpu": "10m"}}}},
          "volumeMounts": [{{"name": "trees", "mountPath": "/usr/src/tree", "readOnly": true}}],
          "securityContext": {{"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {{"drop": ["ALL"]}}}}}}]}}}}}}}}"#
    );
    let file = tempfile::NamedTempFile::new().expect("a file");
    driverkit_matrix::fs::write(file.path(), text).expect("a file");
    let kubectl = || {
        let mut command = Command::new(script("kubectl.sh"));
        command.args(["-n", NAMESPACE]);
        command
    };
    let start = Instant::now();
    run(kubectl().args(["create", "-f"]).arg(file.path()));
    run(kubectl()
        .args(["wait", "--for=condition=complete", "--timeout=120s"])
        .arg(format!("job/{name}")));
    let took = start.elapsed();
    run(kubectl().args(["delete", "job", &name]));
    took
}

/// Returns the number of requests from this program's account that the API server has dispatched so far.
fn requests() -> u64 {
    let text = run(Command::new(script("kubectl.sh")).args(["get", "--raw", "/metrics"]));
    text.lines()
        .filter(|line| {
            line.starts_with("apiserver_flowcontrol_dispatched_requests_total{")
                && line.contains("flow_schema=\"dkm-bench\"")
        })
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .map(|count| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count"
            )]
            let count = count as u64;
            count
        })
        .sum()
}

/// Creates an account with the rights of deploy/base/role.yaml, and a `FlowSchema` so that the API server counts its
/// requests.
fn account() -> tempfile::TempDir {
    let apply = |text: &str| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        driverkit_matrix::fs::write(file.path(), text).expect("a file");
        run(Command::new(script("kubectl.sh"))
            .args(["-n", NAMESPACE, "apply", "-f"])
            .arg(file.path()));
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/base");
    for file in ["service-account.yaml", "role.yaml"] {
        let text = driverkit_matrix::fs::read_to_string(&folder.join(file));
        apply(&text.expect("a manifest"));
    }
    apply(
        "{apiVersion: flowcontrol.apiserver.k8s.io/v1, kind: FlowSchema, metadata: {name: dkm-bench}, spec: {
          priorityLevelConfiguration: {name: workload-high}, matchingPrecedence: 100, distinguisherMethod: {type: ByUser},
          rules: [{subjects: [{kind: ServiceAccount, serviceAccount: {name: driverkit-matrix, namespace: dkm-bench}}],
            resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true}],
            nonResourceRules: [{verbs: ['*'], nonResourceURLs: ['*']}]}]}}",
    );
    let token = run(Command::new(script("kubectl.sh")).args([
        "-n",
        NAMESPACE,
        "create",
        "token",
        "driverkit-matrix",
        "--duration=8h",
    ]));
    let admin = std::env::var_os("KUBECONFIG").expect("KUBECONFIG, as make bench-cluster sets it");
    let text = driverkit_matrix::fs::read_to_string(Path::new(&admin)).expect("a kubeconfig");
    let (user, end) = (
        text.find("users:").expect("users"),
        text.find("contexts:").expect("contexts"),
    );
    let text = format!(
        "{}users: [{{name: admin, user: {{token: {}}}}}]\n{}",
        &text[..user],
        token.trim(),
        &text[end..]
    );
    let folder = tempfile::tempdir().expect("a folder");
    driverkit_matrix::fs::write(&folder.path().join("kubeconfig"), text).expect("a kubeconfig");
    folder
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cluster")
        .join(name)
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("a program that starts");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("text")
}
