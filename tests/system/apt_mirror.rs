//! Compares the kernels that `kernels debian` finds on apt's mirror of this machine with apt's own view of the mirror.
//!
//! apt gets its own state (scripts/apt.sh), with indexes of all suites and both architectures, independent of this
//! machine's apt configuration. The indexes are read by other code than the program's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use support::host::run;
use support::locks;
use support::workspace::Workspace;

/// The suites; a mirror may lack the backports of an old suite.
const SUITES: [&str; 6] = [
    "bullseye",
    "bullseye-backports",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
];

/// Prints suite, architecture and file of each index that apt has downloaded.
const UPDATE: &str = r#"
set -euo pipefail
root=$1 work=$2
shift 2
. "$root/scripts/apt.sh"
private_apt "$work" "$@"
sed -i /^deb-src/d "$work/etc/sources.list"
apt-get update -qq >&2
apt-get indextargets --format '$(RELEASE) $(ARCHITECTURE) $(FILENAME)' 'Created-By: Packages'
"#;

/// A package in apt's index, by field name.
type Fields = BTreeMap<String, String>;

/// Returns the packages of an index whose names start like those of kernel packages.
fn read_index(file: &str) -> Vec<Fields> {
    let text = run(
        "/usr/lib/apt/apt-helper",
        &["cat-file", file],
        Path::new("/"),
    );
    let is_wanted = |text: &&str| {
        ["linux-headers-", "linux-kbuild-"]
            .iter()
            .any(|start| text.starts_with(&format!("Package: {start}")))
    };
    let field = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        (!line.starts_with(' ')).then(|| (name.to_owned(), value.to_owned()))
    };
    text.split("\n\n")
        .filter(is_wanted)
        .map(|text| text.lines().filter_map(field).collect())
        .collect()
}

/// Returns the kernels of an index: release and architecture, with the names of the packages that each kernel needs.
fn kernels(index: &[Fields], architecture: &str) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut kernels = BTreeMap::new();
    for package in index
        .iter()
        .filter(|one| one["Architecture"] == architecture)
    {
        let depends = package
            .get("Depends")
            .map(String::as_str)
            .unwrap_or_default();
        let depends = || depends.split(", ").filter_map(|one| one.split(' ').next());
        let common =
            depends().find(|name| name.starts_with("linux-headers-") && name.contains("-common"));
        let kbuild = depends().find(|name| name.starts_with("linux-kbuild-"));
        let (Some(common), Some(kbuild)) = (common, kbuild) else {
            continue;
        };
        let name = &package["Package"];
        let (abi, _) = common.split_once("-common").unwrap();
        let flavour = name.strip_prefix(abi).unwrap();
        let version = package["Version"].rsplit(':').next().unwrap();
        let names = [name.as_str(), common, kbuild].map(str::to_owned);
        kernels.insert(
            (format!("{version}{flavour}"), architecture.to_owned()),
            names.into(),
        );
    }
    kernels
}

/// Returns the path in the archive, the size and the digest of a package.
fn file(package: &Value) -> (String, u64, String) {
    let url = package["url"].as_str().unwrap();
    let (_, path) = url.split_once("/pool/").unwrap();
    (
        format!("pool/{path}"),
        package["size"].as_u64().unwrap(),
        package["sha256"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn kernels_of_debian_are_the_kernels_in_apts_index() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mirror = run("scripts/mirror.sh", &[], root).trim_end().to_owned();
    let is_there = |suite: &&str| {
        let url = format!("{mirror}/dists/{suite}/InRelease");
        Command::new("curl")
            .args(["--silent", "--fail", "--output", "/dev/null", &url])
            .status()
            .unwrap()
            .success()
    };
    let (suites, absent): (Vec<&str>, Vec<&str>) = SUITES.into_iter().partition(is_there);
    for suite in ["bullseye", "bookworm", "bookworm-backports", "trixie"] {
        assert!(suites.contains(&suite), "{suites:?}");
    }

    let workspace = Workspace::new();
    let apt = workspace.path().join("apt").to_string_lossy().into_owned();
    let root_text = root.to_string_lossy();
    let mut arguments = vec!["-c", UPDATE, "update", &root_text, &apt];
    arguments.extend(&suites);
    let indexes = run("bash", &arguments, root);
    let mut expected = BTreeMap::new();
    let mut files = BTreeMap::new();
    let mut count = 0;
    for line in indexes.lines() {
        let [_, architecture, path] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let index = read_index(path);
        count += 1;
        expected.append(&mut kernels(&index, architecture));
        for package in &index {
            let (path, size) = (&package["Filename"], package["Size"].parse().unwrap());
            let file = (path.clone(), size, package["SHA256"].clone());
            files.insert(file, package["Package"].clone());
        }
    }
    assert_eq!(count, suites.len() * 2, "{indexes}");

    let given = format!("debian={mirror}");
    let mut command = vec!["--mirror", &given, "kernels", "debian", "--format", "json"];
    command.extend(suites.iter().flat_map(|suite| ["--suite", suite]));
    let report = workspace.run(&command);
    let (_, output) = report.split_once("exit 0\n--- out\n").unwrap();
    let (output, _) = output.split_once("--- err\n").unwrap();
    let found: Value = serde_json::from_str(output).unwrap();
    let mut names = BTreeMap::new();
    for kernel in found["kernels"].as_array().unwrap() {
        let text = |key: &str| kernel[key].as_str().unwrap().to_owned();
        let packages = kernel["packages"].as_array().unwrap();
        // Each file is in apt's index, with the same size and digest.
        let packages: Vec<&String> = packages
            .iter()
            .map(|package| &files[&file(package)])
            .collect();
        // The fourth package is the linux-kbuild of the other architecture.
        assert_eq!(packages.len(), 4, "{kernel}");
        let packages: BTreeSet<String> = packages.into_iter().cloned().collect();
        names.insert((text("kernel_release"), text("architecture")), packages);
    }
    assert!(names.len() > 40, "{names:?}");
    assert_eq!(names, expected);
    eprintln!("{} kernels of {suites:?}", names.len());

    // The lock contains the same files, and the indexes are signed by Debian's keys.
    workspace.put(
        "m.toml",
        &format!(
            "drivers = [\"9.1.0+driver\"]\narchitectures = [\"amd64\", \"arm64\"]\n[[target]]\nname = \"debian\"\nkernels = {{ from = \"mirror\", suites = {suites:?}, keyring = \"/usr/share/keyrings/debian-archive-keyring.gpg\", allow_expired = true }}\n"
        ),
    );
    let variables = [("PATH", Path::new("/usr/bin"))];
    let report = workspace.run_with(&["--mirror", &given, "lock", "m.toml"], &variables);
    assert!(report.starts_with("exit 0"), "{report}");
    let locked = locks::lines(&workspace, "m.lock");
    assert_eq!(locked.len(), expected.len());
    for kernel in &locked {
        for package in kernel["packages"].as_array().unwrap() {
            assert!(files.contains_key(&file(package)), "{package}");
        }
        // The lock contains the usual URLs for every mirror.
        let (_, usual) = driverkit_matrix::discover::DEFAULT_MIRRORS[0];
        let is_usual = |url: &String| url.starts_with(&format!("{usual}/pool/"));
        assert!(locks::urls(kernel).iter().all(is_usual), "{kernel}");
    }
    for suite in absent {
        let report = workspace.run(&["--mirror", &given, "kernels", "debian", "--suite", suite]);
        assert!(
            report.contains(&format!("no mirror has the suite {suite}")),
            "{report}"
        );
    }
}
