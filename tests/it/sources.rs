//! Tests of sources of kernels and the related commands, through the binary.

use insta::assert_snapshot;
use support::locks;
use support::workspace::Workspace;

fn matrix(name: &str, kernels: &str) -> String {
    format!(
        "drivers = [\"8.1.0+driver\"]\narchitectures = [\"amd64\", \"arm64\"]\n[[target]]\nname = \"{name}\"\nkernels = {kernels}\n"
    )
}

/// Returns the kernels of `m.lock`: identity, number of packages, source.
fn locked(workspace: &Workspace) -> Vec<String> {
    let kernel = |kernel: &serde_json::Value| {
        let (name, source) = (locks::name(kernel), kernel["source"].as_str().unwrap());
        format!("{name}: {} by {source}", locks::urls(kernel).len())
    };
    locks::lines(workspace, "m.lock")
        .iter()
        .map(kernel)
        .collect()
}

/// Returns the standard output in a report, without standard error.
fn json_of(report: &str) -> &str {
    let (_, output) = report.split_once("--- out\n").unwrap();
    output.split("--- err\n").next().unwrap()
}

#[test]
fn driverkit_directories_are_read() {
    let workspace = Workspace::new()
        .with("m.toml", &matrix("*", r#"{ from = "driverkit", path = "config" }"#))
        .with(
            "config/8.1.0+driver/x86_64/centos_4.18.0-80.el8.x86_64_1.yaml",
            "kernelversion: \"1\"\nkernelrelease: 4.18.0-80.el8.x86_64\ntarget: centos\narchitecture: amd64\noutput:\n  module: output/8.1.0+driver/x86_64/falco_centos_4.18.0-80.el8.x86_64_1.ko\nkernelurls:\n  - http://example.org/kernel-devel-4.18.0-80.el8.x86_64.rpm\n",
        )
        // Numbers without quotes keep their spelling.
        .with("config/8.1.0+driver/aarch64/vanilla_6.10_7.0.yaml", "kernelversion: 7.0\nkernelrelease: 6.10\ntarget: vanilla\narchitecture: arm64\nkernelconfigdata: Q09ORklHX1g9eQo=\nkernelurls: http://example.org/a, http://example.org/b\n")
        .with("config/9.0.0+driver/x86_64/centos_4.18.0-80.el8.x86_64_1.yaml", "kernelrelease: 4.18.0-80.el8.x86_64\ntarget: centos\narchitecture: amd64\nkernelurls: [http://example.org/kernel-devel-4.18.0-80.el8.x86_64.rpm]\n")
        .with("config/README.md", "no kernel");
    assert_snapshot!(workspace.run(&["lock", "m.toml"]), @r"
    exit 0
    --- out
    LOCK    TARGET  KERNELS  CAME  WENT  MOVED  RENAMED  CHANGED  UNCONFIRMED
    m.lock  *             2     2     0      0        0        0            0
    ");
    assert_snapshot!(locked(&workspace).join("\n"), @r"
    centos 4.18.0-80.el8.x86_64 #1 amd64: 1 by driverkit
    vanilla 6.10 #7.0 arm64: 2 by driverkit
    ");
}

#[test]
fn csv_and_text_files_are_read() {
    let workspace = Workspace::new()
        .with("m.toml", &matrix("*", r#"{ from = "csv", path = "k.csv" }"#))
        .with("k.csv", "target,kernelrelease,version,arch,headers\nol,4.18.0-80.el8.x86_64,1,x86_64,http://example.org/a.rpm http://example.org/b.rpm\ncentos,5.14.0-1.el9,,,\n");
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    assert_snapshot!(locked(&workspace).join("\n"), @r"
    centos 5.14.0-1.el9 #1 amd64: 0 by csv
    centos 5.14.0-1.el9 #1 arm64: 0 by csv
    ol 4.18.0-80.el8.x86_64 #1 amd64: 2 by csv
    ");
    for (text, expected) in [
        (
            "release,releese\n",
            &[
                "unknown column `releese`",
                "did you mean `release`?",
                "k.csv:1:1",
            ][..],
        ),
        ("target\nol\n", &["missing column `release`", "k.csv:1:1"]),
        (
            "target,release\nol,\n",
            &["column `release` is empty", "k.csv:2:1"],
        ),
        (
            "<<<<<<< ours\nrelease\n",
            &["a merge conflict that nobody has resolved", "k.csv:1:1"],
        ),
        (
            "release,kernelrelease\n",
            &["duplicate column `release`", "k.csv:1:1"],
        ),
        ("<!DOCTYPE html>\n<p>Not found", &["it is a web page"]),
        (
            "target,release\nol,5.14.0-1\nol,bad release\n\nol,_\n",
            &[
                "invalid kernel release `bad release`: ' ' is not allowed",
                "k.csv:3:1",
                "`_` does not start",
                "k.csv:5:1",
            ],
        ),
        (
            "target,release\nol,5.14.0-1\nol\n",
            &["expected 2 cells as in the first line, got 1", "k.csv:3:1"],
        ),
        (
            "release\n<<<<<<< ours\n5.14.0-1\n=======\n5.14.0-2\n>>>>>>> theirs\n",
            &["a merge conflict that nobody has resolved", "k.csv:2:1"],
        ),
    ] {
        workspace.put("k.csv", text);
        let report = workspace.run(&["lock", "m.toml"]);
        assert!(report.starts_with("exit 2"), "{report}");
        for expected in expected {
            assert!(report.contains(expected), "{expected}: {report}");
        }
    }
    assert_eq!(locked(&workspace).len(), 3, "the lock must not change");

    workspace.put(
        "m.toml",
        &matrix("vanilla", r#"{ from = "text", path = "k.txt" }"#),
    );
    workspace.put("k.txt", "# mine\n6.1.55 1 arm64\n6.6.1  # both\n");
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    assert_snapshot!(locked(&workspace).join("\n"), @r"
    vanilla 6.1.55 #1 arm64: 0 by text
    vanilla 6.6.1 #1 amd64: 0 by text
    vanilla 6.6.1 #1 arm64: 0 by text
    ");
    for (text, expected) in [
        (
            "# mine\n6.6 1 arm64 more\n",
            "unexpected `more` after release, version and architecture",
        ),
        (
            "6.6.1\n6.6.2 ~root\n",
            "`~root` does not start with a digit",
        ),
        ("6.6.1\n>>>>>>> theirs\n", "a merge conflict"),
    ] {
        workspace.put("k.txt", text);
        let report = workspace.run(&["lock", "m.toml"]);
        assert!(
            report.starts_with("exit 2")
                && report.contains(expected)
                && report.contains("k.txt:2:1"),
            "{report}"
        );
    }
}

#[test]
fn kernels_of_several_sources_are_merged() {
    let workspace = Workspace::new()
        .with(
            "m.toml",
            &matrix(
                "centos",
                r#"[
    { release = "5.14.0-1.el9.x86_64", architecture = "amd64", headers = ["mine.rpm"] },
    { from = "csv", path = "k.csv" },
    { from = "kernel-crawler", path = { amd64 = "list.json" } },
]"#,
            ),
        )
        .with("k.csv", "release,architecture,headers\n4.18.0-80.el8.x86_64,amd64,\n5.14.0-1.el9.x86_64,amd64,http://csv/a.rpm\n")
        .with(
            "list.json",
            r#"{"centos": [
                {"kernelrelease": "4.18.0-80.el8.x86_64", "kernelversion": 1, "target": "centos", "headers": ["http://list/b.rpm"]},
                {"kernelrelease": "4.18.0-90.el8.x86_64", "kernelversion": 1, "target": "centos", "headers": ["http://list/c.rpm"]},
                {"kernelrelease": "4.18.0-90.el8.x86_64", "kernelversion": 1, "target": "ol", "headers": []}]}"#,
        );
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    assert_snapshot!(locked(&workspace).join("\n"), @r"
    centos 4.18.0-80.el8.x86_64 #1 amd64: 1 by csv, kernel-crawler
    centos 4.18.0-90.el8.x86_64 #1 amd64: 1 by kernel-crawler
    centos 5.14.0-1.el9.x86_64 #1 amd64: 1 by csv
    ");
    let plan = workspace.run(&["plan", "m.toml", "--locked", "--format", "json"]);
    let plan: serde_json::Value = serde_json::from_str(json_of(&plan)).unwrap();
    let builds = plan["builds"].as_array().unwrap();
    assert_eq!(builds.len(), 3);
    let mine = builds
        .iter()
        .find(|build| build["kernel_release"] == "5.14.0-1.el9.x86_64")
        .unwrap();
    assert_eq!(mine["source"], "inline, csv");
    assert_eq!(mine["packages"][0]["url"], "mine.rpm");
}

#[test]
fn since_selects_kernels_by_their_first_seen_day() {
    let list = |numbers: &[u32]| {
        let entries: Vec<String> = numbers
            .iter()
            .map(|number| format!(r#"{{"kernelrelease": "5.4.{number}-1", "target": "centos"}}"#))
            .collect();
        format!(r#"{{"centos": [{}]}}"#, entries.join(", "))
    };
    let kernels = |more: &str| {
        matrix(
            "centos",
            &format!(r#"{{ from = "kernel-crawler", path = {{ amd64 = "list.json" }}{more} }}"#),
        )
    };
    let workspace = Workspace::new()
        .with("list.json", &list(&[1]))
        .with("m.toml", &kernels(""));
    workspace.run(&["lock", "m.toml"]);
    let lock = workspace.get("m.lock");
    let (start, _) = lock.split_once("\"first_seen\":\"").unwrap();
    workspace.put(
        "m.lock",
        &format!("{start}\"first_seen\":\"2020-01-01\"}}\n"),
    );
    workspace.put("list.json", &list(&[1, 2]));
    workspace.put("m.toml", &kernels(", since = \"2020-01-02\""));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    assert_eq!(
        locked(&workspace),
        ["centos 5.4.2-1 #1 amd64: 0 by kernel-crawler"]
    );
    workspace.put("m.toml", &kernels(", since = \"yesterday\""));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.contains("invalid date `yesterday`"), "{report}");
}

#[test]
fn exported_files_have_dbg_gos_format() {
    let workspace = Workspace::new().with(
        "m.toml",
        "drivers = [\"8.1.0+driver\"]\nartifacts = [\"module\", \"probe\"]\n[[target]]\nname = \"minikube\"\nkernels = [{ release = \"5.10.57\", version = \"1_1.26.0\", config = \"c\" }]\n[[target]]\nname = \"centos\"\nkernels = [{ release = \"4.18.0-80.el8.x86_64\", headers = [\"http://b/b.rpm\", \"http://a/a.rpm\"] }, { release = \"2.6.32-71.el6.x86_64\", headers = [\"http://a/c.rpm\"] }]\n",
    ).with("c", "CONFIG_X=y\n");
    let report = workspace.run(&["plan", "m.toml", "--format", "driverkit", "--out", "."]);
    assert!(report.starts_with("exit 0"), "{report}");
    let folder = "driverkit/config/8.1.0+driver/x86_64";
    assert_snapshot!(workspace.get(&format!("{folder}/centos_4.18.0-80.el8.x86_64_1.yaml")), @r#"
    kernelversion: "1"
    kernelrelease: 4.18.0-80.el8.x86_64
    target: centos
    architecture: amd64
    output:
      module: output/8.1.0+driver/x86_64/falco_centos_4.18.0-80.el8.x86_64_1.ko
      probe: output/8.1.0+driver/x86_64/falco_centos_4.18.0-80.el8.x86_64_1.o
    kernelurls:
    - http://a/a.rpm
    - http://b/b.rpm
    "#);
    // A kernel below the support floors, for which nothing can be built.
    assert_snapshot!(workspace.get(&format!("{folder}/centos_2.6.32-71.el6.x86_64_1.yaml")), @r#"
    kernelversion: "1"
    kernelrelease: 2.6.32-71.el6.x86_64
    target: centos
    architecture: amd64
    output: {}
    kernelurls:
    - http://a/c.rpm
    "#);
    assert_snapshot!(workspace.get(&format!("{folder}/minikube_5.10.57_1_1.26.0.yaml")), @r#"
    kernelversion: "1_1.26.0"
    kernelrelease: "5.10.57"
    target: minikube
    architecture: amd64
    output:
      module: output/8.1.0+driver/x86_64/falco_minikube_5.10.57_1_1.26.0.ko
      probe: output/8.1.0+driver/x86_64/falco_minikube_5.10.57_1_1.26.0.o
    kernelconfigdata: Q09ORklHX1g9eQo=
    "#);
}
