//! `known`: the known failures of the last run, and rules for the others.

use std::path::PathBuf;

use clap::Args;

use super::output::print;
use super::{CliError, ExitStatus};
use crate::event::FindingKind;
use crate::failure::Status;
use crate::history::{Night, suggest};
use crate::report::read_manifest;

/// Show what `[[known_failure]]` rules expect in the last run, and which of them are out of date
///
/// The exit code is a sum: 4 if a rule has expired, 8 if one matches nothing, 16 if what one expects to fail was built.
#[derive(Debug, Args)]
pub(super) struct KnownArguments {
    /// Output directory of the run
    #[arg(value_name = "OUT", default_value = "out")]
    out: PathBuf,
    /// Print rules for the failures that no rule expects, to be edited and put into the matrix
    #[arg(long)]
    suggest: bool,
}

impl KnownArguments {
    /// Runs the command.
    pub(super) fn execute(self) -> Result<ExitStatus, CliError> {
        if self.suggest {
            let night = Night::read(&self.out)?;
            print(&suggest(&night))?;
            return Ok(ExitStatus::Success);
        }
        let manifest = read_manifest(&self.out)?;
        let mut lines = Vec::new();
        for build in &manifest.builds {
            for artifact in &build.artifacts {
                let Some(known) = artifact
                    .known
                    .as_ref()
                    .filter(|_| artifact.status == Status::Known)
                else {
                    continue;
                };
                let (build, kind) = (&build.build_id, artifact.artifact);
                let (reason, place) = (&known.reason, &known.place);
                lines.push(format!("{build} ({kind}): {reason} ({place})\n"));
            }
        }
        let count = lines.len();
        let mut bits = 0;
        for finding in &manifest.findings {
            lines.push(format!("{}: {}\n", finding.place, finding.message));
            bits |= match finding.kind {
                FindingKind::Expired => 4,
                FindingKind::Unused => 8,
                FindingKind::UnexpectedPass => 16,
            };
        }
        print(&format!("known failures: {count}\n{}", lines.concat()))?;
        Ok(ExitStatus::from_findings(bits))
    }
}
