//! Where Ubuntu's packages are: which pools can hold them, and how they are called there.

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

/// What names and addresses of one kernel are made of.
pub(super) struct Names<'a> {
    release: &'a Release<'a>,
    /// The kernel's version: `101~20.04.1`.
    version: &'a str,
    architecture: Architecture,
    /// The pools without `linux-`, the most probable first; empty for `linux` itself.
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
            pools: pools(release),
        }
    }

    /// The hosts that keep pools; other architectures have one of their own.
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

    /// Calls `take` with every address that the package of the flavour can have, in order.
    pub(super) fn each_tree(&self, mut take: impl FnMut(&str)) {
        let [flavour, other] = self.release.flavours();
        let count = if flavour == other { 1 } else { 2 };
        let mut file = String::new();
        for pool in &self.pools {
            for flavour in [flavour, other].into_iter().take(count) {
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
    }

    /// Calls `take` with every address that the package with what flavours share can have, in order.
    pub(super) fn each_common(&self, mut take: impl FnMut(&str)) {
        let mut file = String::new();
        for pool in &self.pools {
            for (name, is_shared) in self.commons(pool) {
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

    /// The middle names of the shared package in a pool, and whether it is for all architectures: the one that the
    /// rule gives first.
    fn commons<'b>(&self, pool: &'b str) -> Vec<(&'b str, bool)> {
        let is_plain = pool.is_empty()
            || pool == "hwe"
            || pool == "hwe-edge"
            || LTS_POOLS.iter().any(|(name, _)| *name == pool);
        let bare = ["-hwe", "-edge"]
            .iter()
            .find_map(|end| pool.strip_suffix(end))
            .unwrap_or(pool);
        // The pool `hwe` came to put its own name in from 5.3.0-65 on.
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
        // Two pools name their first packages without the line.
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

/// Whether the shared package of a pool is built for each architecture: its headers are not the same for both.
fn is_of_architecture(pool: &str) -> bool {
    let first = pool.split('-').next().unwrap_or_default();
    ["gcp", "gke", "raspi", "raspi2", "snapdragon"].contains(&first)
}

/// The pools that can hold a release, the most probable first.
fn pools(release: &Release<'_>) -> Vec<String> {
    let mut pools: Vec<String> = Vec::with_capacity(14);
    let mut add = |pool: String| {
        if !pools.contains(&pool) {
            pools.push(pool);
        }
    };
    let (line, suffix) = (release.line(), release.suffix);
    let [flavour, other] = release.flavours();
    // The suffix of lists is the pool, but for the main one.
    if !suffix.is_empty() && suffix != "generic" && !suffix.ends_with("-64k") {
        add(suffix.to_owned());
    }
    let mut of_flavour = |flavour: &str| {
        let parent = match flavour.strip_suffix("-64k").unwrap_or(flavour) {
            "nvidia-lowlatency" => "nvidia",
            parent => parent,
        };
        if parent == "generic" {
            return;
        }
        add(parent.to_owned());
        add(format!("{parent}-{line}"));
        add(format!("{parent}-hwe-{line}"));
        add(format!("{parent}-hwe"));
        add(format!("{parent}-edge"));
    };
    of_flavour(flavour);
    of_flavour(other);
    add(String::new());
    let parent = flavour.strip_suffix("-64k").unwrap_or(flavour);
    if ["generic", "lowlatency", "snapdragon"].contains(&parent) {
        add(format!("hwe-{line}"));
        add("hwe".to_owned());
        add("hwe-edge".to_owned());
        for (pool, _) in LTS_POOLS.iter().filter(|(_, of)| *of == line) {
            add((*pool).to_owned());
        }
    }
    pools
}
