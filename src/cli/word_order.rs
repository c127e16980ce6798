//! The order of the words of a command line.

use std::ffi::OsString;

use clap::Command;

/// The names of driverkit's commands.
const COMMANDS_OF_DRIVERKIT: [&str; 7] = [
    "docker",
    "images",
    "k8s",
    "k8s-ic",
    "kubernetes",
    "kubernetes-in-cluster",
    "local",
];

/// Moves flags that precede one of driverkit's commands behind it, since driverkit accepts `-c x.yaml docker`. `program`
/// returns the arguments of the program.
pub(super) fn command_first(
    arguments: impl IntoIterator<Item = OsString>,
    program: impl FnOnce() -> Command,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    // A single `-v` is driverkit's short form of --version.
    if let [_, only] = &mut *arguments
        && *only == "-v"
    {
        *only = "--version".into();
    }
    let is_flag = |text: &OsString| text.as_encoded_bytes().starts_with(b"-");
    if arguments.get(1).is_some_and(is_flag) {
        let commands = program();
        let is_command = |word: &OsString| {
            word.to_str()
                .is_some_and(|word| commands.find_subcommand(word).is_some())
        };
        // In `run --executor local` the command is `run`, which driverkit does not have.
        if let Some(position) = arguments.iter().position(is_command)
            && COMMANDS_OF_DRIVERKIT
                .iter()
                .any(|name| arguments[position] == *name)
        {
            arguments[1..=position].rotate_right(1);
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn only_commands_of_driverkit_move_before_their_flags() {
        for (given, expected) in [
            ("x -c a.yaml docker", "x docker -c a.yaml"),
            (
                "x --loglevel debug local --proxy docker",
                "x local --loglevel debug --proxy docker",
            ),
            (
                "x --offline run --executor local",
                "x --offline run --executor local",
            ),
            ("x docker -c local", "x docker -c local"),
            ("x --version", "x --version"),
        ] {
            let words = command_first(
                given.split(' ').map(OsString::from),
                crate::cli::Arguments::command,
            );
            assert_eq!(words.join(std::ffi::OsStr::new(" ")), expected);
        }
    }
}
