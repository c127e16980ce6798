//! Tests of kernels that move from one `[[target]]` of a matrix to another, through the binary.

use support::workspace::Workspace;

use super::sources::el8;
use super::{age, count, list, lock, matrix, series, target};

/// Returns the number of kernels in the lock with the day and digest of [`age`].
fn remembered(workspace: &Workspace) -> [usize; 2] {
    ["\"first_seen\":\"2024-02-29\"", "\"sha256\":\"1111"].map(|what| count(workspace, what))
}

#[test]
fn kernel_that_an_edit_moves_between_two_targets_keeps_its_history() {
    let old = [
        target("c*", "list.json", ", match = \"*el8*\""),
        target("centos", "list.json", ", match = \"*el9*\""),
    ];
    let edited = [
        target("c*", "list.json", ", match = \"*el7*\""),
        target("centos", "list.json", ", match = \"*el[89]*\""),
    ];
    let el7 = series("centos", "3.10.0-", 4, ".el7.x86_64");
    let el9 = series("centos", "5.14.0-", 4, ".el9.x86_64");
    for (before, after) in [(&old, &edited), (&edited, &old)] {
        let all = list(&[&el7, &el8(1, 4), &el9]);
        let workspace = Workspace::new()
            .with("list.json", &all)
            .with("m.toml", &matrix(before));
        lock(&workspace, 0, &[]);
        age(&workspace);
        workspace.put("m.toml", &matrix(after));
        let report = lock(&workspace, 0, &[]);
        assert_eq!(remembered(&workspace), [8, 8], "{report}");
    }
}

#[test]
fn kernel_that_a_list_renames_into_another_target_keeps_its_history() {
    let entry = |target: &str, release: &str, number: usize| {
        serde_json::json!({"target": target, "kernelrelease": release, "headers":
            [format!("http://example.org/linux-headers-5.15.0-{number}_5.15.0-{number}.rpm")]})
    };
    let all = |name: &str, end: &str| -> Vec<serde_json::Value> {
        (1..=6)
            .map(|number| entry(name, &format!("5.15.0-{number}{end}"), number))
            .collect()
    };
    for names in [["ubuntu", "ubuntu-generic"], ["ubuntu-generic", "ubuntu"]] {
        let workspace = Workspace::new()
            .with("list.json", &list(&[&all("ubuntu", "")]))
            .with(
                "m.toml",
                &matrix(&names.map(|name| target(name, "list.json", ""))),
            );
        lock(&workspace, 0, &[]);
        age(&workspace);
        workspace.put("list.json", &list(&[&all("ubuntu-generic", "-generic")]));
        let report = lock(&workspace, 0, &[]);
        assert_eq!(remembered(&workspace), [6, 6], "{report}");
        assert_eq!(count(&workspace, "\"target\""), 6, "{report}");
        assert_eq!(
            report.matches("ubuntu-generic 5.15.0-").count(),
            6,
            "{report}"
        );
    }
}
