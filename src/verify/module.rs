//! Checks of a kernel module before it is stored.

use std::collections::HashMap;

use object::elf::{EM_AARCH64, EM_X86_64, Machine};
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, Object as _, ObjectKind, ObjectSection as _, ObjectSymbol as _};

use super::{Defect, Defects, KernelTreeFacts, Verified, verdict};
use crate::kernel::Architecture;

/// The required properties of a module.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedModule<'a> {
    /// The name of the module.
    pub name: &'a str,
    /// The architecture of the module.
    pub architecture: Architecture,
    /// The header tree that it was compiled against.
    pub tree: &'a KernelTreeFacts,
    /// The content of the tree's `Module.symvers`, if it has one.
    pub symvers: Option<&'a str>,
}

/// The size of an entry in `__versions`: a CRC of eight bytes and a name (struct `modversion_info` of 64-bit kernels).
const VERSION_BYTES: usize = 64;

/// Checks the module in `bytes`: architecture, kind, name, vermagic, symbols and their CRCs, and that it is stripped.
pub fn verify_module(bytes: &[u8], expected: &ExpectedModule<'_>) -> Result<Verified, Defects> {
    let file = ElfFile64::<Endianness>::parse(bytes)
        .map_err(|error| Defects(vec![Defect::Elf(error.to_string())]))?;
    let mut defects = Vec::new();
    let machine = file.elf_header().e_machine(file.endian());
    let wanted = match expected.architecture {
        Architecture::Amd64 => EM_X86_64,
        Architecture::Arm64 => EM_AARCH64,
    };
    if machine != wanted {
        defects.push(Defect::Machine {
            expected: expected.architecture.machine(),
            found: machine_name(machine),
        });
    }
    if file.kind() != ObjectKind::Relocatable {
        defects.push(Defect::Kind);
    }
    if file.section_by_name(".debug_info").is_some() {
        defects.push(Defect::NotStripped);
    }
    let Some(info) = section(&file, ".modinfo") else {
        defects.push(Defect::Section(".modinfo"));
        return Err(Defects(defects));
    };
    let field = |name: &str| {
        info.split(|&byte| byte == 0).find_map(|entry| {
            std::str::from_utf8(entry)
                .ok()?
                .strip_prefix(name)?
                .strip_prefix('=')
        })
    };
    let name = field("name").unwrap_or_default();
    if name != expected.name {
        defects.push(Defect::Name {
            expected: expected.name.to_owned(),
            found: name.to_owned(),
        });
    }
    let vermagic = field("vermagic").unwrap_or_default().trim();
    check_vermagic(vermagic, expected.tree, &mut defects);
    if section(&file, ".gnu.linkonce.this_module").is_none() {
        defects.push(Defect::Section(".gnu.linkonce.this_module"));
    }
    if let Some(symvers) = expected.symvers {
        let has_crcs = expected
            .tree
            .vermagic_words
            .iter()
            .any(|(word, wanted)| word == "modversions" && *wanted);
        check_symbols(&file, symvers, has_crcs, &mut defects);
    }
    let verified = Verified {
        vermagic: Some(vermagic.to_owned()),
        srcversion: field("srcversion").map(str::to_owned),
    };
    verdict(verified, defects)
}

fn machine_name(machine: Machine) -> String {
    match machine {
        EM_X86_64 => "x86_64".to_owned(),
        EM_AARCH64 => "aarch64".to_owned(),
        Machine(number) => format!("number {number}"),
    }
}

fn section<'data>(file: &ElfFile64<'data, Endianness>, name: &str) -> Option<&'data [u8]> {
    file.section_by_name(name)?.data().ok()
}

fn check_vermagic(vermagic: &str, tree: &KernelTreeFacts, defects: &mut Vec<Defect>) {
    let mut words = vermagic.split_whitespace();
    if words.next() != Some(&tree.uts_release) {
        defects.push(Defect::Release {
            expected: tree.uts_release.clone(),
            found: vermagic.to_owned(),
        });
        return;
    }
    let words: Vec<&str> = words.collect();
    for (word, wanted) in &tree.vermagic_words {
        if words.contains(&word.as_str()) != *wanted {
            defects.push(Defect::Flavour {
                word: word.clone(),
                wanted: *wanted,
                vermagic: vermagic.to_owned(),
            });
        }
    }
}

/// Checks that the kernel exports every symbol that the module needs, with the CRC that the module was compiled with.
/// The module must have a CRC for each symbol if the kernel requires it.
fn check_symbols(
    file: &ElfFile64<'_, Endianness>,
    symvers: &str,
    has_crcs: bool,
    defects: &mut Vec<Defect>,
) {
    let offered: HashMap<&str, u32> = symvers.lines().filter_map(parse_symvers_line).collect();
    let needed: Vec<&str> = file
        .symbols()
        .filter(|symbol| symbol.is_undefined() && !symbol.is_weak())
        .filter_map(|symbol| symbol.name().ok())
        .filter(|name| !name.is_empty() && *name != "_GLOBAL_OFFSET_TABLE_")
        .collect();
    let unknown: Vec<&str> = needed
        .iter()
        .copied()
        .filter(|name| !offered.contains_key(name))
        .collect();
    if let Some(first) = unknown.first() {
        defects.push(Defect::Symbols {
            first: (*first).to_owned(),
            count: unknown.len(),
        });
    }
    let compiled = versions(file);
    let mut different: Vec<String> = compiled
        .iter()
        .filter(|(name, crc)| {
            offered
                .get(name.as_str())
                .is_some_and(|offered| offered != crc)
        })
        .map(|(name, _)| name.clone())
        .collect();
    if has_crcs {
        let lacks_crc = |name: &str| {
            offered.get(name).is_some_and(|&crc| crc != 0)
                && !compiled.iter().any(|(compiled, _)| compiled == name)
        };
        different.extend(
            needed
                .into_iter()
                .filter(|name| lacks_crc(name))
                .map(str::to_owned),
        );
    }
    if let Some(first) = different.first() {
        defects.push(Defect::Crc {
            first: first.clone(),
            count: different.len(),
        });
    }
}

/// Parses `0x4c9d28b0 <tab> phys_base <tab> vmlinux ...`.
fn parse_symvers_line(line: &str) -> Option<(&str, u32)> {
    let mut fields = line.split('\t');
    let crc = u32::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
    Some((fields.next()?, crc))
}

/// Returns the CRCs that the module was compiled with, from the old section and from the sections used since kernel
/// 6.14.
fn versions(file: &ElfFile64<'_, Endianness>) -> Vec<(String, u32)> {
    let mut versions = Vec::new();
    let text = |bytes: &[u8]| {
        let end = bytes
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let crc = |bytes: &[u8]| bytes.first_chunk().map(|chunk| u32::from_le_bytes(*chunk));
    let old = section(file, "__versions").unwrap_or_default();
    for entry in old.chunks_exact(VERSION_BYTES) {
        if let Some(crc) = crc(entry) {
            versions.push((text(&entry[8..]), crc));
        }
    }
    let crcs = section(file, "__version_ext_crcs").unwrap_or_default();
    let names = section(file, "__version_ext_names").unwrap_or_default();
    for (entry, name) in crcs.chunks_exact(4).zip(names.split(|&byte| byte == 0)) {
        if let Some(crc) = crc(entry) {
            versions.push((text(name), crc));
        }
    }
    versions
}
