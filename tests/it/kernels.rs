//! Tests of the command `kernels`, through the binary.

use insta::assert_snapshot;
use support::server::Server;
use support::workspace::Workspace;

fn matrix(name: &str, kernels: &str) -> String {
    format!(
        "drivers = [\"8.1.0+driver\"]\narchitectures = [\"amd64\", \"arm64\"]\n[[target]]\nname = \"{name}\"\nkernels = {kernels}\n"
    )
}

#[test]
fn kernels_of_a_matrix_are_listed_and_their_urls_are_checked() {
    let workspace = Workspace::new()
        .with(
            "m.toml",
            &matrix("*", r#"{ from = "csv", path = "k.csv" }"#),
        )
        .with("k.csv", "target,release,arch,headers\ncentos,4.18.0-80.el8.x86_64,amd64,kernel-devel-4.18.0-80.el8.x86_64.rpm\ncentos,4.18.0-90.el8.x86_64,amd64,kernel-devel-4.18.0-90.el8.x86_64.rpm\nol,4.18.0-80.el8.x86_64,amd64,\n")
        .with("kernel-devel-4.18.0-90.el8.x86_64.rpm", "four");
    assert_snapshot!(workspace.run(&["kernels", "centos", "--matrix", "m.toml", "--match", ">=4"]), @r"
    exit 0
    --- out
    RELEASE               VERSION  ARCH   PACKAGES  SIZE  SOURCE
    4.18.0-80.el8.x86_64  1        amd64         1        csv
    4.18.0-90.el8.x86_64  1        amd64         1        csv

    2 kernels
    ");
    assert_snapshot!(workspace.run(&["kernels", "ol", "--matrix", "m.toml", "--format", "csv"]), @r"
    exit 0
    --- out
    target,kernel_release,kernel_version,architecture,package,size,sha256,source
    ol,4.18.0-80.el8.x86_64,1,amd64,,,,csv
    ");
    let headers = ["kernels", "centos", "--matrix", "m.toml", "--headers"];
    assert_snapshot!(workspace.run(&[&headers[..], &["4.18.0-80.el8.x86_64"]].concat()), @r"
    exit 1
    --- out
    ARCH   URL                                    ANSWER
    amd64  kernel-devel-4.18.0-80.el8.x86_64.rpm  does not exist
    ");
    let report =
        workspace.run(&[&headers[..], &["4.18.0-90.el8.x86_64", "--format", "json"]].concat());
    assert!(
        report.starts_with("exit 0") && report.contains("\"is_there\": true"),
        "{report}"
    );
    let report = workspace.run(&[&headers[..], &["4.18.0-91"]].concat());
    assert!(report.starts_with("exit 2"), "{report}");
}

/// Returns a workspace whose `files` are on the `hosts`, and the server that stands for these hosts.
fn hosts(target: &str, hosts: &[&str], files: &[&str]) -> (Workspace, Server) {
    let workspace = Workspace::new().with("none.csv", "release\n");
    for file in files {
        workspace.put(file, "content");
    }
    let server = Server::of(workspace.path());
    let mirrors: Vec<String> = hosts
        .iter()
        .flat_map(|host| ["http", "https"].map(|scheme| (scheme, host)))
        .map(|(scheme, host)| format!("\"{scheme}://{host}\" = [\"{}/{host}\"]\n", server.address))
        .collect();
    let text = matrix(target, "{ from = \"csv\", path = \"none.csv\" }");
    workspace.put(
        "m.toml",
        &format!("{text}[mirrors]\noffline = true\n{}", mirrors.concat()),
    );
    (workspace, server)
}

/// Reduces the padding between the columns of a table to two spaces.
fn narrow(table: &str) -> String {
    let narrow = |line: &str| {
        let cells = line.split("  ").map(str::trim);
        let cells: Vec<&str> = cells.filter(|cell| !cell.is_empty()).collect();
        cells.join("  ")
    };
    table.lines().map(narrow).collect::<Vec<_>>().join("\n")
}

#[test]
fn all_computed_urls_are_tried() {
    let release = "5.14.0-284.11.1.el9_2.x86_64";
    let place = "download.rockylinux.org/vault/rocky/9.2/AppStream/x86_64/os/Packages/k";
    let (workspace, server) = hosts(
        "rocky",
        &["download.rockylinux.org"],
        &[&format!("{place}/kernel-devel-{release}.rpm")],
    );
    let headers = [
        "kernels",
        "rocky",
        "--matrix",
        "m.toml",
        "--headers",
        release,
    ];
    let report = workspace.run(&[&headers[..], &["--arch", "amd64"]].concat());
    assert_snapshot!(narrow(&report.replace(&server.address, "SERVER")), @r"
    exit 0
    --- out
    ARCH  URL  ANSWER
    amd64  SERVER/download.rockylinux.org/pub/rocky/9.2/AppStream/x86_64/os/Packages/k/kernel-devel-5.14.0-284.11.1.el9_2.x86_64.rpm  answered 404
    amd64  SERVER/download.rockylinux.org/pub/rocky/9/AppStream/x86_64/os/Packages/k/kernel-devel-5.14.0-284.11.1.el9_2.x86_64.rpm  answered 404
    amd64  SERVER/download.rockylinux.org/vault/rocky/9.2/AppStream/x86_64/os/Packages/k/kernel-devel-5.14.0-284.11.1.el9_2.x86_64.rpm  exists
    amd64  SERVER/download.rockylinux.org/vault/rocky/9/AppStream/x86_64/os/Packages/k/kernel-devel-5.14.0-284.11.1.el9_2.x86_64.rpm  answered 404
    ");
    std::fs::remove_file(
        workspace
            .path()
            .join(format!("{place}/kernel-devel-{release}.rpm")),
    )
    .unwrap();
    let report = workspace.run(&[&headers[..], &["--format", "csv"]].concat());
    assert!(
        report.starts_with("exit 1") && !report.contains(",true,"),
        "{report}"
    );
}

/// Each of the two packages has many possible URLs, whose names contain the kernel version.
#[test]
fn each_package_of_a_kernel_is_requested() {
    let pool = "security.ubuntu.com/ubuntu/pool/main/l/linux-aws-5.11";
    let files = [
        "linux-headers-5.11.0-1029-aws_5.11.0-1029.32~20.04.1_amd64.deb",
        "linux-aws-5.11-headers-5.11.0-1029_5.11.0-1029.32~20.04.1_all.deb",
    ];
    let paths = files.map(|file| format!("{pool}/{file}"));
    let (workspace, _server) = hosts(
        "ubuntu-aws",
        &[
            "security.ubuntu.com",
            "mirrors.edge.kernel.org",
            "archive.ubuntu.com",
        ],
        &paths.each_ref().map(String::as_str),
    );
    let command = [
        "kernels",
        "ubuntu-aws",
        "--matrix",
        "m.toml",
        "--headers",
        "5.11.0-1029-aws",
        "--version",
        "32~20.04.1",
        "--arch",
        "amd64",
        "--format",
        "json",
    ];
    let report = workspace.run(&command);
    let (_, output) = report.split_once("exit 0\n--- out\n").unwrap();
    let answers: serde_json::Value = serde_json::from_str(output).unwrap();
    let answers = answers.as_array().unwrap();
    let (there, absent): (Vec<_>, Vec<_>) = answers
        .iter()
        .partition(|answer| answer["is_there"] == true);
    let urls: Vec<&str> = there
        .iter()
        .map(|one| one["url"].as_str().unwrap())
        .collect();
    assert_eq!(urls.len(), 2);
    for (url, path) in urls.iter().zip(&paths) {
        assert!(url.ends_with(path.as_str()), "{urls:?}");
    }
    assert!(absent.len() > 10, "{absent:?}");
    assert!(
        absent.iter().all(|one| one["answer"] == "answered 404"),
        "{absent:?}"
    );
    // A single one of the two packages is not enough.
    std::fs::remove_file(workspace.path().join(&paths[1])).unwrap();
    assert!(workspace.run(&command).starts_with("exit 1"));
}

/// If the URLs follow from the release, no index is read.
#[test]
fn no_index_is_read_if_the_urls_are_known() {
    let release = "5.14.0-284.11.1.el9_2.x86_64";
    let command = ["--offline", "kernels", "rocky", "--headers", release];
    let report = Workspace::new().run(&command);
    assert!(report.starts_with("exit 1"), "{report}");
    assert_eq!(
        report
            .matches("was not requested: only mirrors are allowed")
            .count(),
        4,
        "{report}"
    );
    assert!(!report.contains("repository 1 of"), "{report}");
}

#[test]
fn releases_without_computable_urls_are_refused() {
    let (workspace, _server) = hosts("debian", &["ftp.debian.org"], &[]);
    let command = ["kernels", "debian", "--matrix", "m.toml", "--headers"];
    for (release, expected) in [
        (
            "6.1.0-18-amd64",
            "no source names the kernel `6.1.0-18-amd64` of debian",
        ),
        ("6.1 x", "invalid kernel release `6.1 x`"),
    ] {
        let report = workspace.run(&[&command[..], &[release]].concat());
        assert!(
            report.starts_with("exit 2") && report.contains(expected),
            "{report}"
        );
    }
}
