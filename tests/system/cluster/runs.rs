//! Tests of whole runs: real drivers for real kernels.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::cluster::common::{
    BRIDGE, blocking_turn, component, jobs_in, kubeconfig, namespace, succeed, text_of, until,
};
use support::real::images;

/// The program with its own directory, but with this machine's builder images and downloads.
struct Run {
    folder: tempfile::TempDir,
    namespace: &'static str,
}

impl Run {
    /// Plans `drivers` drivers with different names for each kernel of bookworm.
    fn new(namespace: &'static str, drivers: usize, kernels: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let vendor = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor");
        let names: Vec<String> = (1..=drivers)
            .map(|number| format!("driver-{number}"))
            .collect();
        let head = format!(
            "drivers = {names:?}\narchitectures = [\"amd64\", \"arm64\"]\nartifacts = [\"module\"]\n\
             [defaults]\ntimeout = \"20m\"\nmemory = \"1GiB\"\nretries = 3\n\
             [[target]]\nname = \"debian\"\nkernels = {kernels}\n"
        );
        let source = vendor.join("falcosecurity-libs-0.20.0");
        let sections = names.iter().enumerate().map(|(number, name)| {
            format!(
                "[driver.\"{name}\"]\nsource = {{ path = \"{}\" }}\nmodule_name = \"falco\"\ndevice_name = \"falco{number}\"\n",
                source.display()
            )
        });
        let text: String = std::iter::once(head).chain(sections).collect();
        driverkit_matrix::fs::write(&folder.path().join("grid.toml"), text).unwrap();
        Self { folder, namespace }
    }

    fn command(&self, out: &str, executor: &str) -> Command {
        let cache = self.folder.path().join(format!("cache-{out}"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"));
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .arg("run")
            .arg(self.folder.path().join("grid.toml"))
            .arg("--cache")
            .arg(cache)
            .arg("--images")
            .arg(images())
            .arg("--out")
            .arg(self.folder.path().join(out))
            .args(["--executor", executor, "--verbose"]);
        if executor == "kubernetes" {
            command
                .arg("--kubeconfig")
                .arg(kubeconfig())
                .args(["--jobs", "8", "--kubernetes-namespace", self.namespace])
                .args(["--kubernetes-listen", BRIDGE, "--kubernetes-cpu", "100m"])
                .args(["--kubernetes-cache", "pvc:trees"]);
        }
        command
    }

    fn artifacts(&self, out: &str) -> Vec<PathBuf> {
        let folder = self.folder.path().join(out);
        let mut found: Vec<PathBuf> = walkdir::WalkDir::new(&folder)
            .into_iter()
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|it| it == "ko"))
            .map(|entry| entry.path().strip_prefix(&folder).unwrap().to_owned())
            .collect();
        found.sort();
        found
    }
}

/// A child process that is killed on drop.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
#[ignore = "needs the cluster of make test-cluster"]
fn thirty_modules_are_built_despite_failures_and_equal_those_of_docker() {
    let _turn = blocking_turn();
    namespace("dkm-thirty");
    let kernels = r#"{ from = "mirror", suites = ["bookworm"], flavours = ["plain", "cloud", "rt"], latest = 1 }"#;
    let run = Run::new("dkm-thirty", 5, kernels);

    // The run is killed when eight modules are built, so it cannot remove anything.
    let said = std::fs::File::options()
        .create_new(true)
        .append(true)
        .open(run.folder.path().join("said"))
        .unwrap();
    let first = run
        .command("out", "kubernetes")
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .unwrap();
    let mut first = Killed(first);
    until("eight modules are there", || {
        let ended = first.0.try_wait().unwrap();
        let said =
            || driverkit_matrix::fs::read_to_string(&run.folder.path().join("said")).unwrap();
        assert!(ended.is_none(), "the run has ended: {}", said());
        run.artifacts("out").len() >= 8 && jobs_in("dkm-thirty") > 0
    });
    drop(first);
    let built_before = run.artifacts("out").len();
    let left = jobs_in("dkm-thirty");
    assert!((1..=8).contains(&left), "{left} Jobs are left");

    // The next run finds the leftovers, and the API server and the kubelet fail during it.
    let second = run
        .command("out", "kubernetes")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("more modules are there", || {
        run.artifacts("out").len() >= built_before + 4
    });
    component("kill", "kube-apiserver");
    component("start", "kube-apiserver");
    until("more modules are there", || {
        run.artifacts("out").len() >= built_before + 8
    });
    component("stop", "kubelet");
    component("start", "kubelet");
    let output = second.wait_with_output().unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains(&format!("removed {left} leftover")), "{text}");
    let modules = run.artifacts("out");
    assert_eq!(modules.len(), 30, "{text}");
    assert_eq!(jobs_in("dkm-thirty"), 0);

    // Docker gives the same bytes for every module.
    let output = succeed(&mut run.command("out-docker", "docker"));
    let of_docker = run.artifacts("out-docker");
    assert_eq!(of_docker, modules, "{output}");
    for path in of_docker {
        let read = |out: &str| std::fs::read(run.folder.path().join(out).join(&path)).unwrap();
        assert!(
            read("out") == read("out-docker"),
            "{} differs",
            path.display()
        );
    }
}

/// A boot is a Job like a compile, in a namespace that enforces PodSecurity `restricted`: for both architectures, with
/// two modules each.
#[test]
#[ignore = "needs the cluster of make test-cluster"]
fn jobs_load_modules_into_their_kernels() {
    let _turn = blocking_turn();
    namespace("dkm-proofs");
    let kernels = r#"{ from = "mirror", suites = ["bookworm"], flavours = ["cloud"], latest = 1 }"#;
    let run = Run::new("dkm-proofs", 2, kernels);
    let output = run
        .command("out", "kubernetes")
        .args(["--prove", "all"])
        .output()
        .unwrap();
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    let proven = "artifacts proven in their kernels: 4 loaded, 0 refused, 0 not proven";
    assert!(text.contains(proven), "{text}");
    assert_eq!(jobs_in("dkm-proofs"), 0);
}

#[test]
#[ignore = "needs the cluster of make test-cluster"]
fn an_interrupted_run_leaves_nothing_behind() {
    let _turn = blocking_turn();
    namespace("dkm-interrupted");
    let kernels = r#"{ from = "mirror", suites = ["bookworm"], flavours = ["cloud"], latest = 1 }"#;
    let run = Run::new("dkm-interrupted", 1, kernels);
    let child = run
        .command("out", "kubernetes")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until("a Job is there", || jobs_in("dkm-interrupted") > 0);
    succeed(Command::new("kill").args(["-INT", &child.id().to_string()]));
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text_of(&output));
    assert_eq!(jobs_in("dkm-interrupted"), 0);
}
