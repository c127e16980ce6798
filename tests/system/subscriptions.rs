//! Kernels whose packages need a subscription: the real package managers, dnf and zypper, download real rpms from a
//! repository on this machine, in images that stand for the user's; a module is built from them.
//!
//! `scripts/test.sh` prepares the requirements: a Docker daemon, `createrepo_c`, rpmbuild, the builder image
//! `bookworm`, the driver sources and apt's mirror. The two images are built once, from `tests/system/subscriptions/`.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use assert_cmd::Command;
use bollard::Docker;
use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder};
use driverkit_matrix::fs;
use driverkit_matrix::report::{BuildRecord, read_manifest};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use crate::targets::distributions::{Format, Layout, Package};
use crate::targets::{content, packages};
use support::host::run;
use support::server::Server;

const XZ: Format = Format::Rpm("w1.xzdio");

/// The content of all packages.
static CONTENT: OnceLock<content::Content> = OnceLock::new();

/// A distribution with a subscription.
struct Subscribed {
    target: &'static str,
    release: &'static str,
    uts_release: &'static str,
    packages: &'static [Package],
    /// The image that stands for the user's, described in `tests/system/subscriptions/`.
    image: &'static str,
    /// The file in which the package manager looks for repositories.
    repositories: &'static str,
    manager: &'static str,
    /// The package names that the package manager is asked to install.
    names: &'static [&'static str],
}

const RED_HAT: Subscribed = Subscribed {
    target: "redhat",
    release: "5.14.0-362.8.1.el9_3.x86_64",
    uts_release: "5.14.0-362.8.1.el9_3.x86_64",
    packages: &[Package {
        address: "http://redhat/kernel-devel-5.14.0-362.8.1.el9_3.x86_64.rpm",
        format: XZ,
        layout: Layout::Whole,
        folder: "usr/src/kernels/5.14.0-362.8.1.el9_3.x86_64",
        uts_release: "5.14.0-362.8.1.el9_3.x86_64",
    }],
    image: "enterprise",
    repositories: "etc/yum.repos.d/here.repo",
    manager: "yum",
    names: &["kernel-devel-0:5.14.0-362.8.1.el9_3.x86_64"],
};

const SUSE: Subscribed = Subscribed {
    target: "sles",
    release: "5.14.21-150500.55.7.1.x86_64",
    uts_release: "5.14.21-150500.55.7-default",
    packages: &[
        Package {
            address: "http://sles/kernel-default-devel-5.14.21-150500.55.7.1.x86_64.rpm",
            format: XZ,
            layout: Layout::Object {
                sources: "../../../linux-5.14.21-150500.55.7",
            },
            folder: "usr/src/linux-5.14.21-150500.55.7-obj/x86_64/default",
            uts_release: "5.14.21-150500.55.7-default",
        },
        Package {
            address: "http://sles/kernel-devel-5.14.21-150500.55.7.1.noarch.rpm",
            format: XZ,
            layout: Layout::Common,
            folder: "usr/src/linux-5.14.21-150500.55.7",
            uts_release: "",
        },
    ],
    image: "suse",
    repositories: "etc/zypp/repos.d/here.repo",
    manager: "zypper",
    names: &[
        "kernel-default-devel=5.14.21-150500.55.7.1",
        "kernel-devel=5.14.21-150500.55.7.1",
    ],
};

fn here() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("subscriptions")
}

fn program(folder: &Path) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let images = std::env::var_os("DRIVERKIT_MATRIX_IMAGES").map_or_else(
        || {
            cache
                .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"))
                .join("driverkit-matrix/images")
        },
        PathBuf::from,
    );
    let mut command = Command::cargo_bin("driverkit-matrix").unwrap();
    command
        .current_dir(folder)
        .env("DRIVERKIT_MATRIX_IMAGES", images)
        .env("DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS", root.join("images"))
        .env("DRIVERKIT_MATRIX_CACHE", folder.join("cache"));
    command
}

/// Runs the program, which must exit with `code`; returns the output of both streams.
fn said(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text.into_owned()
}

/// An image in the daemon, which is removed on drop.
struct Image(String);

impl Image {
    /// Imports the image of a distribution, whose package manager knows only the repository at `address`.
    async fn import(one: &Subscribed, address: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = here().join("images");
        let mut command = Command::cargo_bin("driverkit-matrix").unwrap();
        command
            .env("DRIVERKIT_MATRIX_IMAGES", &folder)
            .env(
                "DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS",
                root.join("tests/system/subscriptions"),
            )
            .args(["images", "build", one.image]);
        said(&mut command, 0);
        let archive = std::fs::read(folder.join(format!("{}.tar", one.image))).unwrap();
        let mut builder = tar::Builder::new(Vec::with_capacity(archive.len() + 65536));
        let mut entries = tar::Archive::new(archive.as_slice());
        for entry in entries.entries().unwrap().raw(true) {
            let mut entry = entry.unwrap();
            let header = entry.header().clone();
            builder.append(&header, &mut entry).unwrap();
        }
        let repository = format!(
            "[here]\nname=A repository of this machine\nbaseurl={address}/{}\nenabled=1\ngpgcheck=0\n",
            one.target
        );
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(repository.len() as u64);
        builder
            .append_data(&mut header, one.repositories, repository.as_bytes())
            .unwrap();
        // The name that driverkit uses for the compiler.
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder
            .append_link(&mut header, "usr/bin/gcc-12.0.0", "gcc-12")
            .unwrap();
        let image = Self(format!("driverkit-matrix/test-{}:registered", one.image));
        let (name, tag) = image.0.rsplit_once(':').unwrap();
        let options = CreateImageOptionsBuilder::new()
            .from_src("-")
            .repo(name)
            .tag(tag)
            .build();
        let body = bollard::body_full(builder.into_inner().unwrap().into());
        let docker = Docker::connect_with_defaults().unwrap();
        let imported = docker.create_image(Some(options), Some(body), None);
        imported.try_collect::<Vec<_>>().await.unwrap();
        image
    }

    async fn remove(self) {
        let docker = Docker::connect_with_defaults().unwrap();
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        docker
            .remove_image(&self.0, Some(options), None)
            .await
            .unwrap();
    }
}

fn matrix(one: &Subscribed, module: &str, image: &str) -> String {
    let vendor = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor");
    format!(
        "drivers = [\"0.20.0+driver\"]\narchitectures = [\"amd64\"]\nartifacts = [\"module\"]\n\n\
         [[target]]\nname = \"{}\"\n{image}kernels = [{{ release = \"{}\" }}]\n\n\
         [driver.\"0.20.0+driver\"]\nmodule_name = \"{module}\"\n\
         source = {{ path = \"{}/falcosecurity-libs-0.20.0\" }}\n",
        one.target,
        one.release,
        vendor.display()
    )
}

/// Runs the matrix, which must exit with `code`; returns the record of the only build, and the output.
fn built(folder: &Path, words: &[&str], code: i32) -> (BuildRecord, String) {
    let mut command = program(folder);
    command.args(["run", "m.toml", "--verbose"]).args(words);
    let text = said(&mut command, code);
    let manifest = read_manifest(&folder.join("out/manifest.json")).unwrap();
    (manifest.builds[0].clone(), text)
}

async fn a_module_is_built_with(one: &Subscribed) {
    let mirror = here().join("mirror");
    let content = CONTENT.get_or_init(|| content::Content::of_debian(&here()));
    for package in one.packages {
        packages::make(content, package, &here(), &mirror);
    }
    let repository = mirror.join(one.target);
    run("createrepo_c", &["--quiet", "."], &repository);
    let server = Server::of(&mirror);
    let image = Image::import(one, &server.address).await;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |module: &str, image: &str| {
        fs::write(&folder.join("m.toml"), matrix(one, module, image)).unwrap();
    };

    // Without an image nothing can be built, and the message gives advice.
    write("falco", "");
    let text = said(program(folder).args(["plan", "m.toml"]), 2);
    assert!(
        text.contains("set an image that has access to them"),
        "{text}"
    );
    // With an image, the plan shows the exception, no matter where the image is named.
    let named = ["plan", "m.toml", "--builderimage", &image.0];
    let text = said(program(folder).args(named), 0);
    assert!(text.contains("WITH NETWORK ACCESS, IN"), "{text}");
    write("falco", &format!("image = \"{}\"\n", image.0));
    let text = said(
        program(folder).args(["plan", "m.toml", "--format", "json"]),
        0,
    );
    let plan: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(plan["builds"][0]["image"], image.0.as_str());
    assert_eq!(
        plan["builds"][0]["download"],
        json!({ "manager": one.manager, "packages": one.names, "network": "host" })
    );

    // No other executor gives a job network access, and without a network nothing is downloaded.
    let (build, text) = built(folder, &["--executor", "docker", "--offline"], 3);
    let failure = build.artifacts[0].failure.clone().unwrap();
    assert!(failure.message.contains("offline: "), "{text}");

    let (build, text) = built(folder, &["--executor", "docker"], 0);
    let vermagic = build.artifacts[0].vermagic.as_deref().unwrap();
    assert!(
        vermagic.starts_with(&format!("{} SMP ", one.uts_release)),
        "{text}"
    );
    assert_eq!(
        serde_json::to_value(build.tree).unwrap(),
        json!({ "origin": "subscription", "symbols_checked": true, "host_programs": "packaged" })
    );
    assert_eq!(build.toolchain.unwrap().image, image.0);
    let files = one
        .packages
        .iter()
        .map(|package| package.address.rsplit('/').next().unwrap());
    let files: Vec<_> = files
        .map(|file| format!("{}:{file}", one.manager))
        .collect();
    let urls: Vec<_> = build.inputs.iter().map(|input| &*input.url).collect();
    assert_eq!(urls, files);

    // Nothing is requested again until the downloads are removed and a job needs them.
    let asked = server.requests();
    let (build, _) = built(folder, &["--executor", "docker"], 0);
    assert_eq!(build.artifacts[0].status.as_str(), "cached");
    assert_eq!(server.requests(), asked);
    for input in &build.inputs {
        let digest = input.sha256.unwrap().to_string();
        let blob = folder.join("cache/blobs").join(&digest[..2]).join(&digest);
        assert!(blob.is_file());
        fs::remove_file(&blob).unwrap();
    }
    fs::remove_folder(&folder.join("cache/trees")).unwrap();
    write("another", &format!("image = \"{}\"\n", image.0));
    let (build, _) = built(folder, &["--executor", "docker"], 0);
    assert_eq!(build.artifacts[0].status.as_str(), "built");
    assert!(server.requests() > asked);

    // A release that is not in the subscription.
    let other = matrix(one, "falco", &format!("image = \"{}\"\n", image.0))
        .replace("5.14.0-362.8.1", "5.14.0-362.9.1")
        .replace("150500.55.7.1", "150500.55.9.1");
    fs::write(&folder.join("m.toml"), other).unwrap();
    let (build, text) = built(folder, &["--executor", "docker"], 1);
    let failure = build.artifacts[0].failure.clone().unwrap();
    assert_eq!(failure.class.as_str(), "headers-not-found", "{text}");
    image.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_built_from_packages_downloaded_by_dnf() {
    a_module_is_built_with(&RED_HAT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_is_built_from_packages_downloaded_by_zypper() {
    a_module_is_built_with(&SUSE).await;
}
