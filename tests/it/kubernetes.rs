//! Tests of the Kubernetes executor with a simulated API server, which can be made to misbehave. The tests on a real
//! cluster are in tests/system/cluster/.

mod api;

use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;
use driverkit_matrix::digest::Sha256;
use driverkit_matrix::executor::{
    ClientSettings, Completion, Executor as _, ExecutorError, Exit, Job, KubernetesError,
    KubernetesExecutor, KubernetesSettings, Limits, Toolchain,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use api::FakeApi;

struct Parts {
    api: FakeApi,
    executor: KubernetesExecutor,
    folder: tempfile::TempDir,
}

async fn connected() -> Parts {
    let api = FakeApi::start().await;
    let folder = tempfile::tempdir().unwrap();
    let executor = KubernetesExecutor::connect(settings(&api, folder.path()), folder.path())
        .await
        .unwrap();
    api.forget_requests();
    Parts {
        api,
        executor,
        folder,
    }
}

fn settings(api: &FakeApi, folder: &std::path::Path) -> KubernetesSettings {
    let kubeconfig = folder.join("kubeconfig");
    let text = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: \"{}\"}}}}]\n\
         users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u, namespace: builds}}}}]\n",
        api.url
    );
    driverkit_matrix::fs::write(&kubeconfig, text).unwrap();
    KubernetesSettings {
        kubeconfig: Some(kubeconfig),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        ..KubernetesSettings::default()
    }
}

fn job(output: &std::path::Path) -> Job {
    Job {
        name: "module x".to_owned(),
        run_id: "a-run".to_owned(),
        toolchain: Toolchain::Image {
            name: "builder:x".to_owned(),
            identity: Sha256::of("image"),
            archive: None,
        },
        script: "true".to_owned(),
        mounts: Vec::new(),
        environment: Vec::new(),
        network: driverkit_matrix::executor::Network::None,
        kvm: false,
        limits: Limits {
            timeout: Duration::from_mins(1),
            memory_bytes: 1 << 30,
            output_bytes: 2 << 30,
            output_files: 200_000,
            processes: 10,
        },
        output: output.to_owned(),
    }
}

impl Parts {
    /// Runs one job while `pod` simulates the cluster.
    async fn run<Played>(&self, pod: impl FnOnce(Pod) -> Played) -> Done
    where
        Played: Future<Output = ()>,
    {
        let output = tempfile::tempdir_in(self.folder.path()).unwrap();
        let job = job(output.path());
        let mut log = Vec::new();
        let cancel = CancellationToken::new();
        let played = async {
            let job = self.api.next_job().await;
            pod(Pod {
                api: self.api.clone(),
                job,
            })
            .await;
        };
        let (ended, ()) = tokio::join!(self.executor.run(&job, &mut log, &cancel), played);
        Done {
            ended,
            log: String::from_utf8(log).unwrap(),
            output,
        }
    }
}

struct Done {
    ended: Result<Completion, ExecutorError>,
    log: String,
    output: tempfile::TempDir,
}

impl Done {
    fn exit(&self) -> Exit {
        self.ended.as_ref().unwrap().exit
    }
}

/// The simulated pod of a Job.
struct Pod {
    api: FakeApi,
    job: Value,
}

impl Pod {
    fn name(&self) -> &str {
        self.job["metadata"]["name"].as_str().unwrap()
    }

    fn is(&self, status: &Value) {
        self.api.set_pod(self.name(), status);
    }

    fn runs(&self) {
        self.is(&containers("Running", json!({"running": {}})));
    }

    fn ends(&self, code: i32, reason: &str) {
        let state = json!({"terminated": {"exitCode": code, "reason": reason}});
        self.is(&containers("Failed", state));
    }

    /// Simulates the container `deliver`.
    async fn delivers(&self, status: &str, log: &str, outputs: &[(&str, &str)]) {
        let deliver = &self.job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(deliver["name"], "deliver");
        let variable = |name: &str| {
            let all = deliver["env"].as_array().unwrap();
            let found = all.iter().find(|entry| entry["name"] == name);
            found.unwrap()["value"].as_str().unwrap().to_owned()
        };
        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |name: &str, content: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        };
        add("status", status);
        add("log", log);
        for (name, content) in outputs {
            add(&format!("out/{name}"), content);
        }
        let body = archive.into_inner().unwrap();
        let url = variable("URL").replace("{sha256}", &Sha256::of(&body).to_string());
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = client
            .put(url)
            .bearer_auth(variable("TOKEN"))
            .body(body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 204);
    }
}

fn containers(phase: &str, build: Value) -> Value {
    let container = |name: &str, state: Value| json!({"name": name, "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state});
    json!({"phase": phase, "containerStatuses": [
        container("deliver", json!({"running": {}})), container("build", build),
    ]})
}

#[tokio::test]
async fn a_job_costs_two_requests_and_its_result_bypasses_the_api_server() {
    let parts = connected().await;
    for _ in 0..3 {
        let done = parts
            .run(async |pod| {
                pod.runs();
                pod.delivers("0 1500\n", "hello\n", &[("file", "made")])
                    .await;
            })
            .await;
        assert_eq!(done.exit(), Exit::Code(0));
        assert_eq!(
            done.ended.unwrap().resources.wall,
            Duration::from_millis(1500)
        );
        assert_eq!(done.log, "hello\n");
        let made = driverkit_matrix::fs::read_to_string(&done.output.path().join("file"));
        assert_eq!(made.unwrap(), "made");
    }
    assert_eq!(parts.api.requests("POST jobs"), 3);
    assert_eq!(parts.api.requests("DELETE jobs"), 3);
    assert_eq!(parts.api.requests("LIST pods"), 1);
    assert_eq!(parts.api.requests("WATCH pods"), 1);
    assert_eq!(parts.api.all_requests(), 8);
}

#[tokio::test]
async fn after_a_failure_the_cluster_tells_whether_memory_was_the_reason() {
    let parts = connected().await;
    let compile_error = parts
        .run(async |pod| {
            pod.runs();
            pod.delivers("2 10\n", "error\n", &[]).await;
            pod.ends(2, "Error");
        })
        .await;
    assert_eq!(compile_error.exit(), Exit::Code(2));
    let out_of_memory = parts
        .run(async |pod| {
            pod.runs();
            pod.delivers("2 10\n", "cc1: killed\n", &[]).await;
            pod.ends(2, "OOMKilled");
        })
        .await;
    assert_eq!(out_of_memory.exit(), Exit::OutOfMemory);
    // The whole container was killed: a log exists, but no status.
    let killed = parts
        .run(async |pod| {
            pod.runs();
            pod.ends(137, "OOMKilled");
            pod.delivers("", "so far\n", &[]).await;
        })
        .await;
    assert_eq!(killed.exit(), Exit::OutOfMemory);
    assert_eq!(killed.log, "so far\n");
    let slow = parts
        .run(async |pod| {
            pod.runs();
            pod.delivers("timeout 60000\n", "", &[]).await;
        })
        .await;
    assert_eq!(slow.exit(), Exit::TimedOut);
}

#[tokio::test]
async fn a_broken_watch_is_resumed_where_it_ended() {
    let parts = connected().await;
    let done = parts
        .run(async |pod| {
            pod.runs();
            pod.api.until_seen().await;
            pod.api.break_watches();
            pod.ends(3, "Error");
            pod.delivers("3 10\n", "", &[]).await;
        })
        .await;
    assert_eq!(done.exit(), Exit::Code(3));
    assert_eq!(parts.api.requests("LIST pods"), 1);
    assert_eq!(parts.api.requests("WATCH pods"), 2);
}

#[tokio::test]
async fn after_410_pods_are_listed_again_and_removed_ones_are_noticed() {
    let parts = connected().await;
    let done = parts
        .run(async |pod| {
            pod.runs();
            pod.api.until_seen().await;
            // The Job's deadline removed the pod while no watch was open.
            pod.api.expire();
            pod.api.remove_pod_unseen(pod.name());
            pod.api.set_job_status(json!({"conditions": [
                {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"},
            ]}));
            pod.api.break_watches();
            pod.delivers("", "as far as it came\n", &[]).await;
        })
        .await;
    assert_eq!(done.exit(), Exit::TimedOut);
    assert_eq!(done.log, "as far as it came\n");
    assert_eq!(parts.api.requests("LIST pods"), 2);
    assert_eq!(parts.api.requests("GET jobs"), 1);
}

#[tokio::test]
async fn failures_of_the_cluster_are_not_failures_of_the_script() {
    let parts = connected().await;
    let evicted = parts
        .run(async |pod| {
            pod.runs();
            let mut status = containers(
                "Failed",
                json!({"terminated": {"exitCode": 143, "reason": "Error"}}),
            );
            status["conditions"] = json!([{"type": "DisruptionTarget", "status": "True",
                "reason": "DeletionByTaintManager", "message": "the node is gone"}]);
            pod.is(&status);
            pod.delivers("", "", &[]).await;
        })
        .await;
    assert!(
        matches!(&evicted.ended, Err(ExecutorError::Lost { message }) if message.contains("the node is gone")),
        "{:?}",
        evicted.ended
    );
    let no_image = parts
        .run(async |pod| {
            let waiting = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
            pod.is(&containers("Pending", waiting));
        })
        .await;
    assert!(
        matches!(&no_image.ended, Err(ExecutorError::Image { image, message })
            if image == "builder:x" && message == "ErrImagePull: not found"),
        "{:?}",
        no_image.ended
    );
    let mut deleted = json!(null);
    let removed = parts
        .run(async |pod| {
            pod.runs();
            pod.api.until_seen().await;
            pod.api.set_job_status(json!({"conditions": [
                {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"},
            ]}));
            pod.api.remove_pod(pod.name());
            deleted = pod.job.clone();
            pod.delivers("", "", &[]).await;
        })
        .await;
    assert!(
        matches!(&removed.ended, Err(ExecutorError::Lost { message })
            if message.contains(deleted["metadata"]["name"].as_str().unwrap())),
        "{:?}",
        removed.ended
    );
    assert_eq!(parts.api.requests("DELETE jobs"), 3);
}

#[tokio::test]
async fn a_lost_response_creates_no_second_job() {
    let parts = connected().await;
    parts.api.lose_answers(1);
    let done = parts
        .run(async |pod| {
            pod.runs();
            pod.delivers("0 1\n", "", &[]).await;
        })
        .await;
    assert_eq!(done.exit(), Exit::Code(0));
    assert_eq!(parts.api.requests("POST jobs"), 2);
    assert_eq!(parts.api.requests("DELETE jobs"), 1);
}

#[tokio::test]
async fn a_cancelled_job_is_removed() {
    let parts = connected().await;
    let output = tempfile::tempdir_in(parts.folder.path()).unwrap();
    let cancel = CancellationToken::new();
    let job = job(output.path());
    let mut log = Vec::new();
    let stop = async {
        parts.api.next_job().await;
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(parts.executor.run(&job, &mut log, &cancel), stop);
    assert_eq!(ended.unwrap().exit, Exit::Cancelled);
    assert_eq!(parts.api.requests("DELETE jobs"), 1);
}

#[tokio::test]
async fn missing_rights_and_namespaces_are_named() {
    let refused = async |api: &FakeApi| {
        let folder = tempfile::tempdir().unwrap();
        let connected =
            KubernetesExecutor::connect(settings(api, folder.path()), folder.path()).await;
        connected.err().expect("an error").to_string()
    };
    for (verb, resource, named) in [
        ("delete", "jobs", "delete jobs.batch"),
        ("watch", "pods", "watch pods"),
    ] {
        let api = FakeApi::start().await;
        api.deny(verb, resource);
        let message = refused(&api).await;
        assert!(
            message.contains(&format!("no right to {named} in namespace builds")),
            "{message}"
        );
    }
    let api = FakeApi::start().await;
    api.refuse_dry_runs(404, "namespaces \"builds\" not found");
    let message = refused(&api).await;
    assert!(
        message.contains("namespaces \"builds\" not found"),
        "{message}"
    );
}

#[tokio::test]
async fn requests_impersonate_the_user_with_uid_groups_and_extra() {
    let api = FakeApi::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&api, folder.path());
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    settings.client = ClientSettings {
        act_as: Some("jane".to_owned()),
        act_as_uid: Some("42".to_owned()),
        act_as_groups: vec!["builders".to_owned()],
        act_as_extra: vec![
            pair("scopes", "view"),
            pair("scopes", "build"),
            pair("acme.com/project", "x=y, z"),
        ],
        ..ClientSettings::default()
    };
    KubernetesExecutor::connect(settings, folder.path())
        .await
        .unwrap();
    assert_eq!(
        api.acted_as(),
        [
            "impersonate-extra-acme.com%2fproject: x=y, z",
            "impersonate-extra-scopes: build",
            "impersonate-extra-scopes: view",
            "impersonate-group: builders",
            "impersonate-uid: 42",
            "impersonate-user: jane",
        ]
    );
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_is_an_infrastructure_error() {
    let api = FakeApi::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&api, folder.path());
    // Accepts the connection and sends nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    settings.client.server = Some(format!("http://{}", silent.local_addr().unwrap()));
    settings.client.request_timeout = Some(Duration::from_millis(50));
    let connected = KubernetesExecutor::connect(settings, folder.path()).await;
    let error = connected.err().expect("an error");
    assert!(
        matches!(&error, KubernetesError::Infrastructure(_))
            && error.to_string().contains("rights"),
        "{error}"
    );
}

#[test]
fn a_missing_or_broken_kubeconfig_is_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let matrix = folder.path().join("one.toml");
    let text = "drivers = [\"1.0\"]\narchitectures = [\"amd64\"]\n[[target]]\nname = \"debian\"\n\
                kernels = [{ release = \"6.1.0-1-amd64\", version = \"1\", headers = [
                  \"http://127.0.0.1:1/linux-headers-6.1.0-1-amd64_6.1.1-1_amd64.deb\",
                  \"http://127.0.0.1:1/linux-headers-6.1.0-1-common_6.1.1-1_all.deb\",
                  \"http://127.0.0.1:1/linux-kbuild-6.1_6.1.1-1_amd64.deb\"] }]\n";
    driverkit_matrix::fs::write(&matrix, text).unwrap();
    let broken = folder.path().join("broken");
    driverkit_matrix::fs::write(&broken, "clusters: [").unwrap();
    let missing = folder.path().join("missing");
    let refused = |kubeconfig: &Path, said: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg("run")
            .arg(&matrix)
            .arg("--cache")
            .arg(folder.path().join("cache"))
            .arg("--out")
            .arg(kubeconfig.with_extension("out"))
            .args(["--executor", "kubernetes", "--kubeconfig"])
            .arg(kubeconfig)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(said), "{text}");
        assert!(text.contains(&kubeconfig.display().to_string()), "{text}");
    };
    // The program repeats a failed download for some seconds.
    std::thread::scope(|scope| {
        scope.spawn(|| refused(&missing, "No such file"));
        scope.spawn(|| refused(&broken, "cannot be used"));
    });
}

#[test]
fn flags_of_the_cluster_are_checked() {
    for (flag, value, said) in [
        ("--kubernetes-namespace", "Not_A_Name", "lower-case letters"),
        ("--kubernetes-run-as", "0", "never run as root"),
        ("--kubernetes-run-as", "me", "UID or UID:GID"),
        ("--kubernetes-node-selector", "pool", "KEY=VALUE"),
        ("--kubernetes-toleration", "a:Never", "invalid taint effect"),
        ("--kubernetes-cpu", "many", "500m"),
        ("--kubernetes-cache", "/folder", "pvc:NAME"),
        ("--kubernetes-cache-days", "-1", "invalid"),
        ("--kubernetes-listen", "host", "invalid"),
        ("--kubernetes-address", "a/b", "HOST:PORT"),
        (
            "--kubernetes-tls-certificate",
            "file",
            "--kubernetes-tls-key",
        ),
        ("--kubernetes-start-timeout", "soon", "soon"),
        ("--kubernetes-creations", "0", "1..=1000"),
        ("--kubernetes-image-pull-secret", "A", "lower-case letters"),
        ("--kubernetes-service-account", "A", "lower-case letters"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"))
            .args(["run", &format!("{flag}={value}")])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{flag}: {text}");
        assert!(text.contains(said), "{flag}: {text}");
    }
}
