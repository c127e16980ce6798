//! Cached answers of servers about whether a file exists.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Existence;
use crate::digest::Sha256;
use crate::fs::{self, FileError, Lock};

const SCHEMA_VERSION: u32 = 1;

/// How long answers are kept.
const KEPT: Duration = Duration::from_hours(7 * 24);

/// The answers to earlier questions, by [`Fetcher::question`](super::Fetcher::question).
#[derive(Debug)]
pub struct KnownAnswers {
    path: PathBuf,
    known: BTreeMap<Sha256, NotedAnswer>,
}

/// An answer that does not change soon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedAnswer {
    /// When the server gave it.
    pub at: Timestamp,
    /// The URL that has the file, or `None` if no URL has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Text {
    schema_version: u32,
    answers: BTreeMap<Sha256, NotedAnswer>,
}

impl NotedAnswer {
    /// The answer itself.
    pub fn existence(&self) -> Existence {
        match &self.url {
            Some(url) => Existence::Exists(url.clone()),
            None => Existence::Missing,
        }
    }
}

impl KnownAnswers {
    /// Reads the cached answers. A file that cannot be read counts as missing.
    pub fn read(cache: &Path) -> Self {
        let path = cache.join("answers.json");
        Self {
            known: read(&path),
            path,
        }
    }

    /// The answer to a question, if it is not older than `max_age`.
    pub fn find(
        &self,
        question: Sha256,
        max_age: Duration,
        now: Timestamp,
    ) -> Option<&NotedAnswer> {
        let noted = self.known.get(&question)?;
        is_younger(noted, max_age, now).then_some(noted)
    }

    /// Adds new answers to the cached ones, including those that another process wrote meanwhile.
    pub fn keep(
        &self,
        new: impl IntoIterator<Item = (Sha256, NotedAnswer)>,
        now: Timestamp,
    ) -> Result<(), FileError> {
        let _alone = Lock::exclusive(&self.path.with_extension("lock"))?;
        let mut answers = read(&self.path);
        answers.extend(new);
        answers.retain(|_, noted| is_younger(noted, KEPT, now));
        let text = Text {
            schema_version: SCHEMA_VERSION,
            answers,
        };
        let text = serde_json::to_vec(&text)
            .map_err(|error| FileError::of("write", &self.path)(std::io::Error::other(error)))?;
        fs::write(&self.path, text)
    }
}

fn read(path: &Path) -> BTreeMap<Sha256, NotedAnswer> {
    let text = std::fs::read(path).ok();
    let text: Option<Text> = text.and_then(|text| serde_json::from_slice(&text).ok());
    match text {
        Some(text) if text.schema_version == SCHEMA_VERSION => text.answers,
        _ => BTreeMap::new(),
    }
}

fn is_younger(noted: &NotedAnswer, max_age: Duration, now: Timestamp) -> bool {
    // An answer from the future, after the clock was set back, does not count as young.
    let age = now.duration_since(noted.at);
    !age.is_negative() && age.unsigned_abs() < max_age
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_until_they_are_too_old() {
        let cache = tempfile::tempdir().unwrap();
        let at: Timestamp = "2026-11-28T01:00:00Z".parse().unwrap();
        let (one, other) = (Sha256::of("one"), Sha256::of("other"));
        let noted = |at, url: Option<&str>| NotedAnswer {
            at,
            url: url.map(str::to_owned),
        };
        let answers = KnownAnswers::read(cache.path());
        let exists = noted(at, Some("http://h.example.org/a"));
        answers.keep([(one, exists.clone())], at).unwrap();
        let later: Timestamp = "2026-11-28T03:00:00Z".parse().unwrap();
        let answers = KnownAnswers::read(cache.path());
        answers.keep([(other, noted(later, None))], later).unwrap();
        let answers = KnownAnswers::read(cache.path());
        let hours = |hours| Duration::from_hours(hours);
        assert_eq!(answers.find(one, hours(3), later), Some(&exists));
        assert_eq!(answers.find(one, hours(2), later), None);
        assert_eq!(answers.find(other, hours(1), at), None);
        let missing = answers.find(other, hours(1), later).unwrap();
        assert_eq!(missing.existence(), Existence::Missing);
        let next: Timestamp = "2026-12-05T02:00:00Z".parse().unwrap();
        answers.keep([], next).unwrap();
        let answers = KnownAnswers::read(cache.path());
        assert_eq!(answers.find(one, hours(1_000), next), None);
        assert!(answers.find(other, hours(1_000), next).is_some());
    }
}
