//! A builder image of a few megabytes, for tests that run small scripts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::executor::{Job, Limits, Network, Toolchain, image_identity};

/// Programs of this machine that are copied into the test image.
const PROGRAMS: &[&str] = &[
    "bash", "cat", "chmod", "env", "grep", "head", "id", "ln", "ls", "mkdir", "mkfifo", "sleep",
    "sort", "stat", "tail", "touch", "true",
];

/// A small builder image.
pub struct TestImage {
    pub archive: PathBuf,
    pub identity: Sha256,
}

impl TestImage {
    pub const NAME: &str = "driverkit-matrix/test:executors";

    pub fn toolchain(&self) -> Toolchain {
        Toolchain::Image {
            name: Self::NAME.to_owned(),
            identity: self.identity,
            archive: Some(self.archive.clone()),
        }
    }
}

/// Returns a tiny root file system with this machine's own programs, in Debian's directory layout.
pub fn image() -> &'static TestImage {
    static IMAGE: OnceLock<TestImage> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let programs: Vec<String> = PROGRAMS
            .iter()
            .map(|name| format!("/usr/bin/{name}"))
            .collect();
        let mut files = BTreeMap::from([("/usr/bin/sh".to_owned(), "/usr/bin/dash".to_owned())]);
        files.extend(programs.iter().map(|path| (path.clone(), path.clone())));
        let output = Command::new("ldd")
            .arg("/usr/bin/dash")
            .args(&programs)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        for word in text
            .split_whitespace()
            .filter(|word| word.starts_with("/lib"))
        {
            files.insert(format!("/usr{word}"), word.to_owned());
        }
        let mut builder = tar::Builder::new(Vec::new());
        let header = |kind, mode, size| {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_size(size);
            header
        };
        for folder in [
            "usr/",
            "usr/bin/",
            "usr/lib/",
            "usr/lib64/",
            "usr/src/",
            "usr/src/there/",
            "etc/",
            "proc/",
            "dev/",
            "sys/",
        ] {
            let mut header = header(tar::EntryType::Directory, 0o755, 0);
            builder
                .append_data(&mut header, folder, std::io::empty())
                .unwrap();
        }
        let mut scratch = header(tar::EntryType::Directory, 0o1777, 0);
        builder
            .append_data(&mut scratch, "tmp/", std::io::empty())
            .unwrap();
        for (link, target) in [
            ("bin", "usr/bin"),
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
        ] {
            let mut header = header(tar::EntryType::Symlink, 0o777, 0);
            builder.append_link(&mut header, link, target).unwrap();
        }
        for (inside, outside) in files {
            let bytes = std::fs::read(&outside).unwrap();
            let mut header = header(tar::EntryType::Regular, 0o755, bytes.len() as u64);
            builder
                .append_data(
                    &mut header,
                    inside.trim_start_matches('/'),
                    bytes.as_slice(),
                )
                .unwrap();
        }
        let bytes = builder.into_inner().unwrap();
        let archive = crate::scratch().join("executors-image.tar");
        driverkit_matrix::fs::write(&archive, &bytes).unwrap();
        let identity = image_identity(&[format!("sha256:{}", Sha256::of(&bytes))]);
        TestImage { archive, identity }
    })
}

/// Returns a job with a short script in this image.
pub fn job(script: &str, run_id: String, output: &Path) -> Job {
    Job {
        name: "case".to_owned(),
        run_id,
        toolchain: image().toolchain(),
        script: script.to_owned(),
        mounts: Vec::new(),
        environment: Vec::new(),
        network: Network::None,
        kvm: false,
        limits: Limits {
            timeout: Duration::from_mins(2),
            memory_bytes: 256 << 20,
            output_bytes: 2 << 30,
            output_files: 200_000,
            processes: 64,
        },
        output: output.to_owned(),
    }
}
