//! Writes a probe in the layout of the init program: its maps, and its programs with their references to maps.
//!
//! templates/proof/probe.c defines the layout. It is made for the probes of libscap's own loader
//! (`engine/bpf/scap_bpf.c` in libscap): maps in a section `maps`, programs in sections `tracepoint/...` and
//! `raw_tracepoint/...`.

use std::collections::BTreeMap;

use object::read::elf::ElfFile64;
use object::{
    LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SymbolKind,
};

use crate::failure::printable;

/// The size of a BPF instruction in bytes.
const INSTRUCTION: usize = 8;

/// The instruction that loads 64 bits: `BPF_LD | BPF_IMM | BPF_DW`.
const LOAD_WIDE: u8 = 0x18;

/// Marks such an instruction as loading a map; the low half of the byte is the register.
const MAP_REFERENCE: u8 = 1 << 4;

/// The maximum number of maps in the init program.
const MAPS: usize = 64;

/// The first 32-bit words of `struct bpf_map_def`, present in all versions: type, key size, value size, entries, flags.
const DEFINITION_WORDS: usize = 5;

/// The number of 32-bit words before the maps.
const HEAD_WORDS: usize = 5;

/// The number of 32-bit words of a program before its references.
const PROGRAM_WORDS: usize = 5;

/// The offset of an absent string.
const NONE: u32 = 0;

/// Prefixes of section names, and the kernel's number for each program type.
const PROGRAM_TYPES: [(&str, u32); 2] = [("tracepoint/", 5), ("raw_tracepoint/", 17)];

/// The definition of a map. Like libscap, the init program replaces 0 entries by the number of processors.
type Definition = [u32; DEFINITION_WORDS];

/// A program and the map references to fill in.
struct Program {
    name: String,
    /// The number of programs of the probe that are identical to this one, itself included: the verdict is the same.
    copies: u32,
    kind: u32,
    instructions: Vec<u8>,
    /// Pairs of an instruction's index and the index of the map that it loads.
    references: Vec<(u32, u32)>,
}

/// Returns the file that the init program reads for a probe: how to load it, or why it cannot be loaded. Of identical
/// programs, it has one.
pub(super) fn laid_out(bytes: &[u8]) -> Vec<u8> {
    match read(bytes) {
        Ok(layout) => layout,
        Err(reason) => [&[0; 4], reason.as_bytes(), &[0]].concat(),
    }
}

type Elf<'a> = ElfFile64<'a, LittleEndian>;

fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let file = Elf::parse(bytes).map_err(|error| format!("it is not an ELF file: {error}"))?;
    let (definitions, map_at) = maps(&file)?;
    let programs = programs(&file, &map_at)?;
    let text = |section: &str| {
        let data = file.section_by_name(section)?.data().ok()?;
        let text = data.split(|&byte| byte == 0).next()?;
        (!text.is_empty()).then(|| text.to_vec())
    };
    let head = HEAD_WORDS + DEFINITION_WORDS * definitions.len();
    let of_programs = programs.iter().map(Program::size);
    let mut texts = Texts {
        start: 4 * head + of_programs.sum::<usize>(),
        bytes: Vec::new(),
    };
    let mut words = vec![1, number(definitions.len())?, number(programs.len())?];
    words.push(texts.add(&text("license").unwrap_or_default())?);
    let release = text("kernel_version").map(|release| texts.add(&release));
    words.push(release.transpose()?.unwrap_or(NONE));
    words.extend(definitions.iter().flatten());
    let mut layout = bytes_of(words);
    for program in &programs {
        let count = number(program.instructions.len() / INSTRUCTION)?;
        let references = number(program.references.len())?;
        let name = texts.add(program.shown().as_bytes())?;
        layout.extend(bytes_of([
            program.kind,
            count,
            references,
            name,
            program.copies,
        ]));
        layout.extend(bytes_of(
            program
                .references
                .iter()
                .flat_map(|&(place, map)| [place, map]),
        ));
        layout.extend(&program.instructions);
    }
    layout.extend(texts.bytes);
    Ok(layout)
}

/// The strings at the end of the file.
struct Texts {
    start: usize,
    bytes: Vec<u8>,
}

impl Texts {
    /// Adds a string and returns its offset in the file.
    fn add(&mut self, text: &[u8]) -> Result<u32, String> {
        let place = number(self.start + self.bytes.len());
        self.bytes.extend(text);
        self.bytes.push(0);
        place
    }
}

impl Program {
    fn size(&self) -> usize {
        4 * (PROGRAM_WORDS + 2 * self.references.len()) + self.instructions.len()
    }

    /// Returns the name to print if the program is refused.
    fn shown(&self) -> String {
        match self.copies - 1 {
            0 => self.name.clone(),
            others => format!("{} and {others} like it", self.name),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.instructions == other.instructions
            && self.references == other.references
    }
}

fn number(count: usize) -> Result<u32, String> {
    u32::try_from(count).map_err(|_| "it is too large".to_owned())
}

fn bytes_of(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Returns the definitions of the maps, and the index of each map by its offset in the section.
fn maps(file: &Elf<'_>) -> Result<(Vec<Definition>, BTreeMap<u64, u32>), String> {
    let Some(section) = file.section_by_name("maps") else {
        return match file.section_by_name(".maps") {
            Some(_) => Err("its maps are defined by BTF (section `.maps`)".to_owned()),
            None => Ok((Vec::new(), BTreeMap::new())),
        };
    };
    let data = section.data().map_err(|error| error.to_string())?;
    let mut map_at = BTreeMap::new();
    for symbol in file.symbols() {
        if symbol.section_index() == Some(section.index()) && symbol.kind() != SymbolKind::Section {
            map_at.insert(symbol.address(), 0);
        }
    }
    if map_at.len() > MAPS {
        return Err(format!("it has more than {MAPS} maps"));
    }
    let mut definitions = Vec::new();
    for (position, (&place, index)) in map_at.iter_mut().enumerate() {
        *index = number(position)?;
        let place = usize::try_from(place).unwrap_or(usize::MAX);
        let words = data.get(place..).unwrap_or_default().chunks_exact(4);
        let words: Vec<u32> = words
            .take(DEFINITION_WORDS)
            .filter_map(|word| word.try_into().ok().map(u32::from_le_bytes))
            .collect();
        let definition = words
            .try_into()
            .map_err(|_| "the definition of a map is shorter than `struct bpf_map_def`")?;
        definitions.push(definition);
    }
    Ok((definitions, map_at))
}

fn programs(file: &Elf<'_>, map_at: &BTreeMap<u64, u32>) -> Result<Vec<Program>, String> {
    let of_maps = file.section_by_name("maps").map(|section| section.index());
    let mut programs: Vec<Program> = Vec::new();
    for section in file.sections() {
        let name = section.name().map_err(|error| error.to_string())?;
        let of_name = |(prefix, _): &&(&str, u32)| name.starts_with(prefix);
        let Some(&(_, kind)) = PROGRAM_TYPES.iter().find(of_name) else {
            continue;
        };
        let mut instructions = section.data().map_err(|error| error.to_string())?.to_vec();
        if !instructions.len().is_multiple_of(INSTRUCTION) {
            return Err(format!("program {name} does not end with an instruction"));
        }
        if instructions.is_empty() {
            continue;
        }
        let mut references = Vec::new();
        for (place, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else {
                break;
            };
            let symbol = file.symbol_by_index(symbol).ok();
            let of_map = symbol.filter(|symbol| symbol.section_index() == of_maps);
            let map = of_map.and_then(|symbol| map_at.get(&symbol.address()));
            let start = usize::try_from(place).unwrap_or(usize::MAX);
            let instruction = instructions
                .get_mut(start..)
                .and_then(|rest| rest.first_chunk_mut::<INSTRUCTION>());
            // Like libscap, leaves the rest of the program as it is, for the verifier to judge.
            let (Some(&map), Some([LOAD_WIDE, registers, ..])) = (map, instruction) else {
                break;
            };
            *registers = *registers & 0x0f | MAP_REFERENCE;
            references.push((number(start / INSTRUCTION)?, map));
        }
        let program = Program {
            name: printable(name),
            copies: 1,
            kind,
            instructions,
            references,
        };
        match programs.iter_mut().find(|known| known.is_same(&program)) {
            Some(known) => known.copies += 1,
            None => programs.push(program),
        }
    }
    if programs.is_empty() {
        return Err("it has no section `tracepoint/...` or `raw_tracepoint/...`".to_owned());
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use object::write::Object;
    use object::{BinaryFormat, SectionKind};

    use super::*;

    #[test]
    fn an_invalid_probe_is_replaced_by_the_reason() {
        let layout = laid_out(b"\x7fELF of something else");
        assert!(layout.starts_with(&[0, 0, 0, 0]), "{layout:?}");
        let text = String::from_utf8_lossy(&layout[4..]);
        assert!(text.starts_with("it is not an ELF file: "), "{text}");
        assert!(text.ends_with('\0'));
    }

    #[test]
    fn equal_programs_are_laid_out_once() {
        let return_with =
            |value: u8| [[0xb7, 0, 0, 0, value, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];
        let mut file = Object::new(
            BinaryFormat::Elf,
            object::Architecture::Bpf,
            object::Endianness::Little,
        );
        for (section, value) in [
            ("raw_tracepoint/a", 0),
            ("raw_tracepoint/b", 0),
            ("raw_tracepoint/c", 1),
            ("tracepoint/d", 0),
            ("raw_tracepoint/e", 0),
        ] {
            let id = file.add_section(Vec::new(), section.into(), SectionKind::Text);
            file.append_section_data(id, &return_with(value).concat(), 8);
        }
        let layout = laid_out(&file.write().unwrap());
        let word = |at: usize| u32::from_le_bytes(layout[4 * at..4 * at + 4].try_into().unwrap());
        assert_eq!([word(0), word(1), word(2)], [1, 0, 3], "{layout:?}");
        let size = PROGRAM_WORDS + 4;
        let found = [0, 1, 2].map(|program| {
            let head = HEAD_WORDS + program * size;
            let name = &layout[word(head + 3).try_into().unwrap()..];
            let name = name.split(|&byte| byte == 0).next().unwrap();
            (word(head), String::from_utf8_lossy(name), word(head + 4))
        });
        let expected = [
            (17, "raw_tracepoint/a and 2 like it".into(), 3),
            (17, "raw_tracepoint/c".into(), 1),
            (5, "tracepoint/d".into(), 1),
        ];
        assert_eq!(found, expected);
    }
}
