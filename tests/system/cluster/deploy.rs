//! Tests of deploy/: the cluster accepts its manifests, and its `CronJob` builds.

use std::path::Path;

use crate::cluster::common::{
    blocking_turn, copy, deploy, load_program, namespace, run_cron_job, volume_of,
};

const NAMESPACE: &str = "dkm-deploy";

const MATRIX: &str = r#"
drivers = ["0.20.0+driver"]
architectures = ["amd64"]
artifacts = ["module"]
[defaults]
memory = "1GiB"
timeout = "20m"
[[target]]
name = "debian"
kernels = { from = "mirror", suites = ["bookworm"], flavours = ["cloud"], latest = 1 }
[driver."0.20.0+driver"]
source = { path = "../libs" }
"#;

#[test]
#[ignore = "needs the cluster of make test-cluster"]
fn the_cron_job_builds_with_the_rights_of_its_manifests() {
    let _turn = blocking_turn();
    namespace(NAMESPACE);
    load_program();
    let volume = volume_of(NAMESPACE);
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor/falcosecurity-libs-0.20.0");
    copy(&sources, &volume.join("libs"));

    let folder = tempfile::tempdir().unwrap();
    driverkit_matrix::fs::write(&folder.path().join("one.toml"), MATRIX).unwrap();
    let mirror = std::env::var("DRIVERKIT_MATRIX_MIRROR_DEBIAN").unwrap();
    let configuration = format!(
        "  - {{name: driverkit-matrix-matrices, files: [one.toml]}}
  - name: driverkit-matrix
    behavior: merge
    literals:
      - DRIVERKIT_MATRIX_KUBERNETES_CACHE=pvc:trees
      - DRIVERKIT_MATRIX_KUBERNETES_CPU=100m
      - DRIVERKIT_MATRIX_MIRROR_DEBIAN={mirror}"
    );
    deploy(NAMESPACE, "base", folder.path(), &configuration);
    let (is_good, said) = run_cron_job(NAMESPACE);
    assert!(is_good && said.contains("exit 0"), "{said}");
    let module = walkdir::WalkDir::new(volume.join("out"))
        .into_iter()
        .flatten()
        .find(|entry| entry.path().extension().is_some_and(|it| it == "ko"));
    assert!(module.is_some(), "{said}");
}
