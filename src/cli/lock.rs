//! `lock`: runs discovery and writes the locks.

use std::path::PathBuf;

use clap::Args;

use super::output::{ignore_broken_pipe, write_columns};
use super::sources::Sources;
use super::{CliError, Context, ExitStatus};
use crate::discover::lock::Changes;

/// Run discovery and write what it found beside each matrix
#[derive(Debug, Args)]
pub(super) struct LockArguments {
    /// Matrix files [default: matrices/*.toml]
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,
}

impl LockArguments {
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let sources = Sources::read(&self.files)?;
        let mut rows = vec![
            [
                "LOCK", "TARGET", "KERNELS", "CAME", "WENT", "MOVED", "CHANGED",
            ]
            .map(str::to_owned),
        ];
        for refreshed in sources.refresh_all(context)? {
            for (label, changes) in refreshed.changes {
                let Changes {
                    came,
                    went,
                    moved,
                    changed,
                    total,
                } = changes;
                let numbers = [total, came, went, moved, changed].map(|number| number.to_string());
                let [total, came, went, moved, changed] = numbers;
                let path = refreshed.path.display().to_string();
                rows.push([path, label, total, came, went, moved, changed]);
            }
        }
        if rows.len() == 1 {
            context.notice("nothing to lock: all kernels are named in the matrices themselves");
            return Ok(ExitStatus::Success);
        }
        let right = [false, false, true, true, true, true, true];
        ignore_broken_pipe(|output| write_columns(output, right, &rows))?;
        Ok(ExitStatus::Success)
    }
}
