//! Tests of kernels that the loader requests by the same name: which kernel gets the name, and that no other does.

use driverkit_matrix::fs;
use driverkit_matrix::report::read_manifest;
use serde_json::json;

use support::grid::{Grid, deb, module, rule};

const BACKPORT: &str = "one/x86_64/debian_6.1.1+deb12-amd64_1";
const STABLE: &str = "one/x86_64/debian_6.1.1+deb13-amd64_1";
/// The file that the loader requests on hosts of both kernels.
const NAME: &str = "one/x86_64/scap_debian_6.1.1-1-amd64_1.ko";

/// Returns a kernel with release `6.1.1+SUITE-amd64` from packages of version `version`.
fn kernel(grid: &Grid, suite: &str, version: &str) -> String {
    let uts = format!("6.1.1+{suite}-amd64");
    let base = format!("usr/src/linux-headers-{uts}");
    let config =
        "CONFIG_X86_64=y\nCONFIG_GCC_VERSION=120200\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n";
    let files = [
        (
            format!("debs/linux-headers-{uts}_{version}_amd64.deb"),
            deb(&[
                (&format!("{base}/.config"), config),
                (
                    &format!("{base}/include/generated/utsrelease.h"),
                    &format!("#define UTS_RELEASE \"{uts}\"\n"),
                ),
                (&format!("{base}/Makefile"), suite),
            ]),
        ),
        (
            format!("debs/linux-headers-6.1.1+{suite}-common_{version}_all.deb"),
            deb(&[(
                &format!("usr/src/linux-headers-6.1.1+{suite}-common/Makefile"),
                "all:\n",
            )]),
        ),
        (
            format!("debs/linux-kbuild-6.1.1+{suite}_{version}_amd64.deb"),
            deb(&[(
                &format!("usr/lib/linux-kbuild-6.1.1+{suite}/scripts/x"),
                suite,
            )]),
        ),
    ];
    let headers = files.map(|(name, content)| {
        grid.write(&name, content);
        grid.path(&name).display().to_string()
    });
    grid.write(&format!("{suite}.ko"), module(&uts));
    format!("{{ release = \"{uts}\", headers = {headers:?} }}")
}

/// Returns a grid, and its kernels of bookworm-backports and trixie.
fn grid() -> (Grid, [String; 2]) {
    let grid = Grid::new();
    let kernels = [
        kernel(&grid, "deb12", "6.1.1-1~bpo12+1"),
        kernel(&grid, "deb13", "6.1.1-1"),
    ];
    let rules = [(BACKPORT, "deb12"), (STABLE, "deb13")].map(|(build, suite)| {
        let copies = json!({ "copies": { "module.ko": grid.path(&format!("{suite}.ko")) } });
        rule(&format!("module {build}"), &copies)
    });
    grid.fake(&rules);
    (grid, kernels)
}

fn write_matrix(grid: &Grid, kernels: &[String]) {
    let matrix = grid.matrix(&[]);
    grid.write_matrix(&matrix.replace(
        "kernels = []",
        &format!("kernels = [{}]", kernels.join(", ")),
    ));
}

/// Returns the builds of an output directory, each with the build that owns its loader name.
fn taken(grid: &Grid, out: &str) -> Vec<(String, Option<String>)> {
    let manifest = read_manifest(&grid.path(&format!("{out}/manifest.json"))).unwrap();
    let builds = manifest.builds.into_iter().map(|build| {
        let taken_by = build.artifacts[0].name_taken_by.as_ref();
        (
            build.build_id.to_string(),
            taken_by.map(ToString::to_string),
        )
    });
    builds.collect()
}

#[test]
fn a_shared_name_goes_to_the_kernel_of_that_version() {
    let (grid, kernels) = grid();
    write_matrix(&grid, &kernels);
    let name = grid.path(&format!("out/{NAME}"));
    let lost = (BACKPORT.to_owned(), Some(STABLE.to_owned()));
    let has = (STABLE.to_owned(), None);
    let stable = module("6.1.1+deb13-amd64");

    let (code, text) = grid.run(&["--kernel", "*deb12*"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains(&format!("{BACKPORT}: name taken by {STABLE}")),
        "{text}"
    );
    assert_eq!(taken(&grid, "out"), std::slice::from_ref(&lost));
    assert!(!name.exists());

    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(taken(&grid, "out"), [lost.clone(), has.clone()]);
    assert_eq!(fs::read(&name).unwrap(), stable);
    for filter in ["*deb12*", "*deb13*"] {
        assert_eq!(grid.run(&["--kernel", filter]).0, 0);
        assert_eq!(fs::read(&name).unwrap(), stable);
    }

    let mut all = Vec::new();
    for shard in ["1/3", "2/3", "3/3"] {
        let (code, text) = grid.run(&["--out", "parts", "--shard", shard]);
        if code == 0 {
            all.append(&mut taken(&grid, "parts"));
        } else {
            assert!(text.contains("matches no build"), "{text}");
        }
    }
    all.sort();
    assert_eq!(all, [lost, has]);
    assert_eq!(
        fs::read(&grid.path(&format!("parts/{NAME}"))).unwrap(),
        stable
    );
}

#[test]
fn plan_shows_which_kernel_has_a_name() {
    let (grid, kernels) = grid();
    write_matrix(&grid, &kernels);
    let plan = |words: &[&str]| {
        let output = grid.program(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let table = plan(&["plan", "matrix.toml", "--kernel", "*deb12*"]);
    let (_, section) = table.split_once("WITHOUT LOADER NAME").unwrap();
    let row: Vec<&str> = section
        .lines()
        .nth(1)
        .unwrap()
        .split("  ")
        .filter(|cell| !cell.is_empty())
        .collect();
    assert_eq!(
        row.iter().map(|cell| cell.trim()).collect::<Vec<_>>(),
        [
            "debian 6.1.1+deb12-amd64 #1 amd64",
            "debian 6.1.1-1-amd64",
            "debian 6.1.1+deb13-amd64 #1 amd64"
        ],
        "{table}"
    );
    assert!(!plan(&["plan", "matrix.toml", "--kernel", "*deb13*"]).contains("TAKEN BY"));
    let json: serde_json::Value =
        serde_json::from_str(&plan(&["plan", "matrix.toml", "--format", "json"])).unwrap();
    assert_eq!(json["builds"][0]["name_taken_by"], STABLE);
    assert!(json["builds"][1].get("name_taken_by").is_none());
}

#[test]
fn a_name_owned_by_a_kernel_of_another_plan_is_kept() {
    let (grid, [backport, stable]) = grid();
    let name = grid.path(&format!("out/{NAME}"));
    write_matrix(&grid, std::slice::from_ref(&backport));
    assert_eq!(grid.run(&[]).0, 0);
    let module = module("6.1.1+deb12-amd64");
    assert_eq!(fs::read(&name).unwrap(), module);
    write_matrix(&grid, std::slice::from_ref(&stable));
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(fs::read(&name).unwrap(), module);
    assert_eq!(
        taken(&grid, "out"),
        [(STABLE.to_owned(), Some(BACKPORT.to_owned()))]
    );
    // If both kernels are in one plan, the plan decides.
    write_matrix(&grid, &[backport, stable]);
    assert_eq!(grid.run(&[]).0, 0);
    assert_ne!(fs::read(&name).unwrap(), module);
}

#[test]
fn an_artifacts_own_name_wins_over_an_alias_of_another() {
    let (grid, [backport, _]) = grid();
    let name = grid.path(&format!("out/{NAME}"));
    let own = grid.path(&format!(
        "out/one/x86_64/scap_{}.ko",
        &BACKPORT["one/x86_64/".len()..]
    ));
    write_matrix(&grid, std::slice::from_ref(&backport));
    assert_eq!(grid.run(&[]).0, 0);
    let of_backport = fs::read(&name).unwrap();
    // A kernel with exactly this name, in another plan with the same output directory.
    let listed = kernel(&grid, "deb13", "6.1.1-1");
    let release = "\"6.1.1+deb13-amd64\"";
    assert!(listed.contains(release), "{listed}");
    write_matrix(&grid, &[listed.replace(release, "\"6.1.1-1-amd64\"")]);
    let copies = json!({ "copies": { "module.ko": grid.path("deb13.ko") } });
    grid.fake(&[rule("module one/x86_64/debian_6.1.1-1-amd64_1", &copies)]);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    let note = format!(
        "{NAME} now belongs to one/x86_64/debian_6.1.1-1-amd64_1: it was a further name of \
         one/x86_64/scap_{}.ko, which stays",
        &BACKPORT["one/x86_64/".len()..]
    );
    assert!(text.contains(&note), "{text}");
    let manifest = read_manifest(&grid.path("out/manifest.json")).unwrap();
    assert!(manifest.run.notes.contains(&note));
    assert_eq!(fs::read(&name).unwrap(), module("6.1.1+deb13-amd64"));
    assert_eq!(fs::read(&own).unwrap(), of_backport);
    assert!(!grid.run(&[]).1.contains("now belongs to"));
    // The first kernel does not get the name back.
    write_matrix(&grid, &[backport]);
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(fs::read(&name).unwrap(), module("6.1.1+deb13-amd64"));
    let owner = "one/x86_64/debian_6.1.1-1-amd64_1".to_owned();
    assert_eq!(taken(&grid, "out"), [(BACKPORT.to_owned(), Some(owner))]);
}

/// A file belongs to a driver version: where a rule leaves out the kernel that has the name, the other one gets it.
#[test]
fn a_name_is_free_for_a_driver_that_is_not_built_for_its_kernel() {
    let (grid, kernels) = grid();
    for rule in [
        "kernel = \"*deb13*\"\ndriver = \"two\"",
        "kernel = \"*deb13*\"\ndriver = \"two\"\nartifact = \"module\"",
    ] {
        let matrix = grid.matrix(&[]).replace(
            "kernels = []",
            &format!("kernels = [{}]", kernels.join(", ")),
        );
        let matrix = matrix
            .replace("drivers = [\"one\"]", "drivers = [\"one\", \"two\"]")
            .replace(
                "[defaults]",
                "[driver.\"two\"]\nsource = { path = \"driver\" }\nmodule_name = \"scap\"\n\n[defaults]",
            );
        grid.write_matrix(&format!(
            "{matrix}\n[[exclude]]\n{rule}\nreason = \"does not compile\"\n"
        ));
        let rules = [(BACKPORT, "deb12"), (STABLE, "deb13")].map(|(build, suite)| {
            let copies = json!({ "copies": { "module.ko": grid.path(&format!("{suite}.ko")) } });
            let of_two = build.replace("one/", "two/");
            [build, &of_two].map(|build| self::rule(&format!("module {build}"), &copies))
        });
        grid.fake(&rules.concat());
        let out = if rule.contains("artifact") { "a" } else { "b" };
        let (code, text) = grid.run(&["--out", out]);
        assert_eq!(code, 0, "{text}");
        let of_two = |id: &str| id.replace("one/", "two/");
        assert_eq!(
            taken(&grid, out),
            [
                (BACKPORT.to_owned(), Some(STABLE.to_owned())),
                (of_two(BACKPORT), None),
                (STABLE.to_owned(), None),
            ]
        );
        for (name, suite) in [(NAME.to_owned(), "deb13"), (of_two(NAME), "deb12")] {
            let module = module(&format!("6.1.1+{suite}-amd64"));
            assert_eq!(
                fs::read(&grid.path(&format!("{out}/{name}"))).unwrap(),
                module
            );
        }
        // A filter changes nothing.
        let output = grid
            .program(&["plan", "matrix.toml", "--names", "--driver", "two"])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("yes"), "{text}");
        let output = grid.program(&["plan", "matrix.toml", "--names"]).output();
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        let state = "only for two, else debian 6.1.1+deb13-amd64 #1 amd64 has the name";
        assert!(text.contains(state), "{text}");
    }
}
