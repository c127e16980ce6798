//! Series: the kernels of a target that come and go together, so that losing all of them is not ordinary churn.

use std::fmt;

use crate::kernel::Kernel;

/// A distribution's release and upstream line: `el8`, `jammy 5.15`, `bookworm 6.1`, `amzn2 5.10`. Either can be empty;
/// both are empty for a rolling distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    /// The distribution's release, by its name in lists and packages.
    pub release: String,
    /// The first two numbers of the kernels, if a release has several lines.
    pub line: String,
    /// True if the distribution drops this line once it has a newer one: it is not the line of any release, like those
    /// of Ubuntu's interim releases and of Debian's backports.
    pub is_interim: bool,
}

impl Series {
    pub(super) fn of_release(release: impl Into<String>) -> Self {
        Self {
            release: release.into(),
            ..Self::default()
        }
    }

    /// Returns a release with the line of the kernel.
    pub(super) fn with_line(release: impl Into<String>, kernel: &Kernel) -> Self {
        let [major, minor, _] = kernel.release.numbers();
        Self {
            release: release.into(),
            line: format!("{major}.{minor}"),
            is_interim: false,
        }
    }

    /// Returns a release with the line of the kernel, which is interim unless `lines` contains it.
    pub(super) fn with_own_lines(
        release: impl Into<String>,
        kernel: &Kernel,
        lines: &[([u32; 2], &'static str)],
    ) -> Self {
        Self {
            is_interim: name_of_line(kernel, lines).is_none(),
            ..Self::with_line(release, kernel)
        }
    }

    /// Returns the series of all lines of the release.
    #[must_use]
    pub fn without_line(&self) -> Self {
        Self::of_release(self.release.clone())
    }
}

impl fmt::Display for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.release.is_empty() || self.line.is_empty() {
            ""
        } else {
            " "
        };
        formatter.pad(&format!("{}{space}{}", self.release, self.line))
    }
}

/// Returns the name of the release that has the kernel's line.
pub(super) fn name_of_line(
    kernel: &Kernel,
    names: &[([u32; 2], &'static str)],
) -> Option<&'static str> {
    let [major, minor, _] = kernel.release.numbers();
    let mut names = names.iter();
    names.find_map(|(line, name)| (*line == [major, minor]).then_some(*name))
}

/// Returns the number after the first of `marks` found in a string: 12 of `6.1.9-1~bpo12+1`.
pub(super) fn number_behind<'a>(text: &'a str, marks: &[&str]) -> Option<&'a str> {
    let rest = marks.iter().find_map(|mark| text.split_once(mark))?.1;
    let end = rest.find(|other: char| !other.is_ascii_digit() && other != '.');
    let number = rest[..end.unwrap_or(rest.len())].trim_end_matches('.');
    (!number.is_empty()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::super::testing::kernel;

    #[test]
    fn lines_without_a_release_are_interim() {
        for (text, expected) in [
            ("ubuntu-azure 5.13.0-1006-azure 7 amd64", true),
            ("ubuntu-azure 5.13.0-1006-azure 7~20.04.1 amd64", true),
            ("ubuntu-azure 5.15.0-1006-azure 7~20.04.1 amd64", false),
            ("ubuntu-azure 5.4.0-1006-azure 7 amd64", false),
            ("debian 5.18.2-1~bpo11+1-amd64 1 amd64", true),
            ("debian 6.1.9-1~bpo11+1-amd64 1 amd64", false),
            ("debian 6.1.176-1-amd64 1 amd64", false),
            ("ol 5.4.17-2136.311.6.el8uek.x86_64 2 amd64", false),
            ("arch 6.0.10.zen2-1 1 amd64", false),
        ] {
            let series = super::super::series_of(&kernel(text).0);
            assert_eq!(series.is_interim, expected, "{text}");
        }
    }

    #[test]
    fn a_series_is_a_release_with_a_line() {
        for (text, series) in [
            ("centos 4.18.0-553.5.1.el8_10.x86_64 1 amd64", "el8"),
            ("centos 5.14.0-168.el9.x86_64 1 amd64", "el9"),
            ("redhat 4.18.0-553.5.1.el8_10.x86_64 1 amd64", "el8"),
            ("ol 5.4.17-2136.311.6.el8uek.x86_64 2 amd64", "oracle8 5.4"),
            ("ol 4.18.0-147.0.2.el8_1.x86_64 1 amd64", "oracle8 4.18"),
            ("ol 3.10.0-1160.el7.x86_64 1 amd64", "oracle7 3.10"),
            (
                "amazonlinux2 5.10.102-99.473.amzn2.x86_64 1 amd64",
                "amzn2 5.10",
            ),
            ("fedora 6.2.9-300.fc38.x86_64 1 amd64", "fc38"),
            ("photon 5.10.118-10.ph4 1 amd64", "ph4 5.10"),
            ("photon 4.19.112-1.ph3-aws 1 amd64", "ph3 4.19"),
            ("ubuntu-generic 5.15.0-91-generic 101 amd64", "jammy 5.15"),
            (
                "ubuntu-generic 5.15.0-91-generic 101~20.04.1 amd64",
                "focal 5.15",
            ),
            ("ubuntu-aws 5.3.0-1021-aws 1 amd64", "5.3"),
            ("debian 6.1.176-1-amd64 1 amd64", "bookworm 6.1"),
            ("debian 6.12.43-1~bpo12+1-amd64 1 amd64", "bookworm 6.12"),
            ("debian 5.10.0-0.deb10.17-rt-amd64 1 amd64", "buster 5.10"),
            ("debian 6.0.2-1-amd64 1 amd64", "6.0"),
            ("sles 5.14.21-150400.24.33-default 1 amd64", "15.4 5.14"),
            ("arch 6.0.10.zen2-1 1 amd64", ""),
            ("flatcar 3033.2.4 1 amd64", ""),
            ("nixos 6.0.1 1 amd64", ""),
        ] {
            assert_eq!(
                super::super::series_of(&kernel(text).0).to_string(),
                series,
                "{text}"
            );
        }
    }
}
