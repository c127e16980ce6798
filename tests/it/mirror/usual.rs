//! Tests of the distributions' default repositories in their real layout: this machine stands for the hosts.

use support::locks::{lines, name, urls};
use support::server::Server;
use support::workspace::Workspace;

/// Writes a repository with one package below the directory of its host.
fn repository(workspace: &Workspace, place: &str, package: &str, machine: &str) {
    let (rest, release) = package.rsplit_once('-').unwrap();
    let (name, version) = rest.rsplit_once('-').unwrap();
    let primary = format!(
        "<metadata><package type=\"rpm\"><name>{name}</name><arch>{machine}</arch><version epoch=\"0\" ver=\"{version}\" rel=\"{release}\"/><location href=\"Packages/{package}.{machine}.rpm\"/></package></metadata>"
    );
    workspace.put(&format!("{place}/repodata/primary.xml"), &primary);
    workspace.put(
        &format!("{place}/repodata/repomd.xml"),
        "<repomd><data type=\"primary\"><location href=\"repodata/primary.xml\"/></data></repomd>",
    );
}

/// Writes the page of a directory that lists other directories.
fn page(workspace: &Workspace, folder: &str, names: &[&str]) {
    let links: Vec<String> = names
        .iter()
        .map(|name| format!("<a href=\"{name}/\">{name}/</a>"))
        .collect();
    workspace.put(
        &format!("{folder}/index.html"),
        &format!(
            "<html><a href=\"../\">Parent</a>{}</html>",
            links.join("\n")
        ),
    );
}

/// Runs `lock` for `target` with its default repositories on these `hosts`.
fn lock(workspace: &Workspace, server: &Server, target: &str, hosts: &[&str]) -> String {
    let mirrors: Vec<String> = hosts
        .iter()
        .flat_map(|host| ["http", "https"].map(|scheme| (scheme, host)))
        .map(|(scheme, host)| format!("\"{scheme}://{host}\" = [\"{}/{host}\"]\n", server.address))
        .collect();
    workspace.put(
        "m.toml",
        &format!(
            "drivers = [\"9.1.0+driver\"]\narchitectures = [\"amd64\", \"arm64\"]\n[mirrors]\noffline = true\n{}[[target]]\nname = {target:?}\nkernels = {{ from = \"mirror\" }}\n",
            mirrors.concat()
        ),
    );
    drop(std::fs::remove_file(workspace.path().join("m.lock")));
    workspace.run(&["lock", "m.toml"])
}

/// For each repository: its kernel is found and has the usual URL.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn default_repositories_are_read() {
    for (target, host, place, package, machine, expected) in [
        (
            "centos",
            "vault.centos.org",
            "7.6.1810/updates/x86_64",
            "kernel-devel-3.10.0-957.12.2.el7",
            "x86_64",
            "centos 3.10.0-957.12.2.el7.x86_64 #1 amd64",
        ),
        (
            "centos",
            "mirror.stream.centos.org",
            "9-stream/AppStream/aarch64/os",
            "kernel-devel-5.14.0-168.el9",
            "aarch64",
            "centos 5.14.0-168.el9.aarch64 #1 arm64",
        ),
        (
            "ol",
            "yum.oracle.com",
            "repo/OracleLinux/OL6/UEKR3/latest/x86_64",
            "kernel-uek-devel-3.8.13-118.55.1.el6uek",
            "x86_64",
            "ol 3.8.13-118.55.1.el6uek.x86_64 #2 amd64",
        ),
        (
            "ol",
            "yum.oracle.com",
            "repo/OracleLinux/OL7/MODRHCK/x86_64",
            "kernel-devel-3.10.0-1062.1.1.0.1.el7",
            "x86_64",
            "ol 3.10.0-1062.1.1.0.1.el7.x86_64 #1 amd64",
        ),
        (
            "photon",
            "packages.vmware.com",
            "photon/3.0/photon_updates_3.0_aarch64",
            "linux-devel-4.19.15-2.ph3",
            "aarch64",
            "photon 4.19.15-2.ph3 #1 arm64",
        ),
        (
            "centos",
            "mirror.stream.centos.org",
            "10-stream/AppStream/x86_64/os",
            "kernel-devel-6.12.0-66.el10",
            "x86_64",
            "centos 6.12.0-66.el10.x86_64 #1 amd64",
        ),
        (
            "ol",
            "yum.oracle.com",
            "repo/OracleLinux/OL10/UEKR8/x86_64",
            "kernel-uek-devel-6.12.0-101.33.4.3.el10uek",
            "x86_64",
            "ol 6.12.0-101.33.4.3.el10uek.x86_64 #2 amd64",
        ),
        (
            "ol",
            "yum.oracle.com",
            "repo/OracleLinux/OL9/UEKR8/aarch64",
            "kernel-uek-devel-6.12.0-0.20.20.el9uek",
            "aarch64",
            "ol 6.12.0-0.20.20.el9uek.aarch64 #2 arm64",
        ),
        (
            "alinux",
            "mirrors.aliyun.com",
            "alinux/4/updates/x86_64/os",
            "kernel-devel-6.6.102-5.3.1.alnx4",
            "x86_64",
            "alinux 6.6.102-5.3.1.alnx4.x86_64 #1 amd64",
        ),
        (
            "amazonlinux",
            "packages.us-east-1.amazonaws.com",
            "2018.03/main/c31535f74c6e/x86_64",
            "kernel-devel-4.14.26-46.32.amzn1",
            "x86_64",
            "amazonlinux 4.14.26-46.32.amzn1.x86_64 #1 amd64",
        ),
        (
            "alinux",
            "mirrors.aliyun.com",
            "alinux/3/plus/x86_64",
            "kernel-devel-5.10.84-10.4.al8",
            "x86_64",
            "alinux 5.10.84-10.4.al8.x86_64 #1 amd64",
        ),
    ] {
        let workspace = Workspace::new();
        repository(&workspace, &format!("{host}/{place}"), package, machine);
        let server = Server::of(workspace.path());
        let hosts = ["vault.centos.org", "mirror.stream.centos.org", host];
        let report = lock(
            &workspace,
            &server,
            target,
            &hosts[if target == "centos" { 0..2 } else { 2..3 }],
        );
        assert!(report.starts_with("exit 0"), "{report}");
        assert!(
            report.contains("of the default repositories do not exist, such as http"),
            "{report}"
        );
        let kernels = lines(&workspace, "m.lock");
        let names: Vec<String> = kernels.iter().map(name).collect();
        assert_eq!(names, [expected]);
        let [url] = urls(&kernels[0]).try_into().unwrap();
        assert!(
            url.ends_with(&format!(
                "://{host}/{place}/Packages/{package}.{machine}.rpm"
            )),
            "{url}"
        );
    }
}

/// Where the URL contains the release, every directory of a release is read.
#[test]
fn releases_are_found_in_directory_pages() {
    let workspace = Workspace::new();
    let (fedora, archive) = (
        "mirrors.kernel.org/fedora",
        "archives.fedoraproject.org/pub/archive/fedora/linux",
    );
    page(&workspace, &format!("{fedora}/updates"), &["38", "testing"]);
    page(&workspace, &format!("{fedora}/releases"), &["38"]);
    page(&workspace, &format!("{archive}/updates"), &["31", "36"]);
    page(
        &workspace,
        &format!("{archive}/releases"),
        &["31", "36", "test"],
    );
    for (place, package, machine) in [
        (
            format!("{fedora}/updates/38/Everything/x86_64"),
            "kernel-devel-6.2.9-300.fc38",
            "x86_64",
        ),
        (
            format!("{fedora}/releases/38/Everything/x86_64/os"),
            "kernel-devel-6.2.7-300.fc38",
            "x86_64",
        ),
        (
            format!("{archive}/updates/36/Everything/aarch64"),
            "kernel-devel-5.17.5-300.fc36",
            "aarch64",
        ),
        // Older than the oldest release that is read.
        (
            format!("{archive}/releases/31/Everything/x86_64/os"),
            "kernel-devel-5.3.7-301.fc31",
            "x86_64",
        ),
    ] {
        repository(&workspace, &place, package, machine);
    }
    let server = Server::of(workspace.path());
    let hosts = ["mirrors.kernel.org", "archives.fedoraproject.org"];
    let report = lock(&workspace, &server, "fedora", &hosts);
    assert!(report.starts_with("exit 0"), "{report}");
    let names: Vec<String> = lines(&workspace, "m.lock").iter().map(name).collect();
    assert_eq!(
        names,
        [
            "fedora 5.17.5-300.fc36.aarch64 #1 arm64",
            "fedora 6.2.7-300.fc38.x86_64 #1 amd64",
            "fedora 6.2.9-300.fc38.x86_64 #1 amd64",
        ]
    );

    let old = workspace.get("m.lock");
    workspace.put(
        &format!("{fedora}/updates/index.html"),
        "<html><h1>502 Bad Gateway</h1></html>",
    );
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(
        report.starts_with("exit 2")
            && report.contains("/fedora/updates/ is broken: its page has no link to a release"),
        "{report}"
    );
    assert_eq!(workspace.get("m.lock"), old);

    let workspace = Workspace::new();
    page(
        &workspace,
        "download.rockylinux.org/pub/rocky",
        &["8", "8.8", "9.2", "RPM-GPG-KEY"],
    );
    repository(
        &workspace,
        "download.rockylinux.org/pub/rocky/9.2/AppStream/x86_64/os",
        "kernel-devel-5.14.0-284.11.1.el9_2",
        "x86_64",
    );
    let server = Server::of(workspace.path());
    let report = lock(&workspace, &server, "rocky", &["download.rockylinux.org"]);
    assert!(report.starts_with("exit 0"), "{report}");
    let names: Vec<String> = lines(&workspace, "m.lock").iter().map(name).collect();
    assert_eq!(names, ["rocky 5.14.0-284.11.1.el9_2.x86_64 #1 amd64"]);

    let workspace = Workspace::new();
    page(&workspace, "repo.almalinux.org/almalinux", &["9.6"]);
    page(&workspace, "vault.almalinux.org", &["8.3", "9.0"]);
    repository(
        &workspace,
        "vault.almalinux.org/9.0/AppStream/x86_64/os",
        "kernel-devel-5.14.0-70.13.1.el9_0",
        "x86_64",
    );
    let server = Server::of(workspace.path());
    let hosts = ["repo.almalinux.org", "vault.almalinux.org"];
    let report = lock(&workspace, &server, "almalinux", &hosts);
    assert!(report.starts_with("exit 0"), "{report}");
    let names: Vec<String> = lines(&workspace, "m.lock").iter().map(name).collect();
    assert_eq!(names, ["almalinux 5.14.0-70.13.1.el9_0.x86_64 #1 amd64"]);
}

/// Leap 16 kernels are in the release repository; Leap 15 has separate update repositories.
#[test]
fn leap_kernels_are_found_in_release_and_update_repositories() {
    let workspace = Workspace::new();
    let host = "download.opensuse.org";
    page(
        &workspace,
        &format!("{host}/distribution/leap"),
        &["15.6", "16.0"],
    );
    page(&workspace, &format!("{host}/update/leap"), &["15.6"]);
    let both = |place: &str, release: &str| {
        let package = |name: &str, machine: &str| {
            let (version, build) = release.split_once('-').unwrap();
            format!(
                "<package type=\"rpm\"><name>{name}</name><arch>{machine}</arch><version epoch=\"0\" ver=\"{version}\" rel=\"{build}\"/><location href=\"{machine}/{name}-{release}.{machine}.rpm\"/></package>"
            )
        };
        let packages =
            package("kernel-default-devel", "x86_64") + &package("kernel-devel", "noarch");
        let place = format!("{host}/{place}/repodata");
        workspace.put(
            &format!("{place}/primary.xml"),
            &format!("<metadata>{packages}</metadata>"),
        );
        workspace.put(
            &format!("{place}/repomd.xml"),
            "<repomd><data type=\"primary\"><location href=\"repodata/primary.xml\"/></data></repomd>",
        );
    };
    both("distribution/leap/16.0/repo/oss", "6.12.0-160000.5.1");
    both("update/leap/15.6/sle", "6.4.0-150600.23.7.3");
    both("update/leap/15.6/oss", "6.4.0-150600.23.14.2");
    let server = Server::of(workspace.path());
    let report = lock(&workspace, &server, "opensuse", &[host]);
    assert!(report.starts_with("exit 0"), "{report}");
    let names: Vec<String> = lines(&workspace, "m.lock").iter().map(name).collect();
    assert_eq!(
        names,
        [
            "opensuse 6.4.0-150600.23.7.3.x86_64 #1 amd64",
            "opensuse 6.4.0-150600.23.14.2.x86_64 #1 amd64",
            "opensuse 6.12.0-160000.5.1.x86_64 #1 amd64",
        ]
    );
}
