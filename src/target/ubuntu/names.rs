//! The location of Ubuntu's packages: the possible pools, and the names of the packages there.

use std::fmt::Write as _;

use super::release::{Release, without_line};
use crate::kernel::Architecture;

/// The pools of the long-term releases' newer kernels, with the line of each.
const LTS_POOLS: [(&str, &str); 4] = [
    ("lts-utopic", "3.16"),
    ("lts-vivid", "3.19"),
    ("lts-wily", "4.2"),
    ("lts-xenial", "4.4"),
];

/// The maximum number of guessed URLs for a kernel.
const MOST_GUESSES: usize = 20;

/// The parts of the names and URLs of one kernel's packages.
pub(super) struct Names<'a> {
    release: &'a Release<'a>,
    /// The kernel's version: `101~20.04.1`.
    version: &'a str,
    architecture: Architecture,
    /// The pools without `linux-`, most likely first; empty for `linux` itself.
    pools: Vec<String>,
}

impl<'a> Names<'a> {
    pub(super) fn new(
        release: &'a Release<'a>,
        version: &'a str,
        architecture: Architecture,
    ) -> Self {
        Self {
            release,
            version: release.version_of(version),
            architecture,
            pools: pools(release, version),
        }
    }

    /// Returns the hosts of the pools; other architectures have their own host.
    fn hosts(&self) -> &'static [&'static str] {
        match self.architecture {
            Architecture::Amd64 => &[
                "https://mirrors.edge.kernel.org/ubuntu",
                "http://security.ubuntu.com/ubuntu",
                "http://archive.ubuntu.com/ubuntu",
            ],
            Architecture::Arm64 => &["http://ports.ubuntu.com/ubuntu-ports"],
        }
    }

    /// Returns the number of guessed locations of a package: each is tried on every host, and a kernel has two
    /// packages.
    fn places(&self) -> usize {
        MOST_GUESSES / 2 / self.hosts().len()
    }

    /// Calls `take` with the possible URLs of the flavour's package, most likely first.
    pub(super) fn each_tree(&self, mut take: impl FnMut(&str)) {
        let [flavour, other] = self.release.flavours();
        let count = if flavour == other { 1 } else { 2 };
        let flavours = || [flavour, other].into_iter().take(count);
        let pools = self.pools.iter();
        let places = pools.flat_map(|pool| flavours().map(move |flavour| (pool, flavour)));
        let mut file = String::new();
        for (pool, flavour) in places.take(self.places()) {
            file.clear();
            let (abi, version, architecture) =
                (self.release.abi(), self.version, self.architecture);
            // Writing to a String cannot fail.
            let _ = write!(
                file,
                "linux-headers-{abi}-{flavour}_{abi}.{version}_{architecture}.deb"
            );
            self.at_hosts(pool, &file, &mut take);
        }
    }

    /// Calls `take` with the possible URLs of the package shared by flavours, most likely first: the name by the rule
    /// in each pool, then other names.
    pub(super) fn each_common(&self, mut take: impl FnMut(&str)) {
        let names: Vec<_> = self.pools.iter().map(|pool| self.commons(pool)).collect();
        let pools = || self.pools.iter().zip(&names);
        let firsts = pools().filter_map(|(pool, names)| Some((pool, *names.first()?)));
        let others =
            pools().flat_map(|(pool, names)| names.iter().skip(1).map(move |name| (pool, *name)));
        let mut file = String::new();
        for (pool, (name, is_shared)) in firsts.chain(others).take(self.places()) {
            file.clear();
            let (abi, version) = (self.release.abi(), self.version);
            let architecture = if is_shared {
                "all"
            } else {
                self.architecture.as_str()
            };
            let dash = if name.is_empty() { "" } else { "-" };
            // Writing to a String cannot fail.
            let _ = write!(
                file,
                "linux-{name}{dash}headers-{abi}_{abi}.{version}_{architecture}.deb"
            );
            self.at_hosts(pool, &file, &mut take);
        }
    }

    fn at_hosts(&self, pool: &str, file: &str, take: &mut impl FnMut(&str)) {
        let dash = if pool.is_empty() { "" } else { "-" };
        let mut address = String::with_capacity(192);
        for host in self.hosts() {
            address.clear();
            // Writing to a String cannot fail.
            let _ = write!(address, "{host}/pool/main/l/linux{dash}{pool}/{file}");
            take(&address);
        }
    }

    /// Returns the middle parts of the shared package's name in a pool, and whether it is for all architectures; the
    /// one by the rule is first.
    fn commons<'b>(&self, pool: &'b str) -> Vec<(&'b str, bool)> {
        let is_plain = pool.is_empty()
            || pool == "hwe"
            || pool == "hwe-edge"
            || LTS_POOLS.iter().any(|(name, _)| *name == pool);
        let bare = ["-hwe", "-edge"]
            .iter()
            .find_map(|end| pool.strip_suffix(end))
            .unwrap_or(pool);
        // Since 5.3.0-65, the pool `hwe` puts its own name into package names.
        let is_late_hwe =
            pool == "hwe" && (self.release.line() == "5.3" && self.release.abi_number() >= 65);
        let is_shared = !is_of_architecture(pool);
        let mut names: Vec<(&str, bool)> = Vec::with_capacity(5);
        let mut add = |name, is_shared| {
            if !names.contains(&(name, is_shared)) {
                names.push((name, is_shared));
            }
        };
        if is_plain && !is_late_hwe {
            add("", true);
        }
        // The first packages in this pool are named without the line.
        if pool == "aws-5.0" {
            add("aws", true);
        }
        if !pool.is_empty() {
            add(bare, is_shared);
            if !is_plain {
                add(without_line(bare), is_shared);
                add(bare, !is_shared);
                add("", true);
            }
        }
        names
    }
}

/// Returns true if the shared package of a pool is built for each architecture, because its headers differ.
fn is_of_architecture(pool: &str) -> bool {
    let first = pool.split('-').next().unwrap_or_default();
    ["gcp", "gke", "raspi", "raspi2", "snapdragon"].contains(&first)
}

/// Returns true if a line is older than `major.minor`.
fn is_before(line: &str, major: u32, minor: u32) -> bool {
    let mut numbers = line.split('.').map(|number| number.parse().unwrap_or(0));
    let [found_major, found_minor] =
        [numbers.next(), numbers.next()].map(Option::unwrap_or_default);
    (found_major, found_minor) < (major, minor)
}

/// Returns the possible pools of a release, most likely first. The version of a kernel built for an older series shows
/// that (`101~20.04.1`), and its pool has the line in its name; other kernels are in the pool of their flavour.
fn pools(release: &Release<'_>, version: &str) -> Vec<String> {
    let mut pools: Vec<String> = Vec::with_capacity(14);
    let mut add = |pool: String| {
        if !pools.contains(&pool) {
            pools.push(pool);
        }
    };
    let (line, suffix) = (release.line(), release.suffix);
    let is_backport = release.version_of(version).contains('~');
    // In lists, the suffix is the pool, except for the main one; in `uname -r`, it is the flavour.
    let is_pool = without_line(suffix) != suffix
        || suffix.starts_with("hwe")
        || suffix.starts_with("lts-")
        || suffix.ends_with("-hwe")
        || suffix.ends_with("-edge");
    if is_pool {
        add(suffix.to_owned());
    }
    for flavour in release.flavours() {
        let parent = match flavour.strip_suffix("-64k").unwrap_or(flavour) {
            "nvidia-lowlatency" => "nvidia",
            // It has its own source since 5.15.
            "lowlatency" if is_before(line, 5, 15) => "generic",
            parent => parent,
        };
        // These used to be built from the main source.
        let is_main = ["generic", "lowlatency", "snapdragon"].contains(&parent);
        let own = if parent == "generic" { "" } else { parent };
        // Pools with a line in their names exist since 5.0, for some flavours a little later.
        let is_late = ["azure", "gcp"].contains(&parent);
        let has_line_pools = !is_before(line, 5, u32::from(is_late));
        let lts = LTS_POOLS.iter().filter(|(_, of)| *of == line);
        if is_backport {
            if own.is_empty() {
                lts.for_each(|(pool, _)| add((*pool).to_owned()));
            } else if has_line_pools {
                let pool = if parent == "lowlatency" || parent == "nvidia" {
                    format!("{parent}-hwe-{line}")
                } else {
                    format!("{parent}-{line}")
                };
                add(pool);
            }
            if is_main {
                add(format!("hwe-{line}"));
                add("hwe".to_owned());
                add("hwe-edge".to_owned());
            }
            if !own.is_empty() {
                add(own.to_owned());
                add(format!("{parent}-edge"));
                add(format!("{parent}-hwe"));
                add(format!("{parent}-hwe-{line}"));
                add(format!("{parent}-{line}"));
            }
            add(String::new());
        } else {
            add(own.to_owned());
            if is_main {
                add(String::new());
            }
            if !own.is_empty() {
                add(format!("{parent}-{line}"));
            }
            if is_main {
                // The last kernels of this pool do not show the series that they were built for.
                add("hwe".to_owned());
                add(format!("hwe-{line}"));
            }
            add(String::new());
        }
    }
    pools
}
