use super::super::testing::kernel;
use super::*;
use crate::target::{ALL, TreeKind, rules_of};

#[test]
fn the_kernel_package_is_next_to_the_headers() {
    let table: &[(&[&str], &[&str])] = &[
        (
            &[
                "http://h/debian/pool/main/l/linux/linux-headers-6.1.0-50-cloud-amd64_6.1.175-1_amd64.deb",
                "http://h/debian/pool/main/l/linux/linux-headers-6.1.0-50-common_6.1.175-1_all.deb",
                "http://h/debian/pool/main/l/linux/linux-kbuild-6.1_6.1.175-1_amd64.deb",
            ],
            &[
                "http://h/debian/pool/main/l/linux/linux-image-6.1.0-50-cloud-amd64-unsigned_6.1.175-1_amd64.deb",
                "http://h/debian/pool/main/l/linux/linux-image-unsigned-6.1.0-50-cloud-amd64_6.1.175-1_amd64.deb",
                "http://h/debian/pool/main/l/linux/linux-image-6.1.0-50-cloud-amd64_6.1.175-1_amd64.deb",
                "http://h/debian/pool/main/l/linux-signed-amd64/linux-binary-6.1.0-50-cloud-amd64_6.1.175-1_amd64.deb",
            ],
        ),
        (
            &["http://h/8/AppStream/x86_64/os/Packages/kernel-devel-4.18.0-553.el8.x86_64.rpm"],
            &[
                "http://h/8/BaseOS/x86_64/os/Packages/kernel-core-4.18.0-553.el8.x86_64.rpm",
                "http://h/8/AppStream/x86_64/os/Packages/kernel-core-4.18.0-553.el8.x86_64.rpm",
                "http://h/8/BaseOS/x86_64/os/Packages/kernel-4.18.0-553.el8.x86_64.rpm",
                "http://h/8/AppStream/x86_64/os/Packages/kernel-4.18.0-553.el8.x86_64.rpm",
            ],
        ),
        (
            &[
                "http://yum.oracle.com/repo/OracleLinux/OL9/appstream/x86_64/getPackage/kernel-devel-5.14.0-503.el9.x86_64.rpm",
            ],
            &[
                "http://yum.oracle.com/repo/OracleLinux/OL9/baseos/latest/x86_64/getPackage/kernel-core-5.14.0-503.el9.x86_64.rpm",
                "http://yum.oracle.com/repo/OracleLinux/OL9/appstream/x86_64/getPackage/kernel-core-5.14.0-503.el9.x86_64.rpm",
                "http://yum.oracle.com/repo/OracleLinux/OL9/baseos/latest/x86_64/getPackage/kernel-5.14.0-503.el9.x86_64.rpm",
                "http://yum.oracle.com/repo/OracleLinux/OL9/appstream/x86_64/getPackage/kernel-5.14.0-503.el9.x86_64.rpm",
            ],
        ),
        (
            &[
                "http://h/rhel9/9/x86_64/appstream/os/Packages/k/kernel-devel-5.14.0-503.el9.x86_64.rpm",
            ],
            &[
                "http://h/rhel9/9/x86_64/baseos/os/Packages/k/kernel-core-5.14.0-503.el9.x86_64.rpm",
                "http://h/rhel9/9/x86_64/appstream/os/Packages/k/kernel-core-5.14.0-503.el9.x86_64.rpm",
                "http://h/rhel9/9/x86_64/baseos/os/Packages/k/kernel-5.14.0-503.el9.x86_64.rpm",
                "http://h/rhel9/9/x86_64/appstream/os/Packages/k/kernel-5.14.0-503.el9.x86_64.rpm",
            ],
        ),
        (
            &[
                "http://h/oss/noarch/kernel-devel-6.4.0-150600.23.7.3.noarch.rpm",
                "http://h/oss/x86_64/kernel-default-devel-6.4.0-150600.23.7.3.x86_64.rpm",
            ],
            &[
                "http://h/oss/x86_64/kernel-default-core-6.4.0-150600.23.7.3.x86_64.rpm",
                "http://h/oss/x86_64/kernel-default-6.4.0-150600.23.7.3.x86_64.rpm",
            ],
        ),
        (
            &["http://h/core/linux-lts-headers-6.12.41-1-x86_64.pkg.tar.zst"],
            &["http://h/core/linux-lts-6.12.41-1-x86_64.pkg.tar.zst"],
        ),
        (
            &["http://h/l/linux-lts-headers/linux-lts-headers-6.12.41-1-x86_64.pkg.tar.zst"],
            &[
                "http://h/l/linux-lts/linux-lts-6.12.41-1-x86_64.pkg.tar.zst",
                "http://h/l/linux-lts-headers/linux-lts-6.12.41-1-x86_64.pkg.tar.zst",
            ],
        ),
        (
            &["http://h/linux-6.1.tar.xz", "http://h/headers.deb?token=1"],
            &[],
        ),
    ];
    for (headers, expected) in table {
        let headers = headers.iter().copied();
        assert_eq!(kernel_image_addresses(headers), *expected);
    }
}

#[test]
fn kernel_images_are_distinguished_from_other_files() {
    let table = [
        ("boot/vmlinuz-6.1.0-50-amd64", true),
        ("boot/System.map-6.1.0-50-amd64", false),
        ("lib/modules/5.14.0-427.el9.x86_64/vmlinuz", true),
        ("usr/lib/modules/6.4.0-1-default/Image", true),
        ("boot/Image-6.4.0-1-default", true),
        ("usr/share/doc/vmlinuz", false),
        ("lib/modules/5.14.0-427.el9.x86_64/.vmlinuz.hmac", false),
        ("lib/modules/6.1/kernel/drivers/Image.ko", false),
    ];
    for (path, expected) in table {
        assert_eq!(is_kernel_image(path.as_bytes()), expected, "{path}");
    }
}

/// The origin of a target's kernel image, according to the rules for its header packages.
enum At {
    /// The most likely URL, or the first one that exists.
    Address(&'static str),
    /// Built from the source that the headers are prepared from.
    Source,
    /// Named in the matrix: it cannot be derived.
    Named,
}

/// A kernel of each target, a header package if none is computed, and the location of the kernel package.
const TARGETS: &[(&str, &str, At)] = &[
    (
        "ubuntu-generic 5.19.0-15-generic 15 amd64",
        "",
        At::Address(
            "https://mirrors.edge.kernel.org/ubuntu/pool/main/l/linux/linux-image-unsigned-5.19.0-15-generic_5.19.0-15.15_amd64.deb",
        ),
    ),
    (
        "alinux 5.10.84-10.4.al8.x86_64 1 amd64",
        "",
        At::Address(
            "http://mirrors.aliyun.com/alinux/3/plus/x86_64/Packages/kernel-core-5.10.84-10.4.al8.x86_64.rpm",
        ),
    ),
    (
        "almalinux 5.14.0-162.12.1.el9_1.x86_64 1 amd64",
        "",
        At::Address(
            "https://repo.almalinux.org/almalinux/9.1/BaseOS/x86_64/os/Packages/kernel-core-5.14.0-162.12.1.el9_1.x86_64.rpm",
        ),
    ),
    (
        "amazonlinux 4.14.287-148.504.amzn1.x86_64 1 amd64",
        "",
        At::Address(
            "http://packages.us-east-1.amazonaws.com/2018.03/updates/a677188db28c/x86_64/Packages/kernel-4.14.287-148.504.amzn1.x86_64.rpm",
        ),
    ),
    (
        "amazonlinux2 5.10.135-122.509.amzn2.x86_64 1 amd64",
        "http://amazonlinux.us-east-1.amazonaws.com/blobstore/2c17bbdfb12377bf3e4a81b48c79126e964b10a4364df7aa3874bc5d6f04a78c/kernel-devel-5.10.135-122.509.amzn2.x86_64.rpm",
        At::Named,
    ),
    (
        "amazonlinux2022 5.15.25-14.106.amzn2022.x86_64 1 amd64",
        "https://al2022-repos-us-east-1-9761ab97.s3.dualstack.us-east-1.amazonaws.com/blobstore/cb99878b7f439d9396fa103f400fe3dd71b4703d01c3ba997d00508b6f3ce18b/kernel-devel-5.15.25-14.106.amzn2022.x86_64.rpm",
        At::Named,
    ),
    (
        "amazonlinux2023 6.1.102-108.177.amzn2023.x86_64 1 amd64",
        "https://cdn.amazonlinux.com/al2023/blobstore/fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9/kernel-devel-6.1.102-108.177.amzn2023.x86_64.rpm",
        At::Named,
    ),
    (
        "arch 6.1.12.arch1-1 1 amd64",
        "",
        At::Address(
            "https://archive.archlinux.org/packages/l/linux/linux-6.1.12.arch1-1-x86_64.pkg.tar.zst",
        ),
    ),
    ("bottlerocket 6.1.55 1_1.19.0-aws amd64", "", At::Source),
    (
        "centos 3.10.0-957.12.2.el7.x86_64 1 amd64",
        "",
        At::Address(
            "http://vault.centos.org/7.6.1810/updates/x86_64/Packages/kernel-3.10.0-957.12.2.el7.x86_64.rpm",
        ),
    ),
    (
        "centos 5.14.0-168.el9.x86_64 1 amd64",
        "",
        At::Address(
            "http://mirror.stream.centos.org/9-stream/BaseOS/x86_64/os/Packages/kernel-core-5.14.0-168.el9.x86_64.rpm",
        ),
    ),
    (
        "debian 6.1.175-1-amd64 1 amd64",
        "http://ftp.debian.org/debian/pool/main/l/linux/linux-headers-6.1.0-50-amd64_6.1.175-1_amd64.deb http://ftp.debian.org/debian/pool/main/l/linux/linux-headers-6.1.0-50-common_6.1.175-1_all.deb http://ftp.debian.org/debian/pool/main/l/linux/linux-kbuild-6.1_6.1.175-1_amd64.deb",
        At::Address(
            "http://ftp.debian.org/debian/pool/main/l/linux/linux-image-6.1.0-50-amd64-unsigned_6.1.175-1_amd64.deb",
        ),
    ),
    (
        "fedora 5.19.12-200.fc36.x86_64 1 amd64",
        "",
        At::Address(
            "https://mirrors.kernel.org/fedora/updates/36/Everything/x86_64/Packages/k/kernel-core-5.19.12-200.fc36.x86_64.rpm",
        ),
    ),
    ("flatcar 3815.2.0 1 amd64", "", At::Source),
    (
        "generic 6.1.31-acme 1 amd64",
        "https://packages.example.org/kernels/acme-kernel-devel-6.1.31-1.x86_64.rpm",
        At::Address("https://packages.example.org/kernels/acme-kernel-6.1.31-1.x86_64.rpm"),
    ),
    (
        "generic 6.1.32-acme 1 amd64",
        "https://packages.example.org/kernels/linux-6.1.32-acme-build.tar.gz",
        At::Named,
    ),
    ("minikube 6.1.55 1_1.38.0 amd64", "", At::Source),
    (
        "ol 5.4.17-2136.311.6.el8uek.x86_64 2 amd64",
        "",
        At::Address(
            "http://yum.oracle.com/repo/OracleLinux/OL8/UEKR6/x86_64/getPackage/kernel-uek-5.4.17-2136.311.6.el8uek.x86_64.rpm",
        ),
    ),
    (
        "ol 5.15.0-200.131.27.el9uek.x86_64 2 amd64",
        "",
        At::Address(
            "http://yum.oracle.com/repo/OracleLinux/OL9/UEKR7/x86_64/getPackage/kernel-uek-core-5.15.0-200.131.27.el9uek.x86_64.rpm",
        ),
    ),
    (
        "opensuse 5.14.21-150400.22.1.x86_64 1 amd64",
        "",
        At::Address(
            "https://mirrors.edge.kernel.org/opensuse/distribution/leap/15.4/repo/oss/x86_64/kernel-default-5.14.21-150400.22.1.x86_64.rpm",
        ),
    ),
    (
        "photon 6.1.141-4.ph5 1 amd64",
        "",
        At::Address(
            "https://packages.vmware.com/photon/5.0/photon_updates_5.0_x86_64/x86_64/linux-6.1.141-4.ph5.x86_64.rpm",
        ),
    ),
    ("redhat 5.14.0-427.13.1.el9_4.x86_64 1 amd64", "", At::Named),
    (
        "rocky 5.14.0-427.13.1.el9_4.x86_64+rt 1 amd64",
        "",
        At::Address(
            "https://download.rockylinux.org/pub/rocky/9.4/RT/x86_64/os/Packages/k/kernel-rt-core-5.14.0-427.13.1.el9_4.x86_64.rpm",
        ),
    ),
    ("sles 5.14.21-150400.22.1.x86_64 1 amd64", "", At::Named),
    ("talos 6.1.55-talos 1_v1.5.0 amd64", "", At::Source),
    ("vanilla 6.1.55 1 amd64", "", At::Source),
];

#[test]
fn the_kernel_package_of_every_target_is_derived_or_must_be_named() {
    for (name, headers, at) in TARGETS {
        let mut kernel = kernel(name);
        for url in headers.split_whitespace() {
            kernel = kernel.with(url);
        }
        let kernel = kernel.0;
        let target = rules_of(&kernel).unwrap();
        let is_source = matches!(target.tree_kind(&kernel), Ok(TreeKind::Source(_)))
            || target.upstream_list(&kernel).is_some();
        assert_eq!(is_source, matches!(at, At::Source), "{name}");
        if is_source {
            continue;
        }
        let packages = target.header_packages(&kernel, kernel.architecture);
        let packages = packages.unwrap_or_else(|error| panic!("{name}: {error}"));
        // A run knows the URL from which each package was downloaded.
        let urls = packages.iter().flat_map(|package| &package.candidates);
        let found = kernel_image_addresses(urls.map(|url| &**url));
        match at {
            At::Address(address) => {
                assert!(found.iter().any(|one| one == address), "{name}: {found:#?}");
            }
            At::Named => assert_eq!(found, Vec::<String>::new(), "{name}"),
            At::Source => {}
        }
    }
    for target in ALL {
        let id = target.ids()[0];
        let is_there = TARGETS.iter().any(|(name, ..)| {
            let named = name.split(' ').next().unwrap();
            rules_of(&kernel(name).0).is_some_and(|rules| rules.ids()[0] == id) || named == id
        });
        assert!(is_there, "{id} is not in the table");
    }
}
