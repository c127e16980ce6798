//! Tests of driverkit's commands for a cluster: one real build from outside, and one through deploy/.

use std::path::Path;

use crate::cluster::bucket::{objects, s3_server};
use crate::cluster::common::{
    BRIDGE, blocking_turn, copy, deploy, jobs_in, kubeconfig, load_program, namespace,
    run_cron_job, text_of, volume_of,
};
use support::real::{Kernel, kernel_of_bookworm, program, vendor};

const NAMESPACE: &str = "dkm-single";
const SOURCES: &str = "falcosecurity-libs-0.20.0";

/// The directory of a user who builds for one kernel.
struct Person {
    folder: tempfile::TempDir,
    kernel: Kernel,
}

impl Person {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kernel = kernel_of_bookworm(folder.path());
        Self { folder, kernel }
    }

    /// Returns driverkit's configuration file.
    fn config(&self, sources: &Path, module: &str) -> String {
        self.kernel.config(&format!(
            "driverversion: 0.20.0+driver\nsrc-dir: {}\nnamespace: {NAMESPACE}\noutput:\n  module: {module}\n",
            sources.display()
        ))
    }

    /// Runs the program with a cache of this name.
    fn call(&self, cache: &str, words: &[&str], variables: &[(String, String)]) -> (i32, String) {
        let folder = self.folder.path();
        let module = format!("{cache}/falco.ko");
        let config = self.config(&vendor().join(SOURCES), &module);
        driverkit_matrix::fs::write(&folder.join("config.yaml"), config).unwrap();
        let output = program(folder)
            .args(words)
            .args(["-c", "config.yaml", "--timeout", "1200", "--cache"])
            .arg(folder.join(cache).join("cache"))
            .env("HOME", folder)
            .env("DRIVERKIT_MATRIX_KUBERNETES_LISTEN", BRIDGE)
            .env("DRIVERKIT_MATRIX_KUBERNETES_CACHE", "pvc:trees")
            .env("DRIVERKIT_MATRIX_KUBERNETES_CPU", "100m")
            .env_remove("KUBECONFIG")
            .envs(variables.iter().cloned())
            .output()
            .unwrap();
        (output.status.code().unwrap(), text_of(&output))
    }

    fn module(&self, cache: &str) -> Vec<u8> {
        std::fs::read(self.folder.path().join(cache).join("falco.ko")).unwrap()
    }
}

#[test]
#[ignore = "needs the cluster of make test-cluster"]
fn builds_from_outside_and_inside_the_cluster_equal_those_of_docker() {
    let _turn = blocking_turn();
    namespace(NAMESPACE);
    let person = Person::new();
    let kubeconfig = kubeconfig();
    let outside = ["kubernetes", "--kubeconfig", kubeconfig.to_str().unwrap()];
    for said in ["module 0.20.0+driver/x86_64/debian_", "already built"] {
        let (code, text) = person.call("outside", &outside, &[]);
        assert!(code == 0 && text.contains(said), "{text}");
    }
    assert_eq!(jobs_in(NAMESPACE), 0);

    let (code, text) = person.call("docker", &["docker"], &[]);
    assert_eq!(code, 0, "{text}");
    let module = person.module("docker");
    assert!(module == person.module("outside"), "docker's differs");

    by_a_bucket(&person, &module);
    in_the_cluster(&person, &module);

    for (words, said) in [
        (
            &[&outside[..], &["-n", "dkm-none"]].concat()[..],
            "namespaces \"dkm-none\" not found",
        ),
        (&["k8s-ic"], "this is not a pod with a service account"),
    ] {
        let (code, text) = person.call("nothing", words, &[]);
        assert!(code == 2 && text.contains(said), "{code} {text}");
    }
}

/// Inputs and result go through a bucket; the volume of the namespace is empty.
fn by_a_bucket(person: &Person, module: &[u8]) {
    let server = s3_server();
    namespace("dkm-single-bucket");
    let kubeconfig = kubeconfig();
    let kubeconfig = kubeconfig.to_str().unwrap();
    let mut variables = server.variables();
    variables.push((
        "DRIVERKIT_MATRIX_KUBERNETES_BUCKET".to_owned(),
        "s3://builds/drivers".to_owned(),
    ));
    let words = ["k8s", "--kubeconfig", kubeconfig, "-n", "dkm-single-bucket"];
    let (code, text) = person.call("bucket", &words, &variables);
    assert_eq!(code, 0, "{text}");
    assert!(
        module == person.module("bucket"),
        "the module built through the bucket differs"
    );
    assert!(objects(&server, "drivers/inputs") > 3, "{text}");
}

/// Runs `kubernetes-in-cluster` as in deploy/one-kernel.
fn in_the_cluster(person: &Person, module: &[u8]) {
    let volume = volume_of(NAMESPACE);
    load_program();
    copy(&vendor().join(SOURCES), &volume.join("libs"));
    let folder = tempfile::tempdir().unwrap();
    let config = person.config(Path::new("/data/libs"), "inside/falco.ko");
    driverkit_matrix::fs::write(&folder.path().join("config.yaml"), config).unwrap();
    let configuration =
        "  - {name: driverkit-matrix-config, behavior: replace, files: [config.yaml]}
  - name: driverkit-matrix
    behavior: merge
    literals:
      - DRIVERKIT_MATRIX_KUBERNETES_CACHE=pvc:trees
      - DRIVERKIT_MATRIX_KUBERNETES_CPU=100m";
    deploy(NAMESPACE, "one-kernel", folder.path(), configuration);
    let (is_good, said) = run_cron_job(NAMESPACE);
    assert!(is_good, "{said}");
    let made = std::fs::read(volume.join("inside/falco.ko")).unwrap();
    assert!(
        module == made,
        "the module built in the cluster differs: {said}"
    );
}
