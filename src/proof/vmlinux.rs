//! Unpacks x86 kernel images before the boot: under emulation, unpacking takes most of the time of a boot.

use object::LittleEndian;
use object::elf::NoteType;
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};

use super::compressed::unpack;

/// The offset and value of an image's magic number: the boot protocol of Documentation/arch/x86/boot.rst.
const MARK: (usize, &[u8]) = (0x202, b"HdrS");

/// The offset of the number of sectors before the code, less one.
const SETUP_SECTORS: usize = 0x1f1;
const SECTOR: usize = 512;

/// The offsets of the compressed kernel's position in the code, and of its length.
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// The ELF note of a kernel that can be entered without its boot code (`CONFIG_PVH`): `XEN_ELFNOTE_PHYS32_ENTRY`.
const ENTRY_NOTE: (&[u8], NoteType) = (b"Xen", NoteType(18));

pub(super) fn is_x86(image: &[u8]) -> bool {
    let (place, mark) = MARK;
    image
        .get(place..)
        .is_some_and(|rest| rest.starts_with(mark))
}

/// Returns the kernel in an x86 image, if it can be booted without the image's own code.
pub(super) fn unpacked(image: &[u8]) -> Option<Vec<u8>> {
    if !is_x86(image) {
        return None;
    }
    let word = |place: usize| {
        let bytes = image.get(place..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    let sectors = match *image.get(SETUP_SECTORS)? {
        // 0 means the default of 4.
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = ((sectors + 1) * SECTOR).checked_add(word(PAYLOAD_OFFSET)?)?;
    let end = start.checked_add(word(PAYLOAD_LENGTH)?)?;
    let kernel = unpack(image.get(start..end)?)?.ok()?;
    has_entry(&kernel).then_some(kernel)
}

fn has_entry(kernel: &[u8]) -> bool {
    let Ok(file) = ElfFile64::<LittleEndian>::parse(kernel) else {
        return false;
    };
    let endian = file.endian();
    let headers = file.elf_header().program_headers(endian, kernel);
    headers.unwrap_or_default().iter().any(|header| {
        let notes = header.notes(endian, kernel).ok().flatten();
        notes.is_some_and(|mut notes| {
            while let Ok(Some(note)) = notes.next() {
                if (note.name(), note.n_type(endian)) == ENTRY_NOTE {
                    return true;
                }
            }
            false
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// An image whose compressed kernel is `payload`.
    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0_u8; 2 * SECTOR];
        image[SETUP_SECTORS] = 1;
        image[MARK.0..MARK.0 + 4].copy_from_slice(MARK.1);
        image[PAYLOAD_OFFSET] = 16;
        let length = u32::try_from(payload.len()).unwrap();
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        image.extend([0; 16]);
        image.extend(payload);
        image.extend([0xff; 100]);
        image
    }

    /// A kernel with one note.
    fn kernel(note: u32) -> Vec<u8> {
        let mut kernel = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0".to_vec();
        for word in [0_u64, 64, 0] {
            kernel.extend(word.to_le_bytes());
        }
        // Flags, then sizes and counts of headers.
        kernel.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, 1, 0, 0, 0] {
            kernel.extend(half.to_le_bytes());
        }
        // PT_NOTE, readable, at 120, with 20 bytes.
        kernel.extend(4_u32.to_le_bytes());
        kernel.extend(4_u32.to_le_bytes());
        for word in [120_u64, 0, 0, 20, 20, 4] {
            kernel.extend(word.to_le_bytes());
        }
        for word in [4, 4, note] {
            kernel.extend(word.to_le_bytes());
        }
        kernel.extend(b"Xen\0\x01\0\0\0");
        kernel
    }

    #[test]
    fn a_kernel_with_a_pvh_note_is_unpacked() {
        let kernel = kernel(18);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&kernel).unwrap();
        let gzip = encoder.finish().unwrap();
        let zstd = zstd::encode_all(kernel.as_slice(), 1).unwrap();
        for compressed in [gzip, zstd] {
            let with_size = [compressed.as_slice(), &[200, 0, 0, 0]].concat();
            assert_eq!(unpacked(&image(&with_size)), Some(kernel.clone()));
        }
    }

    #[test]
    fn other_images_are_not_unpacked() {
        let without_note = zstd::encode_all(kernel(17).as_slice(), 1).unwrap();
        assert_eq!(unpacked(&image(&without_note)), None);
        assert_eq!(unpacked(&image(b"\x89LZO")), None);
        assert_eq!(unpacked(b"not a kernel"), None);
        let cut = image(&without_note);
        assert_eq!(unpacked(&cut[..cut.len() - 110]), None);
        assert_eq!(unpacked(&cut[..PAYLOAD_LENGTH]), None);
    }
}
