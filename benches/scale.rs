//! Far beyond real sizes, each command in its own process: a list of 600,000 kernels, thousands of rules, many
//! `[[target]]`s on one list. This shows costs that grow faster than the input.
//!
//! `cargo bench --bench scale [-- kernels|rules|targets]`

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use driverkit_matrix::fs;
use support::measure::{Measured, measure};
use support::measured::{report, wall};
use support::tell::{Chosen, tell};

const RUNS: usize = 3;
const KERNELS: usize = 600_000;
const RULES: usize = 4_000;
const TARGETS: usize = 50;

/// The glob or range of a rule, by its number.
type Form = fn(usize) -> String;

fn main() {
    let chosen = Chosen::from_command_line();
    if chosen.wants("kernels") {
        kernels();
    }
    if chosen.wants("rules") {
        rules();
    }
    if chosen.wants("targets") {
        targets();
    }
}

fn run(folder: &Path, arguments: &[&str]) -> Measured {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"));
    measure(command.current_dir(folder).args(arguments))
}

fn put(folder: &Path, name: &str, text: &str) {
    fs::write(&folder.join(name), text).expect("a writable folder");
}

/// `lock` of one list, the first time and with nothing new, and `plan` from the lock: with one package for each kernel,
/// and with as many packages as in real lists.
fn kernels() {
    for (shape, families) in [
        ("one package", &support::lists::FAMILIES[..1]),
        ("real shape", &support::lists::FAMILIES),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let folder = folder.path();
        put(
            folder,
            "list.json",
            &support::lists::make("x86_64", KERNELS, families),
        );
        put(folder, "m.toml", &matrix(&["8.1.0+driver"], "*"));
        let lock = folder.join("m.lock");
        let (mut first, mut same, mut plan) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..RUNS {
            if lock.exists() {
                fs::remove_file(&lock).expect("a removable lock");
            }
            first.push(run(folder, &["lock", "m.toml"]));
            same.push(run(folder, &["lock", "m.toml"]));
            plan.push(run(folder, &["plan", "m.toml", "--locked"]));
        }
        let name = |what: &str| format!("{what}, {KERNELS} kernels, {shape}");
        report(&name("lock, the first time"), &first, "5 s, 1 GiB");
        report(&name("lock, nothing new"), &same, "5 s, 1 GiB");
        report(&name("plan"), &plan, "1 s, 600 MiB");
    }
}

/// Returns a matrix over `list.json`.
fn matrix(drivers: &[&str], target: &str) -> String {
    format!(
        "drivers = {drivers:?}\narchitectures = [\"amd64\"]\n{}",
        entry(target)
    )
}

fn entry(target: &str) -> String {
    format!(
        "[[target]]\nname = {target:?}\nkernels = {{ from = \"kernel-crawler\", path = {{ amd64 = \"list.json\" }} }}\n"
    )
}

/// The additional time for a plan of 51,472 builds with thousands of rules, for every form of a rule.
fn rules() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let matrix = support::lists::matrix(&support::lists::find_or_make(folder));
    put(folder, "m.toml", &matrix);
    run(folder, &["lock", "m.toml"]);
    let measured = |text: &str| -> Vec<Measured> {
        put(folder, "m.toml", text);
        (0..RUNS)
            .map(|_| run(folder, &["plan", "m.toml", "--locked"]))
            .collect()
    };
    let without = measured(&matrix);
    report("plan, 51,472 builds, no rule", &without, "none");
    let forms: [(&str, Form); 10] = [
        ("a name", |number| format!("5.4.0-{number}-generic")),
        ("5.N.*", |number| format!("5.{number}.*")),
        ("*-N-aws*", |number| format!("*-{number}-aws*")),
        ("*.elN", |number| format!("*.el{number}")),
        ("5.*.0-N-*c", |number| format!("5.*.0-{number}-*c")),
        ("[45].*.0-N-*", |number| format!("[45].*.0-{number}-*")),
        ("{4,5}.?.0-N-*", |number| format!("{{4,5}}.?.0-{number}-*")),
        ("*N*c", |number| format!("*{number}*c")),
        ("a range", |number| {
            format!(">=5.4.0-{number}, <5.4.0-{}", number + 1)
        }),
        ("a short range", |number| format!("=5.{number}")),
    ];
    for (form, rule) in forms {
        let mut text = matrix.clone();
        for number in 0..RULES {
            let pattern = rule(number);
            writeln!(text, "[[exclude]]\nkernel = {pattern:?}\nreason = \"slow\"").expect("memory");
        }
        let runs = measured(&text);
        let more = wall(&runs).saturating_sub(wall(&without));
        let result = format!("{:.2} s more", more.as_secs_f64());
        tell(&format!("{RULES} rules like {form}"), &result, "0.3 s");
    }
}

/// `lock` of many `[[target]]`s on one list.
fn targets() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    put(
        folder,
        "list.json",
        &support::lists::make("x86_64", 6_434, &support::lists::FAMILIES),
    );
    for (name, count) in [("1 [[target]]", 1), ("50 [[target]]s", TARGETS)] {
        let mut text = matrix(&["8.1.0+driver"], "ubuntu-*");
        for number in 1..count {
            text.push_str(&entry(&format!("ubuntu-{}*", "?".repeat(number))));
        }
        put(folder, "m.toml", &text);
        let lock = folder.join("m.lock");
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            if lock.exists() {
                fs::remove_file(&lock).expect("a removable lock");
            }
            runs.push(run(folder, &["lock", "m.toml"]));
        }
        report(&format!("lock, {name} on one list"), &runs, "0.12 s");
    }
}
