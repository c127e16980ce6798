//! Errors as text.
//!
//! An error of this crate either includes its cause in its own text or returns it as its `source`, never both.
//! [`chain`] prints an error that may have sources. The words of HTTP clients and of the kernel about a connection are
//! replaced by plain ones.

use std::error::Error;
use std::io::{self, ErrorKind};

/// Returns the text of an error followed by the texts of its sources: `failed to connect: connection refused`. A text
/// that is already included is not repeated, since libraries often interpolate the text of a source into their own.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        next = cause.source();
        if text.contains(&cause_text) || (next.is_some() && is_of_client(&cause_text)) {
            continue;
        }
        let words = connection_words(cause);
        let is_last = words.is_some();
        text = format!("{text}: {}", words.map_or(cause_text, str::to_owned));
        if is_last {
            break;
        }
    }
    text
}

/// Returns the causes of an error of an HTTP client, without its own text, which contains the URL with its password.
pub fn causes(error: &dyn Error) -> String {
    let mut texts = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(words) = connection_words(cause) {
            return words.to_owned();
        }
        let text = cause.to_string();
        next = cause.source();
        if next.is_none() || !is_of_client(&text) {
            texts.push(text);
        }
    }
    if texts.is_empty() {
        "unknown cause".to_owned()
    } else {
        texts.join(": ")
    }
}

/// Returns true for the part of an HTTP client that failed, which does not help the user: the cause follows.
fn is_of_client(text: &str) -> bool {
    text.starts_with("client error (") || text == "tcp connect error"
}

/// A plain description of a connection error, in place of the message of the client or the kernel.
fn connection_words(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if error.to_string().starts_with("dns error") {
        return Some("its name cannot be resolved");
    }
    Some(match error.downcast_ref::<io::Error>()?.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => {
            "it closed the connection"
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::NetworkDown => {
            "no route to it"
        }
        ErrorKind::TimedOut => "no answer in time",
        ErrorKind::UnexpectedEof => "the connection ended too early",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn layers(texts: &[&'static str]) -> Option<Box<Layer>> {
        let (&text, rest) = texts.split_first()?;
        let source = layers(rest);
        Some(Box::new(Layer { text, source }))
    }

    #[test]
    fn every_cause_is_printed_once() {
        for (texts, expected) in [
            (&["failed"][..], "failed"),
            (
                &["failed", "no route", "timed out"],
                "failed: no route: timed out",
            ),
            (
                &["failed: no route", "no route", "timed out"],
                "failed: no route: timed out",
            ),
            (&["failed", "timed out", "timed out"], "failed: timed out"),
        ] {
            assert_eq!(chain(&*layers(texts).unwrap()), expected);
        }
    }

    #[test]
    fn words_of_clients_and_the_kernel_are_replaced() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Of(&'static str, #[source] Box<dyn Error>);
        let refused = io::Error::from_raw_os_error(111);
        let connect = Of("tcp connect error", Box::new(refused));
        let client = Of("client error (Connect)", Box::new(connect));
        let sent = Of("error sending request", Box::new(client));
        assert_eq!(chain(&sent), "error sending request: connection refused");
        assert_eq!(causes(&sent), "connection refused");
        let name = Of("dns error", Box::new(io::Error::other("no such name")));
        let sent = Of("error sending request", Box::new(name));
        assert_eq!(causes(&sent), "its name cannot be resolved");
        let read = Of(
            "error",
            Box::new(Of("client error (Other)", "bad header".into())),
        );
        assert_eq!(causes(&read), "bad header");
        assert_eq!(causes(&io::Error::from_raw_os_error(2)), "unknown cause");
    }
}
