//! The command line as a run records it (in its manifest, its journal and the first line of its logs), and the command
//! that repeats one of its builds.

use std::ffi::OsString;

use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory as _};

use super::{Arguments, command_first};
use crate::engine::Reproduce;
use crate::redact::{self, FlagValue};
use crate::report::Manifest;

/// Returns this process's command line without secrets.
pub(super) fn recorded_command() -> Vec<String> {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    redact_command(words)
}

fn redact_command(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let command = Arguments::command();
    redact::command(words, |flag| flag_value(&command, flag))
}

/// Returns this process's command line without secrets, with the flag that ignores cached results.
pub(super) fn rebuild_command() -> Vec<String> {
    let mut words = recorded_command();
    let flag = "--rebuild";
    if !words.iter().any(|word| word == flag) {
        words.push(flag.to_owned());
    }
    words
}

/// Arguments that only affect the output, and arguments of `rebuild` that select the build or keep its result.
const NOT_REPEATED: [&str; 8] = [
    "build", "color", "format", "json", "keep", "log", "log_file", "verbose",
];

/// Returns the command that repeats a build of this process.
pub(super) fn reproduce_this() -> Reproduce {
    let words = rebuild_words_of(std::env::args_os());
    Reproduce::Rebuild(words.unwrap_or_default())
}

/// Returns the command that repeats a build of a recorded run, as in the first line of its log. If the command line of
/// the run is not one of this version, only the matrices are known.
pub(super) fn reproduce(manifest: &Manifest) -> Reproduce {
    let words = rebuild_words_of(manifest.run.command.iter().map(OsString::from));
    let matrices = manifest.matrices.iter().map(|matrix| matrix.name.clone());
    Reproduce::Rebuild(words.unwrap_or_else(|| matrices.collect()))
}

/// Returns the arguments after `rebuild BUILD` that repeat a build of a command: those of its arguments that `rebuild`
/// also has, without secrets. Returns `None` if it is not a valid command line.
fn rebuild_words_of(arguments: impl IntoIterator<Item = OsString>) -> Option<Vec<String>> {
    let mut command = Arguments::command();
    command.build();
    let given = command
        .clone()
        .try_get_matches_from(command_first(arguments));
    let (Ok(given), Some(rebuild)) = (given, command.find_subcommand("rebuild")) else {
        return None;
    };
    let (_, given) = given.subcommand()?;
    let words = rebuild
        .get_arguments()
        .filter(|argument| !NOT_REPEATED.contains(&argument.get_id().as_str()))
        .flat_map(|argument| words_of(argument, given))
        .collect::<Vec<_>>();
    Some(redact_command(words))
}

/// Returns the words of an argument if it was given on the command line.
fn words_of(argument: &clap::Arg, given: &ArgMatches) -> Vec<String> {
    let id = argument.get_id().as_str();
    let is_given = given.try_contains_id(id).is_ok_and(|is_there| is_there)
        && given.value_source(id) == Some(ValueSource::CommandLine);
    if !is_given {
        return Vec::new();
    }
    let flag = argument.get_long().map(|long| format!("--{long}"));
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        return flag.into_iter().collect();
    }
    let values = given.get_raw(id).into_iter().flatten();
    let words = values.flat_map(|value| {
        let value = value.to_string_lossy().into_owned();
        flag.clone().into_iter().chain([value])
    });
    words.collect()
}

/// Returns how the value of `flag` (`--name`, `-n`) is recorded, regardless of the command that has it. An argument
/// with a hidden environment variable is a secret; of one that takes `NAME=VALUE` for a job's environment, only the
/// name is recorded.
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
    fn rebuild_repeats_the_flags_that_affect_a_build() {
        for (given, expected) in [
            (
                "run m.toml n.toml --target debian --kernel 6.* --only a -j 4 --retry failed --verbose",
                "m.toml n.toml",
            ),
            (
                "--cache /c --offline run --out o --mirror debian=http://u:secret@h/d --executor local",
                "--out o --executor local --cache /c --mirror debian=http://h/d --offline",
            ),
            (
                "run m.toml --toolchain=host --docker-host unix:///a --docker-host unix:///b --locked",
                "m.toml --docker-host unix:///a --docker-host unix:///b --locked --toolchain host",
            ),
            (
                "run --builderimage a:b --color never --log debug --shard 1/3",
                "--builderimage a:b",
            ),
            ("rebuild x --keep --out o", "--out o"),
        ] {
            let words = ["driverkit-matrix"].into_iter().chain(given.split(' '));
            let found = rebuild_words_of(words.map(OsString::from)).unwrap();
            let sorted = |text: &str| {
                let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
                words.sort();
                words
            };
            assert_eq!(sorted(&found.join(" ")), sorted(expected), "{given}");
        }
        let unknown = ["driverkit-matrix", "run", "m.toml", "--no-such-flag"];
        assert_eq!(rebuild_words_of(unknown.map(OsString::from)), None);
    }

    #[test]
    fn recorded_arguments_give_the_same_command() {
        let given = "run m.toml --mirror debian=http://u:secret@h/d --proxy http://u:secret@h:1 --executor fake \
                     --docker-host ssh://u@h --registry-password secret --out n";
        let words = ["driverkit-matrix"]
            .into_iter()
            .chain(given.split_whitespace());
        let words: Vec<String> = words.map(str::to_owned).collect();
        let of = |words: Vec<String>| rebuild_words_of(words.into_iter().map(OsString::from));
        let recorded = redact_command(words.clone());
        assert!(!recorded.join(" ").contains("secret"), "{recorded:?}");
        assert_eq!(of(recorded), of(words));
    }

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
