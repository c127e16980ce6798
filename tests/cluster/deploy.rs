//! deploy/: its manifests are taken by the cluster, and its `CronJob` builds.

use std::path::Path;

use crate::common::{blocking_turn, copy, kubectl, load_program, namespace, until, volume_of};

const NAMESPACE: &str = "dkm-deploy";

#[test]
#[ignore = "needs the cluster of make test-cluster"]
fn the_cron_job_builds_in_the_cluster_with_the_rights_that_it_is_given() {
    let _turn = blocking_turn();
    namespace(NAMESPACE);
    let root = root();
    load_program();

    // The claim of namespace.sh stands for both of the base's.
    let folder = tempfile::tempdir().unwrap();
    let volume = volume_of(NAMESPACE);
    copy(
        &root.join("vendor/falcosecurity-libs-0.20.0"),
        &volume.join("libs"),
    );
    let mirror = std::env::var("DRIVERKIT_MATRIX_MIRROR_DEBIAN").unwrap();
    write_overlay(folder.path(), &mirror);
    let overlay = folder.path().to_str().unwrap();
    let base = root.join("deploy/base");
    kubectl(&[
        "-n",
        NAMESPACE,
        "apply",
        "--dry-run=server",
        "-k",
        base.to_str().unwrap(),
    ]);
    kubectl(&["apply", "-k", overlay]);

    let job = [
        "-n",
        NAMESPACE,
        "create",
        "job",
        "--from=cronjob/driverkit-matrix",
        "now",
    ];
    kubectl(&job);
    let conditions = [
        "-n",
        NAMESPACE,
        "get",
        "job/now",
        "-o",
        "jsonpath={.status.conditions[*].type}",
    ];
    until("the run has ended", || {
        let found = kubectl(&conditions);
        found.contains("Complete") || found.contains("Failed")
    });
    let said = kubectl(&["-n", NAMESPACE, "logs", "job/now", "--all-containers"]);
    assert!(said.contains("exit 0"), "{said}");
    let module = walkdir::WalkDir::new(volume.join("out"))
        .into_iter()
        .flatten()
        .find(|entry| entry.path().extension().is_some_and(|it| it == "ko"));
    assert!(module.is_some(), "{said}");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a person writes: where the base is, a matrix, the image and some settings.
fn write_overlay(folder: &Path, mirror: &str) {
    let write = |name: &str, text: String| {
        driverkit_matrix::fs::write(&folder.join(name), text).unwrap();
    };
    copy(&root().join("deploy/base"), folder);
    write(
        "one.toml",
        "drivers = [\"0.20.0+driver\"]\narchitectures = [\"amd64\"]\nartifacts = [\"module\"]\n\
         [defaults]\nmemory = \"1GiB\"\ntimeout = \"20m\"\n[[target]]\nname = \"debian\"\n\
         kernels = { from = \"mirror\", suites = [\"bookworm\"], flavours = [\"cloud\"], latest = 1 }\n\
         [driver.\"0.20.0+driver\"]\nsource = { path = \"../libs\" }\n"
            .to_owned(),
    );
    write(
        "kustomization.yaml",
        format!(
            "
namespace: {NAMESPACE}
resources: [base]
images: [{{name: driverkit-matrix, newName: driverkit-matrix/program, newTag: test}}]
configMapGenerator:
  - {{name: driverkit-matrix-matrices, files: [one.toml]}}
  - name: driverkit-matrix
    behavior: merge
    literals:
      - DRIVERKIT_MATRIX_KUBERNETES_CACHE=pvc:trees
      - DRIVERKIT_MATRIX_KUBERNETES_CPU=100m
      - DRIVERKIT_MATRIX_MIRROR_DEBIAN={mirror}
patches:
  - patch: |
      {{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: driverkit-matrix}}, $patch: delete}}
  - patch: |
      {{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: driverkit-matrix-trees}}, $patch: delete}}
  - target: {{kind: CronJob}}
    patch: |
      - {{op: replace, path: /spec/jobTemplate/spec/template/spec/volumes/0/persistentVolumeClaim/claimName, value: trees}}
      - {{op: replace, path: /spec/jobTemplate/spec/template/spec/containers/0/resources/requests/cpu, value: 100m}}
"
        ),
    );
}
