//! A header tree whose programs are for another machine: pods run them under the emulator that is added to the tree.

use std::path::{Path, PathBuf};
use std::process::Command;

use driverkit_matrix::report::read_manifest;

use crate::cluster::common::{
    BRIDGE, blocking_turn, jobs_in, kubeconfig, namespace, succeed, text_of,
};
use support::real::{kernel, program, vendor};

const NAMESPACE: &str = "dkm-emulated";

/// Downloads header packages for arm64 whose programs are for arm64, under the names of the packages for this machine:
/// otherwise the program would prefer those for this machine.
fn packages(folder: &Path, urls: &[String]) -> Vec<PathBuf> {
    let package = |url: &String| {
        let path = folder.join(url.rsplit('/').next().unwrap());
        let url = url.replace("_amd64.deb", "_arm64.deb");
        succeed(Command::new("curl").args(["-sSfo", path.to_str().unwrap(), &url]));
        path
    };
    urls.iter().map(package).collect()
}

/// Builds with its own cache; returns the module.
fn built(folder: &Path, executor: &str) -> Vec<u8> {
    let out = folder.join(executor);
    let mut command = program(folder);
    command
        .args(["run", "m.toml", "--verbose", "--executor", executor])
        .arg("--out")
        .arg(&out)
        .arg("--cache")
        .arg(folder.join(format!("cache-{executor}")));
    if executor == "kubernetes" {
        command
            .arg("--kubeconfig")
            .arg(kubeconfig())
            .args(["--kubernetes-namespace", NAMESPACE])
            .args(["--kubernetes-listen", BRIDGE, "--kubernetes-cpu", "100m"])
            .args(["--kubernetes-cache", "pvc:trees"]);
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
    let manifest = read_manifest(&out.join("manifest.json")).unwrap();
    let build = &manifest.builds[0];
    assert_eq!(build.tree.unwrap().host_programs.as_str(), "emulated");
    std::fs::read(out.join(build.artifacts[0].path.clone().unwrap())).unwrap()
}

#[test]
#[ignore = "needs the cluster of make test-cluster, and the builder image sid, out of which the emulator comes"]
fn programs_for_another_machine_run_in_pods_as_in_docker() {
    let _turn = blocking_turn();
    namespace(NAMESPACE);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let kernel = kernel(folder, "cloud", "arm64", "amd64");
    let matrix = format!(
        "drivers = [\"0.20.0+driver\"]\narchitectures = [\"arm64\"]\nartifacts = [\"module\"]\n\
         [defaults]\ntimeout = \"20m\"\n[[target]]\nname = \"debian\"\n\
         kernels = [{{ release = \"{}\", headers = {:?} }}]\n\
         [driver.\"0.20.0+driver\"]\nsource = {{ path = \"{}/falcosecurity-libs-0.20.0\" }}\n",
        kernel.release,
        packages(folder, &kernel.urls),
        vendor().display()
    );
    driverkit_matrix::fs::write(&folder.join("m.toml"), matrix).unwrap();
    let by_docker = built(folder, "docker");
    assert!(by_docker == built(folder, "kubernetes"), "docker's differs");
    assert_eq!(jobs_in(NAMESPACE), 0);
}
