//! Discovery from mirrors: small ones made here, and the one that this machine's apt uses.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up fails, and says where"
)]

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::discover::mirror::{
    DiscoverMirrorError, MirrorKernels, Question, discover, newest,
};
use driverkit_matrix::fetch::{Fetcher, Settings};
use driverkit_matrix::kernel::{Architecture, Kernel};
use driverkit_matrix::store::Store;
use driverkit_matrix::target::{Debian, Target as _};
use httptest::matchers::request;
use httptest::responders::status_code;
use httptest::{Expectation, Server};
use url::Url;

/// A mirror in a folder.
struct Mirror {
    folder: tempfile::TempDir,
}

fn package(name: &str, version: &str, architecture: &str, depends: &str) -> String {
    let file = version.split_once(':').map_or(version, |(_, rest)| rest);
    format!(
        "Package: {name}\nSource: linux\nVersion: {version}\nArchitecture: {architecture}\n\
         Depends: {depends}\nDescription: about {name}\n more about it\n\
         Filename: pool/main/l/linux/{name}_{file}_{architecture}.deb\nSize: {}\nSHA256: {}\n\n",
        name.len(),
        Sha256::of(format!("{name} {version} {architecture}")),
    )
}

/// The packages of one kernel version in the index of `architecture`.
fn linux(abi: &str, kbuild: &str, version: &str, architecture: &str, flavours: &[&str]) -> String {
    let mut index = package(
        &format!("linux-kbuild-{kbuild}"),
        version,
        architecture,
        "libc6 (>= 2.36)",
    );
    for common in ["common", "common-rt"] {
        index += &package(&format!("linux-headers-{abi}-{common}"), version, "all", "");
    }
    for flavour in flavours {
        let common = if flavour.starts_with("rt-") {
            "common-rt"
        } else {
            "common"
        };
        let depends = format!(
            "gcc-12 | gcc, linux-headers-{abi}-{common} (= {version}), linux-kbuild-{kbuild} (>= {version})"
        );
        index += &package(
            &format!("linux-headers-{abi}-{flavour}"),
            version,
            architecture,
            &depends,
        );
    }
    index
}

impl Mirror {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        driverkit_matrix::fs::write(&self.folder.path().join(path), bytes).unwrap();
    }

    /// Writes a suite whose indexes are compressed as their extension says.
    fn suite(&self, suite: &str, indexes: &[(&str, &str, &str)]) {
        let mut release = format!("Origin: Debian\nSuite: {suite}\nMD5Sum:\n 0 1 x\nSHA256:\n");
        for (architecture, extension, text) in indexes {
            let bytes = match *extension {
                ".xz" => {
                    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
                    encoder.write_all(text.as_bytes()).unwrap();
                    encoder.finish().unwrap()
                }
                ".gz" => {
                    let mut encoder =
                        flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    encoder.write_all(text.as_bytes()).unwrap();
                    encoder.finish().unwrap()
                }
                _ => text.as_bytes().to_vec(),
            };
            let path = format!("main/binary-{architecture}/Packages{extension}");
            writeln!(release, " {} {:>8} {path}", Sha256::of(&bytes), bytes.len()).unwrap();
            self.write(&format!("dists/{suite}/{path}"), bytes);
        }
        self.write(&format!("dists/{suite}/Release"), release);
    }

    fn url(&self) -> Url {
        Url::from_directory_path(self.folder.path()).unwrap()
    }
}

struct Work {
    _folder: tempfile::TempDir,
    fetcher: Fetcher,
}

impl Work {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path(), "test").unwrap());
        let settings = Settings {
            first_delay: Duration::from_millis(1),
            longest_delay: Duration::from_millis(1),
            ..Settings::default()
        };
        Self {
            fetcher: Fetcher::new(store, settings),
            _folder: folder,
        }
    }

    async fn discover(
        &self,
        urls: &[Url],
        suites: &[&str],
        architectures: &[Architecture],
        flavours: &[&str],
    ) -> Result<MirrorKernels, DiscoverMirrorError> {
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let question = Question {
            suites: &texts(suites),
            architectures,
            flavours: &texts(flavours),
            ..Question::default()
        };
        discover(&self.fetcher, urls, question).await
    }
}

fn releases<'a>(kernels: impl IntoIterator<Item = &'a Kernel>) -> Vec<&'a str> {
    kernels
        .into_iter()
        .map(|kernel| kernel.release.as_str())
        .collect()
}

fn files(kernel: &Kernel) -> Vec<(&str, Option<Architecture>)> {
    kernel
        .packages
        .iter()
        .map(|package| (package.url.rsplit('/').next().unwrap(), package.host))
        .collect()
}

const AMD64: &[Architecture] = &[Architecture::Amd64];

#[tokio::test]
async fn kernels_are_put_together_from_the_indexes_of_both_architectures() {
    let mirror = Mirror::new();
    let amd64 = linux(
        "6.1.0-50",
        "6.1",
        "6.1.176-1",
        "amd64",
        &["amd64", "cloud-amd64", "rt-amd64"],
    ) + &linux("6.1.0-9", "6.1", "6.1.9-1", "amd64", &["amd64"])
        + &package(
            "linux-headers-amd64",
            "6.1.176-1",
            "amd64",
            "linux-headers-6.1.0-50-amd64 (= 6.1.176-1)",
        )
        + &package("linux-image-6.1.0-50-amd64-dbg", "6.1.176-1", "amd64", "")
        + &package(
            "linux-headers-6.1.0-51-amd64",
            "6.1.177-1",
            "amd64",
            "linux-headers-6.1.0-51-common, linux-kbuild-6.1",
        );
    let arm64 = linux(
        "6.1.0-50",
        "6.1",
        "6.1.176-1",
        "arm64",
        &["arm64", "arm64-16k"],
    );
    mirror.suite(
        "bookworm",
        &[("amd64", ".xz", &amd64), ("arm64", ".gz", &arm64)],
    );

    let work = Work::new();
    let found = work
        .discover(&[mirror.url()], &["bookworm"], &Architecture::ALL, &[])
        .await
        .unwrap();
    let kernels: Vec<&Kernel> = found.kernels.iter().map(|found| &found.kernel).collect();
    assert_eq!(
        releases(kernels.clone()),
        [
            "6.1.176-1-cloud-amd64",
            "6.1.176-1-amd64",
            "6.1.9-1-amd64",
            "6.1.176-1-rt-amd64",
            "6.1.176-1-arm64-16k",
            "6.1.176-1-arm64",
        ]
    );
    assert_eq!(
        found.notices,
        [
            "linux-headers-6.1.0-51-amd64 6.1.177-1 of bookworm is left out: linux-headers-6.1.0-51-common is not there"
        ]
    );
    let (host_amd64, host_arm64) = (Some(Architecture::Amd64), Some(Architecture::Arm64));
    assert_eq!(
        files(kernels[3]),
        [
            ("linux-headers-6.1.0-50-rt-amd64_6.1.176-1_amd64.deb", None),
            ("linux-headers-6.1.0-50-common-rt_6.1.176-1_all.deb", None),
            ("linux-kbuild-6.1_6.1.176-1_amd64.deb", host_amd64),
            ("linux-kbuild-6.1_6.1.176-1_arm64.deb", host_arm64),
        ]
    );
    // Of several versions that would do, the one that was built together with the headers.
    assert_eq!(
        files(kernels[2])[2],
        ("linux-kbuild-6.1_6.1.9-1_amd64.deb", host_amd64)
    );
    for kernel in kernels {
        for host in Architecture::ALL {
            Debian.header_packages(kernel, host).unwrap();
        }
        let headers = &kernel.packages[0];
        assert!(
            headers
                .url
                .starts_with(&format!("{}pool/main/l/linux/", mirror.url()))
        );
        assert!(headers.sha256.is_some() && headers.size_bytes.is_some());
        assert_eq!((&*kernel.source, kernel.version.as_str()), ("mirror", "1"));
    }

    let found = work
        .discover(&[mirror.url()], &["bookworm"], AMD64, &["plain", "rt"])
        .await
        .unwrap();
    let plain = newest(found.kernels.clone(), None, |_| true);
    assert_eq!(
        releases(&plain),
        ["6.1.176-1-amd64", "6.1.9-1-amd64", "6.1.176-1-rt-amd64"]
    );
    let one = newest(found.kernels.clone(), Some(1), |_| true);
    assert_eq!(releases(&one), ["6.1.176-1-amd64", "6.1.176-1-rt-amd64"]);
    let old = newest(found.kernels, Some(1), |kernel| {
        kernel.release.as_str() != "6.1.176-1-amd64"
    });
    assert_eq!(releases(&old), ["6.1.9-1-amd64", "6.1.176-1-rt-amd64"]);
}

#[tokio::test]
async fn suites_come_from_the_first_mirror_that_has_them_and_share_kernels() {
    let (main, security) = (Mirror::new(), Mirror::new());
    let old = linux("6.1.0-9", "6.1", "6.1.9-1", "amd64", &["amd64"]);
    let backports = linux(
        "6.12.95+deb12",
        "6.12.95+deb12",
        "6.12.95-1~bpo12+1",
        "amd64",
        &["amd64"],
    );
    let new = linux("6.1.0-10", "6.1", "1:6.1.10-1", "amd64", &["amd64"]) + &old;
    main.suite("bookworm", &[("amd64", "", &old)]);
    main.suite("bookworm-backports", &[("amd64", ".xz", &backports)]);
    security.suite("bookworm-security", &[("amd64", ".xz", &new)]);
    let urls = [main.url(), security.url()];
    let work = Work::new();
    let suites = ["bookworm", "bookworm-backports", "bookworm-security"];
    let found = work.discover(&urls, &suites, AMD64, &[]).await.unwrap();
    let kernels = newest(found.kernels, None, |_| true);
    assert_eq!(
        releases(&kernels),
        ["6.1.9-1-amd64", "6.12.95-1~bpo12+1-amd64", "6.1.10-1-amd64"]
    );
    assert_eq!(
        Debian.uts_releases(&kernels[1]).unwrap()[0],
        "6.12.95+deb12-amd64"
    );
    assert_eq!(
        Debian.loader_name(&kernels[1]).unwrap().release,
        "6.12.95-1-amd64"
    );
    // Without the other architecture's index there is no linux-kbuild for it.
    assert_eq!(kernels[0].packages.len(), 3);

    let error = work
        .discover(&urls, &["trixie"], AMD64, &[])
        .await
        .unwrap_err();
    assert!(
        matches!(error, DiscoverMirrorError::NoSuite { .. }),
        "{error}"
    );
    assert_eq!(
        error.to_string().matches("is not there").count(),
        4,
        "{error}"
    );
    let error = work
        .discover(&urls, &["bookworm"], &[Architecture::Arm64], &[])
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the suite bookworm has no index for arm64"
    );
}

#[tokio::test]
async fn an_index_with_another_digest_is_not_believed() {
    let mirror = Mirror::new();
    let index = linux("6.1.0-9", "6.1", "6.1.9-1", "amd64", &["amd64"]);
    mirror.suite("bookworm", &[("amd64", "", &index)]);
    let changed = index.replace("6.1.9-1_amd64.deb", "6.1.8-1_amd64.deb");
    mirror.write("dists/bookworm/main/binary-amd64/Packages", changed);
    let work = Work::new();
    let error = work
        .discover(&[mirror.url()], &["bookworm"], AMD64, &[])
        .await
        .unwrap_err();
    assert!(
        matches!(error, DiscoverMirrorError::Checksum { .. }),
        "{error}"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn broken_files_are_told_by_name() {
    for (release, index, text) in [
        (
            "Origin: Debian\n",
            "",
            "Release is broken: it has no SHA256 list",
        ),
        (
            "SHA256:\n 12 main\n",
            "",
            "`12 main` is no digest, size and path",
        ),
        (
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSHA256:\n",
            "",
            "has no end",
        ),
        (
            "",
            "Package: linux-headers-1-amd64\nVersion: 1\nFilename: ../x\n",
            "Filename of linux-headers-1-amd64",
        ),
        (
            "",
            "Package: linux-kbuild-1\nVersion: 1\nFilename: x\n",
            "a package has no Architecture",
        ),
    ] {
        let mirror = Mirror::new();
        mirror.suite("bookworm", &[("amd64", "", index)]);
        if !release.is_empty() {
            mirror.write("dists/bookworm/Release", release);
        }
        let work = Work::new();
        let error = work
            .discover(&[mirror.url()], &["bookworm"], AMD64, &[])
            .await
            .unwrap_err();
        assert!(
            matches!(error, DiscoverMirrorError::Broken { .. }),
            "{error}"
        );
        assert!(error.to_string().contains(text), "{error}, not {text}");
    }
}

#[tokio::test]
async fn a_mirror_is_read_by_http_signed_and_by_digest() {
    let index = linux("6.1.0-9", "6.1", "6.1.9-1", "amd64", &["amd64"]);
    let digest = Sha256::of(&index);
    let release = format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nAcquire-By-Hash: yes\nSHA256:\n \
         {digest} {} main/binary-amd64/Packages\n-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n",
        index.len()
    );
    let server = Server::run();
    let folder = "/debian/dists/bookworm";
    let by_hash = format!("{folder}/main/binary-amd64/by-hash/SHA256/{digest}");
    for (path, response) in [
        (
            format!("{folder}/InRelease"),
            status_code(200).body(release),
        ),
        (by_hash, status_code(404).body(String::new())),
        (
            format!("{folder}/main/binary-amd64/Packages"),
            status_code(200).body(index),
        ),
    ] {
        let asked = request::method_path("GET", path);
        server.expect(Expectation::matching(asked).times(1).respond_with(response));
    }
    let url = server.url("/debian/").to_string().parse().unwrap();
    let found = Work::new()
        .discover(&[url], &["bookworm"], AMD64, &[])
        .await
        .unwrap();
    let expected =
        server.url("/debian/pool/main/l/linux/linux-headers-6.1.0-9-amd64_6.1.9-1_amd64.deb");
    assert_eq!(
        *found.kernels[0].kernel.packages[0].url,
        expected.to_string()
    );
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What is found on the mirror of this machine is what apt knows of it.
#[tokio::test]
async fn the_mirror_of_this_machine_agrees_with_apt() {
    let targets = run(
        "apt-get",
        &[
            "indextargets",
            "--format",
            "$(SITE) $(RELEASE) $(ARCHITECTURE) $(COMPONENT)",
            "Created-By: Packages",
        ],
    );
    let targets: Vec<Vec<&str>> = targets
        .lines()
        .map(|line| line.split(' ').collect())
        .collect();
    let target = targets
        .iter()
        .find(|target| target[3] == "main" && !target[1].contains('-'))
        .unwrap();
    let architecture: Architecture = target[2].parse().unwrap();
    let found = Work::new()
        .discover(
            &[target[0].parse().unwrap()],
            &[target[1]],
            &[architecture],
            &[],
        )
        .await
        .unwrap();
    assert_eq!(found.notices, [""; 0]);
    let flavours: std::collections::BTreeSet<_> = found
        .kernels
        .iter()
        .map(|found| found.flavour.as_str())
        .collect();
    assert_eq!(
        flavours.into_iter().collect::<Vec<_>>(),
        ["cloud", "plain", "rt"]
    );
    for found in &found.kernels {
        let kernel = &found.kernel;
        for host in Architecture::ALL {
            Debian.header_packages(kernel, host).unwrap();
        }
        let uts_release = &Debian.uts_releases(kernel).unwrap()[0];
        let wanted = format!("linux-headers-{uts_release}={}", found.version);
        let known = run("apt-cache", &["show", &wanted]);
        let headers = &kernel.packages[0];
        assert!(
            known.contains(&format!("SHA256: {}\n", headers.sha256.unwrap())),
            "{known}"
        );
        assert!(
            known.contains(&format!("Size: {}\n", headers.size_bytes.unwrap())),
            "{known}"
        );
        let (_, path) = headers.url.split_once("/pool/").unwrap();
        assert!(
            known.contains(&format!("Filename: pool/{path}\n")),
            "{known}"
        );
    }
    // Every header package of a kernel that apt knows of the same version was found.
    let names = run(
        "apt-cache",
        &[
            "--names-only",
            "search",
            "^linux-headers-[0-9].*-(amd64|arm64)$",
        ],
    );
    let newest = &found
        .kernels
        .iter()
        .find(|found| found.flavour == "plain")
        .unwrap()
        .kernel;
    let newest = Debian.uts_releases(newest).unwrap().remove(0);
    assert!(
        names.contains(&format!("linux-headers-{newest} ")),
        "{names}"
    );
}
