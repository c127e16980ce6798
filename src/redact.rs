//! Removes secrets from URLs, from text that contains URLs, and from command lines.
//!
//! Secrets are recognised by value, not by position: the user and password of any URL, and every query string, since a
//! signed URL has its signature there.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// The replacement of a secret value.
pub const HIDDEN: &str = "***";

/// The replacement of a URL's query.
const HIDDEN_QUERY: &str = "?...";

/// Placeholders that messages use for a URL's user, host and port; they are not secrets. The third lacks a bracket,
/// since [`text`] treats the last one as punctuation.
const PLACEHOLDERS: [&str; 4] = [
    "HOST:PORT",
    "[USER@]HOST",
    "[USER@]HOST[:PORT",
    "[USER@]HOST[:PORT]",
];

/// Returns a URL without user name, password, query and fragment; `?...` replaces the query. Text without `://` is a
/// path and is returned unchanged.
pub fn url(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Cow::Borrowed(text);
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if PLACEHOLDERS.contains(&authority) {
        return Cow::Borrowed(text);
    }
    let host = authority.rsplit_once('@').map(|(_, host)| host);
    let path_end = path.find(['?', '#']);
    if host.is_none() && path_end.is_none() {
        return Cow::Borrowed(text);
    }
    let host = host.unwrap_or(authority);
    let query = match path_end.map(|at| path.as_bytes()[at]) {
        Some(b'?') => HIDDEN_QUERY,
        _ => "",
    };
    let path = &path[..path_end.unwrap_or(path.len())];
    Cow::Owned(format!("{scheme}://{host}{path}{query}"))
}

static URL: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is a constant")]
    Regex::new(r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s"'`<>|\\^{}]+"#).expect("a valid pattern")
});

/// Returns the text with [`url()`] applied to each URL.
pub fn text(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    URL.replace_all(text, |found: &regex::Captures<'_>| {
        // Punctuation after a URL belongs to the sentence.
        let whole = &found[0];
        let end = whole.trim_end_matches(['.', ',', ';', ':', ')', ']']).len();
        format!("{}{}", url(&whole[..end]), &whole[end..])
    })
}

/// Replaces each byte of a secret in a URL by `*`. The text keeps its length in bytes, so that spans stay valid.
pub fn masked(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    URL.replace_all(text, |found: &regex::Captures<'_>| {
        let whole = &found[0];
        let start = whole.find("://").map_or(0, |at| at + 3);
        let host_end = whole[start..]
            .find(['/', '?', '#'])
            .map_or(whole.len(), |at| start + at);
        let host = whole[start..host_end]
            .rfind('@')
            .map_or(start, |at| start + at);
        let query = whole.find(['?', '#']).map_or(whole.len(), |at| at + 1);
        let mask = |part: &str| "*".repeat(part.len());
        format!(
            "{}{}{}{}",
            &whole[..start],
            mask(&whole[start..host]),
            &whole[host..query],
            mask(&whole[query..])
        )
    })
}

/// The maximum number of characters of a word that is shown in full; usual paths and URLs are shorter.
const LONGEST_WORD: usize = 200;

/// The maximum number of characters of a text that is shown in full, after its words are shortened.
const LONGEST_TEXT: usize = 4000;

/// Returns the text with each overlong word cut to its start, followed by its length; an overlong text is cut in the
/// same way. Values from files, flags and servers can be of any length.
pub fn shortened(text: &str) -> Cow<'_, str> {
    if text.len() <= LONGEST_WORD {
        return Cow::Borrowed(text);
    }
    let is_between = |found: char| found.is_whitespace() || "`'\"".contains(found);
    let mut short = String::new();
    for part in text.split_inclusive(is_between) {
        let word = part.trim_end_matches(is_between);
        short += &start_of(word, LONGEST_WORD);
        short += &part[word.len()..];
    }
    match start_of(&short, LONGEST_TEXT) {
        Cow::Borrowed(_) => Cow::Owned(short),
        Cow::Owned(start) => Cow::Owned(start),
    }
}

/// Cuts a text of more than `most` characters to its start, followed by its length in characters.
fn start_of(text: &str, most: usize) -> Cow<'_, str> {
    let Some((end, _)) = text.char_indices().nth(most) else {
        return Cow::Borrowed(text);
    };
    let count = text.chars().count();
    Cow::Owned(format!("{}... ({count} characters)", &text[..end]))
}

/// Returns true if a terminal or a spreadsheet acts on a character instead of showing it: control characters (including
/// line ends and tabs), line and paragraph separators, and characters that change the direction of text.
pub fn acts_on_a_reader(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// How the value of a command line flag is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagValue {
    /// The value, with secrets removed from its URLs.
    Shown,
    /// No part of the value.
    Secret,
    /// Only the name of a `NAME=VALUE`.
    Assignment,
}

/// Returns a command line without secrets. `kind` returns how the value of a flag (`--name`) is recorded.
pub fn command(
    words: impl IntoIterator<Item = String>,
    kind: impl Fn(&str) -> FlagValue,
) -> Vec<String> {
    let mut of_next = FlagValue::Shown;
    let show = |value: &str, how: FlagValue| match how {
        FlagValue::Secret => HIDDEN.to_owned(),
        FlagValue::Assignment => match value.split_once('=') {
            Some((name, _)) => format!("{name}={HIDDEN}"),
            None => HIDDEN.to_owned(),
        },
        FlagValue::Shown => text(value).into_owned(),
    };
    words
        .into_iter()
        .map(|word| {
            let how = std::mem::replace(&mut of_next, FlagValue::Shown);
            if how != FlagValue::Shown {
                return show(&word, how);
            }
            if !word.starts_with('-') {
                return show(&word, FlagValue::Shown);
            }
            if let Some((name, value)) = word.split_once('=') {
                return format!("{name}={}", show(value, kind(name)));
            }
            of_next = kind(&word);
            word
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_and_texts_are_shortened_with_their_length() {
        let long = "\u{e4}".repeat(65_536);
        assert_eq!(shortened("bad `x` in a.toml"), "bad `x` in a.toml");
        let message = format!("key `{long}` of {} is unknown", "b".repeat(200));
        let expected = format!(
            "key `{}... (65536 characters)` of {} is unknown",
            "\u{e4}".repeat(200),
            "b".repeat(200)
        );
        assert_eq!(shortened(&message), expected);
        let many = "word ".repeat(10_000);
        let short = shortened(&many);
        assert!(short.len() < 5000 && short.ends_with("... (50000 characters)"));
    }

    #[test]
    fn credentials_query_and_fragment_of_a_url_are_removed() {
        for (given, shown) in [
            ("http://user:secret@host:1/a@b", "http://host:1/a@b"),
            ("https://user:p@ss@host?x=secret", "https://host?..."),
            (
                "https://host/a.deb?X-Amz-Signature=secret#secret",
                "https://host/a.deb?...",
            ),
            ("https://host/a.deb#secret", "https://host/a.deb"),
            ("http://host/a+b~c.deb", "http://host/a+b~c.deb"),
            ("a@b/c?d", "a@b/c?d"),
            ("ssh://[USER@]HOST", "ssh://[USER@]HOST"),
            ("ssh://[USER@]HOST[:PORT]", "ssh://[USER@]HOST[:PORT]"),
            ("http://HOSTER:secret@host/a", "http://host/a"),
            ("http://HOST/a?secret", "http://HOST/a?..."),
            (
                "tcp://HOST:PORT?certificates=/DIR",
                "tcp://HOST:PORT?certificates=/DIR",
            ),
        ] {
            assert_eq!(url(given), shown);
        }
    }

    #[test]
    fn only_secrets_in_urls_are_removed_from_text() {
        let given = "`https://u:secret@h/a?secret` failed (see http://h/b?secret), then s3://k:secret@bucket/x.";
        let shown = "`https://h/a?...` failed (see http://h/b?...), then s3://bucket/x.";
        assert_eq!(text(given), shown);
        assert_eq!(text("no URL? none"), "no URL? none");
    }

    #[test]
    fn masked_text_keeps_its_length() {
        let given = "url = \"http://user:secret@host/a?secret\" # http://host/b and \u{fc}";
        let shown = "url = \"http://***********@host/a?******\" # http://host/b and \u{fc}";
        assert_eq!(masked(given), shown);
        assert_eq!(
            masked("http://s\u{fc}:s@h/?\u{fc}").len(),
            "http://s\u{fc}:s@h/?\u{fc}".len()
        );
    }

    #[test]
    fn command_hides_secret_flags_assignments_and_credentials() {
        let kind = |name: &str| match name {
            "--token" => FlagValue::Secret,
            "--env" => FlagValue::Assignment,
            _ => FlagValue::Shown,
        };
        let words = [
            "x",
            "docker",
            "--token",
            "secret",
            "--token=secret",
            "--env",
            "A=secret",
            "--env=B=secret",
            "--mirror",
            "debian=http://u:secret@h/",
            "--proxy=http://u:secret@h:1",
            "--env",
            "secret",
            "http://h/a?secret",
            "--verbose",
        ];
        let shown = command(words.map(str::to_owned), kind).join(" ");
        assert_eq!(
            shown,
            "x docker --token *** --token=*** --env A=*** --env=B=*** --mirror debian=http://h/ \
             --proxy=http://h:1 --env *** http://h/a?... --verbose"
        );
    }
}
