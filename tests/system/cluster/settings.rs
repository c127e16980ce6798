//! Tests of the user's settings: the pods have them, and the cluster applies them.

use std::collections::BTreeMap;

use driverkit_matrix::executor::{CacheVolume, ExecutorError, Exit, Mount};
use tokio_util::sync::CancellationToken;

use crate::cluster::common::{Cluster, Work, jobs_in, kubectl, namespace, turn, until, volume_of};

const NAMESPACE: &str = "dkm-host-path";
const POOL: &str = "dkm-pool";

/// Reserves the node for builds until this is dropped.
struct Pool;

impl Pool {
    fn make() -> Self {
        kubectl(&["label", "node", "localhost", "pool=builds"]);
        kubectl(&["taint", "node", "localhost", "builds=only:NoSchedule"]);
        Self
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        kubectl(&["taint", "node", "localhost", "builds-"]);
        kubectl(&["label", "node", "localhost", "pool-"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn a_directory_on_the_node_caches_trees_if_the_policy_allows_it() {
    let _turn = turn().await;
    let mut settings = namespace(NAMESPACE);
    // The user `nobody` must be able to write to the directory.
    let cache = volume_of(NAMESPACE).join("of-node");
    std::fs::create_dir(&cache).unwrap();
    std::os::unix::fs::chown(&cache, Some(65534), Some(65534)).unwrap();
    settings.cache = CacheVolume::HostPath(cache.to_str().unwrap().to_owned());
    let trees = tempfile::tempdir().unwrap();
    driverkit_matrix::fs::write(&trees.path().join("Makefile"), "here\n").unwrap();
    let mut work = Work::new("cat /usr/src/a/Makefile");
    work.mounts = vec![Mount {
        source: trees.path().to_owned(),
        target: "/usr/src/a".into(),
    }];

    let restricted = Cluster::connect(settings.clone()).await.run(&work).await;
    assert!(
        matches!(&restricted.ended, Err(ExecutorError::Infrastructure { message, .. }) if message.contains("PodSecurity") && message.contains("hostPath")),
        "{:?}",
        restricted.ended
    );

    let policy = "pod-security.kubernetes.io/enforce=privileged";
    kubectl(&["label", "--overwrite", "namespace", NAMESPACE, policy]);
    for _ in 0..2 {
        // Each is a separate run with its own store.
        let done = Cluster::connect(settings.clone()).await.run(&work).await;
        assert_eq!(done.ended.unwrap().exit, Exit::Code(0), "{}", done.log);
        assert_eq!(done.log, "here\n");
        let kept = std::fs::read_dir(cache.join("trees")).unwrap().count();
        assert_eq!(kept, 1);
    }
    assert_eq!(jobs_in(NAMESPACE), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn pods_run_on_the_selected_node_as_the_selected_user() {
    let _turn = turn().await;
    let mut settings = namespace(POOL);
    kubectl(&["-n", POOL, "create", "serviceaccount", "builds"]);
    let _pool = Pool::make();
    settings.node_selector = BTreeMap::from([("pool".to_owned(), "builds".to_owned())]);
    settings.service_account = Some("builds".to_owned());
    settings.image_pull_secrets = vec!["registry".to_owned()];
    (settings.run_as_user, settings.run_as_group) = (1234, 1235);

    let mut impatient = settings.clone();
    impatient.start_timeout = std::time::Duration::from_secs(3);
    let mut waits = Work::new("true");
    waits.timeout = std::time::Duration::from_secs(2);
    let ended = Cluster::connect(impatient).await.run(&waits).await.ended;
    assert!(
        matches!(&ended, Err(ExecutorError::Infrastructure { message, .. }) if message.contains("untolerated taint")),
        "{ended:?}"
    );

    settings.tolerations = vec!["builds=only:NoSchedule".parse().unwrap()];
    let cluster = Cluster::connect(settings).await;
    let done = cluster.run(&Work::new("id -u; id -g")).await;
    assert_eq!(done.ended.unwrap().exit, Exit::Code(0), "{}", done.log);
    assert_eq!(done.log, "1234\n1235\n");

    until("that pod is gone", || {
        kubectl(&["-n", POOL, "get", "pods", "-o", "name"]).is_empty()
    });
    let cancel = CancellationToken::new();
    let seen = tokio::task::spawn_blocking({
        let cancel = cancel.clone();
        move || {
            let spec = "jsonpath={.items[*].status.phase} {.items[*].spec.serviceAccountName} \
                        {.items[*].spec.automountServiceAccountToken} {.items[*].spec.imagePullSecrets[*].name}";
            let mut seen = String::new();
            until("the pod runs", || {
                seen = kubectl(&["-n", POOL, "get", "pods", "-o", spec]);
                seen.starts_with("Running ")
            });
            cancel.cancel();
            seen
        }
    });
    cluster.run_until(&Work::new("sleep 1000"), &cancel).await;
    assert_eq!(seen.await.unwrap(), "Running builds false registry");
}
