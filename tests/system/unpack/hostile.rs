//! Tests of archives that would harm the machine, or are broken.

use super::*;

#[test]
fn names_that_leave_the_tree_are_refused() {
    for name in ["/etc/passwd", "//x"] {
        assert!(
            matches!(refused(&[file(name, "")]), UnpackError::AbsolutePath(found) if found == name)
        );
    }
    for name in ["../x", "a/../../x", "a/..", "./.."] {
        for member in [file(name, ""), folder(name), link(name, "a")] {
            let error = refused(&[member]);
            assert!(
                matches!(error, UnpackError::ParentSegment(ref found) if found == name),
                "{error}"
            );
        }
    }
    let long = member(b'L', "l", "", b"../../x\0");
    assert!(matches!(
        refused(&[long, file("a", "")]),
        UnpackError::ParentSegment(_)
    ));
}

#[test]
fn links_that_leave_the_tree_are_refused() {
    for (name, target) in [
        ("a", ".."),
        ("a/b", "../../x"),
        ("a", "b/../../x"),
        ("a", ""),
        ("a", "/../x"),
    ] {
        let error = refused(&[link(name, target)]);
        assert!(
            matches!(error, UnpackError::LinkLeavesTree { .. }),
            "{name} {target}: {error}"
        );
    }
    for members in [&[link("a", "a")][..], &[link("a", "b"), link("b", "a")]] {
        let error = refused(members);
        assert!(matches!(error, UnpackError::LinkLoop { .. }), "{error}");
    }
    let by_another = [link("d/up", ".."), link("a", "d/up/../x")];
    let error = refused(&by_another);
    assert!(
        matches!(error, UnpackError::LinkLeavesTree { .. }),
        "{error}"
    );
    for target in ["nothing", "folder", "link", "later"] {
        let members = [
            folder("folder"),
            link("link", "later"),
            hard_link("a", target),
            file("later", ""),
        ];
        let error = refused(&members);
        assert!(
            matches!(error, UnpackError::HardLinkTarget { .. }),
            "{target}: {error}"
        );
    }
    let error = refused(&[hard_link("a", "../../archive")]);
    assert!(matches!(error, UnpackError::ParentSegment(_)), "{error}");
    let error = refused(&[hard_link("a", "/etc/passwd")]);
    assert!(matches!(error, UnpackError::AbsolutePath(_)), "{error}");
}

#[test]
fn nothing_is_written_through_links_or_files_of_the_archive() {
    for planted in [link("a", "/tmp"), link("a", "b"), file("a", "")] {
        for entry in [
            file("a/x", ""),
            folder("a/x"),
            link("a/x", "y"),
            file("a/x/y", ""),
        ] {
            let error = refused(&[folder("b"), planted.clone(), entry]);
            assert!(
                matches!(error, UnpackError::BelowNoFolder { ref parent, .. } if parent == "a"),
                "{error}"
            );
        }
    }
}

#[test]
fn duplicates_are_refused() {
    for (first, second) in [
        (file("a", "1"), file("./a", "1")),
        (file("a", ""), folder("a")),
        (folder("a"), file("a", "")),
        (link("a", "b"), file("a", "")),
        (link("a", "b"), folder("a/")),
        (file("a", ""), hard_link("a", "a")),
        (folder("x"), link("./", "x")),
    ] {
        let error = refused(&[first, second]);
        assert!(matches!(error, UnpackError::Duplicate(_)), "{error}");
    }
}

#[test]
fn devices_and_unsupported_entries_are_refused() {
    for kind in *b"346" {
        let error = refused(&[member(kind, "dev", "", b"")]);
        assert!(matches!(error, UnpackError::SpecialFile(_)), "{error}");
    }
    let long = vec![b'a'; 70_000];
    for odd in [
        member(b'7', "a", "", b""),
        member(b'S', "a", "", b""),
        member(b'L', "a", "", &long),
        member(b'x', "a", "", b"22 GNU.sparse.major=1\n"),
        member(b'x', "a", "", b"13 size=1000\n"),
        member(b'g', "a", "", b"13 path=../a\n"),
    ] {
        let error = refused(&[odd, file("b", "")]);
        assert!(
            matches!(error, UnpackError::UnsupportedEntry { .. }),
            "{error}"
        );
    }
}

#[test]
fn an_archive_with_too_many_names_is_refused_early() {
    let names: Vec<_> = (0..60_000)
        .map(|number| file(&format!("d/{number}"), ""))
        .collect();
    let unpacked = unpack_bytes(&plain_deb(&names), &Limits::default());
    let error = unpacked.result.as_ref().unwrap_err();
    assert!(
        matches!(error, UnpackError::TooManyEntries(50_000)),
        "{error}"
    );
    let made = walkdir::WalkDir::new(unpacked.root()).into_iter().count();
    assert!(made < 1_100, "{made}");
    // Many names are accepted below the limit, or if the rest of the archive is large enough.
    let some = &names[..2_000];
    assert_eq!(
        unpack_bytes(&plain_deb(some), &Limits::default())
            .result
            .unwrap()
            .entries,
        2_001
    );
}

#[test]
fn archive_bombs_are_refused() {
    let few = Limits {
        entries: 2,
        ..Limits::default()
    };
    let three = [folder("a"), folder("b"), folder("c")];
    let error = unpack_bytes(&plain_deb(&three), &few).result.unwrap_err();
    assert!(matches!(error, UnpackError::TooManyEntries(2)), "{error}");

    // Each KiB of content allows one more empty entry.
    let names = Limits {
        empty_entries: 2,
        ..Limits::default()
    };
    let error = unpack_bytes(&plain_deb(&three), &names).result.unwrap_err();
    assert!(matches!(error, UnpackError::TooManyEntries(2)), "{error}");
    let content = member(b'0', "content", "", &[0; 3 << 10]);
    let with_content = [content, folder("a"), folder("b"), folder("c")];
    let result = unpack_bytes(&plain_deb(&with_content), &names).result;
    assert_eq!(result.unwrap().entries, 4);

    let small = Limits {
        size_bytes: 10_000,
        ..Limits::default()
    };
    let zeros = tar(&[member(b'0', "a", "", &vec![0; 20_000])]);
    // The size is known from the header or, if the header lies, from the unpacked data.
    let padded = [tar(&[file("a", "")]), vec![0; 20_000]].concat();
    for archive in [&zeros, &xz(&zeros), &padded] {
        let error = unpack_bytes(archive, &small).result.unwrap_err();
        assert!(matches!(error, UnpackError::TooLarge(10_000)), "{error}");
    }

    let zeros = vec![0; 17 << 20];
    let bomb = xz(&tar(&[member(b'0', "a", "", &zeros)]));
    let error = unpack_bytes(&bomb, &Limits::default()).result.unwrap_err();
    assert!(matches!(error, UnpackError::Ratio(250)), "{error}");

    let claims = {
        let mut bytes = tar(&[file("a", "")]);
        let mut header = tar::Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_mode(0o644);
        header.set_size(1 << 60);
        header.set_cksum();
        bytes[..512].copy_from_slice(header.as_bytes());
        bytes
    };
    let error = unpack_bytes(&claims, &Limits::default())
        .result
        .unwrap_err();
    assert!(matches!(error, UnpackError::TooLarge(_)), "{error}");
}

#[test]
fn long_and_deep_paths_are_refused() {
    let named = |name: String| [member(b'L', "l", "", name.as_bytes()), file("a", "")];
    for name in ["a/".repeat(65), "a/".repeat(600), "a".repeat(256)] {
        let error = refused(&named(name));
        assert!(matches!(error, UnpackError::LongPath { .. }), "{error}");
    }
    for target in ["a".repeat(2000), "a/".repeat(100)] {
        let members = [member(b'K', "l", "", target.as_bytes()), link("a", "b")];
        assert!(matches!(refused(&members), UnpackError::LongPath { .. }));
    }
}

#[test]
fn broken_archives_are_refused() {
    let data = tar(&[file("a", &"text".repeat(1000))]);
    let whole = deb("data.tar.xz", &xz(&data));
    for (archive, expected) in [
        (
            b"<html>".to_vec(),
            "neither a Debian package, nor an rpm, nor a tarball",
        ),
        (
            Vec::new(),
            "neither a Debian package, nor an rpm, nor a tarball",
        ),
        (b"!<arch>\n".to_vec(), "no data.tar"),
        (ar(&[VERSION, ("control.tar.gz", b"")]), "no data.tar"),
        (
            ar(&[("data.tar", &data)]),
            "first member is not debian-binary",
        ),
        (ar(&[("debian-binary", b"3.0\n")]), "not of format 2"),
        (
            ar(&[VERSION, ("data.tar.lzma", &data)]),
            "data.tar.lzma, a compression",
        ),
        (
            ar(&[VERSION, ("data.tar", &data), ("data.tar.xz", &data)]),
            "more than one data.tar",
        ),
        (ar(&[VERSION; 17]), "too many members"),
        (
            whole[..whole.len() - 8].to_vec(),
            "ends in the middle of a member",
        ),
        (
            [&whole[..], b"garbage"].concat(),
            "failed to fill whole buffer",
        ),
        ([&whole[..], &[b'x'; 60]].concat(), "header is damaged"),
        (deb("data.tar.xz", &data), "is broken"),
        (
            deb("data.tar.xz", &[&xz(&data)[..], b"garbage"].concat()),
            "is broken",
        ),
        (deb("data.tar.xz", &xz(&data)[..100]), "is broken"),
        (deb("data.tar.gz", &gzip(&data)[..60]), "is broken"),
        (deb("data.tar", &data[..700]), "is broken"),
        (
            deb("data.tar", &[&[b'x'; 600][..], &data].concat()),
            "is broken",
        ),
    ] {
        let error = unpack_bytes(&archive, &Limits::default())
            .result
            .unwrap_err();
        assert!(
            error.to_string().contains(expected),
            "{error}, not {expected}"
        );
        assert_eq!(error.failure("x.deb").class, FailureClass::Unpack);
    }
    // The last bytes of a compressed file are its checksum.
    let mut damaged = gzip(&data);
    let end = damaged.len() - 6;
    damaged[end] ^= 1;
    let error = unpack_bytes(&damaged, &Limits::default())
        .result
        .unwrap_err();
    assert!(matches!(error, UnpackError::Broken(_)), "{error}");
}
