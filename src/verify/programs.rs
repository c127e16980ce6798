//! The host programs of a header tree: fixdep, modpost, objtool.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64, Machine, PT_INTERP};
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use serde::{Deserialize, Serialize};

use crate::fs::{FileError, ForeignError, ForeignFolder};
use crate::kernel::Architecture;

/// A version of the GNU C library: 2.38.
pub type LibcVersion = (u32, u32);

/// A program of a header tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostProgram {
    /// The path relative to the directory that was searched.
    pub path: PathBuf,
    /// The architecture that it runs on; `None` if it is neither amd64 nor arm64.
    pub architecture: Option<Architecture>,
    /// The oldest C library that it runs with, if it requires a version.
    pub libc: Option<LibcVersion>,
}

/// The maximum size of a program, larger than any program of a header tree. A whole kernel, which is not a program, can
/// be larger.
const MOST_PROGRAM_BYTES: u64 = 64 << 20;

/// Returns the programs below `folder`, sorted: executable files that need a dynamic loader. Links are not followed.
pub fn host_programs(folder: &Path) -> Result<Vec<HostProgram>, ForeignError> {
    let tree = ForeignFolder::open(folder)?;
    let mut programs = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            FileError::of("read", path)(error.into())
        })?;
        let may_be_program = |metadata: std::fs::Metadata| {
            metadata.permissions().mode() & 0o100 != 0 && metadata.len() <= MOST_PROGRAM_BYTES
        };
        let path = entry.path();
        if !entry.file_type().is_file() || !entry.metadata().is_ok_and(may_be_program) {
            continue;
        }
        let path = path.strip_prefix(folder).unwrap_or(path);
        let content = tree.read(path, MOST_PROGRAM_BYTES)?;
        if let Some((architecture, libc)) = facts_of(&content) {
            if path.to_str().is_none() {
                return Err(ForeignError::Invalid {
                    path: path.to_owned(),
                    problem: "is a program whose name is not valid UTF-8".to_owned(),
                });
            }
            programs.push(HostProgram {
                path: path.to_owned(),
                architecture,
                libc,
            });
        }
    }
    Ok(programs)
}

/// Returns architecture and C library of a program; `None` for other files: scripts, kernels, libraries, damaged files.
fn facts_of(content: &[u8]) -> Option<(Option<Architecture>, Option<LibcVersion>)> {
    let header = FileHeader64::<Endianness>::parse(content).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, content).ok()?;
    if !segments
        .iter()
        .any(|segment| segment.p_type(endian) == PT_INTERP)
    {
        return None;
    }
    let architecture = match Machine(header.e_machine(endian).0) {
        EM_X86_64 => Some(Architecture::Amd64),
        EM_AARCH64 => Some(Architecture::Arm64),
        _ => None,
    };
    Some((architecture, libc_of(header, endian, content)))
}

fn libc_of(
    header: &FileHeader64<Endianness>,
    endian: Endianness,
    content: &[u8],
) -> Option<LibcVersion> {
    let sections = header.sections(endian, content).ok()?;
    let (mut needs, link) = sections.gnu_verneed(endian, content).ok()??;
    let strings = sections.strings(endian, content, link).ok()?;
    let mut newest = None;
    while let Ok(Some((_, mut versions))) = needs.next() {
        while let Ok(Some(version)) = versions.next() {
            let name = version.name(endian, strings).unwrap_or_default();
            newest = newest.max(libc_version(&String::from_utf8_lossy(name)));
        }
    }
    newest
}

/// Parses `GLIBC_2.38`.
fn libc_version(name: &str) -> Option<LibcVersion> {
    let (major, rest) = name.strip_prefix("GLIBC_")?.split_once('.')?;
    let minor = rest.split('.').next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;

    #[test]
    fn programs_are_distinguished_from_scripts_and_libraries() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, content: &[u8], mode| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        let program = std::fs::read("/bin/sh").unwrap();
        put("scripts/basic/fixdep", &program, 0o755);
        put("scripts/data", &program, 0o644);
        put("scripts/cut", &program[..200], 0o755);
        put("scripts/script", b"#!/bin/sh\n", 0o755);
        let found = host_programs(folder.path()).unwrap();
        let [fixdep] = &*found else {
            panic!("{found:?}")
        };
        assert_eq!(fixdep.path, Path::new("scripts/basic/fixdep"));
        assert_eq!(fixdep.architecture, Some(Architecture::of_host()));
        assert!(fixdep.libc >= Some((2, 2)), "{fixdep:?}");
    }

    #[test]
    fn versions_of_the_c_library_are_parsed() {
        assert_eq!(libc_version("GLIBC_2.38"), Some((2, 38)));
        assert_eq!(libc_version("GLIBC_2.2.5"), Some((2, 2)));
        assert_eq!(libc_version("GLIBC_PRIVATE"), None);
        assert_eq!(libc_version("ZLIB_1.2.9"), None);
    }
}
