//! Turns a kernel image into one that qemu can boot: x86 kernels unpack themselves; arm64 kernels may be compressed,
//! alone or inside an EFI program.

use super::compressed::unpack;
use super::vmlinux;
use crate::kernel::Architecture;

/// The offset of the magic number of an arm64 kernel.
const MARK_AT: usize = 56;
const MARK: &[u8] = b"ARM\x64";

/// The magic number, at offset 4, of an EFI program with a compressed kernel in it.
const ZBOOT: &[u8] = b"zimg";

/// Returns a kernel image that qemu can boot. Unpacks arm64 kernels that are compressed for firmware or boot loaders,
/// and x86 kernels that can be entered without their own unpacking code. The error says why that is not possible.
pub fn bootable(image: Vec<u8>, architecture: Architecture) -> Result<Vec<u8>, String> {
    if architecture == Architecture::Amd64 {
        return Ok(vmlinux::unpacked(&image).unwrap_or(image));
    }
    if is_arm64(&image) && !is_zboot(&image) {
        return Ok(image);
    }
    if is_zboot(&image) {
        let (payload, name) = payload_of_zboot(&image)
            .ok_or("the compressed kernel lies beyond the end of its EFI program")?;
        return unpack(payload)
            .ok_or_else(|| {
                format!(
                    "the kernel in its EFI program is compressed by {name}, which is not supported"
                )
            })?
            .map_err(|error| {
                format!("the compressed kernel in its EFI program is damaged: {error}")
            });
    }
    match unpack(&image) {
        Some(unpacked) => {
            unpacked.map_err(|error| format!("the compressed kernel is damaged: {error}"))
        }
        // qemu reports what is wrong with it.
        None => Ok(image),
    }
}

/// Returns the architecture of a kernel image, if its format identifies one.
pub fn architecture_of_image(image: &[u8]) -> Option<Architecture> {
    if vmlinux::is_x86(image) {
        Some(Architecture::Amd64)
    } else if is_arm64(image) || has_zboot_mark(image) || image.starts_with(&[0x1f, 0x8b]) {
        // Only arm64 kernels are compressed as a whole.
        Some(Architecture::Arm64)
    } else {
        None
    }
}

fn is_arm64(image: &[u8]) -> bool {
    image
        .get(MARK_AT..)
        .is_some_and(|rest| rest.starts_with(MARK))
}

fn is_zboot(image: &[u8]) -> bool {
    image.starts_with(b"MZ") && has_zboot_mark(image)
}

fn has_zboot_mark(image: &[u8]) -> bool {
    image.get(4..).is_some_and(|rest| rest.starts_with(ZBOOT))
}

/// Returns the compressed kernel in an EFI program, and the name of its compression. The kernel's
/// drivers/firmware/efi/libstub/zboot-header.S defines the layout.
fn payload_of_zboot(image: &[u8]) -> Option<(&[u8], String)> {
    let number = |at: usize| {
        let bytes = image.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let (start, size) = (number(8)?, number(12)?);
    let name = image.get(24..56)?.split(|&byte| byte == 0).next()?;
    let payload = image.get(start..start.checked_add(size)?)?;
    Some((payload, String::from_utf8_lossy(name).into_owned()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A file that boot loaders recognise as an arm64 kernel.
    fn kernel() -> Vec<u8> {
        let mut kernel = vec![0_u8; 1 << 16];
        kernel[MARK_AT..MARK_AT + 4].copy_from_slice(MARK);
        kernel
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zboot(name: &str, payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0_u8; 64];
        image[..2].copy_from_slice(b"MZ");
        image[4..8].copy_from_slice(ZBOOT);
        image[8..12].copy_from_slice(&64_u32.to_le_bytes());
        image[12..16].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image[24..24 + name.len()].copy_from_slice(name.as_bytes());
        image.extend(payload);
        // Sections of the program.
        image.extend([0; 100]);
        image
    }

    #[test]
    fn compressed_arm64_kernels_are_unpacked() {
        let kernel = kernel();
        let zstd = zstd::encode_all(kernel.as_slice(), 1).unwrap();
        // The kernel's build appends the size.
        let with_size = [zstd.as_slice(), &65536_u32.to_le_bytes()].concat();
        for image in [
            kernel.clone(),
            gzip(&kernel),
            zstd.clone(),
            with_size.clone(),
            xz(&kernel),
            zboot("gzip", &gzip(&kernel)),
            zboot("zstd22", &with_size),
            zboot("xzkern", &xz(&kernel)),
        ] {
            assert!(bootable(image, Architecture::Arm64) == Ok(kernel.clone()));
        }
    }

    #[test]
    fn a_kernel_that_cannot_be_unpacked_is_an_error() {
        let error = |image| bootable(image, Architecture::Arm64).unwrap_err();
        let unknown = error(zboot("lzo", b"\x89LZO and more"));
        assert!(
            unknown.contains("compressed by lzo, which is not supported"),
            "{unknown}"
        );
        let mut cut = zboot("gzip", &gzip(&kernel()));
        cut.truncate(80);
        assert!(error(cut).contains("lies beyond the end"));
        let mut broken = gzip(&kernel());
        broken.truncate(broken.len() / 2);
        assert!(error(broken).contains("is damaged"));
        // Other x86 kernels unpack themselves, and unknown formats are left to qemu.
        let bytes = gzip(&kernel());
        assert!(bootable(bytes.clone(), Architecture::Amd64) == Ok(bytes));
        assert!(bootable(b"unknown".to_vec(), Architecture::Arm64) == Ok(b"unknown".to_vec()));
    }
}
