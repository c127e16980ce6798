//! Third-party builder images in a real registry: listed, chosen, pulled with a login, used for a build.
//!
//! `scripts/test.sh` prepares the requirements: a Docker daemon, Debian's docker-registry, the builder image
//! `bookworm`, the driver sources in `vendor/`, and the mirror's URL in `DRIVERKIT_MATRIX_MIRROR_DEBIAN`.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, PushImageOptionsBuilder, RemoveImageOptionsBuilder,
};
use driverkit_matrix::executor::{DockerExecutor, Executor as _};
use driverkit_matrix::fs;
use driverkit_matrix::image::BuiltImage;
use driverkit_matrix::report::read_manifest;
use futures_util::TryStreamExt as _;
use support::real::{images, program, vendor};

const USER: &str = "builder";
const PASSWORD: &str = "secret";
/// The output of `htpasswd -B` for the user and the password.
const HTPASSWD: &str = "builder:$2y$05$lUCOMCmt/b8ZtVsJDNu4fuSiHA3UhnpF.Qoyhu9h/nVp6HmoY2kXC\n";

/// A registry on its own port that requires a login; stopped on drop.
struct Registry {
    process: Child,
    host: String,
    _folder: tempfile::TempDir,
}

impl Registry {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap().port()
        };
        let host = format!("127.0.0.1:{port}");
        let path = |name: &str| folder.path().join(name);
        fs::write(&path("htpasswd"), HTPASSWD).unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: '{host}'}}\n\
             storage: {{filesystem: {{rootdirectory: '{}'}}}}\n\
             auth: {{htpasswd: {{realm: test, path: '{}'}}}}\n",
            path("storage").display(),
            path("htpasswd").display()
        );
        fs::write(&path("config.yml"), config).unwrap();
        let mut process = Command::new("docker-registry")
            .arg("serve")
            .arg(path("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("these tests need package docker-registry: run scripts/setup.sh");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let is_ready = lines.any(|line| line.unwrap().contains("listening on"));
        assert!(is_ready, "the registry is not ready");
        // The registry writes more lines and must not block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            process,
            host,
            _folder: folder,
        }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Parts of our own image that no module for amd64 needs: without them the test is three times as fast.
const LEFT_OUT: &[&str] = &[
    "usr/lib/llvm-14/",
    "usr/lib/x86_64-linux-gnu/libLLVM",
    "usr/lib/x86_64-linux-gnu/libclang",
    "usr/lib/x86_64-linux-gnu/libicu",
    "usr/lib/x86_64-linux-gnu/libz3",
    "usr/lib/gcc-cross/",
    "usr/aarch64-linux-gnu/",
    "usr/lib/gcc/x86_64-linux-gnu/11/",
    "usr/bin/aarch64-",
    "usr/include/c++/",
    "usr/share/perl/",
    "var/",
];

/// Returns an image in driverkit's format, made from our own image with its compiler also as `/usr/bin/gcc-12.0.0`.
fn image_of(archive: &Path) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut archive = tar::Archive::new(std::fs::File::open(archive).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let path = path.trim_start_matches("./").to_owned();
        if path.is_empty() || LEFT_OUT.iter().any(|prefix| path.starts_with(prefix)) {
            continue;
        }
        let mut header = entry.header().clone();
        match entry.link_name().unwrap().map(std::borrow::Cow::into_owned) {
            Some(link) => builder.append_link(&mut header, &path, link).unwrap(),
            None => builder.append_data(&mut header, &path, &mut entry).unwrap(),
        }
    }
    builder.into_inner().unwrap()
}

/// Pushes the image, and removes it from this machine.
async fn publish(archive: &Path, repository: &str, tag: &str) {
    let docker = Docker::connect_with_defaults().unwrap();
    let options = CreateImageOptionsBuilder::new()
        .from_src("-")
        .repo(repository)
        .tag(tag)
        .build();
    let body = bollard::body_full(image_of(archive).into());
    let imported = docker.create_image(Some(options), Some(body), None);
    imported.try_collect::<Vec<_>>().await.unwrap();
    let credentials = DockerCredentials {
        username: Some(USER.to_owned()),
        password: Some(PASSWORD.to_owned()),
        ..DockerCredentials::default()
    };
    let options = PushImageOptionsBuilder::new().tag(tag).build();
    let pushed = docker.push_image(repository, Some(options), Some(credentials));
    pushed.try_collect::<Vec<_>>().await.unwrap();
    remove(&docker, &format!("{repository}:{tag}")).await;
}

async fn remove(docker: &Docker, image: &str) {
    let options = RemoveImageOptionsBuilder::new().force(true).build();
    docker
        .remove_image(image, Some(options), None)
        .await
        .unwrap();
}

/// Runs the program, which must exit with `code`; returns the output of both streams.
fn said(command: &mut assert_cmd::Command, code: i32) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text.into_owned()
}

const MATRIX: &str = r#"
drivers = ["0.20.0+driver"]
architectures = ["amd64"]
artifacts = ["module"]

[[target]]
name = "debian"
kernels = { from = "mirror", suites = ["bookworm"], flavours = ["plain"], latest = 1 }

[driver."0.20.0+driver"]
source = { path = "VENDOR/falcosecurity-libs-0.20.0" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_a_private_registry_is_listed_pulled_and_used() {
    let registry = Registry::start();
    let host = registry.host.clone();
    let repository = format!("{host}/driverkit-builder");
    let tag = "any-x86_64_gcc12.0.0-test";
    let image = format!("{repository}:{tag}");
    let own = BuiltImage::load(&images(), "bookworm").unwrap();
    let own = own.expect("this test needs the builder image bookworm: run scripts/test.sh");
    publish(&own.archive, &repository, tag).await;
    let login = [
        "--registry-plain-http",
        "--registry-name",
        &host,
        "--registry-user",
        USER,
        "--registry-password",
    ];
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let vendor = vendor();
    fs::write(
        &folder.join("matrix.toml"),
        MATRIX.replace("VENDOR", &vendor.display().to_string()),
    )
    .unwrap();

    // Without a login or with a wrong one, the registry lists nothing.
    let list = |words: &[&str]| {
        let mut command = program(folder);
        command.args([
            "images",
            "list",
            "--builderimage",
            "auto:test",
            "--builderrepo",
            &repository,
        ]);
        command.args(words);
        command
    };
    let text = said(&mut list(&["--registry-plain-http"]), 3);
    assert!(text.contains("refuses to answer without a login"), "{text}");
    let text = said(list(&login).arg("wrong"), 3);
    assert!(text.contains("refuses the login of builder"), "{text}");
    let text = said(list(&login).arg(PASSWORD), 0);
    assert!(
        text.contains(&image) && text.contains("not used yet"),
        "{text}"
    );

    let run = |out: &str| {
        let mut command = program(folder);
        command.args(["run", "matrix.toml", "--executor", "docker", "--out", out]);
        command.args([
            "--builderimage",
            "auto:test",
            "--builderrepo",
            &repository,
            "--builderrepo",
            "own",
        ]);
        command.args(login).arg(PASSWORD);
        command
    };
    let text = said(&mut run("out"), 0);
    assert!(text.contains("built"), "{text}");
    let manifest = read_manifest(&folder.join("out/manifest.json")).unwrap();
    let toolchain = manifest.builds[0].toolchain.clone().unwrap();
    assert_eq!(
        (toolchain.image.as_str(), toolchain.gcc_used.as_str()),
        (image.as_str(), "12.0.0")
    );
    assert_ne!(toolchain.image_sha256, own.identity());
    let executor = DockerExecutor::connect().await.unwrap();
    let by_layers = executor.pull(&image, false).await.unwrap();
    assert_eq!(toolchain.image_sha256, by_layers);

    // Cached results need neither the registry nor the image.
    let docker = Docker::connect_with_defaults().unwrap();
    remove(&docker, &image).await;
    drop(registry);
    let text = said(&mut run("out"), 0);
    assert!(text.contains("1 cached"), "{text}");
    let manifest = read_manifest(&folder.join("out/manifest.json")).unwrap();
    assert_eq!(manifest.executor.name, "none");
}
