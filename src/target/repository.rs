//! Facts for discovery about a distribution's rpm repositories: their URLs, and which of their packages are kernel
//! headers. Each target derives them from the same tables as its computed URLs.

/// Words in names of packages that belong to a kernel but contain no headers: `kernel-tools-libs-devel`.
const NO_HEADERS: [&str; 6] = ["tools", "libs", "libbpf", "livepatch", "bpftool", "matched"];

/// How to find kernels in a distribution's rpm repositories.
#[derive(Clone, Debug)]
pub struct RpmIndex {
    /// The default repositories, the most likely first. `$arch` stands for the architecture, `$release` for each
    /// release of the distribution in the directory before it.
    pub repositories: Vec<String>,
    /// The oldest release that `$release` stands for.
    pub oldest_release: u32,
    /// Returns the release of the kernel that a header package is for; `None` for other packages.
    pub release_of: fn(&RpmName<'_>) -> Option<String>,
    /// Returns the names of the `noarch` packages that can belong to a header package with the same version, the most
    /// likely first.
    pub common: Option<fn(&str) -> Vec<String>>,
    /// Returns the version of a kernel by its release, if it is not the default one.
    pub kernel_version: fn(&str) -> Option<&'static str>,
}

impl RpmIndex {
    /// Returns true if a package can contain kernel headers, by its name.
    pub fn is_header_name(name: &str) -> bool {
        let mut words = name.split('-').skip(1);
        is_of_kernel(name)
            && name.contains("-devel")
            && !words.any(|word| NO_HEADERS.contains(&word))
    }

    /// Returns true if a package can contain a kernel, by its name.
    pub fn is_image_name(name: &str) -> bool {
        is_of_kernel(name) && !name.contains("-devel")
    }
}

/// Returns true if the first word of a package's name is `linux` or `kernel`, which a version may follow.
fn is_of_kernel(name: &str) -> bool {
    let first = name.split('-').next().unwrap_or_default();
    let rest = first.strip_prefix("kernel");
    first == "linux" || rest.is_some_and(|rest| !rest.starts_with(char::is_alphabetic))
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
    /// Returns version, release and architecture in the format of most kernel releases.
    pub(super) fn release(&self) -> String {
        format!("{}-{}.{}", self.version, self.release, self.machine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_packages_are_recognised_by_name() {
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
