//! Mirrors: other URLs of the same files.

/// A rule: files whose URL starts with `prefix` are also available from `replacements`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorRule {
    /// The start of a URL, up to the end of a path segment: `http://archive.ubuntu.com/ubuntu`.
    pub prefix: String,
    /// The URLs that replace the prefix, in the order in which they are tried.
    pub replacements: Vec<String>,
}

/// Ordered rules that rewrite URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// The rules; all that match are used, in order.
    pub rules: Vec<MirrorRule>,
    /// Whether only mirrors may be used. Local files are read anyway.
    pub is_offline: bool,
}

impl Mirrors {
    /// The URLs to try for `url`, in order: its rewrites by the rules, then `url` itself.
    pub fn candidates(&self, url: &str) -> Vec<String> {
        let mut candidates = Vec::new();
        for rule in &self.rules {
            let Some(rest) = url.strip_prefix(rule.prefix.trim_end_matches('/')) else {
                continue;
            };
            if rest.is_empty() || rest.starts_with(['/', '?']) {
                let rewrite = |start: &String| format!("{}{rest}", start.trim_end_matches('/'));
                candidates.extend(rule.replacements.iter().map(rewrite));
            }
        }
        let is_remote = url.contains("://") && !url.starts_with("file://");
        if !(self.is_offline && is_remote) {
            candidates.push(url.to_owned());
        }
        let mut seen = std::collections::HashSet::new();
        candidates.retain(|candidate| seen.insert(candidate.clone()));
        candidates
    }

    /// The URLs that the rules rewrite to `url` (whose credentials may have been removed), or `url`
    /// itself if there are none.
    pub fn originals(&self, url: &str) -> Vec<String> {
        let mut originals = Vec::new();
        for rule in &self.rules {
            for start in &rule.replacements {
                let start = crate::redact::url(start);
                let rest = url.strip_prefix(start.trim_end_matches('/'));
                if let Some(rest) = rest.filter(|rest| rest.starts_with('/')) {
                    originals.push(format!("{}{rest}", rule.prefix.trim_end_matches('/')));
                }
            }
        }
        if originals.is_empty() {
            originals.push(url.to_owned());
        }
        originals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(is_offline: bool) -> Mirrors {
        let rule = |prefix: &str, replacements: &[&str]| MirrorRule {
            prefix: prefix.to_owned(),
            replacements: replacements.iter().map(|&text| text.to_owned()).collect(),
        };
        Mirrors {
            rules: vec![
                rule("http://a/debian", &["http://m1/d/", "file:///m2"]),
                rule("http://a/", &["http://m3"]),
                rule("http://x", &["http://x"]),
                rule("http://c/", &["http://user:s3cret@m4/c"]),
            ],
            is_offline,
        }
    }

    #[test]
    fn rewrites_come_in_order_and_end_at_segments() {
        let online = mirrors(false);
        assert_eq!(
            online.candidates("http://a/debian/pool/x?y"),
            [
                "http://m1/d/pool/x?y",
                "file:///m2/pool/x?y",
                "http://m3/debian/pool/x?y",
                "http://a/debian/pool/x?y",
            ]
        );
        assert_eq!(
            online.candidates("http://a/debian-security/x"),
            ["http://m3/debian-security/x", "http://a/debian-security/x"]
        );
        assert_eq!(online.candidates("http://ab/x"), ["http://ab/x"]);
        assert_eq!(online.candidates("http://x/y"), ["http://x/y"]);
    }

    #[test]
    fn place_at_a_mirror_is_led_back_to_what_it_stands_for() {
        let mirrors = mirrors(true);
        assert_eq!(
            mirrors.originals("http://m1/d/pool/x"),
            ["http://a/debian/pool/x"]
        );
        assert_eq!(mirrors.originals("file:///m2/y"), ["http://a/debian/y"]);
        assert_eq!(mirrors.originals("http://m33/z"), ["http://m33/z"]);
        // As reports write it down.
        assert_eq!(mirrors.originals("http://m4/c/x"), ["http://c/x"]);
    }

    #[test]
    fn offline_leaves_mirrors_and_local_files() {
        let offline = mirrors(true);
        assert_eq!(offline.candidates("http://a/x"), ["http://m3/x"]);
        assert!(offline.candidates("http://b/x").is_empty());
        assert_eq!(offline.candidates("pool/x.deb"), ["pool/x.deb"]);
        assert_eq!(offline.candidates("file:///x"), ["file:///x"]);
    }
}
