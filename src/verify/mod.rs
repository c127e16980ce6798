//! Checks whether a tree is what it claims to be, and whether an artifact would load.
//!
//! In: a kernel's header tree, or the bytes of a module or probe. Out: facts, or a list of defects. Nothing here
//! compiles or loads anything, and hostile files merely cause defects.

mod compare;
mod module;
mod probe;
mod programs;
mod tree;

use std::fmt;

pub use compare::first_differing_section;
pub use module::{ExpectedModule, verify_module};
pub use probe::verify_probe;
pub use programs::{HostProgram, LibcVersion, host_programs};
pub use tree::{
    KernelTreeFacts, ReadTreeError, clang_of_configuration, gcc_of_configuration,
    read_installed_tree, read_kernel_tree, read_symvers,
};

/// The version of the checks. Raise it when they accept other artifacts: it is part of the artifacts' keys.
pub const VERSION: u32 = 1;

/// Facts about an artifact that passed the checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The module's vermagic.
    pub vermagic: Option<String>,
    /// The module's srcversion.
    pub srcversion: Option<String>,
}

/// All defects of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defects(Vec<Defect>);

impl Defects {
    /// Returns the defects, at least one.
    pub fn all(&self) -> &[Defect] {
        &self.0
    }
}

impl fmt::Display for Defects {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, defect) in self.0.iter().enumerate() {
            if position > 0 {
                formatter.write_str("; ")?;
            }
            write!(formatter, "{defect}")?;
        }
        Ok(())
    }
}

/// One reason why an artifact would not load.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// It is not an ELF file, or it is damaged.
    #[error("not a readable ELF file: {0}")]
    Elf(String),
    /// It is for another architecture.
    #[error("it is for machine {found}, not {expected}")]
    Machine {
        /// The required architecture.
        expected: &'static str,
        /// The architecture in the file.
        found: String,
    },
    /// It is an executable or library, not a relocatable object.
    #[error("not a relocatable object")]
    Kind,
    /// A required section is missing.
    #[error("it has no section {0}")]
    Section(&'static str),
    /// The module has the wrong name.
    #[error("the module is called `{found}`, not `{expected}`")]
    Name {
        /// The required name.
        expected: String,
        /// The name in the file.
        found: String,
    },
    /// Its vermagic is for another kernel.
    #[error("its vermagic `{found}` is not for kernel {expected}")]
    Release {
        /// The release of the kernel.
        expected: String,
        /// The vermagic.
        found: String,
    },
    /// Its vermagic lacks a word of the kernel's vermagic, or has an extra one.
    #[error("its vermagic `{vermagic}` {} `{word}`, unlike the kernel", if *.wanted { "lacks" } else { "has" })]
    Flavour {
        /// The word.
        word: String,
        /// True if the kernel's vermagic has the word.
        wanted: bool,
        /// The vermagic.
        vermagic: String,
    },
    /// It needs symbols that the kernel does not export.
    #[error("the kernel does not export {} of its symbols; the first is {first}", .count)]
    Symbols {
        /// The first of them.
        first: String,
        /// How many.
        count: usize,
    },
    /// It was compiled against other versions of the kernel's symbols.
    #[error("{count} of its symbols have a different CRC in the kernel; the first is {first}")]
    Crc {
        /// The first of them.
        first: String,
        /// How many.
        count: usize,
    },
    /// Debug symbols were left in.
    #[error("its debug symbols were not stripped")]
    NotStripped,
    /// It is a probe without any program.
    #[error("it has no program for a tracepoint")]
    NoProgram,
}

/// Returns `verified` if there are no defects.
fn verdict(verified: Verified, defects: Vec<Defect>) -> Result<Verified, Defects> {
    if defects.is_empty() {
        Ok(verified)
    } else {
        Err(Defects(defects))
    }
}

#[cfg(test)]
mod tests;
