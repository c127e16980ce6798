//! Targets without header packages: kernel.org's source with the configuration of the target.
//!
//! Source and configuration are Debian's real ones (`scripts/fetch-kernel-source.sh`), so all releases have the version
//! of that source, in the form of each target.

use std::path::Path;

use driverkit_matrix::fs;

use crate::targets::Kernel;

/// Returns one kernel of each such target; writes their files below `mirrors`.
pub(crate) fn kernels(mirrors: &Path) -> Vec<Kernel> {
    let vendor = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor/linux-6.1");
    let mut names = std::fs::read_dir(&vendor)
        .expect("this test needs a kernel source: run make test-targets")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let archive = names.find(|name| name.ends_with(".tar.xz")).unwrap();
    let version = archive
        .strip_prefix("linux-")
        .and_then(|name| name.strip_suffix(".tar.xz"))
        .unwrap();
    let config = vendor.join("config-cloud-amd64");
    let place = |path: String, from: &Path| {
        let path = mirrors.join(path);
        fs::remove_file(&path).unwrap();
        fs::create_folder(path.parent().unwrap()).unwrap();
        std::fs::copy(from, &path).unwrap();
        path
    };
    place(
        format!("cdn.kernel.org/pub/linux/kernel/v6.x/{archive}"),
        &vendor.join(&archive),
    );

    // Flatcar publishes the kernel and compiler of a release in a list, and the kernel configuration in another file.
    let flatcar = "3815.2.0";
    let published = format!("stable.release.flatcar-linux.net/amd64-usr/{flatcar}");
    let list = format!("{published}/flatcar_production_image_packages.txt");
    fs::write(
        &mirrors.join(list),
        format!("sys-devel/gcc-12.2.0::x\nsys-kernel/coreos-kernel-{version}::coreos\n"),
    )
    .unwrap();
    place(
        format!("{published}/flatcar_production_image_kernel_config.txt"),
        &config,
    );

    let named = format!(", config = \"{}\"", config.display());
    let kernel = |target, release: &str, kernel_version, uts_release: &str, further: &str| Kernel {
        target,
        release: release.to_owned(),
        version: kernel_version,
        uts_release: uts_release.to_owned(),
        further: further.to_owned(),
        hosts: vec![
            ("https", "cdn.kernel.org"),
            ("https", "stable.release.flatcar-linux.net"),
        ],
        inputs: format!("`{archive}` and a configuration | computed"),
    };
    let talos = format!("{version}-talos");
    vec![
        kernel("bottlerocket", version, "1_1.19.0-aws", version, &named),
        kernel("flatcar", flatcar, "1", &format!("{version}-flatcar"), ""),
        kernel("minikube", version, "1_1.38.0", version, &named),
        kernel("talos", &talos, "1_v1.5.0", &talos, &named),
        kernel("vanilla", version, "1", version, &named),
    ]
}
