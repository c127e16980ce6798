//! The command line as a run records it (in its manifest, its journal and the first line of its logs), and the command
//! that repeats one of its builds.
//!
//! That command is run from another shell or on another machine, so it also has what environment variables say, as
//! flags. Variables with secrets are left out: they have to be set again.

use std::ffi::OsString;
use std::sync::OnceLock;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::global::{mirrors_of_variables, parse_mirror};
use super::word_order::command_first;
use crate::driverkit::{KEYS, ONLY_FLAGS, variable_of};
use crate::event::Reproduce;
use crate::executor::DockerAddress;
use crate::redact::{self, FlagValue};
use crate::report::Manifest;

/// Returns the arguments of the program. They contain those of the commands that use this file.
static PROGRAM: OnceLock<fn() -> Command> = OnceLock::new();

/// Sets the function that returns the arguments of the program, before any other function of this file is called.
pub(super) fn set_program(arguments: fn() -> Command) {
    PROGRAM.get_or_init(|| arguments);
}

fn program() -> Command {
    PROGRAM
        .get()
        .map_or_else(Command::default, |arguments| arguments())
}

/// Returns the value of an environment variable.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

fn variable(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

/// Returns this process's command line without secrets.
pub(super) fn recorded_command() -> Vec<String> {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    redact_command(words)
}

fn redact_command(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let command = program();
    redact::command(words, |flag| flag_value(&command, flag))
}

/// Returns this process's command line without secrets, with the flag that ignores cached results, and with what
/// environment variables say.
pub(super) fn rebuild_command() -> Vec<String> {
    let mut words = recorded_command();
    let flag = "--rebuild";
    if !words.iter().any(|word| word == flag) {
        words.push(flag.to_owned());
    }
    words.extend(redact_command(words_of_variables(
        std::env::args_os(),
        &variable,
    )));
    words
}

/// Returns flags that say the same as the environment variables of driverkit's command in `arguments`.
fn words_of_variables(
    arguments: impl IntoIterator<Item = OsString>,
    variable: Variable<'_>,
) -> Vec<String> {
    let Some((command, name, given)) = parsed(arguments) else {
        return Vec::new();
    };
    let Some(own) = command.find_subcommand(&name) else {
        return Vec::new();
    };
    let mut words = Vec::new();
    for argument in own.get_arguments() {
        match source_of(argument, &given) {
            Some(ValueSource::CommandLine) => {}
            Some(ValueSource::EnvVariable) => {
                if !NOT_REPEATED.contains(&argument.get_id().as_str()) {
                    words.extend(words_of(&command, argument, &given));
                }
            }
            // driverkit's variables are not read by clap.
            _ => words.extend(word_of_driverkit(&command, argument, variable)),
        }
    }
    words.extend(docker_host(&given, variable));
    words.extend(mirrors(&given));
    words
}

/// Returns the flag that says the same as the variable `DRIVERKIT_...` of an argument, unless it may be a secret.
fn word_of_driverkit(command: &Command, argument: &Arg, variable: Variable<'_>) -> Option<String> {
    let key = argument.get_long()?;
    let has_variable = KEYS.contains(&key) && !ONLY_FLAGS.contains(&key);
    let flag = format!("--{key}");
    if !has_variable || flag_value(command, &flag) != FlagValue::Shown {
        return None;
    }
    let value = variable(&variable_of(key)).filter(|value| !value.is_empty())?;
    Some(format!("{flag}={value}"))
}

/// Arguments that only affect the output, and arguments of `rebuild` that select the build or keep its result.
const NOT_REPEATED: [&str; 8] = [
    "build", "color", "format", "json", "keep", "log", "log_file", "verbose",
];

/// Returns the command that repeats a build of this process.
pub(super) fn reproduce_this() -> Reproduce {
    let mut words = rebuild_words_of(std::env::args_os(), &variable).unwrap_or_default();
    if let Some((_, _, given)) = parsed(std::env::args_os()) {
        words.extend(redact_command(mirrors(&given)));
    }
    Reproduce::Rebuild(words)
}

/// Returns the command that repeats a build of a recorded run, as in the first line of its log. Manifests of older
/// versions have only the command line of the run; if it is not one of this version, only the matrices are known.
pub(super) fn reproduce(manifest: &Manifest) -> Reproduce {
    if let Some(recorded) = &manifest.run.reproduce {
        return recorded.clone();
    }
    let command = manifest.run.command.iter().map(OsString::from);
    let words = rebuild_words_of(command, &|_| None);
    let matrices = manifest.matrices.iter().map(|matrix| matrix.name.clone());
    Reproduce::Rebuild(words.unwrap_or_else(|| matrices.collect()))
}

/// Returns the arguments after `rebuild BUILD` that repeat a build of a command: those of its arguments that `rebuild`
/// also has, without secrets, whether they were given as flags or by environment variables. Returns `None` if it is not
/// a valid command line.
fn rebuild_words_of(
    arguments: impl IntoIterator<Item = OsString>,
    variable: Variable<'_>,
) -> Option<Vec<String>> {
    let (command, _, given) = parsed(arguments)?;
    let rebuild = command.find_subcommand("rebuild")?;
    let mut words = rebuild
        .get_arguments()
        .filter(|argument| !NOT_REPEATED.contains(&argument.get_id().as_str()))
        .flat_map(|argument| words_of(&command, argument, &given))
        .collect::<Vec<_>>();
    words.extend(docker_host(&given, variable));
    Some(redact_command(words))
}

/// Returns the program's arguments, the name of the command in `arguments`, and what was given to it.
fn parsed(arguments: impl IntoIterator<Item = OsString>) -> Option<(Command, String, ArgMatches)> {
    let mut command = program();
    command.build();
    let given = command
        .clone()
        .try_get_matches_from(command_first(arguments, program))
        .ok()?;
    let (name, given) = given.subcommand()?;
    let (name, given) = (name.to_owned(), given.clone());
    Some((command, name, given))
}

/// Returns the flags of its own command that this process's command line has, such as `--only`.
pub(super) fn given_flags() -> Vec<String> {
    let Some((command, name, given)) = parsed(std::env::args_os()) else {
        return Vec::new();
    };
    let own = command.find_subcommand(&name).into_iter();
    own.flat_map(Command::get_arguments)
        .filter(|argument| !argument.is_global_set())
        .filter(|argument| source_of(argument, &given) == Some(ValueSource::CommandLine))
        .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
        .collect()
}

/// Returns where the value of an argument comes from; `None` if the command does not have it, or it has no value.
fn source_of(argument: &Arg, given: &ArgMatches) -> Option<ValueSource> {
    let id = argument.get_id().as_str();
    // `value_source` panics if the command does not have the argument.
    match given.try_contains_id(id) {
        Ok(true) => given.value_source(id),
        Ok(false) | Err(_) => None,
    }
}

/// Returns the words of an argument if it was given on the command line, or by an environment variable that is not a
/// secret.
fn words_of(command: &Command, argument: &Arg, given: &ArgMatches) -> Vec<String> {
    let flag = argument.get_long().map(|long| format!("--{long}"));
    match source_of(argument, given) {
        Some(ValueSource::CommandLine) => {}
        Some(ValueSource::EnvVariable)
            if flag
                .as_ref()
                .is_some_and(|flag| flag_value(command, flag) == FlagValue::Shown) => {}
        _ => return Vec::new(),
    }
    let id = argument.get_id().as_str();
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        return flag.into_iter().filter(|_| given.get_flag(id)).collect();
    }
    let values = given.get_raw(id).into_iter().flatten();
    let words = values.flat_map(|value| {
        let value = value.to_string_lossy().into_owned();
        flag.clone().into_iter().chain([value])
    });
    words.collect()
}

/// Returns the flag for `DOCKER_HOST`, if the command uses it.
fn docker_host(given: &ArgMatches, variable: Variable<'_>) -> Vec<String> {
    let flag = "docker_host";
    let Ok(is_given) = given.try_contains_id(flag) else {
        return Vec::new();
    };
    let executor = given.try_get_raw("executor").ok().flatten();
    let executor = executor.and_then(|mut values| values.next());
    let uses_docker = executor.is_none_or(|name| name == "auto" || name == "docker");
    if is_given || !uses_docker {
        return Vec::new();
    }
    let address = variable("DOCKER_HOST").filter(|text| text.parse::<DockerAddress>().is_ok());
    address.map_or_else(Vec::new, |address| {
        vec!["--docker-host".to_owned(), address]
    })
}

/// Returns the flags for mirrors that only environment variables name.
fn mirrors(given: &ArgMatches) -> Vec<String> {
    let by_flag = given.try_get_many::<(String, String)>("mirror");
    let by_flag = by_flag.ok().flatten().into_iter().flatten();
    let by_flag: Vec<&str> = by_flag.map(|(name, _)| name.as_str()).collect();
    mirrors_of_variables()
        .into_iter()
        .filter(|(name, _)| !by_flag.contains(&name.as_str()))
        .map(|(name, url)| format!("{name}={url}"))
        .filter(|mirror| parse_mirror(mirror).is_ok())
        .flat_map(|mirror| ["--mirror".to_owned(), mirror])
        .collect()
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
    use clap::CommandFactory as _;

    use super::*;

    fn set() {
        set_program(crate::cli::Arguments::command);
    }

    #[test]
    fn rebuild_repeats_the_flags_that_affect_a_build() {
        set();
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
            (
                "run --double 1% --prove all --prove-kvm --fail-fast",
                "--double 1% --prove all --prove-kvm",
            ),
            ("rebuild x --keep --out o", "--out o"),
        ] {
            let words = ["driverkit-matrix"].into_iter().chain(given.split(' '));
            let found = rebuild_words_of(words.map(OsString::from), &|_| None).unwrap();
            let sorted = |text: &str| {
                let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
                words.sort();
                words
            };
            assert_eq!(sorted(&found.join(" ")), sorted(expected), "{given}");
        }
        let unknown = ["driverkit-matrix", "run", "m.toml", "--no-such-flag"];
        assert_eq!(
            rebuild_words_of(unknown.map(OsString::from), &|_| None),
            None
        );
    }

    #[test]
    fn recorded_arguments_give_the_same_command() {
        set();
        let given = "run m.toml --mirror debian=http://u:secret@h/d --proxy http://u:secret@h:1 --executor fake \
                     --docker-host ssh://u@h --registry-password secret --out n";
        let words = ["driverkit-matrix"]
            .into_iter()
            .chain(given.split_whitespace());
        let words: Vec<String> = words.map(str::to_owned).collect();
        let of =
            |words: Vec<String>| rebuild_words_of(words.into_iter().map(OsString::from), &|_| None);
        let recorded = redact_command(words.clone());
        assert!(!recorded.join(" ").contains("secret"), "{recorded:?}");
        assert_eq!(of(recorded), of(words));
    }

    #[test]
    fn variables_are_repeated_as_flags() {
        set();
        let variable = |name: &str| {
            let value = match name {
                "DOCKER_HOST" => "ssh://builder",
                "DRIVERKIT_TARGET" => "debian",
                "DRIVERKIT_KERNELRELEASE" => "6.1",
                "DRIVERKIT_REGISTRY_PASSWORD" => "secret",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let words = |given: &str| {
            let words = ["driverkit-matrix"].into_iter().chain(given.split(' '));
            words.map(OsString::from).collect::<Vec<_>>()
        };
        for (given, expected) in [
            ("run", "--docker-host ssh://builder"),
            (
                "run --executor docker",
                "--executor docker --docker-host ssh://builder",
            ),
            ("run --executor local", "--executor local"),
            ("run --docker-host unix:///a", "--docker-host unix:///a"),
        ] {
            let found = rebuild_words_of(words(given), &variable).unwrap();
            assert_eq!(found.join(" "), expected, "{given}");
        }
        let found = words_of_variables(words("docker --kernelrelease 6.2"), &variable);
        let found: Vec<_> = found
            .iter()
            .filter(|word| !word.contains("mirror"))
            .collect();
        for word in ["--target=debian", "--docker-host", "ssh://builder"] {
            assert!(found.iter().any(|found| *found == word), "{found:?}");
        }
        let wrong = |word: &&&String| word.contains("kernelrelease") || word.contains("secret");
        assert!(!found.iter().any(|word| wrong(&word)), "{found:?}");
    }

    #[test]
    fn secrets_of_every_command_are_hidden() {
        set();
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
