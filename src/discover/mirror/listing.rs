//! Directory pages of web servers.

use std::sync::LazyLock;

use percent_encoding::percent_decode_str;
use regex::bytes::Regex;

/// Returns the names of links to files in the directory itself: each once, decoded. Directories end with a slash.
pub(super) fn names(page: &[u8]) -> Vec<String> {
    static LINK: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"(?i)<a\s[^>]*href\s*=\s*["']([^"'?#]+)["']"#).ok());
    let Some(link) = &*LINK else {
        return Vec::new();
    };
    let mut names: Vec<String> = link
        .captures_iter(page)
        .filter_map(|found| {
            let text = str::from_utf8(found.get(1)?.as_bytes()).ok()?;
            let text = text.strip_prefix("./").unwrap_or(text);
            let name = percent_decode_str(text).decode_utf8().ok()?.into_owned();
            let inner = name.trim_end_matches('/');
            (!inner.is_empty() && !inner.contains(['/', '\\', ':']) && inner != "..")
                .then_some(name)
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_into_the_folder_only() {
        let page = br#"<html><a href="../">up</a> <A HREF='a%2Bb.rpm'>x</A> <a href="?C=N">sort</a>
            <a class="x" href="./c.rpm">c</a><a href="/root.rpm">r</a><a href="http://other/x.rpm">o</a>
            <a href="c.rpm">again</a><a href="3185.0.0/">3185</a><a href="bad%zz">bad</a>"#;
        assert_eq!(names(page), ["3185.0.0/", "a+b.rpm", "bad%zz", "c.rpm"]);
        assert!(names(b"<html><h1>500 Internal Server Error</h1></html>").is_empty());
    }
}
