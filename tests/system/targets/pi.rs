//! The file for the Raspberry Pi in Falco's grid: packages of two kernels, and no name of either kernel.
//!
//! The archive of the Raspberry Pi is not available where this is tested: its packages are created from Debian's for
//! arm64, with the archive's layout and names.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use driverkit_matrix::fs;
use driverkit_matrix::report::read_manifest;

use crate::targets::{DRIVER, here};
use support::host::run;
use support::real::{kernel, program, vendor};
use support::server::Server;

const ABI: &str = "6.12.47+rpt";
const VERSION: &str = "6.12.47-1+rpt1";
const RELEASE: &str = "6.12.47-1+rpt1-rpi-arm64";
const POOL: &str = "archive.raspberrypi.com/debian/pool/main/l/linux";

/// Creates the four packages of the file below `mirrors`; returns their URLs.
#[expect(clippy::too_many_lines, reason = "a table")]
fn packages(mirrors: &Path) -> Vec<String> {
    let work = tempfile::tempdir_in(here()).unwrap();
    let debian = kernel(work.path(), "plain", "arm64", "arm64");
    let abi = debian.uts_release.strip_suffix("-arm64").unwrap();
    for url in &debian.urls {
        let file = url.rsplit('/').next().unwrap();
        let arguments = ["download-file", url, file];
        run("/usr/lib/apt/apt-helper", &arguments, work.path());
    }
    let all = work.path().join("all");
    for entry in std::fs::read_dir(work.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(
                "dpkg-deb",
                &["-x", path.to_str().unwrap(), all.to_str().unwrap()],
                work.path(),
            );
        }
    }
    let common = format!("usr/src/linux-headers-{ABI}-common-rpi");
    let kbuild = format!("usr/lib/linux-kbuild-{ABI}");
    let root = |name: &str| {
        let root = work.path().join(name);
        fs::create_folder(&root.join("usr/src")).unwrap();
        fs::create_folder(&root.join("usr/lib")).unwrap();
        root
    };
    let link_programs = |folder: &Path| {
        for name in ["scripts", "tools"] {
            let link = folder.join(name);
            if link.symlink_metadata().is_ok() {
                std::fs::remove_file(&link).unwrap();
                symlink(format!("../../lib/linux-kbuild-{ABI}/{name}"), link).unwrap();
            }
        }
    };
    let mut made = Vec::new();
    for flavour in ["rpi-2712", "rpi-v8"] {
        let root = root(flavour);
        let folder = root.join(format!("usr/src/linux-headers-{ABI}-{flavour}"));
        let from = all.join(format!("usr/src/linux-headers-{abi}-arm64"));
        run(
            "cp",
            &["-a", from.to_str().unwrap(), folder.to_str().unwrap()],
            work.path(),
        );
        link_programs(&folder);
        fs::write(
            &folder.join("Makefile"),
            format!("include /{common}/Makefile\n"),
        )
        .unwrap();
        let uts_release = format!("{ABI}-{flavour}");
        for (name, text) in [
            (
                "include/generated/utsrelease.h",
                format!("#define UTS_RELEASE \"{uts_release}\"\n"),
            ),
            ("include/config/kernel.release", format!("{uts_release}\n")),
        ] {
            fs::write(&folder.join(name), text).unwrap();
        }
        let own = fs::read_to_string(&folder.join(".kernelvariables")).unwrap_or_default();
        let own = own.replace(&format!("{abi}-arm64"), &uts_release);
        fs::write(&folder.join(".kernelvariables"), own).unwrap();
        made.push(deb(
            &root,
            &format!("linux-headers-{uts_release}"),
            "arm64",
            work.path(),
        ));
    }
    let shared = root("common");
    let from = all.join(format!("usr/src/linux-headers-{abi}-common"));
    fs::rename(&from, &shared.join(&common)).unwrap();
    link_programs(&shared.join(&common));
    made.push(deb(
        &shared,
        &format!("linux-headers-{ABI}-common-rpi"),
        "all",
        work.path(),
    ));
    let programs = root("kbuild");
    fs::rename(
        &all.join("usr/lib/linux-kbuild-6.1"),
        &programs.join(&kbuild),
    )
    .unwrap();
    made.push(deb(
        &programs,
        &format!("linux-kbuild-{ABI}"),
        "arm64",
        work.path(),
    ));
    let pool = mirrors.join(POOL);
    fs::create_folder(&pool).unwrap();
    let place = |made: PathBuf| {
        let file = made.file_name().unwrap().to_str().unwrap().to_owned();
        std::fs::copy(&made, pool.join(&file)).unwrap();
        // The test server does not decode paths.
        format!("http://{POOL}/{file}")
    };
    made.into_iter().map(place).collect()
}

fn deb(root: &Path, name: &str, architecture: &str, work: &Path) -> PathBuf {
    // The version in the package has an epoch, the file name does not.
    let control = format!(
        "Package: {name}\nVersion: 1:{VERSION}\nArchitecture: {architecture}\n\
         Maintainer: Nobody <nobody@example.org>\nDescription: Headers\n"
    );
    fs::write(&root.join("DEBIAN/control"), control).unwrap();
    let made = work.join(format!("{name}_{VERSION}_{architecture}.deb"));
    let paths = [root.to_str().unwrap(), made.to_str().unwrap()];
    let options = ["--root-owner-group", "-Zxz", "-z1", "--build"];
    run("dpkg-deb", &[&options[..], &paths].concat(), work);
    made
}

/// Builds with driverkit's command, as the grid does, from the grid's file with all four packages.
#[test]
#[ignore = "takes some minutes: make test-targets"]
fn a_raspberry_pi_module_is_built_from_the_grids_file() {
    fs::create_folder(&here()).unwrap();
    let mirrors = here().join("pi");
    let urls = packages(&mirrors);
    let server = Server::of(&mirrors);
    let work = tempfile::tempdir().unwrap();
    let matrix = format!(
        "drivers = [\"{DRIVER}\"]\narchitectures = [\"arm64\"]\nartifacts = [\"module\"]\n\
         [driver.\"{DRIVER}\"]\nsource = {{ path = \"{}/falcosecurity-libs-0.20.0\" }}\n\
         [defaults]\ntimeout = \"30m\"\n\
         [[target]]\nname = \"debian\"\nkernels = {{ from = \"driverkit\", path = \"config\" }}\n\
         [mirrors]\noffline = true\n\"http://archive.raspberrypi.com\" = [\"{}/archive.raspberrypi.com\"]\n",
        vendor().display(),
        server.address
    );
    fs::write(&work.path().join("matrix.toml"), matrix).unwrap();
    let list: Vec<String> = urls.iter().map(|url| format!("  - {url}\n")).collect();
    let file = format!(
        "kernelversion: \"1\"\nkernelrelease: {RELEASE}\ntarget: debian\narchitecture: arm64\n\
         output:\n  module: output/{DRIVER}/aarch64/falco_debian_{RELEASE}_1.ko\nkernelurls:\n{}",
        list.concat()
    );
    let name = format!("config/{DRIVER}/aarch64/debian_{RELEASE}_1.yaml");
    fs::write(&work.path().join(name), file).unwrap();
    let output = program(work.path())
        .args(["run", "matrix.toml", "--verbose", "--executor", "docker"])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(
        log.contains("its packages also contain 6.12.47+rpt-rpi-2712"),
        "{log}"
    );
    let out = work.path().join("out");
    let manifest = read_manifest(&out.join("manifest.json")).unwrap();
    let artifact = &manifest.builds[0].artifacts[0];
    let vermagic = artifact.vermagic.as_deref().unwrap_or_default();
    assert!(
        vermagic.starts_with("6.12.47+rpt-rpi-v8 SMP "),
        "{vermagic}"
    );
    let module = out
        .join(DRIVER)
        .join("aarch64")
        .join(format!("falco_debian_{RELEASE}_1.ko"));
    assert!(module.is_file(), "{log}");
}
