//! Tests the URLs of header packages for all kernels of the two lists: the URLs computed from release and version
//! contain those of the lists.
//!
//! `tests/support/kernel_lists.rs` says where the lists are. Without them a small list of the same shape, made
//! of one real kernel of each kind, is used, with a notice on standard error. The counts are printed: `cargo test
//! --test header_urls -- --nocapture`.

#![expect(clippy::print_stderr, reason = "the counts are for people")]

use std::collections::{BTreeMap, BTreeSet};

use driverkit_matrix::kernel::{Architecture, Kernel, Package, PackageSet, file_name};
use driverkit_matrix::target::{self, Target, WantedPackage};

use support::kernel_lists::{Entry, Lists};

/// Returns a kernel without packages.
fn kernel(target: &str, release: &str, version: &str, architecture: Architecture) -> Kernel {
    Kernel {
        target: target.parse().unwrap(),
        release: release.parse().unwrap(),
        version: version.parse().unwrap(),
        architecture,
        packages: PackageSet::default(),
        config_sha256: None,
        upstream: None,
        image: None,
        source: "test".into(),
    }
}

fn bare(entry: &Entry) -> Kernel {
    kernel(
        &entry.target,
        &entry.release,
        &entry.version,
        entry.architecture,
    )
}

fn named(entry: &Entry) -> Kernel {
    let package = |url: &String| Package::at(url.as_str());
    Kernel {
        packages: entry.headers.iter().map(package).collect(),
        ..bare(entry)
    }
}

fn target_of(kernel: &Kernel) -> &'static dyn Target {
    target::find(&kernel.target).unwrap_or_else(|| panic!("no target for {kernel}"))
}

fn wanted(kernel: &Kernel) -> Result<Vec<WantedPackage>, String> {
    let packages = target_of(kernel).header_packages(kernel, kernel.architecture);
    packages.map_err(|error| error.to_string())
}

/// Returns all URLs of all packages of a kernel.
fn computed(kernel: &Kernel) -> BTreeSet<String> {
    let packages = wanted(kernel).unwrap_or_else(|error| panic!("{kernel}: {error}"));
    let urls = packages.iter().flat_map(|package| &package.candidates);
    urls.map(|url| without_scheme(url)).collect()
}

/// Removes the scheme: the lists name one mirror with both `http` and `https`.
fn without_scheme(url: &str) -> String {
    url.split_once("://")
        .map_or(url, |(_, rest)| rest)
        .to_owned()
}

/// Returns the path after the host, without the directory that only some hosts have.
fn path(url: &str) -> String {
    let url = without_scheme(url);
    let path = url.split_once('/').map_or("", |(_, path)| path);
    path.strip_prefix("centos/").unwrap_or(path).to_owned()
}

/// The number of kernels whose URLs are found, out of the total.
#[derive(Default, Debug, PartialEq, Eq, Clone, Copy)]
struct Count {
    found: usize,
    of: usize,
}

/// Counts and prints the kernels of `ids` that `test` accepts, by target and architecture.
fn count(
    lists: &Lists,
    what: &str,
    ids: &[&str],
    test: impl Fn(&Entry) -> bool,
) -> BTreeMap<(String, Architecture), Count> {
    let mut counts = BTreeMap::<(String, Architecture), Count>::new();
    let mut misses = Vec::new();
    for entry in &lists.entries {
        let family = ids.iter().find(|id| {
            **id == entry.target || (**id == "ubuntu" && entry.target.starts_with("ubuntu-"))
        });
        let Some(family) = family else { continue };
        let one = counts
            .entry(((*family).to_owned(), entry.architecture))
            .or_default();
        one.of += 1;
        if test(entry) {
            one.found += 1;
        } else {
            misses.push(format!(
                "{} {} {:?}",
                entry.target, entry.release, entry.headers
            ));
        }
    }
    for ((target, architecture), Count { found, of }) in &counts {
        eprintln!("{what}: {target} {architecture} {found}/{of}");
    }
    misses.truncate(5);
    assert!(misses.is_empty(), "{what}: {misses:#?}");
    counts
}

/// Compares the counts with the known counts of the real lists.
fn expect(
    lists: &Lists,
    counts: &BTreeMap<(String, Architecture), Count>,
    known: &[(&str, Architecture, usize)],
) {
    assert!(!counts.is_empty());
    if lists.are_real {
        for (target, architecture, number) in known {
            let found = counts[&((*target).to_owned(), *architecture)];
            let both = Count {
                found: *number,
                of: *number,
            };
            assert_eq!(found, both, "{target} {architecture}");
        }
        assert_eq!(counts.len(), known.len());
    }
}

const AMD64: Architecture = Architecture::Amd64;
const ARM64: Architecture = Architecture::Arm64;

#[test]
fn urls_are_computed_from_release_and_version() {
    let lists = Lists::read();
    let ids = ["amazonlinux", "fedora", "ol", "photon", "ubuntu"];
    let counts = count(&lists, "every address", &ids, |entry| {
        let siblings = siblings(entry);
        let computed = computed(&bare(entry));
        entry
            .headers
            .iter()
            .filter(|url| !siblings.contains(*url))
            .all(|url| computed.contains(&without_scheme(url)))
    });
    expect(
        &lists,
        &counts,
        &[
            ("amazonlinux", AMD64, 90),
            ("fedora", AMD64, 6),
            ("fedora", ARM64, 6),
            ("ol", AMD64, 851),
            ("photon", AMD64, 195),
            ("photon", ARM64, 193),
            ("ubuntu", AMD64, 2686),
            ("ubuntu", ARM64, 1436),
        ],
    );
}

/// Returns the packages in an Ubuntu entry that belong to other flavours.
fn siblings(entry: &Entry) -> BTreeSet<&String> {
    if !entry.target.starts_with("ubuntu-") {
        return BTreeSet::new();
    }
    let flavours = target_of(&bare(entry)).uts_releases(&bare(entry)).unwrap();
    let is_sibling = |url: &&String| {
        let file = file_name(url);
        flavour_of(&file).is_some_and(|release| !flavours.contains(&release))
    };
    entry.headers.iter().filter(is_sibling).collect()
}

/// Returns the release in the name of a header package: `5.4.0-128-generic` for
/// `linux-headers-5.4.0-128-generic_5.4.0-128.144_amd64.deb`.
fn flavour_of(file: &str) -> Option<String> {
    let name = file.strip_prefix("linux-headers-")?.split('_').next()?;
    (name.split('-').count() > 2).then(|| name.to_owned())
}

#[test]
fn centos_paths_are_computed_for_every_host() {
    let lists = Lists::read();
    let counts = count(&lists, "path", &["centos"], |entry| {
        let computed: BTreeSet<_> = computed(&bare(entry))
            .iter()
            .map(|url| path(&format!("x://{url}")))
            .collect();
        entry
            .headers
            .iter()
            .all(|url| computed.contains(&path(url)))
    });
    expect(
        &lists,
        &counts,
        &[("centos", AMD64, 247), ("centos", ARM64, 25)],
    );
    let exact = count(&lists, "every address", &["centos"], |entry| {
        let computed = computed(&bare(entry));
        entry
            .headers
            .iter()
            .all(|url| computed.contains(&without_scheme(url)))
    });
    assert_eq!(exact, counts);
}

#[test]
fn the_first_candidate_of_a_listed_pool_is_the_listed_file() {
    let lists = Lists::read();
    let counts = count(&lists, "first file name", &["ubuntu"], |entry| {
        let urls = entry.headers.iter();
        let files: BTreeSet<String> = urls.map(|url| file_name(url).into_owned()).collect();
        let packages = wanted(&bare(entry)).unwrap();
        packages
            .iter()
            .all(|package| files.contains(&package.file_name()))
    });
    expect(
        &lists,
        &counts,
        &[("ubuntu", AMD64, 2686), ("ubuntu", ARM64, 1436)],
    );
}

#[test]
fn the_urls_of_a_running_ubuntu_kernel_include_its_pool() {
    let lists = Lists::read();
    let mut counts = BTreeMap::<Architecture, usize>::new();
    for entry in lists
        .entries
        .iter()
        .filter(|entry| entry.target.starts_with("ubuntu-"))
    {
        let urls = entry.headers.iter();
        let files: BTreeSet<String> = urls.map(|url| file_name(url).into_owned()).collect();
        for uname in files.iter().filter_map(|file| flavour_of(file)) {
            // The target that the loader uses, which does not tell the pool.
            let own = kernel("ubuntu", &uname, &entry.version, entry.architecture);
            let computed = computed(&own);
            let is_wanted =
                |url: &&String| flavour_of(&file_name(url)).is_none_or(|release| release == uname);
            for url in entry.headers.iter().filter(is_wanted) {
                assert!(computed.contains(&without_scheme(url)), "{own}: {url}");
            }
            assert_eq!(target_of(&own).uts_releases(&own).unwrap()[0], uname);
            *counts.entry(entry.architecture).or_default() += 1;
        }
    }
    eprintln!("running kernels: ubuntu {counts:?}");
    if lists.are_real {
        assert_eq!(counts, BTreeMap::from([(AMD64, 3466), (ARM64, 1567)]));
    }
}

#[test]
fn named_packages_are_used_and_grouped_by_file() {
    let lists = Lists::read();
    let ids = [
        "amazonlinux",
        "amazonlinux2",
        "amazonlinux2022",
        "centos",
        "fedora",
        "ol",
        "photon",
        "ubuntu",
    ];
    let counts = count(&lists, "named", &ids, |entry| {
        let packages = wanted(&named(entry)).unwrap();
        let number = if entry.target.starts_with("ubuntu-") {
            2
        } else {
            1
        };
        let siblings = siblings(entry);
        let urls = entry.headers.iter().filter(|url| !siblings.contains(url));
        let listed: BTreeSet<_> = urls.map(|url| file_name(url).into_owned()).collect();
        let found: BTreeSet<_> = packages.iter().map(WantedPackage::file_name).collect();
        let has_all_mirrors = packages
            .iter()
            .map(|package| package.candidates.len())
            .sum::<usize>()
            == entry.headers.len() - siblings.len();
        let is_resolved = |url: &std::sync::Arc<str>| !url.contains("/../");
        packages.len() == number
            && found == listed
            && has_all_mirrors
            && packages
                .iter()
                .flat_map(|one| &one.candidates)
                .all(is_resolved)
    });
    if lists.are_real {
        assert_eq!(counts.values().map(|count| count.of).sum::<usize>(), 6018);
    }
}

#[test]
fn debian_flavours_in_one_entry_are_distinguished() {
    let lists = Lists::read();
    let mut counts = BTreeMap::<Architecture, usize>::new();
    for entry in lists
        .entries
        .iter()
        .filter(|entry| entry.target == "debian")
    {
        for url in &entry.headers {
            let file = file_name(url);
            let name = file.split('_').next().unwrap().to_owned();
            let Some(release) = name.strip_prefix("linux-headers-") else {
                continue;
            };
            if !release.ends_with(entry.architecture.as_str()) {
                continue;
            }
            // Both forms of the release: the one of `uname -r`, and the package's version with flavour and
            // architecture.
            let version = file.split('_').nth(1).unwrap();
            let words: Vec<_> = release.split('-').collect();
            let is_abi = |word: &&str| {
                word.starts_with(|digit: char| digit.is_ascii_digit()) || word.starts_with("rc")
            };
            let flavour = words.iter().rposition(is_abi);
            let of_package = format!("{version}-{}", words[flavour.unwrap() + 1..].join("-"));
            for form in [release.to_owned(), of_package] {
                let kernel = Kernel {
                    release: form.parse().unwrap(),
                    ..named(entry)
                };
                let found = wanted(&kernel).unwrap_or_else(|error| panic!("{kernel}: {error}"));
                assert_eq!(found.len(), 3, "{kernel}: {found:#?}");
                assert!(
                    found.iter().any(|package| package.file_name() == file),
                    "{kernel}"
                );
                assert_eq!(target_of(&kernel).uts_releases(&kernel).unwrap(), [release]);
            }
            *counts.entry(entry.architecture).or_default() += 1;
        }
    }
    eprintln!("flavours: debian {counts:?}");
    if lists.are_real {
        assert_eq!(counts, BTreeMap::from([(AMD64, 65), (ARM64, 48)]));
    }
}

#[test]
fn flatcar_channels_and_minikube_sources_are_found() {
    let lists = Lists::read();
    let counts = count(&lists, "channel", &["flatcar"], |entry| {
        let kernel = bare(entry);
        let list = target_of(&kernel).upstream_list(&kernel).unwrap();
        let folder = |url: &str| url.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        list.candidates
            .iter()
            .any(|url| folder(url) == folder(&entry.headers[0]))
    });
    expect(
        &lists,
        &counts,
        &[("flatcar", AMD64, 285), ("flatcar", ARM64, 76)],
    );
    let counts = count(&lists, "source", &["minikube"], |entry| {
        let packages = wanted(&bare(entry)).unwrap();
        packages[0].file_name() == format!("linux-{}.tar.xz", entry.release)
    });
    expect(
        &lists,
        &counts,
        &[("minikube", AMD64, 6), ("minikube", ARM64, 3)],
    );
}

#[test]
fn every_release_is_accepted_by_its_target_only() {
    let lists = Lists::read();
    for entry in &lists.entries {
        let kernel = bare(entry);
        let found = target_of(&kernel).check_release(&kernel.release, kernel.architecture);
        assert_eq!(found, Ok(()), "{kernel}");
    }
    // Releases of other distributions are refused: this finds kernels under a wrong target.
    let foreign = [
        ("debian", "5.15.0-91-generic"),
        ("ubuntu-generic", "5.10.0-18-amd64"),
        ("centos", "5.15.0-91-generic"),
        ("amazonlinux2", "6.1.102-108.177.amzn2023.x86_64"),
        ("photon", "3.10.0-957.el7.x86_64"),
        ("flatcar", "5.15.63"),
        ("opensuse", "3.10.0-957.el7.x86_64"),
    ];
    for (target, release) in foreign {
        let kernel = kernel(target, release, "1", AMD64);
        let found = target_of(&kernel).check_release(&kernel.release, AMD64);
        assert!(found.is_err(), "{kernel}");
    }
}

/// Each URL costs one request, and both packages are needed.
#[test]
fn few_urls_are_guessed_for_an_ubuntu_kernel() {
    let lists = Lists::read();
    let mut kernels: Vec<Kernel> = lists
        .entries
        .iter()
        .filter(|entry| entry.target.starts_with("ubuntu-"))
        .map(bare)
        .collect();
    for (release, version) in [
        ("5.15.0-91-generic", "101"),
        ("6.5.0-1025-nvidia-64k", "26~22.04.1"),
        ("5.15.0-1029-intel", "36~20.04.1"),
        ("6.8.0-31-lowlatency", "31.1"),
    ] {
        for architecture in Architecture::ALL {
            kernels.push(kernel("ubuntu", release, version, architecture));
        }
    }
    for kernel in kernels {
        let guesses = computed(&kernel).len();
        assert!((2..=20).contains(&guesses), "{kernel}: {guesses}");
    }
}

#[test]
fn package_checks_agree_with_the_package_search() {
    let lists = Lists::read();
    let mut before: Option<Kernel> = None;
    let mut refused = 0;
    for entry in &lists.entries {
        let whole = named(entry);
        let target = target_of(&whole);
        let with = |packages: Vec<Package>| Kernel {
            packages: packages.into_iter().collect(),
            ..whole.clone()
        };
        let mut variants: Vec<Kernel> = (0..whole.packages.len())
            .map(|missing| {
                let rest = whole.packages.iter().enumerate();
                let rest = rest.filter(|(position, _)| *position != missing);
                with(rest.map(|(_, package)| package.clone()).collect())
            })
            .collect();
        if let Some(before) = before {
            // The packages of another kernel, alone and together with one package of this kernel.
            variants.push(with(before.packages.to_vec()));
            let one = whole.packages.iter().take(1);
            variants.push(with(before.packages.iter().chain(one).cloned().collect()));
        }
        for kernel in variants.iter().chain([&whole]) {
            let checked = target.check_packages(kernel, kernel.architecture);
            let checked = checked.map_err(|error| error.to_string());
            assert_eq!(checked, wanted(kernel).map(drop), "{kernel}");
            refused += usize::from(checked.is_err());
        }
        before = Some(whole);
    }
    assert!(refused > lists.entries.len() / 4, "{refused}");
}
