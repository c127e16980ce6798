//! The example of README.md works: its matrix is planned and really built, and the commands below it run.
//!
//! `scripts/test.sh` prepares the requirements: a Docker daemon, the builder image `bookworm`, the driver sources, the
//! kernel source and the mirror's URL.

use std::path::Path;

use driverkit_matrix::fs;
use driverkit_matrix::report::{Manifest, read_manifest};
use support::real::{kernel_of_bookworm, kernel_source, program, vendor};

/// Returns the matrix and the commands of the section "Your own matrix", without comments.
fn example(readme: &str) -> (String, Vec<Vec<String>>) {
    let section = readme
        .split("\n## ")
        .find(|it| it.starts_with("Your own matrix"));
    let (_, rest) = section.unwrap().split_once("```toml\n").unwrap();
    let (matrix, commands) = rest.split_once("```").unwrap();
    let lines = commands
        .lines()
        .filter_map(|line| line.strip_prefix("    driverkit-matrix "));
    let words = |line: &str| {
        line.split('#')
            .next()
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    (matrix.to_owned(), lines.map(words).collect())
}

fn built(manifest: &Manifest) -> usize {
    manifest
        .builds
        .iter()
        .flat_map(|build| &build.artifacts)
        .filter(|one| one.status.is_success())
        .count()
}

#[test]
fn the_example_of_the_readme_works() {
    let readme =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (matrix, commands) = example(&readme);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ((_, source), kernel) = (kernel_source(), kernel_of_bookworm(folder));
    // This machine has other versions than in the README, at other places.
    let matrix = matrix.replace("\"6.1.55\"", &format!("\"{source}\""));
    assert!(matrix.contains(&source), "{matrix}");
    let vendor = vendor();
    let vendor = vendor.display();
    let places = format!(
        "\n[mirrors]\n\"https://cdn.kernel.org/pub/linux/kernel/v6.x\" = [\"file://{vendor}/linux-6.1\"]\n\
         [driver.\"8.1.0+driver\"]\nsource = {{ path = \"{vendor}/falcosecurity-libs-0.20.0\" }}\n"
    );
    fs::write(&folder.join("my.toml"), matrix + &places).unwrap();
    let config = "matrices/configs/modules.config";
    let text = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(config)).unwrap();
    fs::write(&folder.join(config), text).unwrap();

    let mut asked = Vec::new();
    for mut words in commands {
        let name = words[0].clone();
        match name.as_str() {
            // Only one of Debian's kernels: a dozen takes minutes.
            "run" => words.extend(
                [
                    "--kernel",
                    &source,
                    "--kernel",
                    &kernel.release,
                    "--executor",
                    "docker",
                ]
                .map(str::to_owned),
            ),
            "why" => words[1].clone_from(&kernel.release),
            // Debian has a package of its kernel; the other kernel would have to be compiled.
            "prove" => words
                .extend(["--kernel", &kernel.release, "--executor", "docker"].map(str::to_owned)),
            "diff" => {
                let yesterday = folder.join("yesterday/out");
                std::fs::create_dir_all(&yesterday).unwrap();
                std::fs::copy(
                    folder.join("out/manifest.json"),
                    yesterday.join("manifest.json"),
                )
                .unwrap();
            }
            // `real_driverkit` tests the file of this command.
            "docker" => continue,
            _ => {}
        }
        let output = program(folder).args(&words).output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {text}");
        match name.as_str() {
            "plan" => assert!(
                text.contains("vanilla") && text.contains("debian"),
                "{text}"
            ),
            "run" => assert_eq!(
                built(&read_manifest(&folder.join("out")).unwrap()),
                2,
                "{text}"
            ),
            "report" => {
                let page = std::fs::read_to_string(folder.join(&words[2])).unwrap();
                assert!(page.contains(&kernel.release));
            }
            "why" => assert!(text.contains("built"), "{text}"),
            "diff" => assert!(text.contains("nothing changed"), "{text}"),
            "prove" => assert!(text.contains("1 loaded, 0 refused, 0 not proven"), "{text}"),
            "verify" => assert!(text.contains("all files match the manifest"), "{text}"),
            other => {
                panic!("the README contains a command that this test does not support: {other}")
            }
        }
        asked.push(name);
    }
    assert_eq!(
        asked,
        [
            "plan", "run", "run", "report", "why", "diff", "verify", "prove"
        ]
    );
}
