//! Describes the compilers of this machine as a toolchain.
//!
//! Output: facts about every program and library that affects the result of a build, and their digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use regex::Regex;

use super::super::{ExecutorError, Toolchain};
use crate::digest::{KeyBuilder, Sha256};
use crate::fs::FileError;

const FOLDERS: &[&str] = &["/usr/local/bin", "/usr/bin"];

/// Programs that builds call, with or without a target prefix or a version suffix.
static PROGRAMS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let names = "gcc|g\\+\\+|cc|c\\+\\+|cpp|ld|ld\\.bfd|as|ar|nm|objcopy|objdump|strip|make|clang|llc|cmake|pahole|sh|perl|sed|gawk|mawk|awk|expr|bash";
    Regex::new(&format!("^([a-z0-9_]+-linux-gnu-)?({names})(-[0-9.]+)?$")).ok()
});

/// Programs that a compiler starts internally.
const INNER_PROGRAMS: &[&str] = &["cc1", "cc1plus", "collect2"];

/// The compilers of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostToolchain {
    /// The identity for [`Toolchain::Host`].
    pub identity: Sha256,
    /// The path of each program with the digest of its content.
    pub facts: BTreeMap<String, String>,
    /// The gcc versions that can be called like `gcc-12`, and the version of plain `gcc`.
    pub gcc: BTreeSet<String>,
}

impl HostToolchain {
    /// Returns the toolchain for jobs.
    pub fn toolchain(&self) -> Toolchain {
        Toolchain::Host {
            identity: self.identity,
        }
    }
}

/// Finds this machine's compilers; fails if there are none.
pub fn host_toolchain() -> Result<HostToolchain, ExecutorError> {
    let mut programs = BTreeMap::new();
    for folder in FOLDERS.iter().map(Path::new) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_wanted = PROGRAMS.as_ref().is_some_and(|names| names.is_match(&name));
            // The first directory wins, as in `PATH`.
            if is_wanted && !programs.contains_key(&name) {
                programs.insert(name, entry.path());
            }
        }
    }
    let compilers: Vec<PathBuf> = programs
        .iter()
        .filter(|(name, _)| name.contains("gcc"))
        .map(|(_, path)| path.clone())
        .collect();
    if compilers.is_empty() || !programs.contains_key("make") {
        return Err(ExecutorError::infrastructure(
            "gcc or make is missing on this machine: install packages gcc and make, or use a builder image",
        ));
    }
    let mut gcc = BTreeSet::new();
    for compiler in &compilers {
        if let Some(version) = answer(compiler, "-dumpversion") {
            gcc.insert(version);
        }
        for inner in INNER_PROGRAMS {
            if let Some(path) = answer(compiler, &format!("-print-prog-name={inner}"))
                && Path::new(&path).is_absolute()
            {
                programs.insert(path.clone(), PathBuf::from(path));
            }
        }
    }
    // Several names may refer to one file.
    let mut digests: BTreeMap<PathBuf, Sha256> = BTreeMap::new();
    let mut facts = BTreeMap::new();
    for (name, path) in programs {
        let Ok(file) = path.canonicalize() else {
            continue;
        };
        let digest = match digests.get(&file) {
            Some(digest) => *digest,
            None => hash(&file)?,
        };
        digests.insert(file, digest);
        facts.insert(name, digest.to_string());
    }
    for library in libraries(digests.keys()) {
        if let Ok(file) = library.canonicalize() {
            facts.insert(library.display().to_string(), hash(&file)?.to_string());
        }
    }
    let key = facts.iter().fold(
        KeyBuilder::new("host toolchain", 1),
        |key, (name, value)| key.field(name, value),
    );
    Ok(HostToolchain {
        identity: key.key(),
        facts,
        gcc,
    })
}

fn hash(path: &Path) -> Result<Sha256, ExecutorError> {
    let (digest, _) = File::open(path)
        .and_then(Sha256::of_reader)
        .map_err(FileError::of("read", path))?;
    Ok(digest)
}

/// Returns the first line that a program prints when called with one argument.
fn answer(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

/// Returns the shared libraries that the programs load, according to `ldd`; scripts and static programs load none.
fn libraries<'a>(programs: impl Iterator<Item = &'a PathBuf>) -> BTreeSet<PathBuf> {
    let output = Command::new("ldd").args(programs).output();
    let text = output.map_or_else(|_| Vec::new(), |output| output.stdout);
    String::from_utf8_lossy(&text)
        .split_whitespace()
        .filter(|word| word.starts_with('/') && !word.ends_with(':'))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described_the_same_twice() {
        let first = host_toolchain().unwrap();
        assert_eq!(first, host_toolchain().unwrap());
        let names: Vec<&String> = first.facts.keys().collect();
        for part in ["gcc", "/cc1", "/libc.so.6", "make", "ld"] {
            assert!(
                names.iter().any(|name| name.ends_with(part)),
                "{part}: {names:?}"
            );
        }
        assert!(!first.gcc.is_empty());
    }
}
