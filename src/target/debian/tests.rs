use super::*;

fn kernel(release: &str, architecture: Architecture, files: &[&str]) -> Kernel {
    let kernel = super::super::testing::kernel(&format!("debian {release} 1 {architecture}"));
    let add = |kernel: super::super::testing::Named, file: &&str| {
        kernel.with(&format!("http://host:1/pool/main/l/linux/{file}.deb"))
    };
    files.iter().fold(kernel, add).0
}

fn uts(kernel: &Kernel) -> Option<String> {
    Some(Debian.uts_releases(kernel).ok()?.remove(0))
}

fn amd64(release: &str, files: &[&str]) -> Kernel {
    kernel(release, Architecture::Amd64, files)
}

const BOOKWORM: [&str; 5] = [
    "linux-headers-6.1.0-50-amd64_6.1.176-1_amd64",
    "linux-headers-6.1.0-50-cloud-amd64_6.1.176-1_amd64",
    "linux-headers-6.1.0-50-rt-amd64_6.1.176-1_amd64",
    "linux-headers-6.1.0-50-common_6.1.176-1_all",
    "linux-kbuild-6.1_6.1.176-1_amd64",
];

const BOOKWORM_CLOUD: [&str; 3] = [BOOKWORM[1], BOOKWORM[3], BOOKWORM[4]];

#[test]
fn releases_are_split_after_the_abi() {
    for (release, expected) in [
        ("4.19.0-6-cloud-amd64", Some(("4.19.0-6", "cloud-amd64"))),
        (
            "5.10.0-0.deb10.17-rt-amd64",
            Some(("5.10.0-0.deb10.17", "rt-amd64")),
        ),
        ("4.19.0-0.bpo.19-amd64", Some(("4.19.0-0.bpo.19", "amd64"))),
        ("6.0.0-rc7-amd64", Some(("6.0.0-rc7", "amd64"))),
        ("6.12.9-arm64", Some(("6.12.9", "arm64"))),
        ("6.16.8+deb14-arm64", Some(("6.16.8+deb14", "arm64"))),
        ("6.12.9-arm64-16k", Some(("6.12.9", "arm64-16k"))),
        ("6.1.0-50-common", Some(("6.1.0-50", "common"))),
        ("amd64", None),
        ("6.1", None),
        ("", None),
    ] {
        assert_eq!(split_abi(release), expected, "{release}");
    }
}

#[test]
fn the_header_package_is_found_by_both_forms_of_release() {
    for (release, uts) in [
        ("6.1.0-50-amd64", Some("6.1.0-50-amd64")),
        ("6.1.176-1-amd64", Some("6.1.0-50-amd64")),
        ("6.1.0-50-cloud-amd64", Some("6.1.0-50-cloud-amd64")),
        ("6.1.176-1-rt-amd64", Some("6.1.0-50-rt-amd64")),
        ("6.1.176-1-grsec-amd64", None),
        ("6.1.17-1-amd64", None),
        ("6.1.0-5-amd64", None),
        ("6.1.176-1-arm64", None),
    ] {
        let found = self::uts(&amd64(release, &BOOKWORM));
        assert_eq!(found.as_deref(), uts, "{release}");
    }
    let kernel = amd64("6.1.176-1-rt-amd64", &BOOKWORM);
    assert_eq!(
        Debian.build_folder(&kernel),
        Ok(BuildFolder::exactly(
            "/usr/src/linux-headers-6.1.0-50-rt-amd64"
        ))
    );
}

#[test]
fn unusual_versions_and_encoded_names_are_parsed() {
    for (release, file, uts) in [
        (
            "6.12.95-1~bpo12+1-amd64",
            "linux-headers-6.12.95%2Bdeb12-amd64_6.12.95-1%7ebpo12%2B1_amd64",
            "6.12.95+deb12-amd64",
        ),
        (
            "5.10.136-1~deb10u3-amd64",
            "linux-headers-5.10.0-0.deb10.17-amd64_5.10.136-1~deb10u3_amd64",
            "5.10.0-0.deb10.17-amd64",
        ),
        (
            "6.0~rc7-1~exp1-amd64",
            "linux-headers-6.0.0-rc7-amd64_6.0~rc7-1~exp1_amd64",
            "6.0.0-rc7-amd64",
        ),
        (
            "4.19.118-2+deb10u1~bpo9+1-amd64",
            "linux-headers-4.19.0-0.bpo.9-amd64_4.19.118-2+deb10u1~bpo9+1_amd64",
            "4.19.0-0.bpo.9-amd64",
        ),
    ] {
        let found = self::uts(&amd64(release, &[file]));
        assert_eq!(found.as_deref(), Some(uts));
    }
    let mut with_query = amd64("6.1.176-1-amd64", &BOOKWORM);
    with_query.packages.update(|package| {
        package.url = format!("{}?token=a/b", package.url).into();
        true
    });
    assert!(self::uts(&with_query).is_some());
}

#[test]
fn kernels_with_large_pages_are_distinguished() {
    let files = [
        "linux-headers-6.12.9-arm64_6.12.9-1_arm64",
        "linux-headers-6.12.9-arm64-16k_6.12.9-1_arm64",
    ];
    for (release, uts) in [
        ("6.12.9-1-arm64", "6.12.9-arm64"),
        ("6.12.9-1-arm64-16k", "6.12.9-arm64-16k"),
    ] {
        let kernel = kernel(release, Architecture::Arm64, &files);
        assert_eq!(self::uts(&kernel).as_deref(), Some(uts));
        let architecture = kernel.architecture;
        assert_eq!(Debian.check_release(&kernel.release, architecture), Ok(()));
        assert_eq!(Debian.loader_name(&kernel), None);
    }
    let release = "6.12.9-amd64".parse().unwrap();
    assert!(Debian.check_release(&release, Architecture::Arm64).is_err());
}

#[test]
fn packages_are_distinguished_and_missing_ones_named() {
    let check = |release: &str, files: &[&str], host| {
        let kernel = amd64(release, files);
        let wanted = Debian
            .header_packages(&kernel, host)
            .unwrap_or_else(|error| panic!("{error}"));
        let names = wanted.iter().map(WantedPackage::file_name);
        names.collect::<Vec<_>>()
    };
    let cloud = check("6.1.176-1-cloud-amd64", &BOOKWORM, Architecture::Amd64);
    assert_eq!(cloud, BOOKWORM_CLOUD.map(|file| format!("{file}.deb")));
    let newer = [
        "linux-headers-6.12.95+deb12-rt-amd64_6.12.95-1~bpo12+1_amd64",
        "linux-headers-6.12.95+deb12-common-rt_6.12.95-1~bpo12+1_all",
        "linux-kbuild-6.12.95+deb12_6.12.95-1~bpo12+1_amd64",
    ];
    let found = check("6.12.95+deb12-rt-amd64", &newer, Architecture::Amd64);
    assert_eq!(found.len(), 3);
    let newest = [
        "linux-headers-7.2.13+deb14-rt-amd64_7.2.13-1_amd64",
        "linux-headers-7.2.13+deb14-common_7.2.13-1_all",
        "linux-kbuild-7.2.13+deb14_7.2.13-1_amd64",
    ];
    let found = check("7.2.13-1-rt-amd64", &newest, Architecture::Amd64);
    assert_eq!(found.len(), 3);

    for (release, files, host, text) in [
        (
            "6.1.176-1-rt-amd64",
            &BOOKWORM[..],
            Architecture::Amd64,
            "linux-headers-6.1.0-50-common-rt of version 6.1.176-1",
        ),
        (
            "6.1.176-1-amd64",
            &BOOKWORM[..4],
            Architecture::Amd64,
            "lack linux-kbuild-6.1.0-50 or linux-kbuild-6.1",
        ),
        (
            "6.1.176-1-amd64",
            &BOOKWORM[1..],
            Architecture::Amd64,
            "header package of 6.1.176-1-amd64",
        ),
    ] {
        let found = Debian.header_packages(&amd64(release, files), host);
        assert!(
            found.as_ref().unwrap_err().to_string().contains(text),
            "{found:?}"
        );
    }
}

#[test]
fn programs_for_another_machine_are_searched_next_to_the_named_ones() {
    let kernel = amd64("6.1.176-1-amd64", &BOOKWORM);
    let wanted = Debian.header_packages(&kernel, Architecture::Arm64);
    let folder = "http://host:1/pool/main/l/linux/linux-kbuild-6.1_6.1.176-1";
    assert_eq!(
        wanted.unwrap()[2].candidates,
        ["arm64", "amd64"].map(|host| std::sync::Arc::<str>::from(format!("{folder}_{host}.deb")))
    );
    let mut kernel = kernel;
    kernel.packages.update(|package| {
        let is_kbuild = package.file_name().starts_with("linux-kbuild");
        package.sha256 = is_kbuild.then(|| crate::digest::Sha256::of("kbuild"));
        is_kbuild
    });
    let wanted = Debian.header_packages(&kernel, Architecture::Arm64);
    assert_eq!(wanted.unwrap()[2].candidates.len(), 1);
}

#[test]
fn unusual_releases_are_accepted_and_those_of_other_distributions_refused() {
    for (release, is_good) in [
        ("6.8.12-1-pve+", true),
        ("4.19.235-1", true),
        ("6.0~rc7-1~exp1-amd64", true),
        ("4.9.65-2+grsecunoff1~bpo9+1-amd64", true),
        ("5.15.0-91-generic", false),
        ("5.19.0-41-generic-64k", false),
        ("3.10.0-957.el7.x86_64", false),
        ("6.1.0-50-arm64", false),
    ] {
        let found = Debian.check_release(&release.parse().unwrap(), Architecture::Amd64);
        assert_eq!(found.is_ok(), is_good, "{release}: {found:?}");
    }
    let proxmox = kernel(
        "6.8.12-1-pve",
        Architecture::Amd64,
        &["proxmox-headers-6.8.12-1-pve_6.8.12-1_amd64"],
    );
    let found = Debian.header_packages(&proxmox, Architecture::Amd64);
    assert_eq!(found.unwrap().len(), 1);
    assert_eq!(uts(&proxmox).as_deref(), Some("6.8.12-1-pve"));
    let kernel = kernel(
        "4.19.235-1",
        Architecture::Arm64,
        &["linux-headers-4.19.0-20-arm64_4.19.235-1_arm64"],
    );
    assert_eq!(uts(&kernel).as_deref(), Some("4.19.0-20-arm64"));
}

const PI_PACKAGES: [&str; 4] = [
    "linux-headers-6.12.47%2Brpt-common-rpi_6.12.47-1%2Brpt1_all",
    "linux-headers-6.12.47%2Brpt-rpi-2712_6.12.47-1%2Brpt1_arm64",
    "linux-headers-6.12.47%2Brpt-rpi-v8_6.12.47-1%2Brpt1_arm64",
    "linux-kbuild-6.12.47%2Brpt_6.12.47-1%2Brpt1_arm64",
];

#[test]
fn raspberry_pi_kernels_are_distinguished() {
    for (release, uts_release, has_remark) in [
        ("6.12.47-1+rpt1-rpi-arm64", "6.12.47+rpt-rpi-v8", true),
        ("6.12.47+rpt-rpi-v8", "6.12.47+rpt-rpi-v8", false),
        ("6.12.47+rpt-rpi-2712", "6.12.47+rpt-rpi-2712", false),
        ("6.12.47-1+rpt1-rpi-2712", "6.12.47+rpt-rpi-2712", false),
    ] {
        let kernel = kernel(release, Architecture::Arm64, &PI_PACKAGES);
        let check = |architecture| Debian.check_release(&kernel.release, architecture);
        assert_eq!(check(Architecture::Arm64), Ok(()), "{release}");
        assert_eq!(uts(&kernel).as_deref(), Some(uts_release), "{release}");
        let packages = Debian
            .header_packages(&kernel, Architecture::Arm64)
            .unwrap();
        assert_eq!(packages.len(), 3, "{release}");
        assert_eq!(Debian.remark(&kernel).is_some(), has_remark, "{release}");
    }
    for release in ["6.12.47+rpt-rpi-v8", "6.1.21-v8+"] {
        let release = release.parse().unwrap();
        assert!(Debian.check_release(&release, Architecture::Amd64).is_err());
        assert_eq!(Debian.check_release(&release, Architecture::Arm64), Ok(()));
    }
}

#[test]
fn flavours_that_the_loader_does_not_see_share_a_name() {
    for (release, file, shared) in [
        (
            "6.12.9-1-arm64-16k",
            "linux-headers-6.12.9-arm64-16k_6.12.9-1_arm64",
            Some("6.12.9-1-arm64"),
        ),
        (
            "6.12.47-1+rpt1-rpi-arm64",
            PI_PACKAGES[2],
            Some("6.12.47-1"),
        ),
        ("6.12.47+rpt-rpi-2712", PI_PACKAGES[1], Some("6.12.47-1")),
        (
            "6.12.9-1-rt-arm64",
            "linux-headers-6.12.9-rt-arm64_6.12.9-1_arm64",
            None,
        ),
        (
            "6.12.9-1-arm64",
            "linux-headers-6.12.9-arm64_6.12.9-1_arm64",
            None,
        ),
    ] {
        let kernel = kernel(release, Architecture::Arm64, &[file]);
        let found = Debian.shared_loader_name(&kernel).map(|name| name.release);
        assert_eq!(
            found.as_ref().map(KernelRelease::as_str),
            shared,
            "{release}"
        );
        assert_eq!(Debian.loader_name(&kernel), None, "{release}");
    }
}

#[test]
fn loader_names_lack_what_follows_the_revision() {
    for (release, file, alias) in [
        (
            "6.12.95-1~bpo12+1-cloud-amd64",
            "linux-headers-6.12.95+deb12-cloud-amd64_6.12.95-1~bpo12+1_amd64",
            Some("6.12.95-1-cloud-amd64"),
        ),
        ("6.1.176-1-amd64", BOOKWORM[0], None),
        ("6.1.0-50-amd64", BOOKWORM[0], Some("6.1.176-1-amd64")),
        (
            "6.0~rc7-1~exp1-amd64",
            "linux-headers-6.0.0-rc7-amd64_6.0~rc7-1~exp1_amd64",
            Some("6.0.0-rc7-amd64"),
        ),
        (
            "7.3~rc7-1~exp1-amd64",
            "linux-headers-7.3-amd64_7.3~rc7-1~exp1_amd64",
            Some("7.3-amd64"),
        ),
    ] {
        let found = Debian.loader_name(&amd64(release, &[file]));
        let found = found.map(|name| name.release);
        assert_eq!(
            found.as_ref().map(KernelRelease::as_str),
            alias,
            "{release}"
        );
    }
}
