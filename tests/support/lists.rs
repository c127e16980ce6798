//! Full-size kernel lists: the real ones if available, otherwise generated ones of the same size and shape.

use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The driver versions of the full grid.
pub const DRIVERS: [&str; 8] = [
    "5.0.1+driver",
    "6.0.0+driver",
    "7.0.0+driver",
    "7.3.0+driver",
    "8.0.0+driver",
    "8.1.0+driver",
    "9.1.0+driver",
    "10.2.0+driver",
];

const NAMES: [&str; 2] = ["kernel-crawler-x86_64.json", "kernel-crawler-aarch64.json"];

/// The two lists, `amd64` first.
pub struct Lists {
    pub paths: [PathBuf; 2],
}

/// Returns the lists in the directory named by `DRIVERKIT_MATRIX_KERNEL_LISTS`, or in `../shared/data` next to the
/// checkout; if they do not exist, generates lists in `folder` and reports this on standard error.
pub fn find_or_make(folder: &Path) -> Lists {
    let place = std::env::var_os("DRIVERKIT_MATRIX_KERNEL_LISTS")
        .map_or_else(|| crate::root().join("../shared/data"), PathBuf::from);
    let paths = NAMES.map(|name| place.join(name));
    if paths.iter().all(|path| path.is_file()) {
        return Lists { paths };
    }
    let notice = format!(
        "{} has no kernel lists: made ones of the same size and shape are used\n",
        place.display()
    );
    // Standard error may be closed.
    drop(std::io::stderr().write_all(notice.as_bytes()));
    let paths = NAMES.map(|name| folder.join(name));
    for (path, (machine, count)) in paths.iter().zip([("x86_64", 4_544), ("aarch64", 1_890)]) {
        driverkit_matrix::fs::write(path, make(machine, count, &FAMILIES))
            .expect("a writable folder");
    }
    Lists { paths }
}

/// A kernel of a generated list: release, version and packages.
type Entry = (String, String, Vec<String>);

/// A target of generated lists, its key in them, and a function that returns a kernel by its number and machine type.
pub type Family = (&'static str, &'static str, fn(usize, &str) -> Entry);

/// The targets of a generated list, with releases, packages and URLs like in real lists: one package for the first
/// three, two packages for the others, each on two mirrors.
pub const FAMILIES: [Family; 5] = [
    ("centos", "CentOS", |number, machine| {
        let (patch, build) = (number % 997, number / 997);
        let release = format!("3.10.0-{patch}.{build}.1.el7.{machine}");
        let url = format!(
            "http://vault.centos.org/centos/7.3.1611/updates/{machine}/Packages/kernel-devel-{release}.rpm"
        );
        (release, "1".to_owned(), vec![url])
    }),
    ("oracle7", "Oracle7", |number, machine| {
        let (patch, build) = (number % 997, number / 997);
        let release = format!("4.14.35-2047.{patch}.{build}.el7uek.{machine}");
        let url = format!(
            "http://yum.oracle.com/repo/OracleLinux/OL7/UEKR5/{machine}/getPackage/kernel-uek-devel-{release}.rpm"
        );
        (release, "1".to_owned(), vec![url])
    }),
    ("amazonlinux2", "AmazonLinux2", |number, machine| {
        let (patch, build) = (number % 997, number / 997);
        let release = format!("4.14.{patch}-{build}.185.amzn2.{machine}");
        let url = format!(
            "http://amazonlinux.us-east-1.amazonaws.com/2/core/2.0/{machine}/{:064x}/../../../../../blobstore/{number:064x}/kernel-devel-{release}.rpm",
            1
        );
        (release, "1".to_owned(), vec![url])
    }),
    ("ubuntu-aws", "Ubuntu", |number, machine| {
        ubuntu("aws", number, machine)
    }),
    ("ubuntu-gcp", "Ubuntu", |number, machine| {
        ubuntu("gcp", number, machine)
    }),
];

fn ubuntu(flavour: &str, number: usize, machine: &str) -> Entry {
    let abi = format!("5.4.0-{}", 1000 + number);
    let version = (number + 3).to_string();
    let package = format!("{abi}.{version}");
    let architecture = if machine == "x86_64" {
        "amd64"
    } else {
        "arm64"
    };
    let pool = format!("pool/main/l/linux-{flavour}");
    let urls = ["mirrors.edge.kernel.org", "security.ubuntu.com"].map(|mirror| {
        let pool = format!("http://{mirror}/ubuntu/{pool}");
        [
            format!("{pool}/linux-headers-{abi}-{flavour}_{package}_{architecture}.deb"),
            format!("{pool}/linux-{flavour}-headers-{abi}_{package}_all.deb"),
        ]
    });
    (format!("{abi}-{flavour}"), version, urls.concat())
}

/// Returns a list of `count` kernels, of each target in turn.
pub fn make(machine: &str, count: usize, families: &[Family]) -> String {
    let mut lists: std::collections::BTreeMap<&str, Vec<String>> =
        std::collections::BTreeMap::new();
    for number in 0..count {
        let (target, key, entry) = families[number % families.len()];
        let (release, version, urls) = entry(number / families.len(), machine);
        lists.entry(key).or_default().push(format!(
            "{{\"kernelversion\": {version:?}, \"kernelrelease\": {release:?}, \"target\": {target:?}, \"headers\": {urls:?}}}"
        ));
    }
    let lists: Vec<String> = lists
        .into_iter()
        .map(|(key, entries)| format!("\"{key}\": [{}]", entries.join(",\n")))
        .collect();
    format!("{{{}}}", lists.join(",\n"))
}

/// Returns a matrix that selects everything in both lists.
pub fn matrix(lists: &Lists) -> String {
    let [amd64, arm64] = lists.paths.each_ref().map(|path| path.to_string_lossy());
    format!(
        "drivers = {DRIVERS:?}\narchitectures = [\"amd64\", \"arm64\"]\n\n[[target]]\nname = \"*\"\nkernels = {{ from = \"kernel-crawler\", path = {{ amd64 = {amd64:?}, arm64 = {arm64:?} }} }}\n"
    )
}
