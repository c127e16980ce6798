//! Tests of Flatcar's channels: one directory for each release, with two text files.

use driverkit_matrix::digest::Sha256;

use support::locks::{lines, name};
use support::server::Server;
use support::workspace::Workspace;

fn packages(kernel: &str, gcc: &str) -> String {
    format!(
        "app-admin/etcd-wrapper-3.5.0::coreos\nsys-devel/gcc-{gcc}-r1::portage-stable\nsys-kernel/coreos-kernel-{kernel}::coreos\nsys-kernel/coreos-modules-{kernel}::coreos\n"
    )
}

const CONFIG: &str = "#\n# Linux kernel configuration\n#\nCONFIG_MODULES=y\n";

/// Writes a release of a channel.
fn release(workspace: &Workspace, folder: &str, kernel: &str) {
    let file = |name: &str| format!("{folder}/flatcar_production_image_{name}.txt");
    workspace.put(&file("packages"), &packages(kernel, "10.3.0"));
    workspace.put(&file("kernel_config"), CONFIG);
}

fn page(releases: &[&str]) -> String {
    let rows: Vec<String> = releases
        .iter()
        .map(|release| format!("<li><a href=\"./{release}/\">{release}/</a></li>"))
        .collect();
    format!(
        "<!DOCTYPE html><html><ul><li><a href=\"../\">..</a></li>{}</ul></html>",
        rows.join("\n")
    )
}

fn channels() -> (Workspace, Server) {
    let workspace = Workspace::new();
    workspace.put(
        "stable/amd64-usr/index.html",
        &page(&["3033.2.4", "3227.2.2", "current", "1000.1.0"]),
    );
    workspace.put("stable/arm64-usr/index.html", &page(&["3227.2.2"]));
    workspace.put(
        "alpha/amd64-usr/index.html",
        &page(&["3227.2.2", "3446.0.0"]),
    );
    workspace.put("alpha/arm64-usr/index.html", &page(&["3446.0.0"]));
    release(&workspace, "stable/amd64-usr/3033.2.4", "5.10.107");
    release(&workspace, "stable/amd64-usr/3227.2.2", "5.15.63");
    release(&workspace, "stable/arm64-usr/3227.2.2", "5.15.63");
    release(&workspace, "alpha/arm64-usr/3446.0.0", "5.15.80");
    let server = Server::with_tags(workspace.path());
    (workspace, server)
}

fn matrix(server: &Server, more: &str) -> String {
    let address = &server.address;
    format!(
        "drivers = [\"9.1.0+driver\"]\narchitectures = [\"amd64\", \"arm64\"]\n[[target]]\nname = \"flatcar\"\nkernels = {{ from = \"mirror\", urls = [\"{address}/stable\", \"{address}/alpha\"]{more} }}\n"
    )
}

#[test]
fn releases_have_kernel_compiler_and_configuration() {
    let (workspace, server) = channels();
    workspace.put("m.toml", &matrix(&server, ""));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    // One release of four lacks its files: it is skipped, counted and named.
    assert!(
        report.contains("flatcar's mirror: 1 skipped: ")
            && report.contains(
                "alpha/amd64-usr/3446.0.0/flatcar_production_image_packages.txt does not exist"
            ),
        "{report}"
    );
    let kernels = lines(&workspace, "m.lock");
    let names: Vec<String> = kernels.iter().map(name).collect();
    assert_eq!(
        names,
        [
            "flatcar 3033.2.4 #1 amd64",
            "flatcar 3227.2.2 #1 amd64",
            "flatcar 3227.2.2 #1 arm64",
            "flatcar 3446.0.0 #1 arm64",
        ]
    );
    assert_eq!(
        kernels[1]["upstream"],
        serde_json::json!({ "version": "5.15.63", "gcc": "10.3.0" })
    );
    let digest = Sha256::of(CONFIG).to_string();
    assert!(
        kernels
            .iter()
            .all(|kernel| kernel["config_sha256"] == *digest),
        "{kernels:?}"
    );
    assert!(
        workspace
            .path()
            .join(format!("m.configs/{digest}.zst"))
            .is_file()
    );
    let plan = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(
        plan.contains("4 kernels") && !plan.contains("warning"),
        "{plan}"
    );

    // The text files are read only for the selected releases.
    workspace.put(
        "m.toml",
        &matrix(&server, ", latest = 1, match = \"3033.*\""),
    );
    let before = server.requests();
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    assert_eq!(server.requests() - before, 4 + 2);
    let names: Vec<String> = lines(&workspace, "m.lock").iter().map(name).collect();
    assert_eq!(names, ["flatcar 3033.2.4 #1 amd64"]);
}

#[test]
fn wrong_files_keep_the_old_lock() {
    let (workspace, server) = channels();
    workspace.put("m.toml", &matrix(&server, ", match = \"3033.*\""));
    workspace.run(&["lock", "m.toml"]);
    let old = workspace.get("m.lock");
    let file = "stable/amd64-usr/3033.2.4/flatcar_production_image_packages.txt";
    for (path, text, expected) in [
        (
            file,
            "<!DOCTYPE html><h1>Welcome</h1>",
            "packages.txt is a web page",
        ),
        (
            file,
            "app-misc/one-1::two\n",
            "names no sys-kernel/coreos-kernel",
        ),
        (
            "stable/arm64-usr/index.html",
            "<html>Bad gateway</html>",
            "its page has no link to a release",
        ),
    ] {
        let before = workspace.get(path);
        workspace.put(path, text);
        let report = workspace.run(&["lock", "m.toml"]);
        assert!(
            report.starts_with("exit 2") && report.contains(expected),
            "{report}"
        );
        assert_eq!(workspace.get("m.lock"), old);
        workspace.put(path, &before);
    }
}
