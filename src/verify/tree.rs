//! Reads the facts that a kernel's header tree records about itself.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::fs::{FileError, ForeignError, ForeignFolder};
use crate::kernel::Architecture;

/// Facts that a header tree records about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelTreeFacts {
    /// The output of `uname -r` on its kernel.
    pub uts_release: String,
    /// The architecture, if the configuration contains it.
    pub architecture: Option<Architecture>,
    /// The version of the gcc that compiled the kernel, `12` or `4.9`, if recorded.
    pub gcc_version: Option<String>,
    /// The version of the clang that compiled it instead, `19.1.7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clang_version: Option<String>,
    /// True if it contains the versions of the kernel's symbols.
    pub has_symvers: bool,
    /// Words of a vermagic, and whether modules for this kernel have them.
    pub vermagic_words: Vec<(String, bool)>,
}

/// The reason why a directory is not a header tree.
#[derive(Debug, thiserror::Error)]
pub enum ReadTreeError {
    /// A file that every tree has is missing or cannot be used.
    #[error("the header tree is not complete: {0}")]
    Foreign(ForeignError),
    /// A file lacks a required definition.
    #[error("{} does not define {what}", path.display())]
    Undefined {
        /// The file, relative to the tree.
        path: PathBuf,
        /// The missing definition.
        what: &'static str,
    },
}

impl ReadTreeError {
    /// Returns the failure of this machine, if that is the cause; any other error is the fault of the tree.
    pub fn machine_failure(&self) -> Option<&FileError> {
        match self {
            Self::Foreign(error) => error.machine_failure(),
            Self::Undefined { .. } => None,
        }
    }
}

impl From<ForeignError> for ReadTreeError {
    fn from(error: ForeignError) -> Self {
        Self::Foreign(error)
    }
}

/// The name of the file that lists the kernel's symbols.
const SYMVERS: &str = "Module.symvers";

// Many times the sizes of the largest kernel.
const MOST_UTS_RELEASE_BYTES: u64 = 4 << 10;
const MOST_COMPILE_BYTES: u64 = 64 << 10;
const MOST_CONFIG_BYTES: u64 = 16 << 20;
const MOST_SYMVERS_BYTES: u64 = 64 << 20;

/// Reads the header tree in the directory `inside` of the tree `root`, that is, the directory passed to `make -C`.
/// Links are followed only within `root`.
pub fn read_kernel_tree(root: &Path, inside: &Path) -> Result<KernelTreeFacts, ReadTreeError> {
    let tree = ForeignFolder::open(root).map_err(ForeignError::from)?;
    // Kernels before 2.6.33 (2010) have it elsewhere.
    let name = "include/generated/utsrelease.h";
    let old_name = "include/linux/utsrelease.h";
    let read_header = |name: &str| tree.read_text(&inside.join(name), MOST_UTS_RELEASE_BYTES);
    let (name, header) = match read_header(name) {
        Err(missing @ ForeignError::Missing(_)) => match read_header(old_name) {
            Err(ForeignError::Missing(_)) => return Err(missing.into()),
            header => (old_name, header?),
        },
        header => (name, header?),
    };
    let uts_release = header
        .lines()
        .find_map(|line| {
            line.strip_prefix("#define UTS_RELEASE \"")?
                .strip_suffix('"')
        })
        .ok_or(ReadTreeError::Undefined {
            path: name.into(),
            what: "UTS_RELEASE",
        })?
        .to_owned();
    let config = tree.read_text(&inside.join(".config"), MOST_CONFIG_BYTES)?;
    let compile_path = inside.join("include/generated/compile.h");
    let compile = match tree.read_text(&compile_path, MOST_COMPILE_BYTES) {
        Err(ForeignError::Missing(_)) => String::new(),
        compile => compile?,
    };
    let symvers_bytes = match tree.file_size(&inside.join(SYMVERS), MOST_SYMVERS_BYTES) {
        Err(ForeignError::Missing(_)) => 0,
        size_bytes => size_bytes?,
    };
    let is_set = |name: &str| value(&config, name) == Some("y");
    let architecture = if is_set("CONFIG_X86_64") {
        Some(Architecture::Amd64)
    } else if is_set("CONFIG_ARM64") {
        Some(Architecture::Arm64)
    } else {
        None
    };
    let mut words = vec![
        ("SMP", is_set("CONFIG_SMP")),
        ("mod_unload", is_set("CONFIG_MODULE_UNLOAD")),
        ("modversions", is_set("CONFIG_MODVERSIONS")),
    ];
    // A kernel can be both. Then it has one of the two words, and which one changed between 6.12 and 7.2.
    let is_preemptible = is_set("CONFIG_PREEMPT_BUILD") || is_set("CONFIG_PREEMPT");
    let is_realtime = is_set("CONFIG_PREEMPT_RT");
    if !(is_preemptible && is_realtime) {
        words.push(("preempt", is_preemptible));
        words.push(("preempt_rt", is_realtime));
    }
    Ok(KernelTreeFacts {
        uts_release,
        architecture,
        gcc_version: gcc_version(&config, &compile),
        clang_version: clang_of_configuration(&config),
        has_symvers: symvers_bytes > 0,
        vermagic_words: words
            .into_iter()
            .map(|(word, wanted)| (word.to_owned(), wanted))
            .collect(),
    })
}

/// Reads the header tree in `folder` of this machine, which may refer to other directories by relative links.
pub fn read_installed_tree(folder: &Path) -> Result<KernelTreeFacts, ReadTreeError> {
    let read = FileError::of("read directory", folder);
    let folder = folder
        .canonicalize()
        .map_err(|error| ForeignError::from(read(error)))?;
    let root = Path::new("/");
    read_kernel_tree(root, folder.strip_prefix(root).unwrap_or(&folder))
}

/// Reads the symbols that the kernel of a header tree exports to modules; arguments as for [`read_kernel_tree`].
pub fn read_symvers(root: &Path, inside: &Path) -> Result<String, ReadTreeError> {
    let tree = ForeignFolder::open(root).map_err(ForeignError::from)?;
    Ok(tree.read_text(&inside.join(SYMVERS), MOST_SYMVERS_BYTES)?)
}

/// Returns the gcc version that a kernel configuration was made for, `12` or `4.9`, if recorded.
pub fn gcc_of_configuration(text: &str) -> Option<String> {
    gcc_version(text, "")
}

/// Returns the clang version that a kernel configuration was made for, `19.1.7`, if it was made for clang.
pub fn clang_of_configuration(text: &str) -> Option<String> {
    if value(text, "CONFIG_CC_IS_CLANG") != Some("y") {
        return None;
    }
    let of_text = || {
        let (_, version) = value(text, "CONFIG_CC_VERSION_TEXT")?.split_once("version ")?;
        Some(version.split([' ', '-', '+', '~']).next()?.to_owned())
    };
    let of_number = || {
        let number: u32 = value(text, "CONFIG_CLANG_VERSION")?.parse().ok()?;
        let (major, minor, patch) = (number / 10_000, number / 100 % 100, number % 100);
        (number > 0).then(|| format!("{major}.{minor}.{patch}"))
    };
    of_number().or_else(of_text)
}

fn value<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    config
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_matches('"'))
}

/// Since 4.18 the configuration has a number, 120200 for 12.2.0; before that, `compile.h` may have a string.
fn gcc_version(config: &str, compile: &str) -> Option<String> {
    let number = value(config, "CONFIG_GCC_VERSION").and_then(|number| number.parse::<u32>().ok());
    if let Some(number) = number.filter(|&number| number > 0) {
        let (major, minor) = (number / 10_000, number / 100 % 100);
        return Some(short_version(major, minor));
    }
    let texts = value(config, "CONFIG_CC_VERSION_TEXT").into_iter().chain(
        compile
            .lines()
            .filter_map(|line| line.strip_prefix("#define LINUX_COMPILER ")),
    );
    texts
        .filter(|text| text.contains("gcc"))
        .find_map(version_in)
}

/// Returns the last `1.2` or `1.2.3` in a string such as `gcc version 4.9.2 (Debian 4.9.2-10)`, outside parentheses.
fn version_in(text: &str) -> Option<String> {
    let outside = text
        .split('(')
        .next()
        .into_iter()
        .chain(text.split(')').skip(1));
    let words: Vec<&str> = outside.flat_map(str::split_whitespace).collect();
    words.into_iter().rev().find_map(|word| {
        let mut parts = word
            .trim_matches(|found: char| !found.is_ascii_digit())
            .split('.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        Some(short_version(major, minor))
    })
}

/// Since gcc 5 the major number alone identifies a release series.
fn short_version(major: u32, minor: u32) -> String {
    if major < 5 {
        format!("{major}.{minor}")
    } else {
        major.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;

    fn tree(config: &str, compile: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(&folder.path().join(name), text).unwrap();
        write(
            "include/generated/utsrelease.h",
            "#define UTS_RELEASE \"6.1.0-50-rt-amd64\"\n",
        );
        write("include/generated/compile.h", compile);
        write(".config", config);
        folder
    }

    #[test]
    fn facts_of_a_tree_are_read() {
        let config = "CONFIG_X86_64=y\nCONFIG_GCC_VERSION=120200\nCONFIG_SMP=y\nCONFIG_PREEMPT_RT=y\n# CONFIG_MODVERSIONS is not set\n";
        let folder = tree(config, "");
        fs::write(
            &folder.path().join("Module.symvers"),
            "0x1\ta\tvmlinux\tEXPORT_SYMBOL\t\n",
        )
        .unwrap();
        let facts = read_kernel_tree(folder.path(), Path::new("")).unwrap();
        assert_eq!(facts.uts_release, "6.1.0-50-rt-amd64");
        assert_eq!(facts.architecture, Some(Architecture::Amd64));
        assert_eq!(facts.gcc_version.as_deref(), Some("12"));
        assert!(facts.has_symvers);
        let set: Vec<_> = facts
            .vermagic_words
            .iter()
            .filter(|(_, set)| *set)
            .map(|(word, _)| word.as_str())
            .collect();
        assert_eq!(set, ["SMP", "preempt_rt"]);
    }

    #[test]
    fn the_compiler_is_read_from_the_tree() {
        for (config, compile, version) in [
            ("CONFIG_GCC_VERSION=40902\n", "", Some("4.9")),
            (
                "CONFIG_GCC_VERSION=0\nCONFIG_CC_VERSION_TEXT=\"Debian clang version 14.0.6\"\n",
                "",
                None,
            ),
            (
                "CONFIG_CC_VERSION_TEXT=\"gcc-12 (Debian 12.2.0-14) 12.2.0\"\n",
                "",
                Some("12"),
            ),
            (
                "",
                "#define LINUX_COMPILER \"gcc version 4.8.5 20150623 (Red Hat 4.8.5-36) (GCC) \"\n",
                Some("4.8"),
            ),
            ("", "", None),
        ] {
            let facts = read_kernel_tree(tree(config, compile).path(), Path::new("")).unwrap();
            assert_eq!(facts.gcc_version.as_deref(), version, "{config}{compile}");
        }
    }

    #[test]
    fn clang_is_named_with_its_version() {
        for (config, version) in [
            (
                "CONFIG_CC_IS_CLANG=y\nCONFIG_CLANG_VERSION=190107\n",
                Some("19.1.7"),
            ),
            (
                "CONFIG_CC_IS_CLANG=y\nCONFIG_CC_VERSION_TEXT=\"Debian clang version 14.0.6-2\"\n",
                Some("14.0.6"),
            ),
            ("CONFIG_CC_IS_CLANG=y\n", None),
            ("CONFIG_CC_IS_GCC=y\nCONFIG_CLANG_VERSION=0\n", None),
        ] {
            assert_eq!(
                clang_of_configuration(config).as_deref(),
                version,
                "{config}"
            );
        }
    }

    #[test]
    fn directories_that_are_no_tree_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            read_kernel_tree(folder.path(), Path::new("")),
            Err(ReadTreeError::Foreign(ForeignError::Missing(_)))
        ));
        fs::write(
            &folder.path().join("include/generated/utsrelease.h"),
            "#define X 1\n",
        )
        .unwrap();
        assert!(matches!(
            read_kernel_tree(folder.path(), Path::new("")),
            Err(ReadTreeError::Undefined { .. })
        ));
    }

    #[test]
    fn links_out_of_the_tree_and_special_files_are_refused() {
        for name in [
            ".config",
            "include/generated/utsrelease.h",
            "include/generated/compile.h",
            "Module.symvers",
        ] {
            for target in [
                "/dev/zero",
                "../../../../../../../etc/passwd",
                "/etc/passwd",
            ] {
                let folder = tree("CONFIG_SMP=y\n", "");
                let path = folder.path().join(name);
                fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink(target, &path).unwrap();
                let error = read_kernel_tree(folder.path(), Path::new("")).unwrap_err();
                assert!(error.machine_failure().is_none(), "{error}");
                assert!(
                    error.to_string().contains("leaves its tree"),
                    "{name}: {error}"
                );
            }
        }
        let folder = tree("", "");
        fs::remove_file(&folder.path().join(".config")).unwrap();
        std::fs::create_dir(folder.path().join(".config")).unwrap();
        let error = read_kernel_tree(folder.path(), Path::new("")).unwrap_err();
        assert!(error.machine_failure().is_none(), "{error}");
        fs::remove_folder(&folder.path().join(".config")).unwrap();
        fs::write(&folder.path().join(".config"), b"CONFIG_\xff=y\n").unwrap();
        let error = read_kernel_tree(folder.path(), Path::new("")).unwrap_err();
        assert!(error.to_string().contains("not valid UTF-8"), "{error}");
    }
}
