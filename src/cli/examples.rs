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
        &[
            "images",
            "images list --format json",
            "images build",
            "images build bookworm --force",
            "images update --builderrepo registry.example.org/builders",
        ],
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
    (
        "verify",
        &[
            "verify out",
            "verify --key attestation.pub s3://builds/drivers",
            "verify --key attestation.pub https://drivers.example.org/8.1.0+driver/x86_64/falco_debian_6.1.4-1-amd64_1.ko",
        ],
    ),
    (
        "attest",
        &[
            "attest --key attestation.key",
            "attest night --key attestation.key",
        ],
    ),
    (
        "prove",
        &[
            "prove matrices/debian.toml --kernel '6.1.*'",
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
        command = command.mut_subcommand(name, |one| with_those_of(one, name, lines));
    }
    command
}

/// Adds the examples of a command to its help, and those of each subcommand to the help of that subcommand.
fn with_those_of(mut command: Command, path: &str, lines: &[&str]) -> Command {
    let names = command.get_subcommands().map(Command::get_name);
    let names: Vec<String> = names.map(str::to_owned).collect();
    for name in names {
        let path = format!("{path} {name}");
        let is_about = |line: &&&str| line.starts_with(&path);
        let lines: Vec<&str> = lines.iter().filter(is_about).copied().collect();
        command = command.mut_subcommand(name, |one| with_those_of(one, &path, &lines));
    }
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("  driverkit-matrix {line}"))
        .collect();
    command.after_help(format!("Examples:\n{}", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Args as _, CommandFactory as _};

    use super::super::execution::Execution;
    use super::super::publish::RunPublishArguments;
    use super::super::shared_store::StoreArguments;

    use super::*;

    #[test]
    fn headings_contain_only_their_own_flags() {
        let all = super::super::Arguments::command();
        let empty = || Command::new("empty");
        for (heading, own) in [
            ("Selection", super::super::Selection::augment_args(empty())),
            ("Shared store", StoreArguments::augment_args(empty())),
            ("Publishing", RunPublishArguments::augment_args(empty())),
            ("Executor", Execution::augment_args(empty())),
        ] {
            let own: Vec<_> = own.get_arguments().map(Arg::get_id).collect();
            for command in all.get_subcommands() {
                let held = command
                    .get_arguments()
                    .filter(|argument| argument.get_help_heading() == Some(heading));
                for argument in held.map(Arg::get_id) {
                    let name = command.get_name();
                    assert!(own.contains(&argument), "{name}, {heading}: {argument}");
                }
            }
        }
    }

    #[test]
    fn every_command_has_examples_that_it_accepts() {
        let command = with_examples(super::super::Arguments::command());
        let shown = command.get_subcommands().filter(|one| !one.is_hide_set());
        for one in shown.flat_map(|one| [one].into_iter().chain(one.get_subcommands())) {
            let name = one.get_name();
            let help = one.get_after_help().map(ToString::to_string);
            let help = help.unwrap_or_else(|| panic!("{name} has no examples"));
            assert!(help.contains("\n  driverkit-matrix "), "{name}: {help}");
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
