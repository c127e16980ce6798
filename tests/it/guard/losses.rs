//! Tests of which losses of kernels are believed.

use super::{count, list, lock, locked, matrix, series, target};

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
