//! Is a tree what it claims to be, and would an artifact load?
//!
//! In: a kernel's header tree, or the bytes of a module or probe. Out: facts, or a list of defects. Nothing here
//! compiles or loads anything, and hostile files only give defects.

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

/// The version of the checks; a change of what they accept raises it, since it is part of the artifacts' keys.
pub const VERSION: u32 = 1;

/// What is known of an artifact that passed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// The module's vermagic.
    pub vermagic: Option<String>,
    /// The module's srcversion.
    pub srcversion: Option<String>,
}

/// Everything that is wrong with an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defects(Vec<Defect>);

impl Defects {
    /// The defects, at least one.
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
    /// It is no ELF file, or a damaged one.
    #[error("not a readable ELF file: {0}")]
    Elf(String),
    /// It is for another machine.
    #[error("it is for machine {found}, not {expected}")]
    Machine {
        /// What it must be for.
        expected: &'static str,
        /// What it says.
        found: String,
    },
    /// It is an executable or library, no relocatable object.
    #[error("not a relocatable object")]
    Kind,
    /// A section that must be there is not.
    #[error("it has no section {0}")]
    Section(&'static str),
    /// The module has another name.
    #[error("the module is called `{found}`, not `{expected}`")]
    Name {
        /// What it must be called.
        expected: String,
        /// What it is called.
        found: String,
    },
    /// Its vermagic is for another kernel.
    #[error("its vermagic `{found}` is not for kernel {expected}")]
    Release {
        /// The kernel.
        expected: String,
        /// The vermagic.
        found: String,
    },
    /// Its vermagic lacks a word of the kernel's, or has one too many.
    #[error("its vermagic `{vermagic}` {} `{word}`, unlike the kernel", if *.wanted { "lacks" } else { "has" })]
    Flavour {
        /// The word.
        word: String,
        /// Whether the kernel has it.
        wanted: bool,
        /// The vermagic.
        vermagic: String,
    },
    /// It needs symbols that the kernel does not offer.
    #[error("the kernel does not offer {} of its symbols, the first is {first}", .count)]
    Symbols {
        /// The first of them.
        first: String,
        /// How many.
        count: usize,
    },
    /// It was compiled against other versions of the kernel's symbols.
    #[error("{count} of its symbols have another CRC than the kernel's, the first is {first}")]
    Crc {
        /// The first of them.
        first: String,
        /// How many.
        count: usize,
    },
    /// Debug symbols were left in.
    #[error("its debug symbols were not stripped")]
    NotStripped,
    /// A probe without a single program.
    #[error("it holds no program for a tracepoint")]
    NoProgram,
}

/// The verdict over the defects found.
fn verdict(verified: Verified, defects: Vec<Defect>) -> Result<Verified, Defects> {
    if defects.is_empty() {
        Ok(verified)
    } else {
        Err(Defects(defects))
    }
}

#[cfg(test)]
mod tests;
