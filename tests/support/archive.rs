//! Creates archives in apt's layout.

use std::fmt::Write as _;
use std::io::Write as _;

use driverkit_matrix::digest::Sha256;
use url::Url;

/// A mirror in a directory.
pub struct Mirror {
    pub folder: tempfile::TempDir,
}

pub fn package(name: &str, version: &str, architecture: &str, depends: &str) -> String {
    let file = version.split_once(':').map_or(version, |(_, rest)| rest);
    format!(
        "Package: {name}\nSource: linux\nVersion: {version}\nArchitecture: {architecture}\n\
         Depends: {depends}\nDescription: about {name}\n more about it\n\
         Filename: pool/main/l/linux/{name}_{file}_{architecture}.deb\nSize: {}\nSHA256: {}\n\n",
        name.len(),
        Sha256::of(format!("{name} {version} {architecture}")),
    )
}

/// Returns the index entries of one kernel version for `architecture`.
pub fn linux(
    abi: &str,
    kbuild: &str,
    version: &str,
    architecture: &str,
    flavours: &[&str],
) -> String {
    let mut index = package(
        &format!("linux-kbuild-{kbuild}"),
        version,
        architecture,
        "libc6 (>= 2.36)",
    );
    for common in ["common", "common-rt"] {
        index += &package(&format!("linux-headers-{abi}-{common}"), version, "all", "");
    }
    for flavour in flavours {
        let common = if flavour.starts_with("rt-") {
            "common-rt"
        } else {
            "common"
        };
        let depends = format!(
            "gcc-12 | gcc, linux-headers-{abi}-{common} (= {version}), linux-kbuild-{kbuild} (>= {version})"
        );
        index += &package(
            &format!("linux-headers-{abi}-{flavour}"),
            version,
            architecture,
            &depends,
        );
    }
    index
}

impl Mirror {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        driverkit_matrix::fs::write(&self.folder.path().join(path), bytes).unwrap();
    }

    /// Writes a suite; the extension of each index gives its compression.
    pub fn suite(&self, suite: &str, indexes: &[(&str, &str, &str)]) {
        let mut release = format!("Origin: Debian\nSuite: {suite}\nMD5Sum:\n 0 1 x\nSHA256:\n");
        for (architecture, extension, text) in indexes {
            let bytes = match *extension {
                ".xz" => {
                    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
                    encoder.write_all(text.as_bytes()).unwrap();
                    encoder.finish().unwrap()
                }
                ".gz" => {
                    let mut encoder =
                        flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    encoder.write_all(text.as_bytes()).unwrap();
                    encoder.finish().unwrap()
                }
                _ => text.as_bytes().to_vec(),
            };
            let path = format!("main/binary-{architecture}/Packages{extension}");
            writeln!(release, " {} {:>8} {path}", Sha256::of(&bytes), bytes.len()).unwrap();
            self.write(&format!("dists/{suite}/{path}"), bytes);
        }
        self.write(&format!("dists/{suite}/Release"), release);
    }

    pub fn url(&self) -> Url {
        Url::from_directory_path(self.folder.path()).unwrap()
    }
}
