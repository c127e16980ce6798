//! Real kernels of this machine's Debian mirror, and what is needed to build for them.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use driverkit_matrix::fs;
use serde_json::Value;

/// A kernel of the mirror.
pub struct Kernel {
    /// The release with which the loader requests it: `6.1.176-1-amd64`.
    pub release: String,
    /// The release of its header tree: `6.1.0-50-amd64`.
    pub uts_release: String,
    /// The header packages.
    pub urls: Vec<String>,
}

impl Kernel {
    /// Returns driverkit's configuration file for the kernel, for amd64, with `more` lines.
    pub fn config(&self, more: &str) -> String {
        let urls = self.urls.iter().map(|url| format!("  - {url}\n"));
        format!(
            "kernelversion: 1\nkernelrelease: {}\ntarget: debian\narchitecture: amd64\n{more}kernelurls:\n{}",
            self.release,
            urls.collect::<String>()
        )
    }
}

/// The directory of driver sources.
pub fn vendor() -> PathBuf {
    crate::root().join("vendor")
}

/// Returns the directory of this machine's builder images.
pub fn images() -> PathBuf {
    if let Some(folder) = std::env::var_os("DRIVERKIT_MATRIX_IMAGES") {
        return folder.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache
        .unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"))
        .join("driverkit-matrix/images")
}

/// Returns the program, to be run in `folder` with its own cache and this machine's builder images.
pub fn program(folder: &Path) -> Command {
    let root = crate::root();
    let mut command = Command::cargo_bin("driverkit-matrix").unwrap();
    command
        .current_dir(folder)
        .env("DRIVERKIT_MATRIX_IMAGES", images())
        .env("DRIVERKIT_MATRIX_IMAGE_DESCRIPTIONS", root.join("images"))
        // A relative path, as a user may give it.
        .env("DRIVERKIT_MATRIX_CACHE", "cache");
    command
}

/// Returns the newest plain kernel of bookworm for amd64.
pub fn kernel_of_bookworm(folder: &Path) -> Kernel {
    kernel(folder, "plain", "amd64", "amd64")
}

/// Returns the newest kernel of bookworm of a flavour and an architecture, with packages whose programs run on `host`.
pub fn kernel(folder: &Path, flavour: &str, architecture: &str, host: &str) -> Kernel {
    let mirror = std::env::var("DRIVERKIT_MATRIX_MIRROR_DEBIAN").expect(
        "DRIVERKIT_MATRIX_MIRROR_DEBIAN says where Debian's archive is: run scripts/test.sh, or set it to what \
         scripts/mirror.sh prints",
    );
    let matrix = format!(
        "drivers = [\"x\"]\narchitectures = [\"{architecture}\"]\n[[target]]\nname = \"debian\"\n\
         kernels = {{ from = \"mirror\", suites = [\"bookworm\"], flavours = [\"{flavour}\"], latest = 1 }}\n"
    );
    fs::write(&folder.join("find.toml"), matrix).unwrap();
    let output = program(folder)
        .args(["plan", "find.toml", "--format", "json"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let build = &plan["builds"][0];
    let packages = build["packages"].as_array().unwrap().iter();
    let urls: Vec<String> = packages
        // Of the packages with programs, only the one for `host`.
        .filter(|package| package["host"].is_null() || package["host"] == host)
        .map(|package| package["url"].as_str().unwrap().to_owned())
        .collect();
    let urls = urls
        .iter()
        .map(|url| url.replace("http://ftp.debian.org/debian", mirror.trim_end_matches('/')))
        .collect::<Vec<_>>();
    let of_headers = |url: &String| {
        let name = url.rsplit('/').next()?.strip_prefix("linux-headers-")?;
        let name = name.split('_').next()?;
        let is_common = name.ends_with("-common");
        (!is_common).then(|| name.to_owned())
    };
    Kernel {
        release: build["kernel_release"].as_str().unwrap().to_owned(),
        uts_release: urls.iter().find_map(of_headers).unwrap(),
        urls,
    }
}

/// Returns the directory of the kernel source that `scripts/test.sh` fetches, and its version.
pub fn kernel_source() -> (PathBuf, String) {
    let directory = vendor().join("linux-6.1");
    let mut names = std::fs::read_dir(&directory)
        .expect("this test needs a kernel source: run scripts/test.sh")
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .into_string()
                .expect("UTF-8")
        });
    let version = names.find_map(|name| {
        let version = name.strip_prefix("linux-")?.strip_suffix(".tar.xz")?;
        Some(version.to_owned())
    });
    (directory, version.expect("a kernel source"))
}
