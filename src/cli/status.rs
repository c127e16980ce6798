//! `status`: shows the progress of a run.

use std::path::PathBuf;

use clap::Args;

use super::output::{AnswerFormat, print, print_json};
use super::{CliError, Context, ExitStatus};
use crate::report::{draw_status, run_status};
use crate::resolve::said_while_reading;

/// Show the progress of a run that is in progress, also in another terminal, or the result of the last one
#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    /// Output directory of the run
    #[arg(value_name = "OUT", default_value = "out")]
    out: PathBuf,
    #[command(flatten)]
    format: AnswerFormat,
}

impl StatusArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let status = said_while_reading(context, &self.out, || run_status(&self.out));
        let status = status.map_err(|error| CliError::input(error.to_string()))?;
        let Some(status) = status else {
            return Err(CliError::Input {
                message: format!("no run has written to {}", self.out.display()),
                help: Some("name the output directory of a run".to_owned()),
            });
        };
        if self.format.is_json() {
            print_json(&status)?;
        } else {
            print(&draw_status(&status))?;
        }
        Ok(ExitStatus::Success)
    }
}
