//! The content of the packages: Debian's header tree, merged into one.

use std::path::{Path, PathBuf};

use driverkit_matrix::fs;

use support::host::run;

/// The newest series that both the mirror and the test's driver support.
const SERIES: &str = "6.1";

/// Debian's header tree for amd64, merged from its three packages.
pub(crate) struct Content {
    /// Headers, sources of the build system, programs.
    pub(crate) common: PathBuf,
    /// The files that depend on the configuration: `.config`, `Module.symvers`, generated headers.
    pub(crate) generated: PathBuf,
    /// The kernel of the headers.
    pub(crate) kernel: PathBuf,
}

impl Content {
    /// Downloads the packages with apt and merges them below `here`, unless this was done before.
    pub(crate) fn of_debian(here: &Path) -> Self {
        let root = here.join("content");
        let content = Self {
            common: root.join("common"),
            generated: root.join("generated"),
            kernel: root.join("vmlinuz"),
        };
        let done = root.join("done");
        let abi = newest_abi();
        if content.kernel.is_file() && fs::read_to_string(&done).is_ok_and(|text| text == abi) {
            return content;
        }
        fs::remove_folder(&root).unwrap();
        fs::create_folder(&root).unwrap();
        let [tree, common] = [
            format!("linux-headers-{abi}-amd64"),
            format!("linux-headers-{abi}-common"),
        ];
        let kbuild = format!("linux-kbuild-{SERIES}");
        // The unsigned kernel is built together with the headers; the signed one comes later.
        let image = format!("linux-image-{abi}-amd64-unsigned");
        // The architecture must be this machine's: the programs in the tree run while a module is built.
        run(
            "apt-get",
            &["download", &tree, &common, &kbuild, &image],
            &root,
        );
        let all = root.join("all");
        // Only the kernel is needed from its package.
        let take = "set -e
            dpkg-deb --fsys-tarfile \"$1\"_*.deb | tar -xf - \"./boot/vmlinuz-$2-amd64\"
            mv \"boot/vmlinuz-$2-amd64\" vmlinuz
            rm -r boot \"$1\"_*.deb";
        run("sh", &["-c", take, "sh", &image, &abi], &root);
        for entry in std::fs::read_dir(&root).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                run(
                    "dpkg-deb",
                    &["-x", path.to_str().unwrap(), all.to_str().unwrap()],
                    &root,
                );
            }
        }
        let sources = all.join("usr/src");
        // A tree must be complete: directories replace the links to the third package.
        let script = "set -e
            mv \"$1\" \"$4\"; mv \"$2\" \"$5\"
            rm \"$4/scripts\" \"$4/tools\" \"$5/scripts\" \"$5/tools\" \"$5/.kernelvariables\" \"$5/Makefile\"
            mv \"$3/scripts\" \"$3/tools\" \"$4\"
            find \"$4/arch\" -mindepth 1 -maxdepth 1 ! -name x86 -exec rm -r {} +";
        let paths = [
            sources.join(&common),
            sources.join(&tree),
            all.join(format!("usr/lib/{kbuild}")),
            content.common.clone(),
            content.generated.clone(),
        ];
        let mut arguments = vec!["-c", script, "sh"];
        arguments.extend(paths.iter().map(|path| path.to_str().unwrap()));
        run("sh", &arguments, &root);
        fs::write(&done, abi).unwrap();
        content
    }
}

/// Returns the newest ABI: `6.1.0-56`.
fn newest_abi() -> String {
    let start = format!("linux-headers-{SERIES}.0-");
    let names = run("apt-cache", &["pkgnames", &start], Path::new("/"));
    let numbers = names.lines().filter_map(|name| {
        let number = name.strip_prefix(&start)?.strip_suffix("-common")?;
        number.parse::<u32>().ok()
    });
    let newest = numbers
        .max()
        .expect("apt knows header packages of this series");
    format!("{SERIES}.0-{newest}")
}
