//! Detects configure checks that are only a kbuild module: these can be compiled together.

/// The rest of a check's `Makefile` after the kbuild goals: one call of make, for a user in the check's directory.
const CALL: [&str; 4] = [
    "KERNELDIR ?= /lib/modules/$(shell uname -r)/build",
    "TOP := $(shell pwd)",
    "all:",
    "\t$(MAKE) -C $(KERNELDIR) M=$(TOP) modules",
];

/// Rules that are not needed for the answer.
const OTHER_RULES: [&str; 2] = ["clean:", "install: all"];

/// Returns the objects of a check's module, if its `Makefile` and `build.sh` only have kbuild compile the check's
/// directory. Returns `None` for any other check, whose answer requires its own `build.sh`.
pub(super) fn kbuild_objects(makefile: &str, build_script: &str) -> Option<Vec<String>> {
    let lines: Vec<&str> = code_lines(makefile).collect();
    let (goals, call) = lines.split_at(lines.iter().position(|line| *line == CALL[0])?);
    let rest = call.strip_prefix(&CALL)?;
    let is_unused = |line: &&str| line.starts_with('\t') || OTHER_RULES.contains(line);
    if !rest.iter().all(is_unused) || !only_calls_make(build_script) {
        return None;
    }
    objects_of(goals)
}

/// Returns the objects of the only module that is built: `probe-y += test.o`, `obj-m += probe.o`.
fn objects_of(goals: &[&str]) -> Option<Vec<String>> {
    let mut goals = goals.iter().map(|goal| goal.split_once(" += "));
    let (list, module) = match (goals.next(), goals.next(), goals.next()) {
        (Some(list), Some(module), None) => (list?, module?),
        _ => return None,
    };
    let name = list.0.strip_suffix("-y")?;
    if module.0 != "obj-m" || module.1.strip_suffix(".o") != Some(name) || !is_word(name) {
        return None;
    }
    let is_object = |object: &str| object.strip_suffix(".o").is_some_and(is_word);
    let objects = list.1.split_whitespace();
    objects
        .map(|object| is_object(object).then(|| object.to_owned()))
        .collect()
}

/// Whether a `build.sh` only determines its own directory and calls make there with the given compiler.
fn only_calls_make(build_script: &str) -> bool {
    let calls = code_lines(build_script).filter(|line| !line.starts_with("SCRIPT"));
    calls.eq(["make CC=\"${CC}\" -C ${SCRIPT_DIR} > ${SCRIPT_DIR}/build.log 2>&1"])
}

/// Returns the lines that are neither empty nor a comment.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.trim_start().starts_with('#'))
}

/// Whether a string consists only of letters, digits and `_`.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|found| found.is_ascii_alphanumeric() || found == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOALS: &str = "# A check.\n\nprobe-y += test.o\nobj-m += probe.o\n\n";
    const SCRIPT: &str = "#!/bin/sh\n\nSCRIPT=$(readlink -f \"$0\")\nSCRIPT_DIR=$(dirname ${SCRIPT})\n\n\
                          make CC=\"${CC}\" -C ${SCRIPT_DIR} > ${SCRIPT_DIR}/build.log 2>&1\n";

    fn makefile(goals: &str, rest: &str) -> String {
        format!("{goals}{}\n{rest}", CALL.join("\n"))
    }

    #[test]
    fn the_objects_of_a_plain_kbuild_module_are_found() {
        let rest = "\nclean:\n\t$(MAKE) -C $(KERNELDIR) M=$(TOP) clean\n";
        let two = GOALS.replace("test.o", "a.o  b.o");
        for (goals, rest, objects) in [
            (GOALS, "", vec!["test.o"]),
            (GOALS, rest, vec!["test.o"]),
            (&two, rest, vec!["a.o", "b.o"]),
        ] {
            let found = kbuild_objects(&makefile(goals, rest), SCRIPT).unwrap();
            assert_eq!(found, objects);
        }
    }

    #[test]
    fn other_makefiles_are_left_to_their_own_script() {
        for goals in [
            "",
            "obj-m += a.o\n",
            "a-y += ../test.o\nobj-m += a.o\n",
            "a-y += $(x).o\nobj-m += a.o\n",
            "a-y += test.o\nobj-m += b.o\n",
            "a-y += test.o\nobj-y += a.o\n",
            "a-y += test.o\nobj-m += a.o\nobj-m += b.o\n",
            "a-y += test.o\nobj-m += a.o\nccflags-y := -DX\n",
            "a-y += test.o\nobj-m += a.o\ninclude ../Makefile.inc\n",
        ] {
            assert_eq!(
                kbuild_objects(&makefile(goals, ""), SCRIPT),
                None,
                "{goals}"
            );
        }
        for rest in ["\nmodules:\n\ttrue\n", "X = $(shell ls)\n"] {
            assert_eq!(
                kbuild_objects(&makefile(GOALS, rest), SCRIPT),
                None,
                "{rest}"
            );
        }
        for script in ["make -C .\n", &format!("{SCRIPT}grep x build.log\n")] {
            assert_eq!(
                kbuild_objects(&makefile(GOALS, ""), script),
                None,
                "{script}"
            );
        }
        assert_eq!(kbuild_objects(GOALS, SCRIPT), None);
    }
}
