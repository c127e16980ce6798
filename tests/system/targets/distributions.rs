//! One kernel of each distribution, and the URLs of its packages.
//!
//! The releases are those of real kernels, from the kernel lists of 2022 or from later ones if the distribution is
//! missing there; they are as near to 6.1 as possible, since the headers are of 6.1.

/// A kernel for which a module is built.
pub(crate) struct Distribution {
    pub(crate) target: &'static str,
    pub(crate) release: &'static str,
    pub(crate) version: &'static str,
    /// The release in its header tree.
    pub(crate) uts_release: &'static str,
    /// Whether its URLs follow from its release; otherwise they are named, as in a kernel list.
    pub(crate) is_computed: bool,
    pub(crate) packages: &'static [Package],
}

/// A package on a mirror.
pub(crate) struct Package {
    pub(crate) address: &'static str,
    pub(crate) format: Format,
    pub(crate) layout: Layout,
    /// The directory into which the package installs.
    pub(crate) folder: &'static str,
    pub(crate) uts_release: &'static str,
}

#[derive(Clone, Copy)]
pub(crate) enum Format {
    /// Compressed with zstd, as in Ubuntu.
    Deb,
    /// The value is rpm's macro for the compression.
    Rpm(&'static str),
    /// Compressed with xz or zstd, depending on the file name.
    Pacman,
    /// A tarball compressed with gzip, which is not the package of a distribution.
    Tar,
}

#[derive(Clone, Copy)]
pub(crate) enum Layout {
    /// A complete tree.
    Whole,
    /// The files that all flavours share.
    Common,
    /// The files of one flavour, with links to the other files in the directory `common` next to it.
    Linked { common: &'static str },
    /// The files of one flavour, with a Makefile that includes the one in `sources`, a relative path.
    Object { sources: &'static str },
}

impl Package {
    /// Returns scheme and host of the URL.
    pub(crate) fn host(&self) -> (&'static str, &'static str) {
        let (scheme, rest) = self.address.split_once("://").unwrap();
        (scheme, rest.split('/').next().unwrap())
    }

    /// Returns host and path, as a client requests them.
    pub(crate) fn path(&self) -> String {
        let mut path: Vec<&str> = Vec::new();
        for segment in self.address.split_once("://").unwrap().1.split('/') {
            if segment == ".." {
                path.pop();
            } else {
                path.push(segment);
            }
        }
        path.join("/")
    }
}

pub(crate) const XZ: Format = Format::Rpm("w1.xzdio");
pub(crate) const ZSTD: Format = Format::Rpm("w3.zstdio");

/// `kernel-devel` of the rpm-based distributions.
macro_rules! kernel_devel {
    ($target:literal, $release:literal, $version:literal, $is_computed:literal, $format:expr, $folder:literal, $name:literal) => {
        Distribution {
            target: $target,
            release: $release,
            version: $version,
            uts_release: $release,
            is_computed: $is_computed,
            packages: &[Package {
                address: concat!($folder, "/", $name, "-", $release, ".rpm"),
                format: $format,
                layout: Layout::Whole,
                folder: concat!("usr/src/kernels/", $release),
                uts_release: $release,
            }],
        }
    };
}

/// UEK 7, whose kernel has a separate package.
pub(crate) const UEK_7: Distribution = kernel_devel!(
    "ol",
    "5.15.0-200.131.27.el9uek.x86_64",
    "2",
    true,
    XZ,
    "http://yum.oracle.com/repo/OracleLinux/OL9/UEKR7/x86_64/getPackage",
    "kernel-uek-devel"
);

/// The two packages of an Ubuntu kernel.
macro_rules! ubuntu {
    ($target:literal, $abi:literal, $flavour:literal, $version:literal, $pool:literal, $common:literal) => {
        Distribution {
            target: $target,
            release: concat!($abi, "-", $flavour),
            version: $version,
            uts_release: concat!($abi, "-", $flavour),
            is_computed: true,
            packages: &[
                Package {
                    address: concat!(
                        "https://mirrors.edge.kernel.org/ubuntu/pool/main/l/",
                        $pool,
                        "/linux-headers-",
                        $abi,
                        "-",
                        $flavour,
                        "_",
                        $abi,
                        ".",
                        $version,
                        "_amd64.deb"
                    ),
                    format: Format::Deb,
                    layout: Layout::Linked {
                        common: concat!($common, "-", $abi),
                    },
                    folder: concat!("usr/src/linux-headers-", $abi, "-", $flavour),
                    uts_release: concat!($abi, "-", $flavour),
                },
                Package {
                    address: concat!(
                        "https://mirrors.edge.kernel.org/ubuntu/pool/main/l/",
                        $pool,
                        "/",
                        $common,
                        "-",
                        $abi,
                        "_",
                        $abi,
                        ".",
                        $version,
                        "_all.deb"
                    ),
                    format: Format::Deb,
                    layout: Layout::Common,
                    folder: concat!("usr/src/", $common, "-", $abi),
                    uts_release: "",
                },
            ],
        }
    };
}

/// A package of Arch.
macro_rules! arch {
    ($release:literal, $uts_release:literal, $package:literal, $compression:literal) => {
        Distribution {
            target: "arch",
            release: $release,
            version: "1",
            uts_release: $uts_release,
            is_computed: true,
            packages: &[Package {
                address: concat!(
                    "https://archive.archlinux.org/packages/l/",
                    $package,
                    "/",
                    $package,
                    "-",
                    $release,
                    "-x86_64.pkg.tar.",
                    $compression
                ),
                format: Format::Pacman,
                layout: Layout::Whole,
                folder: concat!("usr/lib/modules/", $uts_release, "/build"),
                uts_release: $uts_release,
            }],
        }
    };
}

/// A package of a custom kernel.
macro_rules! generic {
    ($release:literal, $file:literal, $format:expr, $folder:literal) => {
        Distribution {
            target: "generic",
            release: $release,
            version: "1",
            uts_release: $release,
            is_computed: false,
            packages: &[Package {
                address: concat!("https://packages.example.org/kernels/", $file),
                format: $format,
                layout: Layout::Whole,
                folder: $folder,
                uts_release: $release,
            }],
        }
    };
}

/// A package at the right URL with the tree of the previous kernel.
pub(crate) const WRONG_RELEASE: Distribution = Distribution {
    target: "centos",
    release: "5.14.0-165.el9.x86_64",
    version: "1",
    uts_release: "",
    is_computed: true,
    packages: &[Package {
        address: "http://mirror.stream.centos.org/9-stream/AppStream/x86_64/os/Packages/kernel-devel-5.14.0-165.el9.x86_64.rpm",
        format: ZSTD,
        layout: Layout::Whole,
        folder: "usr/src/kernels/5.14.0-165.el9.x86_64",
        uts_release: "5.14.0-167.el9.x86_64",
    }],
};

#[rustfmt::skip]
pub(crate) const DISTRIBUTIONS: &[Distribution] = &[
    kernel_devel!("alinux", "5.10.84-10.4.al8.x86_64", "1", true, XZ,
        "http://mirrors.aliyun.com/alinux/3/plus/x86_64/Packages", "kernel-devel"),
    kernel_devel!("almalinux", "5.14.0-162.12.1.el9_1.x86_64", "1", true, ZSTD,
        "https://repo.almalinux.org/almalinux/9.1/AppStream/x86_64/os/Packages", "kernel-devel"),
    kernel_devel!("amazonlinux", "4.14.287-148.504.amzn1.x86_64", "1", true, Format::Rpm("w6.gzdio"),
        "http://packages.us-east-1.amazonaws.com/2018.03/updates/a677188db28c/x86_64/Packages", "kernel-devel"),
    kernel_devel!("amazonlinux2", "5.10.135-122.509.amzn2.x86_64", "1", false, XZ,
        "http://amazonlinux.us-east-1.amazonaws.com/2/extras/kernel-5.10/stable/x86_64/9e259a27221fbe18f26c0dcbc970ccb8e4936772ad5077064578df32bd7511c6/../../../../../../blobstore/2c17bbdfb12377bf3e4a81b48c79126e964b10a4364df7aa3874bc5d6f04a78c", "kernel-devel"),
    kernel_devel!("amazonlinux2022", "5.15.25-14.106.amzn2022.x86_64", "1", false, ZSTD,
        "https://al2022-repos-us-east-1-9761ab97.s3.dualstack.us-east-1.amazonaws.com/core/guids/54a27ef1598955d2f12bcd3d29f646e7d6681e92bf047f1861fccc20013093b0/x86_64/../../../../blobstore/cb99878b7f439d9396fa103f400fe3dd71b4703d01c3ba997d00508b6f3ce18b", "kernel-devel"),
    kernel_devel!("amazonlinux2023", "6.1.102-108.177.amzn2023.x86_64", "1", false, ZSTD,
        "https://cdn.amazonlinux.com/al2023/blobstore/fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9", "kernel-devel"),
    arch!("6.1.12.arch1-1", "6.1.12-arch1-1", "linux-headers", "xz"),
    arch!("6.1.12.hardened1-1", "6.1.12-hardened1-1-hardened", "linux-hardened-headers", "zst"),
    kernel_devel!("centos", "4.18.0-348.el8.x86_64", "1", true, XZ,
        "http://vault.centos.org/8.5.2111/BaseOS/x86_64/os/Packages", "kernel-devel"),
    kernel_devel!("centos", "5.14.0-168.el9.x86_64", "1", true, ZSTD,
        "http://mirror.stream.centos.org/9-stream/AppStream/x86_64/os/Packages", "kernel-devel"),
    kernel_devel!("fedora", "5.19.12-200.fc36.x86_64", "1", true, ZSTD,
        "https://mirrors.kernel.org/fedora/updates/36/Everything/x86_64/Packages/k", "kernel-devel"),
    kernel_devel!("ol", "4.18.0-147.0.2.el8_1.x86_64", "1", true, XZ,
        "http://yum.oracle.com/repo/OracleLinux/OL8/baseos/latest/x86_64/getPackage", "kernel-devel"),
    kernel_devel!("ol", "5.4.17-2136.311.6.el8uek.x86_64", "2", true, XZ,
        "http://yum.oracle.com/repo/OracleLinux/OL8/UEKR6/x86_64/getPackage", "kernel-uek-devel"),
    Distribution {
        target: "opensuse",
        release: "5.14.21-150400.22.1.x86_64",
        version: "1",
        uts_release: "5.14.21-150400.22-default",
        is_computed: true,
        packages: &[
            Package {
                address: "https://mirrors.edge.kernel.org/opensuse/distribution/leap/15.4/repo/oss/x86_64/kernel-default-devel-5.14.21-150400.22.1.x86_64.rpm",
                format: XZ,
                layout: Layout::Object { sources: "../../../linux-5.14.21-150400.22" },
                folder: "usr/src/linux-5.14.21-150400.22-obj/x86_64/default",
                uts_release: "5.14.21-150400.22-default",
            },
            Package {
                address: "https://mirrors.edge.kernel.org/opensuse/distribution/leap/15.4/repo/oss/noarch/kernel-devel-5.14.21-150400.22.1.noarch.rpm",
                format: XZ,
                layout: Layout::Common,
                folder: "usr/src/linux-5.14.21-150400.22",
                uts_release: "",
            },
        ],
    },
    Distribution {
        target: "photon",
        release: "6.1.141-4.ph5",
        version: "1",
        uts_release: "6.1.141-4.ph5",
        is_computed: true,
        packages: &[Package {
            address: "https://packages.vmware.com/photon/5.0/photon_updates_5.0_x86_64/x86_64/linux-devel-6.1.141-4.ph5.x86_64.rpm",
            format: ZSTD,
            layout: Layout::Whole,
            folder: "usr/src/linux-headers-6.1.141-4.ph5",
            uts_release: "6.1.141-4.ph5",
        }],
    },
    generic!("6.1.30-acme", "linux-headers-6.1.30-acme_6.1.30-1_amd64.deb", Format::Deb,
        "usr/src/linux-headers-6.1.30-acme"),
    generic!("6.1.31-acme", "acme-kernel-headers-6.1.31-1.x86_64.rpm", ZSTD, "opt/acme/kernels/6.1.31"),
    generic!("6.1.32-acme", "linux-6.1.32-acme-build.tar.gz", Format::Tar, "linux-6.1.32-acme"),
    Distribution {
        target: "rocky",
        release: "5.14.0-427.13.1.el9_4.x86_64+rt",
        version: "1",
        uts_release: "5.14.0-427.13.1.el9_4.x86_64+rt",
        is_computed: true,
        packages: &[Package {
            address: "https://download.rockylinux.org/pub/rocky/9.4/RT/x86_64/os/Packages/k/kernel-rt-devel-5.14.0-427.13.1.el9_4.x86_64.rpm",
            format: ZSTD,
            layout: Layout::Whole,
            folder: "usr/src/kernels/5.14.0-427.13.1.el9_4.x86_64+rt",
            uts_release: "5.14.0-427.13.1.el9_4.x86_64+rt",
        }],
    },
    kernel_devel!("rocky", "5.14.0-284.11.1.el9_2.x86_64", "1", true, Format::Rpm("w1.bzdio"),
        "https://download.rockylinux.org/pub/rocky/9.2/AppStream/x86_64/os/Packages/k", "kernel-devel"),
    ubuntu!("ubuntu-aws", "5.19.0-1007", "aws", "7", "linux-aws", "linux-aws-headers"),
    ubuntu!("ubuntu-generic", "5.19.0-15", "generic", "15", "linux", "linux-headers"),
    ubuntu!("ubuntu-lowlatency", "5.19.0-1005", "lowlatency", "5", "linux-lowlatency", "linux-lowlatency-headers"),
];
