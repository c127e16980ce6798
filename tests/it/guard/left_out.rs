//! Tests of kernels that a lock has and no plan builds: unknown targets, other packages.

use serde_json::json;
use support::workspace::Workspace;

use super::{count, kernel, list, lock, locked, matrix, series, target};

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
