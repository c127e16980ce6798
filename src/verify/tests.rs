use object::write::{Object, SectionId, Symbol, SymbolSection};
use object::{BinaryFormat, SectionKind, SymbolFlags, SymbolKind, SymbolScope};
use proptest::prelude::*;

use super::*;
use crate::kernel::Architecture;

const SYMVERS: &str =
    "0x00000011\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n0x00000022\tkfree\tvmlinux\tEXPORT_SYMBOL\t\n";

struct Module {
    machine: object::Architecture,
    info: String,
    needs: Vec<(&'static str, u32)>,
    debug: bool,
}

impl Default for Module {
    fn default() -> Self {
        Self {
            machine: object::Architecture::X86_64,
            info: "license=GPL\0name=falco\0vermagic=6.1.0-50-amd64 SMP preempt mod_unload modversions \0srcversion=ABC\0".to_owned(),
            needs: vec![("printk", 0x11), ("kfree", 0x22)],
            debug: false,
        }
    }
}

fn section(object: &mut Object<'_>, name: &str, content: &[u8]) -> SectionId {
    let id = object.add_section(Vec::new(), name.into(), SectionKind::ReadOnlyData);
    object.append_section_data(id, content, 1);
    id
}

impl Module {
    fn bytes(&self) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, self.machine, object::Endianness::Little);
        section(&mut object, ".modinfo", self.info.as_bytes());
        section(&mut object, ".gnu.linkonce.this_module", b"falco");
        let mut versions = Vec::new();
        for (name, crc) in &self.needs {
            let mut entry = [0; 64];
            entry[..4].copy_from_slice(&crc.to_le_bytes());
            entry[8..8 + name.len()].copy_from_slice(name.as_bytes());
            versions.extend(entry);
            object.add_symbol(Symbol {
                name: name.as_bytes().to_vec(),
                value: 0,
                size: 0,
                kind: SymbolKind::Unknown,
                scope: SymbolScope::Dynamic,
                weak: false,
                section: SymbolSection::Undefined,
                flags: SymbolFlags::None,
            });
        }
        section(&mut object, "__versions", &versions);
        if self.debug {
            section(&mut object, ".debug_info", b"x");
        }
        object.write().unwrap()
    }

    fn defects(&self) -> Vec<Defect> {
        match verify(&self.bytes()) {
            Ok(_) => Vec::new(),
            Err(defects) => defects.all().to_vec(),
        }
    }
}

fn tree() -> KernelTreeFacts {
    let word = |(word, set): (&str, bool)| (word.to_owned(), set);
    KernelTreeFacts {
        uts_release: "6.1.0-50-amd64".to_owned(),
        architecture: Some(Architecture::Amd64),
        gcc_version: None,
        clang_version: None,
        has_symvers: true,
        vermagic_words: [("SMP", true), ("preempt_rt", false), ("modversions", true)]
            .map(word)
            .to_vec(),
    }
}

fn verify(bytes: &[u8]) -> Result<Verified, Defects> {
    let expected = ExpectedModule {
        name: "falco",
        architecture: Architecture::Amd64,
        tree: &tree(),
        symvers: Some(SYMVERS),
    };
    verify_module(bytes, &expected)
}

fn with_info(from: &str, to: &str) -> Module {
    let module = Module::default();
    let info = module.info.replace(from, to);
    assert_ne!(info, module.info);
    Module { info, ..module }
}

#[test]
fn a_good_module_passes_with_its_facts() {
    let verified = verify(&Module::default().bytes()).unwrap();
    assert_eq!(verified.srcversion.as_deref(), Some("ABC"));
    assert_eq!(
        verified.vermagic.as_deref(),
        Some("6.1.0-50-amd64 SMP preempt mod_unload modversions")
    );
}

#[test]
fn every_defect_is_found() {
    let arm = Module {
        machine: object::Architecture::Aarch64,
        ..Module::default()
    };
    assert!(
        matches!(arm.defects()[..], [Defect::Machine { .. }]),
        "{:?}",
        arm.defects()
    );
    let name = with_info("name=falco", "name=scap");
    assert!(
        matches!(name.defects()[..], [Defect::Name { .. }]),
        "{:?}",
        name.defects()
    );
    let release = with_info("6.1.0-50-amd64", "6.1.0-5-amd64");
    assert!(
        matches!(release.defects()[..], [Defect::Release { .. }]),
        "{:?}",
        release.defects()
    );
    let flavour = with_info("preempt ", "preempt_rt ");
    assert!(
        matches!(
            flavour.defects()[..],
            [Defect::Flavour { wanted: false, .. }]
        ),
        "{:?}",
        flavour.defects()
    );
    let no_versions = with_info(" modversions", "");
    assert!(matches!(
        no_versions.defects()[..],
        [Defect::Flavour { wanted: true, .. }]
    ));
    let crc = Module {
        needs: vec![("printk", 0x12)],
        ..Module::default()
    };
    assert!(matches!(&crc.defects()[..], [Defect::Crc { first, count: 1 }] if first == "printk"));
    let unknown = Module {
        needs: vec![("no_such", 1)],
        ..Module::default()
    };
    assert!(
        matches!(&unknown.defects()[..], [Defect::Symbols { first, count: 1 }] if first == "no_such")
    );
    let debug = Module {
        debug: true,
        ..Module::default()
    };
    assert_eq!(debug.defects(), [Defect::NotStripped]);
    assert!(matches!(
        verify(b"<html>").unwrap_err().all(),
        [Defect::Elf(_)]
    ));
}

fn probe(machine: object::Architecture, sections: &[&str]) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, machine, object::Endianness::Little);
    for name in sections {
        section(&mut object, name, b"content");
    }
    object.write().unwrap()
}

#[test]
fn a_probe_needs_license_maps_and_a_program() {
    use object::Architecture::{Bpf, X86_64};
    verify_probe(&probe(
        Bpf,
        &["license", "maps", "raw_tracepoint/sys_enter"],
    ))
    .unwrap();
    verify_probe(&probe(
        Bpf,
        &["license", ".maps", "tracepoint/syscalls/sys_enter_open"],
    ))
    .unwrap();
    let found = |machine, sections| {
        verify_probe(&probe(machine, sections))
            .unwrap_err()
            .all()
            .to_vec()
    };
    assert_eq!(
        found(Bpf, &["maps", "raw_tracepoint/x"]),
        [Defect::Section("license")]
    );
    assert_eq!(
        found(Bpf, &["license", "raw_tracepoint/x"]),
        [Defect::Section("maps")]
    );
    assert_eq!(
        found(Bpf, &["license", "maps", "text"]),
        [Defect::NoProgram]
    );
    assert!(matches!(
        found(X86_64, &["license", "maps", "tracepoint/x"])[..],
        [Defect::Machine { .. }]
    ));
}

proptest! {
    /// Damaged files have defects or pass; they never cause a panic.
    #[test]
    fn damaged_files_cause_no_panic(cut in 0_usize..2000, position in 0_usize..2000, value in any::<u8>()) {
        let mut bytes = Module::default().bytes();
        let position = position % bytes.len();
        bytes[position] = value;
        bytes.truncate(cut.max(1));
        let _either = (verify(&bytes), verify_probe(&bytes));
    }
}
