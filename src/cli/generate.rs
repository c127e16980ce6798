//! `generate`: writes the documents that are derived from the command line's definition, for packagers of the program.

use std::path::{Path, PathBuf};

use clap::{Arg, Args, Command, ValueEnum};
use clap_complete::Shell;

use super::output::print;
use super::{CliError, ExitStatus};
use crate::fs::{self, FileError};

/// Write what is derived from the definition of the command line: docs/cli.md to standard output, manual pages or
/// completions into a directory; or a JSON Schema to standard output
#[derive(Debug, Args)]
pub(super) struct GenerateArguments {
    /// What to write
    what: What,
    /// Directory that receives manual pages or completions; for a schema, its name: manifest, plan, lock, events,
    /// matrix or index
    #[arg(required_if_eq_any([("what", "man"), ("what", "completions"), ("what", "schema")]))]
    folder: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Markdown,
    Man,
    Completions,
    Schema,
}

/// The JSON Schemas, by name.
const SCHEMAS: [(&str, &str); 6] = [
    ("manifest", include_str!("../../schemas/manifest.json")),
    ("plan", include_str!("../../schemas/plan.json")),
    ("lock", include_str!("../../schemas/lock.json")),
    ("events", include_str!("../../schemas/events.json")),
    ("matrix", include_str!("../../schemas/matrix.json")),
    ("index", include_str!("../../schemas/index.json")),
];

impl GenerateArguments {
    /// Runs the command; `arguments` are those of the program.
    pub(super) fn execute(self, arguments: &Command) -> Result<ExitStatus, CliError> {
        let mut command = arguments.clone();
        command.build();
        match (self.what, self.folder) {
            (What::Man, Some(folder)) => write_manual(&command, &folder)?,
            (What::Completions, Some(folder)) => write_completions(arguments, &folder)?,
            (What::Schema, Some(name)) => print(schema(&name)?)?,
            _ => print(&markdown(&command))?,
        }
        Ok(ExitStatus::Success)
    }
}

/// Returns the JSON Schema called `name`.
fn schema(name: &Path) -> Result<&'static str, CliError> {
    let known = SCHEMAS.iter().find(|(known, _)| name.as_os_str() == *known);
    known.map(|(_, text)| *text).ok_or_else(|| CliError::Input {
        message: format!("no schema is called `{}`", name.display()),
        help: Some(format!(
            "expected one of {}",
            SCHEMAS.map(|(name, _)| name).join(", ")
        )),
    })
}

/// Returns the commands that are not hidden, each with its full name, such as `driverkit-matrix images list`.
fn commands(command: &Command) -> Vec<(String, &Command)> {
    let mut all = vec![(command.get_name().to_owned(), command)];
    let mut next = 0;
    while let Some((words, command)) = all.get(next).cloned() {
        next += 1;
        let is_shown = |one: &&Command| !one.is_hide_set() && one.get_name() != "help";
        let found = command.get_subcommands().filter(is_shown);
        let found: Vec<_> = found
            .map(|one| (format!("{words} {}", one.get_name()), one))
            .collect();
        // Subcommands follow their command.
        all.splice(next..next, found);
    }
    all
}

fn write_manual(command: &Command, folder: &Path) -> Result<(), CliError> {
    fs::create_folder(folder)?;
    for (words, command) in commands(command) {
        let name = words.replace(' ', "-");
        let path = folder.join(format!("{name}.1"));
        let page = clap_mangen::Man::new(command.clone()).date("");
        let mut text = Vec::new();
        page.render(&mut text)
            .map_err(FileError::of("write", &path))?;
        fs::write(&path, text)?;
    }
    Ok(())
}

fn write_completions(arguments: &Command, folder: &Path) -> Result<(), CliError> {
    fs::create_folder(folder)?;
    for shell in [
        Shell::Bash,
        Shell::Elvish,
        Shell::Fish,
        Shell::PowerShell,
        Shell::Zsh,
    ] {
        let mut command = arguments.clone();
        clap_complete::generate_to(shell, &mut command, "driverkit-matrix", folder)
            .map_err(FileError::of("write completions to", folder))?;
    }
    Ok(())
}

fn markdown(command: &Command) -> String {
    let mut text = "# Commands and their flags\n\n\
        Written by `driverkit-matrix generate markdown` from the definition of the command line; a test compares.\n"
        .to_owned();
    let all = commands(command);
    let of_all: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| argument.is_global_set())
        .collect();
    for (words, command) in &all {
        let usage = Command::clone(command).render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        let about = command.get_long_about().or(command.get_about());
        let about = about.map(ToString::to_string).unwrap_or_default();
        text = format!("{text}\n## {words}\n\n{about}\n\n    {}\n", usage.trim());
        let own: Vec<&Arg> = command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set() && !is_common(argument))
            .filter(|argument| {
                *words == all[0].0 || !of_all.iter().any(|one| one.get_id() == argument.get_id())
            })
            .collect();
        if !own.is_empty() {
            text += "\n| argument | meaning |\n| --- | --- |\n";
            for argument in own {
                text = format!(
                    "{text}| {} | {} |\n",
                    name_of(argument),
                    meaning_of(argument)
                );
            }
        }
    }
    text
}

/// Returns true for `--help` and `--version`.
fn is_common(argument: &Arg) -> bool {
    matches!(argument.get_id().as_str(), "help" | "version")
}

/// Returns text such as `-j`, `--jobs <N>`.
fn name_of(argument: &Arg) -> String {
    let values: Vec<String> = argument
        .get_value_names()
        .unwrap_or_default()
        .iter()
        .map(|name| format!("<{name}>"))
        .collect();
    let takes_value = argument.get_action().takes_values();
    let values = if takes_value {
        values.join(" ")
    } else {
        String::new()
    };
    let Some(long) = argument.get_long() else {
        return format!("`{values}`");
    };
    let short = argument
        .get_short()
        .map_or(String::new(), |short| format!("`-{short}`, "));
    format!("{short}`{}`", format!("--{long} {values}").trim())
}

fn meaning_of(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    let help = help.map(ToString::to_string).unwrap_or_default();
    // The first paragraph has no full stop.
    let help = help.replacen("\n\n", ". ", 1);
    let mut parts: Vec<String> = vec![help.split_whitespace().collect::<Vec<_>>().join(" ")];
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    // A flag without a value has the possible values true and false.
    if argument.get_action().takes_values() && !values.is_empty() {
        parts.push(format!("({})", values.join(", ")));
    }
    let defaults: Vec<String> = argument
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        parts.push(format!("[default: {}]", defaults.join(", ")));
    }
    if let Some(variable) = argument.get_env() {
        parts.push(format!("[environment: `{}`]", variable.to_string_lossy()));
    }
    parts.join(" ").replace('|', "\\|")
}
