//! A driver for a kernel of each distribution, from its packages on its mirror to the named artifact, in Docker.
//!
//! No other distribution's packages can be had where this is tested, so they are made: Debian's real header tree in
//! the layout, names, formats and compressions of each distribution, with the release of a real kernel of it
//! (`targets/distributions.rs`), served in the layout of its mirrors. docs/targets.md says what of it is real.
//!
//! A few families are an ordinary test; `make test-targets` does all and prints a table. Both need what
//! `scripts/test.sh` makes ready: a Docker daemon, the builder image `bookworm`, the driver sources, apt's mirror.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up fails, and says where"
)]

#[path = "targets/content.rs"]
mod content;
#[path = "targets/distributions.rs"]
mod distributions;
#[path = "common/host.rs"]
mod host;
#[path = "targets/packages.rs"]
mod packages;
#[path = "common/rpmbuild.rs"]
mod rpmbuild;
#[path = "common/server.rs"]
#[expect(dead_code, reason = "these tests do not count requests")]
mod server;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use driverkit_matrix::fs;
use driverkit_matrix::report::{BuildRecord, read_manifest};

use distributions::{DISTRIBUTIONS, Distribution, Package};
use server::Server;

const DRIVER: &str = "0.20.0+driver";

fn images() -> PathBuf {
    if let Some(folder) = std::env::var_os("DRIVERKIT_MATRIX_IMAGES") {
        return folder.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"))
        .join("driverkit-matrix/images")
}

/// The matrix of some distributions, whose hosts are all folders of `server`.
fn matrix(distributions: &[&Distribution], server: &Server) -> String {
    let vendor = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor");
    let mut text = format!(
        "drivers = [\"{DRIVER}\"]\narchitectures = [\"amd64\"]\nartifacts = [\"module\"]\n\n\
         [driver.\"{DRIVER}\"]\nsource = {{ path = \"{}/falcosecurity-libs-0.20.0\" }}\n\n\
         [defaults]\ntimeout = \"30m\"\n",
        vendor.display()
    );
    let mut targets: Vec<&str> = distributions.iter().map(|one| one.target).collect();
    targets.dedup();
    for target in targets {
        writeln!(text, "\n[[target]]\nname = \"{target}\"\nkernels = [").unwrap();
        for one in distributions.iter().filter(|one| one.target == target) {
            let headers = if one.is_computed {
                String::new()
            } else {
                let addresses: Vec<_> = one
                    .packages
                    .iter()
                    .map(|package| format!("\"{}\"", package.address))
                    .collect();
                format!(", headers = [{}]", addresses.join(", "))
            };
            let (release, version) = (one.release, one.version);
            writeln!(
                text,
                "  {{ release = \"{release}\", version = \"{version}\"{headers} }},"
            )
            .unwrap();
        }
        text.push_str("]\n");
    }
    let packages = distributions.iter().flat_map(|one| one.packages);
    let hosts: BTreeSet<(&str, &str)> = packages.map(Package::host).collect();
    text.push_str("\n[mirrors]\noffline = true\n");
    for (scheme, host) in hosts {
        writeln!(
            text,
            "\"{scheme}://{host}\" = [\"{}/{host}\"]",
            server.address
        )
        .unwrap();
    }
    text
}

/// Builds a module for a kernel of each; gives what the manifest says of each, in this order.
fn build(distributions: &[&Distribution]) -> (i32, String, Vec<BuildRecord>, tempfile::TempDir) {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR")).join("targets");
    let mirrors = here.join("mirrors");
    let content = content::Content::of_debian(&here);
    for package in distributions.iter().flat_map(|one| one.packages) {
        packages::make(&content, package, &here, &mirrors);
    }
    let server = Server::of(&mirrors);
    let work = tempfile::tempdir().unwrap();
    fs::write(
        &work.path().join("matrix.toml"),
        matrix(distributions, &server),
    )
    .unwrap();
    let output = Command::cargo_bin("driverkit-matrix")
        .unwrap()
        .current_dir(work.path())
        .env("DRIVERKIT_MATRIX_IMAGES", images())
        .env(
            "DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS",
            Path::new(env!("CARGO_MANIFEST_DIR")).join("images"),
        )
        .env("DRIVERKIT_MATRIX_CACHE", work.path().join("cache"))
        .args(["run", "matrix.toml", "--verbose", "--executor", "docker"])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let manifest = read_manifest(&work.path().join("out/manifest.json"))
        .unwrap_or_else(|error| panic!("{error}\n{log}"));
    let of = |one: &&Distribution| {
        let found = manifest.builds.iter().find(|build| {
            build.target.to_string() == one.target
                && build.kernel_release.to_string() == one.release
        });
        found
            .unwrap_or_else(|| {
                panic!(
                    "{} {} is not in the manifest\n{log}",
                    one.target, one.release
                )
            })
            .clone()
    };
    let builds = distributions.iter().map(of).collect();
    (output.status.code().unwrap(), log, builds, work)
}

/// What is wrong with the module of a distribution; nothing when it is as it should be.
fn problem(one: &Distribution, build: &BuildRecord, out: &Path) -> Option<String> {
    let artifact = &build.artifacts[0];
    if let Some(failure) = &artifact.failure {
        return Some(format!("{}: {}", failure.class, failure.message));
    }
    let name = format!("falco_{}_{}_{}.ko", one.target, one.release, one.version);
    let path = out.join(DRIVER).join("x86_64").join(name);
    if !path.is_file() {
        return Some(format!("there is no {}", path.display()));
    }
    let vermagic = artifact.vermagic.as_deref().unwrap_or_default();
    let is_right = vermagic.starts_with(&format!("{} SMP ", one.uts_release));
    (!is_right).then(|| format!("the vermagic of its module is {vermagic}"))
}

fn find(target: &str, release: &str) -> &'static Distribution {
    let mut all = DISTRIBUTIONS.iter();
    all.find(|one| one.target == target && one.release == release)
        .unwrap()
}

/// A deb, an rpm and an Arch package; and an rpm that holds another kernel than its name says.
#[test]
fn modules_are_built_from_packages_of_each_format() {
    let right = [
        find("ubuntu-generic", "5.19.0-15-generic"),
        find("fedora", "5.19.12-200.fc36.x86_64"),
        find("arch", "6.1.12.hardened1-1"),
    ];
    let wrong = &distributions::WRONG_RELEASE;
    let (code, log, builds, work) = build(&[&right[..], &[wrong]].concat());
    for (one, build) in right.iter().zip(&builds) {
        assert_eq!(problem(one, build, &work.path().join("out")), None, "{log}");
    }
    assert_eq!(code, 1, "{log}");
    let artifact = &builds[3].artifacts[0];
    let failure = artifact.failure.as_ref().unwrap();
    assert_eq!(
        failure.class.as_str(),
        "wrong-headers",
        "{}",
        failure.message
    );
    for release in [wrong.release, "5.14.0-167.el9.x86_64"] {
        assert!(failure.message.contains(release), "{}", failure.message);
    }
    // It was found before anything was run for it.
    assert_eq!((builds[3].cpu_seconds, builds[3].checks.len()), (None, 0));
}

/// Every distribution; prints the table of docs/targets.md.
#[test]
#[ignore = "takes some ten minutes: make test-targets"]
fn modules_are_built_for_every_distribution() {
    let all: Vec<&Distribution> = DISTRIBUTIONS.iter().collect();
    let (_, log, builds, work) = build(&all);
    let mut table = String::from(
        "| target | kernel | packages | addresses | tree says | result |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let mut failed = 0;
    for (one, build) in all.iter().zip(&builds) {
        let result = match problem(one, build, &work.path().join("out")) {
            None => "module built and checked".to_owned(),
            Some(problem) => {
                failed += 1;
                problem.lines().next().unwrap_or_default().to_owned()
            }
        };
        let packages: Vec<_> = one.packages.iter().map(packages::describe).collect();
        let addresses = if one.is_computed { "computed" } else { "named" };
        writeln!(
            table,
            "| {} | `{}` | {} | {addresses} | `{}` | {result} |",
            one.target,
            one.release,
            packages.join(" + "),
            one.uts_release
        )
        .unwrap();
    }
    println!("\n{table}");
    assert_eq!(failed, 0, "{log}");
}
