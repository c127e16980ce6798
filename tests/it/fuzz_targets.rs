//! Runs the fuzz targets of `fuzz/` over a few inputs, so that they compile with the current interface and accept real
//! files.

#[path = "../../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    clippy::disallowed_methods,
    reason = "a crate of its own, whose files need not be durable"
)]
mod targets;

use std::path::Path;

/// A fuzz target: a function that processes bytes.
type Target = fn(&[u8]);

fn data(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    std::fs::read(folder.join(name)).expect("test data")
}

#[test]
fn no_fuzz_target_panics_on_damaged_inputs() {
    let module = [
        b"0x1\tx\tvmlinux\tEXPORT_SYMBOL\n\0".to_vec(),
        data("artifacts/6.1-rt-amd64.ko"),
    ];
    let inputs: [(Target, Vec<u8>); 10] = [
        (targets::deb, b"!<arch>\n".to_vec()),
        (targets::rpm, targets::rpm_of(b"070701")),
        (targets::cpio, b"070701".to_vec()),
        (targets::tar, vec![0; 1024]),
        (targets::tree, vec![0; 1024]),
        (targets::module, module.concat()),
        (targets::probe, data("artifacts/probe.o")),
        (targets::manifest, data("manifest-v1.json")),
        (targets::list, data("kernel-list-x86_64.json")),
        (targets::lock, b"{\"lock\":1,\"sources\":{}}\n".to_vec()),
    ];
    for (target, input) in inputs {
        target(&input);
        // The input is truncated, and one byte is changed, at many positions.
        for place in (0..input.len()).step_by(input.len() / 40 + 1) {
            target(&input[..place]);
            let mut changed = input.clone();
            changed[place] ^= 0x55;
            target(&changed);
        }
    }
}
