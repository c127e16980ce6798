#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| driverkit_matrix_fuzz::tar(data));
