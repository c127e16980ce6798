use super::super::testing::{addresses, kernel};
use super::*;

/// Returns the first URL of the shared package.
fn first_common(text: &str) -> String {
    let kernel = kernel(text).0;
    let found = Ubuntu
        .header_packages(&kernel, kernel.architecture)
        .unwrap();
    found[1].url().to_string()
}

#[test]
fn both_forms_of_a_release_have_the_same_flavour() {
    for (release, uts, target) in [
        ("5.15.0-91-generic", "5.15.0-91-generic", "ubuntu-generic"),
        ("4.15.0-188", "4.15.0-188-generic", "ubuntu-generic"),
        ("5.4.0-128-hwe-5.4", "5.4.0-128-generic", "ubuntu-generic"),
        ("5.0.0-15-hwe-edge", "5.0.0-15-generic", "ubuntu-generic"),
        (
            "3.16.0-38-lts-utopic",
            "3.16.0-38-generic",
            "ubuntu-generic",
        ),
        ("5.0.0-1021-aws-5.0", "5.0.0-1021-aws", "ubuntu-aws"),
        ("4.15.0-1095-aws-hwe", "4.15.0-1095-aws", "ubuntu-aws"),
        ("4.18.0-1004-gcp-edge", "4.18.0-1004-gcp", "ubuntu-gcp"),
        (
            "5.15.0-24-lowlatency-hwe-5.15",
            "5.15.0-24-lowlatency",
            "ubuntu-lowlatency",
        ),
        (
            "5.19.0-41-generic-64k",
            "5.19.0-41-generic-64k",
            "ubuntu-generic",
        ),
        (
            "5.15.0-1004-intel-iotg",
            "5.15.0-1004-intel-iotg",
            "ubuntu-intel",
        ),
        ("4.15.0-1030-raspi2", "4.15.0-1030-raspi2", "ubuntu-generic"),
        (
            "5.15.0-1029.36_lowlatency",
            "5.15.0-1029-lowlatency",
            "ubuntu-lowlatency",
        ),
        (
            "5.4.0-1091-azure-cvm",
            "5.4.0-1091-azure-cvm",
            "ubuntu-azure",
        ),
    ] {
        let kernel = kernel(&format!("ubuntu {release} 36 amd64")).0;
        assert_eq!(Ubuntu.uts_releases(&kernel).unwrap()[0], uts, "{release}");
        let name = Ubuntu.loader_name(&kernel).unwrap();
        assert_eq!((name.release.as_str(), name.target.as_str()), (uts, target));
        assert_eq!(
            Ubuntu.build_folder(&kernel).unwrap().names[0].to_str(),
            Some(&*format!("/usr/src/linux-headers-{uts}"))
        );
    }
    let own = kernel("ubuntu-generic 5.15.0-91-generic 101 amd64").0;
    assert_eq!(Ubuntu.loader_name(&own), None);
}

#[test]
fn releases_of_other_distributions_are_refused() {
    for release in [
        "5.10.0-18-amd64",
        "5.10.178-3-cloud-amd64",
        "5.10.0-0.deb10.17-rt-amd64",
        "3.10.0-957.el7.x86_64",
        "6.8.1-arch1-1",
        "6.8.12-1-pve",
        "6.1.55",
        "5.14.21-150400.22-default",
        "6.1.46-talos",
        "5.15.0-91-",
    ] {
        assert!(Release::parse(release).is_err(), "{release}");
    }
}

#[test]
fn the_name_of_the_shared_package_depends_on_the_pool() {
    let edge = "https://mirrors.edge.kernel.org/ubuntu/pool/main/l";
    let ports = "http://ports.ubuntu.com/ubuntu-ports/pool/main/l";
    for (text, url) in [
        (
            "ubuntu-generic 5.15.0-91-generic 101 amd64",
            format!("{edge}/linux/linux-headers-5.15.0-91_5.15.0-91.101_all.deb"),
        ),
        (
            "ubuntu-aws-5.11 5.11.0-1029-aws-5.11 32~20.04.1 amd64",
            format!(
                "{edge}/linux-aws-5.11/linux-aws-5.11-headers-5.11.0-1029_5.11.0-1029.32~20.04.1_all.deb"
            ),
        ),
        (
            "ubuntu-aws-5.0 5.0.0-1028-aws-5.0 31 arm64",
            format!("{ports}/linux-aws-5.0/linux-aws-headers-5.0.0-1028_5.0.0-1028.31_all.deb"),
        ),
        (
            "ubuntu-gcp-5.4 5.4.0-1078-gcp-5.4 84~18.04.1 amd64",
            format!(
                "{edge}/linux-gcp-5.4/linux-gcp-5.4-headers-5.4.0-1078_5.4.0-1078.84~18.04.1_amd64.deb"
            ),
        ),
        (
            "ubuntu-gkeop 5.4.0-1008-gkeop 9 amd64",
            format!("{edge}/linux-gkeop/linux-gkeop-headers-5.4.0-1008_5.4.0-1008.9_all.deb"),
        ),
        (
            "ubuntu-hwe 4.18.0-13-hwe 14~18.04.1 amd64",
            format!("{edge}/linux-hwe/linux-headers-4.18.0-13_4.18.0-13.14~18.04.1_all.deb"),
        ),
        (
            "ubuntu-hwe 5.3.0-65-hwe 59 amd64",
            format!("{edge}/linux-hwe/linux-hwe-headers-5.3.0-65_5.3.0-65.59_all.deb"),
        ),
        (
            "ubuntu-azure-edge 4.18.0-1006-azure-edge 6~18.04.1 amd64",
            format!(
                "{edge}/linux-azure-edge/linux-azure-headers-4.18.0-1006_4.18.0-1006.6~18.04.1_all.deb"
            ),
        ),
        (
            "ubuntu-lts-xenial 4.4.0-101-lts-xenial 124~14.04.1 arm64",
            format!(
                "{ports}/linux-lts-xenial/linux-headers-4.4.0-101_4.4.0-101.124~14.04.1_all.deb"
            ),
        ),
    ] {
        assert_eq!(first_common(text), url, "{text}");
    }
}

#[test]
fn a_running_kernel_has_few_possible_pools() {
    let generic = kernel("ubuntu-generic 5.15.0-91-generic 101~20.04.1 amd64").0;
    let found = addresses(&Ubuntu, &generic);
    assert_eq!(found.len(), 3 * 3, "{found:#?}");
    let edge = "https://mirrors.edge.kernel.org/ubuntu/pool/main/l";
    let file = "linux-headers-5.15.0-91-generic_5.15.0-91.101~20.04.1_amd64.deb";
    assert!(found.contains(&format!("{edge}/linux-hwe-5.15/{file}")));
    let nvidia = kernel("ubuntu-nvidia 5.15.0-1006-nvidia-lowlatency 6 amd64").0;
    let found = addresses(&Ubuntu, &nvidia);
    let file = "linux-headers-5.15.0-1006-nvidia-lowlatency_5.15.0-1006.6_amd64.deb";
    assert!(
        found.contains(&format!("{edge}/linux-nvidia/{file}")),
        "{found:#?}"
    );
}

const HWE: [&str; 5] = [
    "https://mirrors.edge.kernel.org/x/linux-headers-5.13.0-19-lowlatency_5.13.0-19.19~20.04.1_amd64.deb",
    "http://security.ubuntu.com/x/linux-headers-5.13.0-19-generic_5.13.0-19.19~20.04.1_amd64.deb",
    "https://mirrors.edge.kernel.org/x/linux-headers-5.13.0-19-generic_5.13.0-19.19~20.04.1_amd64.deb",
    "http://security.ubuntu.com/x/linux-hwe-5.13-headers-5.13.0-19_5.13.0-19.19~20.04.1_all.deb",
    "https://mirrors.edge.kernel.org/x/linux-hwe-5.13-headers-5.13.0-19_5.13.0-19.19~20.04.1_all.deb",
];

fn of_hwe(release: &str, urls: &[&str]) -> Result<Vec<Vec<String>>, TargetError> {
    let kernel = kernel(&format!("ubuntu-hwe-5.13 {release} 19~20.04.1 amd64"));
    let kernel = urls.iter().fold(kernel, |kernel, url| kernel.with(url)).0;
    let found = Ubuntu.header_packages(&kernel, Architecture::Amd64)?;
    let urls = |one: &WantedPackage| one.candidates.iter().map(ToString::to_string).collect();
    Ok(found.iter().map(urls).collect())
}

#[test]
fn packages_of_other_flavours_are_left_out_and_mirrors_joined() {
    let found = of_hwe("5.13.0-19-hwe-5.13", &HWE).unwrap();
    assert_eq!(found, [&HWE[1..3], &HWE[3..]]);
    let found = of_hwe("5.13.0-19-lowlatency", &HWE).unwrap();
    assert_eq!(found, [&HWE[..1], &HWE[3..]]);
}

#[test]
fn missing_packages_are_named() {
    for (urls, text) in [
        (
            &HWE[..1],
            "linux-headers-5.13.0-19-generic_<version>_amd64.deb",
        ),
        (
            &HWE[..3],
            "lack linux-headers-5.13.0-19 or linux-<pool>-headers-5.13.0-19",
        ),
        (&HWE[3..], "none of its packages is"),
    ] {
        let error = of_hwe("5.13.0-19-hwe-5.13", urls).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
}
