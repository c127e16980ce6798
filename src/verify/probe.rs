//! Checks of a legacy eBPF probe before it is stored.

use object::elf::EM_BPF;
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, Object as _, ObjectSection as _};

use super::{Defect, Defects, Verified, verdict};

/// Checks the probe in `bytes`: machine, license, maps, and at least one program for a tracepoint.
pub fn verify_probe(bytes: &[u8]) -> Result<Verified, Defects> {
    let file = ElfFile64::<Endianness>::parse(bytes)
        .map_err(|error| Defects(vec![Defect::Elf(error.to_string())]))?;
    let mut defects = Vec::new();
    let machine = file.elf_header().e_machine(file.endian());
    if machine != EM_BPF {
        defects.push(Defect::Machine {
            expected: "BPF",
            found: format!("number {}", machine.0),
        });
    }
    let has = |name: &str| {
        file.section_by_name(name)
            .is_some_and(|section| section.size() > 0)
    };
    if !has("license") {
        defects.push(Defect::Section("license"));
    }
    if !has("maps") && !has(".maps") {
        defects.push(Defect::Section("maps"));
    }
    let is_program =
        |name: &str| name.starts_with("raw_tracepoint/") || name.starts_with("tracepoint/");
    let mut sections = file.sections();
    if !sections.any(|section| section.size() > 0 && section.name().is_ok_and(is_program)) {
        defects.push(Defect::NoProgram);
    }
    verdict(Verified::default(), defects)
}
