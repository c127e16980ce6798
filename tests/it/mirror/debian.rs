//! Tests of Debian's archive.

use std::sync::Arc;
use std::time::Duration;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::discover::mirror::DiscoverMirrorError;
use driverkit_matrix::discover::mirror::apt::{MirrorKernels, Question, discover_debian, newest};
use driverkit_matrix::fetch::{Fetcher, Settings};
use driverkit_matrix::kernel::{Architecture, Kernel};
use driverkit_matrix::store::Store;
use driverkit_matrix::target::{Debian, Target as _};
use httptest::matchers::request;
use httptest::responders::status_code;
use httptest::{Expectation, Server};
use url::Url;

use support::archive::{Mirror, linux, package};
use support::workspace::Workspace;

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
        discover_debian(&self.fetcher, urls, question).await
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
async fn kernels_are_assembled_from_the_indexes_of_both_architectures() {
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
            "linux-headers-6.1.0-51-amd64 6.1.177-1 of bookworm is skipped: linux-headers-6.1.0-51-common does not exist"
        ]
    );
    let (host_amd64, host_arm64) = (Some(Architecture::Amd64), Some(Architecture::Arm64));
    assert_eq!(
        files(kernels[3]),
        [
            ("linux-headers-6.1.0-50-common-rt_6.1.176-1_all.deb", None),
            ("linux-headers-6.1.0-50-rt-amd64_6.1.176-1_amd64.deb", None),
            ("linux-kbuild-6.1_6.1.176-1_amd64.deb", host_amd64),
            ("linux-kbuild-6.1_6.1.176-1_arm64.deb", host_arm64),
        ]
    );
    // Of several suitable versions, the one built together with the headers is used.
    assert_eq!(
        files(kernels[2])[3],
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

/// Proofs boot the kernel that was built with the headers.
#[tokio::test]
async fn kernels_have_their_own_package_if_the_index_has_it_in_their_version() {
    let mirror = Mirror::new();
    let unsigned = "linux-image-6.1.0-50-amd64-unsigned";
    let image = |name, version| package(name, version, "amd64", "");
    let index = linux(
        "6.1.0-50",
        "6.1",
        "6.1.176-1",
        "amd64",
        &["amd64", "rt-amd64"],
    ) + &linux("6.1.0-9", "6.1", "6.1.9-1", "amd64", &["amd64"])
        + &image("linux-image-6.1.0-50-amd64-dbg", "6.1.176-1")
        + &image("linux-image-6.1.0-50-amd64", "6.1.176-1")
        + &image(unsigned, "6.1.176-1")
        + &image("linux-image-6.1.0-9-amd64", "6.1.8-1");
    mirror.suite("bookworm", &[("amd64", ".xz", &index)]);
    let found = Work::new()
        .discover(&[mirror.url()], &["bookworm"], AMD64, &["plain", "rt"])
        .await
        .unwrap();
    let kernels = found.kernels.iter().map(|found| &found.kernel);
    let images: Vec<_> = kernels
        .map(|kernel| (kernel.release.as_str(), kernel.image.as_deref()))
        .collect();
    let (release, image) = images[0];
    let image = image.unwrap();
    assert_eq!(release, "6.1.176-1-amd64");
    assert!(
        image
            .url
            .ends_with(&format!("/{unsigned}_6.1.176-1_amd64.deb"))
    );
    let digest = Sha256::of(format!("{unsigned} 6.1.176-1 amd64"));
    assert_eq!(image.sha256, Some(digest));
    assert_eq!(
        images[1..],
        [("6.1.9-1-amd64", None), ("6.1.176-1-rt-amd64", None)]
    );
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
        Debian.loader_name(&kernels[1]).unwrap().release.as_str(),
        "6.12.95-1-amd64"
    );
    // Without the index of the other architecture, its linux-kbuild is not found.
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
        error.to_string().matches("does not exist").count(),
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
async fn an_index_with_a_wrong_digest_is_refused() {
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
async fn broken_files_are_named_in_the_error() {
    for (release, index, text) in [
        (
            "Origin: Debian\n",
            "",
            "Release is broken: it has no SHA256 list",
        ),
        (
            "SHA256:\n 12 main\n",
            "",
            "expected a digest, a size and a path, got `12 main`",
        ),
        (
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSHA256:\n",
            "",
            "the end of its signed text is missing",
        ),
        (
            "",
            "Package: linux-headers-1-amd64\nVersion: 1\nFilename: ../x\n",
            "invalid Filename of linux-headers-1-amd64",
        ),
        (
            "",
            "Package: linux-kbuild-1\nVersion: 1\nFilename: x\n",
            "a package has no field Architecture",
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
async fn a_signed_mirror_is_read_over_http_with_by_hash_fallback() {
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

/// Debian's releases give no URLs: these are in the index.
#[test]
fn the_packages_of_a_kernel_are_found_in_the_index() {
    let mirror = Mirror::new();
    let index = linux(
        "6.1.0-9",
        "6.1",
        "6.1.9-1",
        "amd64",
        &["amd64", "cloud-amd64"],
    );
    mirror.suite("bookworm", &[("amd64", ".xz", &index)]);
    let given = format!("debian={}", mirror.url());
    let workspace = Workspace::new();
    let command = [
        "--mirror",
        &given,
        "kernels",
        "debian",
        "--suite",
        "bookworm",
        "--arch",
        "amd64",
        "--headers",
        "6.1.9-1-cloud-amd64",
        "--format",
        "csv",
    ];
    let names = [
        "linux-headers-6.1.0-9-cloud-amd64_6.1.9-1_amd64.deb",
        "linux-headers-6.1.0-9-common_6.1.9-1_all.deb",
        "linux-kbuild-6.1_6.1.9-1_amd64.deb",
    ];
    let report = workspace.run(&command);
    assert!(report.starts_with("exit 1"), "{report}");
    assert_eq!(
        report.matches(",false,does not exist").count(),
        3,
        "{report}"
    );
    for name in names {
        mirror.write(&format!("pool/main/l/linux/{name}"), "content");
    }
    let report = workspace.run(&command);
    assert!(report.starts_with("exit 0"), "{report}");
    assert_eq!(report.matches(",true,exists").count(), 3, "{report}");
    assert!(names.iter().all(|name| report.contains(name)), "{report}");
    // The release of `uname -r` works as well.
    let command = command.map(|word| match word {
        "6.1.9-1-cloud-amd64" => "6.1.0-9-cloud-amd64",
        word => word,
    });
    assert_eq!(workspace.run(&command), report);
}
