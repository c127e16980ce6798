//! Amazon Linux: four targets in one file. The first generation's repositories are frozen; the others have a digest in
//! the URL of every file, which no rule can compute.

use super::gcc;
use super::rpm::KernelDevel;
use super::{Series, TargetError};
use crate::kernel::{Architecture, Kernel};

/// Amazon Linux 1.
pub(super) const AMAZON_LINUX: KernelDevel = KernelDevel {
    ids: &["amazonlinux"],
    architectures: &[Architecture::Amd64],
    is_mark: |mark| mark == "amzn1",
    example: "4.14.26-46.32.amzn1",
    folders: |_| Ok(frozen().map(|repository| repository + "Packages").collect()),
    repositories: || frozen().collect(),
    ..BASE
};

/// Amazon Linux 2.
pub(super) const AMAZON_LINUX_2: KernelDevel = KernelDevel {
    ids: &["amazonlinux2"],
    is_mark: |mark| mark == "amzn2",
    example: "5.10.102-99.473.amzn2",
    repositories: || {
        let of_core = ["core/2.0", "core/latest"].map(str::to_owned);
        let lines =
            ["5.4", "5.10", "5.15", "ng"].map(|line| format!("extras/kernel-{line}/latest"));
        let list =
            |path| format!("http://amazonlinux.us-east-1.amazonaws.com/2/{path}/$arch/mirror.list");
        of_core.into_iter().chain(lines).map(list).collect()
    },
    gcc: |kernel| match kernel.release.numbers() {
        [5, 10, _] => "10",
        _ => gcc::default_gcc(&kernel.release),
    },
    ..BASE
};

/// Amazon Linux 2022, the preview of 2023.
pub(super) const AMAZON_LINUX_2022: KernelDevel = KernelDevel {
    ids: &["amazonlinux2022"],
    is_mark: |mark| mark == "amzn2022",
    example: "5.15.25-14.106.amzn2022",
    repositories: || {
        let host = "https://al2022-repos-us-east-1-9761ab97.s3.dualstack.us-east-1.amazonaws.com";
        ["latest", "2022.0.20220315", "2022.0.20220202"]
            .map(|release| format!("{host}/core/mirrors/{release}/$arch/mirror.list"))
            .into()
    },
    ..BASE
};

/// Amazon Linux 2023.
pub(super) const AMAZON_LINUX_2023: KernelDevel = KernelDevel {
    ids: &["amazonlinux2023"],
    is_mark: |mark| mark == "amzn2023",
    example: "6.1.102-108.177.amzn2023",
    // Since July 2025, newer kernels have packages with their own names.
    package: |release| match release.version.rsplit_once('.') {
        Some((line, _))
            if line != "6.1" && line.bytes().filter(|&byte| byte == b'.').count() == 1 =>
        {
            format!("kernel{line}-devel").into()
        }
        _ => release.usual_package(),
    },
    repositories: || {
        vec!["https://cdn.amazonlinux.com/al2023/core/mirrors/latest/$arch/mirror.list".to_owned()]
    },
    ..BASE
};

const BASE: KernelDevel = KernelDevel {
    folders: |_| {
        Err(TargetError::unknown(
            "the URL of its package cannot be computed, since it contains a digest: name it with `headers`, or take \
             the kernel from a list",
        ))
    },
    make_variables: linker,
    series: |release, kernel| Series::with_line(release.tag, kernel),
    ..KernelDevel::BASE
};

/// Returns the exact name of the linker that builds these kernels.
fn linker(kernel: &Kernel, host: Architecture) -> Vec<(String, String)> {
    let variable = |name: &str, value: String| (name.to_owned(), value);
    if kernel.architecture == host {
        return vec![
            variable("LD", "/usr/bin/ld.bfd".to_owned()),
            variable("CROSS_COMPILE", String::new()),
        ];
    }
    let machine = kernel.architecture.machine();
    vec![variable(
        "LD",
        format!("/usr/bin/{machine}-linux-gnu-ld.bfd"),
    )]
}

/// The frozen repositories of the first generation, newest first.
const FROZEN: [&str; 6] = [
    "2018.03/updates/a677188db28c",
    "2018.03/main/c31535f74c6e",
    "2017.09/updates/b8134e61ebbd",
    "2017.09/main/154a6dd467e2",
    "2017.03/updates/ba2b87ec77c7",
    "2017.03/main/201703c0ffee",
];

fn frozen() -> impl Iterator<Item = String> {
    let base = |repository| format!("http://packages.us-east-1.amazonaws.com/{repository}/x86_64/");
    FROZEN.into_iter().map(base)
}

#[cfg(test)]
mod tests {
    use super::super::Target as _;
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn the_first_generation_has_six_urls() {
        let kernel = kernel("amazonlinux 4.14.128-87.105.amzn1.x86_64 1 amd64").0;
        let found = addresses(&AMAZON_LINUX, &kernel);
        assert_eq!(found.len(), 6);
        assert_eq!(
            found[0],
            "http://packages.us-east-1.amazonaws.com/2018.03/updates/a677188db28c/x86_64/Packages/kernel-devel-4.14.128-87.105.amzn1.x86_64.rpm"
        );
    }

    #[test]
    fn later_generations_need_named_packages() {
        let text = "amazonlinux2 5.4.95-42.163.amzn2.x86_64 1 amd64";
        let bare = kernel(text).0;
        let error = AMAZON_LINUX_2.header_packages(&bare, Architecture::Amd64);
        assert!(error.unwrap_err().to_string().contains("digest"));
        let named = kernel(text)
            .with("http://a/2/x/../../blobstore/26/kernel-devel-5.4.95-42.163.amzn2.x86_64.rpm")
            .0;
        assert_eq!(
            addresses(&AMAZON_LINUX_2, &named),
            ["http://a/blobstore/26/kernel-devel-5.4.95-42.163.amzn2.x86_64.rpm"]
        );
        let newer = kernel("amazonlinux2023 6.12.40-64.114.amzn2023.x86_64 1 amd64")
            .with("http://a/kernel-devel-6.12.40-64.114.amzn2023.x86_64.rpm")
            .with("http://a/kernel6.12-devel-6.12.40-64.114.amzn2023.x86_64.rpm")
            .0;
        assert_eq!(
            addresses(&AMAZON_LINUX_2023, &newer),
            ["http://a/kernel6.12-devel-6.12.40-64.114.amzn2023.x86_64.rpm"]
        );
    }

    #[test]
    fn releases_of_other_generations_are_refused() {
        let check = |target: &KernelDevel, release: &str| {
            target.check_release(&release.parse().unwrap(), Architecture::Amd64)
        };
        assert!(check(&AMAZON_LINUX_2, "5.10.102-99.473.amzn2.x86_64").is_ok());
        for release in [
            "5.10.102-99.473.amzn2022.x86_64",
            "5.10.102-99.473.amzn2.aarch64",
            "5.10.0-18-amd64",
        ] {
            assert!(check(&AMAZON_LINUX_2, release).is_err(), "{release}");
        }
    }

    #[test]
    fn gcc_and_linker_depend_on_the_kernel() {
        for (text, gcc) in [
            ("amazonlinux2 5.10.102-99.473.amzn2.x86_64 1 amd64", "10"),
            ("amazonlinux2 5.4.95-42.163.amzn2.x86_64 1 amd64", "11"),
            ("amazonlinux2 4.14.173-137.229.amzn2.x86_64 1 amd64", "8"),
        ] {
            assert_eq!(AMAZON_LINUX_2.default_gcc(&kernel(text).0), gcc);
        }
        let kernel = kernel("amazonlinux2 5.4.144-69.257.amzn2.aarch64 1 arm64").0;
        assert_eq!(
            AMAZON_LINUX_2.make_variables(&kernel, Architecture::Amd64),
            [(
                "LD".to_owned(),
                "/usr/bin/aarch64-linux-gnu-ld.bfd".to_owned()
            )]
        );
    }
}
