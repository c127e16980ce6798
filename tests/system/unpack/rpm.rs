//! Tests of rpms: hostile and damaged ones, created here byte by byte, and real ones of rpmbuild, compared with the
//! result of rpm2cpio and cpio.

mod written;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::process::Command;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::failure::FailureClass;
use driverkit_matrix::unpack::{Limits, UnpackError, tree_digest_of_folder, unpack};
use proptest::prelude::*;

use super::{gzip, real_packages, run, unpack_bytes, xz};
use support::rpmbuild::rpmbuild;
use written::{
    Entry, FILE, FOLDER, LINK, Value, file, name_of, newc, numbers, pad, rpm_with, texts,
};
pub(crate) use written::{cpio, entry, rpm};

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn refused(payload: &[u8]) -> UnpackError {
    unpack_bytes(&rpm(payload), &Limits::default())
        .result
        .unwrap_err()
}

#[test]
fn a_package_of_every_compression_gives_the_same_tree() {
    let archive = cpio(&[
        entry("./usr/src/kernels/1", FOLDER, ""),
        file("./usr/src/kernels/1/.config", "CONFIG_X=y\n"),
        entry("./usr/src/kernels/1/run", 0o100_755, "#!/bin/sh\n"),
        entry("./usr/src/kernels/1/arch", LINK, "../../arch"),
        file("./usr/src/kernels/1/empty", ""),
        name_of(7, 3, "./a", ""),
        name_of(7, 3, "./b", ""),
        file("./between", "x"),
        name_of(7, 3, "./c", "shared"),
        name_of(8, 2, "./d", ""),
        name_of(8, 2, "./e", ""),
    ]);
    let mut trees = Vec::new();
    for payload in [
        archive.clone(),
        gzip(&archive),
        bzip2(&archive),
        xz(&archive),
        zstd::encode_all(&archive[..], 1).unwrap(),
    ] {
        let unpacked = unpack_bytes(&rpm(&payload), &Limits::default());
        let root = unpacked.root();
        let tree = *unpacked.result.as_ref().unwrap();
        assert_eq!(tree_digest_of_folder(&root).unwrap(), tree.sha256);
        trees.push(tree);
        assert_eq!(unpacked.mode("usr/src/kernels/1/run"), 0o755);
        assert_eq!(unpacked.mode("usr/src/kernels/1/.config"), 0o644);
        let target = fs::read_link(root.join("usr/src/kernels/1/arch")).unwrap();
        assert_eq!(target, Path::new("../../arch"));
        let inodes = ["a", "b", "c"].map(|name| fs::metadata(root.join(name)).unwrap().ino());
        assert!(inodes.iter().all(|inode| *inode == inodes[0]), "{inodes:?}");
        assert_eq!(fs::read(root.join("a")).unwrap(), b"shared");
        assert_eq!(fs::read(root.join("d")).unwrap(), b"");
        assert_eq!(fs::read(root.join("e")).unwrap(), b"");
    }
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]), "{trees:?}");
    assert_eq!(trees[0].entries, 4 + 4 + 6);
}

/// Returns the list of files of a package whose archive contains only file numbers.
fn list() -> Vec<Value> {
    vec![
        texts(1117, &["1", ".config", "link", "one", "two"]),
        texts(1118, &["/usr/src/", "/usr/src/1/"]),
        numbers(1116, &[0, 1, 1, 1, 1]),
        numbers(1030, &[FOLDER, FILE, LINK, FILE, FILE]),
        numbers(1028, &[4096, 5, 7, 6, 6]),
        numbers(1095, &[1; 5]),
        numbers(1096, &[1, 2, 3, 4, 4]),
    ]
}

fn stripped(entries: &[(u32, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, content) in entries {
        write!(bytes, "07070X{number:08x}").unwrap();
        pad(&mut bytes);
        bytes.extend_from_slice(content.as_bytes());
        pad(&mut bytes);
    }
    [bytes, newc(&file("TRAILER!!!", ""))].concat()
}

#[test]
fn an_archive_without_names_is_read_with_the_packages_file_list() {
    let payload = stripped(&[
        (0, ""),
        (1, "X=y\nz"),
        (2, ".config"),
        (3, ""),
        (4, "shared"),
    ]);
    let unpacked = unpack_bytes(&rpm_with(&list(), &payload), &Limits::default());
    unpacked.result.as_ref().unwrap();
    let folder = unpacked.root().join("usr/src/1");
    assert_eq!(fs::read(folder.join(".config")).unwrap(), b"X=y\nz");
    assert_eq!(
        fs::read_link(folder.join("link")).unwrap(),
        Path::new(".config")
    );
    let inode = |name| fs::metadata(folder.join(name)).unwrap().ino();
    assert_eq!(inode("one"), inode("two"));
    assert_eq!(fs::read(folder.join("one")).unwrap(), b"shared");

    let without =
        |tag| -> Vec<Value> { list().into_iter().filter(|value| value.0 != tag).collect() };
    let with = |value: Value| [without(value.0), vec![value]].concat();
    let far = |mut value: Value| {
        value.2 = 1 << 19;
        value
    };
    for (values, expected) in [
        (vec![], "list of files is not complete"),
        (without(1117), "list of files is not complete"),
        (without(1116), "list of files is not complete"),
        (without(1028), "list of files is not complete"),
        (
            with(numbers(1030, &[FILE])),
            "list of files is not complete",
        ),
        (
            with(numbers(1116, &[0, 1, 1, 1, 2])),
            "list of files is not complete",
        ),
        (
            with(texts(1116, &["0"])),
            "header value is not an integer array",
        ),
        (
            with(numbers(1117, &[0])),
            "header value is not a string array",
        ),
        (with(far(numbers(1116, &[0]))), "beyond its header"),
        (with(far(texts(1118, &["/"]))), "beyond its header"),
        (with((1117, 8, u32::MAX, vec![0])), "too many items"),
        (
            with(texts(1118, &["/usr/../", "/"])),
            "climbs out of its directory",
        ),
    ] {
        let error = unpack_bytes(&rpm_with(&values, &payload), &Limits::default())
            .result
            .unwrap_err();
        assert!(
            error.to_string().contains(expected),
            "{error}, not {expected}"
        );
    }
}

#[test]
fn names_and_links_that_leave_the_tree_are_refused() {
    for name in ["../x", "./a/../../x", "/etc/../x"] {
        for mode in [FILE, FOLDER, LINK] {
            let content = if mode == LINK { "a" } else { "" };
            let error = refused(&cpio(&[entry(name, mode, content)]));
            let is_expected = matches!(
                error,
                UnpackError::ParentSegment(_) | UnpackError::AbsolutePath(_)
            );
            assert!(is_expected, "{name}: {error}");
        }
    }
    let error = refused(&cpio(&[entry("a", LINK, "../x")]));
    assert!(
        matches!(error, UnpackError::LinkLeavesTree { .. }),
        "{error}"
    );
    for entries in [[entry("a\0b", FILE, "")], [entry("a", LINK, "b\0c")]] {
        let error = refused(&cpio(&entries));
        assert!(matches!(error, UnpackError::NulByte(_)), "{error}");
    }
    let error = refused(&cpio(&[entry("a", LINK, "/tmp"), file("a/x", "")]));
    assert!(
        matches!(error, UnpackError::BelowNoFolder { .. }),
        "{error}"
    );
    // A name without content waits for the name with the content, but is checked as well.
    for names in [
        [name_of(3, 2, "../a", ""), name_of(3, 2, "b", "x")],
        [name_of(3, 2, "b", "x"), name_of(3, 2, "../a", "")],
        [name_of(3, 2, "../a", ""), name_of(3, 2, "b", "")],
    ] {
        let error = refused(&cpio(&names));
        assert!(matches!(error, UnpackError::ParentSegment(_)), "{error}");
    }
    let twice = [
        name_of(3, 2, "a", ""),
        file("a", "1"),
        name_of(3, 2, "b", "x"),
    ];
    let error = refused(&cpio(&twice));
    assert!(matches!(error, UnpackError::Duplicate(_)), "{error}");
}

#[test]
fn unsupported_entries_are_refused() {
    for mode in [0o010_644, 0o020_644, 0o060_644, 0o140_644] {
        let error = refused(&cpio(&[entry("dev", mode, "")]));
        assert!(matches!(error, UnpackError::SpecialFile(_)), "{error}");
    }
    for odd in [entry("a", 0o644, ""), entry("a", FOLDER, "content")] {
        let error = refused(&cpio(&[odd]));
        assert!(
            matches!(error, UnpackError::UnsupportedEntry { .. }),
            "{error}"
        );
    }
    for long in [
        file(&"a/".repeat(600), ""),
        file(&"a/".repeat(1 << 20), ""),
        entry("a", LINK, &"a".repeat(2000)),
    ] {
        let error = refused(&cpio(&[long]));
        assert!(matches!(error, UnpackError::LongPath { .. }), "{error}");
    }
}

#[test]
fn archive_bombs_are_refused() {
    let few = Limits {
        entries: 2,
        ..Limits::default()
    };
    let three = ["a", "b", "c"].map(|name| entry(name, FOLDER, ""));
    let error = unpack_bytes(&rpm(&cpio(&three)), &few).result.unwrap_err();
    assert!(matches!(error, UnpackError::TooManyEntries(2)), "{error}");

    let small = Limits {
        size_bytes: 10_000,
        ..Limits::default()
    };
    let zeros = cpio(&[file("a", &"\0".repeat(20_000))]);
    for payload in [zeros.clone(), xz(&zeros), bzip2(&zeros)] {
        let error = unpack_bytes(&rpm(&payload), &small).result.unwrap_err();
        assert!(matches!(error, UnpackError::TooLarge(10_000)), "{error}");
    }
    let bomb = xz(&cpio(&[file("a", &"\0".repeat(17 << 20))]));
    assert!(matches!(refused(&bomb), UnpackError::Ratio(250)));
    // A size is only a number until the bytes follow.
    let mut claims = cpio(&[file("a", "")]);
    claims[54..62].copy_from_slice(b"ffffffff");
    let error = refused(&claims);
    assert!(matches!(error, UnpackError::Broken(_)), "{error}");
}

#[test]
fn broken_packages_are_refused() {
    let archive = cpio(&[file("a", &"text".repeat(1000))]);
    let whole = rpm(&xz(&archive));
    let changed = |position: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[position..position + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let second_header = 96 + 16 + 16 + 8;
    for (package, expected) in [
        (whole[..50].to_vec(), "failed to fill whole buffer"),
        (whole[..110].to_vec(), "failed to fill whole buffer"),
        (
            whole[..second_header + 20].to_vec(),
            "failed to fill whole buffer",
        ),
        (whole[..whole.len() - 40].to_vec(), "is broken"),
        (changed(4, &[9]), "not of format 3 or 4"),
        (changed(96, b"x"), "a header has no magic number"),
        (changed(second_header, b"x"), "a header has no magic number"),
        (changed(104, &[0xff; 4]), "a header is too large"),
        (changed(108, &[0xff; 4]), "a header is too large"),
        (
            changed(second_header + 12, &[0x7f; 4]),
            "a header is too large",
        ),
        (rpm(b""), "failed to fill whole buffer"),
        (rpm(b"<html>"), "a compression that is not supported"),
        (
            rpm(&[0x5d, 0, 0, 0x80, 0, 0]),
            "a compression that is not supported",
        ),
        (rpm(&xz(b"070701")), "failed to fill whole buffer"),
        (rpm(&xz(&[b'x'; 200])), "does not start with 070701"),
        (
            rpm(&archive.replace_first(b"070701", b"070707")),
            "does not start with 070701",
        ),
        (
            rpm(&archive.replace_first(b"000081a4", b"+00081a4")),
            "not a hexadecimal number",
        ),
        (
            rpm(&archive.replace_first(b"a\0", b"aa")),
            "is not terminated",
        ),
        (
            rpm(&archive[..archive.len() - 130]),
            "failed to fill whole buffer",
        ),
    ] {
        let error = unpack_bytes(&package, &Limits::default())
            .result
            .unwrap_err();
        assert!(
            error.to_string().contains(expected),
            "{error}, not {expected}"
        );
        assert_eq!(error.failure("x.rpm").class, FailureClass::Unpack);
    }
}

trait Replace {
    fn replace_first(&self, old: &[u8], new: &[u8]) -> Vec<u8>;
}

impl Replace for Vec<u8> {
    fn replace_first(&self, old: &[u8], new: &[u8]) -> Vec<u8> {
        let at = self
            .windows(old.len())
            .position(|part| part == old)
            .unwrap();
        [&self[..at], new, &self[at + old.len()..]].concat()
    }
}

#[test]
fn a_payload_that_differs_from_its_digest_in_the_header_is_refused() {
    let payload = gzip(&cpio(&[file("a", "x")]));
    let values = |digest: &str| vec![texts(5092, &[digest]), numbers(5093, &[8])];
    let good = Sha256::of(&payload).to_string();
    let package = rpm_with(&values(&good), &payload);
    unpack_bytes(&package, &Limits::default()).result.unwrap();
    // The longer payload unpacks without error: the added part is another gzip member without content.
    let longer = [package, gzip(b"")].concat();
    let error = unpack_bytes(&longer, &Limits::default())
        .result
        .unwrap_err();
    assert!(
        matches!(error, UnpackError::PayloadDigest { .. }),
        "{error}"
    );
    let error = unpack_bytes(&rpm_with(&values("12ab"), &payload), &Limits::default())
        .result
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("payload digest is not a SHA-256"),
        "{error}"
    );
    // Digests of other algorithms are not checked.
    let values = [texts(5092, &["12ab"]), numbers(5093, &[10])];
    unpack_bytes(&rpm_with(&values, &payload), &Limits::default())
        .result
        .unwrap();
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let name = "(\\./)?[ab]{1,2}(/[ab]{1,2}){0,3}/?";
    let mode = prop_oneof![
        Just(FILE),
        Just(FILE),
        Just(0o100_755),
        Just(FOLDER),
        Just(LINK)
    ];
    let content = "(\\.\\./){0,2}[ab](/[ab]){0,2}";
    (name, mode, 0..3_u32, 1..3_u32, content, any::<bool>()).prop_map(
        |(name, mode, inode, links, content, is_empty)| Entry {
            name: name.into(),
            mode,
            inode,
            links,
            content: match mode {
                FOLDER => Vec::new(),
                LINK => content.into(),
                _ if is_empty => Vec::new(),
                _ => content.into(),
            },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Any archive is refused, or unpacked to a tree with the reported digest.
    #[test]
    fn the_computed_digest_equals_the_digest_on_disk(entries in proptest::collection::vec(any_entry(), 0..8)) {
        let unpacked = unpack_bytes(&rpm(&cpio(&entries)), &Limits::default());
        if let Ok(tree) = &unpacked.result {
            prop_assert_eq!(tree_digest_of_folder(&unpacked.root()).unwrap(), tree.sha256);
            let on_disk = walkdir::WalkDir::new(unpacked.root()).min_depth(1).into_iter().count();
            prop_assert_eq!(tree.entries, on_disk as u64);
        }
    }

    /// A damaged package, with or without names in the archive, is refused or unpacked, without other effects.
    #[test]
    fn damaged_packages_are_refused_or_unpacked(
        changes in proptest::collection::vec((0..2000_usize, any::<u8>()), 1..6),
        is_stripped in any::<bool>(),
    ) {
        let mut bytes = if is_stripped {
            rpm_with(&list(), &stripped(&[(0, ""), (1, "X=y\nz"), (2, ".config"), (3, ""), (4, "shared")]))
        } else {
            rpm(&cpio(&[entry("a", FOLDER, ""), file("a/b", "text"), entry("a/c", LINK, "b"), name_of(5, 2, "d", ""), name_of(5, 2, "e", "x")]))
        };
        for (position, byte) in changes {
            // Only bytes after the 96 bytes of the lead are changed.
            let length = bytes.len() - 96;
            bytes[96 + position % length] = byte;
        }
        let unpacked = unpack_bytes(&bytes, &Limits::default());
        if let Ok(tree) = &unpacked.result {
            prop_assert_eq!(tree_digest_of_folder(&unpacked.root()).unwrap(), tree.sha256);
        }
    }
}

#[test]
fn real_packages_are_unpacked_as_by_rpm2cpio() {
    let work = tempfile::tempdir().unwrap();
    let content = work.path().join("content");
    // The two small packages: programs, links, generated headers.
    let packages = real_packages();
    let small = packages
        .iter()
        .filter(|path| !path.to_str().unwrap().contains("-common_"));
    for package in small {
        run(
            "dpkg-deb",
            &["-x", package.to_str().unwrap(), content.to_str().unwrap()],
            work.path(),
        );
    }
    for name in ["one", "two", "sub/three"] {
        let path = content.join("usr/names").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match name {
            "one" => driverkit_matrix::fs::write(&path, "shared").unwrap(),
            _ => fs::hard_link(content.join("usr/names/one"), path).unwrap(),
        }
    }
    symlink("names/one", content.join("usr/link")).unwrap();
    driverkit_matrix::fs::write(&content.join("usr/.config"), "CONFIG_X=y\n").unwrap();
    for payload in [
        "w1.gzdio",
        "w1.bzdio",
        "w1.xzdio",
        "w1T2.xzdio",
        "w1.zstdio",
        "w.ufdio",
    ] {
        let file = "kernel-devel-1-1.x86_64.rpm";
        let package = rpmbuild(work.path(), &content, file, payload);
        let ours = work.path().join("ours");
        fs::create_dir(&ours).unwrap();
        let tree = unpack(&package, &ours, &Limits::default()).unwrap();
        let theirs = work.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        let status = Command::new("sh")
            .args(["-c", "rpm2cpio \"$0\" | cpio -idm --quiet"])
            .arg(&package)
            .current_dir(&theirs)
            .status()
            .unwrap();
        assert!(status.success());
        assert!(tree.entries > 100, "{tree:?}");
        assert_eq!(
            fs::read_to_string(ours.join("usr/.config")).unwrap(),
            "CONFIG_X=y\n"
        );
        assert_eq!(
            fs::read(ours.join("usr/names/sub/three")).unwrap(),
            b"shared"
        );
        for folder in [&ours, &theirs] {
            assert_eq!(
                tree_digest_of_folder(folder).unwrap(),
                tree.sha256,
                "{payload}"
            );
            fs::remove_dir_all(folder).unwrap();
        }
    }
}
