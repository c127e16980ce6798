//! Tests of the messages and places for errors in a matrix.

use insta::assert_snapshot;

use support::workspace::Workspace;

/// Returns the output of `plan` for a matrix with errors.
fn complaint(matrix: &str) -> String {
    Workspace::new()
        .with("m.toml", matrix)
        .run(&["plan", "m.toml"])
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
fn all_errors_of_a_matrix_are_reported_at_once() {
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

    error: unknown architecture `s390x`: expected amd64 (or x86_64) or arm64 (or aarch64)
     --> m.toml:2:27
      |
    2 | architectures = ["amd64", "s390x"]
      |                           ^^^^^^^

    error: `artifacts` has the wrong type
     --> m.toml:3:13
      |
    3 | artifacts = "module"
      |             ^^^^^^^^ expected an array, each module or probe, found a string

    error: invalid time `5 parsecs`: expected 1s to 7d, such as 90s, 5m or 1h30m
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

    error: invalid compiler version `12; true`: expected a value such as 12 or 4.9
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

    error: invalid kernel release `6.1; rm -rf /`: ';' is not allowed; only letters, digits and `. _ + ~ -` are allowed
      --> m.toml:14:17
       |
    14 |     { release = "6.1; rm -rf /", headers = ["ftp://example.org/a.deb"] },
       |                 ^^^^^^^^^^^^^^^

    error: `ftp` URLs are not supported: expected http, https, file or a path
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

    error: the glob `centos*` does not name a single target
      --> m.toml:19:8
       |
    19 | name = "centos*"
       |        ^^^^^^^^^
       |
       = help: only lists contain several targets; `inline` needs a single name

    error: `kernel-crawlre` is not a source of kernels
      --> m.toml:24:20
       |
    24 | kernels = { from = "kernel-crawlre" }
       |                    ^^^^^^^^^^^^^^^^
       |
       = help: did you mean `kernel-crawler`?

    error: invalid part `>=5.4 <6` of a version range: expected a comparison (>=, >, <=, <, =) and a version, as in `>=5.4, <6.9`
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
       = help: add a target, kernel, driver, architecture or artifact to exclude

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

    error: driver version `../x` cannot name a directory: 1 to 100 letters, digits and `. _ + ~ -`, not starting with a dot or dash
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

    error: the name has 61 characters: expected 1 to 60
      --> m.toml:12:15
       |
    12 | module_name = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
       |               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: `a/b` cannot name a module or device: letters, digits and `_ - .` are allowed, not starting with a dot or dash
      --> m.toml:13:15
       |
    13 | device_name = "a/b"
       |               ^^^^^

    error: `source` has several locations
      --> m.toml:16:10
       |
    16 | source = { path = "x", url = "https://example.org/x.tar.gz" }
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       |
       = help: keep one: path, url, git with ref, or org and name

    error: 7 errors; nothing was done
    "#);
}

#[test]
fn invalid_toml_is_refused() {
    let unclosed = "drivers = [\"8.1.0+driver\"\n[[target]]\nname = debian\n";
    assert_snapshot!(complaint(unclosed), @r#"
    exit 2
    --- err
    error: not TOML: this array is not closed
     --> m.toml:1:11
      |
    1 | drivers = ["8.1.0+driver"
      |           ^ opened here
      |
      = help: write `]` after its last element
    "#);
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
name = "generic"
kernels = [
    { release = "5.4.0-1", headers = ["https://example.org/a.rpm"] },
    { release = "5.4.0-1", headers = ["https://example.org/b.rpm"] },
]
"#;
    assert_snapshot!(complaint(twice), @r#"
    exit 2
    --- err
    error: kernel generic 5.4.0-1 #1 amd64 is listed twice with different header packages
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
            "drivers = [\"mine\"]\n{driver}\n[[target]]\nname = \"generic\"\n{settings}\nkernels = [{{ release = \"5.4.0-1\" }}]\n"
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
    error: kernel generic 5.4.0-1 #1 amd64 is listed twice with different settings
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
      = help: put settings for some of the builds into an [[override]]
    "#);
    assert_snapshot!(workspace.run(&["plan", "a.toml", "c.toml"]), @r#"
    exit 2
    --- err
    error: driver `mine` has different sources or names in another matrix
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
      = help: use the same [driver] table in both, or another version name in one of them
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
fn a_missing_matrix_is_refused() {
    let workspace = Workspace::new();
    assert_snapshot!(workspace.run(&["plan"]), @r"
    exit 2
    --- err
    error: no matrix: matrices/*.toml matches no file in this directory
     |
     = help: name a matrix file
    ");
    assert_snapshot!(workspace.run(&["plan", "gone.toml"]), @r"
    exit 2
    --- err
    error: failed to read gone.toml: it does not exist
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

    error: the configuration of kernel 6.1.55-1-amd64: failed to read gone.config: it does not exist
     --> m.toml:4:44
      |
    4 | kernels = [{ release = "6.1.55-1-arm64" }, { release = "6.1.55-1-amd64", config = "gone.config" }]
      |                                            ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: 2 errors; nothing was done
    "#);
}
