//! driverkit's commands for a cluster: one real build from outside, and one from a pod with the rights of deploy/.

use std::path::Path;

use crate::bucket::S3Server;
use crate::common::{
    BRIDGE, apply, blocking_turn, copy, jobs_in, kubeconfig, kubectl, load_program, namespace,
    text_of, until, volume_of,
};
use crate::real::{Kernel, kernel_of_bookworm, program, vendor};

const NAMESPACE: &str = "dkm-single";
const SOURCES: &str = "falcosecurity-libs-0.20.0";

/// A folder in which a person calls the program for one kernel.
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

    /// driverkit's configuration file.
    fn config(&self, sources: &Path, module: &str) -> String {
        let urls = self.kernel.urls.iter().map(|url| format!("  - {url}\n"));
        format!(
            "kernelversion: 1\nkernelrelease: {}\ntarget: debian\narchitecture: amd64\n\
             driverversion: 0.20.0+driver\nsrc-dir: {}\nnamespace: {NAMESPACE}\n\
             output:\n  module: {module}\nkernelurls:\n{}",
            self.kernel.release,
            sources.display(),
            urls.collect::<String>()
        )
    }

    /// Calls the program with a cache of that name.
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

/// The pod of a person who uses `kubernetes-in-cluster`, with the claim of namespace.sh at /data.
fn pod(image: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: single, namespace: {NAMESPACE}, labels: {{app.kubernetes.io/name: driverkit-matrix}}}}
spec:
  restartPolicy: Never
  serviceAccountName: driverkit-matrix
  securityContext: {{runAsNonRoot: true, runAsUser: 65534, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: single
      image: {image}
      args: [k8s-ic, -c, config.yaml, --timeout, \"1200\"]
      workingDir: /data
      env:
        - {{name: DRIVERKIT_MATRIX_CACHE, value: /data/cache}}
        - {{name: DRIVERKIT_MATRIX_KUBERNETES_CACHE, value: \"pvc:trees\"}}
        - {{name: DRIVERKIT_MATRIX_KUBERNETES_CPU, value: 100m}}
        - {{name: DRIVERKIT_MATRIX_KUBERNETES_LISTEN, value: \"0.0.0.0:8080\"}}
        - {{name: DRIVERKIT_MATRIX_KUBERNETES_ADDRESS, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}
      securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
      volumeMounts: [{{name: data, mountPath: /data}}, {{name: tmp, mountPath: /tmp}}]
  volumes:
    - {{name: data, persistentVolumeClaim: {{claimName: trees}}}}
    - {{name: tmp, emptyDir: {{}}}}
"
    )
}

#[test]
#[ignore = "needs the cluster of make test-cluster"]
fn driverkit_s_commands_build_from_outside_and_from_inside_what_docker_builds() {
    let _turn = blocking_turn();
    namespace(NAMESPACE);
    let person = Person::new();
    let kubeconfig = kubeconfig();
    let outside = ["kubernetes", "--kubeconfig", kubeconfig.to_str().unwrap()];
    for said in ["module 0.20.0+driver/x86_64/debian_", "known already"] {
        let (code, text) = person.call("outside", &outside, &[]);
        assert!(code == 0 && text.contains(said), "{text}");
    }
    assert_eq!(jobs_in(NAMESPACE), 0);

    let (code, text) = person.call("docker", &["docker"], &[]);
    assert_eq!(code, 0, "{text}");
    let module = person.module("docker");
    assert!(module == person.module("outside"), "docker's differs");

    by_a_bucket(&person, &module);
    in_a_pod(&person, &module);

    for (words, said) in [
        (
            &[&outside[..], &["-n", "dkm-none"]].concat()[..],
            "namespaces \"dkm-none\" not found",
        ),
        (&["k8s-ic"], "this is no pod with a service account"),
    ] {
        let (code, text) = person.call("nothing", words, &[]);
        assert!(code == 2 && text.contains(said), "{code} {text}");
    }
}

/// Inputs and result travel by a bucket; the namespace's volume is empty.
fn by_a_bucket(person: &Person, module: &[u8]) {
    let server = S3Server::start();
    namespace("dkm-single-bucket");
    let kubeconfig = kubeconfig();
    let kubeconfig = kubeconfig.to_str().unwrap();
    let mut variables = server.variables().to_vec();
    variables.push((
        "DRIVERKIT_MATRIX_KUBERNETES_BUCKET".to_owned(),
        "s3://builds/drivers".to_owned(),
    ));
    let words = ["k8s", "--kubeconfig", kubeconfig, "-n", "dkm-single-bucket"];
    let (code, text) = person.call("bucket", &words, &variables);
    assert_eq!(code, 0, "{text}");
    assert!(
        module == person.module("bucket"),
        "that of the bucket differs"
    );
    assert!(server.objects("drivers/inputs") > 3, "{text}");
}

/// `kubernetes-in-cluster`, with the service account and the rights of deploy/.
fn in_a_pod(person: &Person, module: &[u8]) {
    let volume = volume_of(NAMESPACE);
    let image = load_program();
    copy(&vendor().join(SOURCES), &volume.join("libs"));
    let config = person.config(Path::new("/data/libs"), "inside/falco.ko");
    driverkit_matrix::fs::write(&volume.join("config.yaml"), config).unwrap();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/base");
    for file in ["service-account.yaml", "role.yaml", "network-policy.yaml"] {
        let file = base.join(file);
        kubectl(&["-n", NAMESPACE, "apply", "-f", file.to_str().unwrap()]);
    }
    apply(&pod(&image));
    let phase = [
        "-n",
        NAMESPACE,
        "get",
        "pod/single",
        "-o",
        "jsonpath={.status.phase}",
    ];
    until("the pod has ended", || {
        ["Succeeded", "Failed"].contains(&kubectl(&phase).as_str())
    });
    let said = kubectl(&["-n", NAMESPACE, "logs", "pod/single"]);
    assert_eq!(kubectl(&phase), "Succeeded", "{said}");
    let made = std::fs::read(volume.join("inside/falco.ko")).unwrap();
    assert!(module == made, "the pod's differs: {said}");
    assert_eq!(jobs_in(NAMESPACE), 0);
}
