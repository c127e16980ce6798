use super::*;
use crate::digest::Sha256;

fn description(suite: &str) -> ImageDescription {
    let text = format!(
        "name = 'tiny'\nhost-architecture = 'amd64'\npackages = ['make']\n\
         debian = {{ suite = '{suite}', archives = ['main', 'updates', 'security'] }}\n\
         [[compiler]]\ngcc = '12'\narchitecture = 'amd64'\ncommand = 'gcc'\n"
    );
    ImageDescription::parse(&text, "tiny").expect("a description")
}

fn mirror(main: &str, security: Option<&str>) -> DebianMirror {
    DebianMirror {
        main: main.parse().expect("a URL"),
        security: security.map(|url| url.parse().expect("a URL")),
    }
}

#[test]
fn apt_sources_name_the_mirror_of_each_archive() {
    let archives = [
        DebianArchive::Main,
        DebianArchive::Updates,
        DebianArchive::Security,
    ];
    let both = mirror(
        "http://mirror.example/debian/",
        Some("http://mirror.example/security"),
    );
    let keyring = format!("deb [signed-by={KEYRING}]");
    assert_eq!(
        sources("bookworm", &archives, &both),
        [
            format!("{keyring} http://mirror.example/debian bookworm main"),
            format!("{keyring} http://mirror.example/debian bookworm-updates main"),
            format!("{keyring} http://mirror.example/security bookworm-security main"),
        ]
    );
    let main_only = mirror("http://mirror.example/debian", None);
    assert_eq!(sources("bookworm", &archives, &main_only).len(), 2);
}

#[test]
fn only_installed_packages_are_listed() {
    let status = "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9\n\n\
                  Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
                  Package: gcc-12\nVersion: 12.2.0-14\nStatus: install ok installed\nDescription: x\n Version: 3\n";
    let expected = [("gcc-12", "12.2.0-14"), ("libc6", "2.36-9")];
    let expected = expected.map(|(name, version)| (name.to_owned(), version.to_owned()));
    assert_eq!(parse_status(status), BTreeMap::from(expected));
}

#[test]
fn the_end_of_the_output_is_kept() {
    let lines: Vec<_> = (0..50).map(|line| format!("line {line}")).collect();
    let kept = last_lines(format!("{}\n1 %\r2 %\rdone\n", lines.join("\n")).as_bytes());
    let kept: Vec<_> = kept.lines().collect();
    assert_eq!((kept.len(), kept[0], kept[19]), (20, "line 31", "done"));
}

/// Runs the real mmdebstrap with an empty mirror.
#[test]
fn a_failed_build_reports_the_error_and_keeps_the_old_image() {
    let folder = tempfile::tempdir().expect("folder");
    let empty = tempfile::tempdir().expect("folder");
    let description = description("bookworm");
    let packages = BTreeMap::new();
    let kept = BuiltImage::new(
        &description,
        folder.path(),
        (Sha256::of("old"), 3),
        packages,
    );
    fs::write(&kept.archive, b"old").expect("write");
    kept.keep(folder.path()).expect("keep");

    let mirror = mirror(&format!("file://{}", empty.path().display()), None);
    let error = build(&description, &mirror, folder.path(), true).expect_err("an empty mirror");
    let BuildError::Failed {
        image, last_lines, ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(image, "tiny");
    assert!(last_lines.contains("Release"), "{last_lines}");
    assert_eq!(
        BuiltImage::load(folder.path(), "tiny").expect("a record"),
        Some(kept)
    );
    let names = std::fs::read_dir(folder.path())
        .expect("folder")
        .map(|entry| {
            let name = entry.expect("entry").file_name();
            name.into_string().expect("UTF-8")
        });
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["lock", "tiny.json", "tiny.lock", "tiny.tar"]);
}
