//! Tests of Ubuntu's archives: the main archive for amd64 and `ports` for arm64.

use support::archive::{Mirror, package};
use support::locks::{lines, name, urls};
use support::workspace::Workspace;

/// Returns the index entries of one flavour's headers and of the headers that it shares with other flavours.
fn kernel(abi: &str, upload: &str, flavour: &str, common: (&str, &str), machine: &str) -> String {
    let (common, common_architecture) = common;
    let version = format!("{abi}.{upload}");
    let tree = format!("linux-headers-{abi}-{flavour}");
    package(
        &tree,
        &version,
        machine,
        &format!("{common}, libc6 (>= 2.34), libelf1"),
    ) + &package(
        common,
        &version,
        common_architecture,
        "coreutils | fileutils (>= 4.0)",
    )
}

/// Index entries that are not kernels: the package for the newest kernel, packages with similar names, and headers
/// without their shared package.
fn others() -> String {
    package(
        "linux-headers-generic",
        "5.15.0.91.88",
        "amd64",
        "linux-headers-5.15.0-91-generic",
    ) + &package(
        "linux-headers-generic-hwe-20.04",
        "5.15.0.91.88",
        "amd64",
        "linux-headers-5.15.0-91-generic",
    ) + &package(
        "linux-image-5.15.0-91-generic",
        "5.15.0-91.101",
        "amd64",
        "",
    ) + &package("linux-cloud-tools-common", "5.15.0-91.101", "all", "")
        + &package(
            "linux-headers-5.15.0-92-generic",
            "5.15.0-92.102",
            "amd64",
            "linux-headers-5.15.0-92, libc6",
        )
}

fn archives() -> (Mirror, Mirror) {
    let (main, ports) = (Mirror::new(), Mirror::new());
    let amd64 = kernel(
        "5.15.0-91",
        "101",
        "generic",
        ("linux-headers-5.15.0-91", "all"),
        "amd64",
    ) + &package(
        "linux-headers-5.15.0-91-lowlatency",
        "5.15.0-91.101",
        "amd64",
        "linux-headers-5.15.0-91",
    ) + &kernel(
        "5.15.0-1051",
        "56",
        "aws",
        ("linux-aws-headers-5.15.0-1051", "all"),
        "amd64",
    ) + &kernel(
        "5.15.0-1049",
        "57",
        "gcp",
        ("linux-gcp-headers-5.15.0-1049", "amd64"),
        "amd64",
    ) + &others();
    let hwe = kernel(
        "6.2.0-39",
        "40~22.04.1",
        "generic",
        ("linux-hwe-6.2-headers-6.2.0-39", "all"),
        "amd64",
    );
    let arm64 = kernel(
        "5.15.0-91",
        "101",
        "generic-64k",
        ("linux-headers-5.15.0-91", "all"),
        "arm64",
    );
    // The `Release` files of both archives list the indexes of all architectures, but each archive has only its own.
    for mirror in [&main, &ports] {
        mirror.suite(
            "jammy",
            &[("amd64", ".xz", &amd64), ("arm64", ".gz", &arm64)],
        );
        mirror.suite(
            "jammy-updates",
            &[("amd64", ".gz", &hwe), ("arm64", ".xz", "")],
        );
    }
    for (mirror, absent) in [(&main, "arm64"), (&ports, "amd64")] {
        for suite in ["jammy", "jammy-updates"] {
            let folder = format!("dists/{suite}/main/binary-{absent}");
            std::fs::remove_dir_all(mirror.folder.path().join(folder)).unwrap();
        }
    }
    (main, ports)
}

fn matrix(target: &str, more: &str) -> String {
    format!(
        "drivers = [\"9.1.0+driver\"]\narchitectures = [\"amd64\", \"arm64\"]\n[[target]]\nname = {target:?}\nkernels = {{ from = \"mirror\", suites = [\"jammy\", \"jammy-updates\"]{more} }}\n"
    )
}

fn lock(workspace: &Workspace, mirrors: &(Mirror, Mirror)) -> String {
    let (main, ports) = mirrors;
    let (main, ports) = (
        format!("ubuntu={}", main.url()),
        format!("ubuntu-ports={}", ports.url()),
    );
    workspace.run(&["--mirror", &main, "--mirror", &ports, "lock", "m.toml"])
}

#[test]
fn each_flavour_is_a_target_with_its_shared_headers() {
    let mirrors = archives();
    let workspace = Workspace::new().with("m.toml", &matrix("ubuntu-*", ""));
    let report = lock(&workspace, &mirrors);
    assert!(report.starts_with("exit 0"), "{report}");
    assert!(
        report.contains("linux-headers-5.15.0-92-generic 5.15.0-92.102 of jammy is skipped: linux-headers-5.15.0-92 5.15.0-92.102 does not exist"),
        "{report}"
    );
    assert!(
        report.contains("ubuntu-*: reading suite 2 of 2: jammy-updates"),
        "{report}"
    );
    let kernels = lines(&workspace, "m.lock");
    let names: Vec<String> = kernels.iter().map(name).collect();
    assert_eq!(
        names,
        [
            "ubuntu-aws 5.15.0-1051-aws #56 amd64",
            "ubuntu-gcp 5.15.0-1049-gcp #57 amd64",
            "ubuntu-generic 5.15.0-91-generic #101 amd64",
            "ubuntu-generic 5.15.0-91-generic-64k #101 arm64",
            "ubuntu-generic 6.2.0-39-generic #40~22.04.1 amd64",
            "ubuntu-lowlatency 5.15.0-91-lowlatency #101 amd64",
        ]
    );
    // Locks contain the archives' usual URLs, even if a mirror was read.
    let pool = "http://archive.ubuntu.com/ubuntu/pool/main/l/linux";
    assert_eq!(
        urls(&kernels[1]),
        [
            format!("{pool}/linux-gcp-headers-5.15.0-1049_5.15.0-1049.57_amd64.deb"),
            format!("{pool}/linux-headers-5.15.0-1049-gcp_5.15.0-1049.57_amd64.deb"),
        ]
    );
    assert_eq!(
        urls(&kernels[4])[1],
        format!("{pool}/linux-hwe-6.2-headers-6.2.0-39_6.2.0-39.40~22.04.1_all.deb")
    );
    assert!(urls(&kernels[3])[0].starts_with("http://ports.ubuntu.com/ubuntu-ports/pool/"));
    for package in kernels
        .iter()
        .flat_map(|kernel| kernel["packages"].as_array().unwrap())
    {
        assert!(
            package["size"].is_u64() && package["sha256"].is_string(),
            "{package}"
        );
    }
    // The plan has no warnings.
    let plan = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(
        plan.contains("6 kernels") && !plan.contains("warning"),
        "{plan}"
    );
}

#[test]
fn one_flavour_or_several_as_one_target_are_found() {
    let mirrors = archives();
    let workspace = Workspace::new();
    for (target, more, expected) in [
        (
            "ubuntu-aws",
            "",
            &["ubuntu-aws 5.15.0-1051-aws #56 amd64"][..],
        ),
        (
            "ubuntu",
            ", flavours = [\"generic\"]",
            &[
                "ubuntu 5.15.0-91-generic #101 amd64",
                "ubuntu 6.2.0-39-generic #40~22.04.1 amd64",
            ],
        ),
        (
            "ubuntu-generic",
            ", match = \">=6\"",
            &["ubuntu-generic 6.2.0-39-generic #40~22.04.1 amd64"],
        ),
    ] {
        workspace.put("m.toml", &matrix(target, more));
        let report = lock(&workspace, &mirrors);
        assert!(report.starts_with("exit 0"), "{report}");
        let names: Vec<String> = lines(&workspace, "m.lock").iter().map(name).collect();
        assert_eq!(names, expected, "{target}");
    }
    let kernels = matrix("ubuntu-aws", "").replace("\"jammy\", \"jammy-updates\"", "");
    workspace.put("m.toml", &kernels);
    let report = lock(&workspace, &mirrors);
    assert!(
        report.starts_with("exit 2")
            && report.contains("write suites = [\"jammy\", \"jammy-updates\"]"),
        "{report}"
    );
}

/// URLs in the matrix are tried in order until one has the architecture.
#[test]
fn an_architecture_is_read_from_the_archive_that_has_it() {
    let (main, ports) = archives();
    let more = format!(", urls = [\"{}\", \"{}\"]", main.url(), ports.url());
    let workspace = Workspace::new().with("m.toml", &matrix("ubuntu-generic", &more));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    let kernels = lines(&workspace, "m.lock");
    assert_eq!(kernels.len(), 3, "{kernels:?}");
    assert!(urls(&kernels[0])[0].starts_with(main.url().as_str()));
    assert!(urls(&kernels[1])[0].starts_with(ports.url().as_str()));
    // This also works if the index, whose digest both archives list, is cached.
    let old = workspace.get("m.lock");
    let report = workspace.run(&["lock", "--check", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    // An architecture that no URL has is an error, which names what was tried.
    let only_main = matrix("ubuntu-generic", &format!(", url = \"{}\"", main.url()));
    workspace.put("m.toml", &only_main);
    let workspace = Workspace::new()
        .with("m.toml", &only_main)
        .with("m.lock", &old);
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(
        !report.starts_with("exit 0") && report.contains("binary-arm64/Packages"),
        "{report}"
    );
    assert_eq!(workspace.get("m.lock"), old);
}
