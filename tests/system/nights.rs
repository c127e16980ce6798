//! Real kernel lists of four nights: the changes that `lock` reports, and that a run builds only new kernels.
//!
//! The lists are read from `../shared/data` next to the checkout or from the directory named by
//! `DRIVERKIT_MATRIX_KERNEL_LISTS`; if they do not exist, the tests fail with advice, like the other tests here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::discover::lock::{Lock, State};
use driverkit_matrix::failure::Status;
use driverkit_matrix::kernel::{Architecture, Kernel, Package, file_name};
use driverkit_matrix::store::Store;
use driverkit_matrix::target;
use serde_json::{Value, json};
use support::grid::{Grid, deb, module_of, rule};

const ARCHITECTURES: [(Architecture, &str); 2] = [
    (Architecture::Amd64, "x86_64"),
    (Architecture::Arm64, "aarch64"),
];

/// Targets with every kind of change (other URLs, other file names, renamed releases, a renamed target), and the start
/// of the releases that are built.
const BUILT: [(&str, &str); 5] = [
    ("amazonlinux2", "4.14.1"),
    ("centos", "3.10.0-1"),
    ("debian", "5.10"),
    ("photon", "4.19.1"),
    ("ubuntu-generic", "5.4.0-4"),
];

/// Known counts for a night and one architecture: kernels in the list, new and gone kernels by name, equal file names
/// at other URLs, other file names, and new kernels that only were renamed.
#[derive(Debug, PartialEq)]
struct Churn {
    kernels: usize,
    came: usize,
    went: usize,
    moved: usize,
    changed: usize,
    renamed: usize,
}

/// The nights, with the known changes of each since the one before.
const NIGHTS: [(&str, Option<[Churn; 2]>); 4] = [
    ("nights/c183916-MACHINE.json.gz", None),
    (
        "nights/13f79c8-MACHINE.json.gz",
        Some([
            churn(4450, 704, 623, 426, 113, 347),
            churn(1823, 595, 532, 133, 10, 347),
        ]),
    ),
    (
        "nights/671bd65-MACHINE.json.gz",
        Some([
            churn(4518, 81, 13, 289, 6, 0),
            churn(1870, 60, 13, 138, 8, 0),
        ]),
    ),
    (
        "kernel-crawler-MACHINE.json",
        Some([churn(4544, 51, 25, 94, 0, 0), churn(1890, 41, 21, 10, 0, 0)]),
    ),
];

const fn churn(
    kernels: usize,
    came: usize,
    went: usize,
    moved: usize,
    changed: usize,
    renamed: usize,
) -> Churn {
    Churn {
        kernels,
        came,
        went,
        moved,
        changed,
        renamed,
    }
}

fn folder() -> PathBuf {
    let place = std::env::var_os("DRIVERKIT_MATRIX_KERNEL_LISTS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    assert!(
        place.join("nights").is_dir(),
        "{} has no directory `nights` with kernel-crawler's lists of three nights: name the directory that has it in \
         DRIVERKIT_MATRIX_KERNEL_LISTS, or leave these tests out with `-- --skip nights::`",
        place.display()
    );
    place
}

/// Copies the lists of a night to where the matrix reads them.
fn put_lists(grid: &Grid, folder: &Path, name: &str) {
    for (_, machine) in ARCHITECTURES {
        let path = folder.join(name.replace("MACHINE", machine));
        let bytes = std::fs::read(&path).unwrap();
        let mut list = Vec::new();
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut decoder = flate2::read::GzDecoder::new(bytes.as_slice());
            decoder.read_to_end(&mut list).unwrap();
        } else {
            list = bytes;
        }
        grid.write(&format!("{machine}.json"), list);
    }
}

/// Runs `lock`, which must accept all changes.
fn lock(grid: &Grid) -> [Churn; 2] {
    let words = ["lock", "matrix.toml", "--format", "json"];
    let output = grid.program(&words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let lock = read_lock(grid);
    ARCHITECTURES.map(|(architecture, _)| {
        let count = |report: &Value, word: &str| {
            let list = report["locks"][0]["entries"][0][word].as_array().unwrap();
            let of = |one: &&Value| {
                let kernel = one.get("after").unwrap_or(one);
                kernel["architecture"] == architecture.as_str()
            };
            list.iter().filter(of).count()
        };
        let kernels = lock.kernels.iter().filter(|locked| {
            locked.kernel.architecture == architecture && !matches!(locked.state, State::Gone(_))
        });
        let renamed = count(&report, "renamed");
        Churn {
            kernels: kernels.count(),
            came: count(&report, "came") + renamed,
            went: count(&report, "went") + renamed,
            moved: count(&report, "moved"),
            changed: count(&report, "changed"),
            renamed,
        }
    })
}

fn read_lock(grid: &Grid) -> Lock {
    Lock::read(&grid.path("matrix.lock")).unwrap().unwrap()
}

fn is_built(kernel: &Kernel) -> bool {
    let release = kernel.release.as_str();
    BUILT
        .iter()
        .any(|(target, start)| kernel.target.as_str() == *target && release.starts_with(start))
}

/// Returns the header packages of a kernel, the one with its tree first.
fn header_files(kernel: &Kernel) -> Option<Vec<String>> {
    let target = target::find(&kernel.target)?;
    let wanted = target.header_packages(kernel, Architecture::Amd64).ok()?;
    Some(
        wanted
            .iter()
            .map(driverkit_matrix::target::WantedPackage::file_name)
            .collect(),
    )
}

/// Returns the content of a package; with `is_tree`, it contains the kernel's tree.
fn content(kernel: &Kernel, file: &str, is_tree: bool) -> Vec<u8> {
    if !is_tree {
        let folder = file.split('_').next().unwrap_or(file);
        let place = if folder.starts_with("linux-kbuild") {
            "usr/lib"
        } else {
            "usr/src"
        };
        return deb(&[(&format!("{place}/{folder}/Makefile"), file)]);
    }
    let target = target::find(&kernel.target).unwrap();
    let uts = target.uts_releases(kernel).unwrap().remove(0);
    let folder = target.build_folder(kernel).unwrap().names.remove(0);
    let folder = folder.display().to_string();
    let folder = folder.trim_start_matches('/');
    let machine = match kernel.architecture {
        Architecture::Amd64 => "CONFIG_X86_64=y",
        Architecture::Arm64 => "CONFIG_ARM64=y",
    };
    deb(&[
        (
            &format!("{folder}/.config"),
            &format!("{machine}\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n"),
        ),
        (
            &format!("{folder}/include/generated/utsrelease.h"),
            &format!("#define UTS_RELEASE \"{uts}\"\n"),
        ),
        (&format!("{folder}/Makefile"), file),
    ])
}

/// Stores a content for every package of the built targets, as if an earlier run had downloaded it, and writes the
/// digest into the lock. Files that an earlier lock knew are left out, so their digests must have been kept.
fn put_packages(grid: &Grid) {
    let store = Store::open(&grid.path("cache"), "nights").unwrap();
    let mut lock = read_lock(grid);
    let mut known: HashMap<String, (Sha256, u64)> = HashMap::new();
    let mut modules = Vec::new();
    for locked in &lock.kernels {
        let kernel = &*locked.kernel;
        if !is_built(kernel) || matches!(locked.state, State::Gone(_)) {
            continue;
        }
        let files = header_files(kernel).unwrap_or_default();
        for (position, file) in files.iter().enumerate() {
            known.entry(file.clone()).or_insert_with(|| {
                let bytes = content(kernel, file, position == 0);
                store.put_blob(bytes.as_slice()).unwrap()
            });
        }
        if !files.is_empty() {
            let target = target::find(&kernel.target).unwrap();
            modules.push((
                kernel.clone(),
                target.uts_releases(kernel).unwrap().remove(0),
            ));
        }
    }
    lock.fill_in(|package: &Package| known.get(&*file_name(&package.url)).copied());
    lock.write(&grid.path("matrix.lock"), &BTreeMap::new())
        .unwrap();
    let rules: Vec<Value> = modules
        .iter()
        .map(|(kernel, uts)| {
            let machine = kernel.architecture.machine();
            let path = format!("modules/{machine}/{uts}.ko");
            if !grid.path(&path).exists() {
                grid.write(&path, module_of(kernel.architecture, uts));
            }
            let (target, release, version) = (&kernel.target, &kernel.release, &kernel.version);
            let job = format!("module one/{machine}/{target}_{release}_{version}");
            rule(
                &job,
                &json!({ "copies": { "module.ko": grid.path(&path) } }),
            )
        })
        .collect();
    grid.fake(&rules);
}

/// Runs the plan; returns each build with its packages and whether it was built in this run.
fn run(grid: &Grid) -> BTreeMap<String, (BTreeSet<String>, Status)> {
    let mut words = vec!["--locked".to_owned(), "--offline".to_owned()];
    for (target, start) in BUILT {
        words.extend(["--target".to_owned(), target.to_owned()]);
        words.extend(["--kernel".to_owned(), format!("{start}*")]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (code, text) = grid.run(&words);
    assert!(code <= 1, "{text}");
    let builds = grid.manifest().builds.into_iter().map(|build| {
        let names = build
            .inputs
            .iter()
            .map(|input| file_name(&input.url).into_owned());
        (build.build_id.to_string(), (names.collect(), build.status))
    });
    builds.collect()
}

#[test]
fn nights_report_and_build_only_new_kernels() {
    let folder = folder();
    let grid = Grid::new();
    grid.write_matrix(
        "drivers = [\"one\"]\narchitectures = [\"amd64\", \"arm64\"]\nartifacts = [\"module\"]\n\n[driver.\"one\"]\n\
         source = { path = \"driver\" }\nmodule_name = \"scap\"\n\n[[target]]\nname = \"*\"\n\
         kernels = { from = \"kernel-crawler\", path = { amd64 = \"x86_64.json\", arm64 = \"aarch64.json\" } }\n",
    );
    let mut seen: BTreeSet<BTreeSet<String>> = BTreeSet::new();
    for (name, expected) in NIGHTS {
        put_lists(&grid, &folder, name);
        let found = lock(&grid);
        if let Some(expected) = expected {
            assert_eq!(found, expected, "{name}");
        }
        put_packages(&grid);
        let builds = run(&grid);
        let mut new = BTreeSet::new();
        for (id, (packages, status)) in builds {
            if packages.is_empty() {
                eprintln!("{name}: {id}: {status}");
                continue;
            }
            let is_new = !seen.contains(&packages);
            let expected = if is_new {
                Status::Built
            } else {
                Status::Cached
            };
            assert_eq!(status, expected, "{name}: {id}: {packages:?}");
            new.insert(packages);
        }
        seen.append(&mut new);
    }
}

/// Losses that can occur on any night: the target, the start or end of the releases, and the name of the loss in the
/// report.
const VANISHING: [(&str, &str, &str); 4] = [
    ("oracle8", "", "oracle8"),
    ("centos", ".el8", "centos el8"),
    ("ubuntu-generic", "5.4.0-", "ubuntu-generic focal"),
    ("amazonlinux2", "5.10.", "amazonlinux2 amzn2 5.10"),
];

#[test]
fn a_series_that_vanishes_from_a_real_list_is_reported_as_a_loss() {
    let folder = folder();
    let grid = Grid::new();
    grid.write_matrix(
        "drivers = [\"one\"]\narchitectures = [\"amd64\"]\n[driver.\"one\"]\nsource = { path = \"driver\" }\n[[target]]\n\
         name = \"*\"\nkernels = { from = \"kernel-crawler\", path = { amd64 = \"x86_64.json\" } }\n",
    );
    put_lists(&grid, &folder, "kernel-crawler-MACHINE.json");
    let whole = std::fs::read_to_string(grid.path("x86_64.json")).unwrap();
    let without = |is_lost: &mut dyn FnMut(&str, &str) -> bool| {
        let mut list: BTreeMap<String, Vec<Value>> = serde_json::from_str(&whole).unwrap();
        for kernels in list.values_mut() {
            kernels.retain(|kernel| {
                let text = |field: &str| kernel[field].as_str().unwrap().to_owned();
                !is_lost(&text("target"), &text("kernelrelease"))
            });
        }
        grid.write("x86_64.json", serde_json::to_vec(&list).unwrap());
    };
    let ask = || {
        let output = grid.program(&["lock", "matrix.toml"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), text)
    };
    for (target, mark, name) in VANISHING {
        grid.write("x86_64.json", &whole);
        assert_eq!(ask().0, 0);
        without(&mut |of, release| of == target && release.contains(mark));
        let (code, text) = ask();
        assert_eq!(code, 1, "{name}: {text}");
        assert!(
            text.contains(&format!("--accept-shrink \"{name}\"")),
            "{text}"
        );
    }
    // A loss of an eighth of every target each night is detected on the second night at the latest.
    grid.write("x86_64.json", &whole);
    assert_eq!(ask().0, 0);
    let mut codes = Vec::new();
    for night in 1..=10 {
        let mut position = 0;
        without(&mut |_, _| {
            position += 1;
            position % 8 < night.min(7)
        });
        codes.push(ask().0);
    }
    assert_eq!(codes[1..], [1; 9]);
}
