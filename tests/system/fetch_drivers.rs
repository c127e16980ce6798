//! Which versions `scripts/fetch-drivers.sh` takes from a mirror whose suites have moved on.
//!
//! The mirror has small packages in apt's layout, made with Debian's tools and signed with a key of the test.

use std::path::Path;
use std::process::{Command, Output};

use driverkit_matrix::fs;
use support::server::Server;

/// Shell functions that write the mirror into the current directory.
const MIRROR: &str = r#"
set -eu
export GNUPGHOME=$PWD/gpg
# binary SUITE VERSION
binary() {
    root=$(mktemp -d "$PWD/work.XXXXXX")
    mkdir -p "$root/DEBIAN" "$root/usr/src/scap" "mirror/pool/$1"
    echo 'PACKAGE_NAME="scap"' >"$root/usr/src/scap/dkms.conf"
    echo "$2" >"$root/usr/src/scap/main.c"
    printf 'Package: falcosecurity-scap-dkms\nVersion: %s\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: a\n' \
        "$2" >"$root/DEBIAN/control"
    chmod 755 "$root" "$root/DEBIAN"
    dpkg-deb --root-owner-group -b "$root" "mirror/pool/$1" >/dev/null
}
# source SUITE UPSTREAM REVISION
source_package() {
    root=$(mktemp -d "$PWD/work.XXXXXX")
    tree=$root/falcosecurity-libs-$2
    mkdir -p "$tree" "mirror/pool/$1"
    echo "$2" >"$tree/CMakeLists.txt"
    tar -C "$root" -czf "$root/falcosecurity-libs_$2.orig.tar.gz" "falcosecurity-libs-$2"
    mkdir -p "$tree/debian/source"
    echo '3.0 (quilt)' >"$tree/debian/source/format"
    printf 'Source: falcosecurity-libs\nMaintainer: a <a@example.org>\n\nPackage: falcosecurity-scap-dkms\nArchitecture: all\nDescription: a\n' \
        >"$tree/debian/control"
    printf 'falcosecurity-libs (%s-%s) unstable; urgency=low\n\n  * A.\n\n -- a <a@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n' \
        "$2" "$3" >"$tree/debian/changelog"
    (cd "$root" && dpkg-source -b "falcosecurity-libs-$2" >/dev/null 2>&1)
    mv "$root"/falcosecurity-libs_* "mirror/pool/$1"
}
# suite SUITE: writes its indexes, and signs them
suite() {
    mkdir -p "mirror/pool/$1" "mirror/dists/$1/main/binary-amd64" "mirror/dists/$1/main/binary-arm64" "mirror/dists/$1/main/source"
    (
        cd mirror
        dpkg-scanpackages -m "pool/$1" >"dists/$1/main/binary-amd64/Packages" 2>/dev/null
        : >"dists/$1/main/binary-arm64/Packages"
        dpkg-scansources "pool/$1" >"dists/$1/main/source/Sources" 2>/dev/null
        cd "dists/$1"
        {
            printf 'Origin: Debian\nSuite: %s\nCodename: %s\nArchitectures: amd64 arm64\nComponents: main\nDate: %s\nSHA256:\n' \
                "$1" "$1" "$(LC_ALL=C date -Ru)"
            find main -type f -exec sh -c 'printf " %s %s %s\n" "$(sha256sum <"$1" | cut -d" " -f1)" "$(stat -c %s "$1")" "$1"' sh {} \;
        } >Release
        gpg --batch --quiet --yes --clearsign --output InRelease Release
    )
}
"#;

/// Runs a shell script with the functions of [`MIRROR`].
fn write_mirror(folder: &Path, script: &str) {
    let output = Command::new("bash")
        .args(["-c", &format!("{MIRROR}\n{script}")])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}

/// Runs the script; the sources are written to `vendor` in the directory.
fn fetch(folder: &Path, server: &Server) -> Output {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/fetch-drivers.sh"))
        .arg(folder.join("vendor"))
        .env("DRIVERKIT_MATRIX_MIRROR_DEBIAN", &server.address)
        .env("DRIVERKIT_MATRIX_KEYRING", folder.join("key.gpg"))
        .output()
        .unwrap()
}

#[test]
fn any_revision_of_a_driver_is_taken_and_a_newer_version_with_a_notice() {
    let folder = tempfile::Builder::new()
        .prefix("f")
        .tempdir_in("/tmp")
        .unwrap();
    let folder = folder.path();
    write_mirror(
        folder,
        "mkdir -m 700 gpg
        gpg --batch --quiet --passphrase '' --quick-generate-key 'a <a@example.org>' rsa2048 sign 2>/dev/null
        gpg --batch --export >key.gpg
        source_package trixie 0.20.0 9
        binary trixie 0.20.0-9
        binary bookworm 0.1.1dev+git20220316.e5c53d64-5
        binary sid 0.23.2-8
        binary sid 0.23.2-9
        for suite in trixie bookworm sid; do suite $suite; done",
    );
    let server = Server::of(&folder.join("mirror"));
    let read = |path: &str| fs::read_to_string(&folder.join("vendor").join(path)).unwrap();
    let version = |name: &str| read(&format!("{name}.version"));

    // Every suite has other revisions than when the list was written.
    let fetched = fetch(folder, &server);
    let said = String::from_utf8_lossy(&fetched.stderr);
    assert!(fetched.status.success(), "{said}");
    assert!(!said.contains("notice"), "{said}");
    assert_eq!(version("falcosecurity-libs-0.20.0"), "0.20.0-9\n");
    assert_eq!(read("falcosecurity-libs-0.20.0/CMakeLists.txt"), "0.20.0\n");
    assert_eq!(version("falcosecurity-scap-dkms-sid"), "0.23.2-9\n");
    assert_eq!(read("falcosecurity-scap-dkms-sid/main.c"), "0.23.2-9\n");

    // sid has a newer version only.
    write_mirror(
        folder,
        "rm -r mirror/pool/sid vendor/falcosecurity-scap-dkms-sid
        binary sid 0.24.0-1
        suite sid",
    );
    let fetched = fetch(folder, &server);
    let said = String::from_utf8_lossy(&fetched.stderr);
    assert!(fetched.status.success(), "{said}");
    assert!(
        said.contains("notice: sid has no falcosecurity-scap-dkms 0.23.2, using 0.24.0-1"),
        "{said}"
    );
    assert_eq!(version("falcosecurity-scap-dkms-sid"), "0.24.0-1\n");
    assert_eq!(version("falcosecurity-scap-dkms-0.20.0"), "0.20.0-9\n");

    // sid has no such package at all.
    write_mirror(
        folder,
        "rm -r mirror/pool/sid vendor/falcosecurity-scap-dkms-sid
        suite sid",
    );
    let fetched = fetch(folder, &server);
    let said = String::from_utf8_lossy(&fetched.stderr);
    assert!(!fetched.status.success());
    assert!(
        said.contains("failed to fetch falcosecurity-scap-dkms 0.23.2 from the mirror's sid"),
        "{said}"
    );
    assert!(!folder.join("vendor/falcosecurity-scap-dkms-sid").exists());
    write_mirror(folder, "gpgconf --kill gpg-agent");
}
