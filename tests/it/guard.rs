//! Tests of the loss guard of `lock`, through the binary: what happens if a source names fewer kernels than before.

mod moves;
mod sources;

use serde_json::{Value, json};
use support::workspace::Workspace;

/// A kernel entry of a list.
fn kernel(target: &str, release: &str) -> Value {
    json!({"target": target, "kernelrelease": release, "headers": [format!("http://example.org/{release}.rpm")]})
}

/// Returns `count` kernels of one target; each release is `before`, a number and `after`.
fn series(target: &str, before: &str, count: usize, after: &str) -> Vec<Value> {
    (1..=count)
        .map(|number| kernel(target, &format!("{before}{number}{after}")))
        .collect()
}

fn list(parts: &[&[Value]]) -> String {
    json!({ "Kernels": parts.concat() }).to_string()
}

fn target(name: &str, place: &str, more: &str) -> String {
    format!(
        "[[target]]\nname = \"{name}\"\nkernels = {{ from = \"kernel-crawler\", path = {{ amd64 = \"{place}\" }}{more} }}\n"
    )
}

fn matrix(targets: &[String]) -> String {
    format!("drivers = [\"8.1.0+driver\"]\n{}", targets.concat())
}

fn locked(list: &str) -> Workspace {
    let workspace = Workspace::new()
        .with("list.json", list)
        .with("m.toml", &matrix(&[target("*", "list.json", "")]));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    workspace
}

/// Refreshes the lock and asserts the exit code.
fn lock(workspace: &Workspace, code: u8, more: &[&str]) -> String {
    let report = workspace.run(&[&["lock", "m.toml"], more].concat());
    assert!(report.starts_with(&format!("exit {code}\n")), "{report}");
    report
}

fn count(workspace: &Workspace, what: &str) -> usize {
    workspace.get("m.lock").matches(what).count()
}

#[test]
fn series_that_vanishes_is_not_believed() {
    for (target, gone, stays, name) in [
        (
            "ol",
            ["5.4.17-", ".el8uek.x86_64"],
            ["3.10.0-", ".el7.x86_64"],
            "oracle8",
        ),
        (
            "centos",
            ["4.18.0-", ".el8.x86_64"],
            ["3.10.0-", ".el7.x86_64"],
            "centos el8",
        ),
        (
            "ubuntu-generic",
            ["5.4.0-", "-generic"],
            ["5.15.0-", "-generic"],
            "ubuntu-generic focal",
        ),
        (
            "amazonlinux2",
            ["5.10.1-", ".amzn2.x86_64"],
            ["4.14.1-", ".amzn2.x86_64"],
            "amazonlinux2 amzn2 5.10",
        ),
    ] {
        let gone = series(target, gone[0], 2, gone[1]);
        let stays = series(target, stays[0], 18, stays[1]);
        let workspace = locked(&list(&[&gone, &stays]));
        workspace.put("list.json", &list(&[&stays]));
        let report = lock(&workspace, 1, &[]);
        assert!(
            report.contains(&format!("--accept-shrink \"{name}\"")),
            "{report}"
        );
        assert_eq!(count(&workspace, "\"unconfirmed\":"), 2, "{report}");
        let plan = workspace.run(&["plan", "m.toml"]);
        assert!(plan.contains("\n2 kernels unconfirmed: "), "{plan}");
        let json = workspace.run(&["plan", "m.toml", "--format", "json"]);
        assert!(json.contains("\"unconfirmed_kernel_count\": 2"), "{json}");
        lock(&workspace, 0, &["--accept-shrink", name]);
        assert_eq!(count(&workspace, "\"gone\":"), 2);
    }
}

#[test]
fn loss_is_reported_and_accepted_by_the_target_name_of_the_list() {
    let old = series("oracle8", "5.4.17-", 3, ".el8uek.x86_64");
    let older = series("oracle8", "4.18.0-", 3, ".el8.x86_64");
    let other = series("oracle7", "3.10.0-", 20, ".el7.x86_64");
    let workspace = locked(&list(&[&old, &older, &other]));
    workspace.put("list.json", &list(&[&other]));
    let report = lock(&workspace, 1, &[]);
    assert!(report.contains("oracle8"), "{report}");
    lock(&workspace, 0, &["--accept-shrink", "oracle8"]);
    assert_eq!(count(&workspace, "\"gone\":"), 6);
    // Kernels of an accepted loss do not count as former kernels.
    workspace.put("list.json", &list(&[&other[1..]]));
    lock(&workspace, 0, &[]);
}

#[test]
fn kernels_replaced_by_a_newer_line_are_no_loss() {
    let own = series("debian", "6.1.0-", 8, "-amd64");
    let old = series("debian", "6.11.0-", 2, "~bpo12-amd64");
    let new = series("debian", "6.12.0-", 2, "~bpo12-amd64");
    let workspace = locked(&list(&[&own, &old]));
    workspace.put("list.json", &list(&[&own, &new]));
    lock(&workspace, 0, &[]);
    lock(&workspace, 0, &[]);
}

#[test]
fn few_old_kernels_are_no_loss() {
    let kernels = series("debian", "5.10.0-", 6, "-amd64");
    let workspace = locked(&list(&[&kernels]));
    // A third is gone.
    workspace.put("list.json", &list(&[&kernels[2..]]));
    lock(&workspace, 0, &[]);
    // Together with the first loss, half of the kernels are gone.
    workspace.put("list.json", &list(&[&kernels[3..]]));
    let report = lock(&workspace, 1, &[]);
    assert!(report.contains("  *       debian  all "), "{report}");
    // A loss of the newest kernels alone is suspicious.
    let workspace = locked(&list(&[&kernels]));
    workspace.put("list.json", &list(&[&kernels[..4]]));
    lock(&workspace, 1, &[]);
}

#[test]
fn interim_line_ends_when_there_is_a_newer_one() {
    let (interim, older, newer) = (
        series("ubuntu-azure", "5.13.0-", 18, "-azure"),
        series("ubuntu-azure", "5.4.0-", 9, "-azure"),
        series("ubuntu-azure", "5.15.0-", 9, "-azure"),
    );
    let workspace = locked(&list(&[&older, &interim, &newer]));
    workspace.put("list.json", &list(&[&older, &newer]));
    lock(&workspace, 0, &[]);
    assert_eq!(count(&workspace, "\"gone\":"), 18);
    // The kernels that left this way do not count as a loss on later nights.
    lock(&workspace, 0, &[]);
    workspace.put("list.json", &list(&[&older, &newer[1..]]));
    lock(&workspace, 0, &[]);
    // Without a newer line, the end of an interim line is a loss.
    let workspace = locked(&list(&[&older, &interim]));
    workspace.put("list.json", &list(&[&older]));
    let report = lock(&workspace, 1, &[]);
    assert!(
        report.contains("--accept-shrink \"ubuntu-azure 5.13\""),
        "{report}"
    );
}

#[test]
fn narrower_matrix_is_reported_and_is_no_loss() {
    let (el8, rocky) = (
        series("centos", "4.18.0-", 4, ".el8.x86_64"),
        series("rocky", "5.14.0-", 4, ".el9.x86_64"),
    );
    let all = list(&[&el8, &rocky]);
    let narrowed = "m.lock: the suites, flavours, limits or kinds of sources of `*` changed: 6 kernels dropped that they no \
                    longer include";
    for (more, dropped) in [
        (", latest = 1", Some(narrowed)),
        (", since = \"2030-01-01\"", None),
        (", match = \"4.18.0-4.*\"", None),
    ] {
        let workspace = locked(&all);
        workspace.put("m.toml", &matrix(&[target("*", "list.json", more)]));
        let report = lock(&workspace, 0, &[]);
        assert!(
            dropped.is_none_or(|dropped| report.contains(dropped)),
            "{report}"
        );
        assert_eq!(count(&workspace, "\"unconfirmed\":"), 0, "{report}");
    }
    // A target that vanishes at the same time is still a loss.
    let workspace = locked(&all);
    workspace.put("list.json", &list(&[&el8]));
    let text = matrix(&[target("*", "list.json", ", latest = 1")]);
    workspace.put("m.toml", &text);
    let report = lock(&workspace, 1, &[]);
    assert!(report.contains("--accept-shrink \"rocky\""), "{report}");
    assert_eq!(count(&workspace, "\"unconfirmed\":"), 4, "{report}");
    // A source of another kind that names no kernel is a loss of all kernels.
    let workspace = locked(&all);
    workspace.put("list.csv", "target,kernel_release\n");
    let csv = "[[target]]\nname = \"*\"\nkernels = { from = \"csv\", path = \"list.csv\" }\n";
    workspace.put("m.toml", &matrix(&[csv.to_owned()]));
    let report = lock(&workspace, 1, &[]);
    assert_eq!(count(&workspace, "\"unconfirmed\":"), 8, "{report}");
}

#[test]
fn kernels_of_a_removed_target_are_counted() {
    let (centos, rocky) = (
        series("centos", "4.18.0-", 4, ".el8.x86_64"),
        series("rocky", "5.14.0-", 3, ".el9.x86_64"),
    );
    let workspace = locked(&list(&[&centos, &rocky]));
    let [one, other] = ["centos", "rocky"].map(|name| target(name, "list.json", ""));
    workspace.put("m.toml", &matrix(&[one.clone(), other]));
    lock(&workspace, 0, &[]);
    workspace.put("m.toml", &matrix(&[one]));
    let report = lock(&workspace, 0, &[]);
    assert!(
        report.contains("m.lock: no [[target]] is `rocky` any more: 3 kernels dropped"),
        "{report}"
    );
}

#[test]
fn small_losses_add_up() {
    let kernels = series("centos", "4.18.0-", 30, ".el8.x86_64");
    let workspace = locked(&list(&[&kernels]));
    // 13 % of 30.
    workspace.put("list.json", &list(&[&kernels[4..]]));
    lock(&workspace, 0, &[]);
    workspace.put("list.json", &list(&[&kernels[7..]]));
    let report = lock(&workspace, 1, &[]);
    assert!(
        report.contains("all     amd64             30   23"),
        "{report}"
    );
    // The first night's loss stays accepted.
    assert_eq!(count(&workspace, "\"gone\":"), 4);
    assert_eq!(count(&workspace, "\"unconfirmed\":"), 3);
}

#[test]
fn losses_older_than_two_weeks_do_not_count() {
    let kernels = series("centos", "4.18.0-", 30, ".el8.x86_64");
    let workspace = locked(&list(&[&kernels]));
    workspace.put("list.json", &list(&[&kernels[4..]]));
    lock(&workspace, 0, &[]);
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let back = |days: i64| {
        today
            .saturating_sub(jiff::Span::new().days(days))
            .to_string()
    };
    let dated = |gone: i64| {
        let text = workspace.get("m.lock");
        let text = text.replace(
            &format!("\"first_seen\":\"{today}\""),
            &format!("\"first_seen\":\"{}\"", back(60)),
        );
        text.replace(
            &format!("\"gone\":\"{today}\""),
            &format!("\"gone\":\"{}\"", back(gone)),
        )
    };
    workspace.put("list.json", &list(&[&kernels[7..]]));
    for (days, code) in [(13, 1), (14, 0)] {
        let before = dated(days);
        let kept = workspace.get("m.lock");
        workspace.put("m.lock", &before);
        lock(&workspace, code, &[]);
        workspace.put("m.lock", &kept);
    }
}

#[test]
fn another_path_of_a_source_does_not_switch_the_guard_off() {
    let kernels = series("centos", "4.18.0-", 4, ".el8.x86_64");
    let workspace = locked(&list(&[&kernels]));
    workspace.put("other.json", "{}");
    workspace.put("m.toml", &matrix(&[target("*", "other.json", "")]));
    let report = lock(&workspace, 1, &[]);
    assert!(
        report.contains("all     amd64              4    0"),
        "{report}"
    );
    assert_eq!(count(&workspace, "\"unconfirmed\":"), 4);
}

#[test]
fn kernels_that_the_matrix_no_longer_selects_are_no_loss() {
    let (el8, el7) = (
        series("centos", "4.18.0-", 4, ".el8.x86_64"),
        series("centos", "3.10.0-", 4, ".el7.x86_64"),
    );
    let workspace = locked(&list(&[&el8, &el7]));
    workspace.put(
        "m.toml",
        &matrix(&[target("*", "list.json", ", match = \"3.*\"")]),
    );
    lock(&workspace, 0, &[]);
    assert_eq!(count(&workspace, "\"target\""), 4);
    workspace.put(
        "m.toml",
        &matrix(&[target("*", "list.json", ", latest = 1")]),
    );
    lock(&workspace, 0, &[]);
}

/// Sets the days in the lock back to 2024-02-29 and adds a digest to the packages.
fn age(workspace: &Workspace) {
    let today = jiff::Timestamp::now()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    let lock = workspace
        .get("m.lock")
        .replace(&today.to_string(), "2024-02-29");
    let digest = format!("\"sha256\":\"{}\",\"noted\":true}}]", "1".repeat(64));
    workspace.put(
        "m.lock",
        &lock.replace(".rpm\"}]", &format!(".rpm\",{digest}")),
    );
}

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

/// The name of a release accepts only losses of that release.
#[test]
fn release_of_oracle_does_not_stand_for_the_target() {
    let eight = series("oracle8", "5.4.17-", 4, ".el8uek.x86_64");
    let ten = series("oracle10", "6.12.0-", 4, ".el10uek.x86_64");
    let workspace = locked(&list(&[&eight, &ten]));
    workspace.put("list.json", "{}");
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

#[test]
fn unknown_targets_and_other_packages_are_left_out_by_rule() {
    let pam = json!({"target": "photonOS", "kernelrelease": "1.3.0-1.ph3",
        "headers": ["http://example.org/Linux-PAM-devel-1.3.0-1.ph3.x86_64.rpm"]});
    let kernels = [
        kernel("nixos", "6.1.1"),
        kernel("..", "6.1.1"),
        kernel("-rf", "6.1.1"),
        pam,
        json!({"target": "PhotonOS", "kernelrelease": "5.10.1-1.ph4",
            "headers": ["http://example.org/linux-devel-5.10.1-1.ph4.x86_64.rpm"]}),
        json!({"target": "Oracle8", "kernelrelease": "5.4.17-1.el8uek.x86_64"}),
        json!({"target": "AmazonLinux2", "kernelrelease": "5.10.1-1.amzn2.x86_64"}),
    ];
    let workspace = locked(&list(&[&kernels]));
    // Names that would be dangerous in paths are invalid entries.
    let report = lock(&workspace, 0, &[]);
    for name in ["..", "-rf"] {
        let reason =
            format!("invalid target `{name}`: the first character must be a letter or digit");
        assert!(report.contains(&reason), "{report}");
    }
    let plan = workspace.run(&["plan", "m.toml"]);
    assert!(plan.contains("Plan of 1 matrix: 3 kernels"), "{plan}");
    for known in [
        "photon_5.10.1-1.ph4",
        "ol_5.4.17-1.el8uek",
        "amazonlinux2_5.10.1",
    ] {
        assert!(plan.contains(known), "{plan}");
    }
    assert_eq!(plan.matches("\nunknown target ").count(), 1, "{plan}");
    assert!(plan.contains("no kernel package      1  Linux-PAM-devel-1.3.0-1.ph3.x86_64.rpm is not a kernel package"), "{plan}");
    // Entries that were left out are no loss when they vanish from the list.
    workspace.put("list.json", &list(&[&kernels[4..]]));
    let report = lock(&workspace, 0, &[]);
    assert_eq!(count(&workspace, "\"gone\":"), 0, "{report}");
    assert!(
        report.contains("m.lock  *             3     0     2 "),
        "{report}"
    );
}

#[test]
fn target_without_kernels_is_a_warning_and_with_locked_an_error() {
    let kernels = series("centos", "4.18.0-", 4, ".el8.x86_64");
    let workspace = locked(&list(&[&kernels]));
    workspace.put(
        "m.toml",
        &matrix(&[
            target("centos", "list.json", ""),
            target("rocky", "list.json", ""),
        ]),
    );
    let report = lock(&workspace, 0, &[]);
    assert!(
        report.contains("warning: this [[target]] finds no kernel: `rocky`\n --> m.toml:7:11"),
        "{report}"
    );
    assert!(workspace.run(&["plan", "m.toml"]).starts_with("exit 0\n"));
    let report = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
    assert!(
        report.contains("error: this [[target]] finds no kernel: `rocky`"),
        "{report}"
    );
}

/// A `[[target]]` whose only entries are packages of something else finds nothing.
#[test]
fn target_with_other_packages_only_finds_no_kernel() {
    let pam = json!({"target": "photon", "kernelrelease": "1.3.0-1.ph3",
        "headers": ["http://example.org/Linux-PAM-devel-1.3.0-1.ph3.x86_64.rpm"]});
    let workspace = Workspace::new()
        .with("list.json", &list(&[&[pam]]))
        .with("m.toml", &matrix(&[target("photon", "list.json", "")]));
    let report = lock(&workspace, 0, &[]);
    assert!(
        report.contains("warning: this [[target]] finds no kernel: `photon`")
            && report.contains("help: its source has only entries that `plan` leaves out (1)"),
        "{report}"
    );
    let report = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
}

#[test]
fn contradiction_between_two_targets_points_into_the_lock() {
    let one = |place: &str| json!({"target": "debian", "kernelrelease": "6.1.0-1-amd64", "headers": [place]});
    let workspace = Workspace::new()
        .with(
            "a.json",
            &list(&[&[one(
                "http://a/linux-headers-6.1.0-1-amd64_6.1.4-1_amd64.deb",
            )]]),
        )
        .with(
            "b.json",
            &list(&[&[one(
                "http://b/linux-headers-6.1.0-1-amd64_6.1.7-1_amd64.deb",
            )]]),
        )
        .with(
            "m.toml",
            &matrix(&[target("debian", "a.json", ""), target("d*", "b.json", "")]),
        );
    lock(&workspace, 0, &[]);
    let report = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
    assert!(
        report.contains("is listed twice with different header packages"),
        "{report}"
    );
    assert!(report.contains("--> m.lock:"), "{report}");
    for label in ["found for `d*`", "found for `debian`"] {
        assert!(report.contains(label), "{report}");
    }
    assert!(!report.contains("m.toml:"), "{report}");
}
