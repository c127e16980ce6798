//! Tests of runs without a network: everything that is missing is listed, and existing artifacts stay.

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;

use crate::run::{MODULE, NOTHING};
use support::grid::{Grid, RELEASE};
use support::server::Server;

/// Returns the files that a run lists as missing.
fn missing(text: &str) -> Vec<&str> {
    let lines = text.lines();
    lines
        .filter_map(|line| line.strip_prefix("missing for "))
        .collect()
}

#[test]
fn missing_files_are_listed_one_by_one() {
    let grid = Grid::new();
    let local = grid.headers("1").map(|path| path.display().to_string());
    grid.write_matrix(&format!(
        r#"
drivers = ["one", "8.1.0+driver"]
architectures = ["amd64"]
artifacts = ["module"]

[driver."one"]
source = {{ path = "driver" }}
module_name = "scap"

[[target]]
name = "debian"
kernels = [{{ release = "6.1.1-1-amd64", headers = {local:?} }}]

[[target]]
name = "rocky"
kernels = [{{ release = "5.14.0-284.11.1.el9_2.x86_64", headers = ["https://a.example/kernel-devel-5.14.0-284.11.1.el9_2.x86_64.rpm"] }}]

[[target]]
name = "flatcar"
kernels = [{{ release = "3815.2.0" }}]

[[target]]
name = "ubuntu-generic"
kernels = [{{ release = "5.19.0-15-generic", version = "15" }}]
"#
    ));
    let (code, text) = grid.run(&["--offline"]);
    assert_eq!(code, 1, "{text}");
    let flatcar = |file: &str| {
        format!(
            "https://stable.release.flatcar-linux.net/amd64-usr/3815.2.0/flatcar_production_image_{file} \
             or one of 3 other URLs, which `kernels --headers` lists"
        )
    };
    let ubuntu = |file: &str, others: usize| {
        format!(
            "ubuntu-generic 5.19.0-15-generic #15 amd64: https://mirrors.edge.kernel.org/ubuntu/pool/main/l/linux/{file} \
             or one of {others} other URLs, which `kernels --headers` lists"
        )
    };
    let expected = [
        "driver 8.1.0+driver: https://github.com/falcosecurity/libs/archive/8.1.0+driver.tar.gz"
            .to_owned(),
        format!(
            "flatcar 3815.2.0 #1 amd64, and the kernel source that it names: {}",
            flatcar("packages.txt")
        ),
        format!(
            "flatcar 3815.2.0 #1 amd64: {}",
            flatcar("kernel_config.txt")
        ),
        "rocky 5.14.0-284.11.1.el9_2.x86_64 #1 amd64: \
         https://a.example/kernel-devel-5.14.0-284.11.1.el9_2.x86_64.rpm"
            .to_owned(),
        ubuntu("linux-headers-5.19.0-15-generic_5.19.0-15.15_amd64.deb", 8),
        ubuntu("linux-headers-5.19.0-15_5.19.0-15.15_all.deb", 8),
    ];
    // The first three are on the screen, all of them in a file.
    assert_eq!(missing(&text), &expected[..3]);
    let file = "out/.driverkit-matrix/missing.txt";
    let listed = std::fs::read_to_string(grid.path(file)).unwrap();
    assert_eq!(missing(&listed), expected);
    assert!(
        text.contains("6 files are missing for an offline run: "),
        "{text}"
    );
    // Builds that need no missing file are built; the others are not failures of their kernels.
    let builds = grid.manifest().builds;
    let outcomes = builds.iter().flat_map(|build| &build.artifacts);
    let outcomes: Vec<_> = outcomes
        .map(|artifact| {
            let class = artifact.failure.as_ref();
            class.map_or_else(String::new, |failure| failure.class.to_string())
        })
        .collect();
    assert_eq!(outcomes.len(), 8);
    assert_eq!(outcomes.iter().filter(|class| class.is_empty()).count(), 1);
    assert_eq!(
        outcomes.iter().filter(|class| *class == "download").count(),
        7
    );
}

#[test]
fn an_offline_run_keeps_artifacts_that_it_cannot_build_again() {
    let grid = Grid::new();
    let server = Server::of(&grid.path(""));
    grid.point_to(&server);
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    let module = fs::read(&grid.path(MODULE)).unwrap();
    let asked = server.requests();

    // The second kernel's packages are on a server, which an offline run does not contact.
    grid.write_headers("2", RELEASE);
    grid.write_matrix(&grid.matrix(&["1", "2"]));
    grid.point_to(&server);
    let (code, text) = grid.run(&["--offline"]);
    assert_eq!(code, 1, "{text}");
    let expected: Vec<String> = grid
        .headers("2")
        .iter()
        .map(|path| {
            let file = path.strip_prefix(grid.path("")).unwrap();
            format!(
                "debian 6.1.2-1-amd64 #1 amd64: {}/{}",
                server.address,
                file.display()
            )
        })
        .collect();
    assert_eq!(missing(&text), expected);
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(server.requests(), asked);
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), module);
    assert_eq!(grid.statuses(), [Status::Cached, Status::Error]);

    // With a network the missing build is done, and nothing is built twice.
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.jobs(), ["check", "module"]);

    // If nothing is missing, nothing is listed.
    let (code, text) = grid.run(&["--offline"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(missing(&text), NOTHING);
}
