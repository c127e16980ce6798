//! Finds the secrets of a text.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// The replacement of a URL's query.
const HIDDEN_QUERY: &str = "?...";

/// Placeholders that messages use for a URL's user, host and port; they are not secrets.
const PLACEHOLDERS: [&str; 3] = ["HOST:PORT", "[USER@]HOST[:PORT]", "[USER@]HOST"];

/// Punctuation after a URL that belongs to the sentence.
const PUNCTUATION: [char; 6] = ['.', ',', ';', ':', ')', ']'];

/// Part of a text that contains a secret.
pub(super) struct Secret {
    /// The part that is replaced.
    pub(super) range: Range<usize>,
    /// Its replacement.
    pub(super) replacement: &'static str,
    /// The secret itself, without punctuation of the URL.
    pub(super) content: Range<usize>,
}

/// Where secrets are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Within {
    /// In a value, which is a URL, a path or `NAME=URL`; it may contain white space.
    Value,
    /// In a text with words, quotes and punctuation.
    Sentence,
}

impl Within {
    /// Returns the start of `text` up to the end of its first word.
    fn word(self, text: &str) -> &str {
        match self {
            Self::Value => text,
            Self::Sentence => &text[..text.find(char::is_whitespace).unwrap_or(text.len())],
        }
    }

    /// Returns the start of `word` up to the first character that no URL contains.
    fn url(self, word: &str) -> &str {
        let is_outside = |found: char| "\"'`<>|\\^{}\u{1b}".contains(found);
        match self {
            Self::Value => word,
            Self::Sentence => &word[..word.find(is_outside).unwrap_or(word.len())],
        }
    }

    fn without_punctuation(self, text: &str) -> &str {
        match self {
            Self::Value => text,
            Self::Sentence => text.trim_end_matches(PUNCTUATION),
        }
    }
}

/// The start of a URL, or of `user:password@host`.
static START: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is a constant")]
    Regex::new(r"[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z0-9_][A-Za-z0-9_.%+~$-]*:")
        .expect("a valid pattern")
});

/// A known scheme. Before `://`, any other word may be a user whose password starts with slashes.
pub(super) static SCHEME: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is a constant")]
    Regex::new(
        r"(?i)\b(?:abfss?|adls?|az(?:ure)?|docker(?:-archive|-daemon)?|fd|file|ftps?|gcs?|git|gs|https?|npipe|oci|rsync|s3a?|sftp|socks[45][ah]?|ssh|tcp|tls|unix)://",
    )
    .expect("a valid pattern")
});

/// Returns the secrets of a text, in order.
pub(super) fn secrets(text: &str, within: Within) -> Vec<Secret> {
    let mut found = Vec::new();
    let last_at = text.rfind('@');
    if last_at.is_none() && !text.contains("://") {
        return found;
    }
    let mut from = 0;
    while let Some(start) = START.find_at(text, from) {
        from = start.end();
        if start.as_str().ends_with("://") {
            from = secrets_of_url(text, start.range(), within, &mut found);
        } else if last_at.is_some_and(|last| from <= last)
            && is_user(text, start.range(), within)
            && let Some(length) = credentials(within.word(&text[from..]))
        {
            let end = from + length;
            found.push(Secret {
                range: start.start()..end,
                replacement: "",
                content: start.start()..end - 1,
            });
            from = end;
        }
    }
    found
}

/// Returns true if `user` (a name and a colon) may be followed by a password.
fn is_user(text: &str, user: Range<usize>, within: Within) -> bool {
    let before = text[..user.start].chars().next_back();
    let is_start = match within {
        Within::Value => matches!(before, None | Some('=' | ',')),
        // `git@host:path` has no password.
        Within::Sentence => before != Some('@'),
    };
    is_start && &text[user] != "mailto:"
}

/// Returns the length of a password and its `@`, after the user's colon.
fn credentials(word: &str) -> Option<usize> {
    let at = without_digest(word).rfind('@')?;
    (!SCHEME.is_match(&word[..at])).then_some(at + 1)
}

/// Removes the digest of an image: `@sha256:0123`.
fn without_digest(word: &str) -> &str {
    match word.rsplit_once('@') {
        Some((before, digest)) if digest.starts_with("sha256:") => before,
        _ => word,
    }
}

/// Adds the secrets of the URL with this scheme; returns where the search continues.
fn secrets_of_url(
    text: &str,
    scheme: Range<usize>,
    within: Within,
    found: &mut Vec<Secret>,
) -> usize {
    let start = scheme.end;
    let word = within.word(&text[start..]);
    if is_placeholder(within.url(word)) {
        return start + within.url(word).len();
    }
    let of_user = if SCHEME.is_match(&text[scheme]) {
        None
    } else {
        credentials(word)
    };
    let host = start + of_user.unwrap_or_else(|| credentials_of_url(word, within));
    if host > start {
        found.push(Secret {
            range: start..host,
            replacement: "",
            content: start..host - 1,
        });
    }
    let rest = within.url(&word[host - start..]);
    let query = rest.find(['?', '#']).unwrap_or(rest.len());
    // A path may contain another URL, and a comma may separate two.
    let mut others = START.find_iter(&rest[..query]);
    if let Some(other) = others.find(|other| other.as_str().ends_with("://")) {
        return host + other.start();
    }
    let end = within.without_punctuation(rest).len();
    let is_fragment = rest[query..].starts_with('#');
    if query + 1 < end && &rest[query..] != HIDDEN_QUERY {
        found.push(Secret {
            range: host + query..host + end,
            replacement: if is_fragment { "" } else { HIDDEN_QUERY },
            content: host + query + 1..host + end,
        });
    }
    host + rest.len()
}

/// Returns the length of a URL's user and password including the `@`. `word` starts after `://`.
fn credentials_of_url(word: &str, within: Within) -> usize {
    let url = within.url(word);
    let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
    if !authority.contains(['@', ':']) {
        return 0;
    }
    let own = authority.rfind('@').map_or(0, |at| at + 1);
    let is_last = authority.len() == url.len();
    let host = if is_last {
        within.without_punctuation(&authority[own..])
    } else {
        &authority[own..]
    };
    // `user:password` looks like `host:port` if the password starts with digits and a slash.
    let is_known = host.contains('.') || host.starts_with('[') || host.starts_with("localhost");
    let scope = if is_host(host) && is_known {
        authority
    } else {
        word
    };
    without_digest(scope).rfind('@').map_or(0, |at| at + 1)
}

/// Returns true for `HOST` and `HOST:PORT`.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (text, "0"),
    };
    let is_port = (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    is_port && !host.is_empty() && (host.starts_with('[') || host.bytes().all(is_name))
}

fn is_placeholder(url: &str) -> bool {
    PLACEHOLDERS.iter().any(|placeholder| {
        let rest = url.strip_prefix(placeholder);
        rest.is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(PUNCTUATION) || rest.starts_with(['/', '?'])
        })
    })
}
