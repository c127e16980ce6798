//! Inputs and results go through a real S3 server, which checks every signature.

use std::path::Path;
use std::time::Duration;

use driverkit_matrix::bucket::BucketSettings;
use driverkit_matrix::executor::{Exit, KubernetesExecutor, KubernetesSettings, Mount};

use support::object_store::{ObjectStore, SECRET};

use crate::cluster::common::{BRIDGE, Cluster, Work, jobs_in, namespace, turn};

/// Starts an S3 server on the pods' bridge.
pub(crate) fn s3_server() -> ObjectStore {
    ObjectStore::s3_at(BRIDGE)
}

/// Returns the number of objects below a name.
pub(crate) fn objects(server: &ObjectStore, below: &str) -> usize {
    walkdir::WalkDir::new(server.folder().join(below))
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .count()
}

fn settings(name: &str, server: &ObjectStore, prefix: &str) -> KubernetesSettings {
    KubernetesSettings {
        listen: None,
        bucket: Some(BucketSettings {
            variables: server.variables(),
            ..format!("s3://builds/{prefix}").parse().unwrap()
        }),
        ..namespace(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn a_bucket_replaces_the_server_of_inputs_and_results() {
    let _turn = turn().await;
    let server = s3_server();
    let cluster = Cluster::connect(settings("dkm-bucket", &server, "a/b")).await;
    let trees = tempfile::tempdir().unwrap();
    driverkit_matrix::fs::write(&trees.path().join("Makefile"), "by a bucket\n").unwrap();
    let mount = |source: &Path| Mount {
        source: source.to_owned(),
        target: "/usr/src/a".into(),
    };
    let mut work = Work::new("cat /usr/src/a/Makefile; echo made >/out/file; exit 3");
    work.mounts = vec![mount(trees.path())];
    for _ in 0..2 {
        let done = cluster.run(&work).await;
        assert_eq!(done.ended.unwrap().exit, Exit::Code(3));
        assert_eq!(done.log, "by a bucket\n");
        let made = std::fs::read_to_string(done.output.path().join("file")).unwrap();
        assert_eq!(made, "made\n");
    }
    // Archives of inputs are kept, results are removed.
    assert_eq!(objects(&server, "a/b/inputs"), 1);
    assert_eq!(objects(&server, "a/b/results"), 0);

    // A killed job still delivers its log.
    let mut slow = Work::new("echo begun; sleep 1000");
    slow.timeout = Duration::from_secs(2);
    let mut large = Work::new(r#"echo begun; perl -e '$x = "x" x (500 << 20)'"#);
    large.memory_bytes = 64 << 20;
    let (slow, large) = tokio::join!(cluster.run(&slow), cluster.run(&large));
    assert_eq!(slow.ended.unwrap().exit, Exit::TimedOut);
    assert_eq!(slow.log, "begun\n");
    assert_eq!(large.ended.unwrap().exit, Exit::OutOfMemory);
    assert!(large.log.starts_with("begun\n"), "{}", large.log);
    assert_eq!(objects(&server, "a/b/results"), 0);
    assert_eq!(jobs_in("dkm-bucket"), 0);

    // A missing bucket and a wrong secret are reported before anything starts.
    let mut wrong = settings("dkm-bucket", &server, "a/b");
    let bucket = wrong.bucket.as_mut().unwrap();
    bucket.variables[2].1 = "wrong".to_owned();
    let mut missing = wrong.clone();
    missing.bucket = settings("dkm-bucket", &server, "").bucket;
    missing.bucket.as_mut().unwrap().url = "s3://nowhere".parse().unwrap();
    for (settings, said) in [(wrong, "SignatureDoesNotMatch"), (missing, "NoSuchBucket")] {
        let store = tempfile::tempdir().unwrap();
        let connected = KubernetesExecutor::connect(settings, store.path()).await;
        let message = connected.err().expect("refused").to_string();
        assert!(
            message.contains("the bucket cannot be used") && message.contains(said),
            "{message}"
        );
        assert!(!message.contains(SECRET), "{message}");
    }
}
