//! CentOS: the build number of a kernel identifies its point release, and each point release has a directory.

use super::rpm::{KernelDevel, RpmRelease};
use super::{TargetError, gcc};
use crate::kernel::Kernel;

/// CentOS 6, 7, 8, and stream.
pub(super) const CENTOS: KernelDevel = KernelDevel {
    ids: &["centos"],
    example: "3.10.0-957.12.2.el7",
    folders,
    repositories,
    gcc: |kernel| match kernel.release.numbers() {
        [3, 10, _] => "4.8.5",
        [4, minor, _] if minor >= 18 => "9",
        _ => gcc::default_gcc(&kernel.release),
    },
    make_variables: |_: &Kernel, _| {
        let value = "-Wno-incompatible-pointer-types".to_owned();
        vec![("KCFLAGS".to_owned(), value)]
    },
    ..KernelDevel::BASE
};

/// The first build number and the directory of each point release, by major release.
const POINT_RELEASES: [&[(u32, &str)]; 3] = [
    &[
        (71, "6.0"),
        (131, "6.1"),
        (220, "6.2"),
        (279, "6.3"),
        (358, "6.4"),
        (431, "6.5"),
        (504, "6.6"),
        (573, "6.7"),
        (642, "6.8"),
        (696, "6.9"),
        (754, "6.10"),
    ],
    &[
        (123, "7.0.1406"),
        (229, "7.1.1503"),
        (327, "7.2.1511"),
        (514, "7.3.1611"),
        (693, "7.4.1708"),
        (862, "7.5.1804"),
        (957, "7.6.1810"),
        (1062, "7.7.1908"),
        (1127, "7.8.2003"),
        (1160, "7.9.2009"),
    ],
    &[
        (80, "8.0.1905"),
        (147, "8.1.1911"),
        (193, "8.2.2004"),
        (240, "8.3.2011"),
        (305, "8.4.2105"),
        (348, "8.5.2111"),
    ],
];

/// The hosts that keep old releases, best first.
const HOSTS: [&str; 5] = [
    "http://vault.centos.org",
    "http://archive.kernel.org/centos",
    "http://vault.centos.org/centos",
    "https://mirrors.edge.kernel.org/centos",
    "http://mirror.centos.org/centos",
];

/// The host of the current streams.
const STREAM_HOST: &str = "http://mirror.stream.centos.org";

/// The current streams, newest first.
const STREAMS: [u32; 2] = [10, 9];

/// The repositories of a stream that contain kernels.
const STREAM_REPOSITORIES: [&str; 4] = ["AppStream", "BaseOS", "RT", "NFV"];

/// Returns the repositories of the streams, and those of all point releases on the host that keeps them.
fn repositories() -> Vec<String> {
    let of_stream = |major: u32| {
        STREAM_REPOSITORIES.map(|name| format!("{STREAM_HOST}/{major}-stream/{name}/$arch/os/"))
    };
    let mut all: Vec<String> = STREAMS.into_iter().flat_map(of_stream).collect();
    let vault = HOSTS[0];
    all.push(format!("{vault}/8-stream/BaseOS/$arch/os/"));
    for (position, releases) in POINT_RELEASES.iter().enumerate().rev() {
        for (_, point) in releases.iter().rev() {
            if position == 2 {
                all.push(format!("{vault}/{point}/BaseOS/$arch/os/"));
            } else {
                all.extend(["os", "updates"].map(|name| format!("{vault}/{point}/{name}/$arch/")));
            }
        }
    }
    all
}

fn folders(release: &RpmRelease<'_>) -> Result<Vec<String>, TargetError> {
    let machine = release.machine;
    let major = release.generation("el").unwrap_or_default();
    let first = release.first_number().unwrap_or_default();
    if release.build.contains(".elrepo") {
        return Err(TargetError::unknown(
            "the URLs of ELRepo's kernels cannot be computed: name the package with `headers`",
        ));
    }
    let point = (6..=8)
        .contains(&major)
        .then(|| POINT_RELEASES[major as usize - 6])
        .and_then(|table| table.iter().find(|(number, _)| *number == first));
    let mut paths: Vec<String> = match (major, point) {
        (6 | 7, Some((_, point))) => {
            // The first kernel of a point release has no further numbers, with one exception.
            let is_first = !release.has_further_numbers() || release.build == "131.0.15.el6";
            let (repositories, folder) = match (is_first, *point) {
                (true, _) => (["os", "updates"], "Packages"),
                (false, "6.0") => (["updates", "os"], "RPMS"),
                (false, _) => (["updates", "os"], "Packages"),
            };
            repositories
                .map(|repository| format!("{point}/{repository}/{machine}/{folder}"))
                .into()
        }
        (8, Some((_, point))) => vec![format!("{point}/BaseOS/{machine}/os/Packages")],
        (6 | 7, None) => {
            return Err(TargetError::unknown(format!(
                "no point release of CentOS {major} has kernels of build {first}"
            )));
        }
        (major, _) => {
            let is_real_time = release
                .variant()
                .is_some_and(|variant| variant.starts_with("rt"));
            let order = match major {
                _ if is_real_time => ["RT", "NFV"],
                8 => ["BaseOS", "AppStream"],
                _ => ["AppStream", "BaseOS"],
            };
            return Ok(stream(major, order, machine));
        }
    };
    // The newest point release is also available under the major number.
    if let Some((number, point)) = point
        && POINT_RELEASES[major as usize - 6]
            .last()
            .is_some_and(|(newest, _)| newest == number)
    {
        let major = major.to_string();
        let moving: Vec<_> = paths
            .iter()
            .map(|path| path.replacen(point, &major, 1))
            .collect();
        paths.extend(moving);
    }
    let folders = paths
        .iter()
        .flat_map(|path| HOSTS.map(|host| format!("{host}/{path}")));
    Ok(folders.collect())
}

/// Returns the directories of a stream, which have current kernels only.
fn stream(major: u32, repositories: [&str; 2], machine: &str) -> Vec<String> {
    let hosts: &[&str] = if major == 8 { &HOSTS } else { &[STREAM_HOST] };
    let folders = repositories.into_iter().flat_map(|repository| {
        let folder =
            move |host: &&str| format!("{host}/{major}-stream/{repository}/{machine}/os/Packages");
        hosts.iter().map(folder)
    });
    folders.collect()
}

#[cfg(test)]
mod tests {
    use super::super::Target as _;
    use super::super::testing::{addresses, kernel};
    use super::*;
    use crate::kernel::Architecture;

    #[test]
    fn urls_name_the_directory_of_the_point_release() {
        for (release, folder) in [
            ("3.10.0-957.el7.x86_64", "7.6.1810/os/x86_64/Packages"),
            (
                "3.10.0-957.12.2.el7.x86_64",
                "7.6.1810/updates/x86_64/Packages",
            ),
            ("2.6.32-131.0.15.el6.x86_64", "6.1/os/x86_64/Packages"),
            ("2.6.32-71.7.1.el6.x86_64", "6.0/updates/x86_64/RPMS"),
            (
                "4.18.0-305.3.1.el8.x86_64",
                "8.4.2105/BaseOS/x86_64/os/Packages",
            ),
            (
                "4.18.0-408.el8.x86_64",
                "8-stream/BaseOS/x86_64/os/Packages",
            ),
        ] {
            let kernel = kernel(&format!("centos {release} 1 amd64")).0;
            assert_eq!(
                addresses(&CENTOS, &kernel)[0],
                format!("http://vault.centos.org/{folder}/kernel-devel-{release}.rpm")
            );
        }
        let kernel = kernel("centos 5.14.0-168.el9.aarch64 1 arm64").0;
        assert_eq!(
            addresses(&CENTOS, &kernel)[0],
            "http://mirror.stream.centos.org/9-stream/AppStream/aarch64/os/Packages/kernel-devel-5.14.0-168.el9.aarch64.rpm"
        );
    }

    #[test]
    fn builds_of_no_point_release_are_refused() {
        for (release, text) in [
            ("3.10.0-958.el7.x86_64", "no point release of CentOS 7"),
            ("6.0.0-1.el7.elrepo.x86_64", "ELRepo"),
        ] {
            let kernel = kernel(&format!("centos {release} 1 amd64")).0;
            let found = CENTOS.header_packages(&kernel, Architecture::Amd64);
            assert!(
                found.as_ref().unwrap_err().to_string().contains(text),
                "{found:?}"
            );
        }
    }

    #[test]
    fn gcc_depends_on_the_generation() {
        for (release, gcc) in [
            ("2.6.32-754.el6.x86_64", "4.8"),
            ("3.10.0-957.el7.x86_64", "4.8.5"),
            ("4.18.0-305.el8.x86_64", "9"),
            ("5.14.0-168.el9.x86_64", "11"),
        ] {
            let kernel = kernel(&format!("centos {release} 1 amd64")).0;
            assert_eq!(CENTOS.default_gcc(&kernel), gcc, "{release}");
        }
    }
}
