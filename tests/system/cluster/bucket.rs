//! Inputs and results by way of a real S3 server, which checks every signature.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use driverkit_matrix::bucket::BucketSettings;
use driverkit_matrix::executor::{Exit, KubernetesExecutor, KubernetesSettings, Mount};

use crate::cluster::common::{
    BRIDGE, Cluster, Work, jobs_in, namespace, script, succeed, turn, until,
};

const KEY: &str = "a-key";
const SECRET: &str = "a-secret";

/// An S3 server on the pods' bridge with one bucket, `builds`; it ends with this.
pub(crate) struct S3Server {
    process: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl S3Server {
    pub(crate) fn start() -> Self {
        let program = succeed(&mut script("s3-server.sh"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("builds")).unwrap();
        let free = std::net::TcpListener::bind(BRIDGE).unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let process = Command::new(program.trim())
            .args([
                "--port", &address, "--access", KEY, "--secret", SECRET, "--quiet", "posix",
            ])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the S3 server answers", || {
            std::net::TcpStream::connect(&address).is_ok()
        });
        Self {
            process,
            address,
            folder,
        }
    }

    pub(crate) fn variables(&self) -> [(String, String); 5] {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }

    /// How many objects there are below that name.
    pub(crate) fn objects(&self, below: &str) -> usize {
        walkdir::WalkDir::new(self.folder.path().join("builds").join(below))
            .into_iter()
            .flatten()
            .filter(|entry| entry.file_type().is_file())
            .count()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn settings(name: &str, server: &S3Server, prefix: &str) -> KubernetesSettings {
    KubernetesSettings {
        listen: None,
        bucket: Some(BucketSettings {
            variables: server.variables().to_vec(),
            ..format!("s3://builds/{prefix}").parse().unwrap()
        }),
        ..namespace(name)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the cluster of make test-cluster"]
async fn a_bucket_takes_the_place_of_the_server_of_inputs() {
    let _turn = turn().await;
    let server = S3Server::start();
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
    // Archives stay, results do not.
    assert_eq!(server.objects("a/b/inputs"), 1);
    assert_eq!(server.objects("a/b/results"), 0);

    // What was killed says how far it came.
    let mut slow = Work::new("echo begun; sleep 1000");
    slow.timeout = Duration::from_secs(2);
    let mut large = Work::new(r#"echo begun; perl -e '$x = "x" x (500 << 20)'"#);
    large.memory_bytes = 64 << 20;
    let (slow, large) = tokio::join!(cluster.run(&slow), cluster.run(&large));
    assert_eq!(slow.ended.unwrap().exit, Exit::TimedOut);
    assert_eq!(slow.log, "begun\n");
    assert_eq!(large.ended.unwrap().exit, Exit::OutOfMemory);
    assert!(large.log.starts_with("begun\n"), "{}", large.log);
    assert_eq!(server.objects("a/b/results"), 0);
    assert_eq!(jobs_in("dkm-bucket"), 0);

    // A bucket that is not there, and a wrong secret, are told before anything starts.
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
