//! Masks the secrets of a file whose lines are drawn in a message.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::find::{Within, secrets};

/// Replaces each byte of a secret in a URL, and of the value of a key that looks like a secret, by `*`. The text keeps
/// its length in bytes and its lines, so that spans stay valid.
pub fn masked(text: &str) -> Cow<'_, str> {
    let mut ranges: Vec<Range<usize>> = secrets(text, Within::Sentence)
        .into_iter()
        .map(|secret| secret.content)
        .collect();
    ranges.extend(secret_values(text));
    if ranges.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut is_secret = vec![false; text.len()];
    for range in ranges {
        is_secret[range].fill(true);
    }
    let mut shown = String::with_capacity(text.len());
    for (position, character) in text.char_indices() {
        if is_secret[position] && !matches!(character, '\n' | '\r') {
            shown.extend(std::iter::repeat_n('*', character.len_utf8()));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// A key that looks like a secret, also if it is misspelt, with what separates it from its value. `key` and `keyring`
/// alone name a file.
static SECRET_KEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?i)(?:^|[\s{,\["'])(?:[\w.-]*(?:pas|secret|token|credential|[-_.]key|key[-_.]|apikey)[\w.-]*|env[\w.-]*)["']?(?:\s*[:=]\s*|\s+|\]+\s*$)"#,
    )
});

/// A line that starts with a key.
static KEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"^(?:\[|(?:[A-Za-z_][\w.-]*|"[^"]*"|'[^']*')\s*(?:=|:(?:\s|$|["'\[{0-9])))"#)
});

fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "the patterns are constants")]
    Regex::new(text).expect("a valid pattern")
}

/// Returns the values of keys that look like secrets: the rest of the key's line, and the lines that continue it.
fn secret_values(text: &str) -> Vec<Range<usize>> {
    let mut values = Vec::new();
    // The indentation of the last key that looks like a secret, and whether it is a table of TOML.
    let mut last: Option<(usize, bool)> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let range = start..start + line.len();
        start = range.end;
        let content = line.trim_start();
        let indentation = line.len() - content.len();
        let is_continued = last.is_some_and(|(of_key, is_table)| {
            content.is_empty()
                || if is_table {
                    !content.starts_with('[')
                } else {
                    indentation > of_key || !KEY.is_match(content)
                }
        });
        if is_continued {
            let value = match last {
                // The keys of a table stay visible.
                Some((_, true)) => line.find('=').map_or(0, |at| at + 1),
                _ => 0,
            };
            values.push(range.start + value..range.end);
            continue;
        }
        last = None;
        if content.starts_with('#') {
            continue;
        }
        if let Some(key) = SECRET_KEY.find(line) {
            values.push(range.start + key.end()..range.end);
            last = Some((indentation, content.starts_with('[')));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_keys_that_look_like_secrets_are_masked() {
        for given in [
            "registry-password: s3cret\n",
            "registry-pasword: s3cret # x\n",
            "registry-password s3cret\n",
            "REGISTRY-PASSWORD:s3cret\n",
            "registry-password:\n  s3cret\n",
            "registry-password: |\n  a: s3cret\n\n  s3cret\n",
            "token: [s3cret]\n",
            "env: [\"A=s3cret\", {b: 1}]\n",
            "env:\n- A=s3cret\n- {b: s3cret}\n",
            "env:\n  A: s3cret\n",
            "{\"target\": \"debian\", \"token\": \"s3cret\"}\n",
            "{\n\"env\": [\n\"A=s3cret\"\n]}\n",
            "env = [\n\"A=s3cret\",\n]\n",
            "[env]\nA = \"s3cret\"\n\nB = \"s3cret\"",
            "env.A = \"s3cret\"\n",
            "client-key: s3cret\r\n",
        ] {
            let shown = masked(given);
            assert!(!shown.contains("s3cret"), "{given}: {shown}");
            assert_eq!(shown.len(), given.len());
            assert_eq!(shown.lines().count(), given.lines().count());
        }
    }

    #[test]
    fn other_lines_stay_readable() {
        for given in [
            "target: debian\nkernelrelease: 1\n",
            "# the token of x\ntarget: debian\n",
            "key = \"/a/b.pem\"\nkeyring = \"c\"\n",
        ] {
            assert_eq!(masked(given), given);
        }
        for (given, shown) in [
            ("token: a\ntarget: b\n", "token: *\ntarget: b\n"),
            ("env:\n  A: b\ntarget: c\n", "env:\n******\ntarget: c\n"),
            (
                "[env]\nA = \"b\"\n[c]\nd = 1\n",
                "[env]\nA =****\n[c]\nd = 1\n",
            ),
        ] {
            assert_eq!(masked(given), shown);
        }
    }
}
