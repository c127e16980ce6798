//! The kernel lists of full scale: real ones where they are, else made ones of the same size and shape.

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

/// The lists in the folder named by `DRIVERKIT_MATRIX_KERNEL_LISTS`, else in `../shared/data` beside the checkout;
/// else lists that are made in `folder`, which is said on standard error.
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
    // Nobody may be listening.
    drop(std::io::stderr().write_all(notice.as_bytes()));
    let paths = NAMES.map(|name| folder.join(name));
    for (path, (machine, count)) in paths.iter().zip([("x86_64", 4_544), ("aarch64", 1_890)]) {
        driverkit_matrix::fs::write(path, make(machine, count, &FAMILIES))
            .expect("a writable folder");
    }
    Lists { paths }
}

/// A target of made lists, its key in them, and how many packages its kernels have.
pub type Family = (&'static str, &'static str, usize);

/// The targets of a made list with as many packages a kernel, and as long URLs, as real ones have.
pub const FAMILIES: [Family; 5] = [
    ("amazonlinux2", "AmazonLinux2", 1),
    ("centos", "CentOS", 1),
    ("oracle7", "Oracle7", 1),
    ("ubuntu-aws", "Ubuntu", 4),
    ("ubuntu-generic", "Ubuntu", 4),
];

/// A list of `count` kernels of these targets in turn.
pub fn make(machine: &str, count: usize, families: &[Family]) -> String {
    let mut lists: std::collections::BTreeMap<&str, Vec<String>> =
        std::collections::BTreeMap::new();
    for number in 0..count {
        let (target, key, packages) = families[number % families.len()];
        let (major, minor, build) = (3 + number % 3, number / 7 % 20, number);
        let release = format!("{major}.{minor}.{build}-{number}.{target}.{machine}");
        let headers: Vec<String> = (0..packages)
            .map(|package| {
                format!("\"http://mirror{package}.example.org/distribution/pool/main/l/linux/linux-headers-{release}-{package}_{release}_all.deb\"")
            })
            .collect();
        lists.entry(key).or_default().push(format!(
            "{{\"kernelversion\": 1, \"kernelrelease\": \"{release}\", \"target\": \"{target}\", \"headers\": [{}]}}",
            headers.join(", ")
        ));
    }
    let lists: Vec<String> = lists
        .into_iter()
        .map(|(key, entries)| format!("\"{key}\": [{}]", entries.join(",\n")))
        .collect();
    format!("{{{}}}", lists.join(",\n"))
}

/// A matrix that takes all of both lists.
pub fn matrix(lists: &Lists) -> String {
    let [amd64, arm64] = lists.paths.each_ref().map(|path| path.to_string_lossy());
    format!(
        "drivers = {DRIVERS:?}\narchitectures = [\"amd64\", \"arm64\"]\n\n[[target]]\nname = \"*\"\nkernels = {{ from = \"kernel-crawler\", path = {{ amd64 = {amd64:?}, arm64 = {arm64:?} }} }}\n"
    )
}
