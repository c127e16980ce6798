//! Tests of every way in which a job can fail, and of what a later run does.

use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use driverkit_matrix::report::read_log;
use serde_json::{Value, json};

use crate::run::{BUILD, MODULE, NOTHING};
use support::grid::{Grid, module, rule, rule_for};

const COMPILER_LOG: &str = "\
/tmp/build/driver/main.c: In function 'f':
/tmp/build/driver/main.c:7:3: error: unknown type name 'foo'
make[1]: *** [scripts/Makefile.build:250: /tmp/build/driver/main.o] Error 1
make: *** [Makefile:2027: /tmp/build/driver] Error 2
";

const TOOLCHAIN_LOG: &str = "\
gcc-12: error: unrecognized command-line option '-fmin-function-alignment=16'
make: *** [Makefile:1: x] Error 1
";

/// A simulated job, and the expected result.
struct Case {
    job: &'static str,
    then: Value,
    code: i32,
    status: &'static str,
    class: &'static str,
    /// A part of the message.
    message: &'static str,
    /// Whether the next run reports it without running the job again.
    is_kept: bool,
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<Case> {
    let case = |job, then, status, class, message| Case {
        job,
        then,
        code: 1,
        status,
        class,
        message,
        is_kept: status == "failed",
    };
    let toolchain = json!({ "outputs": {
        "checks/toolchain-module/status": "2\n",
        "checks/toolchain-module/log": TOOLCHAIN_LOG,
    } });
    vec![
        case(
            "module *",
            json!({ "code": 2, "log": COMPILER_LOG }),
            "failed",
            "compile",
            "unknown type name",
        ),
        case(
            "check *",
            toolchain,
            "failed",
            "toolchain-mismatch",
            "-fmin-function-alignment=16",
        ),
        case(
            "module *",
            json!({}),
            "failed",
            "output-missing",
            "module.ko",
        ),
        case(
            "module *",
            json!({ "outputs": { "module.ko": "<html>" } }),
            "failed",
            "output-invalid",
            "ELF",
        ),
        case(
            "module *",
            json!({ "hangs": true }),
            "error",
            "timeout",
            "timeout",
        ),
        case(
            "check *",
            json!({ "hangs": true }),
            "error",
            "timeout",
            "timeout",
        ),
        case(
            "module *",
            json!({ "out-of-memory": true }),
            "error",
            "out-of-memory",
            "memory",
        ),
        case(
            "module *",
            json!({ "too-much-output": true }),
            "error",
            "too-much-output",
            "raise `output`",
        ),
        Case {
            code: 3,
            ..case(
                "check *",
                json!({ "code": 1, "log": "check A answers nothing:\nx: Input/output error\n" }),
                "error",
                "infrastructure",
                "Input/output error",
            )
        },
        Case {
            code: 3,
            ..case(
                "module *",
                json!({ "code": 2, "log": "gcc-12: fatal error: Killed signal terminated program cc1\n" }),
                "error",
                "infrastructure",
                "terminated program cc1",
            )
        },
        Case {
            code: 3,
            ..case(
                "module *",
                json!({ "code": 137 }),
                "error",
                "infrastructure",
                "signal 9",
            )
        },
        case(
            "module *",
            json!({ "image-error": "no such image" }),
            "error",
            "image",
            "no such image",
        ),
        Case {
            code: 3,
            ..case(
                "module *",
                json!({ "infrastructure-error": "no daemon" }),
                "error",
                "infrastructure",
                "no daemon",
            )
        },
    ]
}

#[test]
fn every_failure_has_its_class_and_only_deterministic_ones_are_kept() {
    for Case {
        job,
        then,
        code,
        status,
        class,
        message,
        is_kept,
    } in cases()
    {
        let grid = Grid::new();
        grid.edit_matrix("retries = 1", "retries = 1\ntimeout = \"1s\"");
        grid.fake(&[rule(job, &then)]);
        let (found, text) = grid.run(&[]);
        assert_eq!(found, code, "{class}: {text}");
        let outcome = grid.outcome();
        assert_eq!(
            (outcome.0.as_str(), outcome.1.as_str()),
            (status, class),
            "{text}"
        );
        assert!(outcome.2.contains(message), "{class}: {}", outcome.2);
        assert!(!grid.record().artifacts[0].failure_is_cached, "{class}");
        assert!(!grid.path(MODULE).exists());
        // Transient failures are retried; if no check compiles, an empty module is tried in a separate job.
        let times = if ["infrastructure", "toolchain-mismatch"].contains(&class) {
            2
        } else {
            1
        };
        let what = job.trim_end_matches(" *");
        assert_eq!(
            grid.jobs().iter().filter(|job| *job == what).count(),
            times,
            "{class}"
        );

        if is_kept {
            // With `--retry` the job runs again, and fails again.
            let (found, text) = grid.run(&["--retry", class]);
            assert_eq!(found, code, "{class}: {text}");
            assert_eq!(grid.outcome(), outcome, "{class}");
            assert!(!grid.record().artifacts[0].failure_is_cached, "{class}");
            assert_eq!(grid.jobs(), vec![what; times], "{class}");
        }

        // The job would succeed now, but a cached failure is not tried again.
        grid.fake(&[]);
        let (found, text) = grid.run(&[]);
        assert_eq!(found, if is_kept { code } else { 0 }, "{class}: {text}");
        assert_eq!(grid.jobs().is_empty(), is_kept, "{class}");
        if is_kept {
            assert_eq!(grid.outcome(), outcome, "{class}");
            assert!(grid.record().artifacts[0].failure_is_cached, "{class}");
            let other = if class == "compile" {
                "output-invalid"
            } else {
                "compile"
            };
            assert_eq!(grid.run(&["--retry", other]).0, code, "{class}");
            let (found, text) = grid.run(&["--retry", "failed"]);
            assert_eq!(found, 0, "{class}: {text}");
        }
        assert!(grid.path(MODULE).exists());
    }
}

#[test]
fn the_first_compiler_error_is_in_the_manifest_with_its_log() {
    let grid = Grid::new();
    grid.fake(&[rule("module *", &json!({ "code": 2, "log": COMPILER_LOG }))]);
    // The second time, the failure is read from the cache.
    for _ in 0..2 {
        grid.run(&[]);
        let artifact = grid.record().artifacts.remove(0);
        let error = artifact.failure.unwrap().first_error.unwrap();
        assert_eq!((error.file.as_str(), error.line), ("main.c", 7));
        let log = grid.path("out").join(artifact.log.unwrap());
        let text = read_log(&log).unwrap();
        assert!(
            text.lines()
                .next()
                .unwrap()
                .contains(&format!("rebuild {BUILD} ")),
            "{text}"
        );
        assert!(text.contains("unknown type name 'foo'"), "{text}");
        fs::remove_file(&log).unwrap();
    }
}

#[test]
fn without_checks_an_empty_module_tells_toolchain_from_driver() {
    let grid = Grid::new();
    for name in ["CMakeLists.txt", "main.c"] {
        grid.write(&format!("cmake-driver/driver/{name}"), name);
    }
    grid.write("cmake-driver/cmake/modules/a.cmake", "");
    grid.edit_matrix("path = \"driver\"", "path = \"cmake-driver\"");
    let module_rule = rule("module *", &json!({ "code": 2, "log": COMPILER_LOG }));
    let toolchain_rule = rule(
        "check *",
        &json!({ "outputs": {
            "checks/toolchain-module/status": "2\n",
            "checks/toolchain-module/log": TOOLCHAIN_LOG,
        } }),
    );
    let outcome = |arguments: &[&str]| {
        let (code, text) = grid.run(arguments);
        assert_eq!(code, 1, "{text}");
        let jobs = grid.jobs();
        (grid.outcome().1, jobs)
    };
    let jobs = ["check", "configure", "module"].map(str::to_owned).to_vec();
    grid.fake(&[module_rule.clone(), toolchain_rule]);
    assert_eq!(outcome(&[]), ("toolchain-mismatch".to_owned(), jobs));
    assert_eq!(outcome(&[]), ("toolchain-mismatch".to_owned(), Vec::new()));
    // An empty module compiles now, so the driver is the cause.
    grid.fake(&[module_rule]);
    let jobs = ["check", "module"].map(str::to_owned).to_vec();
    let retry = ["--retry", "toolchain-mismatch"];
    assert_eq!(outcome(&retry), ("compile".to_owned(), jobs));
    assert_eq!(outcome(&[]), ("compile".to_owned(), Vec::new()));
    grid.fake(&[]);
    let (code, text) = grid.run(&["--retry", "compile"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["module"]);
}

/// The lines are from public bug reports.
#[test]
fn errors_of_public_reports_reach_the_manifest() {
    for (log, class, message) in [
        (
            "x.o: error: objtool: f+0x1a: call to {dynamic}() with UACCESS enabled",
            "compile",
            "x.o: objtool: f+0x1a: call to {dynamic}() with UACCESS enabled",
        ),
        (
            "  ERROR: Kernel configuration is invalid.",
            "wrong-headers",
            "the header tree is not complete: Kernel configuration is invalid",
        ),
        (
            "/bin/sh: line 1: ./tools/bpf/resolve_btfids/resolve_btfids: No such file or directory\nmake: *** [x] Error 127",
            "toolchain-mismatch",
            "the program ./tools/bpf/resolve_btfids/resolve_btfids is missing",
        ),
        (
            "/bin/sh: 1: scripts/basic/fixdep: Permission denied\nmake: *** [x] Error 126",
            "toolchain-mismatch",
            "the program scripts/basic/fixdep is not executable",
        ),
        (
            "main.s: Fatal error: can't write 40 bytes to section",
            "compile",
            "main.s: can't write 40 bytes to section",
        ),
        (
            "libbpf: failed to find '.BTF' ELF section in vmlinux",
            "compile",
            "failed to find '.BTF' ELF section in vmlinux",
        ),
        (
            "Failed to parse base BTF 'vmlinux': -22",
            "compile",
            "Failed to parse base BTF",
        ),
        (
            "gcc: error: unrecognized argument to '-fsanitize=' option: 'kcfi'",
            "toolchain-mismatch",
            "the compiler does not support -fsanitize=kcfi",
        ),
        (
            "  CC [M]  main.o\nthe moon is in the way\nmake: *** [x] Error 2",
            "compile",
            "the moon is in the way",
        ),
    ] {
        let grid = Grid::new();
        let log_text = format!("{log}\n");
        grid.fake(&[rule("module *", &json!({ "code": 2, "log": log_text }))]);
        assert_eq!(grid.run(&[]).0, 1, "{log}");
        let (_, found, text) = grid.outcome();
        assert_eq!(found, class, "{log}: {text}");
        assert!(text.contains(message), "{log}: {text}");
    }
}

#[test]
fn a_module_of_another_kernel_is_a_failure_and_does_not_replace_a_good_one() {
    let grid = Grid::new();
    assert_eq!(grid.run(&[]).0, 0);
    let good = fs::read(&grid.path(MODULE)).unwrap();
    grid.write("module.ko", module("6.1.0-2-amd64"));
    grid.write_driver("driver", "other");
    assert_eq!(grid.run(&[]).0, 1);
    let (status, class, message) = grid.outcome();
    assert_eq!(
        (status.as_str(), class.as_str()),
        ("failed", "output-invalid")
    );
    assert!(message.contains("6.1.0-2-amd64"), "{message}");
    assert_eq!(fs::read(&grid.path(MODULE)).unwrap(), good);
}

#[test]
fn checks_without_answers_are_a_missing_output() {
    let grid = Grid::new();
    grid.fake(&[rule("check *", &json!({}))]);
    assert_eq!(grid.run(&[]).0, 1);
    assert_eq!(grid.outcome().1, "output-missing");
    // No check has compiled, so an empty module is tried as well.
    assert_eq!(grid.jobs(), ["check", "check"]);
    assert_eq!(grid.run(&[]).0, 1);
    assert_eq!(grid.jobs(), NOTHING);
}

/// The rule for all steps: a failure is kept if its class is deterministic.
#[test]
fn a_failed_job_of_checks_is_kept_like_that_of_a_module() {
    let log = "make: *** No rule to make target 'modules'.  Stop.\n";
    for job in ["check *", "module *"] {
        let grid = Grid::new();
        grid.fake(&[rule(job, &json!({ "code": 2, "log": log }))]);
        assert_eq!(grid.run(&[]).0, 1, "{job}");
        assert_ne!(grid.jobs(), NOTHING, "{job}");
        let first = grid.outcome();
        assert_eq!(grid.run(&[]).0, 1, "{job}");
        assert_eq!(grid.jobs(), NOTHING, "{job}");
        assert!(grid.record().artifacts[0].failure_is_cached, "{job}");
        assert_eq!(grid.outcome(), first, "{job}");
    }
}

#[test]
fn configuring_a_driver_can_fail() {
    let missing = json!({});
    let broken = json!({ "code": 1, "log": "CMake Error at CMakeLists.txt:1 (message):\n  no such option\n" });
    for (then, class) in [(broken, "configure"), (missing, "output-missing")] {
        let grid = Grid::new();
        grid.write("cmake-driver/driver/CMakeLists.txt", "");
        grid.write("cmake-driver/cmake/modules/a.cmake", "");
        grid.edit_matrix("path = \"driver\"", "path = \"cmake-driver\"");
        grid.fake(&[rule("configure *", &then)]);
        let (code, text) = grid.run(&[]);
        assert_eq!((code, grid.outcome().1.as_str()), (1, class), "{text}");
        assert_eq!(grid.jobs(), ["configure"]);
        grid.fake(&[]);
        assert_eq!(grid.run(&[]).0, 1);
        assert_eq!(grid.jobs(), NOTHING);
        assert!(grid.record().artifacts[0].failure_is_cached);
        let (code, text) = grid.run(&["--retry", class]);
        assert_eq!(code, 0, "{text}");
    }
}

#[test]
fn transient_errors_are_retried() {
    let grid = Grid::new();
    grid.fake(&[rule_for(
        1,
        "module *",
        &json!({ "infrastructure-error": "lost the daemon" }),
    )]);
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("lost the daemon"), "{text}");
    assert_eq!(grid.jobs(), ["check", "module", "module"]);
    let record = grid.record();
    assert_eq!((record.retries.len(), record.attempts), (1, 2));
}

#[test]
fn infrastructure_that_stays_broken_ends_the_run_and_is_named() {
    let grid = Grid::of_four();
    grid.edit_matrix("retries = 1", "retries = 9");
    grid.fake(&[rule("*", &json!({ "infrastructure-error": "no daemon" }))]);
    let (code, text) = grid.run(&["--jobs", "1"]);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("no daemon"), "{text}");
    assert_eq!(grid.jobs().len(), 5);
    assert!(
        grid.statuses().contains(&Status::Error),
        "{:?}",
        grid.statuses()
    );
    grid.fake(&[]);
    assert_eq!(grid.run(&[]).0, 0);
}
