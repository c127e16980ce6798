//! A change reruns what depends on it, and nothing else.

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;

use crate::run::{MODULE, NOTHING};
use support::grid::{Grid, RELEASE, module};

/// Changes one property of a grid.
type Change = fn(&Grid);

const TABLE: [(&str, Change, &[&str]); 15] = [
    (
        "the driver's sources",
        |grid| grid.write_driver("driver", "other"),
        &["module"],
    ),
    (
        "a configure check",
        |grid| {
            grid.write("driver/configure/CHECK/test.c", "long x;\n");
            grid.fake(&[]);
        },
        &["check", "module"],
    ),
    (
        "a header package",
        |grid| {
            grid.write_headers("2", RELEASE);
            let [changed, ..] = grid.headers("2");
            let [package, ..] = grid.headers("1");
            fs::rename(&changed, &package).unwrap();
        },
        &["check", "module"],
    ),
    (
        "a package that was moved",
        |grid| {
            for path in grid.headers("1") {
                let other = path.display().to_string().replace("debs", "moved");
                fs::write(other.as_ref(), fs::read(&path).unwrap()).unwrap();
                fs::remove_file(&path).unwrap();
            }
            grid.edit_matrix("/debs/", "/moved/");
        },
        &[],
    ),
    (
        "the compiler",
        |grid| grid.edit_matrix("retries = 1", "gcc = \"11\""),
        &["check", "module"],
    ),
    (
        "the toolchain",
        |grid| {
            let script = fs::read_to_string(&grid.path("fake.json")).unwrap();
            grid.write(
                "fake.json",
                script.replacen('{', "{\"toolchain\": \"other\", ", 1),
            );
        },
        &["check", "module"],
    ),
    (
        "the timeout",
        |grid| grid.edit_matrix("retries = 1", "timeout = \"3m\""),
        &[],
    ),
    (
        "the memory",
        |grid| grid.edit_matrix("retries = 1", "memory = \"1GiB\""),
        &[],
    ),
    (
        "the retries",
        |grid| grid.edit_matrix("retries = 1", "retries = 0"),
        &[],
    ),
    (
        "the driver version's name",
        |grid| grid.edit_matrix("\"one\"", "\"two\""),
        &[],
    ),
    (
        "a probe is wanted too",
        |grid| grid.edit_matrix("[\"module\"]", "[\"module\", \"probe\"]"),
        &["check", "probe"],
    ),
    (
        "the artifact was deleted",
        |grid| fs::remove_file(&grid.path(MODULE)).unwrap(),
        &[],
    ),
    (
        "the artifact was changed",
        |grid| grid.write(MODULE, "broken"),
        &[],
    ),
    (
        "the trees were cleaned away",
        |grid| remove_trees(grid),
        &[],
    ),
    (
        "the trees were cleaned away before a change",
        |grid| {
            remove_trees(grid);
            grid.write_driver("driver", "other");
        },
        &["module"],
    ),
];

/// Removes every tree.
fn remove_trees(grid: &Grid) {
    grid.program(&["cache", "gc", "--trees", "0"])
        .assert()
        .success();
    assert_eq!(
        std::fs::read_dir(grid.path("cache/trees")).unwrap().count(),
        0
    );
}

#[test]
fn a_change_reruns_what_depends_on_it_and_nothing_else() {
    for (what, change, jobs) in TABLE {
        let grid = Grid::new();
        assert_eq!(grid.run(&[]).0, 0);
        grid.jobs();
        change(&grid);
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{what}: {text}");
        assert_eq!(grid.jobs(), jobs, "{what}");
        let artifact = grid.record().artifacts.remove(0);
        let is_built = jobs.contains(&"module");
        assert_eq!(
            artifact.status,
            if is_built {
                Status::Built
            } else {
                Status::Cached
            },
            "{what}"
        );
        let path = grid.path("out").join(artifact.path.unwrap());
        assert_eq!(fs::read(&path).unwrap(), module(RELEASE), "{what}");
    }
}

/// The same table for sources that CMake configures.
const CMAKE_TABLE: [(&str, Change, &[&str]); 6] = [
    ("nothing", |_| (), &[]),
    // The driver is configured again, with the same result.
    (
        "the device name",
        |grid| grid.edit_matrix("[defaults]", "device_name = \"other\"\n[defaults]"),
        &["configure"],
    ),
    (
        "the module's name",
        |grid| grid.edit_matrix("module_name = \"scap\"", "module_name = \"other\""),
        &["configure"],
    ),
    (
        "the driver's sources",
        |grid| grid.write("cmake-driver/driver/main.c", "other"),
        &["configure"],
    ),
    (
        "sources that no build reads",
        |grid| grid.write("cmake-driver/userspace/a.cpp", "other"),
        &[],
    ),
    (
        "the compiler",
        |grid| grid.edit_matrix("retries = 1", "gcc = \"11\""),
        &["module"],
    ),
];

#[test]
fn a_driver_is_configured_once_for_all_kernels_and_again_when_it_changes() {
    for (what, change, jobs) in CMAKE_TABLE {
        let grid = Grid::of_four();
        for name in ["CMakeLists.txt", "main.c"] {
            grid.write(&format!("cmake-driver/driver/{name}"), name);
        }
        grid.write("cmake-driver/cmake/modules/a.cmake", "");
        grid.write_matrix(&grid.matrix(&["1", "2"]));
        grid.edit_matrix("path = \"driver\"", "path = \"cmake-driver\"");
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(grid.jobs(), ["configure", "module", "module"], "{text}");
        change(&grid);
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{what}: {text}");
        let mut found = grid.jobs();
        found.dedup();
        assert_eq!(found, jobs, "{what}");
    }
}

#[test]
fn another_driver_version_runs_only_its_module_job() {
    let grid = Grid::new();
    grid.run(&[]);
    grid.jobs();
    grid.write_driver("other", "other");
    grid.edit_matrix("drivers = [\"one\"]", "drivers = [\"one\", \"two\"]");
    grid.edit_matrix(
        "[defaults]",
        "[driver.\"two\"]\nsource = { path = \"other\" }\nmodule_name = \"scap\"\n[defaults]",
    );
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["module"]);
    assert_eq!(grid.statuses(), [Status::Built, Status::Cached]);
}

#[test]
fn an_artifact_lost_from_the_store_is_built_again() {
    let everything: Change = |grid| std::fs::remove_dir_all(grid.path("cache/blobs")).unwrap();
    let changed = |grid: &Grid| {
        let artifact = grid.record().artifacts[0].sha256.unwrap().to_string();
        grid.write(
            &format!("cache/blobs/{}/{artifact}", &artifact[..2]),
            "broken",
        );
    };
    let with_more_to_do = |grid: &Grid| {
        std::fs::remove_dir_all(grid.path("cache/blobs")).unwrap();
        grid.edit_matrix("[\"module\"]", "[\"module\", \"probe\"]");
    };
    let table: [(Change, &[&str]); 3] = [
        (everything, &["module"]),
        (changed, &["module"]),
        (with_more_to_do, &["check", "module", "probe"]),
    ];
    for (lose, jobs) in table {
        let grid = Grid::new();
        grid.run(&[]);
        grid.jobs();
        lose(&grid);
        fs::remove_file(&grid.path(MODULE)).unwrap();
        let (code, text) = grid.run(&[]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(grid.jobs(), jobs);
        assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), module(RELEASE));
        assert_eq!(grid.run(&[]).0, 0);
        assert_eq!(grid.jobs(), NOTHING);
    }
}
