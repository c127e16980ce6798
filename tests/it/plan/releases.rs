//! Tests of kernel releases and versions: which are accepted, and the messages for the others.

use support::workspace::Workspace;

/// Returns the output of `plan` for a matrix with one kernel.
fn plan(target: &str, kernel: &str, more: &[&str]) -> String {
    let matrix = format!(
        "drivers = [\"8.1.0+driver\"]\narchitectures = [\"amd64\", \"arm64\"]\n[[target]]\n{target}\nkernels = [{{ {kernel} }}]\n"
    );
    let words = [&["plan", "m.toml"], more].concat();
    Workspace::new().with("m.toml", &matrix).run(&words)
}

/// Each release has the package that its distribution publishes for it.
#[test]
fn named_packages_are_planned_for_every_form_of_release() {
    for (targets, release, package) in [
        (
            "rocky almalinux centos redhat",
            "5.14.0-427.13.1.el9_4.aarch64+64k",
            "kernel-64k-devel-5.14.0-427.13.1.el9_4.aarch64.rpm",
        ),
        (
            "rocky almalinux centos redhat",
            "5.14.0-427.13.1.el9_4.x86_64+rt",
            "kernel-rt-devel-5.14.0-427.13.1.el9_4.x86_64.rpm",
        ),
        (
            "rocky almalinux centos redhat",
            "5.14.0-427.13.1.el9_4.x86_64+debug",
            "kernel-debug-devel-5.14.0-427.13.1.el9_4.x86_64.rpm",
        ),
        (
            "ol",
            "6.12.0-0.20.20.el9uek.aarch64.64k",
            "kernel-uek64k-devel-6.12.0-0.20.20.el9uek.aarch64.rpm",
        ),
        (
            "almalinux",
            "6.12.0-55.43.1.el10_0.x86_64_v2",
            "kernel-devel-6.12.0-55.43.1.el10_0.x86_64_v2.rpm",
        ),
        ("debian", "6.18.34+rpt-rpi-2712", "headers_arm64.deb"),
        ("debian", "6.12.47+rpt-rpi-v8", "headers_arm64.deb"),
        (
            "alinux",
            "6.6.102-5.3.1.alnx4.x86_64",
            "kernel-devel-6.6.102-5.3.1.alnx4.x86_64.rpm",
        ),
        (
            "ubuntu debian arch fedora",
            "6.15.1-x64v3-xanmod1",
            "linux-headers-x64v3_amd64.deb",
        ),
        (
            "fedora ubuntu",
            "6.13.6-1-surface+",
            "kernel-surface-devel.x86_64.rpm",
        ),
        (
            "arch",
            "7.2.3-1-cachyos",
            "linux-cachyos-headers-x86_64.pkg.tar.zst",
        ),
        (
            "ubuntu opensuse",
            "5.15.146.1-microsoft-standard-WSL2",
            "wsl-x86_64.tar.gz",
        ),
        (
            "vanilla talos minikube bottlerocket",
            "6.6.30-acme",
            "acme-x86_64.rpm",
        ),
        (
            "sles opensuse",
            "6.4.0-150600.23.7-64kb",
            "headers-aarch64.tar",
        ),
        ("generic", "6.6.30-acme", "acme-x86_64.rpm"),
    ] {
        for target in targets.split(' ') {
            let kernel =
                format!("release = \"{release}\", headers = [\"https://example.org/{package}\"]");
            let report = plan(
                &format!("name = \"{target}\""),
                &kernel,
                &["--format", "csv"],
            );
            assert!(report.starts_with("exit 0"), "{target}: {report}");
            assert!(
                !report.contains("nothing can be built"),
                "{target}: {report}"
            );
            let machine = if package.contains("x86_64") || package.contains("amd64") {
                "x86_64"
            } else {
                "aarch64"
            };
            let path = format!("8.1.0+driver/{machine}/falco_{target}_{release}_1.ko");
            assert!(report.contains(&path), "{report}");
            assert_eq!(report.matches("planned").count(), 1, "{report}");
        }
    }
}

#[test]
fn an_unknown_form_of_release_is_warned_about_once_per_target() {
    let kernels = ["6.6.30-acme", "6.6.31-acme"].map(|release| {
        format!(
            "{{ release = \"{release}\", architecture = \"amd64\", headers = [\"/x/acme.rpm\"] }}"
        )
    });
    let matrix = format!(
        "drivers = [\"8.1.0+driver\"]\n[[target]]\nname = \"rocky\"\nkernels = [{}]\n",
        kernels.join(", ")
    );
    let report = Workspace::new()
        .with("m.toml", &matrix)
        .run(&["plan", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    let expected = "warning: rocky 6.6.30-acme #1 amd64 (and 1 more of rocky): a release of rocky looks like \
        `5.14.0-284.11.1.el9_2.x86_64`; the content of its named packages decides";
    assert!(report.contains(expected), "{report}");
}

#[test]
fn a_release_of_another_distribution_is_refused_with_its_target() {
    for (target, release, expected) in [
        (
            "bottlerocket",
            "5.15.0-91-generic",
            "looks like one of ubuntu",
        ),
        (
            "almalinux",
            "3.10.0-957.el7.x86_64",
            "looks like one of centos, ol, redhat",
        ),
        (
            "rocky",
            "5.4.17-2136.311.6.el8uek.x86_64",
            "looks like one of ol",
        ),
        (
            "centos",
            "5.15.0-205.149.5.1.el9uek.x86_64",
            "looks like one of ol",
        ),
        (
            "redhat",
            "6.12.0-101.33.4.3.el10uek.x86_64",
            "looks like one of ol",
        ),
    ] {
        let kernel = format!("release = \"{release}\", architecture = \"amd64\"");
        let report = plan(&format!("name = \"{target}\""), &kernel, &[]);
        assert!(report.starts_with("exit 2"), "{target}: {report}");
        assert!(report.contains(expected), "{target}: {report}");
    }
}

/// Names of targets become parts of paths.
#[test]
fn a_target_must_start_with_a_letter_or_digit() {
    let kernel =
        "release = \"6.0.1\", architecture = \"amd64\", headers = [\"http://example.org/k.deb\"]";
    for target in ["..", ".", "-rf", "+x", "~root"] {
        let report = plan(&format!("name = \"{target}\"\ngeneric = true"), kernel, &[]);
        assert!(report.starts_with("exit 2"), "{target}: {report}");
        let expected =
            format!("invalid target `{target}`: the first character must be a letter or digit");
        assert!(report.contains(&expected), "{report}");
        assert!(report.contains("m.toml:"), "{report}");
    }
}

#[test]
fn a_kernel_version_must_start_with_a_digit() {
    for (version, expected) in [
        (
            "_64",
            "`_64` does not start with a digit: expected the number after `#` in `uname -v`, such as",
        ),
        (
            "188-Ubuntu",
            "`188-Ubuntu` contains more than the kernel version, the number after `#` in `uname -v`: use `188`",
        ),
        ("-rf", "`-rf` does not start with a digit"),
        (".", "`.` does not start with a digit"),
        ("..", "`..` does not start with a digit"),
        ("~root", "`~root` does not start with a digit"),
        ("#63-Ubuntu SMP Tue Nov 22 10:58:56 UTC 2022", "use `63`"),
        ("#97+cvm1-Ubuntu SMP", "use `97+cvm1`"),
        ("1/2", "`1/2`: '/' is not allowed"),
    ] {
        let kernel = format!(
            "release = \"5.15.0-91-generic\", architecture = \"amd64\", version = \"{version}\""
        );
        let report = plan("name = \"ubuntu\"", &kernel, &[]);
        assert!(report.starts_with("exit 2"), "{version}: {report}");
        let text = report.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(expected), "{version}: {report}");
    }
    for version in ["1", "24~20.04.3", "97+cvm1", "1_1.19.0-aws", "1_v1.3.1"] {
        let kernel = format!(
            "release = \"5.15.0-91-generic\", architecture = \"amd64\", version = \"{version}\""
        );
        let report = plan("name = \"ubuntu\"", &kernel, &[]);
        assert!(report.starts_with("exit 0"), "{version}: {report}");
    }
}

#[test]
fn unusual_releases_in_lists_are_accepted() {
    for (target, release) in [
        ("ubuntu-gcp", "6.11.0-1003.3+2-gcp"),
        ("arch", "6.1.12.hardened1-1"),
    ] {
        let kernel = format!("release = \"{release}\", architecture = \"amd64\"");
        let report = plan(&format!("name = \"{target}\""), &kernel, &[]);
        assert!(report.starts_with("exit 0"), "{report}");
        assert!(!report.contains("nothing can be built"), "{report}");
    }
}

#[test]
fn names_from_os_release_are_refused_with_the_matching_target() {
    for (name, expected) in [
        ("amzn", "`amazonlinux2023`, `amazonlinux2` or `amazonlinux`"),
        ("oraclelinux", "`ol`"),
        ("rhel", "`redhat`"),
        ("raspbian", "`debian`"),
        ("linuxmint", "`ubuntu`"),
        ("cos", "modern eBPF probe"),
        ("acme", "write `generic = true`"),
    ] {
        let report = plan(&format!("name = \"{name}\""), "release = \"6.6.30\"", &[]);
        assert!(report.starts_with("exit 2"), "{report}");
        assert!(report.contains(expected), "{name}: {report}");
    }
    let report = plan(
        "name = \"debian\"\ngeneric = true",
        "release = \"6.6.30\"",
        &[],
    );
    assert!(report.contains("has its own rules"), "{report}");
}

/// The file for the Raspberry Pi in Falco's grid names the packages of several kernels.
#[test]
fn the_file_for_the_raspberry_pi_is_planned_with_a_notice() {
    let folder = "http://archive.raspberrypi.com/debian/pool/main/l/linux";
    let packages = [
        "linux-headers-6.12.47%2Brpt-common-rpi_6.12.47-1%2Brpt1_all.deb",
        "linux-headers-6.12.47%2Brpt-rpi-2712_6.12.47-1%2Brpt1_arm64.deb",
        "linux-headers-6.12.47%2Brpt-rpi-v8_6.12.47-1%2Brpt1_arm64.deb",
        "linux-kbuild-6.12.47%2Brpt_6.12.47-1%2Brpt1_arm64.deb",
    ]
    .map(|file| format!("{folder}/{file}"));
    let kernel = format!(
        "release = \"6.12.47-1+rpt1-rpi-arm64\", architecture = \"arm64\", headers = {packages:?}"
    );
    let report = plan("name = \"debian\"", &kernel, &[]);
    assert!(report.starts_with("exit 0"), "{report}");
    let expected =
        "it is built for 6.12.47+rpt-rpi-v8; its packages also contain 6.12.47+rpt-rpi-2712";
    assert!(report.contains(expected), "{report}");
}
