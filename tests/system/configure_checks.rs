//! Real configure checks of a real kernel: checks that are compiled together give the same answers as alone.
//!
//! `scripts/test.sh` prepares the requirements, as for `real_builds`.

use std::path::Path;

use driverkit_matrix::driver::Artifact;
use driverkit_matrix::fs;
use driverkit_matrix::source::read_configured_driver;
use support::real::{Kernel, kernel_of_bookworm, program, vendor};

const CHECK: &str = "probe-y += test.o\nobj-m += probe.o\n\nKERNELDIR ?= /lib/modules/$(shell uname -r)/build\n\
    TOP := $(shell pwd)\n\nall:\n\t$(MAKE) -C $(KERNELDIR) M=$(TOP) modules\n";
const BUILD: &str = "SCRIPT=$(readlink -f \"$0\")\nSCRIPT_DIR=$(dirname ${SCRIPT})\n\
    make CC=\"${CC}\" -C ${SCRIPT_DIR} > ${SCRIPT_DIR}/build.log 2>&1\n";
const MODULE: &str = "#include <linux/module.h>\nMODULE_LICENSE(\"GPL\");\n";

/// Writes a driver with an empty module and these checks: name and the rest of the source.
fn driver(folder: &Path, makefile: &str, checks: &[(&str, &str)]) {
    let write = |path: &str, text: &str| fs::write(&folder.join(path), text).unwrap();
    write("Makefile", "falco-y += main.o\nobj-m += falco.o\n");
    write("main.c", MODULE);
    write("driver_config.h", "");
    for (name, text) in checks {
        write(&format!("configure/{name}/Makefile"), makefile);
        write(&format!("configure/{name}/build.sh"), BUILD);
        write(
            &format!("configure/{name}/test.c"),
            &format!("{MODULE}{text}\n"),
        );
    }
}

/// Returns the answers to the checks of the driver in `sources`: lines of name and answer.
fn answers(folder: &Path, kernel: &Kernel, sources: &str) -> Vec<String> {
    let config = kernel.config(&format!(
        "driverversion: {sources}\nsrc-dir: {sources}\noutput:\n  module: falco.ko\n"
    ));
    fs::write(&folder.join("config.yaml"), config).unwrap();
    let output = program(folder)
        .args(["docker", "-c", "config.yaml", "--loglevel", "debug"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}");
    let answers = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("configure check "));
    answers.map(str::to_owned).collect()
}

#[test]
fn checks_compiled_together_give_the_same_answers_as_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let kernel = kernel_of_bookworm(folder);
    let compiles = ("COMPILES", "/* %n */ int one(void) { return 1; }");
    let fails = ("FAILS", "/* %n */ #error no such thing");
    let again = ("AGAIN", "/* %n */ int two(void) { return 2; }");
    // This check compiles but cannot be linked.
    let undefined = (
        "UNDEFINED",
        "/* %n */ int none(void); int three(void) { return none(); }",
    );
    for (number, checks) in [
        vec![compiles, again],
        vec![compiles, fails, again],
        vec![fails],
        vec![compiles, undefined],
        vec![compiles, fails, undefined, again],
    ]
    .into_iter()
    .enumerate()
    {
        // The content differs each time, otherwise the answers would come from the cache.
        let of = |way: &str| -> Vec<(&str, String)> {
            let text = |text: &str| text.replace("%n", &format!("{way} {number}"));
            checks
                .iter()
                .map(|(name, check)| (*name, text(check)))
                .collect()
        };
        let [together, alone] = ["together", "alone"].map(|way| {
            // With an unknown rule in the Makefile, the check is not compiled together with others.
            let makefile = if way == "alone" {
                &format!("{CHECK}\nmore:\n")
            } else {
                CHECK
            };
            let sources = format!("{way}-{number}");
            let checks = of(way);
            let checks: Vec<_> = checks
                .iter()
                .map(|(name, text)| (*name, text.as_str()))
                .collect();
            driver(&folder.join(&sources), makefile, &checks);
            let read = read_configured_driver(&folder.join(&sources)).unwrap();
            assert!(
                read.checks
                    .iter()
                    .all(|check| check.objects.is_some() == (way == "together"))
            );
            answers(folder, &kernel, &sources)
        });
        assert_eq!(together, alone);
        let mut expected: Vec<String> = checks
            .iter()
            .map(|(name, _)| {
                let is_answer = ["COMPILES", "AGAIN"].contains(name);
                format!("{name}: {}", if is_answer { "yes" } else { "no" })
            })
            .collect();
        expected.sort();
        assert_eq!(together, expected);
    }
}

#[test]
fn all_checks_of_falco_s_modules_can_be_compiled_together() {
    for version in ["0.20.0", "sid"] {
        let driver = vendor().join(format!("falcosecurity-scap-dkms-{version}"));
        let driver = read_configured_driver(&driver).unwrap();
        let objects: Vec<_> = driver
            .checks_of(Artifact::Module)
            .map(|check| check.objects.clone())
            .collect();
        assert!(objects.len() >= 3, "{objects:?}");
        assert!(
            objects
                .iter()
                .all(|found| *found == Some(vec!["test.o".to_owned()])),
            "{objects:?}"
        );
    }
}
