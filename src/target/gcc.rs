//! The compiler that driverkit uses for a kernel version, by its own table.

use crate::kernel::KernelRelease;

/// Returns the gcc version for a kernel whose tree does not name its compiler.
pub fn default_gcc(release: &KernelRelease) -> &'static str {
    match release.numbers() {
        [6, minor, _] if minor >= 9 => "14",
        [6, minor, _] if minor >= 5 => "13",
        [6, ..] => "12",
        [5, minor, _] if minor >= 15 => "12",
        [5, ..] => "11",
        [4, ..] => "8",
        [3, minor, _] if minor >= 18 => "5",
        [3, ..] => "4.9",
        [2, ..] => "4.8",
        _ => "14",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gcc_depends_on_the_kernel_release() {
        for (release, gcc) in [
            ("4.15.0-188", "8"),
            ("5.15.0-24-lowlatency", "12"),
            ("3.13.0-1", "4.9"),
            ("5.18.1", "12"),
            ("5.10.205", "11"),
            ("6.1.55", "12"),
            ("6.8.0-48", "13"),
            ("6.12.9-arm64", "14"),
            ("7.2.1", "14"),
            ("2.6.32-754.el6.x86_64", "4.8"),
        ] {
            assert_eq!(default_gcc(&release.parse().unwrap()), gcc, "{release}");
        }
    }
}
