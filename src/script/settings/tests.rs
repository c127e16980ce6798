use std::process::Command;

use minijinja::context;
use proptest::prelude::*;

use super::super::environment::{TEMPLATES, empty_environment, template_digest};
use super::*;
use crate::failure::Phase;

const HOSTILE: [&str; 9] = [
    "6.1; rm -rf /",
    "$(id)",
    "`id`",
    "a\nid",
    "it's",
    "\"; id; \"",
    "",
    "-rf",
    "a b\\ $HOME *",
];

/// Returns the template lines that print a value inside quotes, a comment or a here-document, where the formatter's
/// own quotes would not protect it.
fn unprotected_prints(template: &str) -> Vec<usize> {
    let mut lines = Vec::new();
    let mut here_document: Option<String> = None;
    let (mut single, mut double) = (false, false);
    for (number, line) in template.lines().enumerate() {
        if let Some(end) = &here_document {
            if line.trim() == end {
                here_document = None;
            } else if line.contains("{{") {
                lines.push(number + 1);
            }
            continue;
        }
        let mut rest = line;
        let mut in_comment = false;
        let mut previous = ' ';
        while let Some(character) = rest.chars().next() {
            if rest.starts_with("{{") {
                if single || double || in_comment {
                    lines.push(number + 1);
                }
                rest = rest.split_once("}}").map_or("", |(_, after)| after);
                previous = '}';
                continue;
            }
            if let Some(tag) = rest.strip_prefix("{%") {
                rest = tag.split_once("%}").map_or("", |(_, after)| after);
                continue;
            }
            match character {
                _ if in_comment => {}
                '\'' if !double => single = !single,
                '"' if !single => double = !double,
                '`' => lines.push(number + 1),
                '\\' if !single => rest = &rest[1..],
                '#' if previous.is_whitespace() && !single && !double => in_comment = true,
                _ => {}
            }
            previous = character;
            rest = rest
                .chars()
                .as_str()
                .get(character_width(rest)..)
                .unwrap_or("");
        }
        if let Some((_, word)) = line.split_once("<<") {
            here_document = Some(word.trim_matches('\'').to_owned());
        }
    }
    lines
}

fn character_width(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

#[test]
fn no_template_prints_a_value_where_quoting_does_not_protect() {
    for (name, text) in TEMPLATES {
        assert_eq!(unprotected_prints(text), Vec::<usize>::new(), "{name}");
        for forbidden in ["safe", "autoescape", "{% raw"] {
            assert!(!text.contains(forbidden), "{name} holds `{forbidden}`");
        }
    }
}

#[test]
fn a_template_that_would_print_an_unprotected_value_is_found() {
    for (template, line) in [
        ("echo \"{{ value }}\"", 1),
        ("a\necho '{{ value }}'", 2),
        ("echo \"a\n{{ value }}\"", 2),
        ("# {{ value }}", 1),
        ("true # {{ value }}", 1),
        ("cat <<'END'\n{{ value }}\nEND\n", 2),
        ("echo `{{ value }}`", 1),
    ] {
        assert!(unprotected_prints(template).contains(&line), "{template}");
    }
    for template in [
        "echo {{ value }} \"$x\" '{'",
        "echo \"a\"{{ value }}",
        "echo \\\"{{ value }}",
        "{% if value %}\necho $#{{ value }}\n{% endif %}",
    ] {
        assert!(unprotected_prints(template).is_empty(), "{template}");
    }
}

#[test]
fn the_filter_safe_does_not_disable_quoting() {
    let mut environment = empty_environment();
    environment
        .add_template("t.sh", "echo {{ value|safe }}")
        .unwrap();
    let text = environment
        .get_template("t.sh")
        .unwrap()
        .render(context! { value => "$(id)" })
        .unwrap();
    assert_eq!(text, "echo '$(id)'");
}

#[test]
fn values_that_cannot_be_printed_are_errors() {
    let environment = empty_environment();
    for (template, value) in [
        ("{{ missing }}", "x"),
        ("{{ value }}", "a\0b"),
        ("{{ [value] }}", "x"),
        ("{{ value.field }}", "x"),
        ("{{ value == 'x' }}", "x"),
    ] {
        let rendered = environment.render_str(template, context! { value });
        assert!(rendered.is_err(), "{template}: {rendered:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// For any value, the shell sees one word that equals the value.
    #[test]
    fn a_printed_value_is_one_word_of_the_shell(value in "[^\0]{0,12}|[$`\"'\\\\;&|<>() \n#*?~-]{1,12}") {
        prop_assert_eq!(through_shell(&value), value);
    }
}

fn through_shell(value: &str) -> String {
    let script = empty_environment()
        .render_str("printf '%s|' {{ value }} end", context! { value })
        .unwrap();
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.strip_suffix("|end|").unwrap().to_owned()
}

#[test]
fn hostile_values_reach_the_shell_unchanged() {
    for value in HOSTILE {
        assert_eq!(through_shell(value), value);
    }
}

fn kernel(text: &str) -> KernelSettings {
    KernelSettings {
        folder: text.to_owned(),
        has_symvers: true,
        compilers: Compilers {
            compiler: text.to_owned(),
            strip: text.to_owned(),
            clang: text.to_owned(),
            llc: text.to_owned(),
            make_variables: vec![("LD".to_owned(), text.to_owned())],
        },
    }
}

/// All scripts, with `text` in every place for an arbitrary string.
fn scripts(text: &str) -> Vec<String> {
    let kernel = kernel(text);
    let folders = ["configure/", "bpf/configure/"].map(|folder| format!("{folder}{text}"));
    let answers: Vec<_> = folders
        .iter()
        .map(|folder| KnownAnswer {
            folder: folder.clone(),
            status: 2,
        })
        .collect();
    vec![
        render_configure(&ConfigureSettings {
            version: "0.20.0+driver".parse().unwrap(),
            module_name: text.to_owned(),
            device_name: text.to_owned(),
            has_probe: true,
        })
        .unwrap(),
        render_checks(&ChecksSettings {
            kernel: &kernel,
            has_toolchain_check: true,
            has_probe_toolchain_check: true,
            checks: folders
                .into_iter()
                .map(|folder| CheckToRun {
                    id: text.to_owned(),
                    files: vec![text.to_owned()],
                    objects: folder
                        .starts_with("configure/")
                        .then(|| vec![text.to_owned()]),
                    folder,
                })
                .collect(),
        })
        .unwrap(),
        render_module(&ModuleSettings {
            kernel: &kernel,
            module_name: text.to_owned(),
            answers: answers.clone(),
        })
        .unwrap(),
        render_probe(&ProbeSettings {
            kernel: &kernel,
            answers,
        })
        .unwrap(),
    ]
}

#[test]
fn scripts_with_hostile_values_contain_the_same_commands() {
    for value in HOSTILE {
        for script in scripts(value) {
            let checked = Command::new("sh")
                .args(["-n", "-c", &script])
                .output()
                .unwrap();
            assert!(checked.status.success(), "{value:?}: {checked:?}");
            // A value without quotes must be in single-quoted words only.
            if value.len() > 4 && !value.contains(['\'', '"', '`', '\\']) {
                let word = regex::Regex::new(&format!("'[^']*{}[^']*'", regex::escape(value)));
                let rest = word.unwrap().replace_all(&script, "");
                assert!(!rest.contains(value), "{value:?} in\n{script}");
            }
        }
    }
}

#[test]
fn a_nul_character_is_refused_with_the_template_s_name() {
    let error = render_module(&ModuleSettings {
        kernel: &kernel("a\0b"),
        module_name: "falco".to_owned(),
        answers: Vec::new(),
    })
    .unwrap_err();
    assert_eq!(error.template, "module.sh");
}

#[test]
fn compilers_are_named_as_debian_names_them() {
    let native = Compilers::new("gcc-12", "", Architecture::Amd64, Architecture::Amd64);
    assert_eq!(
        (
            native.compiler.as_str(),
            native.strip.as_str(),
            native.make_variables.len()
        ),
        ("gcc-12", "strip", 0)
    );
    let cross = Compilers::new(
        "aarch64-linux-gnu-gcc-14",
        "aarch64-linux-gnu-",
        Architecture::Arm64,
        Architecture::Amd64,
    );
    assert_eq!(cross.compiler, "aarch64-linux-gnu-gcc-14");
    assert_eq!(cross.strip, "aarch64-linux-gnu-strip");
    assert_eq!(cross.clang, "clang --target=aarch64-linux-gnu");
    let script = render_module(&ModuleSettings {
        kernel: &KernelSettings {
            folder: "/usr/src/linux-headers-6.1.0-50-arm64".to_owned(),
            has_symvers: false,
            compilers: cross,
        },
        module_name: "falco".to_owned(),
        answers: Vec::new(),
    })
    .unwrap();
    assert!(
        script.contains(
            "CC=aarch64-linux-gnu-gcc-14 KBUILD_MODPOST_WARN=1 'ARCH=arm64' 'CROSS_COMPILE=aarch64-linux-gnu-' modules\n"
        ),
        "{script}"
    );
}

#[test]
fn make_receives_the_variables_of_its_flags_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let makefile = folder.path().join("Makefile");
    crate::fs::write(&makefile, "all:\n\t@printf '%s' '$(VALUE)'\n").unwrap();
    for value in ["a", "a b", "a\\b", "a \\ b"] {
        let flags = escape_for_make_flags(&format!("VALUE={value}"));
        let output = Command::new("make")
            .current_dir(folder.path())
            // Set if the tests run under make.
            .env_remove("MAKELEVEL")
            .env_remove("MFLAGS")
            .env("MAKEFLAGS", flags)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), value);
    }
}

#[test]
fn template_digests_differ_by_step() {
    let digests =
        [Phase::Configure, Phase::Check, Phase::Module, Phase::Probe].map(template_digest);
    for (position, digest) in digests.iter().enumerate() {
        assert!(!digests[position + 1..].contains(digest));
    }
}

#[test]
fn a_package_manager_gets_exactly_the_wanted_packages() {
    let render = |manager| {
        render_download(&DownloadSettings {
            manager,
            packages: vec![("kernel-devel-0:1.2 x", "kernel-devel-1.2 x.rpm")],
        })
        .unwrap()
    };
    let yum = render("yum");
    assert!(yum.contains("dnf -y download --destdir=\"$scratch\" 'kernel-devel-0:1.2 x'\n"));
    assert!(yum.contains("for file in 'kernel-devel-1.2 x.rpm'; do\n"));
    assert!(!yum.contains("zypper") && !render("zypper").contains("dnf"));
    let out = tempfile::tempdir().unwrap();
    let programs = tempfile::tempdir().unwrap();
    // A package manager that does not find the package, and one without a network.
    for (words, code) in [
        ("No package x available.", NO_SUCH_PACKAGE),
        ("Curl error", 1),
    ] {
        let text = format!("#!/bin/sh\necho '{words}'\nexit 1\n");
        let program = programs.path().join("zypper");
        crate::fs::write(&program, text).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
        let script = render("zypper").replace(
            "export PATH=",
            &format!("export PATH={}:", programs.path().display()),
        );
        let scratch = tempfile::tempdir().unwrap();
        let status = Command::new("sh")
            .args(["-e", "-c", &script])
            .env("DRIVERKIT_MATRIX_OUT", out.path())
            .env("DRIVERKIT_MATRIX_SCRATCH", scratch.path())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code), "{words}");
    }
}
