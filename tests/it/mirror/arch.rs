//! Tests of Arch's archive: one directory for each package, whose page links to every version.

use support::locks::{lines, name, urls};
use support::server::Server;
use support::workspace::Workspace;

/// Returns a page as the archive's web server writes it: the shown names are cut, the links are complete.
fn page(files: &[&str]) -> String {
    let rows: Vec<String> = files
        .iter()
        .map(|file| {
            format!(
                "<a href=\"{file}\">{:.20}..&gt;</a> 01-Mar-2024 10:00  1M",
                file.replace("%3A", ":")
            )
        })
        .collect();
    format!(
        "<html><head><title>Index of /packages/l/</title></head><body><pre><a href=\"../\">../</a>\n{}\n</pre></body></html>",
        rows.join("\n")
    )
}

fn archive() -> (Workspace, Server) {
    let workspace = Workspace::new();
    for (package, files) in [
        (
            "linux-headers",
            &[
                "linux-headers-5.1.arch1-1-x86_64.pkg.tar.xz",
                "linux-headers-5.1.arch1-1-x86_64.pkg.tar.xz.sig",
                "linux-headers-6.0.6.arch1-1-x86_64.pkg.tar.xz",
                "linux-headers-6.0.6.arch1-1-x86_64.pkg.tar.zst",
                "linux-headers-3.0.1-1-i686.pkg.tar.xz",
                "linux-headers-3.0.1-1-x86_64.pkg.tar.xz",
            ][..],
        ),
        (
            "linux-lts-headers",
            &["linux-lts-headers-5.15.79-1-x86_64.pkg.tar.zst"],
        ),
        (
            "linux-zen-headers",
            &["linux-zen-headers-6.0.10.zen2-1-x86_64.pkg.tar.zst"],
        ),
        (
            "linux-hardened-headers",
            &["linux-hardened-headers-5.10.9.a-1-x86_64.pkg.tar.zst"],
        ),
        (
            "linux-aarch64-headers",
            &["linux-aarch64-headers-5.10.12-1-aarch64.pkg.tar.xz"],
        ),
    ] {
        workspace.put(&format!("packages/l/{package}/index.html"), &page(files));
    }
    let server = Server::of(workspace.path());
    (workspace, server)
}

fn matrix(server: &Server, more: &str) -> String {
    format!(
        "drivers = [\"9.1.0+driver\"]\narchitectures = [\"amd64\", \"arm64\"]\n[[target]]\nname = \"arch\"\nkernels = {{ from = \"mirror\", url = \"{}/packages/l\"{more} }}\n",
        server.address
    )
}

#[test]
fn every_version_of_every_package_is_found() {
    let (workspace, server) = archive();
    workspace.put("m.toml", &matrix(&server, ""));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    assert!(
        report.contains(
            "1 skipped because the version does not show that it belongs to linux-headers, such as 3.0.1-1"
        ),
        "{report}"
    );
    let kernels = lines(&workspace, "m.lock");
    let names: Vec<String> = kernels.iter().map(name).collect();
    assert_eq!(
        names,
        [
            "arch 5.1.arch1-1 #1 amd64",
            "arch 5.10.9.a-1 #1 amd64",
            "arch 5.10.12-1 #1 arm64",
            "arch 5.15.79-1 #1 amd64",
            "arch 6.0.6.arch1-1 #1 amd64",
            "arch 6.0.10.zen2-1 #1 amd64",
        ]
    );
    assert_eq!(
        urls(&kernels[4]),
        [format!(
            "{}/packages/l/linux-headers/linux-headers-6.0.6.arch1-1-x86_64.pkg.tar.zst",
            server.address
        )]
    );
    let plan = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(
        plan.contains("6 kernels") && !plan.contains("warning"),
        "{plan}"
    );

    workspace.put(
        "m.toml",
        &matrix(&server, ", flavours = [\"plain\"], latest = 1"),
    );
    workspace.run(&["lock", "m.toml"]);
    let names: Vec<String> = lines(&workspace, "m.lock").iter().map(name).collect();
    assert_eq!(
        names,
        ["arch 5.10.12-1 #1 arm64", "arch 6.0.6.arch1-1 #1 amd64"]
    );
}

#[test]
fn error_pages_keep_the_old_lock() {
    let (workspace, server) = archive();
    workspace.put("m.toml", &matrix(&server, ""));
    workspace.run(&["lock", "m.toml"]);
    let old = workspace.get("m.lock");
    let zen = "packages/l/linux-zen-headers/index.html";
    workspace.put(zen, "<html><h1>503 Service Unavailable</h1></html>");
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(
        report.starts_with("exit 2")
            && report.contains("its page has no link to linux-zen-headers"),
        "{report}"
    );
    std::fs::remove_file(workspace.path().join(zen)).unwrap();
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(
        report.starts_with("exit 2") && report.contains("/linux-zen-headers/ answered 404"),
        "{report}"
    );
    assert_eq!(workspace.get("m.lock"), old);
}
