//! Tests of dbg-go's tree: `import`, `validate` and `from = "driverkit"`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use driverkit_matrix::diagnostic::SourceFile;
use driverkit_matrix::yaml;
use insta::assert_snapshot;
use serde_json::{Value, json};

use support::workspace::Workspace;

/// Returns the path and content of a file as dbg-go writes it, for a kernel release and the wanted artifacts.
fn file(version: &str, release: &str, artifacts: &[&str], more: &str) -> (String, String) {
    let name = format!("centos_{release}.x86_64_1");
    let output = |artifact: &str, extension: &str| {
        if artifacts.contains(&artifact) {
            format!("output/{version}/x86_64/falco_{name}.{extension}")
        } else {
            "\"\"".to_owned()
        }
    };
    let (module, probe) = (output("module", "ko"), output("probe", "o"));
    (
        format!("config/{version}/x86_64/{name}.yaml"),
        format!(
            "kernelversion: 1\nkernelrelease: {release}.x86_64\ntarget: centos\narchitecture: amd64\noutput:\n  module: {module}\n  probe: {probe}\nkernelurls:\n  - http://example.org/kernel-devel-{release}.x86_64.rpm\n{more}"
        ),
    )
}

const BOTH: &[&str] = &["module", "probe"];
const MODULE: &[&str] = &["module"];

#[expect(
    clippy::disallowed_methods,
    reason = "thousands of files, which need not be durable"
)]
fn workspace_of(files: impl IntoIterator<Item = (String, String)>) -> Workspace {
    let workspace = Workspace::new();
    for (path, text) in files {
        let path = workspace.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    workspace
}

/// Returns every file below a directory by its path, without parts that carry no meaning: empty outputs, quotes.
fn tree(folder: &Path) -> BTreeMap<String, Value> {
    let files = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap);
    files
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let path = entry.path();
            let text = std::fs::read_to_string(path).unwrap();
            let source = SourceFile {
                path: path.to_owned(),
                text,
            };
            let mut value: Value = yaml::read(&Arc::new(source)).unwrap();
            value["kernelversion"] = json!(value["kernelversion"].to_string().replace('"', ""));
            let output = value["output"].as_object_mut().unwrap();
            output.retain(|_, path| path != "");
            let path = path.strip_prefix(folder).unwrap();
            (path.to_string_lossy().into_owned(), value)
        })
        .collect()
}

fn assert_comes_back(workspace: &Workspace) {
    let report = workspace.run(&["import", "config", "--out", "m.toml"]);
    assert!(report.starts_with("exit 0"), "{report}");
    let report = workspace.run(&[
        "plan",
        "m.toml",
        "--locked",
        "--format",
        "driverkit",
        "--out",
        "back",
    ]);
    assert!(report.starts_with("exit 0"), "{report}");
    let before = tree(&workspace.path().join("config"));
    let after = tree(&workspace.path().join("back/driverkit/config"));
    let lost: Vec<_> = before
        .keys()
        .filter(|path| !after.contains_key(*path))
        .collect();
    assert!(
        lost.is_empty(),
        "{} files are missing, for example {:?}",
        lost.len(),
        lost.first()
    );
    assert_eq!(before.len(), after.len());
    for (path, file) in &before {
        assert_eq!(&after[path], file, "{path}");
    }
}

/// Ten files in three versions: each kernel is built for the versions that have a file for it, and for the artifacts
/// that the file names.
#[test]
fn a_tree_is_planned_and_exported_unchanged() {
    let workspace = workspace_of([
        file("9.0.0+driver", "4.18.0-1.el8", BOTH, ""),
        file("9.0.0+driver", "4.18.0-2.el8", BOTH, ""),
        file("9.0.0+driver", "4.18.0-3.el8", MODULE, ""),
        file("9.0.0+driver", "2.6.32-1.el6", &[], ""),
        file("9.0.1+driver", "4.18.0-1.el8", BOTH, ""),
        file("9.0.1+driver", "4.18.0-2.el8", BOTH, ""),
        file("9.0.1+driver", "4.18.0-4.el8", &["probe"], ""),
        file("10.2.0+driver", "4.18.0-1.el8", MODULE, ""),
        file("10.2.0+driver", "4.18.0-4.el8", MODULE, ""),
        file("10.2.0+driver", "4.18.0-5.el8", &[], ""),
    ]);
    assert_comes_back(&workspace);
    assert_snapshot!(workspace.get("m.toml"), @r#"
    drivers = ["9.0.0+driver", "9.0.1+driver", "10.2.0+driver"]
    architectures = ["amd64"]

    [[target]]
    name = "*"
    drivers = ["10.2.0+driver"]
    artifacts = []
    kernels = { from = "driverkit", path = "config/10.2.0+driver", outputs = [] }

    [[target]]
    name = "*"
    drivers = ["10.2.0+driver"]
    artifacts = ["module"]
    kernels = { from = "driverkit", path = "config/10.2.0+driver", outputs = ["module"] }

    [[target]]
    name = "*"
    drivers = ["9.0.0+driver", "9.0.1+driver"]
    artifacts = ["module", "probe"]
    kernels = { from = "driverkit", path = "config/9.0.1+driver", outputs = ["module", "probe"] }

    [[target]]
    name = "*"
    drivers = ["9.0.1+driver"]
    artifacts = ["probe"]
    kernels = { from = "driverkit", path = "config/9.0.1+driver", outputs = ["probe"] }

    [[target]]
    name = "*"
    drivers = ["9.0.0+driver"]
    artifacts = []
    kernels = { from = "driverkit", path = "config/9.0.0+driver", outputs = [] }

    [[target]]
    name = "*"
    drivers = ["9.0.0+driver"]
    artifacts = ["module"]
    kernels = { from = "driverkit", path = "config/9.0.0+driver", outputs = ["module"] }
    "#);
    let plan = workspace.run(&["plan", "m.toml", "--locked", "--format", "json"]);
    let (_, plan) = plan.split_once("--- out\n").unwrap();
    let plan = plan.split("--- err\n").next().unwrap();
    let plan: Value = serde_json::from_str(plan).unwrap();
    assert_eq!(
        (&plan["build_count"], &plan["artifact_count"]),
        (&json!(8), &json!(12))
    );
}

#[test]
fn a_tree_of_four_versions_is_exported_unchanged() {
    let versions = [
        "8.1.0+driver",
        "9.0.0+driver",
        "9.1.0+driver",
        "10.2.0+driver",
    ];
    let files = versions.iter().enumerate().flat_map(|(position, version)| {
        (0..150).map(move |number| {
            // In each version, some releases are new and some kernels want other artifacts.
            let artifacts = match number % 3 {
                _ if position == 3 => MODULE,
                0 => MODULE,
                _ => BOTH,
            };
            let release = format!("4.18.0-{}.el8", number + position);
            file(version, &release, artifacts, "")
        })
    });
    assert_comes_back(&workspace_of(files));
}

#[test]
fn names_and_settings_of_files_are_imported() {
    let (path, text) = file(
        "9.0.0+driver",
        "4.18.0-1.el8",
        BOTH,
        "gccversion: 8\nbuilderimage: my/builder:1\nmoduledevicename: acme\nrepo-org: acme\n",
    );
    let workspace = workspace_of([(path, text.replace("/falco_", "/scap_"))]);
    let report = workspace.run(&["import", "config", "--out", "m.toml"]);
    assert_snapshot!(report, @"
    exit 1
    --- err
    `repo-org` of 1 file is not imported: config/9.0.0+driver/x86_64/centos_4.18.0-1.el8.x86_64_1.yaml
    m.toml and m.lock: 1 kernel
    ");
    assert_snapshot!(workspace.get("m.toml"), @r#"
    drivers = ["9.0.0+driver"]
    architectures = ["amd64"]

    [driver."9.0.0+driver"]
    module_name = "scap"
    device_name = "acme"

    [[target]]
    name = "*"
    drivers = ["9.0.0+driver"]
    artifacts = ["module", "probe"]
    kernels = { from = "driverkit", path = "config/9.0.0+driver", outputs = ["module", "probe"] }

    [[override]]
    target = "centos"
    kernel = "4.18.0-1.el8.x86_64"
    architecture = "amd64"
    driver = "9.0.0+driver"
    gcc = "8"
    image = "my/builder:1"
    "#);
}

#[test]
fn names_and_settings_of_files_are_exported_unchanged() {
    let more = "gccversion: \"8\"\nbuilderimage: my/builder:1\nmoduledevicename: acme\nmoduledrivername: scap\n";
    let named = |version: &str| {
        let (path, text) = file(version, "4.18.0-1.el8", BOTH, more);
        (path, text.replace("/falco_", "/scap_"))
    };
    assert_comes_back(&workspace_of([
        named("9.0.0+driver"),
        named("9.1.0+driver"),
    ]));
}

#[test]
fn image_versions_and_conflicting_device_names_are_reported() {
    let first = file("9.0.0+driver", "4.18.0-1.el8", BOTH, "");
    let second = |more: &str| file("9.0.0+driver", "4.18.0-2.el8", BOTH, more);
    let workspace = workspace_of([first.clone(), second("builderimage: auto:1.2\n")]);
    let report = workspace.run(&["import", "config"]);
    assert!(
        report.starts_with("exit 1") && report.contains("`builderimage` of 1 file is not imported"),
        "{report}"
    );
    let workspace = workspace_of([first, second("moduledevicename: acme\n")]);
    let report = workspace.run(&["import", "config"]);
    assert!(
        report.starts_with("exit 2") && report.contains("has two names: `falco` in"),
        "{report}"
    );
}

/// The directory of a matrix is part of the relative paths in it.
#[test]
fn import_creates_the_directory_of_the_matrix() {
    let workspace = workspace_of([file("9.0.0+driver", "4.18.0-1.el8", BOTH, "")]);
    let list = r#"{"CentOS": [{"kernelversion": 1, "kernelrelease": "4.18.0-1.el8.x86_64", "target": "centos", "headers": []}]}"#;
    workspace.put("x86_64.json", list);
    let list = ["--driver", "9.0.0+driver", "x86_64.json"];
    for from in [&["config"][..], &list] {
        let report = workspace.run(&[&["import", "--check"], from].concat());
        assert!(
            report.starts_with("exit 0") && report.contains("1 kernel would be imported"),
            "{report}"
        );
        assert!(!workspace.path().join("matrices").exists());
        for out in ["matrices/imported.toml", "a/b/m.toml"] {
            let report = workspace.run(&[&["import", "--out", out], from].concat());
            assert!(report.starts_with("exit 0"), "{report}");
            let report = workspace.run(&["plan", out, "--locked"]);
            assert!(report.contains("1 kernel, 1 driver, 1 build"), "{report}");
        }
        std::fs::remove_dir_all(workspace.path().join("matrices")).unwrap();
        std::fs::remove_dir_all(workspace.path().join("a")).unwrap();
    }
    workspace.put("x86_64.json", "{");
    let report = workspace.run(&[&["import", "--out", "a/b/m.toml"], &list[..]].concat());
    assert!(report.starts_with("exit 2"), "{report}");
    assert!(!workspace.path().join("a").exists());
}

#[test]
fn the_newest_version_is_used_and_conflicts_are_listed() {
    let (path, text) = file("10.2.0+driver", "4.18.0-1.el8", MODULE, "");
    let workspace = workspace_of([
        file("9.0.0+driver", "4.18.0-1.el8", MODULE, ""),
        file("9.0.0+driver", "4.18.0-2.el8", MODULE, ""),
        (path, text.replace("/kernel-devel-", "/kernel-rt-devel-")),
    ]);
    workspace.put(
        "m.toml",
        "drivers = [\"10.2.0+driver\"]\n[[target]]\nname = \"*\"\nkernels = { from = \"driverkit\", path = \"config\" }\n",
    );
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(
        report.contains("config: 1 kernel has other packages or another configuration in an older driver version, the newest version is used: centos 4.18.0-1.el8.x86_64 #1 amd64 (config/10.2.0+driver/x86_64/"),
        "{report}"
    );
    let lock = workspace.get("m.lock");
    assert!(lock.contains("/kernel-rt-devel-4.18.0-1.el8"), "{lock}");
    assert_eq!(lock.lines().count(), 3, "{lock}");
}

/// For each case: a text in the good file, its replacement, the wrong file name (if any), and the expected message.
const WRONG: [(&str, &str, &str, &str); 13] = [
    ("kernelurls:", "kernelurl:", "", "unknown key `kernelurl`"),
    (
        "",
        "",
        "centos_4.18.0_1.yaml",
        "the file is named centos_4.18.0_1.yaml, but its keys require centos_4.18.0-1.el8.x86_64_1.yaml",
    ),
    (
        "amd64",
        "arm64",
        "",
        "`architecture`: arm64 does not match the directory x86_64",
    ),
    ("architecture: amd64\n", "", "", "`architecture` is missing"),
    ("amd64", "riscv64", "", "unknown architecture `riscv64`"),
    (
        "x86_64_1.o",
        "x86_64_1.ko",
        "",
        "`output-probe`: `output/9.0.0+driver/x86_64/falco_centos_4.18.0-1.el8.x86_64_1.ko` does not end with .o",
    ),
    (
        "falco_centos",
        "falco_debian",
        "",
        "`falco_debian_4.18.0-1.el8.x86_64_1.ko` is not the artifact name falco_centos_4.18.0-1.el8.x86_64_1.ko",
    ),
    (
        "x86_64/falco",
        "aarch64/falco",
        "",
        "is not in a directory x86_64",
    ),
    (
        "output/9.0.0",
        "output/8.0.0",
        "",
        "is not in a directory 9.0.0+driver/x86_64",
    ),
    (
        "kernelurls:\n",
        "kernelconfigdata: \"%\"\nkernelurls:\n",
        "",
        "it is not base64",
    ),
    (
        "target: centos",
        "target: centoss",
        "",
        "target `centoss` is unknown",
    ),
    (
        "kernelversion: 1",
        "kernelversion: _64",
        "",
        "`_64` does not start with a digit",
    ),
    (
        "kernelversion: 1\n",
        "kernelversion: 1\nkernelversion: 1\n",
        "",
        "duplicate mapping key",
    ),
];

#[test]
fn each_kind_of_wrong_file_is_refused_with_its_line() {
    for (from, to, name, message) in WRONG {
        let (path, text) = file("9.0.0+driver", "4.18.0-1.el8", BOTH, "");
        let folder = Path::new(&path).parent().unwrap();
        let path = match name {
            "" => path.clone(),
            name => folder.join(name).to_string_lossy().into_owned(),
        };
        let text = match from {
            "" => text,
            from => text.replace(from, to),
        };
        let workspace = workspace_of([(path.clone(), text)]);
        workspace.put(
            "m.toml",
            "drivers = [\"9.0.0+driver\"]\n[[target]]\nname = \"*\"\nkernels = { from = \"driverkit\", path = \"config\" }\n",
        );
        for command in [
            &["import", "--check", "config"][..],
            &["import", "config", "--out", "i.toml"],
            &["validate", "config"],
            &["lock", "m.toml"],
        ] {
            let report = workspace.run(command);
            assert!(report.starts_with("exit 2"), "{command:?} {report}");
            assert!(report.contains(message), "{message}: {report}");
            assert!(report.contains(&format!("{path}:")), "{report}");
        }
        assert!(!workspace.path().join("i.toml").exists());
        assert!(!workspace.path().join("i.lock").exists());
    }
}

#[test]
fn a_kernel_in_two_files_is_refused_and_both_are_named() {
    let plain = [("a", "1"), ("b", "1"), ("c", "2")].map(|(name, version)| {
        (
            format!("plain/{name}.yaml"),
            format!("target: centos\nkernelversion: {version}\nkernelrelease: 4.18.0-1.el8.x86_64\narchitecture: amd64\n"),
        )
    });
    let workspace = workspace_of(plain);
    let report = workspace.run(&["validate", "plain"]);
    assert!(report.starts_with("exit 2"), "{report}");
    assert!(
        report.contains("kernel centos 4.18.0-1.el8.x86_64 #1 amd64 is listed twice"),
        "{report}"
    );
    assert!(
        report.contains("plain/a.yaml:3") && report.contains("plain/b.yaml:3"),
        "{report}"
    );
}

#[test]
fn conflict_markers_are_refused_with_their_line() {
    let (path, text) = file("9.0.0+driver", "4.18.0-1.el8", BOTH, "");
    let workspace = workspace_of([(
        path.clone(),
        text.replace("kernelurls:", "<<<<<<< ours\nkernelurls:"),
    )]);
    let report = workspace.run(&["validate", "config"]);
    assert!(
        report.starts_with("exit 2")
            && report.contains("a merge conflict that nobody has resolved")
            && report.contains(&format!("{path}:8:1")),
        "{report}"
    );
}

#[test]
fn force_replaces_the_lock_of_an_older_import() {
    let workspace = workspace_of([
        file("9.0.0+driver", "4.18.0-1.el8", BOTH, ""),
        file("9.0.0+driver", "4.18.0-2.el8", BOTH, ""),
    ]);
    workspace.run(&["import", "config", "--out", "m.toml"]);
    assert_eq!(workspace.get("m.lock").lines().count(), 3);
    let (path, _) = file("9.0.0+driver", "4.18.0-2.el8", BOTH, "");
    std::fs::remove_file(workspace.path().join(path)).unwrap();
    let report = workspace.run(&["import", "config", "--out", "m.toml", "--force"]);
    assert!(report.starts_with("exit 0"), "{report}");
    let lock = workspace.get("m.lock");
    assert_eq!(lock.lines().count(), 2, "{lock}");
    assert!(
        !lock.contains("unconfirmed") && !lock.contains("gone"),
        "{lock}"
    );
}
