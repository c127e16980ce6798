//! Removes secrets from URLs, from text that contains URLs, and from command lines.
//!
//! Secrets are recognised by value, not by position: the user and password of any URL, also without a scheme
//! (`user:password@host`), and every query string, since a signed URL has its signature there. Passwords contain any
//! character, so a user and password end at the last `@` of a word unless a host is clearly before it.

use std::borrow::Cow;

mod find;
mod source;

use find::{Within, secrets};
pub use source::masked;

/// The replacement of a secret value.
pub const HIDDEN: &str = "***";

/// Returns a URL without user name, password, query and fragment; `?...` replaces the query. Text without `://` is a
/// path and is returned unchanged, unless it starts with `user:password@`.
pub fn url(text: &str) -> Cow<'_, str> {
    without(text, Within::Value)
}

/// Returns the text with [`url()`] applied to each URL.
pub fn text(text: &str) -> Cow<'_, str> {
    without(text, Within::Sentence)
}

/// Removes secrets until none is left: what follows a removed secret may look like another one.
fn without(text: &str, within: Within) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    loop {
        let secrets = secrets(&text, within);
        if secrets.is_empty() {
            return text;
        }
        let mut shown = String::new();
        let mut end = 0;
        for secret in secrets {
            shown += &text[end..secret.range.start];
            shown += secret.replacement;
            end = secret.range.end;
        }
        shown += &text[end..];
        text = Cow::Owned(shown);
    }
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
        // Each value by itself: a secret may contain what separates the words of a sentence.
        FlagValue::Shown => url(value).into_owned(),
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
    use super::find::SCHEME;
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
            ("http://user:secret@host.a:1/a@b", "http://host.a:1/a@b"),
            ("http://host/a@b", "http://host/a@b"),
            ("http://u:80/secret@h/", "http://h/"),
            ("http://u:7/secret@h/", "http://h/"),
            ("http://u:s://secret@h/", "http://h/"),
            ("u:s://secret@h:1", "h:1"),
            ("user://secret@h:1", "user://h:1"),
            ("user://secret//secret@h:1", "user://h:1"),
            ("http://u:secret}x@h/", "http://h/"),
            ("http://u:secret/x@h/", "http://h/"),
            ("http://u:sec#ret?x@h/", "http://h/"),
            ("http://u:sec@ret/x@h/", "http://h/"),
            ("http://u:sec ret@h/", "http://h/"),
            (
                "http://h.a/b,http://u:secret@h/c",
                "http://h.a/b,http://h/c",
            ),
            ("u:secret@h:x.git", "h:x.git"),
            ("u:secret\"/#@h:1", "h:1"),
            ("debian=u:secret@h:1", "debian=h:1"),
            ("/a:b@c", "/a:b@c"),
            ("https://host/a?...", "https://host/a?..."),
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
        for given in ["bad u:s://secret@h:1 here", "bad user://secret//s@h:1 here"] {
            assert!(!text(given).contains("secret"), "{}", text(given));
        }
        let given = "`https://u:secret@h/a?secret` failed (see http://h/b?secret), then s3://k:secret@bucket/x.";
        let shown = "`https://h/a?...` failed (see http://h/b?...), then s3://bucket/x.";
        assert_eq!(text(given), shown);
        assert_eq!(text("no URL? none"), "no URL? none");
        for character in "}\"'`<>|\\^{/#?@:,;".chars() {
            for start in [
                "",
                "http://",
                "`",
                "--mirror 'debian=http://",
                "git = \"ssh://",
            ] {
                let given = format!("bad {start}user:sec{character}ret@h:1 here");
                let expected = format!("bad {start}h:1 here");
                assert_eq!(text(&given), expected, "{given}");
                assert_eq!(masked(&given).len(), given.len());
                assert!(!masked(&given).contains("ret"), "{}", masked(&given));
            }
        }
        let digest = "a".repeat(64);
        for kept in [
            &format!("image reg:5000/x:tag@sha256:{digest}"),
            &format!("image docker://reg:5000/x:tag@sha256:{digest}"),
            "Signed-off-by: Some One <a@b.example>",
            "(a@b.example): no",
            "git@github.com:a/b.git failed",
            "a.c:1:2: stray '@' in program",
            "[\"http://a/x\",\"a@b\"]",
            "http://h.a:1/x: 404, http://h.a/y@z",
        ] {
            assert_eq!(text(kept), kept);
        }
        assert_eq!(
            text(&format!("u:secret@reg/x@sha256:{digest}")),
            format!("reg/x@sha256:{digest}")
        );
    }

    proptest::proptest! {
        #[test]
        fn redacting_twice_equals_redacting_once(
            given in "(http://|s3://|[a-c.:/?#@,\"}) ]|\\.\\.\\.|sha256:|user:|@h|\u{fc}){0,20}",
        ) {
            let once = text(&given).into_owned();
            proptest::prop_assert_eq!(text(&once), &*once);
            let once = url(&given).into_owned();
            proptest::prop_assert_eq!(url(&once), &*once);
            proptest::prop_assert_eq!(masked(&given).len(), given.len());
        }

        #[test]
        fn no_password_is_shown(
            start in proptest::sample::select(vec!["", "http://", "a=ssh://", "'s3://"]),
            password in "([!-?A-~]|//|://){1,16}",
        ) {
            // Another URL may start here.
            proptest::prop_assume!(!SCHEME.is_match(&password));
            let given = format!("{start}user:{password}S3CRET{password}@h.example:1/a");
            for shown in [text(&given), url(&given), masked(&given)] {
                proptest::prop_assert!(!shown.contains("S3CRET"), "{}", shown);
            }
        }
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
