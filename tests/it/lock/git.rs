//! Tests of locks in git: conflicts, the merge driver, union merges, damaged lines.

use std::process::Command;

use insta::assert_snapshot;

use crate::lock::{crawler_matrix, entries, list, locked};
use support::workspace::Workspace;

const DIGESTS: [&str; 2] = [
    "1111111111111111111111111111111111111111111111111111111111111111",
    "2222222222222222222222222222222222222222222222222222222222222222",
];

/// Three kernels with a first-seen day in the past.
fn three_kernels() -> (Workspace, String) {
    let workspace = locked(&list(&entries("ol", 1, 3), ""));
    let lock = workspace
        .get("m.lock")
        .replace(&crate::lock::today(), "2024-02-29");
    workspace.put("m.lock", &lock);
    (workspace, lock)
}

/// Returns a lock in which kernel `number` has this digest.
fn with_digest(lock: &str, number: usize, digest: &str) -> String {
    let url = format!("http://example.org/ol-{number}.rpm\"");
    assert!(lock.contains(&url), "{lock}");
    lock.replace(
        &url,
        &format!("{url},\"size\":9,\"sha256\":\"{digest}\",\"noted\":true"),
    )
}

/// Returns a lock in which line `number` is a conflict between two texts.
fn conflict(lock: &str, number: usize, ours: &str, theirs: &str) -> String {
    let mut lines: Vec<String> = lock.lines().map(str::to_owned).collect();
    lines[number - 1] = format!("<<<<<<< HEAD\n{ours}=======\n{theirs}>>>>>>> other");
    lines.join("\n") + "\n"
}

fn line(lock: &str, number: usize) -> String {
    lock.lines().nth(number - 1).unwrap().to_owned() + "\n"
}

#[test]
fn conflict_is_an_error_in_the_lock_until_lock_resolves_it() {
    let (workspace, lock) = three_kernels();
    let digest = with_digest(&lock, 2, DIGESTS[0]);
    let older = lock.replace("2024-02-29", "2023-01-01");
    workspace.put(
        "m.lock",
        &conflict(&lock, 3, &line(&digest, 3), &line(&older, 3)),
    );
    let plan = workspace.run(&["plan", "m.toml"]);
    assert!(plan.starts_with("exit 2\n"), "{plan}");
    assert!(
        plan.contains("error: the lock has a merge conflict"),
        "{plan}"
    );
    assert!(
        plan.contains("--> m.lock:3:1") && !plan.contains("m.toml:"),
        "{plan}"
    );
    assert!(plan.contains("help: run `driverkit-matrix lock`"), "{plan}");

    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    assert!(
        report.contains("m.lock: merge conflicts resolved"),
        "{report}"
    );
    let expected = digest.lines().enumerate().map(|(index, line)| {
        if index == 2 {
            line.replace("2024-02-29", "2023-01-01")
        } else {
            line.to_owned()
        }
    });
    assert_eq!(
        workspace.get("m.lock"),
        expected.collect::<Vec<_>>().join("\n") + "\n"
    );
}

#[test]
fn conflict_of_headers_and_of_added_kernels_is_resolved() {
    let (workspace, lock) = three_kernels();
    let header = line(&lock, 1);
    let other_header = header.replace("\"sources\":{", "\"sources\":{\"gone\":\"0000000000000000000000000000000000000000000000000000000000000000\",");
    // One side has only kernel 2, the other only kernel 3.
    let text = conflict(&lock, 1, &header, &other_header);
    let text = text.replace(
        &(line(&lock, 3) + &line(&lock, 4)),
        &format!(
            "<<<<<<< HEAD\n{}=======\n{}>>>>>>> other\n",
            line(&lock, 3),
            line(&lock, 4)
        ),
    );
    workspace.put("m.lock", &text);
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    assert_eq!(workspace.get("m.lock"), lock);
}

#[test]
fn conflicting_digests_are_an_error_that_names_both() {
    let (workspace, lock) = three_kernels();
    let [ours, theirs] = DIGESTS.map(|digest| line(&with_digest(&lock, 2, digest), 3));
    let text = conflict(&lock, 3, &ours, &theirs);
    workspace.put("m.lock", &text);
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
    assert!(
        report.contains(&format!(
            "ol-2.rpm of ol 5.4.2-1 #1 amd64 has two digests: {} and {}",
            DIGESTS[0], DIGESTS[1]
        )),
        "{report}"
    );
    assert!(report.contains("--> m.lock:4:1"), "{report}");
    assert_eq!(workspace.get("m.lock"), text);
    // The common ancestor shows which side changed the digest.
    let text = text.replace("=======", &format!("||||||| base\n{ours}======="));
    workspace.put("m.lock", &text);
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    assert_eq!(line(&workspace.get("m.lock"), 3), theirs);
}

#[test]
fn duplicate_kernel_after_a_union_merge_is_repaired() {
    let (workspace, lock) = three_kernels();
    let twice = with_digest(&lock, 2, DIGESTS[0]);
    // Both headers and both lines of a kernel, as `merge=union` leaves them.
    let union = format!("{}{}{}", line(&lock, 1), lock, line(&twice, 3));
    workspace.put("m.lock", &union);
    let plan = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(plan.contains("Plan of 1 matrix: 3 kernels"), "{plan}");
    workspace.run(&["lock", "m.toml"]);
    assert_eq!(workspace.get("m.lock"), twice);

    let other = with_digest(&lock, 2, DIGESTS[1]);
    workspace.put("m.lock", &format!("{twice}{}", line(&other, 3)));
    let plan = workspace.run(&["plan", "m.toml"]);
    assert!(plan.starts_with("exit 2\n"), "{plan}");
    assert!(
        plan.contains("has two digests") && plan.contains("m.lock:3:1"),
        "{plan}"
    );
}

#[test]
fn damaged_line_is_reported_with_its_place_in_the_lock() {
    let (workspace, lock) = three_kernels();
    workspace.put(
        "m.lock",
        &lock.replace("\"ol\",\"release\":\"5.4.3-1\"", "\"ol\",\"release\":7"),
    );
    let plan = workspace.run(&["plan", "m.toml"]);
    assert!(plan.starts_with("exit 2\n"), "{plan}");
    assert!(plan.contains("--> m.lock:4:"), "{plan}");
    assert!(plan.contains("help: restore the line from git"), "{plan}");

    let kernel = r#""ol","release":"5.4.3-1","version":"1""#;
    for (damaged, message) in [
        (r#""ol","release":"5.4.3-1","version":"x""#, "digit"),
        (
            r#""ol","release":"x","version":"1""#,
            "number such as 6.1.0",
        ),
    ] {
        let damaged = lock.replace(kernel, damaged);
        workspace.put("m.lock", &damaged);
        let plan = workspace.run(&["plan", "m.toml"]);
        assert!(plan.starts_with("exit 2\n"), "{plan}");
        let message = format!("`x` does not start with a {message}");
        assert!(plan.contains(&message), "{plan}");
        let column = 1 + line(&damaged, 4).find("\"x\"").expect("the value");
        assert!(plan.contains(&format!("--> m.lock:4:{column}")), "{plan}");
    }
    let (first, rest) = lock.split_once('\n').unwrap();
    for damaged in [&first[1..], ""] {
        workspace.put("m.lock", &format!("{damaged}\n{rest}"));
        let plan = workspace.run(&["plan", "m.toml"]);
        assert!(plan.contains("--> m.lock:1:"), "{plan}");
        assert!(plan.contains("help: restore the lock from git"), "{plan}");
    }
}

#[test]
fn invalid_utf8_is_reported_with_its_place_in_the_lock() {
    let (workspace, lock) = three_kernels();
    let mut bytes = lock.into_bytes();
    let end = bytes.len() - 2;
    bytes[end] = 0xff;
    driverkit_matrix::fs::write(&workspace.path().join("m.lock"), &bytes).unwrap();
    for command in [&["plan", "m.toml"][..], &["lock", "m.toml"]] {
        let report = workspace.run(command);
        assert!(report.starts_with("exit 2\n"), "{report}");
        assert!(report.contains("this line is not valid UTF-8"), "{report}");
        assert!(report.contains("--> m.lock:4:1"), "{report}");
    }
}

fn git(workspace: &Workspace, arguments: &[&str]) -> bool {
    let output = Command::new("git")
        .current_dir(workspace.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", workspace.path())
        .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
        .args(arguments)
        .output()
        .unwrap();
    output.status.success()
}

/// Follows the commands of docs/kernels.md with git itself.
#[test]
fn git_merges_locks_by_kernel() {
    let (workspace, lock) = three_kernels();
    let program = env!("CARGO_BIN_EXE_driverkit-matrix");
    workspace.put(
        ".gitattributes",
        "*.lock text eol=lf merge=driverkit-matrix\n",
    );
    let driver = format!("{program} lock --merge %O %A %B %P");
    assert!(git(
        &workspace,
        &["init", "--quiet", "--initial-branch", "main"]
    ));
    assert!(git(
        &workspace,
        &["config", "merge.driverkit-matrix.driver", &driver]
    ));
    let commit = |text: &str| {
        workspace.put("m.lock", text);
        assert!(git(&workspace, &["add", "m.lock", ".gitattributes"]));
        assert!(git(&workspace, &["commit", "--quiet", "-m", "lock"]));
    };
    commit(&lock);
    assert!(git(&workspace, &["checkout", "--quiet", "-b", "other"]));
    let gone = "\"first_seen\":\"2024-02-29\",\"gone\":\"2025-01-01\"";
    let theirs = lock.lines().map(|line| {
        let is_third = line.contains("5.4.3-1");
        if is_third {
            line.replace("\"first_seen\":\"2024-02-29\"", gone)
        } else {
            line.to_owned()
        }
    });
    let theirs = theirs.collect::<Vec<_>>().join("\n") + "\n";
    commit(&with_digest(&theirs, 2, DIGESTS[0]));
    assert!(git(&workspace, &["checkout", "--quiet", "main"]));
    commit(&with_digest(
        &with_digest(&lock, 1, DIGESTS[1]),
        3,
        DIGESTS[1],
    ));
    assert!(git(&workspace, &["merge", "--quiet", "other"]));
    let merged = with_digest(&with_digest(&theirs, 1, DIGESTS[1]), 2, DIGESTS[0]);
    let merged = with_digest(&merged, 3, DIGESTS[1]);
    assert_eq!(workspace.get("m.lock"), merged);

    // Each side finds a different digest: git stops, and the lock shows both.
    assert!(git(&workspace, &["checkout", "--quiet", "-b", "third"]));
    commit(&merged.replacen(DIGESTS[0], &DIGESTS[0].replace('1', "3"), 1));
    assert!(git(&workspace, &["checkout", "--quiet", "main"]));
    commit(&merged.replacen(DIGESTS[0], &DIGESTS[0].replace('1', "4"), 1));
    assert!(!git(&workspace, &["merge", "--quiet", "third"]));
    let marked = workspace.get("m.lock");
    assert!(
        marked.contains("<<<<<<< ours\n") && marked.contains("33333") && marked.contains("44444"),
        "{marked}"
    );
}

/// Variables and arguments of all commands do not conflict with `--merge`: git passes on the variables of its user.
#[test]
fn merge_driver_works_whatever_variables_are_set() {
    let (workspace, lock) = three_kernels();
    let theirs = with_digest(&lock, 2, DIGESTS[0]);
    workspace.put("base", &lock);
    workspace.put("theirs", &theirs);
    let cache = workspace.path().join("a-cache");
    let variables = [
        ("DRIVERKIT_MATRIX_CACHE", &*cache),
        ("DRIVERKIT_MATRIX_LOG", "warn".as_ref()),
        (
            "DRIVERKIT_MATRIX_MIRROR_DEBIAN",
            "http://example.org".as_ref(),
        ),
    ];
    for more in [
        &[][..],
        &["-q"],
        &["-v"],
        &["--color", "never"],
        &["--offline"],
        &["--cache", "b"],
    ] {
        workspace.put("m.lock", &lock);
        let words = [more, &["lock", "--merge", "base", "m.lock", "theirs"]].concat();
        let report = workspace.run_with(&words, &variables);
        assert!(report.starts_with("exit 0\n"), "{more:?}: {report}");
        assert_eq!(workspace.get("m.lock"), theirs, "{more:?}");
    }
    for more in [
        &["--check"][..],
        &["--all"],
        &["--accept-shrink", "ol"],
        &["--format", "json"],
    ] {
        let words = [&["lock", "--merge", "base", "m.lock", "theirs"], more].concat();
        let report = workspace.run(&words);
        assert!(report.starts_with("exit 2\n"), "{more:?}: {report}");
    }
}

/// The files that git passes are gone after the merge, so messages name the lock itself and its lines after the merge.
#[test]
fn merge_driver_names_the_lock_by_its_path() {
    let (workspace, lock) = three_kernels();
    for (name, digest) in [("ours", DIGESTS[0]), ("theirs", DIGESTS[1])] {
        let text = with_digest(&lock, 3, digest);
        workspace.put(name, &with_digest(&text, 1, digest));
    }
    workspace.put("base", &lock);
    let report = workspace.run(&["lock", "--merge", "base", "ours", "theirs", "dir/m.lock"]);
    assert!(report.starts_with("exit 1\n"), "{report}");
    let marked = workspace.get("ours");
    for (number, digest) in [(3, 0), (5, 1), (9, 0), (11, 1)] {
        assert!(line(&marked, number).contains(DIGESTS[digest]), "{marked}");
        assert!(
            report.contains(&format!("dir/m.lock:{number}:1")),
            "{report}"
        );
    }
    workspace.put("theirs", &lock.replace("\"ol\"", "7"));
    workspace.put("ours", &lock);
    let report = workspace.run(&["lock", "--merge", "base", "ours", "theirs", "dir/m.lock"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
    assert!(report.contains("--> dir/m.lock (theirs):2:"), "{report}");
}

#[test]
fn merge_driver_reports_a_missing_file() {
    let (workspace, _) = three_kernels();
    assert_snapshot!(workspace.run(&["lock", "--merge", "m.lock", "none", "m.lock"]), @r"
    exit 2
    --- err
    error: failed to read none: it does not exist
    ");
    workspace.put("m.toml", &crawler_matrix(""));
    let report = workspace.run(&["lock", "m.toml", "--merge", "m.lock", "m.lock", "m.lock"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
}
