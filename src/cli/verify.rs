//! `verify`: whether an output folder holds what its manifest says.

use std::path::PathBuf;

use clap::Args;

use super::output::{AnswerFormat, print, print_json};
use super::{CliError, Context, ExitStatus};
use crate::report::{DifferenceKind, differences};
use crate::resolve::said_while_busy;
use crate::text::count;

/// Compare an output directory with its manifest
///
/// Prints one line for each artifact that is missing, has another digest, or is not in the manifest. Exit code 1 if there
/// is one.
#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// Output directory
    #[arg(value_name = "OUT", default_value = "out")]
    out: PathBuf,
    #[command(flatten)]
    format: AnswerFormat,
}

impl VerifyArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let line = || format!("comparing {} with its manifest", self.out.display());
        let found = said_while_busy(context, line, || differences(&self.out));
        let found = found?;
        if self.format.is_json() {
            print_json(&found)?;
        } else if found.is_empty() {
            print("everything is what the manifest says\n")?;
        }
        if found.is_empty() {
            return Ok(ExitStatus::Success);
        }
        if !self.format.is_json() {
            for difference in &found {
                let path = difference.path.display();
                let line = match &difference.kind {
                    DifferenceKind::Missing => format!("{path}: missing\n"),
                    DifferenceKind::DifferentDigest {
                        expected,
                        found: Some(found),
                    } => format!("{path}: different digest: {found}, expected {expected}\n"),
                    DifferenceKind::DifferentDigest { found: None, .. } => {
                        format!("{path}: different digest: it is not a regular file\n")
                    }
                    DifferenceKind::NotInManifest => format!("{path}: not in the manifest\n"),
                };
                print(&line)?;
            }
            context.notice(&count(found.len(), "difference"));
        }
        Ok(ExitStatus::Incomplete)
    }
}
