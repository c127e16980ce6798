//! Tests of losses of targets, and of accepting them.

use serde_json::Value;

use super::{age, count, list, lock, locked, matrix, series, target};

#[test]
fn renamed_and_split_targets_keep_their_kernels() {
    let (centos, rocky) = (
        series("centos", "4.18.0-", 4, ".el8.x86_64"),
        series("rocky", "5.14.0-", 4, ".el9.x86_64"),
    );
    let all = [
        vec![target("{centos,rocky}", "list.json", "")],
        vec![
            target("centos", "list.json", ""),
            target("rocky", "list.json", ""),
        ],
        vec![
            target("centos", "list.json", ", match = \"*-1.*\""),
            target("centos", "list.json", ", exclude = \"*-1.*\""),
            target("rocky", "list.json", ""),
        ],
    ];
    for targets in &all {
        let workspace = locked(&list(&[&centos, &rocky]));
        age(&workspace);
        workspace.put("m.toml", &matrix(targets));
        let report = lock(&workspace, 0, &[]);
        assert_eq!(
            count(&workspace, "\"first_seen\":\"2024-02-29\""),
            8,
            "{report}"
        );
        assert_eq!(count(&workspace, "\"sha256\":\"1111"), 8, "{report}");
        // A new target name does not switch the guard off either.
        let workspace = locked(&list(&[&centos, &rocky]));
        workspace.put("m.toml", &matrix(targets));
        workspace.put("list.json", &list(&[&centos]));
        let report = lock(&workspace, 1, &[]);
        assert_eq!(count(&workspace, "\"unconfirmed\":"), 4, "{report}");
    }
}

#[test]
fn removed_target_is_no_loss_of_the_remaining_one() {
    let centos = series("centos", "4.18.0-", 4, ".el8.x86_64");
    let workspace = locked(&list(&[&centos]));
    workspace.put(
        "other.json",
        &list(&[&series("centos", "5.14.0-", 4, ".el9.x86_64")]),
    );
    let (first, second) = (
        target("centos", "list.json", ""),
        target("centos", "other.json", ""),
    );
    workspace.put("m.toml", &matrix(&[first, second.clone()]));
    lock(&workspace, 0, &[]);
    age(&workspace);
    workspace.put("m.toml", &matrix(&[second]));
    lock(&workspace, 0, &[]);
    assert_eq!(count(&workspace, ".el9.x86_64\",\"version\""), 4);
    assert_eq!(count(&workspace, "\"target\""), 4);
    assert_eq!(count(&workspace, "\"first_seen\":\"2024-02-29\""), 4);
}

/// A loss can be accepted by the names that lists use, in any case.
#[test]
fn loss_is_accepted_by_each_spelling_of_its_target() {
    for (target, releases, names) in [
        (
            "oracle8",
            ["5.4.17-", ".el8uek.x86_64"],
            &[
                "Oracle8",
                "OracleLinux",
                "OL",
                "Oracle* 5.4",
                "oraclelinux oracle8 5.4",
            ][..],
        ),
        (
            "oracle10",
            ["6.12.0-", ".el10uek.x86_64"],
            &["oracle10", "Oracle10", "ol"],
        ),
        (
            "PhotonOS",
            ["4.19.15-", ".ph3.x86_64"],
            &["PhotonOS", "photon", "PHOTON", "PhotonOS ph3 4.19"],
        ),
        (
            "almalinux",
            ["4.18.0-", ".el8.x86_64"],
            &["AlmaLinux", "alma", "EL8"],
        ),
        (
            "ubuntu-generic",
            ["5.4.0-", "-generic"],
            &["Ubuntu-*", "Focal"],
        ),
    ] {
        let gone = series(target, releases[0], 4, releases[1]);
        let workspace = locked(&list(&[&gone]));
        let before = workspace.get("m.lock");
        for name in names {
            workspace.put("m.lock", &before);
            workspace.put("list.json", "{}");
            lock(&workspace, 0, &["--accept-shrink", name]);
            assert_eq!(count(&workspace, "\"gone\":"), 4, "{name}");
        }
    }
}

/// The name of a release accepts only losses of that release, and then the others are named. The loss of a whole target
/// is one loss.
#[test]
fn release_of_oracle_does_not_stand_for_the_target() {
    let eight = series("oracle8", "5.4.17-", 4, ".el8uek.x86_64");
    let ten = series("oracle10", "6.12.0-", 4, ".el10uek.x86_64");
    let workspace = locked(&list(&[&eight, &ten]));
    let before = workspace.get("m.lock");
    workspace.put("list.json", "{}");
    let report = lock(&workspace, 1, &[]);
    assert!(report.contains("1 loss not believed"), "{report}");
    assert!(!report.contains("oracle10"), "{report}");
    workspace.put("m.lock", &before);
    let report = lock(&workspace, 1, &["--accept-shrink", "Oracle8"]);
    assert!(report.contains("oracle10"), "{report}");
    assert_eq!(count(&workspace, "\"gone\":"), 4);
    assert_eq!(count(&workspace, "\"unconfirmed\":"), 4);
}

#[test]
fn accept_shrink_without_a_matching_loss_is_an_error() {
    let kernels = series("centos", "4.18.0-", 4, ".el8.x86_64");
    let workspace = locked(&list(&[&kernels]));
    let before = workspace.get("m.lock");
    let report = lock(&workspace, 2, &["--accept-shrink", "centos"]);
    assert!(
        report.contains(
            "--accept-shrink \"centos\" matches no loss that is in doubt; nothing was written"
        ),
        "{report}"
    );
    workspace.put("list.json", "{}");
    let report = lock(&workspace, 2, &["--accept-shrink", "cent"]);
    assert!(report.contains("help: in doubt are: centos"), "{report}");
    assert_eq!(workspace.get("m.lock"), before);
}

#[test]
fn many_losses_are_one_table_and_one_pattern_accepts_them() {
    let flavours: Vec<Value> = (0..88)
        .flat_map(|number| series(&format!("ubuntu-f{number}"), "5.15.0-", 2, "-generic"))
        .collect();
    let workspace = locked(&list(&[&flavours]));
    workspace.put("list.json", "{}");
    let report = lock(&workspace, 1, &[]);
    assert_eq!(report.matches("warning: ").count(), 1, "{report}");
    assert!(
        report.contains("m.lock: 88 losses not believed"),
        "{report}"
    );
    assert!(
        report.contains("one pattern can name several: \"ubuntu-*\""),
        "{report}"
    );
    assert_eq!(
        report.matches("\n  *       ubuntu-f").count(),
        88,
        "{report}"
    );
    lock(&workspace, 0, &["--accept-shrink", "ubuntu-*"]);
}
