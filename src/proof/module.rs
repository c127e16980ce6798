//! A module that is to be loaded.

use std::path::{Path, PathBuf};

use object::elf::{EM_AARCH64, EM_X86_64};
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, Object as _, ObjectSection as _};

use crate::fs::{self, FileError};
use crate::kernel::Architecture;

/// A module, with what its file says of it.
#[derive(Clone, Debug)]
pub struct ModuleToProve {
    /// Its file.
    pub path: PathBuf,
    /// Its name in the kernel, by which it is unloaded.
    pub name: String,
    /// The architecture of its code.
    pub architecture: Architecture,
    /// The file's content.
    pub bytes: Vec<u8>,
}

/// Why a file cannot be proven.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not a module of a supported kernel.
    #[error("{}: not a kernel module for amd64 or arm64", .0.display())]
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
}

/// Returns the name and architecture that a module's file says.
fn describe(bytes: &[u8]) -> Option<(String, Architecture)> {
    let file = ElfFile64::<Endianness>::parse(bytes).ok()?;
    let architecture = match file.elf_header().e_machine(file.endian()) {
        EM_X86_64 => Architecture::Amd64,
        EM_AARCH64 => Architecture::Arm64,
        _ => return None,
    };
    let info = file.section_by_name(".modinfo")?.data().ok()?;
    let name = info
        .split(|&byte| byte == 0)
        .find_map(|entry| std::str::from_utf8(entry).ok()?.strip_prefix("name="))?;
    let is_plain = |found: char| found.is_ascii_alphanumeric() || found == '_';
    // The kernel takes at most 55 characters.
    let is_name = !name.is_empty() && name.len() < 56 && name.chars().all(is_plain);
    is_name.then(|| (name.to_owned(), architecture))
}
