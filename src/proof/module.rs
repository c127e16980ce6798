//! A module or probe that is to be loaded.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use object::elf::{EM_AARCH64, EM_BPF, EM_X86_64};
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, Object as _, ObjectSection as _};

use super::probe;
use crate::fs::{self, FileError};
use crate::kernel::Architecture;

/// A module or probe, with what its file says about it.
#[derive(Clone, Debug)]
pub struct ModuleToProve {
    /// Its file.
    pub path: PathBuf,
    /// Its name in the kernel, by which it is unloaded; of a probe `probe`.
    pub name: String,
    /// The architecture of its code; a probe has code for the kernel's BPF machine.
    pub architecture: Option<Architecture>,
    /// The file's content.
    pub bytes: Vec<u8>,
}

/// Why a file cannot be proven.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is neither a module of a supported kernel nor a probe.
    #[error("{}: neither a kernel module for amd64 or arm64 nor an eBPF probe", .0.display())]
    NotAModule(PathBuf),
}

impl ModuleToProve {
    /// Reads the file of a module.
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

    /// The name of its file for the init program, and what is in it.
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

/// Returns the name and architecture that the file of a module says, or the name alone for a probe.
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
    // The kernel takes at most 55 characters.
    let is_name = !name.is_empty() && name.len() < 56 && name.chars().all(is_plain);
    is_name.then(|| (name.to_owned(), Some(architecture)))
}
