//! What is particular to the repositories of each distribution that packs rpms.

/// What is particular to a distribution's repositories.
#[derive(Debug)]
pub(in crate::discover::mirror) struct Family {
    /// The target.
    id: &'static str,
    /// The names of its packages of header files.
    pub(super) headers: &'static [&'static str],
    /// A package without architecture that belongs to each of them, with the same version.
    pub(super) common: Option<&'static str>,
    /// Whether a release ends in the architecture.
    pub(super) has_architecture: bool,
    /// The usual repositories, the likeliest first. `$arch` stands for the machine, `$release` for each release of
    /// the distribution that the folder before it holds.
    pub(in crate::discover::mirror) repositories: &'static [&'static str],
    /// The oldest release that `$release` stands for.
    pub(in crate::discover::mirror) oldest_release: u32,
}

const USUAL: Family = Family {
    id: "",
    headers: &["kernel-devel"],
    common: None,
    has_architecture: true,
    repositories: &[],
    oldest_release: 0,
};

/// The distributions; facts of docs/kernels.md.
const FAMILIES: &[Family] = &[
    Family {
        id: "alinux",
        repositories: &[
            "http://mirrors.aliyun.com/alinux/2/os/$arch/",
            "http://mirrors.aliyun.com/alinux/2/updates/$arch/",
            "http://mirrors.aliyun.com/alinux/2/plus/$arch/",
            "http://mirrors.aliyun.com/alinux/2.1903/os/$arch/",
            "http://mirrors.aliyun.com/alinux/2.1903/updates/$arch/",
            "http://mirrors.aliyun.com/alinux/2.1903/plus/$arch/",
            "http://mirrors.aliyun.com/alinux/3/os/$arch/",
            "http://mirrors.aliyun.com/alinux/3/updates/$arch/",
            "http://mirrors.aliyun.com/alinux/3/plus/$arch/",
        ],
        ..USUAL
    },
    Family {
        id: "almalinux",
        repositories: &[
            "https://repo.almalinux.org/almalinux/$release/BaseOS/$arch/os/",
            "https://repo.almalinux.org/almalinux/$release/AppStream/$arch/os/",
        ],
        oldest_release: 8,
        ..USUAL
    },
    Family {
        id: "amazonlinux2023",
        repositories: &["https://cdn.amazonlinux.com/al2023/core/mirrors/latest/$arch/mirror.list"],
        ..USUAL
    },
    Family {
        id: "amazonlinux2022",
        repositories: &[
            "https://al2022-repos-us-east-1-9761ab97.s3.dualstack.us-east-1.amazonaws.com/core/mirrors/latest/$arch/mirror.list",
            "https://al2022-repos-us-east-1-9761ab97.s3.dualstack.us-east-1.amazonaws.com/core/mirrors/2022.0.20220315/$arch/mirror.list",
            "https://al2022-repos-us-east-1-9761ab97.s3.dualstack.us-east-1.amazonaws.com/core/mirrors/2022.0.20220202/$arch/mirror.list",
        ],
        ..USUAL
    },
    Family {
        id: "amazonlinux2",
        repositories: &[
            "http://amazonlinux.us-east-1.amazonaws.com/2/core/2.0/$arch/mirror.list",
            "http://amazonlinux.us-east-1.amazonaws.com/2/core/latest/$arch/mirror.list",
            "http://amazonlinux.us-east-1.amazonaws.com/2/extras/kernel-5.4/latest/$arch/mirror.list",
            "http://amazonlinux.us-east-1.amazonaws.com/2/extras/kernel-5.10/latest/$arch/mirror.list",
            "http://amazonlinux.us-east-1.amazonaws.com/2/extras/kernel-5.15/latest/$arch/mirror.list",
            "http://amazonlinux.us-east-1.amazonaws.com/2/extras/kernel-ng/latest/$arch/mirror.list",
        ],
        ..USUAL
    },
    Family {
        id: "amazonlinux",
        repositories: &[
            "http://repo.us-east-1.amazonaws.com/latest/updates/mirror.list",
            "http://repo.us-east-1.amazonaws.com/latest/main/mirror.list",
            "http://repo.us-east-1.amazonaws.com/2018.03/updates/mirror.list",
            "http://repo.us-east-1.amazonaws.com/2018.03/main/mirror.list",
            "http://repo.us-east-1.amazonaws.com/2017.09/updates/mirror.list",
            "http://repo.us-east-1.amazonaws.com/2017.09/main/mirror.list",
            "http://repo.us-east-1.amazonaws.com/2017.03/updates/mirror.list",
            "http://repo.us-east-1.amazonaws.com/2017.03/main/mirror.list",
        ],
        ..USUAL
    },
    Family {
        id: "centos",
        repositories: &[
            "http://mirror.stream.centos.org/9-stream/AppStream/$arch/os/",
            "http://mirror.stream.centos.org/9-stream/BaseOS/$arch/os/",
            "http://vault.centos.org/8-stream/BaseOS/$arch/os/",
            "http://vault.centos.org/8.5.2111/BaseOS/$arch/os/",
            "http://vault.centos.org/8.4.2105/BaseOS/$arch/os/",
            "http://vault.centos.org/8.3.2011/BaseOS/$arch/os/",
            "http://vault.centos.org/8.2.2004/BaseOS/$arch/os/",
            "http://vault.centos.org/8.1.1911/BaseOS/$arch/os/",
            "http://vault.centos.org/8.0.1905/BaseOS/$arch/os/",
            "http://vault.centos.org/7.9.2009/os/$arch/",
            "http://vault.centos.org/7.9.2009/updates/$arch/",
            "http://vault.centos.org/7.8.2003/os/$arch/",
            "http://vault.centos.org/7.8.2003/updates/$arch/",
            "http://vault.centos.org/7.7.1908/os/$arch/",
            "http://vault.centos.org/7.7.1908/updates/$arch/",
            "http://vault.centos.org/7.6.1810/os/$arch/",
            "http://vault.centos.org/7.6.1810/updates/$arch/",
            "http://vault.centos.org/7.5.1804/os/$arch/",
            "http://vault.centos.org/7.5.1804/updates/$arch/",
            "http://vault.centos.org/7.4.1708/os/$arch/",
            "http://vault.centos.org/7.4.1708/updates/$arch/",
            "http://vault.centos.org/7.3.1611/os/$arch/",
            "http://vault.centos.org/7.3.1611/updates/$arch/",
            "http://vault.centos.org/7.2.1511/os/$arch/",
            "http://vault.centos.org/7.2.1511/updates/$arch/",
            "http://vault.centos.org/7.1.1503/os/$arch/",
            "http://vault.centos.org/7.1.1503/updates/$arch/",
            "http://vault.centos.org/7.0.1406/os/$arch/",
            "http://vault.centos.org/7.0.1406/updates/$arch/",
            "http://vault.centos.org/6.10/os/$arch/",
            "http://vault.centos.org/6.10/updates/$arch/",
            "http://vault.centos.org/6.9/os/$arch/",
            "http://vault.centos.org/6.9/updates/$arch/",
            "http://vault.centos.org/6.8/os/$arch/",
            "http://vault.centos.org/6.8/updates/$arch/",
            "http://vault.centos.org/6.7/os/$arch/",
            "http://vault.centos.org/6.7/updates/$arch/",
            "http://vault.centos.org/6.6/os/$arch/",
            "http://vault.centos.org/6.6/updates/$arch/",
            "http://vault.centos.org/6.5/os/$arch/",
            "http://vault.centos.org/6.5/updates/$arch/",
            "http://vault.centos.org/6.4/os/$arch/",
            "http://vault.centos.org/6.4/updates/$arch/",
            "http://vault.centos.org/6.3/os/$arch/",
            "http://vault.centos.org/6.3/updates/$arch/",
            "http://vault.centos.org/6.2/os/$arch/",
            "http://vault.centos.org/6.2/updates/$arch/",
            "http://vault.centos.org/6.1/os/$arch/",
            "http://vault.centos.org/6.1/updates/$arch/",
            "http://vault.centos.org/6.0/os/$arch/",
            "http://vault.centos.org/6.0/updates/$arch/",
        ],
        ..USUAL
    },
    Family {
        id: "fedora",
        repositories: &[
            "https://mirrors.kernel.org/fedora/updates/$release/Everything/$arch/",
            "https://mirrors.kernel.org/fedora/releases/$release/Everything/$arch/os/",
            "https://mirrors.kernel.org/fedora/development/$release/Everything/$arch/os/",
            "https://archives.fedoraproject.org/pub/archive/fedora/linux/updates/$release/Everything/$arch/",
            "https://archives.fedoraproject.org/pub/archive/fedora/linux/releases/$release/Everything/$arch/os/",
        ],
        oldest_release: 32,
        ..USUAL
    },
    Family {
        id: "ol",
        headers: &["kernel-devel", "kernel-uek-devel"],
        repositories: &[
            "http://yum.oracle.com/repo/OracleLinux/OL9/baseos/latest/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL9/appstream/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL9/UEKR7/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL8/baseos/latest/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL8/UEKR6/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL8/UEKR7/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL7/latest/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL7/MODRHCK/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL7/UEKR3/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL7/UEKR4/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL7/UEKR5/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL7/UEKR6/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL6/latest/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL6/MODRHCK/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL6/UEK/latest/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL6/UEKR3/latest/$arch/",
            "http://yum.oracle.com/repo/OracleLinux/OL6/UEKR4/$arch/",
        ],
        ..USUAL
    },
    Family {
        id: "opensuse",
        headers: &["kernel-default-devel"],
        common: Some("kernel-devel"),
        repositories: &[
            "http://download.opensuse.org/distribution/leap/$release/repo/oss/",
            "http://download.opensuse.org/tumbleweed/repo/oss/",
        ],
        oldest_release: 15,
        ..USUAL
    },
    Family {
        id: "photon",
        headers: &["linux-devel"],
        has_architecture: false,
        repositories: &[
            "https://packages.vmware.com/photon/5.0/photon_5.0_$arch/",
            "https://packages.vmware.com/photon/5.0/photon_release_5.0_$arch/",
            "https://packages.vmware.com/photon/5.0/photon_updates_5.0_$arch/",
            "https://packages.vmware.com/photon/4.0/photon_4.0_$arch/",
            "https://packages.vmware.com/photon/4.0/photon_release_4.0_$arch/",
            "https://packages.vmware.com/photon/4.0/photon_updates_4.0_$arch/",
            "https://packages.vmware.com/photon/3.0/photon_3.0_$arch/",
            "https://packages.vmware.com/photon/3.0/photon_release_3.0_$arch/",
            "https://packages.vmware.com/photon/3.0/photon_updates_3.0_$arch/",
            "https://packages.vmware.com/photon/2.0/photon_2.0_$arch/",
            "https://packages.vmware.com/photon/2.0/photon_release_2.0_$arch/",
            "https://packages.vmware.com/photon/2.0/photon_updates_2.0_$arch/",
            "https://packages.vmware.com/photon/1.0/photon_1.0_$arch/",
            "https://packages.vmware.com/photon/1.0/photon_release_1.0_$arch/",
            "https://packages.vmware.com/photon/1.0/photon_updates_1.0_$arch/",
        ],
        ..USUAL
    },
    Family {
        id: "rocky",
        repositories: &[
            "https://download.rockylinux.org/pub/rocky/$release/BaseOS/$arch/os/",
            "https://download.rockylinux.org/pub/rocky/$release/AppStream/$arch/os/",
            "https://download.rockylinux.org/vault/rocky/$release/BaseOS/$arch/os/",
            "https://download.rockylinux.org/vault/rocky/$release/AppStream/$arch/os/",
        ],
        oldest_release: 8,
        ..USUAL
    },
];

/// The family of a target that packs rpms.
pub(in crate::discover::mirror) fn family(target: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| target == family.id)
}

impl Family {
    /// Whether a package is one of headers, or of those that belong to them.
    pub(super) fn names(&self, package: &str) -> bool {
        self.headers.contains(&package) || self.common == Some(package)
    }
}
