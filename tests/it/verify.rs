//! Tests of the checks of artifacts, with small real ones (`tests/data/artifacts`) and damaged copies of them.

use std::path::Path;

use driverkit_matrix::fs;
use driverkit_matrix::kernel::Architecture;
use driverkit_matrix::verify::{
    ExpectedModule, KernelTreeFacts, read_kernel_tree, verify_module, verify_probe,
};

fn artifact(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/artifacts");
    fs::read(&folder.join(name)).unwrap()
}

/// Returns the facts of a kernel tree with this release and configuration.
fn tree(release: &str, settings: &[&str]) -> KernelTreeFacts {
    let folder = tempfile::tempdir().unwrap();
    let config = format!("CONFIG_{}=y\n", settings.join("=y\nCONFIG_"));
    fs::write(&folder.path().join(".config"), config).unwrap();
    let header = format!("#define UTS_RELEASE \"{release}\"\n");
    fs::write(
        &folder.path().join("include/generated/utsrelease.h"),
        header,
    )
    .unwrap();
    read_kernel_tree(folder.path(), Path::new("")).unwrap()
}

const REALTIME: [&str; 5] = [
    "X86_64",
    "SMP",
    "PREEMPT_RT",
    "MODULE_UNLOAD",
    "MODVERSIONS",
];

/// The kernel for which `6.1-rt-amd64.ko` was built.
fn realtime_tree() -> KernelTreeFacts {
    tree("6.1.0-50-rt-amd64", &REALTIME)
}

const SYMVERS: &str = "0xbdfb6dbb\t__fentry__\tvmlinux\tEXPORT_SYMBOL\t\n\
    0x5b8239ca\t__x86_return_thunk\tvmlinux\tEXPORT_SYMBOL\t\n\
    0x92997ed8\t_printk\tvmlinux\tEXPORT_SYMBOL\t\n\
    0x0e1cb016\tmodule_layout\tvmlinux\tEXPORT_SYMBOL\t\n";

/// Returns all defects as one text; empty for a good module.
fn defects_of(bytes: &[u8], tree: &KernelTreeFacts, symvers: &str) -> String {
    let expected = ExpectedModule {
        name: "falco",
        architecture: Architecture::Amd64,
        tree,
        symvers: Some(symvers),
    };
    verify_module(bytes, &expected).map_or_else(|defects| defects.to_string(), |_| String::new())
}

#[test]
fn good_modules_of_three_kernels_pass() {
    let layout_of_6_12 = SYMVERS.replace("0e1cb016", "7f93ce28");
    for (name, architecture, tree, symvers, vermagic) in [
        (
            "6.1-rt-amd64.ko",
            Architecture::Amd64,
            realtime_tree(),
            SYMVERS,
            "6.1.0-50-rt-amd64 SMP preempt_rt mod_unload modversions",
        ),
        // The kernel is both real-time and preemptible, but the vermagic contains only `preempt`.
        (
            "6.12-rt-amd64.ko",
            Architecture::Amd64,
            tree(
                "6.12.117+deb13-rt-amd64",
                &[
                    "X86_64",
                    "SMP",
                    "PREEMPT_RT",
                    "PREEMPT_BUILD",
                    "MODULE_UNLOAD",
                    "MODVERSIONS",
                ],
            ),
            &layout_of_6_12,
            "6.12.117+deb13-rt-amd64 SMP preempt mod_unload modversions",
        ),
        // A module without symbol versions.
        (
            "7.2-arm64.ko",
            Architecture::Arm64,
            tree(
                "7.2.13+deb14-arm64",
                &["ARM64", "SMP", "PREEMPT_BUILD", "MODULE_UNLOAD"],
            ),
            "0x00000000\t_printk\tvmlinux\tEXPORT_SYMBOL\t\n",
            "7.2.13+deb14-arm64 SMP preempt mod_unload aarch64",
        ),
    ] {
        let expected = ExpectedModule {
            name: "falco",
            architecture,
            tree: &tree,
            symvers: Some(symvers),
        };
        let verified = match verify_module(&artifact(name), &expected) {
            Ok(verified) => verified,
            Err(defects) => panic!("{name}: {defects}"),
        };
        assert_eq!(verified.vermagic.as_deref(), Some(vermagic));
        assert_eq!(
            verified.srcversion.as_deref(),
            Some("EF698DAC966D45D1518ABA0")
        );
    }
}

#[test]
fn every_difference_from_the_kernel_is_a_defect() {
    let bytes = artifact("6.1-rt-amd64.ko");
    let vermagic = "6.1.0-50-rt-amd64 SMP preempt_rt mod_unload modversions";
    assert_eq!(
        defects_of(&bytes, &tree("6.1.0-51-rt-amd64", &REALTIME), SYMVERS),
        format!("its vermagic `{vermagic}` is not for kernel 6.1.0-51-rt-amd64")
    );
    for (settings, word) in [
        (&["SMP", "MODULE_UNLOAD", "MODVERSIONS"][..], "preempt_rt"),
        (&["PREEMPT_RT", "MODULE_UNLOAD", "MODVERSIONS"], "SMP"),
        (&["SMP", "PREEMPT_RT", "MODVERSIONS"], "mod_unload"),
    ] {
        assert_eq!(
            defects_of(&bytes, &tree("6.1.0-50-rt-amd64", settings), SYMVERS),
            format!("its vermagic `{vermagic}` has `{word}`, unlike the kernel")
        );
    }
    for (symvers, expected) in [
        (
            SYMVERS.replace("_printk", "printk"),
            "the kernel does not export 1 of its symbols; the first is _printk",
        ),
        (
            SYMVERS.replace("0x92997ed8", "0x92997ed9"),
            "1 of its symbols have a different CRC in the kernel; the first is _printk",
        ),
        (
            SYMVERS.replace("0x0e1cb016", "0x00000001"),
            "1 of its symbols have a different CRC in the kernel; the first is module_layout",
        ),
    ] {
        assert_eq!(defects_of(&bytes, &realtime_tree(), &symvers), expected);
    }
}

#[test]
fn a_symbol_without_a_version_is_a_defect() {
    // The entry of _printk in section __versions gets another name.
    let mut bytes = artifact("6.1-rt-amd64.ko");
    let entry = 0x9299_7ed8_u32.to_le_bytes();
    let place = bytes.windows(4).position(|window| window == entry).unwrap();
    assert_eq!(&bytes[place + 8..place + 15], b"_printk");
    bytes[place + 8] = b'x';
    assert_eq!(
        defects_of(&bytes, &realtime_tree(), SYMVERS),
        "1 of its symbols have a different CRC in the kernel; the first is _printk"
    );
}

#[test]
fn damaged_modules_are_refused() {
    let good = artifact("6.1-rt-amd64.ko");
    let tree = realtime_tree();
    assert_eq!(defects_of(&good, &tree, SYMVERS), "");
    for length in (0..good.len()).step_by(7) {
        assert_ne!(
            defects_of(&good[..length], &tree, SYMVERS),
            "",
            "{length} bytes"
        );
    }
    // No flipped byte causes a panic.
    for position in 0..good.len() {
        let mut damaged = good.clone();
        damaged[position] ^= 0xff;
        let _ = defects_of(&damaged, &tree, SYMVERS);
    }
    for (position, value, expected) in [
        (18, 183, "it is for machine aarch64, not x86_64"),
        (16, 2, "not a relocatable object"),
        (4, 1, "not a readable ELF file: "),
    ] {
        let mut damaged = good.clone();
        damaged[position] = value;
        let defects = defects_of(&damaged, &tree, SYMVERS);
        assert!(defects.starts_with(expected), "{defects}");
    }
    assert_ne!(defects_of(b"<!DOCTYPE html>", &tree, SYMVERS), "");
    assert!(defects_of(&artifact("probe.o"), &tree, SYMVERS).contains("no section .modinfo"));
}

#[test]
fn defects_of_probes_are_found() {
    let good = artifact("probe.o");
    assert!(verify_probe(&good).is_ok());
    let defects = |bytes: &[u8]| verify_probe(bytes).unwrap_err().to_string();
    assert_eq!(
        defects(&rename(&good, "license")),
        "it has no section license"
    );
    assert_eq!(defects(&rename(&good, "maps")), "it has no section maps");
    let without_programs = rename(
        &rename(&good, "raw_tracepoint/sys_enter"),
        "raw_tracepoint/sys_exit",
    );
    assert_eq!(
        defects(&without_programs),
        "it has no program for a tracepoint"
    );
    for length in (0..good.len()).step_by(3) {
        assert!(verify_probe(&good[..length]).is_err(), "{length} bytes");
    }
    assert!(defects(&artifact("6.1-rt-amd64.ko")).starts_with("it is for machine"));
}

/// Changes a name that is between NUL characters.
fn rename(bytes: &[u8], name: &str) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let text = format!("\0{name}\0");
    let place = bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
        .unwrap();
    bytes[place + 1] = b'X';
    bytes
}
