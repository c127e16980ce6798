//! What discovery must know of a distribution's rpm repositories: where they are, and which of their packages are
//! kernel headers. Each target derives it from the same tables as the addresses that it computes.

/// Words in names of packages that belong to a kernel and hold no headers of it: `kernel-tools-libs-devel`.
const NO_HEADERS: [&str; 6] = ["tools", "libs", "libbpf", "livepatch", "bpftool", "matched"];

/// What a distribution's rpm repositories hold of kernels.
#[derive(Clone, Debug)]
pub struct RpmIndex {
    /// The usual repositories, the likeliest first. `$arch` stands for the machine, `$release` for each release of the
    /// distribution that the directory before it holds.
    pub repositories: Vec<String>,
    /// The oldest release that `$release` stands for.
    pub oldest_release: u32,
    /// Returns the release of the kernel that a header package is for; none for other packages.
    pub release_of: fn(&RpmName<'_>) -> Option<String>,
    /// Returns the names of the packages without architecture that can belong to a header package, with the same
    /// version, the likeliest first.
    pub common: Option<fn(&str) -> Vec<String>>,
    /// Returns the version of a kernel by its release, where it is not the usual one.
    pub kernel_version: fn(&str) -> Option<&'static str>,
}

impl RpmIndex {
    /// True if a package can be one of kernel headers, by its name.
    pub fn is_header_name(name: &str) -> bool {
        let mut words = name.split('-');
        let is_kernel = words.next().is_some_and(|first| {
            first == "linux"
                || first
                    .strip_prefix("kernel")
                    .is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
        });
        is_kernel && name.contains("-devel") && !words.any(|word| NO_HEADERS.contains(&word))
    }
}

/// The parts of a package's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpmName<'a> {
    /// `kernel-devel`.
    pub name: &'a str,
    /// `5.14.0`.
    pub version: &'a str,
    /// `70.el9`.
    pub release: &'a str,
    /// `x86_64`.
    pub machine: &'a str,
}

impl RpmName<'_> {
    /// Version, release and architecture, as most kernels call themselves.
    pub(super) fn release(&self) -> String {
        format!("{}-{}.{}", self.version, self.release, self.machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_packages_are_told_by_their_names() {
        for (name, is_header) in [
            ("kernel-devel", true),
            ("kernel6.18-devel", true),
            ("kernel-uek64k-devel", true),
            ("kernel-devel-azure", true),
            ("linux-aws-devel", true),
            ("kernel6.12-tools-devel", false),
            ("kernel-uek-tools-libs-devel", false),
            ("kernel-debug-devel-matched", false),
            ("kernel-headers", false),
            ("kernelshark-devel", false),
            ("glibc-devel", false),
        ] {
            assert_eq!(RpmIndex::is_header_name(name), is_header, "{name}");
        }
    }
}
