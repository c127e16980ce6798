//! Derives the URL of a kernel's own package from its header packages: in the same directory, with a name of the same
//! scheme.
//!
//! | headers | kernel |
//! | --- | --- |
//! | `linux-headers-R_V_A.deb` | `linux-image-R-unsigned`, `linux-image-unsigned-R` (Ubuntu), `linux-image-R`; Debian's from 7.0 on `linux-binary-R`, in the directory `linux-signed-A` |
//! | `N-devel-V.rpm` | `N-core-V`, `N-V`; of RHEL and its rebuilds from 8 on in `BaseOS`, not in `AppStream`; Oracle: `baseos/latest`, `appstream` |
//! | `N-headers-V.pkg.tar.*` | `N-V`, in the directory `N` where the headers are in `N-headers` (Arch's archive) |
//!
//! No rule finds the kernels of Amazon Linux 2 and later: each file of their repositories is in a directory named by a
//! digest. The indexes of repositories name them.

/// Returns the possible URLs of a kernel's own package, most likely first, derived from the URLs of its header
/// packages. Empty if no rule knows the scheme. URLs with a query are ignored: the query may be a signature for one
/// file.
pub fn kernel_image_addresses<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut addresses = Vec::new();
    for url in headers.into_iter().filter(|url| !url.contains(['?', '#'])) {
        let (folder, file) = match url.rsplit_once('/') {
            // The directory has no other file.
            Some((folder, _)) if is_named_by_digest(folder) => continue,
            Some((folder, file)) => (format!("{folder}/"), file),
            None => (String::new(), url),
        };
        let names = if let Some(name) = file.strip_suffix(".deb") {
            of_deb(name)
        } else if let Some(name) = file.strip_suffix(".rpm") {
            of_rpm(name)
        } else {
            of_arch(file)
        };
        for name in names {
            for folder in folders_of(&folder) {
                let address = format!("{folder}{name}");
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        addresses.extend(signed_by_debian(&folder, file));
    }
    addresses
}

/// Returns true if a directory has a single file, and is named by its digest.
fn is_named_by_digest(folder: &str) -> bool {
    let (_, name) = folder.rsplit_once('/').unwrap_or_default();
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the possible directories of a kernel package whose headers are in `folder`, most likely first.
fn folders_of(folder: &str) -> [String; 2] {
    let of_kernel = match folder.strip_suffix("-headers/") {
        Some(start) => format!("{start}/"),
        // Red Hat's own server: `.../appstream/os/`. Oracle's: `OL9/appstream/x86_64/getPackage/`.
        None if folder.contains("/appstream/os/") => {
            folder.replace("/appstream/os/", "/baseos/os/")
        }
        None => folder
            .replace("/AppStream/", "/BaseOS/")
            .replace("/appstream/", "/baseos/latest/"),
    };
    [of_kernel, folder.to_owned()]
}

/// For `linux-headers-6.1.0-50-amd64_6.1.175-1_amd64`. Shared packages have the architecture `all`.
fn of_deb(name: &str) -> Vec<String> {
    let parts: Vec<&str> = name.splitn(3, '_').collect();
    let [package, version, architecture] = parts[..] else {
        return Vec::new();
    };
    let Some(release) = package.strip_prefix("linux-headers-") else {
        return Vec::new();
    };
    if architecture == "all" || release.contains("-common") {
        return Vec::new();
    }
    names_of_debs(release)
        .map(|image| format!("{image}_{version}_{architecture}.deb"))
        .into()
}

fn names_of_debs(release: &str) -> [String; 3] {
    [
        format!("linux-image-{release}-unsigned"),
        format!("linux-image-unsigned-{release}"),
        format!("linux-image-{release}"),
    ]
}

/// Returns the possible names of a kernel's own package, the most likely first, by the name of its header package:
/// `linux-headers-6.1.0-50-amd64`, `kernel-devel`, `kernel6.12-devel`. The versions of both are the same.
pub fn kernel_package_names(headers: &str) -> Vec<String> {
    if let Some(release) = headers.strip_prefix("linux-headers-") {
        let signed = format!("linux-binary-{release}");
        return names_of_debs(release).into_iter().chain([signed]).collect();
    }
    match headers.strip_suffix("-devel") {
        Some(kernel) => vec![format!("{kernel}-core"), kernel.to_owned()],
        None => Vec::new(),
    }
}

/// Returns the URL of the kernel signed by Debian's archive, which has its own source package: `linux-signed-amd64`.
fn signed_by_debian(folder: &str, file: &str) -> Option<String> {
    let name = file.strip_suffix(".deb")?;
    let pool = folder.strip_suffix("/l/linux/")?;
    let release_and_rest = name.strip_prefix("linux-headers-")?;
    let (rest, architecture) = release_and_rest.rsplit_once('_')?;
    if architecture == "all" {
        return None;
    }
    Some(format!(
        "{pool}/l/linux-signed-{architecture}/linux-binary-{rest}_{architecture}.deb"
    ))
}

/// For `kernel-uek-devel-5.15.0-200.el8uek.x86_64`.
fn of_rpm(name: &str) -> Vec<String> {
    let Some((kernel, version)) = name.split_once("-devel-") else {
        return Vec::new();
    };
    // The rest of the name of a shared package, such as `kernel-devel-azure`, is not a version.
    if version.ends_with(".noarch") || !version.starts_with(|first: char| first.is_ascii_digit()) {
        return Vec::new();
    }
    vec![
        format!("{kernel}-core-{version}.rpm"),
        format!("{kernel}-{version}.rpm"),
    ]
}

/// For `linux-lts-headers-6.12.41-1-x86_64.pkg.tar.zst`.
fn of_arch(file: &str) -> Vec<String> {
    match file.split_once("-headers-") {
        Some((kernel, version)) if version.contains(".pkg.tar") => {
            vec![format!("{kernel}-{version}")]
        }
        _ => Vec::new(),
    }
}

/// Returns true if a path in a kernel package is the bootable kernel.
pub fn is_kernel_image(path: &[u8]) -> bool {
    let text = String::from_utf8_lossy(path);
    let Some((folder, file)) = text.rsplit_once('/') else {
        return false;
    };
    let is_place = folder == "boot" || folder.contains("lib/modules/");
    let is_named = |prefix: &str| {
        file.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    is_place && ["vmlinuz", "Image"].into_iter().any(is_named)
}

#[cfg(test)]
mod tests;
