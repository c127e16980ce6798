//! Tests of KVM for proofs: the probe ends in time for every state of the device, and sandboxes get the device only on
//! request.

use std::path::{Path, PathBuf};
use std::process::Command;

use driverkit_matrix::executor::{DockerExecutor, Executor, Exit, Kvm, LocalExecutor};
use support::workspace::Workspace;
use tokio_util::sync::CancellationToken;

use crate::proof::{GOOD, compile, kernel_image};

/// Returns the result of the probe alone; `None` if it hangs.
fn probed() -> Option<Result<(), String>> {
    let output = Command::new("timeout")
        .args(["-s", "KILL", "20"])
        .arg(support::program())
        .arg("probe-kvm")
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    match output.status.code()? {
        0 => Some(Ok(())),
        3 => Some(Err(message)),
        _ => None,
    }
}

#[test]
fn a_proof_is_made_with_or_without_kvm() {
    let workspace = Workspace::new();
    let module = compile(&workspace, "good", GOOD);
    let path = PathBuf::from(std::env::var_os("PATH").unwrap());
    let image = kernel_image().to_str().unwrap();
    let arguments = ["prove", "--kernel-image", image, "--kvm", &module];
    let report = workspace.run_with(&arguments, &[("PATH", &path)]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    let loaded = "good/good.ko: loaded (0 devices, 0 parameters)\n";
    assert!(report.contains(loaded), "{report}");
    let is_used = report.contains("KVM works here: kernels for amd64 boot with it");
    let reason = if Path::new("/dev/kvm").exists() {
        match probed() {
            // The only remaining reason is that sandboxes may not open the device.
            Some(Ok(())) => "sandboxes may not open /dev/kvm".to_owned(),
            Some(Err(message)) => message,
            None => "/dev/kvm did not answer within 5 s".to_owned(),
        }
    } else {
        "/dev/kvm: No such file or directory".to_owned()
    };
    let refused = format!("KVM is not used: {reason}");
    let is_refused =
        report.contains(&refused) && report.contains("; qemu emulates the processor instead");
    assert!(is_used != is_refused, "{report}\n{refused}");
}

/// The device exists only for jobs that request it, with its group and no other rights.
#[tokio::test]
async fn sandboxes_have_the_device_only_if_they_request_it() {
    const GROUP: u32 = 4242;
    const LOOK: &str = "if [ -c /dev/kvm ]; then echo device; else echo none; fi\n\
         while read -r name value; do case $name in Groups:|CapEff:|CapBnd:) echo $name $value;; esac; done </proc/self/status";
    if !Path::new("/dev/kvm").exists() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let local = LocalExecutor::new(&folder.path().join("rootfs")).await;
    let docker = DockerExecutor::connect().await;
    let executors: [Box<dyn Executor>; 2] = [Box::new(local.unwrap()), Box::new(docker.unwrap())];
    for executor in executors {
        let name = executor.name();
        let look = async |asks: bool| {
            let output = tempfile::tempdir_in(folder.path()).unwrap();
            let mut job = support::small_image::job(LOOK, "test-kvm".to_owned(), output.path());
            job.kvm = asks;
            let mut log = Vec::new();
            let cancel = CancellationToken::new();
            let completion = executor.run(&job, &mut log, &cancel).await.unwrap();
            assert_eq!(completion.exit, Exit::Code(0), "{name}");
            String::from_utf8(log).unwrap()
        };
        let before = look(true).await;
        assert!(before.starts_with("none\n"), "{name}: {before}");
        executor.allow_kvm(Kvm::unprobed(Some(GROUP))).unwrap();
        let with = look(true).await;
        assert!(with.starts_with("device\n"), "{name}: {with}");
        assert!(
            with.contains("CapEff: 0000000000000000\n"),
            "{name}: {with}"
        );
        assert!(
            with.contains("CapBnd: 0000000000000000\n"),
            "{name}: {with}"
        );
        // In a user namespace, the sandbox sees the group as that of nobody.
        let group = if name == "local" { 65534 } else { GROUP };
        let has_group = with.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some("Groups:") && words.any(|word| word == group.to_string())
        });
        assert!(has_group, "{name}: {with}");
        let without = look(false).await;
        assert!(without.starts_with("none\n"), "{name}: {without}");
    }
}
