//! The command `plan`, by the binary itself.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use common::workspace::Workspace;
use insta::assert_snapshot;

mod common {
    pub(crate) mod lists;
    pub(crate) mod workspace;
}

/// What the program says to a matrix that is wrong.
fn complaint(matrix: &str) -> String {
    Workspace::new()
        .with("m.toml", matrix)
        .run(&["plan", "m.toml"])
}

const SMALL: &str = r#"drivers = ["8.1.0+driver", "10.0.0+driver"]
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
fn table() {
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
fn json() {
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
      "builds": [
        {
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
fn csv() {
    let workspace = Workspace::new().with("m.toml", SMALL);
    assert_snapshot!(workspace.run(&["plan", "m.toml", "--format", "csv"]), @r"
    exit 0
    --- out
    build_id,target,kernel_release,kernel_version,architecture,driver_version,artifact,status,rule,reason,path
    8.1.0+driver/aarch64/debian_4.9.30-1-arm64_1,debian,4.9.30-1-arm64,1,arm64,8.1.0+driver,module,planned,,,8.1.0+driver/aarch64/falco_debian_4.9.30-1-arm64_1.ko
    8.1.0+driver/x86_64/debian_6.1.55-1-amd64_1,debian,6.1.55-1-amd64,1,amd64,8.1.0+driver,module,planned,,,8.1.0+driver/x86_64/falco_debian_6.1.55-1-amd64_1.ko
    8.1.0+driver/x86_64/debian_6.1.55-1-amd64_1,debian,6.1.55-1-amd64,1,amd64,8.1.0+driver,probe,planned,,,8.1.0+driver/x86_64/falco_debian_6.1.55-1-amd64_1.o
    10.0.0+driver/x86_64/debian_6.1.55-1-amd64_1,debian,6.1.55-1-amd64,1,amd64,10.0.0+driver,module,planned,,,10.0.0+driver/x86_64/falco_debian_6.1.55-1-amd64_1.ko
    ,debian,4.9.30-1-arm64,1,arm64,,probe,excluded,support floor,a probe needs kernel 4.17 or newer on arm64,
    ,debian,4.9.30-1-arm64,1,arm64,10.0.0+driver,module,excluded,exclude,nobody asks for it,
    ,debian,6.1.55-1-amd64,1,amd64,10.0.0+driver,probe,excluded,support floor,drivers after 9.1.0+driver have no probe,
    ");
}

#[test]
fn equal_builds_of_several_files_are_planned_once() {
    let workspace = Workspace::new()
        .with("matrices/a.toml", SMALL)
        .with("matrices/b.toml", SMALL);
    let report = workspace.run(&["plan"]);
    let expected = "Plan of 2 matrices: 2 kernels, 2 drivers, 3 builds, 4 artifacts (3 builds named more than once)";
    assert!(report.contains(expected), "{report}");
}

#[test]
fn filters() {
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
fn filters_that_leave_nothing() {
    let workspace = Workspace::new().with("m.toml", SMALL);
    let with = |arguments: &[&str]| workspace.run(&[&["plan", "m.toml"], arguments].concat());
    assert_snapshot!(with(&["--target", "debain"]), @r#"
    exit 2
    --- err
    error: --target "debain" matches no build; 3 were left before it
     |
     = help: planned are for example: debian
    "#);
    assert_snapshot!(with(&["--arch", "arm64", "--kernel", ">=5"]), @r#"
    exit 2
    --- err
    error: --kernel ">=5" matches no build; 1 were left before it
     |
     = help: planned are for example: 4.9.30-1-arm64
    "#);
    assert_snapshot!(with(&["--only", "8.1.0+driver/x86_64/debian_6.1.55-2-amd64_1"]), @r"
    exit 2
    --- err
    error: no build `8.1.0+driver/x86_64/debian_6.1.55-2-amd64_1` is planned
     |
     = help: did you mean `8.1.0+driver/x86_64/debian_6.1.55-1-amd64_1`?
    ");
    assert_snapshot!(with(&["--shard", "3/2"]), @r"
    exit 2
    --- err
    error: invalid value '3/2' for '--shard <I/N>': `3/2` is no shard: write I/N, with I from 1 to N, as in 2/8

    For more information, try '--help'.
    ");
    assert_snapshot!(with(&["--target", ">=5"]), @r"
    exit 2
    --- err
    error: invalid value '>=5' for '--target <PATTERN>': `>=5` is a version range, and names have no order; use a glob

    For more information, try '--help'.
    ");
}

const FAULTS: &str = r#"drivres = ["8.1.0+driver"]
architectures = ["amd64", "s390x"]
artifacts = "module"

[defaults]
timeout = "5 parsecs"
memory = 2
processes = 0
gcc = "12; true"

[[target]]
name = "debain"
kernels = [
    { release = "6.1; rm -rf /", headers = ["ftp://example.org/a.deb"] },
    { release = "6.1.0-1-amd64", vesion = "2" },
]

[[target]]
name = "centos*"
kernels = [{ release = "5.4.0-1" }]

[[target]]
name = "fedora"
kernels = { from = "kernel-crawlre" }

[[exclude]]
kernel = ">=5.4 <6"

[[exclude]]
target = "a["

[[exclude]]
reason = "everything"

[[override]]
kernel = "6.*"
"#;

#[test]
#[expect(clippy::too_many_lines, reason = "one file, all its faults")]
fn all_faults_at_once() {
    assert_snapshot!(complaint(FAULTS), @r#"
    exit 2
    --- err
    error: `drivers` is missing in a matrix
     --> m.toml:1:1
      |
    1 | drivres = ["8.1.0+driver"]
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write drivers = ["8.1.0+driver"]

    error: unknown key `drivres` in a matrix
     --> m.toml:1:1
      |
    1 | drivres = ["8.1.0+driver"]
      | ^^^^^^^
      |
      = help: did you mean `drivers`?

    error: architecture `s390x` is unknown: amd64 (or x86_64) and arm64 (or aarch64) are supported
     --> m.toml:2:27
      |
    2 | architectures = ["amd64", "s390x"]
      |                           ^^^^^^^

    error: `artifacts` has the wrong type
     --> m.toml:3:13
      |
    3 | artifacts = "module"
      |             ^^^^^^^^ expected an array, each module or probe, found a string

    error: `5 parsecs` is no time from 1s to 7d; write it like 90s, 5m or 1h30m
     --> m.toml:6:11
      |
    6 | timeout = "5 parsecs"
      |           ^^^^^^^^^^^

    error: `memory` has the wrong type
     --> m.toml:7:10
      |
    7 | memory = 2
      |          ^ expected a size such as "2GiB", found a whole number

    error: `processes` is out of range
     --> m.toml:8:13
      |
    8 | processes = 0
      |             ^ a number from 1 to 4194304 is allowed

    error: `12; true` is no compiler version; write it like 12 or 4.9
     --> m.toml:9:7
      |
    9 | gcc = "12; true"
      |       ^^^^^^^^^^

    error: unknown target `debain`
      --> m.toml:12:8
       |
    12 | name = "debain"
       |        ^^^^^^^^
       |
       = help: did you mean `debian`?

    error: `6.1; rm -rf /` holds ';', which no kernel release or version has; only letters, digits and `. _ + ~ -` are allowed
      --> m.toml:14:17
       |
    14 |     { release = "6.1; rm -rf /", headers = ["ftp://example.org/a.deb"] },
       |                 ^^^^^^^^^^^^^^^

    error: `ftp` addresses cannot be fetched: http, https, file and paths can
      --> m.toml:14:45
       |
    14 |     { release = "6.1; rm -rf /", headers = ["ftp://example.org/a.deb"] },
       |                                             ^^^^^^^^^^^^^^^^^^^^^^^^^

    error: unknown key `vesion` in a kernel
      --> m.toml:15:34
       |
    15 |     { release = "6.1.0-1-amd64", vesion = "2" },
       |                                  ^^^^^^
       |
       = help: did you mean `version`?

    error: the glob `centos*` does not say which target is meant
      --> m.toml:19:8
       |
    19 | name = "centos*"
       |        ^^^^^^^^^
       |
       = help: only lists name several targets; `inline` needs one name

    error: `kernel-crawlre` is no source of kernels
      --> m.toml:24:20
       |
    24 | kernels = { from = "kernel-crawlre" }
       |                    ^^^^^^^^^^^^^^^^
       |
       = help: did you mean `kernel-crawler`?

    error: `>=5.4 <6` is not part of a version range: a comparison (>=, >, <=, <, =) and a version are, separated by commas, as in `>=5.4, <6.9`
      --> m.toml:27:10
       |
    27 | kernel = ">=5.4 <6"
       |          ^^^^^^^^^^

    error: `a[` is not a glob: unclosed character class; missing ']'
      --> m.toml:30:10
       |
    30 | target = "a["
       |          ^^^^

    error: `target` is missing in an [[exclude]]
      --> m.toml:32:1
       |
    32 | [[exclude]]
       | ^^^^^^^^^^^
       |
       = help: name a target, kernel, driver, architecture or artifact to leave out

    error: this [[override]] sets nothing
      --> m.toml:35:1
       |
    35 | [[override]]
       | ^^^^^^^^^^^^
       |
       = help: set timeout, memory, processes, retries, gcc or image

    error: 18 errors; nothing was done
    "#);
}

#[test]
fn drivers_are_checked() {
    let long = "x".repeat(61);
    let matrix = format!(
        r#"drivers = ["8.1.0+driver", "8.1.0+driver", "../x", "8.0.0+driver", "mine"]

[[target]]
name = "centos"
drivers = "9.*"
kernels = [{{ release = "5.4.0-1" }}]

[driver."8.1.0"]
source = {{ path = "x" }}

[driver."8.0.0+driver"]
module_name = "{long}"
device_name = "a/b"

[driver.mine]
source = {{ path = "x", url = "https://example.org/x.tar.gz" }}
"#
    );
    assert_snapshot!(complaint(&matrix), @r#"
    exit 2
    --- err
    error: `8.1.0+driver` is in `drivers` twice
     --> m.toml:1:28
      |
    1 | drivers = ["8.1.0+driver", "8.1.0+driver", "../x", "8.0.0+driver", "mine"]
      |            --------------  ^^^^^^^^^^^^^^ again here
      |            |
      |            first here

    error: driver version `../x` cannot name a folder: 1 to 100 letters, digits and `. _ + ~ -`, not starting with a dot or dash
     --> m.toml:1:44
      |
    1 | drivers = ["8.1.0+driver", "8.1.0+driver", "../x", "8.0.0+driver", "mine"]
      |                                            ^^^^^^

    error: `9.*` matches none of `drivers`
     --> m.toml:4:8
      |
    4 | name = "centos"
      |        ^^^^^^^^ in `drivers` of this target

    error: `8.1.0` is not in `drivers`
     --> m.toml:8:9
      |
    8 | [driver."8.1.0"]
      |         ^^^^^^^
      |
      = help: did you mean `8.1.0+driver`?

    error: a name of 61 characters; 1 to 60 are allowed
      --> m.toml:12:15
       |
    12 | module_name = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
       |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: `a/b` cannot name a module or device: letters, digits and `_ - .` are allowed, not starting with a dot or dash
      --> m.toml:13:15
       |
    13 | device_name = "a/b"
       |               ^^^^^

    error: `source` names several places
      --> m.toml:16:10
       |
    16 | source = { path = "x", url = "https://example.org/x.tar.gz" }
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: leave one: path, url, git with ref, or org and name

    error: 7 errors; nothing was done
    "#);
}

#[test]
fn not_toml() {
    let unclosed = "drivers = [\"8.1.0+driver\"\n[[target]]\nname = debian\n";
    assert_snapshot!(complaint(unclosed), @r"
    exit 2
    --- err
    error: not TOML: missing comma between array elements, expected `,`
     --> m.toml:2:1
      |
    2 | [[target]]
      | ^

    error: not TOML: missing comma between array elements, expected `,`
     --> m.toml:3:1
      |
    3 | name = debian
      | ^

    error: 2 errors; nothing was done
    ");
    let twice = "drivers = [\"8.1.0+driver\"]\ndrivers = [\"9.0.0+driver\"]\n";
    assert_snapshot!(complaint(twice), @r#"
    exit 2
    --- err
    error: `drivers` is given twice
     --> m.toml:2:1
      |
    1 | drivers = ["8.1.0+driver"]
      | ------- first here
    2 | drivers = ["9.0.0+driver"]
      | ^^^^^^^ again here
      |
      = help: remove one of the two
    "#);
    assert_snapshot!(complaint(""), @r#"
    exit 2
    --- err
    error: `drivers` is missing in a matrix
     --> m.toml:1:1
      |
    1 |
      | ^
      |
      = help: write drivers = ["8.1.0+driver"]

    error: `target` is missing in a matrix
     --> m.toml:1:1
      |
    1 |
      | ^
      |
      = help: write [[target]] with a name and kernels

    error: 2 errors; nothing was done
    "#);
}

#[test]
fn contradictions_name_both_places() {
    let twice = r#"drivers = ["8.1.0+driver"]

[[target]]
name = "bottlerocket"
kernels = [
    { release = "5.4.0-1", headers = ["https://example.org/a.rpm"] },
    { release = "5.4.0-1", headers = ["https://example.org/b.rpm"] },
]
"#;
    assert_snapshot!(complaint(twice), @r#"
    exit 2
    --- err
    error: kernel bottlerocket 5.4.0-1 #1 amd64 is named twice with different header packages
     --> m.toml:7:5
      |
    6 |     { release = "5.4.0-1", headers = ["https://example.org/a.rpm"] },
      |     ---------------------------------------------------------------- and here
    7 |     { release = "5.4.0-1", headers = ["https://example.org/b.rpm"] },
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ here
      |
      = help: remove one of the two, or exclude the kernel from one source
    "#);
    let matrix = |driver: &str, settings: &str| {
        format!(
            "drivers = [\"mine\"]\n{driver}\n[[target]]\nname = \"bottlerocket\"\n{settings}\nkernels = [{{ release = \"5.4.0-1\" }}]\n"
        )
    };
    let workspace = Workspace::new()
        .with("a.toml", &matrix("", ""))
        .with("b.toml", &matrix("", "retries = 7"))
        .with(
            "c.toml",
            &matrix("[driver.mine]\nmodule_name = \"scap\"", ""),
        );
    assert_snapshot!(workspace.run(&["plan", "a.toml", "b.toml"]), @r#"
    exit 2
    --- err
    error: kernel bottlerocket 5.4.0-1 #1 amd64 is named twice with different settings
     --> b.toml:6:12
      |
    6 | kernels = [{ release = "5.4.0-1" }]
      |            ^^^^^^^^^^^^^^^^^^^^^^^ here
      |
     ::: a.toml:6:12
      |
    6 | kernels = [{ release = "5.4.0-1" }]
      |            ----------------------- and here
      |
      = help: settings of some builds belong into an [[override]]
    "#);
    assert_snapshot!(workspace.run(&["plan", "a.toml", "c.toml"]), @r#"
    exit 2
    --- err
    error: driver `mine` has other sources or names in another matrix
     --> c.toml:1:12
      |
    1 | drivers = ["mine"]
      |            ^^^^^^ here
      |
     ::: a.toml:1:12
      |
    1 | drivers = ["mine"]
      |            ------ and here
      |
      = help: give both the same [driver] table, or one of them another version name
    "#);
}

#[test]
fn empty_plans_say_why() {
    let left_out = r#"drivers = ["8.1.0+driver"]
[[target]]
name = "centos"
kernels = [{ release = "2.6.32-754.el6.x86_64" }, { release = "5.4.0-1.el7.x86_64" }]
[[exclude]]
kernel = "5.*"
reason = "too new"
"#;
    assert_snapshot!(complaint(left_out), @r"
    exit 2
    --- err
    error: the plan is empty: all 2 kernels were left out
     |
     = help: by these rules: exclude (too new): 1, support floor (a module needs kernel 3.10 or newer on amd64): 1
    ");
}

#[test]
fn no_matrix() {
    let workspace = Workspace::new();
    assert_snapshot!(workspace.run(&["plan"]), @r"
    exit 2
    --- err
    error: no matrix: matrices/*.toml matches no file in this folder
     |
     = help: name a matrix file
    ");
    assert_snapshot!(workspace.run(&["plan", "gone.toml"]), @r"
    exit 2
    --- err
    error: failed to read gone.toml: No such file or directory (os error 2)
    ");
}

#[test]
fn inline_kernels_are_checked() {
    let matrix = r#"drivers = ["8.1.0+driver"]
[[target]]
name = "debian"
kernels = [{ release = "6.1.55-1-arm64" }, { release = "6.1.55-1-amd64", config = "gone.config" }]
"#;
    assert_snapshot!(complaint(matrix), @r#"
    exit 2
    --- err
    error: kernel release `6.1.55-1-arm64`: a Debian release ends in `-amd64`, as in `6.1.0-50-cloud-amd64` or `6.1.176-1-amd64`
     --> m.toml:4:12
      |
    4 | kernels = [{ release = "6.1.55-1-arm64" }, { release = "6.1.55-1-amd64", config = "gone.config" }]
      |            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: the configuration of kernel 6.1.55-1-amd64: failed to read gone.config: No such file or directory (os error 2)
     --> m.toml:4:44
      |
    4 | kernels = [{ release = "6.1.55-1-arm64" }, { release = "6.1.55-1-amd64", config = "gone.config" }]
      |                                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: 2 errors; nothing was done
    "#);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    // More than fits into the pipe, so that the program is still writing when `true` has ended.
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

/// The demo's matrix is a good one; its kernels are found only where there is a mirror.
#[test]
fn the_demo_matrix_is_read() {
    let demo = include_str!("../matrices/debian.toml");
    let workspace = Workspace::new().with("matrices/debian.toml", demo);
    let report = workspace.run(&["plan", "--locked"]);
    let expected = "exit 2\n--- err\nerror: matrices/debian.lock is missing";
    assert!(report.starts_with(expected), "{report}");
}

#[test]
fn mirrors_are_named_on_the_command_line() {
    let workspace = Workspace::new().with("m.toml", SMALL);
    assert_snapshot!(workspace.run(&["plan", "m.toml", "--mirror", "debian"]), @r"
    exit 2
    --- err
    error: invalid value 'debian' for '--mirror <NAME=URL>': write NAME=URL, as in debian=http://ftp.debian.org/debian

    For more information, try '--help'.
    ");
    assert_snapshot!(workspace.run(&["plan", "m.toml", "--mirror", "debian=here"]), @r"
    exit 2
    --- err
    error: invalid value 'debian=here' for '--mirror <NAME=URL>': `here` is no address: relative URL without a base

    For more information, try '--help'.
    ");
    let report = workspace.run(&[
        "plan",
        "m.toml",
        "--mirror",
        "debian=http://example.org/debian",
    ]);
    assert!(report.starts_with("exit 0\n"), "{report}");
}

/// A mirror given at run time is read, and the lock holds the usual addresses all the same.
#[test]
fn a_mirror_is_read_and_not_written_down() {
    let workspace = Workspace::new().with(
        "m.toml",
        "drivers = [\"mine\"]\n[[target]]\nname = \"debian\"\nkernels = { from = \"mirror\", suites = [\"sid\"] }\n",
    );
    let version = "7.2.1-1";
    let paragraph = |name: &str, architecture: &str, depends: &str| {
        let digest = driverkit_matrix::digest::Sha256::of(name);
        format!(
            "Package: {name}\nSource: linux\nVersion: {version}\nArchitecture: {architecture}\nDepends: {depends}\nFilename: pool/main/l/linux/{name}_{version}_{architecture}.deb\nSize: 7\nSHA256: {digest}\n\n"
        )
    };
    let depends =
        format!("linux-headers-7.2.1-common (= {version}), linux-kbuild-7.2.1 (= {version})");
    let packages = [
        paragraph("linux-headers-7.2.1-amd64", "amd64", &depends),
        paragraph("linux-headers-7.2.1-common", "all", ""),
        paragraph("linux-kbuild-7.2.1", "amd64", ""),
    ]
    .concat();
    let digest = |text: &str| driverkit_matrix::digest::Sha256::of(text);
    let release = format!(
        "Suite: sid\nSHA256:\n {} {} main/binary-amd64/Packages\n {} 0 main/binary-arm64/Packages\n",
        digest(&packages),
        packages.len(),
        digest(""),
    );
    workspace.put("mirror/dists/sid/Release", &release);
    workspace.put("mirror/dists/sid/main/binary-amd64/Packages", &packages);
    workspace.put("mirror/dists/sid/main/binary-arm64/Packages", "");
    let mirror = format!("debian=file://{}/mirror", workspace.path().display());
    let report = workspace.run(&["plan", "m.toml", "--mirror", &mirror]);
    assert_snapshot!(report, @r"
    exit 0
    --- out
    Plan of 1 matrix: 1 kernel, 1 driver, 1 build, 1 artifact

    TARGET  KERNELS  DRIVERS  BUILDS  MODULES  PROBES
    debian        1        1       1        1       0

    BUILD                               ARTIFACTS  PACKAGES  SOURCE
    mine/x86_64/debian_7.2.1-1-amd64_1  module            3  mirror
    --- err
    m.lock is missing: looking for kernels
    debian: reading suite 1 of 1: sid
    m.lock: 1 kernel found
    ");
    let lock = workspace.get("m.lock");
    let (_, usual) = driverkit_matrix::discover::DEFAULT_MIRRORS[0];
    let address = format!(
        "\"url\":\"{usual}/pool/main/l/linux/linux-headers-7.2.1-amd64_7.2.1-1_amd64.deb\""
    );
    assert!(
        lock.contains(&address) && !lock.contains("file://"),
        "{lock}"
    );

    // Without it nothing changes as long as nobody asks for a refresh.
    let again = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(again.starts_with("exit 0\n"), "{again}");
}

/// The whole of two kernel lists, times eight drivers: every kernel is planned or left out, none twice.
#[test]
fn full_scale() {
    let workspace = Workspace::new();
    let lists = common::lists::find_or_make(workspace.path());
    workspace.put("all.toml", &common::lists::matrix(&lists));
    let report = workspace.run(&["plan", "all.toml"]);
    let head = report.lines().nth(2).unwrap();
    let are_real = !lists.paths[0].starts_with(workspace.path());
    if are_real {
        assert_eq!(
            head,
            "Plan of 1 matrix: 5782 kernels, 8 drivers, 46256 builds, 46256 artifacts"
        );
        for (kernels, target) in [
            (10, "amazonlinux2022"),
            (154, "centos"),
            (46, "debian"),
            (361, "flatcar"),
            (9, "minikube"),
            (420, "ol"),
            (388, "photon"),
            (360, "ubuntu-aws"),
        ] {
            let is_there = report.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some(target) && words.next() == Some(&kernels.to_string())
            });
            assert!(is_there, "{target}: {report}");
        }
        // centos6 118 and ol 431 on amd64; ubuntu on arm64.
        assert!(
            report.contains("support floor    549  a module needs kernel 3.10 or newer on amd64")
        );
        assert!(
            report.contains("support floor    103  a module needs kernel 3.16 or newer on arm64")
        );
    }
    let lock = workspace.run(&["lock", "all.toml"]);
    let row: Vec<&str> = lock.lines().nth(3).unwrap().split_whitespace().collect();
    assert_eq!(row, ["all.lock", "*", "6434", "0", "0", "0", "0", "0", "0"]);
}

#[test]
fn matrices_of_distributions_can_be_planned() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("matrices");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_matrix = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        // That of Debian is found in the mirror's indexes.
        if !is_matrix || path.ends_with("debian.toml") {
            continue;
        }
        let output = assert_cmd::Command::cargo_bin("driverkit-matrix")
            .unwrap()
            .args(["plan", "--format", "json"])
            .arg(&path)
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaints}", path.display());
        // Nothing is in doubt: every package has an address, every source a configuration.
        assert_eq!(complaints, "", "{}", path.display());
        count += 1;
    }
    assert!(count >= 15, "{count} matrices");
}

#[test]
fn kernels_for_which_nothing_can_be_built_are_told() {
    let matrix = r#"drivers = ["8.1.0+driver"]
[[target]]
name = "debian"
kernels = [{ release = "6.1.55-1-amd64", headers = ["https://example.org/linux-image-6.1.0-13-amd64_6.1.55-1_amd64.deb"] }]
[[target]]
name = "amazonlinux2"
kernels = [{ release = "5.10.102-99.473.amzn2.x86_64" }, { release = "5.4.95-42.163.amzn2.x86_64" }]
[[target]]
name = "redhat"
kernels = [{ release = "4.18.0-372.9.1.el8.x86_64" }]
[[target]]
name = "vanilla"
kernels = [{ release = "6.1.55" }]
"#;
    let workspace = Workspace::new().with("m.toml", matrix);
    let shown = workspace.run(&["plan", "m.toml", "--arch", "amd64"]);
    for text in [
        "nothing can be built for debian 6.1.55-1-amd64 #1 amd64: none of its packages is the header package",
        "amazonlinux2 5.4.95-42.163.amzn2.x86_64 #1 amd64 (and for 1 more of amazonlinux2): no rule gives",
        "vanilla 6.1.55 #1 amd64: its tree is prepared from a kernel source",
    ] {
        assert!(shown.contains(text), "{shown}");
    }
}

#[test]
fn kernels_of_a_subscription_need_an_image() {
    let matrix = r#"drivers = ["8.1.0+driver", "7.0.0+driver"]
architectures = ["amd64"]
[[target]]
name = "redhat"
kernels = [{ release = "4.18.0-372.9.1.el8.x86_64" }, { release = "4.18.0-305.el8.x86_64", headers = [
    "https://example.org/kernel-devel-4.18.0-305.el8.x86_64.rpm",
] }]
[[override]]
target = "redhat"
driver = "7.0.0+driver"
image  = "registry.example.org/rhel8"
"#;
    let workspace = Workspace::new().with("m.toml", matrix);
    let shown = workspace.run(&["plan", "m.toml"]);
    // One of the two drivers lacks an image; named packages need none.
    for text in [
        "2 kernels, 2 drivers, 3 builds",
        "its packages are behind a subscription: name an image of yours",
        "yum                1  registry.example.org/rhel8",
    ] {
        assert!(shown.contains(text), "{shown}");
    }
    let shown = workspace.run(&[
        "plan",
        "m.toml",
        "--builderimage",
        "a/b:c",
        "--format",
        "json",
    ]);
    let out = shown.split_once("--- out\n").unwrap().1;
    let out = out.split("--- err").next().unwrap();
    let plan: serde_json::Value = serde_json::from_str(out).unwrap();
    assert_eq!(plan["build_count"], 4);
    for build in plan["builds"].as_array().unwrap() {
        assert_eq!(build["image"], "a/b:c");
        let is_named = build["kernel_release"] == "4.18.0-305.el8.x86_64";
        assert_eq!(build["download"].is_null(), is_named, "{build}");
    }
}
