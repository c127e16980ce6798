//! Real builder images, built from this machine's Debian mirror.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::fs;
use driverkit_matrix::image::build::{BuildOutcome, DebianMirror, build};
use driverkit_matrix::image::{BuiltImage, Catalogue, ImageDescription};

/// Returns apt's mirror, as the project's script finds it.
fn mirror() -> DebianMirror {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/mirror.sh");
    let output = Command::new(script).output().expect("scripts/mirror.sh");
    assert!(output.status.success(), "{output:?}");
    let url = String::from_utf8(output.stdout).expect("UTF-8");
    DebianMirror {
        main: url.trim().parse().expect("a URL"),
        security: None,
    }
}

/// A small image: make and binutils, but no compiler.
fn description(folder: &Path, command: &str) -> ImageDescription {
    let text = format!(
        "name = 'tiny'\nhost-architecture = 'amd64'\npackages = ['make', 'binutils']\n\
         [debian]\nsuite = 'bookworm'\narchives = ['main']\nexclude = ['*/libbfd*.a', '/usr/bin/gprof*']\n\
         apt-options = ['Acquire::Check-Valid-Until \"false\"']\nstrip = ['/usr/bin/make']\n\
         [[compiler]]\ngcc = '12'\narchitecture = 'amd64'\ncommand = '{command}'\n"
    );
    fs::write(&folder.join("tiny.toml"), text).expect("write");
    let catalogue = Catalogue::read(folder).expect("a catalogue");
    catalogue.get("tiny").expect("the image").clone()
}

fn built(outcome: BuildOutcome) -> BuiltImage {
    match outcome {
        BuildOutcome::Built(image) => image,
        BuildOutcome::AlreadyThere(image) => panic!("the image was not built: {image:?}"),
    }
}

#[test]
fn an_image_is_built_once_and_the_same_packages_give_the_same_bytes() {
    let folder = tempfile::tempdir().expect("folder");
    let folder = folder.path();
    let mirror = mirror();
    // A leftover of a killed build.
    let leftover = folder.join(".dkm-tmp-killed");
    fs::write(&leftover, "half an archive").expect("write");

    let first_description = description(folder, "gcc");
    let first = built(build(&first_description, &mirror, folder, false).expect("a build"));
    assert!(!leftover.exists());
    assert!(
        first.packages["make"].starts_with("4.3"),
        "{:?}",
        first.packages
    );
    let file = File::open(&first.archive).expect("the archive");
    let content = Sha256::of_reader(&file).expect("the archive");
    assert_eq!(content, (first.archive_sha256, first.archive_size_bytes));

    let mut archive = tar::Archive::new(File::open(&first.archive).expect("the archive"));
    let mut modes = std::collections::BTreeMap::new();
    for entry in archive.entries_with_seek().expect("entries") {
        let entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        modes.insert(
            path.trim_end_matches('/').to_owned(),
            entry.header().mode().expect("a mode"),
        );
    }
    assert_eq!(
        (modes["./work"], modes["./out"]),
        (0o1777, 0o1777),
        "the modes of the job directories"
    );
    assert!(modes.contains_key("./usr/bin/make") && modes.contains_key("./usr/bin/ld"));
    for gone in [
        "./etc/hostname",
        "./etc/resolv.conf",
        "./etc/apt/sources.list",
        "./usr/bin/gprof",
    ] {
        assert!(!modes.contains_key(gone), "{gone}");
    }

    let outcome = build(&first_description, &mirror, folder, false).expect("nothing to do");
    assert!(matches!(outcome, BuildOutcome::AlreadyThere(image) if image == first));

    // Another description that installs the same packages: built again, with the same bytes.
    let second_description = description(folder, "gcc-12");
    assert!(!first.is_of(&second_description));
    let second = built(build(&second_description, &mirror, folder, false).expect("a build"));
    assert_eq!(second.archive_sha256, first.archive_sha256);
    assert_eq!(second.identity(), first.identity());
    assert!(second.is_of(&second_description));
}

/// An index of our images names the compilers as driverkit will call them.
#[test]
fn compilers_have_the_names_that_driverkit_uses() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    let catalogue = Catalogue::read(&folder).expect("a catalogue");
    assert!(!catalogue.images().is_empty());
    for image in catalogue.images() {
        let native = image.compilers.iter();
        for compiler in native.filter(|one| one.architecture == image.host_architecture) {
            let name = format!("/usr/bin/gcc-{}", compiler.gcc.with_three_numbers());
            let found = image.links.get(&name);
            assert_eq!(found, Some(&compiler.command), "{}: {name}", image.name);
        }
    }
}
