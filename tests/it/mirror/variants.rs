//! Tests of header packages found by name patterns: streams, page sizes, real-time kernels, and kernels that a
//! distribution later named differently.

use support::archive::{Mirror, package};
use support::locks::{lines, name};
use support::workspace::Workspace;

/// Writes a repository with these packages: name, version, release, architecture.
fn repository(workspace: &Workspace, packages: &[(&str, &str, &str, &str)]) {
    let package = |(name, version, release, machine): &(&str, &str, &str, &str)| {
        format!(
            "<package type=\"rpm\"><name>{name}</name><arch>{machine}</arch><version epoch=\"0\" ver=\"{version}\" rel=\"{release}\"/><location href=\"{name}-{version}-{release}.{machine}.rpm\"/></package>"
        )
    };
    let packages: Vec<String> = packages.iter().map(package).collect();
    workspace.put(
        "repository/repodata/primary.xml",
        &format!("<metadata>{}</metadata>", packages.concat()),
    );
    workspace.put(
        "repository/repodata/repomd.xml",
        "<repomd><data type=\"primary\"><location href=\"repodata/primary.xml\"/></data></repomd>",
    );
}

/// Locks the kernels of a repository with these packages; returns the workspace and the output.
fn locked(target: &str, packages: &[(&str, &str, &str, &str)], more: &str) -> (Workspace, String) {
    let workspace = Workspace::new();
    repository(&workspace, packages);
    let url = format!("file://{}/repository", workspace.path().display());
    workspace.put(
        "m.toml",
        &format!(
            "drivers = [\"9.1.0+driver\"]\narchitectures = [\"amd64\", \"arm64\"]\n[[target]]\nname = {target:?}\nkernels = {{ from = \"mirror\", urls = [{url:?}]{more} }}\n"
        ),
    );
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    (workspace, report)
}

/// Returns the kernels of a repository with these packages, and the output.
fn lock(target: &str, packages: &[(&str, &str, &str, &str)], more: &str) -> (Vec<String>, String) {
    let (workspace, report) = locked(target, packages, more);
    (
        lines(&workspace, "m.lock").iter().map(name).collect(),
        report,
    )
}

#[test]
fn streams_and_variants_are_found_as_kernels() {
    for (target, packages, expected) in [
        (
            "amazonlinux2023",
            &[
                ("kernel-devel", "6.1.147", "172.266.amzn2023", "x86_64"),
                ("kernel6.12-devel", "6.12.40", "64.114.amzn2023", "x86_64"),
                ("kernel6.18-devel", "6.18.1", "10.20.amzn2023", "aarch64"),
                (
                    "kernel6.12-tools-devel",
                    "6.12.40",
                    "64.114.amzn2023",
                    "x86_64",
                ),
                ("kernel6.12-headers", "6.12.40", "64.114.amzn2023", "x86_64"),
            ][..],
            &[
                "6.1.147-172.266.amzn2023.x86_64 #1 amd64",
                "6.12.40-64.114.amzn2023.x86_64 #1 amd64",
                "6.18.1-10.20.amzn2023.aarch64 #1 arm64",
            ][..],
        ),
        (
            "rocky",
            &[
                ("kernel-devel", "5.14.0", "570.el9_6", "aarch64"),
                ("kernel-64k-devel", "5.14.0", "570.el9_6", "aarch64"),
                ("kernel-64k-debug-devel", "5.14.0", "570.el9_6", "aarch64"),
                ("kernel-rt-devel", "5.14.0", "570.el9_6", "x86_64"),
                ("kernel-tools-libs-devel", "5.14.0", "570.el9_6", "x86_64"),
                ("kernel-devel-matched", "5.14.0", "570.el9_6", "x86_64"),
            ],
            &[
                "5.14.0-570.el9_6.aarch64 #1 arm64",
                "5.14.0-570.el9_6.aarch64+64k #1 arm64",
                "5.14.0-570.el9_6.aarch64+64k-debug #1 arm64",
                "5.14.0-570.el9_6.x86_64+rt #1 amd64",
            ],
        ),
        (
            "almalinux",
            &[("kernel-devel", "6.12.0", "55.43.1.el10_0", "x86_64_v2")],
            &["6.12.0-55.43.1.el10_0.x86_64_v2 #1 amd64"],
        ),
        (
            "ol",
            &[
                ("kernel-devel", "6.12.0", "55.el10", "x86_64"),
                ("kernel-uek-devel", "6.12.0", "101.33.4.3.el10uek", "x86_64"),
                ("kernel-uek64k-devel", "6.12.0", "0.20.20.el9uek", "aarch64"),
                ("kernel-ueknext-devel", "6.10.0", "2.el9ueknext", "x86_64"),
            ],
            &[
                "6.10.0-2.el9ueknext.x86_64 #1 amd64",
                "6.12.0-0.20.20.el9uek.aarch64.64k #2 arm64",
                "6.12.0-55.el10.x86_64 #1 amd64",
                "6.12.0-101.33.4.3.el10uek.x86_64 #2 amd64",
            ],
        ),
        (
            "opensuse",
            &[
                ("kernel-default-devel", "6.4.0", "150600.23.7.3", "aarch64"),
                ("kernel-64kb-devel", "6.4.0", "150600.23.7.3", "aarch64"),
                ("kernel-devel", "6.4.0", "150600.23.7.3", "noarch"),
                ("kernel-azure-devel", "6.4.0", "150600.8.5.1", "x86_64"),
                ("kernel-devel-azure", "6.4.0", "150600.8.5.1", "noarch"),
            ],
            &[
                "6.4.0-150600.8.5-azure #1 amd64",
                "6.4.0-150600.23.7-64kb #1 arm64",
                "6.4.0-150600.23.7.3.aarch64 #1 arm64",
            ],
        ),
        (
            "photon",
            &[
                ("linux-devel", "6.1.141", "4.ph5", "x86_64"),
                ("linux-rt-devel", "6.1.141", "4.ph5", "x86_64"),
                ("linux-esx-devel", "6.1.141", "4.ph5", "x86_64"),
            ],
            &["6.1.141-4.ph5 #1 amd64", "6.1.141-4.ph5-rt #1 amd64"],
        ),
    ] {
        let (kernels, report) = lock(target, packages, "");
        let expected: Vec<String> = expected
            .iter()
            .map(|kernel| format!("{target} {kernel}"))
            .collect();
        assert_eq!(kernels, expected, "{report}");
        let is_told = report.contains("of packages that look like kernel headers");
        assert_eq!(is_told, target == "photon", "{report}");
    }
}

#[test]
fn ignored_packages_are_counted() {
    let packages = [
        ("kernel-devel", "6.1.1", "1.amzn2023", "x86_64"),
        ("kernel6.12hpc-devel", "6.12.1", "1.amzn2023", "x86_64"),
        ("kernel6.12hpc-devel", "6.12.2", "1.amzn2023", "x86_64"),
    ];
    let (kernels, report) = lock("amazonlinux2023", &packages, "");
    assert_eq!(kernels.len(), 1, "{report}");
    let expected =
        "skipped 1 name of packages that look like kernel headers, such as kernel6.12hpc-devel";
    assert!(report.contains(expected), "{report}");
}

#[test]
fn latest_applies_to_each_variant() {
    let packages = [
        ("kernel-devel", "5.14.0", "570.el9_6", "aarch64"),
        ("kernel-devel", "5.14.0", "571.el9_6", "aarch64"),
        ("kernel-64k-devel", "5.14.0", "570.el9_6", "aarch64"),
        ("kernel-64k-devel", "5.14.0", "571.el9_6", "aarch64"),
    ];
    let (kernels, report) = lock("rocky", &packages, ", latest = 1");
    let expected = [
        "rocky 5.14.0-571.el9_6.aarch64 #1 arm64",
        "rocky 5.14.0-571.el9_6.aarch64+64k #1 arm64",
    ];
    assert_eq!(kernels, expected, "{report}");
}

#[test]
fn latest_applies_to_each_line_of_amazon_linux() {
    let packages = [
        ("kernel-devel", "6.1.102", "108.amzn2023", "x86_64"),
        ("kernel-devel", "6.1.119", "129.amzn2023", "x86_64"),
        ("kernel6.12-devel", "6.12.37", "61.amzn2023", "x86_64"),
        ("kernel6.12-devel", "6.12.40", "64.amzn2023", "x86_64"),
        ("kernel6.18-devel", "6.18.2", "1.amzn2023", "x86_64"),
    ];
    let (kernels, report) = lock("amazonlinux2023", &packages, ", latest = 1");
    let expected = [
        "amazonlinux2023 6.1.119-129.amzn2023.x86_64 #1 amd64",
        "amazonlinux2023 6.12.40-64.amzn2023.x86_64 #1 amd64",
        "amazonlinux2023 6.18.2-1.amzn2023.x86_64 #1 amd64",
    ];
    assert_eq!(kernels, expected, "{report}");
}

/// Versions in the Raspberry Pi's archive have an epoch, and its kernels are named by machine.
#[test]
fn kernels_of_the_raspberry_pi_archive_are_found() {
    let version = "1:6.12.47-1+rpt1~bookworm";
    let abi = "6.12.47+rpt";
    let mut index = package(&format!("linux-kbuild-{abi}"), version, "arm64", "libc6");
    index += &package(
        &format!("linux-headers-{abi}-common-rpi"),
        version,
        "all",
        "",
    );
    for machine in ["rpi-v8", "rpi-2712"] {
        let depends = format!(
            "linux-headers-{abi}-common-rpi (= {version}), linux-kbuild-{abi} (= {version}), gcc-12"
        );
        index += &package(
            &format!("linux-headers-{abi}-{machine}"),
            version,
            "arm64",
            &depends,
        );
        let newest = format!("linux-headers-{abi}-{machine} (= {version})");
        index += &package(
            &format!("linux-headers-{machine}"),
            version,
            "arm64",
            &newest,
        );
    }
    let mirror = Mirror::new();
    mirror.suite("bookworm", &[("arm64", ".xz", &index)]);
    let url = format!("file://{}", mirror.folder.path().display());
    let workspace = Workspace::new().with(
        "m.toml",
        &format!(
            "drivers = [\"9.1.0+driver\"]\narchitectures = [\"arm64\"]\n[[target]]\nname = \"debian\"\nkernels = {{ from = \"mirror\", url = {url:?}, suites = [\"bookworm\"] }}\n"
        ),
    );
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    let kernels: Vec<String> = lines(&workspace, "m.lock").iter().map(name).collect();
    let expected = [
        "debian 6.12.47-1+rpt1~bookworm-rpi-2712 #1 arm64",
        "debian 6.12.47-1+rpt1~bookworm-rpi-v8 #1 arm64",
    ];
    assert_eq!(kernels, expected, "{report}");
    let report = workspace.run(&["plan", "m.toml"]);
    assert!(!report.contains("nothing can be built"), "{report}");
    assert_eq!(report.matches("  3  mirror").count(), 2, "{report}");
}

/// The files of Amazon Linux are in directories named by digests: only the index knows the package of a kernel.
#[test]
fn packages_of_kernels_are_found_in_the_index() {
    let (workspace, _) = locked(
        "amazonlinux2023",
        &[
            ("kernel-devel", "6.1.147", "172.266.amzn2023", "x86_64"),
            ("kernel", "6.1.147", "172.266.amzn2023", "x86_64"),
            ("kernel", "6.1.147", "172.266.amzn2023", "aarch64"),
            ("kernel", "6.1.140", "154.222.amzn2023", "x86_64"),
            ("kernel-tools", "6.1.147", "172.266.amzn2023", "x86_64"),
            ("kernel6.12-devel", "6.12.40", "64.114.amzn2023", "x86_64"),
            ("kernel6.12", "6.12.40", "64.114.amzn2023", "x86_64"),
            ("kernel6.18-devel", "6.18.1", "10.20.amzn2023", "x86_64"),
        ],
        "",
    );
    let lines = lines(&workspace, "m.lock");
    let images = lines.iter().map(|line| line["image"]["url"].as_str());
    let images: Vec<Option<&str>> = images
        .map(|url| url.map(|url| url.rsplit('/').next().unwrap()))
        .collect();
    assert_eq!(
        images,
        [
            Some("kernel-6.1.147-172.266.amzn2023.x86_64.rpm"),
            Some("kernel6.12-6.12.40-64.114.amzn2023.x86_64.rpm"),
            None,
        ]
    );
    // The same lock again: nothing has changed.
    let report = workspace.run(&["lock", "--check", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
}
