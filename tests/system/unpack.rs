//! Tests of unpacking: hostile archives, created here, and real packages, compared with the result of dpkg.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

mod hostile;
pub(crate) mod rpm;

use driverkit_matrix::digest::Sha256;
use driverkit_matrix::failure::FailureClass;
use driverkit_matrix::store::Store;
use driverkit_matrix::unpack::{
    Limits, Tree, UnpackError, tree_digest_of_folder, unpack, unpack_into_store,
};
use proptest::prelude::*;
use support::host::run;

/// An entry of a tar archive, which may be hostile.
#[derive(Clone, Debug)]
struct Member {
    kind: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    content: Vec<u8>,
}

fn member(kind: u8, name: &str, link: &str, content: &[u8]) -> Member {
    Member {
        kind,
        name: name.into(),
        link: link.into(),
        mode: 0o644,
        content: content.to_vec(),
    }
}

fn file(name: &str, content: &str) -> Member {
    member(b'0', name, "", content.as_bytes())
}

fn folder(name: &str) -> Member {
    member(b'5', name, "", b"")
}

fn link(name: &str, target: &str) -> Member {
    member(b'2', name, target, b"")
}

fn hard_link(name: &str, target: &str) -> Member {
    member(b'1', name, target, b"")
}

fn tar(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        let mut header = tar::Header::new_ustar();
        let fields = header.as_ustar_mut().unwrap();
        // The fields are set by hand, since the crate's setters refuse such values.
        fields.name[..member.name.len()].copy_from_slice(&member.name);
        fields.linkname[..member.link.len()].copy_from_slice(&member.link);
        fields.typeflag[0] = member.kind;
        header.set_mode(member.mode);
        header.set_size(member.content.len() as u64);
        header.set_mtime(1);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&member.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        let size = content.len();
        writeln!(
            bytes,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`",
            0, 0, 0, 100_644
        )
        .unwrap();
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

const VERSION: (&str, &[u8]) = ("debian-binary", b"2.0\n");

fn deb(data_name: &str, data: &[u8]) -> Vec<u8> {
    ar(&[VERSION, ("control.tar.xz", b"unread"), (data_name, data)])
}

fn plain_deb(members: &[Member]) -> Vec<u8> {
    deb("data.tar", &tar(members))
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns two xz streams with padding between them; the second has several blocks.
fn xz_streams(bytes: &[u8]) -> Vec<u8> {
    let (first, second) = bytes.split_at(1000);
    let stream = liblzma::stream::MtStreamBuilder::new()
        .threads(2)
        .block_size(512)
        .preset(1)
        .encoder()
        .unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(second).unwrap();
    [xz(first), vec![0; 8], encoder.finish().unwrap()].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Unpacked {
    work: tempfile::TempDir,
    result: Result<Tree, UnpackError>,
}

impl Unpacked {
    fn root(&self) -> PathBuf {
        self.work.path().join("a/b/tree")
    }

    fn mode(&self, path: &str) -> u32 {
        fs::symlink_metadata(self.root().join(path)).unwrap().mode() & 0o7777
    }
}

/// Unpacks an archive, and asserts that nothing is written outside of the tree.
fn unpack_bytes(archive: &[u8], limits: &Limits) -> Unpacked {
    let work = tempfile::tempdir().unwrap();
    let unpacked = work.path().join("a/b/tree");
    fs::create_dir_all(&unpacked).unwrap();
    let path = work.path().join("archive");
    driverkit_matrix::fs::write(&path, archive).unwrap();
    let result = unpack(&path, &unpacked, limits);
    for (parent, names) in [
        ("", &["a", "archive"][..]),
        ("a", &["b"]),
        ("a/b", &["tree"]),
    ] {
        let mut found: Vec<_> = fs::read_dir(work.path().join(parent))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        found.sort();
        assert_eq!(found, names, "something was written outside the tree");
    }
    Unpacked { work, result }
}

/// Returns the error of an archive with these members.
fn refused(members: &[Member]) -> UnpackError {
    unpack_bytes(&plain_deb(members), &Limits::default())
        .result
        .unwrap_err()
}

#[test]
fn a_package_of_every_compression_gives_the_same_tree() {
    let mut program = file("./usr/bin/run", "#!/bin/sh\n");
    program.mode = 0o6775;
    let members = [
        folder("./"),
        folder("./usr/"),
        file("./usr/src/a/b/.config", "CONFIG_X=y\n"),
        folder("./usr/src/a/"),
        program,
        file("./usr/empty", ""),
        hard_link("./usr/same", "./usr/empty"),
        link("./usr/src/a/scripts", "../../lib/scripts"),
        link("./lib/build", "/usr/src/a"),
    ];
    let data = tar(&members);
    let mut trees = Vec::new();
    for archive in [
        deb("data.tar", &data),
        deb("data.tar/", &data),
        deb("data.tar.xz", &xz(&data)),
        deb("data.tar.xz", &xz_streams(&data)),
        deb("data.tar.gz", &gzip(&data)),
        deb("data.tar.zst", &zstd::encode_all(&data[..], 1).unwrap()),
        data.clone(),
        gzip(&data),
    ] {
        let unpacked = unpack_bytes(&archive, &Limits::default());
        let tree = *unpacked.result.as_ref().unwrap();
        assert_eq!(
            tree_digest_of_folder(&unpacked.root()).unwrap(),
            tree.sha256
        );
        trees.push(tree);
        assert_eq!(unpacked.mode("usr/bin/run"), 0o755);
        assert_eq!(unpacked.mode("usr/src/a/b/.config"), 0o644);
        assert_eq!(unpacked.mode("usr/src"), 0o755);
        assert_eq!(unpacked.mode(""), 0o755);
        for path in ["usr", "usr/empty", "lib/build"] {
            let metadata = fs::symlink_metadata(unpacked.root().join(path)).unwrap();
            assert_eq!(metadata.mtime(), 946_684_800, "{path}");
        }
        let target = fs::read_link(unpacked.root().join("lib/build")).unwrap();
        assert_eq!(target, Path::new("/usr/src/a"));
    }
    assert!(trees.windows(2).all(|pair| pair[0] == pair[1]), "{trees:?}");
    assert_eq!((trees[0].entries, trees[0].size_bytes), (12, 21));
}

#[test]
fn metadata_files_of_an_arch_package_are_left_out() {
    let headers = [
        folder("usr/"),
        folder("usr/lib/"),
        file("usr/lib/.config", "CONFIG_X=y\n"),
        link("usr/lib/scripts", "../scripts"),
    ];
    let unpacked_tree = |members: &[Member]| {
        let archive = zstd::encode_all(&tar(members)[..], 1).unwrap();
        let unpacked = unpack_bytes(&archive, &Limits::default());
        let tree = *unpacked.result.as_ref().unwrap();
        let found = tree_digest_of_folder(&unpacked.root()).unwrap();
        assert_eq!(found, tree.sha256);
        tree
    };
    let plain = unpacked_tree(&headers);
    for names in [
        &[".BUILDINFO", ".MTREE", ".PKGINFO"][..],
        &[".PKGINFO", ".INSTALL"],
        &["./.PKGINFO"],
    ] {
        let about = names.iter().map(|name| file(name, "about the package"));
        let members: Vec<_> = about.chain(headers.clone()).collect();
        assert_eq!(unpacked_tree(&members), plain, "{names:?}");
    }
    // In other archives, such a name is an ordinary file.
    let members = [&headers[..], &[file(".PKGINFO", "")]].concat();
    assert_eq!(unpacked_tree(&members).entries, plain.entries + 1);
    let members = [
        &[file(".PKGINFO", "")],
        &headers[..],
        &[file("usr/.MTREE", "")],
    ]
    .concat();
    assert_eq!(unpacked_tree(&members).entries, plain.entries + 1);
}

#[test]
fn long_names_are_read_in_both_formats() {
    let name = format!("{}/file", "folder/".repeat(30));
    let target = "t".repeat(150);
    let gnu = [
        member(b'L', "././@LongLink", "", format!("{name}\0").as_bytes()),
        file("short", "x"),
        member(b'K', "././@LongLink", "", format!("{target}\0").as_bytes()),
        link("link", "short"),
    ];
    let record = |key: &str, value: &str| {
        let length = key.len() + value.len() + 3;
        let digits = (length + 3).to_string().len();
        format!("{} {key}={value}\n", length + digits)
    };
    let pax = [
        member(
            b'g',
            "pax_global_header",
            "",
            record("comment", "abc").as_bytes(),
        ),
        member(b'x', "x", "", record("path", &name).as_bytes()),
        file("short", "x"),
        member(b'x', "x", "", record("linkpath", &target).as_bytes()),
        link("link", "short"),
    ];
    for members in [&gnu[..], &pax] {
        let unpacked = unpack_bytes(&tar(members), &Limits::default());
        unpacked.result.as_ref().unwrap();
        assert_eq!(fs::read(unpacked.root().join(&name)).unwrap(), b"x");
        let found = fs::read_link(unpacked.root().join("link")).unwrap();
        assert_eq!(found, Path::new(&target));
    }
}

#[test]
fn a_kernel_that_is_a_link_out_of_the_tree_is_left_out() {
    for (target, is_kept) in [
        ("/sys/kernel/btf/vmlinux", false),
        ("../../../../sys/kernel/btf/vmlinux", false),
        ("../missing", false),
        ("vmlinux", false),
        ("../debug/vmlinux-6.1", true),
        ("/usr/src/debug/vmlinux-6.1", true),
    ] {
        let members = [
            file("usr/src/debug/vmlinux-6.1", "ELF"),
            link("usr/src/linux/vmlinux", target),
            link("usr/src/linux/source", "../missing"),
        ];
        let unpacked = unpack_bytes(&tar(&members), &Limits::default());
        let digest = unpacked.result.as_ref().unwrap().sha256;
        let found = fs::symlink_metadata(unpacked.root().join("usr/src/linux/vmlinux"));
        assert_eq!(found.is_ok(), is_kept, "{target}");
        assert!(fs::symlink_metadata(unpacked.root().join("usr/src/linux/source")).is_ok());
        assert_eq!(tree_digest_of_folder(&unpacked.root()).unwrap(), digest);
    }
}

#[test]
fn a_refused_archive_leaves_nothing_in_the_store() {
    let work = tempfile::tempdir().unwrap();
    let store = Store::open(work.path(), "test").unwrap();
    let put = |members: &[Member]| store.put_blob(&plain_deb(members)[..]).unwrap().0;
    let good = put(&[file("a", "1"), folder("b")]);
    let tree = unpack_into_store(&store, good, &Limits::default()).unwrap();
    assert_eq!(
        unpack_into_store(&store, good, &Limits::default()).unwrap(),
        tree
    );
    assert_eq!(
        tree_digest_of_folder(&store.tree_path(tree.sha256)).unwrap(),
        tree.sha256
    );

    let bad = put(&[file("a", "1"), file("../b", "")]);
    unpack_into_store(&store, bad, &Limits::default()).unwrap_err();
    unpack_into_store(&store, Sha256::of("missing"), &Limits::default()).unwrap_err();
    assert_eq!(fs::read_dir(work.path().join("trees")).unwrap().count(), 1);
    let left = walkdir::WalkDir::new(work.path().join("temporary/test"));
    assert_eq!(left.into_iter().count(), 1);
}

#[test]
fn trees_in_a_store_share_equal_files() {
    let work = tempfile::tempdir().unwrap();
    let store = Store::open(work.path(), "test").unwrap();
    let unpacked = |members: &[Member]| {
        let blob = store.put_blob(&plain_deb(members)[..]).unwrap().0;
        let tree = unpack_into_store(&store, blob, &Limits::default()).unwrap();
        let path = store.tree_path(tree.sha256);
        assert_eq!(tree_digest_of_folder(&path).unwrap(), tree.sha256);
        path
    };
    let mut program = file("a/run", "same");
    program.mode = 0o755;
    let one = unpacked(&[file("a/one", "same"), program.clone(), file("b", "old")]);
    let two = unpacked(&[
        file("one", "same"),
        file("x/b", "new"),
        program,
        hard_link("c", "one"),
    ]);
    let inode = |path: PathBuf| fs::metadata(path).unwrap().ino();
    assert_eq!(inode(one.join("a/one")), inode(two.join("one")));
    assert_eq!(inode(one.join("a/run")), inode(two.join("a/run")));
    assert_ne!(inode(two.join("one")), inode(two.join("a/run")));
    assert_eq!(inode(two.join("one")), inode(two.join("c")));
    assert_eq!(fs::read(one.join("b")).unwrap(), b"old");
    assert_eq!(fs::read(two.join("x/b")).unwrap(), b"new");
    // An archive that is refused halfway does not change the files of other trees.
    let blob = plain_deb(&[file("a", "same"), file("b", "third"), file("../c", "")]);
    let blob = store.put_blob(&blob[..]).unwrap().0;
    unpack_into_store(&store, blob, &Limits::default()).unwrap_err();
    assert_eq!(fs::read(one.join("a/one")).unwrap(), b"same");
    let names = walkdir::WalkDir::new(work.path().join("files")).into_iter();
    let files = names.filter(|entry| entry.as_ref().unwrap().file_type().is_file());
    assert_eq!(files.count(), 4);
    // A file that was modified is not shared with later trees.
    driverkit_matrix::fs::write_unsynced(&one.join("a/one"), "sane").unwrap();
    let three = unpacked(&[file("three", "same")]);
    assert_ne!(inode(one.join("a/one")), inode(three.join("three")));
    assert_eq!(
        inode(three.join("three")),
        inode(unpacked(&[file("four", "same")]).join("four"))
    );
}

#[test]
fn a_tree_digest_covers_names_types_and_contents_only() {
    let make = |change: &dyn Fn(&Path)| {
        let work = tempfile::tempdir().unwrap();
        let root = work.path();
        fs::create_dir_all(root.join("a/b")).unwrap();
        driverkit_matrix::fs::write(&root.join("a/file"), "text").unwrap();
        symlink("file", root.join("a/link")).unwrap();
        change(root);
        tree_digest_of_folder(root).unwrap()
    };
    let set_mode = |path: PathBuf, mode| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let original = make(&|_| {});
    assert_eq!(make(&|root| set_mode(root.join("a/file"), 0o600)), original);
    assert_eq!(make(&|root| set_mode(root.join("a"), 0o700)), original);
    let changes: [&dyn Fn(&Path); 6] = [
        &|root| set_mode(root.join("a/file"), 0o755),
        &|root| driverkit_matrix::fs::write(&root.join("a/file"), "texT").unwrap(),
        &|root| driverkit_matrix::fs::rename(&root.join("a/file"), &root.join("a/other")).unwrap(),
        &|root| fs::remove_dir(root.join("a/b")).unwrap(),
        &|root| {
            fs::remove_file(root.join("a/link")).unwrap();
            symlink("filE", root.join("a/link")).unwrap();
        },
        &|root| {
            fs::remove_file(root.join("a/link")).unwrap();
            driverkit_matrix::fs::write(&root.join("a/link"), "file").unwrap();
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_ne!(make(change), original, "change {number}");
    }
}

fn any_member() -> impl Strategy<Value = Member> {
    let name = "[ab]{1,2}(/[ab]{1,2}){0,3}/?";
    let target = "(\\.\\./){0,2}[ab](/[ab]){0,2}";
    let kind = prop_oneof![Just(b'0'), Just(b'0'), Just(b'5'), Just(b'2'), Just(b'1')];
    (kind, name, target, any::<bool>(), "[xy]{0,3}").prop_map(
        |(kind, name, target, is_executable, content)| Member {
            kind,
            name: name.into(),
            link: target.into(),
            mode: if is_executable { 0o700 } else { 0o600 },
            content: if kind == b'0' {
                content.into()
            } else {
                Vec::new()
            },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// The digest computed while unpacking equals the digest of the directory on disk.
    #[test]
    fn the_computed_digest_equals_the_digest_on_disk(members in proptest::collection::vec(any_member(), 0..8)) {
        let unpacked = unpack_bytes(&tar(&members), &Limits::default());
        if let Ok(tree) = &unpacked.result {
            prop_assert_eq!(tree_digest_of_folder(&unpacked.root()).unwrap(), tree.sha256);
            let on_disk = walkdir::WalkDir::new(unpacked.root()).min_depth(1).into_iter().count();
            prop_assert_eq!(tree.entries, on_disk as u64);
        }
    }

    /// A damaged package is refused or unpacked, without other effects.
    #[test]
    fn damaged_packages_are_refused_or_unpacked(changes in proptest::collection::vec((0..2000_usize, any::<u8>()), 1..6)) {
        let members = [folder("./a/"), file("./a/b", "text"), link("./a/c", "b"), hard_link("./d", "./a/b")];
        let mut bytes = plain_deb(&members);
        for (position, byte) in changes {
            let length = bytes.len();
            bytes[position % length] = byte;
        }
        let unpacked = unpack_bytes(&bytes, &Limits::default());
        if let Ok(tree) = &unpacked.result {
            prop_assert_eq!(tree_digest_of_folder(&unpacked.root()).unwrap(), tree.sha256);
        }
    }
}

/// Returns the header packages of the newest kernel of this machine's distribution, downloaded by apt.
fn real_packages() -> Vec<PathBuf> {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    fs::create_dir_all(&here).unwrap();
    let architecture = run("dpkg", &["--print-architecture"], &here);
    let meta = format!("linux-headers-{}", architecture.trim());
    let dependencies = |package: &str| -> Vec<String> {
        let text = run("apt-cache", &["depends", "--important", package], &here);
        let names = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Depends: "));
        let wanted =
            |name: &&str| name.starts_with("linux-headers-") || name.starts_with("linux-kbuild-");
        names.filter(wanted).map(str::to_owned).collect()
    };
    let headers = dependencies(&meta);
    assert_eq!(headers.len(), 1, "{meta} depends on {headers:?}");
    let names = [headers.clone(), dependencies(&headers[0])].concat();
    let mut arguments = vec!["download"];
    arguments.extend(names.iter().map(String::as_str));
    run("apt-get", &arguments, &here);
    let is_wanted = |path: &PathBuf| {
        let file = path.file_name().unwrap().to_str().unwrap();
        names
            .iter()
            .any(|name| file.starts_with(&format!("{name}_")))
    };
    let files = fs::read_dir(&here)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files.filter(is_wanted).collect()
}

#[test]
fn real_packages_are_unpacked_as_by_dpkg() {
    let packages = real_packages();
    assert!(packages.len() >= 3, "{packages:?}");
    for package in packages {
        let work = tempfile::tempdir().unwrap();
        let ours = work.path().join("ours");
        fs::create_dir(&ours).unwrap();
        let tree = unpack(&package, &ours, &Limits::default()).unwrap();
        let theirs = work.path().join("theirs");
        run(
            "dpkg-deb",
            &["-x", package.to_str().unwrap(), theirs.to_str().unwrap()],
            work.path(),
        );
        assert_eq!(
            tree_digest_of_folder(&theirs).unwrap(),
            tree.sha256,
            "{}",
            package.display()
        );
        assert_eq!(
            tree_digest_of_folder(&ours).unwrap(),
            tree.sha256,
            "{}",
            package.display()
        );
    }
}
