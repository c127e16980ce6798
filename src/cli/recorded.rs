//! The command line as a run records it: in its manifest, its journal and the first line of its logs.

use clap::{Command, CommandFactory as _};

use super::Arguments;
use crate::redact::{self, FlagValue};

/// Returns this process's command line without secrets.
pub(super) fn recorded_command() -> Vec<String> {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    redact_command(words)
}

fn redact_command(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let command = Arguments::command();
    redact::command(words, |flag| flag_value(&command, flag))
}

/// How the value of `flag` (`--name`, `-n`) is recorded, whichever command has it. An argument whose environment
/// variable's value the help hides is a secret; one that takes `NAME=VALUE` for a job's environment keeps the name.
fn flag_value(command: &Command, flag: &str) -> FlagValue {
    let long = flag.strip_prefix("--");
    let short = flag.strip_prefix('-').and_then(|rest| rest.chars().next());
    let found = command.get_arguments().find(|argument| match long {
        Some(long) => argument.get_long() == Some(long),
        None => argument.get_short().is_some() && argument.get_short() == short,
    });
    match found {
        Some(argument) if argument.is_hide_env_values_set() => FlagValue::Secret,
        Some(argument) if argument.get_id() == "env" => FlagValue::Assignment,
        _ => command
            .get_subcommands()
            .map(|command| flag_value(command, flag))
            .find(|&value| value != FlagValue::Shown)
            .unwrap_or(FlagValue::Shown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_every_command_are_hidden() {
        for (given, shown) in [
            (
                "docker --registry-password secret",
                "docker --registry-password ***",
            ),
            (
                "docker --registry-password=secret -l info",
                "docker --registry-password=*** -l info",
            ),
            (
                "run --registry-password=secret m.toml",
                "run --registry-password=*** m.toml",
            ),
            ("local --env A=secret", "local --env A=***"),
            ("kubernetes --token secret", "kubernetes --token ***"),
            (
                "docker --proxy http://u:secret@h:1 --kernelurls https://h/a?X-Amz-Signature=secret",
                "docker --proxy http://h:1 --kernelurls https://h/a?...",
            ),
            (
                "run --mirror debian=http://u:secret@h/debian",
                "run --mirror debian=http://h/debian",
            ),
        ] {
            let words = given.split(' ').map(str::to_owned);
            assert_eq!(redact_command(words).join(" "), shown);
        }
    }
}
