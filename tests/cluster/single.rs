//! driverkit's commands for a cluster: one real build from outside, and one from a pod with the rights of deploy/.

use std::path::Path;
use std::process::Output;

use crate::common::{
    BRIDGE, apply, blocking_turn, copy, jobs_in, kubeconfig, kubectl, load_program, namespace,
    text_of, until, volume_of,
};
use crate::real::{Kernel, kernel_of_bookworm, program, vendor};

const NAMESPACE: &str = "dkm-single";
const SOURCES: &str = "falcosecurity-libs-0.20.0";

/// driverkit's configuration file.
fn config(kernel: &Kernel, sources: &Path, module: &str) -> String {
    let urls = kernel.urls.iter().map(|url| format!("  - {url}\n"));
    format!(
        "kernelversion: 1\nkernelrelease: {}\ntarget: debian\narchitecture: amd64\n\
         driverversion: 0.20.0+driver\nsrc-dir: {}\nnamespace: {NAMESPACE}\n\
         output:\n  module: {module}\nkernelurls:\n{}",
        kernel.release,
        sources.display(),
        urls.collect::<String>()
    )
}

fn call(folder: &Path, words: &[&str]) -> Output {
    program(folder)
        .args(words)
        .args(["-c", "config.yaml", "--timeout", "1200"])
        .env("HOME", folder)
        .env("DRIVERKIT_MATRIX_KUBERNETES_LISTEN", BRIDGE)
        .env("DRIVERKIT_MATRIX_KUBERNETES_CACHE", "pvc:trees")
        .env("DRIVERKIT_MATRIX_KUBERNETES_CPU", "100m")
        .env_remove("KUBECONFIG")
        .output()
        .unwrap()
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
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let kernel = kernel_of_bookworm(folder);
    let write = |module: &str| {
        let text = config(&kernel, &vendor().join(SOURCES), module);
        driverkit_matrix::fs::write(&folder.join("config.yaml"), text).unwrap();
    };
    let read = |file: &Path| std::fs::read(file).unwrap();

    let kubeconfig = kubeconfig();
    let kubeconfig = kubeconfig.to_str().unwrap();
    write("outside/falco.ko");
    let outside = || {
        let output = call(folder, &["kubernetes", "--kubeconfig", kubeconfig]);
        let text = text_of(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        text
    };
    let text = outside();
    assert!(
        text.contains("module 0.20.0+driver/x86_64/debian_"),
        "{text}"
    );
    assert!(outside().contains("known already"));
    assert_eq!(jobs_in(NAMESPACE), 0);

    let missing = [
        "k8s",
        "--kubeconfig",
        kubeconfig,
        "-n",
        "dkm-none",
        "--retry",
        "failed",
    ];
    let empty = folder.join("empty");
    let output = call(
        folder,
        &[&missing[..], &["--cache", empty.to_str().unwrap()]].concat(),
    );
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("namespaces \"dkm-none\" not found"),
        "{}",
        text_of(&output)
    );
    let output = call(folder, &["k8s-ic", "--cache", empty.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    assert!(
        text_of(&output).contains("this is no pod with a service account"),
        "{}",
        text_of(&output)
    );

    write("docker/falco.ko");
    let docker = folder.join("of-docker");
    let output = call(folder, &["docker", "--cache", docker.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
    let module = read(&folder.join("docker/falco.ko"));
    assert!(
        module == read(&folder.join("outside/falco.ko")),
        "docker's differs"
    );

    let volume = volume_of(NAMESPACE);
    let image = load_program();
    copy(&vendor().join(SOURCES), &volume.join("libs"));
    let text = config(&kernel, Path::new("/data/libs"), "inside/falco.ko");
    driverkit_matrix::fs::write(&volume.join("config.yaml"), text).unwrap();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/base");
    for file in ["service-account.yaml", "role.yaml", "network-policy.yaml"] {
        kubectl(&[
            "-n",
            NAMESPACE,
            "apply",
            "-f",
            base.join(file).to_str().unwrap(),
        ]);
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
    assert!(
        module == read(&volume.join("inside/falco.ko")),
        "the pod's differs: {said}"
    );
    assert_eq!(jobs_in(NAMESPACE), 0);
}
