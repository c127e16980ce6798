//! Tests of the names that Falco's loader requests, besides those of the lists.

use serde_json::{Value, json};

use support::lists;
use support::workspace::Workspace;

/// One kernel of each kind: the loader requests it by its own name, by another name, by both, by a name that another
/// kernel has, or never.
const KINDS: &str = r#"drivers = ["8.1.0+driver"]
architectures = ["amd64", "arm64"]
[[target]]
name = "debian"
kernels = [
    { release = "6.1.55-1-amd64", architecture = "amd64", headers = ["https://example.org/linux-headers-6.1.0-13-amd64_6.1.55-1_amd64.deb", "https://example.org/linux-headers-6.1.0-13-common_6.1.55-1_all.deb", "https://example.org/linux-kbuild-6.1_6.1.55-1_amd64.deb"] },
    { release = "6.1.55-1~bpo11+1-amd64", architecture = "amd64", headers = ["https://example.org/linux-headers-6.1.0-0.deb11.13-amd64_6.1.55-1~bpo11+1_amd64.deb", "https://example.org/linux-headers-6.1.0-0.deb11.13-common_6.1.55-1~bpo11+1_all.deb", "https://example.org/linux-kbuild-6.1_6.1.55-1~bpo11+1_amd64.deb"] },
    { release = "6.12.47+rpt-rpi-v8", architecture = "arm64", headers = ["https://example.org/linux-headers-6.12.47+rpt-rpi-v8_6.12.47-1+rpt1_arm64.deb", "https://example.org/linux-headers-6.12.47+rpt-common-rpi_6.12.47-1+rpt1_all.deb", "https://example.org/linux-kbuild-6.12.47+rpt_6.12.47-1+rpt1_arm64.deb"] },
    { release = "6.1.21-v8+", version = "1642", architecture = "arm64", headers = ["https://example.org/linux-headers-6.1.21-v8+_1_arm64.deb"] },
]
[[target]]
name = "ubuntu-hwe"
kernels = [{ release = "5.3.0-67-hwe", version = "61", architecture = "amd64" }]
[[target]]
name = "ol"
kernels = [{ release = "6.12.0-101.33.4.3.el10uek.x86_64", architecture = "amd64" }]
[[target]]
name = "rocky"
kernels = [{ release = "5.14.0-427.13.1.el9_4.aarch64+64k", architecture = "arm64", headers = ["https://example.org/kernel-64k-devel-5.14.0-427.13.1.el9_4.aarch64.rpm"] }]
"#;

#[test]
fn each_build_has_its_names_in_json() {
    let workspace = Workspace::new().with("m.toml", KINDS);
    let report = workspace.run(&["plan", "m.toml", "--format", "json"]);
    let json = report.split_once("--- out\n").unwrap().1;
    let json = json.split("--- err").next().unwrap();
    let plan: Value = serde_json::from_str(json).unwrap();
    assert_eq!(plan["unasked_build_count"], 4);
    let names = |release: &str| {
        let mut builds = plan["builds"].as_array().unwrap().iter();
        let build = builds.find(|build| build["kernel_release"] == release);
        build.unwrap()["loader_names"].clone()
    };
    for (release, own, aliases, asked) in [
        (
            "6.1.55-1-amd64",
            "falco_debian_6.1.55-1-amd64_1",
            json!([]),
            json!(["falco_debian_6.1.55-1-amd64_1"]),
        ),
        (
            "6.1.55-1~bpo11+1-amd64",
            "falco_debian_6.1.55-1~bpo11+1-amd64_1",
            json!([]),
            json!(["falco_debian_6.1.55-1-amd64_1"]),
        ),
        (
            "6.12.47+rpt-rpi-v8",
            "falco_debian_6.12.47+rpt-rpi-v8_1",
            json!([]),
            json!(["falco_debian_6.12.47-1_1"]),
        ),
        (
            "6.1.21-v8+",
            "falco_debian_6.1.21-v8+_1642",
            json!([]),
            json!([]),
        ),
        (
            "5.3.0-67-hwe",
            "falco_ubuntu-hwe_5.3.0-67-hwe_61",
            json!(["falco_ubuntu-generic_5.3.0-67-generic_61"]),
            json!(["falco_ubuntu-generic_5.3.0-67-generic_61"]),
        ),
        (
            "6.12.0-101.33.4.3.el10uek.x86_64",
            "falco_ol_6.12.0-101.33.4.3.el10uek.x86_64_1",
            json!(["falco_ol_6.12.0-101.33.4.3.el10uek.x86_64_2"]),
            json!([
                "falco_ol_6.12.0-101.33.4.3.el10uek.x86_64_1",
                "falco_ol_6.12.0-101.33.4.3.el10uek.x86_64_2"
            ]),
        ),
        (
            "5.14.0-427.13.1.el9_4.aarch64+64k",
            "falco_rocky_5.14.0-427.13.1.el9_4.aarch64+64k_1",
            json!([]),
            json!(["falco_rocky_5.14.0-427.13.1.el9_4.aarch64+64k_1"]),
        ),
    ] {
        let expected = json!({ "own": own, "aliases": aliases, "asked": asked });
        assert_eq!(names(release), expected, "{release}");
    }
}

#[test]
fn each_artifact_has_its_names_in_csv() {
    let workspace = Workspace::new().with("m.toml", KINDS);
    let report = workspace.run(&["plan", "m.toml", "--format", "csv"]);
    for (id, ends) in [
        (
            "8.1.0+driver/x86_64/ubuntu-hwe_5.3.0-67-hwe_61,",
            ",8.1.0+driver/x86_64/falco_ubuntu-hwe_5.3.0-67-hwe_61.ko,\
             8.1.0+driver/x86_64/falco_ubuntu-generic_5.3.0-67-generic_61.ko,falco_ubuntu-generic_5.3.0-67-generic_61",
        ),
        (
            "8.1.0+driver/aarch64/debian_6.1.21-v8+_1642,",
            ",8.1.0+driver/aarch64/falco_debian_6.1.21-v8+_1642.ko,,",
        ),
    ] {
        let mut lines = report.lines();
        let line = lines.find(|line| line.starts_with(id)).unwrap();
        assert!(line.ends_with(ends), "{line}");
    }
}

#[test]
fn builds_that_no_loader_requests_are_counted_and_listed() {
    let workspace = Workspace::new().with("m.toml", KINDS);
    let report = workspace.run(&["plan", "m.toml"]);
    assert!(
        report.contains("4 builds with a name that Falco's loader never requests: --names lists"),
        "{report}"
    );
    let warning = "warning: debian 6.1.21-v8+ #1642 arm64: Falco's loader cannot parse this release and requests a \
        file name without it";
    assert!(report.contains(warning), "{report}");
    let report = workspace.run(&["plan", "m.toml", "--names"]);
    let report = report.split("--- err").next().unwrap();
    insta::assert_snapshot!(report, @r"
    exit 0
    --- out
    KERNEL                                  REQUESTED AS                                 PUBLISHED AS THAT
    debian 6.1.21-v8+ #1642 arm64           nothing: the loader cannot read the release  no
    debian 6.1.55-1~bpo11+1-amd64 #1 amd64  debian 6.1.55-1-amd64 #1                     no, debian 6.1.55-1-amd64 #1 amd64 has the name
    debian 6.12.47+rpt-rpi-v8 #1 arm64      debian 6.12.47-1 #1                          no, other kernels are requested by the same name
    ubuntu-hwe 5.3.0-67-hwe #61 amd64       ubuntu-generic 5.3.0-67-generic #61          yes

    TARGET      KERNELS  NOT REQUESTED BY THEIR NAME
    debian            4                            3
    ubuntu-hwe        1                            1
    ");
    let named = "drivers = [\"8.1.0+driver\"]\n[[target]]\nname = \"rocky\"\nkernels = [{ release = \"5.14.0-427.13.1.el9_4.x86_64\" }]\n";
    let report = Workspace::new()
        .with("m.toml", named)
        .run(&["plan", "m.toml", "--names"]);
    assert_eq!(
        report,
        "exit 0\n--- out\nHosts request every kernel by its own name.\n"
    );
}

/// Counts from the real list. By the loader's rule alone, applied to the names of the list, the counts would be 1,071
/// and 9; but the kernels of `ubuntu-hwe` report themselves as generic, and Debian's release candidate is requested by
/// its `uname -r`.
#[test]
fn names_that_no_loader_requests_are_counted_in_the_real_list() {
    let workspace = Workspace::new();
    let lists = lists::find_or_make(workspace.path());
    if lists.paths[0].starts_with(workspace.path()) {
        eprintln!("the real lists do not exist: nothing is counted");
        return;
    }
    let matrix = format!(
        "drivers = [\"8.1.0+driver\"]\narchitectures = [\"amd64\"]\n[[target]]\nname = \"*\"\nkernels = {{ from = \"kernel-crawler\", path = {{ amd64 = {:?} }} }}\n",
        lists.paths[0]
    );
    workspace.put("m.toml", &matrix);
    let report = workspace.run(&["plan", "m.toml", "--names"]);
    let (_, counts) = report.split_once("\nTARGET ").unwrap();
    let rows: Vec<Vec<&str>> = counts
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let sum = |is_wanted: &dyn Fn(&str) -> bool| -> usize {
        let wanted = rows
            .iter()
            .filter(|row| row.len() == 3 && is_wanted(row[0]));
        wanted.map(|row| row[2].parse::<usize>().unwrap()).sum()
    };
    assert_eq!(sum(&|target| target == "debian"), 9 + 1);
    let hwe = sum(&|target| target == "ubuntu-hwe");
    assert_eq!(hwe, 131);
    assert_eq!(sum(&|target| target.starts_with("ubuntu")) - hwe, 1071);
    let csv = workspace.run(&["plan", "m.toml", "--locked", "--format", "csv"]);
    let of_target = |start: &str| csv.lines().filter(|line| line.contains(start)).count();
    assert_eq!(of_target(",ubuntu-"), 2686);
    assert_eq!(of_target(",debian,"), 26);
}
