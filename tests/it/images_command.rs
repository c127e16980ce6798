//! Tests of the command `images`.

use assert_cmd::Command;
use predicates::str::contains;

fn images(folder: &std::path::Path) -> Command {
    let mut command = Command::cargo_bin("driverkit-matrix").expect("the program");
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("DRIVERKIT_MATRIX_MIRROR_DEBIAN")
        .env_remove("DRIVERKIT_MATRIX_IMAGES")
        .arg("--cache")
        .arg(folder)
        .arg("images");
    command
}

#[test]
fn the_list_of_images_has_a_line_for_each_compiler() {
    let folder = tempfile::tempdir().expect("folder");
    let output = images(folder.path()).output().expect("a list");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let rows: Vec<Vec<_>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows[0], ["IMAGE", "TARGET", "ARCH", "GCC", "STATE"]);
    let expected = [
        "driverkit-matrix/builder:bookworm",
        "any",
        "arm64",
        "12",
        "not",
        "built",
    ];
    assert!(rows.contains(&expected.to_vec()), "{text}");
}

#[test]
fn without_a_directory_of_descriptions_the_built_in_ones_are_used() {
    let folder = tempfile::tempdir().expect("folder");
    let list = |here: &std::path::Path| {
        let output = images(folder.path()).current_dir(here).output();
        String::from_utf8(output.expect("a list").stdout).expect("UTF-8")
    };
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("created");
    let of_the_project = list(std::path::Path::new(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(list(&elsewhere), of_the_project);

    let mine = "name = 'mine'\nhost-architecture = 'amd64'\npackages = ['gcc']\n\
                debian = { suite = 'sid', archives = ['main'] }\n\
                [[compiler]]\ngcc = '16'\narchitecture = 'amd64'\ncommand = 'gcc'\n";
    std::fs::create_dir(elsewhere.join("images")).expect("created");
    driverkit_matrix::fs::write(&elsewhere.join("images/mine.toml"), mine).expect("written");
    let of_mine = list(&elsewhere);
    assert!(
        of_mine.contains("builder:mine") && !of_mine.contains("builder:sid"),
        "{of_mine}"
    );
    images(folder.path())
        .current_dir(&elsewhere)
        .args(["--image-descriptions", "nowhere"])
        .assert()
        .code(2)
        .stderr(contains("failed to read directory nowhere"));
}

#[test]
fn an_unknown_image_is_refused_with_the_existing_names() {
    let folder = tempfile::tempdir().expect("folder");
    images(folder.path())
        .args([
            "build",
            "bookwurm",
            "--mirror",
            "debian=http://mirror.example/debian",
        ])
        .assert()
        .code(2)
        .stderr(contains(
            "no builder image is called `bookwurm`; expected one of bookworm, bullseye, proof, sid, trixie",
        ));
}

#[test]
fn building_without_a_mirror_is_refused_and_names_the_flag() {
    let folder = tempfile::tempdir().expect("folder");
    images(folder.path())
        .args(["build", "bookworm"])
        .assert()
        .code(2)
        .stderr(contains("--mirror debian=URL"));
}

#[test]
fn a_failed_image_build_is_an_infrastructure_error() {
    let folder = tempfile::tempdir().expect("folder");
    let empty = format!("debian=file://{}", folder.path().display());
    images(folder.path())
        .args(["build", "bookworm", "--mirror", &empty])
        .assert()
        .code(3)
        .stdout("");
}
