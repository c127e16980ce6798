//! `completion`: prints completion scripts for shells.

use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

use super::output::ignore_broken_pipe;
use super::{CliError, ExitStatus};

/// Print the completion script of a shell
///
/// bash: source <(driverkit-matrix completion bash), or write it to /etc/bash_completion.d/driverkit-matrix.
/// zsh: write it to a file `_driverkit-matrix` in a directory of $fpath.
/// fish: write it to ~/.config/fish/completions/driverkit-matrix.fish.
///
/// Targets, driver versions and builds of the matrices in the current directory are completed as well if the shell runs
/// the program for each completion:
/// bash: source <(COMPLETE=bash driverkit-matrix). zsh: source <(COMPLETE=zsh driverkit-matrix).
/// fish: COMPLETE=fish driverkit-matrix | source.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct CompletionArguments {
    /// The shell; without one, help is printed
    #[arg(value_name = "SHELL")]
    shell: Option<Choice>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Choice {
    Bash,
    Elvish,
    Fish,
    /// Print help
    Help,
    Powershell,
    Zsh,
}

impl CompletionArguments {
    /// Runs the command; `command` are the arguments of the program.
    pub(super) fn execute(self, mut command: Command) -> Result<ExitStatus, CliError> {
        let shell = match self.shell {
            Some(Choice::Bash) => Some(Shell::Bash),
            Some(Choice::Elvish) => Some(Shell::Elvish),
            Some(Choice::Fish) => Some(Shell::Fish),
            Some(Choice::Powershell) => Some(Shell::PowerShell),
            Some(Choice::Zsh) => Some(Shell::Zsh),
            Some(Choice::Help) | None => None,
        };
        let mut text = Vec::new();
        if let Some(shell) = shell {
            clap_complete::generate(shell, &mut command, "driverkit-matrix", &mut text);
        } else {
            command.build();
            if let Some(completion) = command.find_subcommand_mut("completion") {
                text = completion.render_long_help().to_string().into_bytes();
            }
        }
        ignore_broken_pipe(|output| output.write_all(&text))?;
        Ok(ExitStatus::Success)
    }
}
