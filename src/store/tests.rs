use super::*;

#[test]
fn blobs_are_found_by_digest() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), "one").unwrap();
    let (digest, size_bytes) = store.put_blob("abc".as_bytes()).unwrap();
    assert_eq!((digest, size_bytes), (Sha256::of("abc"), 3));
    assert_eq!(fs::read(&store.blob_path(digest)).unwrap(), b"abc");
    assert!(!store.has_blob(Sha256::of("other")));
    assert!(!store.has_whole_blob(Sha256::of("other")).unwrap());
    assert!(store.has_whole_blob(digest).unwrap());
    assert_eq!(store.put_blob("abc".as_bytes()).unwrap().0, digest);
}

#[test]
fn a_changed_blob_is_detected_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), "one").unwrap();
    let (digest, _) = store.put_blob("abc".as_bytes()).unwrap();
    fs::write(&store.blob_path(digest), "abd").unwrap();
    assert!(!store.has_whole_blob(digest).unwrap());
    assert!(!store.has_blob(digest));
    fs::write(&store.blob_path(digest), "abd").unwrap();
    store.put_blob("abc".as_bytes()).unwrap();
    assert!(store.has_whole_blob(digest).unwrap());
}

#[test]
fn leftovers_of_dead_runs_only_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let dead = folder.path().join("temporary/dead/work-1");
    std::fs::create_dir_all(&dead).unwrap();
    let first = Store::open(folder.path(), "first").unwrap();
    let work = first.temporary_folder().unwrap();
    let _second = Store::open(folder.path(), "second").unwrap();
    assert!(!dead.exists());
    assert!(work.path().exists());
}

#[test]
fn an_existing_tree_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), "one").unwrap();
    let digest = Sha256::of("tree");
    for content in ["same", "same"] {
        let work = store.temporary_folder().unwrap();
        let tree = work.path().join("tree");
        fs::write(&tree.join("file"), content).unwrap();
        store.put_tree(&tree, digest).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&store.tree_path(digest).join("file")).unwrap(),
        "same"
    );
}

#[test]
fn a_stored_tree_is_readable_for_everyone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), "one").unwrap();
    let work = store.temporary_folder().unwrap();
    let tree = work.path().join("tree");
    let digest = Sha256::of("tree");
    for (name, mode) in [("a/data", 0o600), ("a/program", 0o4700)] {
        fs::write(&tree.join(name), name).unwrap();
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(tree.join(name), mode).unwrap();
    }
    for name in ["a", ""] {
        let mode = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(tree.join(name), mode).unwrap();
    }
    store.put_tree(&tree, digest).unwrap();
    let mode = |name: &str| {
        let path = store.tree_path(digest).join(name);
        path.metadata().unwrap().permissions().mode() & 0o7777
    };
    assert_eq!(
        ["", "a", "a/data", "a/program"].map(mode),
        [0o755, 0o755, 0o644, 0o755]
    );
    let found = store.find_tree(digest).unwrap();
    assert!(store.is_untouched(&found).unwrap());
    assert_eq!(store.tree_of(&found.path().join("a/data")), Some(digest));
    assert_eq!(store.tree_of(folder.path()), None);
}

#[test]
fn a_modified_tree_is_detected_and_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), "one").unwrap();
    let digest = Sha256::of("tree");
    let put = || {
        let work = store.temporary_folder().unwrap();
        let tree = work.path().join("tree");
        fs::write(&tree.join("a/file"), "text").unwrap();
        store.put_tree(&tree, digest).unwrap();
    };
    let changes: [fn(&Path); 3] = [
        |file| fs::write_unsynced(file, "tent").unwrap(),
        |file| fs::remove_file(file).unwrap(),
        |file| fs::write(&file.with_file_name("other"), "").unwrap(),
    ];
    for change in changes {
        put();
        let found = store.find_tree(digest).unwrap();
        assert!(store.is_untouched(&found).unwrap());
        change(&found.path().join("a/file"));
        assert!(!store.is_untouched(&found).unwrap());
        store.discard_tree(&found).unwrap();
        assert!(!store.has_tree(digest));
        put();
        // The tree has been replaced in the meantime.
        store.discard_tree(&found).unwrap();
        assert!(store.has_tree(digest));
        store
            .discard_tree(&store.find_tree(digest).unwrap())
            .unwrap();
    }
}

#[test]
fn unfinished_files_of_killed_runs_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("temporary/dead")).unwrap();
    let left = ["blobs/ab/.dkm-tmp-1", "outcomes/v1/ab/.dkm-tmp-2"];
    let left = left.map(|name| folder.path().join(name));
    for path in &left {
        fs::write(path, "").unwrap();
    }
    let _store = Store::open(folder.path(), "one").unwrap();
    for path in &left {
        assert!(!path.exists());
    }
}
