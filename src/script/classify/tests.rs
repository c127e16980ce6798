use std::path::Path;

use super::*;
use crate::failure::FailureClass;

fn log(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/logs");
    crate::fs::read_to_string(&folder.join(format!("{name}.log"))).unwrap()
}

/// Returns the findings in a log without its last lines.
fn classify(phase: Phase, name: &str) -> LogFindings {
    LogFindings {
        last_lines: Vec::new(),
        ..classify_log(phase, log(name).lines())
    }
}

fn error(file: &str, line: u32, message: &str) -> LogFindings {
    LogFindings {
        first_error: Some(CompilerError {
            file: file.to_owned(),
            line,
            message: message.to_owned(),
        }),
        ..LogFindings::default()
    }
}

#[test]
fn logs_of_successful_steps_contain_no_error() {
    for (phase, name) in [
        (Phase::Module, "module-6.1-arm64-good"),
        (Phase::Probe, "probe-6.12-good"),
        (Phase::Check, "check-yes"),
    ] {
        assert_eq!(classify(phase, name), LogFindings::default(), "{name}");
    }
}

#[test]
fn the_first_compiler_error_is_found_in_real_logs() {
    let fd_is_open = "implicit declaration of function 'fd_is_open'; did you mean 'finish_open'? [-Wimplicit-function-declaration]";
    for (phase, name, expected) in [
        (
            Phase::Module,
            "module-2022-on-6.12",
            error("main.c", 1495, fd_is_open),
        ),
        (
            Phase::Module,
            "module-2022-on-7.2",
            error("main.c", 1495, fd_is_open),
        ),
        (
            Phase::Probe,
            "probe-2022-on-6.12",
            error(
                "bpf/fillers.h",
                697,
                "member reference base type 'struct percpu_counter[4]' is not a structure or union",
            ),
        ),
        (
            Phase::Probe,
            "probe-0.23-on-7.2",
            error(
                "/usr/src/linux-headers-7.2.13+deb14-common/include/linux/fs.h",
                2442,
                "static assertion failed due to requirement 'sizeof(struct filename) % 64 == 0': sizeof(struct filename) % 64 == 0",
            ),
        ),
        (
            Phase::Module,
            "module-undefined-on-6.1",
            error("falco.ko", 0, "symbol no_such_function is undefined"),
        ),
        (
            Phase::Module,
            "module-undefined-on-7.2",
            error("falco.ko", 0, "symbol no_such_function is undefined"),
        ),
        (
            Phase::Module,
            "module-wrong-kbuild",
            error(
                "make",
                0,
                "No rule to make target '/usr/src/linux-headers-5.10.0-32-common//tmp/build/driver/Makefile'",
            ),
        ),
        (
            Phase::Configure,
            "configure-no-version",
            error("CMakeLists.txt", 51, "No DRIVER_VERSION set."),
        ),
        (
            Phase::Check,
            "check-no",
            error(
                "configure/CLASS_CREATE_1/test.c",
                23,
                "macro \"class_create\" requires 2 arguments, but only 1 given",
            ),
        ),
    ] {
        assert_eq!(classify(phase, name), expected, "{name}");
    }
}

#[test]
fn missing_parts_of_the_toolchain_are_found_in_real_logs() {
    use ToolchainDefect::{MissingProgram, UnknownFlag};
    for (phase, name, expected) in [
        (
            Phase::Check,
            "toolchain-gcc12-on-6.12",
            UnknownFlag("-fmin-function-alignment=16".to_owned()),
        ),
        (
            Phase::Check,
            "toolchain-gcc10-on-6.1",
            UnknownFlag("-mharden-sls=all".to_owned()),
        ),
        (
            Phase::Check,
            "toolchain-no-gcc-14",
            MissingProgram("gcc-14".to_owned()),
        ),
        (
            Phase::Check,
            "toolchain-no-pahole",
            MissingProgram("pahole".to_owned()),
        ),
        (
            Phase::Check,
            "toolchain-no-clang",
            MissingProgram("clang".to_owned()),
        ),
        (
            Phase::Configure,
            "configure-no-cxx",
            MissingProgram("c++".to_owned()),
        ),
    ] {
        let findings = classify(phase, name);
        assert_eq!(findings.toolchain.as_ref(), Some(&expected), "{name}");
        let failure = findings.into_failure(phase, 2);
        assert_eq!(failure.class, FailureClass::ToolchainMismatch, "{name}");
        assert_eq!(failure.message, expected.to_string());
    }
}

#[test]
fn single_lines_of_toolchain_defects_are_recognised() {
    use ToolchainDefect::{ForeignProgram, MissingLibrary, MissingProgram, UnknownFlag};
    for (lines, expected) in [
        (
            "scripts/basic/fixdep: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.38' not found (required by scripts/basic/fixdep)",
            MissingLibrary("GLIBC_2.38".to_owned()),
        ),
        (
            "scripts/mod/modpost: error while loading shared libraries: libelf.so.1: cannot open shared object file: No such file or directory",
            MissingLibrary("libelf.so.1".to_owned()),
        ),
        (
            "/bin/sh: 1: scripts/basic/fixdep: Exec format error\nmake[1]: *** [x:1: main.o] Error 126",
            ForeignProgram("scripts/basic/fixdep".to_owned()),
        ),
        (
            "make[2]: aarch64-linux-gnu-gcc-12: No such file or directory\nmake[2]: *** [x:1: main.o] Error 127",
            MissingProgram("aarch64-linux-gnu-gcc-12".to_owned()),
        ),
        (
            "/step.sh: 38: cmake: not found",
            MissingProgram("cmake".to_owned()),
        ),
        (
            "bash: line 3: llc: command not found",
            MissingProgram("llc".to_owned()),
        ),
        (
            "clang: error: unknown argument: '-fconserve-stack'",
            UnknownFlag("-fconserve-stack".to_owned()),
        ),
    ] {
        let findings = classify_log(Phase::Module, lines.lines());
        assert_eq!(findings.toolchain, Some(expected), "{lines}");
    }
}

#[test]
fn noise_is_not_classified_as_a_defect() {
    for noise in [
        "expr: syntax error: unexpected argument '1'",
        "/bin/sh: 1: dpkg: not found\n  CC [M]  /tmp/build/driver/main.o\nmain.c:3:1: error: real",
        "clang: warning: argument unused during compilation: '-x'\nmain.c:3:1: error: real",
        "warning: unknown warning option '-Wfoo' [-Wunknown-warning-option]\nmain.c:3:1: error: real",
        "[configure-kmod] /tmp/build/driver/configure/A/test.c:2:1: error: an answer",
        "main.c:7:2: warning: error: in a warning",
        "/usr/bin/ld: warning: creating DT_TEXTREL",
        "arch/x86/Makefile:155: CONFIG_X86_X32 enabled but no binutils support",
    ] {
        let findings = classify_log(Phase::Module, noise.lines());
        assert_eq!(findings.toolchain, None, "{noise}");
        if let Some(found) = findings.first_error {
            assert_eq!((found.line, found.message.as_str()), (3, "real"), "{noise}");
        } else {
            assert!(!noise.contains("real"), "{noise}");
        }
    }
}

#[test]
fn unrecognised_failure_shows_the_last_lines_that_are_not_noise() {
    let failure = classify_log(Phase::Module, []).into_failure(Phase::Module, 2);
    assert_eq!(
        failure.to_string(),
        "compile (module): the script ended with exit code 2 and printed nothing"
    );
    let log = [
        "one".to_owned(),
        "  CC [M]  /tmp/build/driver/main.o".to_owned(),
        "two".to_owned(),
        "three ".to_owned(),
        "four ".to_owned() + &"é".repeat(500),
        String::new(),
        "make[3]: *** [x:1: main.o] Error 1".to_owned(),
        "make[2]: Leaving directory '/x'".to_owned(),
        "make: *** Waiting for unfinished jobs....".to_owned(),
    ];
    let failure = classify_log(Phase::Module, log.iter().map(String::as_str));
    let failure = failure.into_failure(Phase::Module, 2);
    assert_eq!(failure.class, FailureClass::Compile);
    assert_eq!(
        failure.message,
        format!(
            "the script ended with exit code 2; its last lines: two | three | four {}",
            "é".repeat(195)
        )
    );
}

#[test]
fn errors_from_public_bug_reports_are_recognised() {
    for (log, class, message) in [
        (
            "main.o: error: objtool: f_sys_open+0x1a: call to {dynamic}() with UACCESS enabled\nmake[3]: *** [x:1: main.o] Error 255",
            FailureClass::Compile,
            "main.o: objtool: f_sys_open+0x1a: call to {dynamic}() with UACCESS enabled",
        ),
        (
            "  ERROR: Kernel configuration is invalid.\n         include/generated/autoconf.h or include/config/auto.conf are missing.\nmake: *** [Makefile:1: x] Error 1",
            FailureClass::WrongHeaders,
            "the header tree is not complete: Kernel configuration is invalid",
        ),
        (
            "include/linux/kconfig.h:5:10: fatal error: generated/autoconf.h: No such file or directory\nmake: *** [x] Error 1",
            FailureClass::WrongHeaders,
            "the header tree is not complete: generated/autoconf.h: No such file or directory",
        ),
        (
            "make[1]: *** No rule to make target 'include/config/auto.conf', needed by 'x'.  Stop.",
            FailureClass::WrongHeaders,
            "the header tree is not complete: No rule to make target 'include/config/auto.conf'",
        ),
        (
            "/bin/sh: line 1: ./tools/bpf/resolve_btfids/resolve_btfids: No such file or directory\nmake[3]: *** [x:1: falco.ko] Error 127",
            FailureClass::ToolchainMismatch,
            "the program ./tools/bpf/resolve_btfids/resolve_btfids is missing",
        ),
        (
            "/bin/sh: 1: scripts/basic/fixdep: Permission denied\nmake[3]: *** [x:1: main.o] Error 126",
            FailureClass::ToolchainMismatch,
            "the program scripts/basic/fixdep is not executable (its mode, or a noexec mount)",
        ),
        (
            "main.s: Fatal error: can't write 40 bytes to section .text of main.o\nmake[3]: *** [x:1: main.o] Error 1",
            FailureClass::Compile,
            "main.s: can't write 40 bytes to section .text of main.o",
        ),
        (
            "{standard input}:12: Error: no such instruction: `endbr64'",
            FailureClass::Compile,
            "{standard input}:12: no such instruction: `endbr64'",
        ),
        (
            "main.c:10:1: internal compiler error: in fold_convert, at fold.c:2\nPlease submit a full bug report,",
            FailureClass::Infrastructure,
            "the step failed because of the machine: main.c:10:1: internal compiler error: in fold_convert, at fold.c:2",
        ),
        (
            "libbpf: failed to find '.BTF' ELF section in vmlinux\nmake[3]: *** [x:1: falco.ko] Error 255",
            FailureClass::Compile,
            "BTF: libbpf: failed to find '.BTF' ELF section in vmlinux",
        ),
        (
            "Failed to parse base BTF 'vmlinux': -22\nmake[3]: *** [x:1: falco.ko] Error 1",
            FailureClass::Compile,
            "BTF: Failed to parse base BTF 'vmlinux': -22",
        ),
        (
            "gcc-12: error: unrecognized argument to '-fsanitize=' option: 'kcfi'\nmake[3]: *** [x:1: main.o] Error 1",
            FailureClass::ToolchainMismatch,
            "the compiler does not support -fsanitize=kcfi",
        ),
    ] {
        let failure = classify_log(Phase::Module, log.lines()).into_failure(Phase::Module, 2);
        assert_eq!(
            (failure.class, &*failure.message),
            (class, message),
            "{log}"
        );
    }
    // A message about BTF is not the cause if there is a compiler error.
    let log = "libbpf: failed to find '.BTF' ELF section in vmlinux\nmain.c:3:1: error: real";
    let failure = classify_log(Phase::Module, log.lines()).into_failure(Phase::Module, 2);
    assert_eq!(failure.message, "main.c:3: real");
}

#[test]
fn a_log_may_be_split_anywhere() {
    let text = log("module-2022-on-7.2");
    let whole = classify_log(Phase::Module, text.lines());
    for size in [1, 7, 4096] {
        let mut classifier = LogClassifier::new(Phase::Module);
        for piece in text.as_bytes().chunks(size) {
            classifier.feed(piece);
        }
        assert_eq!(classifier.finish(), whole);
    }
    // A last line without a line break counts, and a very long line does no harm.
    let mut classifier = LogClassifier::new(Phase::Module);
    classifier.feed(&vec![b'x'; 1 << 20]);
    classifier.feed(b"\nmain.c:1: error: \xff last");
    assert_eq!(
        classifier.finish().first_error.unwrap().message,
        "\u{fffd} last"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of lines")]
fn faults_of_the_machine_are_no_failure_of_the_driver() {
    for (line, code, class) in [
        (
            "strip: /out/module.ko: No space left on device",
            1,
            FailureClass::TooMuchOutput,
        ),
        (
            "x.c:1: fatal error: error writing to /tmp/x.s: No space left on device",
            2,
            FailureClass::TooMuchOutput,
        ),
        (
            "{standard input}: Fatal error: can't write 3 bytes to section .text of x.o: 'No space left on device'",
            2,
            FailureClass::TooMuchOutput,
        ),
        ("File size limit exceeded", 2, FailureClass::TooMuchOutput),
        (
            "ld: final link failed: File too large",
            2,
            FailureClass::TooMuchOutput,
        ),
        ("", 153, FailureClass::TooMuchOutput),
        (
            "cp: error writing '/out/tree': Disk quota exceeded",
            1,
            FailureClass::Infrastructure,
        ),
        (
            "cat: /driver/main.c: Input/output error",
            1,
            FailureClass::Infrastructure,
        ),
        ("Killed", 2, FailureClass::Infrastructure),
        (
            "sh: line 1: 17 Killed                  gcc-12 -c x.c",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "gcc-12: fatal error: Killed signal terminated program cc1",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "x.c:3:1: internal compiler error: Segmentation fault",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "make[2]: *** [Makefile:1: x.o] Error 137",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "clang: error: unable to execute command: Killed",
            1,
            FailureClass::Infrastructure,
        ),
        ("", 137, FailureClass::Infrastructure),
        ("", 143, FailureClass::Infrastructure),
        (
            "check A was interrupted: exit status 139",
            1,
            FailureClass::Infrastructure,
        ),
        (
            "x.c:3:1: internal compiler error: in fold, at fold.c:1",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "gcc: fatal error: Terminated signal terminated program cc1",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "clang: error: clang frontend command failed with exit code 139 (use -v to see invocation)",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "clang: error: clang frontend command failed due to signal (use -v to see invocation)",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "cc1: out of memory allocating 65536 bytes after a total of 1048576 bytes",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "virtual memory exhausted: Cannot allocate memory",
            2,
            FailureClass::Infrastructure,
        ),
        ("LLVM ERROR: out of memory", 2, FailureClass::Infrastructure),
        (
            "make: fork: Resource temporarily unavailable",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "/bin/sh: fork: retry: Resource temporarily unavailable",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "ld: final link failed: Read-only file system",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "make[1]: *** [Makefile:3: x.ko] Segmentation fault (core dumped)",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "make[1]: *** [Makefile:3: x.ko] Error 139",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "make[1]: *** [Makefile:3: x.ko] Error 134",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "/bin/sh: line 1:    44 Killed   pahole -J x.ko",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "/bin/sh: line 1:    44 Segmentation fault      (core dumped) llc x.ll",
            2,
            FailureClass::Infrastructure,
        ),
        (
            "OSError: [Errno 5] Input/output error: '/x'",
            1,
            FailureClass::Infrastructure,
        ),
        ("", 193, FailureClass::Infrastructure),
        ("", 255, FailureClass::Infrastructure),
        // The driver's own errors.
        (
            "x.c:3:1: error: 'Killed' undeclared",
            2,
            FailureClass::Compile,
        ),
        (
            "x.c:3:1: error: expected ';' before 'Aborted'",
            255,
            FailureClass::Compile,
        ),
        (
            "make[1]: *** [Makefile:3: x.ko] Error 1",
            2,
            FailureClass::Compile,
        ),
        (
            "   12 | pr_err(\"No space left on device\\n\");",
            2,
            FailureClass::Compile,
        ),
        (
            "x.c:4:2: error: Killed by a reviewer",
            1,
            FailureClass::Compile,
        ),
        ("", 127, FailureClass::Compile),
    ] {
        let failure = classify_log(Phase::Module, [line]).into_failure(Phase::Module, code);
        assert_eq!(failure.class, class, "{line} {code}: {failure}");
        assert_eq!(failure.exit_code, Some(code));
        assert!(
            failure.message.contains(line.trim()) || class == FailureClass::Compile,
            "{failure}"
        );
    }
}

#[test]
fn check_scripts_recognise_the_same_faults_of_the_machine() {
    for (line, is_fault) in [
        ("x: No space left on device", true),
        ("make: *** [x] Error 137", true),
        ("x: No space left on device (os error 28)", true),
        ("OSError: [Errno 28] No space left on device: '/x'", true),
        ("sh: line 1:    44 Aborted   llc", true),
        ("x.c:1: internal compiler error: in fold, at fold.c:1", true),
        ("x.c:1: error: 'Killed' undeclared", false),
    ] {
        let mut grep = std::process::Command::new("grep")
            .args(["-q", "-E", "-e", MACHINE_FAULTS.as_str()])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut grep.stdin.take().unwrap(), line.as_bytes()).unwrap();
        assert_eq!(grep.wait().unwrap().success(), is_fault, "{line}");
        assert_eq!(MachineFault::of_line(line).is_some(), is_fault, "{line}");
    }
}
