//! Tests of the output of a plan, and of the filters.

use insta::assert_snapshot;

use support::workspace::Workspace;

pub(crate) const SMALL: &str = r#"drivers = ["8.1.0+driver", "10.0.0+driver"]
architectures = ["amd64", "arm64"]
artifacts = ["module", "probe"]

[defaults]
timeout = "5m"

[[target]]
name = "debian"
kernels = [
    { release = "6.1.55-1-amd64", headers = ["https://example.org/a.deb", "packages/b.deb"] },
    { release = "4.9.30-1-arm64", headers = ["https://example.org/c.deb"] },
]

[[exclude]]
driver = ">=10"
kernel = "4.9.*"
reason = "nobody asks for it"
"#;

#[test]
fn a_plan_is_printed_as_a_table() {
    let workspace = Workspace::new().with("matrices/small.toml", SMALL);
    assert_snapshot!(workspace.run(&["plan"]), @r"
    exit 0
    --- out
    Plan of 1 matrix: 2 kernels, 2 drivers, 3 builds, 4 artifacts

    TARGET  KERNELS  DRIVERS  BUILDS  MODULES  PROBES
    debian        2        2       3        3       1

    BUILD                                         ARTIFACTS      PACKAGES  SOURCE
    8.1.0+driver/aarch64/debian_4.9.30-1-arm64_1  module                1  inline
    8.1.0+driver/x86_64/debian_6.1.55-1-amd64_1   module, probe         2  inline
    10.0.0+driver/x86_64/debian_6.1.55-1-amd64_1  module                2  inline

    LEFT OUT BY    COUNT  REASON                                       FOR EXAMPLE
    exclude            1  nobody asks for it                           debian 4.9.30-1-arm64
    support floor      1  a probe needs kernel 4.17 or newer on arm64  debian 4.9.30-1-arm64
    support floor      1  drivers after 9.1.0+driver have no probe     debian 6.1.55-1-amd64
    ");
}

#[test]
fn a_plan_is_printed_as_json() {
    let workspace = Workspace::new().with("m.toml", SMALL);
    let report = workspace.run(&["plan", "m.toml", "--format", "json", "--driver", "10.*"]);
    assert_snapshot!(report, @r#"
    exit 0
    --- out
    {
      "schema": 1,
      "plan_sha256": "5e65eddbf406e20887bb8243ca496b694a335bf0884552f33cfc9563c906ea79",
      "build_count": 1,
      "artifact_count": 1,
      "duplicate_count": 0,
      "unconfirmed_kernel_count": 0,
      "unasked_build_count": 0,
      "builds": [
        {
          "build_id": "10.0.0+driver/x86_64/debian_6.1.55-1-amd64_1",
          "id": "10.0.0+driver/x86_64/debian_6.1.55-1-amd64_1",
          "target": "debian",
          "kernel_release": "6.1.55-1-amd64",
          "kernel_version": "1",
          "architecture": "amd64",
          "driver_version": "10.0.0+driver",
          "driver_location": {
            "url": "https://github.com/falcosecurity/libs/archive/10.0.0+driver.tar.gz"
          },
          "module_name": "falco",
          "device_name": "falco",
          "loader_names": {
            "own": "falco_debian_6.1.55-1-amd64_1",
            "aliases": [],
            "asked": [
              "falco_debian_6.1.55-1-amd64_1"
            ]
          },
          "artifacts": [
            "module"
          ],
          "packages": [
            {
              "url": "https://example.org/a.deb"
            },
            {
              "url": "packages/b.deb"
            }
          ],
          "source": "inline",
          "timeout_seconds": 300,
          "memory_bytes": 2147483648,
          "output_bytes": 2147483648,
          "output_files": 200000,
          "module_bytes": 67108864,
          "probe_bytes": 134217728,
          "processes": 512,
          "retries": 2,
          "gcc": null,
          "image": null
        }
      ],
      "left_out": [
        {
          "target": "debian",
          "kernel_release": "4.9.30-1-arm64",
          "kernel_version": "1",
          "architecture": "arm64",
          "driver_version": null,
          "artifact": "probe",
          "rule": "support floor",
          "reason": "a probe needs kernel 4.17 or newer on arm64"
        },
        {
          "target": "debian",
          "kernel_release": "4.9.30-1-arm64",
          "kernel_version": "1",
          "architecture": "arm64",
          "driver_version": "10.0.0+driver",
          "artifact": "module",
          "rule": "exclude",
          "reason": "nobody asks for it"
        },
        {
          "target": "debian",
          "kernel_release": "6.1.55-1-amd64",
          "kernel_version": "1",
          "architecture": "amd64",
          "driver_version": "10.0.0+driver",
          "artifact": "probe",
          "rule": "support floor",
          "reason": "drivers after 9.1.0+driver have no probe"
        }
      ]
    }
    "#);
}

#[test]
fn a_plan_is_printed_as_csv() {
    let workspace = Workspace::new().with("m.toml", SMALL);
    assert_snapshot!(workspace.run(&["plan", "m.toml", "--format", "csv"]), @r"
    exit 0
    --- out
    build_id,target,kernel_release,kernel_version,architecture,driver_version,artifact,status,rule,reason,path,alias_paths,asked_names
    8.1.0+driver/aarch64/debian_4.9.30-1-arm64_1,debian,4.9.30-1-arm64,1,arm64,8.1.0+driver,module,planned,,,8.1.0+driver/aarch64/falco_debian_4.9.30-1-arm64_1.ko,,falco_debian_4.9.30-1-arm64_1
    8.1.0+driver/x86_64/debian_6.1.55-1-amd64_1,debian,6.1.55-1-amd64,1,amd64,8.1.0+driver,module,planned,,,8.1.0+driver/x86_64/falco_debian_6.1.55-1-amd64_1.ko,,falco_debian_6.1.55-1-amd64_1
    8.1.0+driver/x86_64/debian_6.1.55-1-amd64_1,debian,6.1.55-1-amd64,1,amd64,8.1.0+driver,probe,planned,,,8.1.0+driver/x86_64/falco_debian_6.1.55-1-amd64_1.o,,falco_debian_6.1.55-1-amd64_1
    10.0.0+driver/x86_64/debian_6.1.55-1-amd64_1,debian,6.1.55-1-amd64,1,amd64,10.0.0+driver,module,planned,,,10.0.0+driver/x86_64/falco_debian_6.1.55-1-amd64_1.ko,,falco_debian_6.1.55-1-amd64_1
    ,debian,4.9.30-1-arm64,1,arm64,,probe,excluded,support floor,a probe needs kernel 4.17 or newer on arm64,,,
    ,debian,4.9.30-1-arm64,1,arm64,10.0.0+driver,module,excluded,exclude,nobody asks for it,,,
    ,debian,6.1.55-1-amd64,1,amd64,10.0.0+driver,probe,excluded,support floor,drivers after 9.1.0+driver have no probe,,,
    ");
}

#[test]
fn equal_builds_in_several_files_are_planned_once() {
    let workspace = Workspace::new()
        .with("matrices/a.toml", SMALL)
        .with("matrices/b.toml", SMALL);
    let report = workspace.run(&["plan"]);
    let expected = "Plan of 2 matrices: 2 kernels, 2 drivers, 3 builds, 4 artifacts (3 builds listed more than once)";
    assert!(report.contains(expected), "{report}");
}

#[test]
fn filters_select_builds() {
    let workspace = Workspace::new().with("m.toml", SMALL);
    for (arguments, expected) in [
        (&[][..], "3 builds, 4 artifacts"),
        (&["--arch", "aarch64"], "1 build, 1 artifact"),
        (&["--artifact", "probe"], "1 build, 1 artifact"),
        (
            &["--kernel", ">=5", "--driver", "8.*"],
            "1 build, 2 artifacts",
        ),
        (
            &["--kernel", "4.*", "--kernel", "6.*"],
            "3 builds, 4 artifacts",
        ),
        (&["--target", "deb*"], "3 builds, 4 artifacts"),
        (
            &["--only", "8.1.0+driver/x86_64/debian_6.1.55-1-amd64_1"],
            "1 build, 2 artifacts",
        ),
    ] {
        let report = workspace.run(&[&["plan", "m.toml"], arguments].concat());
        let line = report.lines().nth(2).unwrap();
        assert!(line.ends_with(expected), "{arguments:?}: {line}");
    }
}

#[test]
fn filters_that_match_no_build_are_refused() {
    let workspace = Workspace::new().with("m.toml", SMALL);
    let with = |arguments: &[&str]| workspace.run(&[&["plan", "m.toml"], arguments].concat());
    assert_snapshot!(with(&["--target", "debain"]), @r#"
    exit 2
    --- err
    error: --target "debain" matches no build (3 builds before this filter)
     |
     = help: the plan has, for example: debian
    "#);
    assert_snapshot!(with(&["--arch", "arm64", "--kernel", ">=5"]), @r#"
    exit 2
    --- err
    error: --kernel ">=5" matches no build (1 build before this filter)
     |
     = help: the plan has, for example: 4.9.30-1-arm64
    "#);
    assert_snapshot!(with(&["--only", "8.1.0+driver/x86_64/debian_6.1.55-2-amd64_1"]), @r"
    exit 2
    --- err
    error: the plan has no build `8.1.0+driver/x86_64/debian_6.1.55-2-amd64_1`
     |
     = help: did you mean `8.1.0+driver/x86_64/debian_6.1.55-1-amd64_1`?
    ");
    assert_snapshot!(with(&["--shard", "3/2"]), @r"
    exit 2
    --- err
    error: invalid value '3/2' for '--shard <I/N>': invalid shard `3/2`: expected I/N with 1 <= I <= N, such as 2/8

    For more information, try '--help'.
    ");
    assert_snapshot!(with(&["--target", ">=5"]), @r"
    exit 2
    --- err
    error: invalid value '>=5' for '--target <PATTERN>': `>=5` is a version range, and names have no order; use a glob

    For more information, try '--help'.
    ");
}

#[test]
fn a_closed_output_pipe_is_no_error() {
    // More output than the pipe holds, so that the program is still writing when `true` has exited.
    let kernels: Vec<String> = (0..3000)
        .map(|number| format!("{{ release = \"6.2.{number}-300.fc38.x86_64\" }}"))
        .collect();
    let kernels = kernels.join(", ");
    let matrix =
        format!("drivers = [\"mine\"]\n[[target]]\nname = \"fedora\"\nkernels = [{kernels}]\n");
    let workspace = Workspace::new().with("m.toml", &matrix);
    let script = "\"$0\" plan m.toml --format json | true; echo ${PIPESTATUS[0]}";
    let output = std::process::Command::new("bash")
        .current_dir(workspace.path())
        .args(["-c", script])
        .arg(assert_cmd::cargo::cargo_bin("driverkit-matrix"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "0\n");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}
