//! Where the package of the kernel itself is that header packages are for: beside them, under a name of the same scheme.
//!
//! | headers | kernel |
//! | --- | --- |
//! | `linux-headers-R_V_A.deb` | `linux-image-R-unsigned`, `linux-image-unsigned-R` (Ubuntu), `linux-image-R`; Debian's from 7.0 on `linux-binary-R`, in the directory `linux-signed-A` |
//! | `N-devel-V.rpm` | `N-core-V`, `N-V`; of RHEL and its rebuilds from 8 on in `BaseOS`, not in `AppStream` |
//! | `N-headers-V.pkg.tar.*` | `N-V`, in the directory `N` where the headers are in `N-headers` (Arch's archive) |
//!
//! No rule finds the kernels of Amazon Linux 2 and later: each file of its repositories is in a directory named by a digest.

/// The addresses that a kernel's own package can have, most probable first, from the addresses of its header packages.
/// Empty where no rule knows the scheme. Addresses with a query are left out: it may be a signature for one file.
pub fn kernel_image_addresses<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut addresses = Vec::new();
    for url in headers.into_iter().filter(|url| !url.contains(['?', '#'])) {
        let (folder, file) = match url.rsplit_once('/') {
            // Nothing else is beside it.
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

/// Whether a directory holds one file, whose digest is its name.
fn is_named_by_digest(folder: &str) -> bool {
    let (_, name) = folder.rsplit_once('/').unwrap_or_default();
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Where a kernel's package can be whose headers are in `folder`, most probable first.
fn folders_of(folder: &str) -> [String; 2] {
    let of_kernel = match folder.strip_suffix("-headers/") {
        Some(start) => format!("{start}/"),
        None => folder.replace("/AppStream/", "/BaseOS/"),
    };
    [of_kernel, folder.to_owned()]
}

/// `linux-headers-6.1.0-50-amd64_6.1.175-1_amd64`. Packages that kernels share are for `all` architectures.
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
    [
        format!("linux-image-{release}-unsigned"),
        format!("linux-image-unsigned-{release}"),
        format!("linux-image-{release}"),
    ]
    .map(|image| format!("{image}_{version}_{architecture}.deb"))
    .into()
}

/// The kernel that Debian's archive signed, which is built from a source package of its own: `linux-signed-amd64`.
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

/// `kernel-uek-devel-5.15.0-200.el8uek.x86_64`.
fn of_rpm(name: &str) -> Vec<String> {
    let Some((kernel, version)) = name.split_once("-devel-") else {
        return Vec::new();
    };
    // What is left of a package that kernels share, such as `kernel-devel-azure`, is no version.
    if version.ends_with(".noarch") || !version.starts_with(|first: char| first.is_ascii_digit()) {
        return Vec::new();
    }
    vec![
        format!("{kernel}-core-{version}.rpm"),
        format!("{kernel}-{version}.rpm"),
    ]
}

/// `linux-lts-headers-6.12.41-1-x86_64.pkg.tar.zst`.
fn of_arch(file: &str) -> Vec<String> {
    match file.split_once("-headers-") {
        Some((kernel, version)) if version.contains(".pkg.tar") => {
            vec![format!("{kernel}-{version}")]
        }
        _ => Vec::new(),
    }
}

/// Whether a path within a kernel's package is the kernel that boots.
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
