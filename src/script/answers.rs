//! Reads the answers of checks: the files written by a job of checks.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::fs::FileError;

/// The answer of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The check's id.
    pub id: String,
    /// The exit status of its `build.sh`: 0 is yes.
    pub status: i32,
    /// The file with its output.
    pub log: PathBuf,
}

/// The maximum number of bytes read from a check's log, and from its status.
const LOG_LIMIT_BYTES: u64 = 4 << 20;
const STATUS_LIMIT_BYTES: u64 = 64;

impl Answer {
    /// Returns the output of the check, up to a few megabytes.
    pub fn read_log(&self) -> String {
        let mut bytes = Vec::new();
        let read = File::open(&self.log)
            .and_then(|file| file.take(LOG_LIMIT_BYTES).read_to_end(&mut bytes));
        // An unreadable log counts as empty.
        drop(read);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// An error from reading answers.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A status is not a number.
    #[error("the status of check {id} is not a number: `{text}`")]
    Status {
        /// The check.
        id: String,
        /// The content of its status file.
        text: String,
    },
}

/// Reads the answers to `ids` from the output directory of a job. Leaves out checks that did not run because an earlier
/// toolchain check failed.
pub fn read_answers<'a>(
    output: &Path,
    ids: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Answer>, AnswersError> {
    let mut answers = Vec::new();
    for id in ids {
        let folder = output.join("checks").join(id);
        let path = folder.join("status");
        let mut bytes = Vec::new();
        let read = File::open(&path)
            .and_then(|file| file.take(STATUS_LIMIT_BYTES).read_to_end(&mut bytes));
        match read.map_err(FileError::of("read", &path)) {
            Err(error) if error.is_not_found() => continue,
            read => read?,
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Ok(status) = text.trim_end().parse() else {
            let id = id.to_owned();
            return Err(AnswersError::Status { id, text });
        };
        answers.push(Answer {
            id: id.to_owned(),
            status,
            log: folder.join("log"),
        });
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;

    #[test]
    fn answers_are_parsed_and_missing_ones_left_out() {
        let output = tempfile::tempdir().unwrap();
        for (id, status) in [("a", "0\n"), ("b", "2\n"), ("broken", "?\n")] {
            fs::write(
                &output.path().join("checks").join(id).join("status"),
                status,
            )
            .unwrap();
        }
        let answers = read_answers(output.path(), ["a", "b", "not-run"]).unwrap();
        let found: Vec<_> = answers
            .iter()
            .map(|answer| (answer.id.as_str(), answer.status))
            .collect();
        assert_eq!(found, [("a", 0), ("b", 2)]);
        assert!(answers[1].log.ends_with("checks/b/log"));
        let error = read_answers(output.path(), ["broken"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the status of check broken is not a number: `?\n`"
        );
    }
}
