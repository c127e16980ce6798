//! Tests of every way in which one job ends.

use std::time::Duration;

use driverkit_matrix::executor::{Executor as _, ExecutorError, Exit, KubernetesExecutor, Mount};
use tokio_util::sync::CancellationToken;

use crate::cluster::common::{
    Cluster, Work, apply, component, jobs_in, kubectl, namespace, succeed, turn, until, volume_of,
};

fn tree(at: &std::path::Path, content: &str) {
    std::fs::create_dir_all(at.join("include")).unwrap();
    driverkit_matrix::fs::write(&at.join("Makefile"), content).unwrap();
    std::os::unix::fs::symlink("../Makefile", at.join("include/link")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn a_job_reads_its_trees_and_returns_outputs_and_log() {
    let _turn = turn().await;
    let cluster = Cluster::connect(namespace("dkm-ends")).await;
    let trees = tempfile::tempdir().unwrap();
    tree(&trees.path().join("a"), "one\n");
    tree(&trees.path().join("b"), "two\n");
    let mut work = Work::new(
        r#"cat /usr/src/a/include/link /usr/lib/b/Makefile
        id -u; hostname; pwd; env | sort; echo to-error >&2
        ! touch /usr/src/a/new 2>/dev/null
        ! touch /new 2>/dev/null
        ! ls /var/run/secrets/kubernetes.io 2>/dev/null
        echo "pid $$ $(echo substituted)"
        mkdir /out/sub; echo made >/out/sub/file; ln -s /etc/passwd /out/link
        printf 'cpu_seconds 1.50\nmemory_peak_bytes 1000\n' >/out/.resources
        exit 3"#,
    );
    work.mounts = [("a", "/usr/src/a"), ("b", "/usr/lib/b")]
        .map(|(source, target)| Mount {
            source: trees.path().join(source),
            target: target.into(),
        })
        .to_vec();
    // The second job finds the trees on the volume.
    for _ in 0..2 {
        let done = cluster.run(&work).await;
        let completion = done.ended.unwrap();
        assert_eq!(completion.exit, Exit::Code(3));
        assert_eq!(completion.resources.cpu, Some(Duration::from_millis(1500)));
        assert_eq!(completion.resources.peak_memory_bytes, Some(1000));
        let expected = "one\ntwo\n65534\nbuilder\n/tmp\nHOME=/tmp\nLC_ALL=C\nPATH=/usr/local/sbin:/usr/local/bin:\
                        /usr/sbin:/usr/bin:/sbin:/bin\nPWD=/tmp\nTZ=UTC\nto-error\npid ";
        assert!(done.log.starts_with(expected), "{}", done.log);
        assert!(done.log.ends_with(" substituted\n"), "{}", done.log);
        let made = std::fs::read_to_string(done.output.path().join("sub/file")).unwrap();
        assert_eq!(made, "made\n");
        let names = std::fs::read_dir(done.output.path()).unwrap().count();
        assert_eq!(names, 1);
    }
    assert_eq!(jobs_in("dkm-ends"), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn a_tree_that_changed_on_the_volume_is_pulled_again() {
    let _turn = turn().await;
    let settings = namespace("dkm-verify");
    let trees = tempfile::tempdir().unwrap();
    tree(trees.path(), "right\n");
    let mut work = Work::new("cat /usr/src/a/Makefile");
    work.mounts = vec![Mount {
        source: trees.path().to_owned(),
        target: "/usr/src/a".into(),
    }];
    let first = Cluster::connect(settings.clone()).await;
    assert_eq!(first.run(&work).await.log, "right\n");
    let volume = volume_of("dkm-verify").join("trees");
    let kept = std::fs::read_dir(&volume).unwrap().next().unwrap().unwrap();
    driverkit_matrix::fs::write(&kept.path().join("Makefile"), "wrong\n").unwrap();
    // A new run verifies the tree once.
    let second = Cluster::connect(settings).await;
    assert_eq!(second.run(&work).await.log, "right\n");
    // A tree that vanishes during a run is not a failure of the script, and a retry restores it.
    std::fs::remove_dir_all(kept.path()).unwrap();
    let done = second.run(&work).await;
    assert!(
        matches!(&done.ended, Err(ExecutorError::Infrastructure { message, .. }) if message.contains("/usr/src/a")),
        "{:?}",
        done.ended
    );
    assert_eq!(second.run(&work).await.log, "right\n");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn exceeded_limits_are_distinguished_and_the_log_is_kept() {
    let _turn = turn().await;
    let cluster = Cluster::connect(namespace("dkm-limits")).await;
    let mut slow = Work::new("echo begun; sleep 1000");
    slow.timeout = Duration::from_secs(2);
    let mut large = Work::new(r#"echo begun; perl -e '$x = "x" x (500 << 20)'"#);
    large.memory_bytes = 64 << 20;
    let mut disk = Work::new("echo begun; head -c 200m /dev/zero >/tmp/file");
    disk.memory_bytes = 64 << 20;
    let (slow, large, disk) =
        tokio::join!(cluster.run(&slow), cluster.run(&large), cluster.run(&disk));
    assert_eq!(slow.ended.unwrap().exit, Exit::TimedOut);
    assert_eq!(slow.log, "begun\n");
    assert_eq!(large.ended.unwrap().exit, Exit::OutOfMemory);
    assert!(large.log.starts_with("begun\n"), "{}", large.log);
    // /tmp is in memory as well.
    let exit = disk.ended.unwrap().exit;
    assert!(
        matches!(exit, Exit::OutOfMemory | Exit::Code(1)),
        "{exit:?}"
    );
    assert_eq!(jobs_in("dkm-limits"), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn refusals_of_the_cluster_are_reported_with_the_reason() {
    let _turn = turn().await;
    let mut settings = namespace("dkm-refused");
    settings.start_timeout = Duration::from_secs(3);
    let cluster = Cluster::connect(settings.clone()).await;
    let mut no_image = Work::new("true");
    no_image.image = "localhost:1/no/such-image:1".to_owned();
    let ended = cluster.run(&no_image).await.ended;
    assert!(
        matches!(&ended, Err(ExecutorError::Image { image, message }) if image == "localhost:1/no/such-image:1" && message.contains("ErrImagePull")),
        "{ended:?}"
    );

    // No node has enough memory: the Job's deadline ends the wait.
    let mut large = Work::new("true");
    large.memory_bytes = 1 << 50;
    large.timeout = Duration::from_secs(2);
    let ended = cluster.run(&large).await.ended;
    assert!(
        matches!(&ended, Err(ExecutorError::Infrastructure { message, .. }) if message.contains("Insufficient memory")),
        "{ended:?}"
    );

    let quota = [
        "-n",
        "dkm-refused",
        "create",
        "quota",
        "few",
        "--hard=pods=0",
    ];
    kubectl(&quota);
    until("the quota is known", || {
        kubectl(&[
            "-n",
            "dkm-refused",
            "get",
            "quota",
            "few",
            "-o",
            "jsonpath={.status.hard.pods}",
        ]) == "0"
    });
    let mut patient = settings.clone();
    patient.start_timeout = Duration::from_mins(1);
    let patient = Cluster::connect(patient).await;
    let ended = patient.run(&Work::new("true")).await.ended;
    assert!(
        matches!(&ended, Err(ExecutorError::Infrastructure { message, .. }) if message.contains("exceeded quota")),
        "{ended:?}"
    );
    assert_eq!(jobs_in("dkm-refused"), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn cancelling_removes_the_job_and_its_pod() {
    let _turn = turn().await;
    let cluster = Cluster::connect(namespace("dkm-cancel")).await;
    let cancel = CancellationToken::new();
    let running = || {
        kubectl(&[
            "-n",
            "dkm-cancel",
            "get",
            "pods",
            "-o",
            "jsonpath={.items[*].status.phase}",
        ]) == "Running"
    };
    let stopper = cancel.clone();
    let stop = tokio::task::spawn_blocking(move || {
        until("the pod runs", running);
        stopper.cancel();
    });
    let done = cluster.run_until(&Work::new("sleep 1000"), &cancel).await;
    stop.await.unwrap();
    assert_eq!(done.ended.unwrap().exit, Exit::Cancelled);
    assert_eq!(jobs_in("dkm-cancel"), 0);
    until("the pod is gone", || {
        kubectl(&["-n", "dkm-cancel", "get", "pods", "-o", "name"]).is_empty()
    });
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn an_evicted_pod_is_reported_as_lost() {
    let _turn = turn().await;
    let cluster = Cluster::connect(namespace("dkm-evict")).await;
    let evict = tokio::task::spawn_blocking(|| {
        let pods = [
            "-n",
            "dkm-evict",
            "get",
            "pods",
            "--field-selector=status.phase=Running",
            "-o",
            "name",
        ];
        until("the pod runs", || !kubectl(&pods).is_empty());
        // Eviction through the API, as in a drain; only our pod is there.
        let drain = [
            "drain",
            "localhost",
            "--pod-selector=driverkit-matrix/run",
            "--force",
            "--delete-emptydir-data",
            "--grace-period=1",
            "--timeout=60s",
        ];
        kubectl(&drain);
        kubectl(&["uncordon", "localhost"]);
    });
    let ended = cluster.run(&Work::new("sleep 1000")).await.ended;
    evict.await.unwrap();
    assert!(
        matches!(&ended, Err(ExecutorError::Lost { message }) if message.contains("EvictionByEvictionAPI")),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn jobs_survive_restarts_of_the_api_server_and_the_kubelet() {
    let _turn = turn().await;
    let cluster = Cluster::connect(namespace("dkm-broken")).await;
    let work = Work::new("sleep 15; echo done");
    let breaks = tokio::task::spawn_blocking(|| {
        let pods = [
            "-n",
            "dkm-broken",
            "get",
            "pods",
            "--field-selector=status.phase=Running",
            "-o",
            "name",
        ];
        until("all pods run", || kubectl(&pods).lines().count() == 4);
        component("kill", "kube-apiserver");
        component("stop", "kubelet");
        component("start", "kube-apiserver");
        component("start", "kubelet");
    });
    let all = futures_util::future::join_all((0..4).map(|_| cluster.run(&work))).await;
    breaks.await.unwrap();
    for done in all {
        assert_eq!(done.ended.unwrap().exit, Exit::Code(0));
        assert_eq!(done.log, "done\n");
    }
    // The next job runs normally.
    let done = cluster.run(&Work::new("exit 7")).await;
    assert_eq!(done.ended.unwrap().exit, Exit::Code(7));
    assert_eq!(jobs_in("dkm-broken"), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn inputs_and_results_go_through_tls() {
    let _turn = turn().await;
    let mut settings = namespace("dkm-tls");
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
    succeed(
        std::process::Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=inputs",
            ])
            .args(["-addext", "subjectAltName=IP:10.244.0.1", "-out"])
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key),
    );
    settings.tls = Some(driverkit_matrix::executor::ServerTls {
        certificate,
        key,
        authority: None,
    });
    let cluster = Cluster::connect(settings).await;
    let trees = tempfile::tempdir().unwrap();
    tree(trees.path(), "by tls\n");
    let mut work = Work::new("cat /usr/src/a/Makefile");
    work.mounts = vec![Mount {
        source: trees.path().to_owned(),
        target: "/usr/src/a".into(),
    }];
    assert_eq!(cluster.run(&work).await.log, "by tls\n");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn unusable_clusters_are_reported_before_anything_starts() {
    let _turn = turn().await;
    let settings = namespace("dkm-input");
    let store = tempfile::tempdir().unwrap();
    let refused = async |settings| match KubernetesExecutor::connect(settings, store.path()).await {
        Ok(_) => panic!("connected"),
        Err(error) => error.to_string(),
    };
    let mut missing = settings.clone();
    missing.namespace = Some("dkm-no-such-namespace".to_owned());
    let message = refused(missing).await;
    assert!(
        message.contains("namespaces \"dkm-no-such-namespace\" not found"),
        "{message}"
    );

    // An account with all rights except one.
    let account = "system:serviceaccount:dkm-input:default";
    kubectl(&[
        "-n",
        "dkm-input",
        "create",
        "role",
        "most",
        "--verb=create,get,list,watch",
        "--resource=jobs,pods,events",
    ]);
    kubectl(&[
        "-n",
        "dkm-input",
        "create",
        "rolebinding",
        "most",
        "--role=most",
        &format!("--user={account}"),
    ]);
    let token = kubectl(&["-n", "dkm-input", "create", "token", "default"]);
    let text = std::fs::read_to_string(settings.kubeconfig.as_ref().unwrap()).unwrap();
    let user = text.find("users:").unwrap();
    let end = text.find("contexts:").unwrap();
    let text = format!(
        "{}users: [{{name: admin, user: {{token: {}}}}}]\n{}",
        &text[..user],
        token.trim(),
        &text[end..]
    );
    let kubeconfig = store.path().join("kubeconfig");
    driverkit_matrix::fs::write(&kubeconfig, text).unwrap();
    let mut poor = settings.clone();
    poor.kubeconfig = Some(kubeconfig);
    let message = refused(poor).await;
    assert!(
        message.contains("no right to delete jobs.batch in namespace dkm-input"),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn jobs_of_dead_owners_are_removed_and_others_stay() {
    let _turn = turn().await;
    let cluster = Cluster::connect(namespace("dkm-sweep")).await;
    let job = |name: &str, owner: &str| {
        let text = format!(
            "{{apiVersion: batch/v1, kind: Job, metadata: {{name: {name}, namespace: dkm-sweep,
              labels: {{app.kubernetes.io/managed-by: driverkit-matrix}},
              annotations: {{driverkit-matrix/owner: {owner}}}}},
              spec: {{suspend: true, template: {{spec: {{restartPolicy: Never,
              containers: [{{name: x, image: x}}]}}}}}}}}"
        );
        apply(&text);
    };
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let number: String = namespace
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    job("dead", &format!("{}.{number}.1.1", boot.trim()));
    job("elsewhere", "another-boot.1.1.1");
    assert_eq!(cluster.executor.sweep().await.unwrap(), 1);
    let left = kubectl(&["-n", "dkm-sweep", "get", "jobs", "-o", "name"]);
    assert_eq!(left, "job.batch/elsewhere\n");
}
