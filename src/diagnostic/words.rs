//! Rewrites error messages of JSON, YAML and TOML parsers in the terms of those formats.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Matches `invalid type: map, expected struct Header`. Captures the kind of the value, the value and the expectation.
static TYPE: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is a constant")]
    Regex::new(r"invalid type: ([a-z -]+?)( `[^`]*`| (?s:\x22.*\x22))?, expected (.+)$")
        .expect("a valid pattern")
});

/// The names of kinds of values in serde, with the names that messages use.
const KINDS: [(&str, &str); 10] = [
    ("map", "an object"),
    ("sequence", "an array"),
    ("integer", "a number"),
    ("floating point", "a number"),
    ("boolean", "true or false"),
    ("string", "a string"),
    ("character", "a string"),
    ("byte array", "binary data"),
    ("unit value", "null"),
    ("null", "null"),
];

/// Returns a parser's error without the names of Rust types: what was found and what was expected. The position
/// ` at line 1 column 2` is removed, because the caller shows it.
pub fn plain_words(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(text, _)| text);
    if let Some((before, field)) = text
        .strip_suffix('`')
        .and_then(|text| text.split_once("missing field `"))
    {
        return format!("{before}`{field}` is missing");
    }
    let described = |found: &Captures<'_>| {
        let kind = KINDS.iter().find(|(name, _)| *name == &found[1]);
        let kind = kind.map_or(&found[1], |(_, kind)| kind);
        let value = found.get(2).map_or("", |value| value.as_str());
        format!("found {kind}{value}, expected {}", expected(&found[3]))
    };
    TYPE.replace(text, described).into_owned()
}

fn expected(what: &str) -> &str {
    if what.starts_with("struct ") || what == "a map" {
        return "an object";
    }
    match what {
        "a borrowed string" | "str" | "string" => "a string",
        "a sequence" => "an array",
        "u8" | "u16" | "u32" | "u64" | "usize" | "i32" | "i64" => "a number",
        "a boolean" => "true or false",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_types_are_replaced_by_names_of_the_file_format() {
        for (text, expected) in [
            (
                "invalid type: integer `5`, expected struct AnyHeader at line 1 column 1",
                "found a number `5`, expected an object",
            ),
            (
                "invalid type: string \"a, expected b\", expected a borrowed string at line 2 column 9",
                "found a string \"a, expected b\", expected a string",
            ),
            (
                "invalid type: sequence, expected an object with an array of kernels at line 1 column 0",
                "found an array, expected an object with an array of kernels",
            ),
            (
                "invalid type: null, expected u32 at line 1 column 8",
                "found null, expected a number",
            ),
            (
                "missing field `lock` at line 1 column 29",
                "`lock` is missing",
            ),
            (
                "EOF while parsing a list at line 1 column 11",
                "EOF while parsing a list",
            ),
        ] {
            assert_eq!(plain_words(&text), expected);
        }
    }
}
