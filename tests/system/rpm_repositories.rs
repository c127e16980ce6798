//! Kernels from rpm repositories: real ones, created by rpmbuild and `createrepo_c`, and broken ones.

use std::path::Path;
use std::process::Command;

use driverkit_matrix::digest::Sha256;
use httptest::matchers::request;
use httptest::responders::status_code;
use httptest::{Expectation, Server};

use support::locks;
use support::workspace::Workspace;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

/// Creates a package with one file in `folder`.
fn build_rpm(folder: &Path, name: &str, version: &str, release: &str, architecture: &str) {
    let spec = folder.join("one.spec");
    let text = format!(
        "Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: one\nLicense: none\n%description\none\n%install\nmkdir -p %{{buildroot}}/usr/src/{name}\necho {version} >%{{buildroot}}/usr/src/{name}/Makefile\n%files\n/usr/src/{name}/Makefile\n"
    );
    driverkit_matrix::fs::write(&spec, text).unwrap();
    let define = |name: &str, value: &str| format!("{name} {value}");
    run(Command::new("rpmbuild")
        .args(["-bb", "--quiet", "--target", architecture])
        .arg("--define")
        .arg(define("_topdir", &folder.join("build").to_string_lossy()))
        .arg("--define")
        .arg(define("_rpmdir", &folder.to_string_lossy()))
        .arg("--define")
        .arg("_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm")
        .arg(&spec));
    std::fs::remove_file(&spec).unwrap();
    drop(std::fs::remove_dir_all(folder.join("build")));
}

/// Compresses the index with zstd, which not every `createrepo_c` supports.
fn recompress(repository: &Path) {
    let path = repository.join("repodata/repomd.xml");
    let text = std::fs::read_to_string(&path).unwrap();
    let (start, rest) = text.split_once("<data type=\"primary\">").unwrap();
    let (primary, end) = rest.split_once("</data>").unwrap();
    let (_, href) = primary.split_once("href=\"").unwrap();
    let (href, _) = href.split_once('"').unwrap();
    let compressed = std::fs::read(repository.join(href)).unwrap();
    let plain = flate2::read::MultiGzDecoder::new(compressed.as_slice());
    let bytes = zstd::encode_all(plain, 3).unwrap();
    let digest = Sha256::of(&bytes);
    driverkit_matrix::fs::write(&repository.join("repodata/primary.xml.zst"), &bytes).unwrap();
    let data = format!(
        "<data type=\"primary\"><checksum type=\"sha256\">{digest}</checksum><location href=\"repodata/primary.xml.zst\"/><size>{}</size></data>",
        bytes.len()
    );
    driverkit_matrix::fs::write(&path, format!("{start}{data}{end}")).unwrap();
}

fn matrix(target: &str, urls: &str) -> String {
    format!(
        "drivers = [\"8.1.0+driver\"]\narchitectures = [\"amd64\", \"arm64\"]\n[[target]]\nname = \"{target}\"\nkernels = {{ from = \"mirror\", urls = {urls} }}\n"
    )
}

/// Returns the name of each kernel, without its target, and the URLs and digests of its packages.
fn kernels(workspace: &Workspace) -> Vec<(String, Vec<(String, String)>)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let kernel = |line: &serde_json::Value| {
        let name = locks::name(line);
        let (_, name) = name.split_once(' ').unwrap();
        let packages = line["packages"].as_array().unwrap().iter();
        let packages = packages.map(|package| (text(&package["url"]), text(&package["sha256"])));
        (name.to_owned(), packages.collect())
    };
    locks::lines(workspace, "m.lock")
        .iter()
        .map(kernel)
        .collect()
}

/// Every compression of `createrepo_c`, and its databases, give the same kernels.
#[test]
fn real_repositories_are_read_in_all_compressions() {
    let workspace = Workspace::new();
    let repository = workspace.path().join("repository");
    std::fs::create_dir_all(&repository).unwrap();
    for (name, release, architecture) in [
        ("kernel-devel", "80.el8", "x86_64"),
        ("kernel-devel", "80.1.2.el8_0", "x86_64"),
        ("kernel-devel", "80.el8", "aarch64"),
        ("kernel-headers", "80.el8", "x86_64"),
    ] {
        build_rpm(&repository, name, "4.18.0", release, architecture);
    }
    let url = format!("file://{}", repository.display());
    workspace.put("m.toml", &matrix("centos", &format!("[{url:?}]")));
    let expected: Vec<_> = [
        (
            "4.18.0-80.1.2.el8_0.x86_64 #1 amd64",
            "kernel-devel-4.18.0-80.1.2.el8_0.x86_64.rpm",
        ),
        (
            "4.18.0-80.el8.aarch64 #1 arm64",
            "kernel-devel-4.18.0-80.el8.aarch64.rpm",
        ),
        (
            "4.18.0-80.el8.x86_64 #1 amd64",
            "kernel-devel-4.18.0-80.el8.x86_64.rpm",
        ),
    ]
    .map(|(kernel, file)| {
        let content = std::fs::read(repository.join(file)).unwrap();
        let package = (format!("{url}/{file}"), Sha256::of(content).to_string());
        (kernel.to_owned(), vec![package])
    })
    .into();
    for options in [
        &["--general-compress-type=gz", "--no-database"][..],
        &["--general-compress-type=xz", "--no-database"],
        &["zstd"],
        &["--general-compress-type=bz2", "--no-database"],
        &["--database", "--compress-type=bz2"],
        &["--database", "--compress-type=gz"],
        &["--database", "--compress-type=xz"],
    ] {
        let is_zstd = options == ["zstd"];
        let given = if is_zstd {
            &["--no-database"][..]
        } else {
            options
        };
        run(Command::new("createrepo_c")
            .arg("--quiet")
            .args(given)
            .arg(&repository));
        if is_zstd {
            recompress(&repository);
        }
        if options.contains(&"--database") {
            // Only the database is left, as in old repositories of Amazon.
            let path = repository.join("repodata/repomd.xml");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains("primary_db"), "{text}");
            driverkit_matrix::fs::write(
                &path,
                text.replace("type=\"primary\"", "type=\"other_xml\""),
            )
            .unwrap();
        }
        drop(std::fs::remove_file(workspace.path().join("m.lock")));
        let report = workspace.run(&["lock", "m.toml"]);
        assert!(report.starts_with("exit 0"), "{options:?}: {report}");
        let mut found = kernels(&workspace);
        found.sort();
        assert_eq!(found, expected, "{options:?}");
    }
    // For rpm, 80.1.2 is newer than 80.el8.
    let latest = workspace.get("m.toml").replace(" }\n", ", latest = 1 }\n");
    workspace.put("m.toml", &latest);
    workspace.run(&["lock", "m.toml"]);
    let found: Vec<String> = kernels(&workspace)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(
        found,
        [
            "4.18.0-80.1.2.el8_0.x86_64 #1 amd64",
            "4.18.0-80.el8.aarch64 #1 arm64"
        ]
    );
}

#[test]
fn related_packages_are_combined_into_kernels() {
    let workspace = Workspace::new();
    let repository = workspace.path().join("repository");
    std::fs::create_dir_all(&repository).unwrap();
    build_rpm(
        &repository,
        "kernel-default-devel",
        "5.14.21",
        "150400.22.1",
        "x86_64",
    );
    build_rpm(
        &repository,
        "kernel-devel",
        "5.14.21",
        "150400.22.1",
        "noarch",
    );
    build_rpm(
        &repository,
        "kernel-default-devel",
        "5.14.21",
        "150400.99.1",
        "x86_64",
    );
    build_rpm(
        &repository,
        "kernel-uek-devel",
        "5.4.17",
        "2136.el8uek",
        "x86_64",
    );
    build_rpm(&repository, "linux-devel", "5.10.118", "10.ph4", "x86_64");
    run(Command::new("createrepo_c").arg("--quiet").arg(&repository));
    let url = format!("[\"file://{}\"]", repository.display());
    for (target, expected, packages) in [
        ("opensuse", "5.14.21-150400.22.1.x86_64 #1 amd64", 2),
        ("ol", "5.4.17-2136.el8uek.x86_64 #2 amd64", 1),
        ("photon", "5.10.118-10.ph4 #1 amd64", 1),
    ] {
        workspace.put("m.toml", &matrix(target, &url));
        drop(std::fs::remove_file(workspace.path().join("m.lock")));
        let report = workspace.run(&["lock", "m.toml"]);
        assert!(report.starts_with("exit 0"), "{report}");
        let found = kernels(&workspace);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            (found[0].0.as_str(), found[0].1.len()),
            (expected, packages)
        );
        let says_so = report.contains("150400.99.1.x86_64.rpm is skipped");
        assert_eq!(says_so, target == "opensuse", "{report}");
    }
}

fn answer(server: &Server, path: &str, body: impl Into<Vec<u8>>) {
    let path = path.to_owned();
    server.expect(
        Expectation::matching(request::path(path))
            .times(..)
            .respond_with(status_code(200).body(body.into())),
    );
}

fn missing(server: &Server, path: &str) {
    let path = path.to_owned();
    server.expect(
        Expectation::matching(request::path(path))
            .times(..)
            .respond_with(status_code(404)),
    );
}

#[test]
fn mirror_lists_and_directory_pages_are_followed() {
    let server = Server::run();
    let base = server.url_str("/repository/");
    answer(
        &server,
        "/x86_64/mirror.list",
        format!("# mirrors\n{base}$basearch\nhttp://other/\n"),
    );
    missing(&server, "/repository/x86_64/repodata/repomd.xml");
    answer(
        &server,
        "/repository/x86_64/",
        "<html><a href=\"../\">up</a><a href=\"kernel-devel-5.10.102-99.473.amzn2.x86_64.rpm\">x</a><a href=\"kernel-5.10.102-99.473.amzn2.x86_64.rpm\">x</a></html>",
    );
    let urls = format!("[{:?}]", server.url_str("/$arch/mirror.list"));
    let workspace = Workspace::new().with(
        "m.toml",
        &matrix("amazonlinux2", &urls).replace(", \"arm64\"", ""),
    );
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    let file = "x86_64/kernel-devel-5.10.102-99.473.amzn2.x86_64.rpm";
    assert_eq!(
        kernels(&workspace),
        [(
            "5.10.102-99.473.amzn2.x86_64 #1 amd64".to_owned(),
            vec![(format!("{base}{file}"), String::new())]
        )]
    );
}

/// Wrong responses in place of an index: the message names them, and the old lock stays.
#[test]
fn broken_repositories_keep_the_old_lock() {
    let old = "{\"lock\":1,\"sources\":{}}\n";
    let digest = Sha256::of("other");
    let repomd = |checksum: &str| {
        format!(
            "<repomd><data type=\"primary\"><checksum type=\"sha256\">{checksum}</checksum><location href=\"repodata/primary.xml\"/></data></repomd>"
        )
    };
    let bomb =
        "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;\">]><metadata>&b;</metadata>";
    let page = "<!DOCTYPE html><html><h1>Welcome</h1></html>";
    for (repomd, primary, expected) in [
        (page.to_owned(), page, "is a web page"),
        ("<repomd>".to_owned(), "", "lists no primary index"),
        ("<repomd><data".to_owned(), "", "is broken"),
        (
            repomd(&digest.to_string()),
            "<metadata></metadata>",
            "but its repository lists",
        ),
        (repomd("abc"), "", "is not a SHA-256 digest"),
        (
            repomd(&Sha256::of(bomb).to_string()),
            bomb,
            "a DOCTYPE is not allowed",
        ),
        (
            repomd(&Sha256::of("<metadata>").to_string()),
            "<metadata>",
            "unexpected end of file",
        ),
    ] {
        let server = Server::run();
        answer(&server, "/r/repodata/repomd.xml", repomd);
        answer(&server, "/r/repodata/primary.xml", primary);
        let workspace = Workspace::new()
            .with(
                "m.toml",
                &matrix("centos", &format!("[{:?}]", server.url_str("/r"))),
            )
            .with("m.lock", old);
        let report = workspace.run(&["lock", "m.toml"]);
        assert!(!report.starts_with("exit 0"), "{report}");
        assert!(report.contains(expected), "{expected}: {report}");
        assert_eq!(workspace.get("m.lock"), old);
    }
    // An error page instead of a directory page, and endless redirects.
    let server = Server::run();
    missing(&server, "/r/repodata/repomd.xml");
    answer(
        &server,
        "/r/",
        "<html><h1>500 Internal Server Error</h1></html>",
    );
    let url = server.url_str("/loop/repodata/repomd.xml");
    server.expect(
        Expectation::matching(request::path("/loop/repodata/repomd.xml"))
            .times(..)
            .respond_with(status_code(302).insert_header("Location", url)),
    );
    for (path, expected) in [
        ("/r", "its page has no link to an rpm"),
        ("/loop", "redirects too often"),
    ] {
        let workspace = Workspace::new()
            .with(
                "m.toml",
                &matrix("centos", &format!("[{:?}]", server.url_str(path))),
            )
            .with("m.lock", old);
        let report = workspace.run(&["lock", "m.toml"]);
        assert!(
            !report.starts_with("exit 0") && report.contains(expected),
            "{report}"
        );
        assert_eq!(workspace.get("m.lock"), old);
    }
}

/// The second refresh finds everything in the cache, so only headers are transferred.
#[test]
fn a_second_lock_transfers_headers_only() {
    let server = Server::run();
    let primary = "<metadata><package type=\"rpm\"><name>kernel-devel</name><arch>x86_64</arch><version epoch=\"0\" ver=\"4.18.0\" rel=\"80.el8\"/><location href=\"a.rpm\"/></package></metadata>";
    let repomd = format!(
        "<repomd><data type=\"primary\"><checksum type=\"sha256\">{}</checksum><location href=\"repodata/primary.xml\"/></data></repomd>",
        Sha256::of(primary)
    );
    let list = r#"{"centos": [{"kernelrelease": "5.4.1-1", "target": "centos"}]}"#;
    let conditional = |path: &str, body: &str| {
        let (asked, path) = (path.to_owned(), path.to_owned());
        let not_modified = httptest::matchers::all_of![
            request::path(asked),
            request::headers(httptest::matchers::contains(("if-none-match", "\"one\""))),
        ];
        let first = status_code(200)
            .insert_header("ETag", "\"one\"")
            .body(body.to_owned());
        // The expectation that was added last is matched first.
        server.expect(
            Expectation::matching(request::path(path))
                .times(1)
                .respond_with(first),
        );
        server.expect(
            Expectation::matching(not_modified)
                .times(1)
                .respond_with(status_code(304)),
        );
    };
    conditional("/r/repodata/repomd.xml", &repomd);
    conditional("/list.json", list);
    server.expect(
        Expectation::matching(request::path("/r/repodata/primary.xml"))
            .times(1)
            .respond_with(status_code(200).body(primary)),
    );
    let kernels = format!(
        "[{{ from = \"mirror\", urls = [{:?}] }}, {{ from = \"kernel-crawler\", url = {{ amd64 = {:?} }} }}]",
        server.url_str("/r"),
        server.url_str("/list.json")
    );
    let workspace = Workspace::new().with(
        "m.toml",
        &format!("drivers = [\"x\"]\n[[target]]\nname = \"centos\"\nkernels = {kernels}\n"),
    );
    let first = workspace.run(&["lock", "m.toml"]);
    assert!(first.starts_with("exit 0"), "{first}");
    let lock = workspace.get("m.lock");
    assert_eq!(lock.lines().count(), 3, "{lock}");
    let second = workspace.run(&["lock", "--check", "m.toml"]);
    assert!(second.starts_with("exit 0"), "{second}");
}

#[test]
fn targets_without_repositories_are_refused() {
    let workspace = Workspace::new().with("m.toml", &matrix("talos", "[]"));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(
        report.starts_with("exit 2") && report.contains("mirrors of talos are not supported"),
        "{report}"
    );
}
