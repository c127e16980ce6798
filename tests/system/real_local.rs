//! `local` with real headers and real drivers: in a sandbox, without a sandbox, and with DKMS.
//!
//! `scripts/setup.sh` installs the requirements: the headers of a Debian kernel, DKMS and bubblewrap;
//! `scripts/fetch-drivers.sh` downloads the drivers' sources.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use driverkit_matrix::fs;
use support::real::{kernel_of_bookworm, program, vendor};

/// A kernel whose headers are installed.
fn installed_kernel() -> String {
    let mut found: Vec<String> = std::fs::read_dir("/lib/modules")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("build").is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    found.sort();
    found
        .pop()
        .expect("no kernel's headers are installed: run scripts/setup.sh")
}

/// The driver of these builds.
const DRIVER: [&str; 6] = [
    "--moduledrivername",
    "scap",
    "--driverversion",
    "0.20.0",
    "--timeout",
    "600",
];

struct Called {
    code: Option<i32>,
    text: String,
}

fn local(folder: &Path, words: &[&str]) -> Called {
    let release = installed_kernel();
    let output = program(folder)
        .args(["local", "--target", "debian", "--kernelrelease", &release])
        .args(DRIVER)
        .args(words)
        .env("HOME", folder)
        .output()
        .unwrap();
    Called {
        code: output.status.code(),
        text: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn check(folder: &Path, file: &str) -> Vec<u8> {
    let module = fs::read(&folder.join(file)).unwrap();
    let vermagic = format!("vermagic={} SMP", installed_kernel());
    assert!(
        module
            .windows(vermagic.len())
            .any(|part| part == vermagic.as_bytes())
    );
    module
}

#[test]
fn a_module_is_built_from_installed_headers_with_and_without_a_sandbox() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let sources = vendor().join("falcosecurity-scap-dkms-0.20.0");
    let src_dir = ["--src-dir", sources.to_str().unwrap()];
    let sandboxed = [&src_dir[..], &["--output-module", "sandbox.ko"]].concat();
    let called = local(folder, &sandboxed);
    assert_eq!(called.code, Some(0), "{}", called.text);
    assert!(called.text.contains("the kernel's own"), "{}", called.text);
    let module = check(folder, "sandbox.ko");
    let called = local(folder, &sandboxed);
    assert!(called.text.contains("already built"), "{}", called.text);

    // Variables in the environment of the compiler are part of the build.
    let called = local(
        folder,
        &[
            &sandboxed[..],
            &["--env", "KBUILD_VERBOSE=1", "-l", "debug"],
        ]
        .concat(),
    );
    assert_eq!(called.code, Some(0), "{}", called.text);
    assert!(
        !called.text.contains("already built") && called.text.contains("-fno-strict-aliasing"),
        "{}",
        called.text
    );

    let plain = [
        &src_dir[..],
        &["--output-module", "plain.ko", "--no-sandbox"],
    ]
    .concat();
    let called = local(folder, &plain);
    assert_eq!(called.code, Some(0), "{}", called.text);
    assert!(
        called.text.contains("notice: building without a sandbox"),
        "{}",
        called.text
    );
    assert_eq!(check(folder, "plain.ko").len(), module.len());
}

/// A vendor's kernel: no rule knows its release, and its only package is a tarball of a build tree.
#[test]
fn a_custom_kernel_is_built_from_named_packages() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path();
    let installed = PathBuf::from(format!("/lib/modules/{}/build", installed_kernel()));
    let copy = |from: &Path, to: &str| {
        let copied = Command::new("cp")
            .args(["-rL"])
            .arg(from)
            .arg(folder.join(to))
            .status();
        assert!(copied.unwrap().success());
    };
    copy(&installed.canonicalize().unwrap(), "linux-6.6.30-acme");
    // Debian's Makefile includes the sources that its trees share.
    let tree = folder.join("linux-6.6.30-acme");
    let makefile = fs::read_to_string(&tree.join("Makefile")).unwrap();
    let common = makefile
        .lines()
        .find_map(|line| line.strip_prefix("include "));
    let common = Path::new(common.unwrap()).parent().unwrap().to_owned();
    copy(&common.join("."), "linux-6.6.30-acme");
    for name in [
        "include/generated/utsrelease.h",
        "include/config/kernel.release",
    ] {
        let text = fs::read_to_string(&installed.join(name)).unwrap();
        let own = text.replace(&installed_kernel(), "6.6.30-acme");
        fs::write(&tree.join(name), own).unwrap();
    }
    drop(std::fs::remove_file(tree.join(".kernelvariables")));
    let packed = Command::new("tar")
        .args(["-cf", "acme.tar", "linux-6.6.30-acme"])
        .current_dir(folder)
        .status();
    assert!(packed.unwrap().success());
    let sources = vendor().join("falcosecurity-scap-dkms-0.20.0");
    let called = program(folder)
        .args([
            "local",
            "--target",
            "generic",
            "--kernelrelease",
            "6.6.30-acme",
        ])
        .args([
            "--download-headers",
            "--output-module",
            "acme.ko",
            "--kernelurls",
        ])
        .arg(folder.join("acme.tar"))
        .args(["--src-dir", sources.to_str().unwrap()])
        .args(DRIVER)
        .env("HOME", folder)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&called.stderr).into_owned();
    assert_eq!(called.status.code(), Some(0), "{text}");
    let module = fs::read(&folder.join("acme.ko")).unwrap();
    let vermagic = b"vermagic=6.6.30-acme SMP";
    assert!(
        module.windows(vermagic.len()).any(|part| part == vermagic),
        "{text}"
    );
}

#[test]
fn headers_are_downloaded_on_request_and_cached() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // The release as printed by `uname -r`, which is not in the list of the mirror.
    let release = kernel_of_bookworm(folder).uts_release;
    let sources = vendor().join("falcosecurity-scap-dkms-0.20.0");
    let call = || {
        let words = [
            "--download-headers",
            "--src-dir",
            sources.to_str().unwrap(),
            "--kernelrelease",
            &release,
            "--output-module",
            "scap.ko",
        ];
        let called = local(folder, &words);
        assert_eq!(called.code, Some(0), "{}", called.text);
        called.text
    };
    let asking = format!("asking the mirror of debian for the packages of {release}");
    let text = call();
    assert!(text.contains(&asking), "{text}");
    let module = fs::read(&folder.join("scap.ko")).unwrap();
    let vermagic = format!("vermagic={release} SMP");
    assert!(
        module
            .windows(vermagic.len())
            .any(|part| part == vermagic.as_bytes())
    );
    let text = call();
    assert!(
        text.contains("already built") && !text.contains(&asking),
        "{text}"
    );
}

#[test]
fn an_ordinary_user_can_build() {
    let folder = tempfile::tempdir().unwrap();
    let all = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), all).unwrap();
    let sources = folder.path().join("sources");
    let copied = Command::new("cp")
        .arg("-R")
        .arg(vendor().join("falcosecurity-scap-dkms-0.20.0"))
        .arg(&sources)
        .status()
        .unwrap();
    assert!(copied.success());
    let binary = folder.path().join("driverkit-matrix");
    std::fs::copy(env!("CARGO_BIN_EXE_driverkit-matrix"), &binary).unwrap();
    let output = Command::new(&binary)
        .current_dir(folder.path())
        .args([
            "local",
            "--target",
            "debian",
            "--kernelrelease",
            &installed_kernel(),
        ])
        .args(DRIVER)
        .args(["--output-module", "mine/scap.ko", "--src-dir", "sources"])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", folder.path())
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    check(folder.path(), "mine/scap.ko");
}

#[test]
fn every_compiler_is_tried_and_each_attempt_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let broken = folder.join("broken");
    let copied = Command::new("cp")
        .arg("-R")
        .arg(vendor().join("falcosecurity-scap-dkms-0.20.0"))
        .arg(&broken)
        .status()
        .unwrap();
    assert!(copied.success());
    fs::write(&broken.join("main.c"), "#error no compiler can do this\n").unwrap();
    let called = local(
        folder,
        &["--src-dir", "broken", "--output-module", "scap.ko"],
    );
    assert_eq!(called.code, Some(1), "{}", called.text);
    assert!(
        called.text.contains("no compiler can do this"),
        "{}",
        called.text
    );
    let compilers = std::fs::read_dir("/usr/bin")
        .unwrap()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name().into_string().unwrap_or_default();
            name.strip_prefix("gcc-")
                .is_some_and(|version| version.parse::<u32>().is_ok())
        });
    let count = compilers.count();
    let again = called.text.matches("retrying with gcc").count();
    assert_eq!(again, count - 1, "{}", called.text);
    assert!(!folder.join("scap.ko").exists());
}

#[test]
fn dkms_builds_from_packaged_sources() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // The same paths as in the package falcosecurity-scap-dkms.
    let sources = folder.join("src");
    fs::create_folder(&sources).unwrap();
    symlink(
        vendor().join("falcosecurity-scap-dkms-0.20.0"),
        sources.join("scap-0.20.0"),
    )
    .unwrap();
    let tree = folder.join("tree");
    fs::create_folder(&tree).unwrap();
    let words = [
        "--dkms",
        "--output-module",
        "scap.ko",
        "--dkms-sources",
        sources.to_str().unwrap(),
        "--dkms-tree",
        tree.to_str().unwrap(),
    ];
    let called = local(folder, &words);
    assert_eq!(called.code, Some(0), "{}", called.text);
    assert!(
        called
            .text
            .contains("built by DKMS with the kernel's own compiler"),
        "{}",
        called.text
    );
    check(folder, "scap.ko");

    let called = local(
        folder,
        &[&words[..], &["--driverversion", "0.99.0"]].concat(),
    );
    assert_eq!(called.code, Some(2), "{}", called.text);
    assert!(
        called.text.contains("installed are scap 0.20.0"),
        "{}",
        called.text
    );
    let called = local(
        folder,
        &[&words[..], &["--kernelrelease", "9.9.9-1-amd64"]].concat(),
    );
    assert_eq!(called.code, Some(2), "{}", called.text);
    assert!(
        called
            .text
            .contains("the headers of kernel 9.9.9-1-amd64 are not installed"),
        "{}",
        called.text
    );
}
