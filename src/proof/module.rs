//! A module or probe to load in a proof.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use object::elf::{EM_AARCH64, EM_BPF, EM_X86_64};
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, Object as _, ObjectSection as _};

use super::probe;
use crate::fs::{self, FileError};
use crate::kernel::Architecture;

/// A module or probe, with facts read from its file.
#[derive(Clone, Debug)]
pub struct ModuleToProve {
    /// The path of the file.
    pub path: PathBuf,
    /// The module name in the kernel, needed to unload it; `probe` for a probe.
    pub name: String,
    /// The architecture of the code; `None` for a probe, which has code for the kernel's BPF machine.
    pub architecture: Option<Architecture>,
    /// The file's content.
    pub bytes: Vec<u8>,
}

/// The reason why a file cannot be proven.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is neither a module for a supported architecture nor a probe.
    #[error("{}: neither a kernel module for amd64 or arm64 nor an eBPF probe", .0.display())]
    NotAModule(PathBuf),
}

impl ModuleToProve {
    /// Reads the file of a module or probe.
    pub fn read(path: &Path) -> Result<Self, ModuleError> {
        let bytes = fs::read_file(path)?;
        let (name, architecture) =
            describe(&bytes).ok_or_else(|| ModuleError::NotAModule(path.to_owned()))?;
        Ok(Self {
            path: path.to_owned(),
            name,
            architecture,
            bytes,
        })
    }

    /// Returns the file name and content for the init program.
    pub(super) fn laid_out(&self, number: usize) -> (String, Cow<'_, [u8]>) {
        match self.architecture {
            Some(_) => (format!("{number}.ko"), Cow::Borrowed(&self.bytes)),
            None => (
                format!("{number}.bpf"),
                Cow::Owned(probe::laid_out(&self.bytes)),
            ),
        }
    }
}

/// Returns the name and architecture from a module's file, or only the name for a probe.
fn describe(bytes: &[u8]) -> Option<(String, Option<Architecture>)> {
    let file = ElfFile64::<Endianness>::parse(bytes).ok()?;
    let architecture = match file.elf_header().e_machine(file.endian()) {
        EM_X86_64 => Architecture::Amd64,
        EM_AARCH64 => Architecture::Arm64,
        EM_BPF => return Some(("probe".to_owned(), None)),
        _ => return None,
    };
    let info = file.section_by_name(".modinfo")?.data().ok()?;
    let name = info
        .split(|&byte| byte == 0)
        .find_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix("name="))?;
    let is_plain = |found: char| found.is_ascii_alphanumeric() || found == '_';
    // The kernel accepts at most 55 characters.
    let is_name = !name.is_empty() && name.len() < 56 && name.chars().all(is_plain);
    is_name.then(|| (name.to_owned(), Some(architecture)))
}
