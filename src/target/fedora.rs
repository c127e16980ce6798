//! Fedora: the updates, which have only the newest kernel, the release, and archives.

use super::rpm::{KernelDevel, is_numbered};

/// The repositories, the likeliest first.
const REPOSITORIES: [&str; 5] = [
    "https://mirrors.kernel.org/fedora/updates/$release/Everything/$arch/",
    "https://mirrors.kernel.org/fedora/releases/$release/Everything/$arch/os/",
    "https://mirrors.kernel.org/fedora/development/$release/Everything/$arch/os/",
    "https://archives.fedoraproject.org/pub/archive/fedora/linux/updates/$release/Everything/$arch/",
    "https://archives.fedoraproject.org/pub/archive/fedora/linux/releases/$release/Everything/$arch/os/",
];

/// All past updates, without an index.
const PAST_UPDATES: &str =
    "https://fedoraproject-updates-archive.fedoraproject.org/fedora/$release/$arch";

/// Fedora.
pub(super) const FEDORA: KernelDevel = KernelDevel {
    ids: &["fedora"],
    is_mark: |mark| is_numbered(mark, "fc"),
    example: "6.2.9-300.fc38",
    folders: |release| {
        let number = release.generation("fc").unwrap_or_default().to_string();
        let mut folders: Vec<String> = REPOSITORIES
            .map(|repository| format!("{repository}Packages/k"))
            .into();
        folders.insert(3, PAST_UPDATES.to_owned());
        let named = |folder: String| {
            folder
                .replace("$release", &number)
                .replace("$arch", release.machine)
        };
        Ok(folders.into_iter().map(named).collect())
    },
    repositories: || REPOSITORIES.map(str::to_owned).into(),
    oldest_release: 32,
    ..KernelDevel::BASE
};

#[cfg(test)]
mod tests {
    use super::super::testing::{addresses, kernel};
    use super::*;

    #[test]
    fn the_release_number_is_read_from_the_kernel_release() {
        let kernel = kernel("fedora 5.17.5-300.fc36.aarch64 1 arm64").0;
        let found = addresses(&FEDORA, &kernel);
        assert_eq!(
            found[1],
            "https://mirrors.kernel.org/fedora/releases/36/Everything/aarch64/os/Packages/k/kernel-devel-5.17.5-300.fc36.aarch64.rpm"
        );
        assert!(found.iter().all(|url| url.contains("/36/")));
    }
}
