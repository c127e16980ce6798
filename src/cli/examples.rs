//! The examples at the end of each command's help.

use clap::Command;

/// Command lines, by command, without the program's name.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "plan",
        &[
            "plan matrices/debian.toml",
            "plan --target 'ubuntu-*' --kernel '>=5.4, <6.9' --all",
            "plan matrices/centos.toml --check",
            "plan --format json",
        ],
    ),
    (
        "lock",
        &[
            "lock matrices/debian.toml",
            "lock --check",
            "lock matrices/oracle.toml --accept-shrink oracle8",
        ],
    ),
    (
        "kernels",
        &[
            "kernels debian --suite bookworm",
            "kernels debian --headers 6.1.0-26-amd64",
            "kernels ubuntu --matrix matrices/ubuntu.toml --latest 3",
        ],
    ),
    (
        "import",
        &["import driverkit/config --out matrices/imported.toml"],
    ),
    ("validate", &["validate driverkit/config"]),
    (
        "images",
        &["images", "images build", "images build bookworm --force"],
    ),
    (
        "run",
        &[
            "run matrices/debian.toml --kernel '6.1.*'",
            "run --refresh --out drivers --jobs 16",
            "run --shard 2/8 --deadline 5h",
            "run --retry compile --executor docker",
            "run --message-format json",
        ],
    ),
    (
        "rebuild",
        &["rebuild 8.1.0+driver/x86_64/debian_6.1.4-1-amd64_1"],
    ),
    (
        "logs",
        &["logs debian_6.1.4-1-amd64", "logs 6.1.4 --follow"],
    ),
    ("status", &["status", "status drivers"]),
    (
        "diff",
        &[
            "diff last-night out",
            "diff last-night out --fail-on regressed",
        ],
    ),
    (
        "explain",
        &[
            "explain 8.1.0+driver/x86_64/debian_6.1.4-1-amd64_1 matrices/debian.toml",
            "explain 8.1.0+driver/x86_64/debian_6.1.4-1-amd64_1 --verbose",
        ],
    ),
    ("known", &["known", "known --suggest"]),
    (
        "compilers",
        &["compilers matrices/debian.toml --kernel '5.10.*' --driver '8.1.0+driver'"],
    ),
    (
        "manifest",
        &["manifest merge shard-1 shard-2 shard-3 --out night"],
    ),
    ("why", &["why 6.1.4-1-amd64"]),
    (
        "report",
        &[
            "report --format markdown",
            "report drivers --output night.html",
        ],
    ),
    (
        "publish",
        &[
            "publish s3://falco-distribution/driver",
            "publish out-1 out-2 file:///srv/www/driver",
            "publish --audit --repair out s3://falco-distribution/driver",
        ],
    ),
    (
        "prune",
        &[
            "prune s3://falco-distribution/driver --newest-drivers 5",
            "prune s3://falco-distribution/driver --gone-days 180 --access-log logs --yes",
        ],
    ),
    ("stats", &["stats", "stats --format json"]),
    (
        "cache",
        &[
            "cache stats",
            "cache gc --unused-days 30",
            "cache verify --remove",
        ],
    ),
    (
        "store",
        &[
            "store status --store s3://builds/store",
            "store gc",
            "store fetch matrices/debian.toml",
        ],
    ),
    ("verify", &["verify", "verify drivers"]),
    (
        "prove",
        &[
            "prove out/8.1.0+driver/x86_64/falco_debian_6.1.4-1-amd64_1.ko --kernel-image vmlinuz-6.1.0-4-amd64",
        ],
    ),
    (
        "bundle",
        &[
            "bundle export debian.tar matrices/debian.toml",
            "bundle import debian.tar",
        ],
    ),
    (
        "docker",
        &[
            "docker --target debian --kernelrelease 6.1.4-1-amd64 --driverversion 8.1.0+driver --output-module falco.ko",
            "docker -c build.yaml",
        ],
    ),
    (
        "local",
        &[
            "local --target debian --kernelrelease 6.1.4-1-amd64 --driverversion 8.1.0+driver --output-module falco.ko",
        ],
    ),
    (
        "kubernetes",
        &["kubernetes -c build.yaml --namespace builds"],
    ),
    (
        "kubernetes-in-cluster",
        &["kubernetes-in-cluster -c build.yaml"],
    ),
    ("completion", &["completion bash"]),
];

/// Adds the examples of each command to its help.
pub(super) fn with_examples(mut command: Command) -> Command {
    for (name, lines) in EXAMPLES {
        if command.find_subcommand(name).is_none() {
            continue;
        }
        let lines: Vec<String> = lines
            .iter()
            .map(|line| format!("  driverkit-matrix {line}"))
            .collect();
        let text = format!("Examples:\n{}", lines.join("\n"));
        command = command.mut_subcommand(name, |one| one.after_help(text));
    }
    command
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Args as _, CommandFactory as _};

    use super::*;

    #[test]
    fn headings_hold_their_own_flags_only() {
        let selection = super::super::Selection::augment_args(Command::new("selection"));
        let own: Vec<_> = selection.get_arguments().map(Arg::get_id).collect();
        let all = super::super::Arguments::command();
        for command in all.get_subcommands() {
            let held = command
                .get_arguments()
                .filter(|argument| argument.get_help_heading() == Some("Selection"));
            for argument in held.map(Arg::get_id) {
                assert!(
                    own.contains(&argument),
                    "{}: {argument}",
                    command.get_name()
                );
            }
        }
    }

    #[test]
    fn every_command_has_examples_that_it_takes() {
        let command = with_examples(super::super::Arguments::command());
        let names = command
            .get_subcommands()
            .filter(|one| !one.is_hide_set())
            .map(Command::get_name);
        for name in names {
            assert!(EXAMPLES.iter().any(|(one, _)| *one == name), "{name}");
        }
        for line in EXAMPLES.iter().flat_map(|(_, lines)| *lines) {
            let words = shlex::split(&format!("driverkit-matrix {line}")).unwrap();
            let parsed = command.clone().try_get_matches_from(&words);
            assert!(
                parsed.is_ok(),
                "{line}: {:?}",
                parsed.err().map(|error| error.to_string())
            );
        }
    }
}
