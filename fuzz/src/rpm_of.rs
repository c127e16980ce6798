//! Makes an rpm from a payload, so that the fuzzer does not have to find valid rpm headers.

/// Returns an rpm with an uncompressed payload and empty headers, so without a list of files.
pub fn rpm_of(payload: &[u8]) -> Vec<u8> {
    let mut lead = vec![0; 96];
    lead[..5].copy_from_slice(&[0xed, 0xab, 0xee, 0xdb, 3]);
    let mut header = vec![0x8e, 0xad, 0xe8, 0x01];
    header.resize(16, 0);
    [lead, header.clone(), header, payload.to_vec()].concat()
}
