//! Kernels from the packages of each distribution: a module is loaded into the kernel next to its headers.
//!
//! The kernel is Debian's, the same as that of the headers, packed as in each distribution: name, directory, format,
//! compression, and the path of the kernel in the package. It accepts modules with another release, since the checksums
//! of the symbols are compared instead. Files that are next to the kernel in the original package are here as well.

use std::os::unix::fs::symlink;
use std::path::Path;

use driverkit_matrix::event::ProofResult;
use driverkit_matrix::fs;

use super::content::Content;
use super::distributions::{Format, UEK_7, XZ, ZSTD};
use super::{Kernel, MAKING, build_with, find, here, is_wanted, packages, with_packages};

/// A package that contains a kernel.
struct KernelPackage {
    /// The target and the release of the kernel.
    of: (&'static str, &'static str),
    /// The URL without the scheme.
    path: &'static str,
    format: Format,
    /// The path of the kernel in the package.
    kernel: &'static str,
    /// Other files of the kernel, and a link to it, if any.
    others: &'static [&'static str],
    link: Option<&'static str>,
}

/// `kernel-core` and similar packages: the kernel is in the directory of the modules.
macro_rules! core {
    ($target:literal, $release:literal, $format:expr, $folder:literal, $name:literal) => {
        KernelPackage {
            of: ($target, $release),
            path: concat!($folder, "/", $name, "-", $release, ".rpm"),
            format: $format,
            kernel: concat!("lib/modules/", $release, "/vmlinuz"),
            others: &[
                concat!("lib/modules/", $release, "/.vmlinuz.hmac"),
                concat!("lib/modules/", $release, "/System.map"),
            ],
            link: None,
        }
    };
}

/// The kernel packages for the headers in `distributions.rs`.
const PACKAGES: &[KernelPackage] = &[
    KernelPackage {
        of: ("ubuntu-generic", "5.19.0-15-generic"),
        path: "mirrors.edge.kernel.org/ubuntu/pool/main/l/linux/linux-image-unsigned-5.19.0-15-generic_5.19.0-15.15_amd64.deb",
        format: Format::Deb,
        kernel: "boot/vmlinuz-5.19.0-15-generic",
        others: &["usr/share/doc/linux-image-unsigned-5.19.0-15-generic/changelog"],
        link: None,
    },
    core!(
        "fedora",
        "5.19.12-200.fc36.x86_64",
        ZSTD,
        "mirrors.kernel.org/fedora/updates/36/Everything/x86_64/Packages/k",
        "kernel-core"
    ),
    KernelPackage {
        of: ("arch", "6.1.12.hardened1-1"),
        path: "archive.archlinux.org/packages/l/linux-hardened/linux-hardened-6.1.12.hardened1-1-x86_64.pkg.tar.zst",
        format: Format::Pacman,
        kernel: "usr/lib/modules/6.1.12-hardened1-1-hardened/vmlinuz",
        others: &["usr/lib/modules/6.1.12-hardened1-1-hardened/pkgbase"],
        link: None,
    },
    KernelPackage {
        of: ("opensuse", "5.14.21-150400.22.1.x86_64"),
        path: "mirrors.edge.kernel.org/opensuse/distribution/leap/15.4/repo/oss/x86_64/kernel-default-5.14.21-150400.22.1.x86_64.rpm",
        format: XZ,
        kernel: "usr/lib/modules/5.14.21-150400.22-default/vmlinuz",
        others: &[
            "boot/System.map-5.14.21-150400.22-default",
            "boot/config-5.14.21-150400.22-default",
        ],
        link: Some("boot/vmlinuz-5.14.21-150400.22-default"),
    },
    core!(
        "alinux",
        "5.10.84-10.4.al8.x86_64",
        XZ,
        "mirrors.aliyun.com/alinux/3/plus/x86_64/Packages",
        "kernel-core"
    ),
    core!(
        "almalinux",
        "5.14.0-162.12.1.el9_1.x86_64",
        ZSTD,
        "repo.almalinux.org/almalinux/9.1/BaseOS/x86_64/os/Packages",
        "kernel-core"
    ),
    KernelPackage {
        of: ("amazonlinux", "4.14.287-148.504.amzn1.x86_64"),
        path: "packages.us-east-1.amazonaws.com/2018.03/updates/a677188db28c/x86_64/Packages/kernel-4.14.287-148.504.amzn1.x86_64.rpm",
        format: Format::Rpm("w6.gzdio"),
        kernel: "boot/vmlinuz-4.14.287-148.504.amzn1.x86_64",
        others: &[
            "boot/.vmlinuz-4.14.287-148.504.amzn1.x86_64.hmac",
            "boot/System.map-4.14.287-148.504.amzn1.x86_64",
        ],
        link: None,
    },
    KernelPackage {
        of: ("arch", "6.1.12.arch1-1"),
        path: "archive.archlinux.org/packages/l/linux/linux-6.1.12.arch1-1-x86_64.pkg.tar.xz",
        format: Format::Pacman,
        kernel: "usr/lib/modules/6.1.12-arch1-1/vmlinuz",
        others: &["usr/lib/modules/6.1.12-arch1-1/pkgbase"],
        link: None,
    },
    core!(
        "centos",
        "4.18.0-348.el8.x86_64",
        XZ,
        "vault.centos.org/8.5.2111/BaseOS/x86_64/os/Packages",
        "kernel-core"
    ),
    core!(
        "centos",
        "5.14.0-168.el9.x86_64",
        ZSTD,
        "mirror.stream.centos.org/9-stream/BaseOS/x86_64/os/Packages",
        "kernel-core"
    ),
    core!(
        "ol",
        "4.18.0-147.0.2.el8_1.x86_64",
        XZ,
        "yum.oracle.com/repo/OracleLinux/OL8/baseos/latest/x86_64/getPackage",
        "kernel-core"
    ),
    core!(
        "ol",
        "5.4.17-2136.311.6.el8uek.x86_64",
        XZ,
        "yum.oracle.com/repo/OracleLinux/OL8/UEKR6/x86_64/getPackage",
        "kernel-uek"
    ),
    core!(
        "ol",
        "5.15.0-200.131.27.el9uek.x86_64",
        XZ,
        "yum.oracle.com/repo/OracleLinux/OL9/UEKR7/x86_64/getPackage",
        "kernel-uek-core"
    ),
    KernelPackage {
        of: ("photon", "6.1.141-4.ph5"),
        path: "packages.vmware.com/photon/5.0/photon_updates_5.0_x86_64/x86_64/linux-6.1.141-4.ph5.x86_64.rpm",
        format: ZSTD,
        kernel: "boot/vmlinuz-6.1.141-4.ph5",
        others: &[
            "boot/linux-6.1.141-4.ph5.cfg",
            "boot/System.map-6.1.141-4.ph5",
        ],
        link: None,
    },
    KernelPackage {
        of: ("generic", "6.1.30-acme"),
        path: "packages.example.org/kernels/linux-image-6.1.30-acme_6.1.30-1_amd64.deb",
        format: Format::Deb,
        kernel: "boot/vmlinuz-6.1.30-acme",
        others: &["boot/config-6.1.30-acme"],
        link: None,
    },
    KernelPackage {
        of: ("rocky", "5.14.0-427.13.1.el9_4.x86_64+rt"),
        path: "download.rockylinux.org/pub/rocky/9.4/RT/x86_64/os/Packages/k/kernel-rt-core-5.14.0-427.13.1.el9_4.x86_64.rpm",
        format: ZSTD,
        kernel: "lib/modules/5.14.0-427.13.1.el9_4.x86_64+rt/vmlinuz",
        others: &[],
        link: None,
    },
    core!(
        "rocky",
        "5.14.0-284.11.1.el9_2.x86_64",
        Format::Rpm("w1.bzdio"),
        "download.rockylinux.org/pub/rocky/9.2/BaseOS/x86_64/os/Packages/k",
        "kernel-core"
    ),
    KernelPackage {
        of: ("ubuntu-aws", "5.19.0-1007-aws"),
        path: "mirrors.edge.kernel.org/ubuntu/pool/main/l/linux-aws/linux-image-unsigned-5.19.0-1007-aws_5.19.0-1007.7_amd64.deb",
        format: Format::Deb,
        kernel: "boot/vmlinuz-5.19.0-1007-aws",
        others: &[],
        link: None,
    },
];

/// Returns kernels with their header packages and, if it is in `PACKAGES`, the kernel's package.
fn kernels(names: &[(&str, &str)]) -> Vec<Kernel> {
    let distribution = |(target, release): &(&str, &str)| {
        if *release == UEK_7.release {
            &UEK_7
        } else {
            find(target, release)
        }
    };
    let kernels = with_packages(&names.iter().map(distribution).collect::<Vec<_>>());
    let _making = MAKING.lock();
    let content = Content::of_debian(&here());
    for package in PACKAGES.iter().filter(|one| names.contains(&one.of)) {
        let path = here().join("mirrors").join(package.path);
        packages::make_file(&path, package.format, &here(), |root| {
            package.lay_out(&content.kernel, root);
        });
    }
    kernels
}

impl KernelPackage {
    fn lay_out(&self, kernel: &Path, root: &Path) {
        for path in self.others {
            fs::write(&root.join(path), "not a kernel").unwrap();
        }
        let path = root.join(self.kernel);
        fs::create_folder(path.parent().unwrap()).unwrap();
        std::fs::copy(kernel, &path).unwrap();
        if let Some(link) = self.link {
            symlink(Path::new("..").join(self.kernel), root.join(link)).unwrap();
        }
    }
}

/// Writes a driver of one file, which creates a device and can be unloaded: only the kernels matter here.
pub(crate) fn small_driver(folder: &Path) {
    let files = [
        ("Makefile", "obj-m += falco.o\nfalco-y += main.o\n"),
        ("driver_config.h", "#define DRIVER_NAME \"falco\"\n"),
        (
            "main.c",
            "#include <linux/module.h>\n#include <linux/fs.h>\n#include <linux/miscdevice.h>\n\
             static const struct file_operations operations = { .owner = THIS_MODULE };\n\
             static struct miscdevice device = { .minor = MISC_DYNAMIC_MINOR, .name = \"other\", .fops = &operations };\n\
             module_misc_device(device);\nMODULE_LICENSE(\"GPL\");\n",
        ),
    ];
    for (name, text) in files {
        fs::write(&folder.join(name), text).unwrap();
    }
}

/// Builds for kernels and loads the modules; returns the result and message for each kernel.
fn prove(names: &[(&str, &str)], sources: &Path) -> Vec<(String, ProofResult, String)> {
    let kernels = kernels(names);
    let arguments = [
        "--executor",
        "local",
        "--toolchain",
        "host",
        "--prove",
        "all",
    ];
    let done = build_with(&kernels, sources, &arguments);
    let proofs = kernels.iter().zip(&done.builds).map(|(kernel, build)| {
        let artifact = &build.artifacts[0];
        let proof = artifact.proof.clone();
        let proof =
            proof.unwrap_or_else(|| panic!("{}: {artifact:?}\n{}", kernel.release, done.log));
        (kernel.release.clone(), proof.result, proof.message)
    });
    proofs.collect()
}

fn assert_loaded(proofs: &[(String, ProofResult, String)]) {
    let others: Vec<_> = proofs
        .iter()
        .filter(|(_, result, _)| *result != ProofResult::Loaded)
        .collect();
    assert!(others.is_empty(), "{others:#?}");
}

/// A deb, an rpm, an Arch package, and a SUSE package in which a link leads to the kernel; also a kernel that no rule
/// finds.
#[test]
fn modules_are_loaded_into_the_kernels_next_to_their_headers() {
    let folder = tempfile::tempdir().unwrap();
    small_driver(folder.path());
    let mut names: Vec<(&str, &str)> = PACKAGES[..4].iter().map(|one| one.of).collect();
    names.push(("amazonlinux2023", "6.1.102-108.177.amzn2023.x86_64"));
    let mut proofs = prove(&names, folder.path());
    let (_, result, message) = proofs.pop().unwrap();
    assert_eq!(result, ProofResult::NotProven);
    assert!(message.contains("name it with `image`"), "{message}");
    assert_loaded(&proofs);
}

/// The same for every package.
#[test]
#[ignore = "takes minutes: make test-targets"]
fn modules_are_loaded_into_the_kernel_of_every_distribution() {
    let wanted: Vec<_> = PACKAGES.iter().filter(|one| is_wanted(one.of.0)).collect();
    if wanted.is_empty() {
        return;
    }
    let names: Vec<(&str, &str)> = wanted.iter().map(|one| one.of).collect();
    let folder = tempfile::tempdir().unwrap();
    small_driver(folder.path());
    let proofs = prove(&names, folder.path());
    println!("\n| target | kernel | its package | proof |\n| --- | --- | --- | --- |");
    for (package, (release, result, message)) in wanted.iter().zip(&proofs) {
        let (_, file) = package.path.rsplit_once('/').unwrap();
        let (target, kernel) = (package.of.0, package.kernel);
        println!("| {target} | `{release}` | `{file}`: `{kernel}` | {result:?}: {message} |");
    }
    assert_loaded(&proofs);
}
