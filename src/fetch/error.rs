//! Errors of downloads: what each URL answered instead of the file.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use super::ContentKind;
use crate::digest::Sha256;
use crate::failure::{Failure, FailureClass, Phase, SERVER_IS_DOWN};
use crate::redact;

/// Why a URL did not return the wanted file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Answer {
    /// A status that is not success.
    #[error("answered {status}{}", retry_text(*retry_after))]
    Status {
        /// The status code.
        status: u16,
        /// How long the server asks to wait, if it does.
        retry_after: Option<Duration>,
    },
    /// The local file does not exist.
    #[error("does not exist")]
    NoFile,
    /// No connection, or no answer on it.
    #[error("could not be reached: {0}")]
    Connection(String),
    /// Not requested: its server has been unreachable for a long time.
    #[error("{SERVER_IS_DOWN}{0})")]
    Away(String),
    /// Redirected too often, or to an invalid URL.
    #[error("redirects too often or to an invalid URL: {0}")]
    Redirect(String),
    /// Almost no bytes arrived for this long.
    #[error("sent almost nothing for {} s", .0.as_secs_f32())]
    Stalled(Duration),
    /// The transfer of the body was interrupted.
    #[error("was interrupted after {received_bytes} bytes: {cause}")]
    Truncated {
        /// Bytes that arrived.
        received_bytes: u64,
        /// The error of the connection.
        cause: String,
    },
    /// Larger than the limit.
    #[error("is larger than the limit of {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// An HTML page in place of the file.
    #[error("is an HTML page, not a {0}")]
    HtmlPage(ContentKind),
    /// The first bytes are not those of the expected kind.
    #[error("is not a {0}")]
    WrongContent(ContentKind),
    /// The end of the file is missing.
    #[error("is a truncated {0}")]
    CutOff(ContentKind),
    /// The size differs from that in the index or the lock.
    #[error("has {found_bytes} bytes, expected {expected_bytes}")]
    Size {
        /// The expected size.
        expected_bytes: u64,
        /// The actual size.
        found_bytes: u64,
    },
    /// The digest differs from that in the index or the lock.
    #[error("has SHA-256 {found}, expected {expected}")]
    Checksum {
        /// The expected digest.
        expected: Sha256,
        /// The actual digest.
        found: Sha256,
    },
    /// An invalid URL, or one with an unsupported scheme.
    #[error("is not a URL that can be fetched: {0}")]
    Address(String),
    /// No mirror is configured for it, and only mirrors are allowed.
    #[error("was not requested: only mirrors are allowed, and none is configured for it")]
    OnlyMirrors,
    /// The file was downloaded earlier and cannot be used.
    #[error("returned an unusable file (SHA-256 {sha256}): {why}")]
    Unusable {
        /// The digest of the file.
        sha256: Sha256,
        /// What is wrong with it.
        why: String,
    },
    /// A local file could not be read.
    #[error("could not be read: {0}")]
    Read(String),
    /// The store could not be written.
    #[error("could not be stored: {0}")]
    Store(String),
}

fn retry_text(retry_after: Option<Duration>) -> String {
    retry_after.map_or_else(String::new, |wait| {
        format!(", asking to wait {} s", wait.as_secs())
    })
}

impl Answer {
    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Connection(_) | Self::Away(_) | Self::Stalled(_) | Self::Truncated { .. } => true,
            _ => false,
        }
    }

    /// Whether the answer is that the file does not exist.
    pub fn is_not_there(&self) -> bool {
        matches!(
            self,
            Self::NoFile
                | Self::Status {
                    status: 404 | 410,
                    ..
                }
        )
    }

    fn class(&self) -> FailureClass {
        match self {
            Self::Store(_) => FailureClass::Infrastructure,
            Self::Size { .. } | Self::Checksum { .. } => FailureClass::Checksum,
            answer if answer.is_not_there() => FailureClass::HeadersNotFound,
            _ => FailureClass::Download,
        }
    }
}

/// A URL that was tried, and its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {answer}", self.shown())]
pub struct Tried {
    /// The URL in the form of records: without user name and password, and with a digest in place of its query.
    pub url: String,
    /// What it answered.
    pub answer: Answer,
}

impl Tried {
    /// The URL as messages show it. The digest of a signature changes whenever the URL is signed anew.
    fn shown(&self) -> Cow<'_, str> {
        redact::url(&self.url)
    }
}

/// A file that no URL returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchError {
    /// The URLs in the order in which they were tried, with the last answer of each URL.
    pub tried: Vec<Tried>,
}

impl FetchError {
    /// The most URLs with the same answer that the message of a failure lists; of more URLs, it
    /// lists the first and the last.
    const SHOWN: usize = 2;

    /// Whether every URL answered that the file does not exist.
    pub fn is_not_there(&self) -> bool {
        self.tried.iter().all(|tried| tried.answer.is_not_there())
    }

    /// The failure of a build that needs the file.
    pub fn failure(&self) -> Failure {
        // The worst answer decides: a file missing at one URL proves nothing if another could not
        // be reached.
        let class = [
            FailureClass::Infrastructure,
            FailureClass::Checksum,
            FailureClass::Download,
        ]
        .into_iter()
        .find(|&class| self.tried.iter().any(|tried| tried.answer.class() == class))
        .unwrap_or(FailureClass::HeadersNotFound);
        Failure::new(class, Phase::Fetch, self.message())
    }

    /// Whether the message of the failure leaves URLs out.
    pub fn is_shortened(&self) -> bool {
        let mut alike = self.alike().into_iter();
        alike.any(|(_, urls)| urls.len() > Self::SHOWN)
    }

    /// The answers of the URLs, each answer once.
    fn message(&self) -> String {
        let [_, _, ..] = &*self.tried else {
            return self.to_string();
        };
        let answers = self.alike().into_iter().map(|(answer, urls)| match &*urls {
            [url] => format!("{url} {answer}"),
            [first, second] => format!("{first} and {second} each {answer}"),
            [first, .., last] => format!("{first}, ..., {last} ({}) each {answer}", urls.len()),
            [] => answer.to_string(),
        });
        let answers: Vec<String> = answers.collect();
        format!(
            "none of {} URLs has it: {}",
            self.tried.len(),
            answers.join("; ")
        )
    }

    /// The URLs grouped by answer, in the order in which they were tried.
    fn alike(&self) -> Vec<(&Answer, Vec<Cow<'_, str>>)> {
        let mut alike: Vec<(&Answer, Vec<Cow<'_, str>>)> = Vec::new();
        for tried in &self.tried {
            let answer = &tried.answer;
            match alike.iter_mut().find(|(found, _)| *found == answer) {
                Some((_, urls)) => urls.push(tried.shown()),
                None => alike.push((answer, vec![tried.shown()])),
            }
        }
        alike
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tried.is_empty() {
            return formatter.write_str("no URL is known");
        }
        for (position, tried) in self.tried.iter().enumerate() {
            let separator = if position > 0 { "; " } else { "" };
            write!(formatter, "{separator}{tried}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FetchError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(answers: &[Answer]) -> FetchError {
        let tried = answers.iter().map(|answer| Tried {
            url: "http://example.org/a".to_owned(),
            answer: answer.clone(),
        });
        FetchError {
            tried: tried.collect(),
        }
    }

    fn status(status: u16) -> Answer {
        Answer::Status {
            status,
            retry_after: None,
        }
    }

    #[test]
    fn class_is_that_of_the_worst_answer() {
        let checksum = Answer::Size {
            expected_bytes: 1,
            found_bytes: 2,
        };
        let store = Answer::Store("disk full".to_owned());
        for (answers, class) in [
            (&[][..], FailureClass::HeadersNotFound),
            (&[status(404), status(410)], FailureClass::HeadersNotFound),
            (
                &[status(404), Answer::NoFile],
                FailureClass::HeadersNotFound,
            ),
            (&[status(404), status(503)], FailureClass::Download),
            (&[status(403)], FailureClass::Download),
            (&[status(503), checksum.clone()], FailureClass::Checksum),
            (&[checksum, store], FailureClass::Infrastructure),
        ] {
            assert_eq!(error(answers).failure().class, class, "{answers:?}");
        }
    }

    #[test]
    fn message_names_each_address_and_answer() {
        let wait = Answer::Status {
            status: 429,
            retry_after: Some(Duration::from_secs(7)),
        };
        assert_eq!(
            error(&[status(404), wait]).to_string(),
            "http://example.org/a answered 404; http://example.org/a answered 429, asking to wait 7 s"
        );
    }

    #[test]
    fn a_failure_says_each_answer_once() {
        let away = || Answer::Connection("no route".to_owned());
        for (answers, message) in [
            (vec![status(404)], "http://example.org/a answered 404"),
            (
                vec![status(404); 2],
                "none of 2 URLs has it: http://example.org/a and http://example.org/a each answered 404",
            ),
            (
                vec![status(404), away(), status(404), status(404)],
                "none of 4 URLs has it: http://example.org/a, ..., http://example.org/a (3) each answered 404; \
                 http://example.org/a could not be reached: no route",
            ),
        ] {
            let error = error(&answers);
            assert_eq!(error.failure().message, message);
            assert_eq!(error.is_shortened(), message.contains("..."));
        }
    }
}
