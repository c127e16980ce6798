use super::*;

const GOOD: &str = "proof: 0 load 1\nproof: 0 loaded 0\nproof: 0 listed 1\nproof: 0 parameters 3\n\
    proof: 0 devices 2\nproof: 0 open 0\nproof: 0 map 0\nproof: 0 events 7000\nproof: 0 used 5000\nproof: 0 unloaded 0\nproof: 0 taints 12288\n";

fn verdicts(steps: &str, count: usize) -> Vec<Verdict> {
    boot(steps, count, 0).verdicts
}

fn boot(steps: &str, count: usize, exit: i32) -> Boot {
    let console = format!("[ 0.1] Run /init\nproof: -1 boot 2\n{steps}\nproof: qemu exit {exit}\n");
    read_console(&console, count)
}

fn verdict(steps: &str) -> Verdict {
    let found = verdicts(steps, 1);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn a_working_module_is_reported_as_loaded() {
    let loaded = Verdict::Loaded {
        devices: 2,
        parameters: 3,
    };
    assert_eq!(verdict(GOOD), loaded);
    // A module that is no Falco driver records no events.
    assert_eq!(verdict(&GOOD.replace("proof: 0 events 7000\n", "")), loaded);
}

#[test]
fn a_refusal_contains_the_kernels_message() {
    let console = "proof: 0 load 1\n[    4.7] falco: Unknown symbol nowhere (err -2)\nproof: 0 loaded -2\n\
        proof: -1 end 0\n[    4.9] reboot: Restarting system\n";
    let refused = Verdict::Refused {
        error: -2,
        words: "falco: Unknown symbol nowhere (err -2)".to_owned(),
    };
    assert_eq!(verdict(console), refused);
}

#[test]
fn steps_after_a_timestamp_of_the_kernel_log_are_found() {
    let console = "[    4.361204] proof: 0 load 1\r\n\
        [    4.368088] falco: disagrees about version of symbol module_layout\r\n\
        [    4.369917] proof: 0 loaded -8\r\n[    4.371020] proof: -1 end 0\r\n";
    let refused = Verdict::Refused {
        error: -8,
        words: "falco: disagrees about version of symbol module_layout".to_owned(),
    };
    assert_eq!(verdict(console), refused);
}

#[test]
fn module_after_a_refused_one_is_judged() {
    let second = GOOD.replace("proof: 0", "proof: 1");
    let console = format!("proof: 0 load 1\nproof: 0 loaded -8\n{second}");
    let found = verdicts(&console, 2);
    assert!(matches!(found[0], Verdict::Refused { .. }), "{found:?}");
    assert!(found[1].is_good(), "{found:?}");
}

#[test]
fn module_after_an_oops_is_not_judged() {
    let second = GOOD.replace("proof: 0", "proof: 1");
    let console = format!(
        "proof: 0 load 1\n[ 5.0] BUG: kernel NULL pointer dereference\n[ 5.0] #PF: write\n{second}"
    );
    let trace = "BUG: kernel NULL pointer dereference\n#PF: write".to_owned();
    assert_eq!(verdicts(&console, 2), [Verdict::Oops { trace }]);
}

#[test]
fn missing_steps_and_bad_results_are_distinguished() {
    let without_end = GOOD.split_once("proof: 0 unloaded").unwrap().0;
    let after = "used".to_owned();
    assert_eq!(verdict(without_end), Verdict::TimedOut { after });
    let busy = GOOD.replace("unloaded 0", "unloaded -16");
    assert!(matches!(
        verdict(&busy),
        Verdict::NotUnloaded { error: -16, .. }
    ));
    let tainted = GOOD.replace("taints 12288", "taints 12289");
    assert_eq!(verdict(&tainted), Verdict::Tainted { taints: 1 });
    for (good, bad, reason) in [
        ("devices 2", "devices 1", "1 devices for 2 processors"),
        ("open 0", "open -6", "cannot be opened: error 6"),
        ("map 0", "map -22", "cannot be mapped: error 22"),
        ("listed 1", "listed 0", "/proc/modules"),
        ("events 7000", "events 0", "recorded no event"),
    ] {
        let found = verdict(&GOOD.replace(good, bad));
        assert!(
            matches!(&found, Verdict::Unusable { reason: found } if found.contains(reason)),
            "{found:?}"
        );
    }
}

#[test]
fn boot_without_init_has_no_verdict() {
    let console =
        "[ 1.0] Kernel panic - not syncing: VFS\n[ 1.1] Memory Limit: none\nproof: qemu exit 0\n";
    let boot = read_console(console, 1);
    assert_eq!(boot.exit, Some(0));
    assert!(boot.verdicts.is_empty());
    assert_eq!(boot.last_words, "Kernel panic - not syncing: VFS");
}

#[test]
fn probe_is_loaded_refused_or_not_tried() {
    let probe = |steps: &str| verdict(&format!("proof: 0 load 1\nproof: 0 probe 1\n{steps}"));
    let taken = "proof: 0 maps 11\nproof: 0 programs 215\nproof: 0 refused 0\nproof: 0 loaded 0\n";
    let found = probe(taken);
    assert!(found.is_good());
    assert_eq!(found.to_string(), "loaded (215 programs, 11 maps)");

    let refused = probe(
        "proof: 0 maps 11\n[ 5.0] clocksource: of the kernel\n[ 5.1] bpf: raw_tracepoint/sys_enter: R2 !read_ok\n\
         proof: 0 programs 2\nproof: 0 refused 1\nproof: 0 loaded -13\n",
    );
    assert_eq!(
        refused.to_string(),
        "refused, error 13: raw_tracepoint/sys_enter: R2 !read_ok"
    );
    let without_bpf = probe("proof: 0 loaded -38\n");
    assert!(
        matches!(&without_bpf, Verdict::NotProven { reason } if reason.contains("CONFIG_BPF_SYSCALL")),
        "{without_bpf:?}"
    );
    let unknown = probe("[ 5.1] bpf: its maps are elsewhere\nproof: 0 unknown 1\n");
    assert_eq!(
        unknown.to_string(),
        "not proven: this layout of a probe cannot be loaded: its maps are elsewhere"
    );
    let endless = probe("proof: 0 maps 11\n");
    let after = "maps".to_owned();
    assert_eq!(endless, Verdict::TimedOut { after });
    // A module that is refused with the same error is refused.
    let module = verdict("proof: 0 load 1\nproof: 0 loaded -38\n");
    assert!(matches!(module, Verdict::Refused { .. }), "{module:?}");
}

#[test]
fn a_boot_that_qemu_ended_says_nothing_about_its_last_module() {
    let used = GOOD.split_once("proof: 0 unloaded").unwrap().0;
    let killed = boot(used, 2, 137);
    let reason = "qemu ended with exit status 137 during or after step `used`".to_owned();
    assert_eq!(killed.verdicts, [Verdict::NotProven { reason }]);
    assert!(killed.is_cut);
    // Without its last line the console is incomplete.
    let open = read_console(&format!("proof: -1 boot 2\n{used}"), 1);
    assert!(matches!(open.verdicts[..], [Verdict::NotProven { .. }]));
    assert!(open.is_cut);
    let slow = boot(used, 1, 124);
    let after = "used".to_owned();
    assert_eq!(slow.verdicts, [Verdict::TimedOut { after }]);
    assert!(slow.is_cut && slow.has_timed_out());
    // The kernel ended qemu.
    assert!(!boot(used, 1, 0).is_cut);
    // Complete steps and crashes are certain.
    for exit in [124, 137] {
        let good = boot(GOOD, 2, exit);
        assert!(good.verdicts[0].is_good() && !good.is_cut, "{good:?}");
        let crash = boot("proof: 0 load 1\nBUG: kernel NULL pointer\n", 1, exit);
        assert!(matches!(crash.verdicts[..], [Verdict::Oops { .. }]));
        assert!(!crash.is_cut);
    }
}

#[test]
fn a_refusal_without_words_names_the_error() {
    for (error, text) in [
        (
            -19,
            "refused, error 19 (ENODEV); the kernel printed nothing",
        ),
        (-999, "refused, error 999; the kernel printed nothing"),
    ] {
        let found = verdict(&format!("proof: 0 load 1\nproof: 0 loaded {error}\n"));
        assert_eq!(found.to_string(), text);
    }
    let error = -16;
    let words = String::new();
    assert_eq!(
        Verdict::NotUnloaded { error, words }.to_string(),
        "cannot be unloaded, error 16 (EBUSY); the kernel printed nothing"
    );
}

#[test]
fn steps_with_the_task_that_printed_them_are_found() {
    let with_caller = |line: &str| format!("[    2.080000][    T1] {line}\r\n");
    let console: String = GOOD.lines().map(with_caller).collect();
    let console = format!("{}{console}", with_caller("proof: -1 boot 2"));
    let found = read_console(&format!("{console}proof: qemu exit 0\n"), 1);
    assert!(found.verdicts[0].is_good(), "{found:?}");
    let refused = "[    4.7][    C1] [drm] no device\n[    4.7][    T1] proof: 0 loaded -19\n";
    let found = verdict(&format!("proof: 0 load 1\n{refused}"));
    assert_eq!(found.to_string(), "refused, error 19: [drm] no device");
}

#[test]
fn every_report_of_a_defect_is_a_warning() {
    let (start, end) = GOOD.split_once("proof: 0 loaded").unwrap();
    let with = |lines: &str| verdict(&format!("{start}{lines}proof: 0 loaded{end}"));
    for report in [
        "WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2 [falco]",
        "UBSAN: array-index-out-of-bounds in a.c:3:4",
        "rcu: INFO: rcu_preempt self-detected stall on CPU",
        "rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
        "rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 0-... }",
        "INFO: rcu_sched self-detected stall on CPU",
        "INFO: task init:1 blocked for more than 120 seconds.",
        "sysfs: cannot create duplicate filename '/class/falco'",
        "something odd happened\n[ 1.0] Call Trace:\n[ 1.0]  falco_init+0x1/0x2 [falco]",
        "something odd happened\n[ 1.0] CPU: 0 PID: 1\n[ 1.0] Call trace:\n[ 1.0]  falco_init+0x1/0x2",
    ] {
        let found = with(&format!("[ 1.0] {report}\n"));
        let headline = report.lines().next().unwrap();
        assert!(
            matches!(&found, Verdict::Warning { trace } if trace.starts_with(headline)),
            "{found:?}"
        );
    }
    for harmless in [
        "falco: loading out-of-tree module taints kernel.",
        "rcu: INFO: something else",
        "INFO: task list is empty",
    ] {
        let found = with(&format!("[ 1.0] {harmless}\n"));
        assert!(found.is_good(), "{found:?}");
    }
}
