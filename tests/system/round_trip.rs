//! Whole kernel lists are exported as dbg-go's files and imported again.

use support::workspace::Workspace;

/// Every kernel of both lists is the same after the export and the import.
#[test]
fn a_round_trip_through_driverkit_files_loses_nothing() {
    let workspace = Workspace::new();
    let lists = support::lists::find_or_make(workspace.path());
    let [amd64, arm64] = lists
        .paths
        .each_ref()
        .map(|path| path.to_string_lossy().into_owned());
    let report = workspace.run(&[
        "import",
        &format!("amd64={amd64}"),
        &format!("arm64={arm64}"),
        "--driver",
        "none",
        "--out",
        "m.toml",
    ]);
    assert!(
        report.contains("m.toml and m.lock: 6,434 kernels"),
        "{report}"
    );
    let report = workspace.run(&["plan", "m.toml", "--format", "driverkit", "--out", "tree"]);
    assert!(report.starts_with("exit 0"), "{report}");
    let report = workspace.run(&["import", "tree/driverkit/config", "--out", "back.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");

    let kernels = |name: &str| -> Vec<String> {
        let lock = workspace.get(name);
        let lines = lock.lines().skip(1);
        lines
            .map(|line| {
                let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
                let fields = line.as_object_mut().unwrap();
                fields.remove("source");
                // The `[[target]]` of the matrix that found the kernel.
                fields.remove("entry");
                let packages = line["packages"].as_array_mut().unwrap();
                packages.sort_by_key(|package| package["url"].as_str().unwrap().to_owned());
                packages.dedup();
                line.to_string()
            })
            .collect()
    };
    let (before, after) = (kernels("m.lock"), kernels("back.lock"));
    assert_eq!(before.len(), 6434);
    assert!(
        before == after,
        "{:?}",
        after
            .iter()
            .zip(&before)
            .find(|(after, before)| after != before)
    );
    assert!(workspace.get("back.toml").contains("drivers = [\"none\"]"));

    let report = workspace.run(&["import", "tree/driverkit/config", "--out", "back.toml"]);
    assert!(
        report.starts_with("exit 2") && report.contains("already exists"),
        "{report}"
    );
}
