//! The kernel's format of a signed module: the module, its signature, `struct module_signature`, and a magic string.

/// The last bytes of a signed module.
const MAGIC: &[u8] = b"~Module signature appended~\n";

/// The size of `struct module_signature`: algorithm, hash, kind of signature, two lengths of names, three bytes of
/// padding, and the length of the signature as a big-endian number. For a CMS signature, all but the kind and the
/// length are 0.
const HEADER_BYTES: usize = 12;

/// `PKEY_ID_PKCS7`: a CMS signature.
const CMS: u8 = 2;

/// Appends a detached CMS signature (DER) to a module.
pub fn append(module: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut header = [0; HEADER_BYTES];
    header[2] = CMS;
    // A signature has a few hundred bytes, so this does not saturate.
    let length = u32::try_from(signature.len()).unwrap_or(u32::MAX);
    header[8..].copy_from_slice(&length.to_be_bytes());
    [module, signature, &header, MAGIC].concat()
}

/// Returns a module and its appended CMS signature, or `None` if it is not signed.
pub fn split(signed: &[u8]) -> Option<(&[u8], &[u8])> {
    let (signed, header) = signed.strip_suffix(MAGIC)?.split_last_chunk()?;
    let header: &[u8; HEADER_BYTES] = header;
    let length = header[8..].first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let start = signed.len().checked_sub(length)?;
    (header[2] == CMS).then(|| signed.split_at(start))
}

/// Returns a module without its signature, if it has one.
pub fn unsigned(module: &[u8]) -> &[u8] {
    split(module).map_or(module, |(module, _)| module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_signature_is_found_again() {
        let signed = append(b"module", b"signature");
        assert_eq!(split(&signed), Some((&b"module"[..], &b"signature"[..])));
        assert_eq!(unsigned(&signed), b"module");
        assert!(
            signed.ends_with(b"signature\0\0\x02\0\0\0\0\0\0\0\0\x09~Module signature appended~\n")
        );
    }

    #[test]
    fn a_module_with_an_incomplete_signature_counts_as_unsigned() {
        let signed = append(b"", b"signature");
        for broken in [&signed[1..], &signed[..signed.len() - 1], MAGIC, b""] {
            assert_eq!(split(broken), None);
            assert_eq!(unsigned(broken), broken);
        }
    }
}
