//! Tests of the loss guard for a `[[target]]` with several sources, of small losses and of `latest`, through the binary.

use support::workspace::Workspace;

use super::{count, list, lock, locked, matrix, series, target};

/// Returns a matrix whose only `[[target]]` reads these lists.
fn several(places: &[&str], more: &str) -> String {
    let sources = places.iter().map(|place| {
        format!("{{ from = \"kernel-crawler\", path = {{ amd64 = \"{place}\" }}{more} }}")
    });
    let sources: Vec<String> = sources.collect();
    matrix(&[format!(
        "[[target]]\nname = \"*\"\nkernels = [{}]\n",
        sources.join(", ")
    )])
}

pub(super) fn el8(first: usize, last: usize) -> Vec<serde_json::Value> {
    series("centos", "4.18.0-", last, ".el8.x86_64").split_off(first - 1)
}

#[test]
fn source_that_loses_everything_is_not_hidden_by_one_that_grows() {
    let workspace = Workspace::new()
        .with("a.json", &list(&[&el8(1, 4)]))
        .with("b.json", &list(&[&el8(11, 40)]))
        .with("m.toml", &several(&["b.json", "a.json"], ""));
    lock(&workspace, 0, &[]);
    assert_eq!(count(&workspace, "\"source\":\"kernel-crawler\""), 30);
    assert_eq!(count(&workspace, "\"source\":\"kernel-crawler 2\""), 4);
    let before = workspace.get("m.lock");
    workspace.put("a.json", "{}");
    workspace.put("b.json", &list(&[&el8(11, 44)]));
    for _ in 0..2 {
        let report = lock(&workspace, 1, &[]);
        assert!(
            report.contains(
                "  *: kernel-crawler 2 (a.json)  centos  all     amd64              4    0"
            ),
            "{report}"
        );
        assert!(
            report.contains("--accept-shrink \"centos from kernel-crawler 2\""),
            "{report}"
        );
        assert_eq!(count(&workspace, "\"unconfirmed\":"), 4, "{report}");
    }
    let report = workspace.run(&["lock", "m.toml", "--format", "json"]);
    assert!(
        report.contains("\"source\": \"kernel-crawler 2\""),
        "{report}"
    );
    for name in ["centos from kernel-crawler 2", "centos", "* from *2"] {
        workspace.put("m.lock", &before);
        lock(&workspace, 0, &["--accept-shrink", name]);
        assert_eq!(count(&workspace, "\"gone\":"), 4, "{name}");
    }
    workspace.put("m.lock", &before);
    lock(
        &workspace,
        2,
        &["--accept-shrink", "centos from kernel-crawler"],
    );
}

/// A kernel that another source still lists is not lost.
#[test]
fn kernels_of_a_source_that_another_one_lists_are_no_loss() {
    let workspace = Workspace::new()
        .with("a.json", &list(&[&el8(1, 10)]))
        .with("b.json", &list(&[&el8(3, 30)]))
        .with("m.toml", &several(&["a.json", "b.json"], ""));
    lock(&workspace, 0, &[]);
    assert_eq!(
        count(
            &workspace,
            "\"source\":\"kernel-crawler, kernel-crawler 2\""
        ),
        8
    );
    let before = workspace.get("m.lock");
    workspace.put("a.json", &list(&[&el8(1, 2)]));
    lock(&workspace, 0, &[]);
    assert_eq!(count(&workspace, "\"source\":\"kernel-crawler\""), 2);
    // The kernels that only the empty list had are in doubt.
    workspace.put("m.lock", &before);
    workspace.put("a.json", "{}");
    let report = lock(&workspace, 1, &[]);
    assert!(report.contains("kernel-crawler (a.json)"), "{report}");
    assert_eq!(count(&workspace, "\"unconfirmed\":"), 2, "{report}");
}

/// Locks of older versions do not tell two lists apart.
#[test]
fn lock_without_numbered_sources_raises_no_doubt() {
    let workspace = Workspace::new()
        .with("a.json", &list(&[&el8(1, 4)]))
        .with("b.json", &list(&[&el8(11, 40)]))
        .with("m.toml", &several(&["a.json", "b.json"], ""));
    lock(&workspace, 0, &[]);
    let old = workspace
        .get("m.lock")
        .replace("\"kernel-crawler 2\"", "\"kernel-crawler\"");
    workspace.put("m.lock", &old);
    workspace.put("b.json", &list(&[&el8(12, 40)]));
    lock(&workspace, 0, &[]);
    assert_eq!(count(&workspace, "\"source\":\"kernel-crawler 2\""), 29);
    assert_eq!(count(&workspace, "\"gone\":"), 1);
    // The order of the lists is no loss either.
    workspace.put("m.toml", &several(&["b.json", "a.json"], ""));
    workspace.put("b.json", &list(&[&el8(13, 40)]));
    lock(&workspace, 0, &[]);
}

/// Kernels that only another source gained do not replace those that a source loses night after night.
#[test]
fn small_losses_of_a_source_add_up_while_another_grows() {
    let workspace = Workspace::new()
        .with("a.json", &list(&[&el8(1, 30)]))
        .with("b.json", &list(&[&el8(101, 130)]))
        .with("m.toml", &several(&["a.json", "b.json"], ""));
    lock(&workspace, 0, &[]);
    workspace.put("a.json", &list(&[&el8(5, 30)]));
    workspace.put("b.json", &list(&[&el8(101, 134)]));
    lock(&workspace, 0, &[]);
    workspace.put("a.json", &list(&[&el8(9, 30)]));
    workspace.put("b.json", &list(&[&el8(101, 138)]));
    let report = lock(&workspace, 1, &[]);
    assert!(
        report.contains("  *: kernel-crawler (a.json)  centos  all     amd64             30   22"),
        "{report}"
    );
    assert_eq!(report.matches("\n  *").count(), 1, "{report}");
}

/// Sets all days in the lock back by one.
fn next_night(workspace: &Workspace) {
    let text = workspace.get("m.lock");
    let mut aged = String::with_capacity(text.len());
    let mut rest = &*text;
    let marks = ["\"first_seen\":\"", "\"gone\":\"", "\"unconfirmed\":\""];
    while let Some((start, mark)) = marks
        .iter()
        .filter_map(|mark| Some((rest.find(mark)?, mark)))
        .min()
    {
        let (before, day) = rest.split_at(start + mark.len());
        let (day, after) = day.split_at(10);
        let day: jiff::civil::Date = day.parse().unwrap();
        aged.push_str(before);
        aged.push_str(&day.yesterday().unwrap().to_string());
        rest = after;
    }
    aged.push_str(rest);
    workspace.put("m.lock", &aged);
}

/// Ten nights of a series that loses 13 % each night: believed on the first night only.
#[test]
fn ten_nights_of_small_losses_are_not_believed() {
    const NIGHTS: usize = 10;
    const EACH: usize = 4;
    let azure = |from: usize, to: usize| {
        series("ubuntu-azure", "5.13.0-", to, "-azure").split_off(from - 1)
    };
    let newer = series("ubuntu-azure", "5.15.0-", 90, "-azure");
    // An interim line of Ubuntu, and a release of CentOS.
    for is_interim in [true, false] {
        // Whether other kernels come and go between.
        for has_visitors in [false, true] {
            let kernels = |from: usize, to: usize| {
                if is_interim {
                    azure(from, to)
                } else {
                    el8(from, to)
                }
            };
            let last = 30;
            let workspace = locked(&list(&[&newer, &kernels(1, last)]));
            let mut codes = Vec::new();
            for night in 1..=NIGHTS {
                next_night(&workspace);
                let stay = kernels((night * EACH + 1).min(last), last);
                // Each visitor stays for one night.
                let visitors = if has_visitors && night % 2 == 1 {
                    kernels(last + night, last + night + EACH - 1)
                } else {
                    Vec::new()
                };
                workspace.put("list.json", &list(&[&newer, &stay, &visitors]));
                let report = workspace.run(&["lock", "m.toml"]);
                codes.push(report.starts_with("exit 1\n"));
            }
            let kept = last - count(&workspace, "\"gone\":");
            let what = format!("interim {is_interim}, visitors {has_visitors}: {codes:?}");
            assert!(codes[3..].iter().all(|is_doubted| *is_doubted), "{what}");
            // 80 % of the best night.
            assert!(has_visitors || kept >= 24, "{what}: {kept}");
            assert!(count(&workspace, "\"unconfirmed\":") >= 12, "{what}");
        }
    }
}

/// Kernels that are gone stay in the lock for as long as they count, whatever `keep_gone_days` is.
#[test]
fn small_losses_add_up_if_gone_kernels_are_not_kept() {
    let workspace = locked(&list(&[&el8(1, 30)]));
    let text = workspace.get("m.toml");
    workspace.put("m.toml", &format!("{text}\n[lock]\nkeep_gone_days = 0\n"));
    workspace.put("list.json", &list(&[&el8(5, 30)]));
    lock(&workspace, 0, &[]);
    next_night(&workspace);
    next_night(&workspace);
    workspace.put("list.json", &list(&[&el8(8, 30)]));
    lock(&workspace, 1, &[]);
}

/// An interim line that loses a part of its kernels is judged like any other, until it is gone as a whole.
#[test]
fn interim_line_that_shrinks_is_in_doubt_until_it_is_gone() {
    let newer = series("ubuntu-azure", "5.15.0-", 90, "-azure");
    let interim = series("ubuntu-azure", "5.13.0-", 18, "-azure");
    let workspace = locked(&list(&[&newer, &interim]));
    workspace.put("list.json", &list(&[&newer, &interim[10..]]));
    let report = lock(&workspace, 1, &[]);
    assert!(
        report.contains("--accept-shrink \"ubuntu-azure 5.13\""),
        "{report}"
    );
    assert_eq!(count(&workspace, "\"unconfirmed\":"), 10);
    workspace.put("list.json", &list(&[&newer]));
    lock(&workspace, 0, &[]);
    assert_eq!(count(&workspace, "\"gone\":"), 18);
}

/// Returns the numbers of the kernels in the lock that plans build.
fn built(workspace: &Workspace) -> Vec<usize> {
    let plan = workspace.run(&["plan", "m.toml", "--format", "json"]);
    let plan = plan.split_once("--- out\n").unwrap().1;
    let plan: serde_json::Value =
        serde_json::from_str(plan.split("--- err").next().unwrap()).unwrap();
    let mut numbers: Vec<usize> = plan["builds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|build| {
            let release = build["kernel_release"].as_str().unwrap();
            let number = release.split_once("4.18.0-").unwrap().1;
            number.split('.').next().unwrap().parse().unwrap()
        })
        .collect();
    numbers.sort_unstable();
    numbers
}

fn limited(count: usize) -> String {
    matrix(&[target("*", "list.json", &format!(", latest = {count}"))])
}

#[test]
fn latest_does_not_slide_to_older_kernels_while_newer_ones_are_missing() {
    let workspace = Workspace::new()
        .with("list.json", &list(&[&el8(1, 20)]))
        .with("m.toml", &limited(5));
    lock(&workspace, 0, &[]);
    assert_eq!(built(&workspace), [16, 17, 18, 19, 20]);
    workspace.put("list.json", &list(&[&el8(1, 16)]));
    for _ in 0..2 {
        let report = lock(&workspace, 1, &[]);
        assert!(
            report.contains("  *       centos  all     amd64              5    1"),
            "{report}"
        );
        assert_eq!(built(&workspace), [16, 17, 18, 19, 20]);
        assert_eq!(count(&workspace, "\"target\""), 5, "{report}");
    }
    // New kernels are added; kernels that are still listed stay.
    let with_new = [el8(1, 16), el8(21, 21)].concat();
    workspace.put("list.json", &list(&[&with_new]));
    lock(&workspace, 1, &[]);
    assert_eq!(built(&workspace), [16, 17, 18, 19, 20, 21]);
    // After the loss is accepted, older kernels take the free places.
    lock(&workspace, 0, &["--accept-shrink", "centos"]);
    assert_eq!(built(&workspace), [13, 14, 15, 16, 21]);
    assert_eq!(count(&workspace, "\"gone\":"), 4);
}

/// A wider `latest` explains no loss.
#[test]
fn wider_latest_does_not_hide_a_loss_and_keeps_the_missing_kernels() {
    let workspace = Workspace::new()
        .with("list.json", &list(&[&el8(1, 20)]))
        .with("m.toml", &limited(4));
    lock(&workspace, 0, &[]);
    workspace.put("m.toml", &limited(6));
    workspace.put("list.json", &list(&[&el8(1, 17)]));
    lock(&workspace, 1, &[]);
    assert_eq!(built(&workspace), [15, 16, 17, 18, 19, 20]);
    assert_eq!(count(&workspace, "\"unconfirmed\":"), 3);
    // A narrower one drops the oldest ones.
    workspace.put("m.toml", &limited(2));
    lock(&workspace, 1, &[]);
    assert_eq!(count(&workspace, "\"unconfirmed\":"), 3);
    workspace.put("list.json", &list(&[&el8(1, 20)]));
    lock(&workspace, 0, &[]);
    assert_eq!(built(&workspace), [19, 20]);
}

/// Kernels for which newer ones leave no room are no loss of their release.
#[test]
fn kernels_that_newer_ones_displace_are_no_loss() {
    let el9 = series("centos", "5.14.0-", 6, ".el9.x86_64");
    let workspace = Workspace::new()
        .with("list.json", &list(&[&el8(1, 20)]))
        .with("m.toml", &limited(4));
    lock(&workspace, 0, &[]);
    workspace.put("list.json", &list(&[&el8(1, 20), &el9]));
    lock(&workspace, 0, &[]);
    assert_eq!(count(&workspace, "\"gone\":"), 4);
    lock(&workspace, 0, &[]);
}

/// If one of two lists cannot be read, the other one does not fill the places of its missing kernels.
#[test]
fn latest_does_not_slide_while_another_source_fails() {
    let workspace = Workspace::new()
        .with("a.json", &list(&[&el8(1, 20)]))
        .with(
            "b.json",
            &list(&[&series("rocky", "5.14.0-", 2, ".el9.x86_64")]),
        )
        .with("m.toml", &several(&["a.json", "b.json"], ", latest = 3"));
    lock(&workspace, 0, &[]);
    workspace.put("a.json", &list(&[&el8(1, 18)]));
    std::fs::remove_file(workspace.path().join("b.json")).unwrap();
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(!report.starts_with("exit 0\n"), "{report}");
    assert_eq!(count(&workspace, "\"target\""), 5, "{report}");
    assert_eq!(count(&workspace, "4.18.0-20."), 2, "{report}");
}
