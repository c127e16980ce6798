//! Compares two builds of one artifact.

use object::{Object as _, ObjectSection as _};

/// The section with the names of sections, which is ignored.
const NAMES: &str = ".shstrtab";

/// The section with a digest of all others, named only if nothing else differs.
const BUILD_ID: &str = ".note.gnu.build-id";

/// Returns the name of the first section that differs between two ELF files: `.text`. Returns `None` if a file is not
/// ELF, or if the files differ only outside of their sections.
pub fn first_differing_section(left: &[u8], right: &[u8]) -> Option<String> {
    let (left, right) = (
        object::File::parse(left).ok()?,
        object::File::parse(right).ok()?,
    );
    let name = |section: &object::Section<'_, '_>| section.name().unwrap_or_default().to_owned();
    let mut build_id = None;
    for section in left.sections() {
        if name(&section) == NAMES {
            continue;
        }
        let other = right.sections().find(|other| name(other) == name(&section));
        let is_equal = other.is_some_and(|other| {
            matches!((section.data(), other.data()), (Ok(left), Ok(right)) if left == right)
        });
        if !is_equal && name(&section) == BUILD_ID {
            build_id = Some(BUILD_ID.to_owned());
        } else if !is_equal {
            return Some(name(&section));
        }
    }
    let known: Vec<String> = left.sections().map(|section| name(&section)).collect();
    let mut names = right.sections().map(|section| name(&section));
    names.find(|name| !known.contains(name)).or(build_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::write::Object;
    use object::{Architecture, BinaryFormat, Endianness, SectionKind};

    fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
        let mut file = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        for (name, data) in sections {
            let id = file.add_section(Vec::new(), name.as_bytes().to_vec(), SectionKind::Data);
            file.append_section_data(id, data, 1);
        }
        file.write().unwrap()
    }

    #[test]
    fn the_first_different_section_is_named() {
        let one = elf(&[(".a", b"1"), (".b", b"2")]);
        assert_eq!(first_differing_section(&one, &one), None);
        for (other, expected) in [
            (elf(&[(".a", b"1"), (".b", b"3")]), ".b"),
            (elf(&[(".a", b"0"), (".b", b"3")]), ".a"),
            (elf(&[(".a", b"1")]), ".b"),
            (elf(&[(".a", b"1"), (".b", b"2"), (".c", b"3")]), ".c"),
        ] {
            let found = first_differing_section(&one, &other);
            assert_eq!(found.as_deref(), Some(expected));
        }
        assert_eq!(first_differing_section(b"no", b"ELF"), None);
        let identified = |id: &[u8], data: &[u8]| elf(&[(BUILD_ID, id), (".a", data)]);
        let one = identified(b"1", b"1");
        for (other, expected) in [
            (identified(b"2", b"2"), ".a"),
            (identified(b"2", b"1"), BUILD_ID),
        ] {
            let found = first_differing_section(&one, &other);
            assert_eq!(found.as_deref(), Some(expected));
        }
    }
}
