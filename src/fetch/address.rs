//! The address of a file: a URL on a server, or a path on this machine.

use std::path::{Path, PathBuf};

use url::Url;

use super::Answer;
use crate::digest::Sha256;

/// A parsed URL or path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// On a server; `..` segments are resolved.
    Remote(Url),
    /// On this machine.
    Local(PathBuf),
}

impl Address {
    /// Parses an `http://`, `https://` or `file://` URL, or a path; a relative path is resolved
    /// against `base_folder`.
    pub(super) fn parse(text: &str, base_folder: &Path) -> Result<Self, Answer> {
        if !text.contains("://") {
            if text.is_empty() {
                return Err(Answer::Address("it is empty".to_owned()));
            }
            return Ok(Self::Local(base_folder.join(text)));
        }
        let url = Url::parse(text).map_err(|error| Answer::Address(error.to_string()))?;
        match url.scheme() {
            "http" | "https" => Ok(Self::Remote(url)),
            "file" => match url.to_file_path() {
                Ok(path) => Ok(Self::Local(path)),
                Err(()) => Err(Answer::Address("it does not name a local file".to_owned())),
            },
            other => Err(Answer::Address(format!(
                "`{other}://` is not supported; expected http, https, file or a path"
            ))),
        }
    }
}

/// How many hexadecimal digits of its digest replace a query: enough to distinguish the queries of
/// one place.
const QUERY_DIGITS: usize = 16;

/// Returns a URL in the form that may be written to disk and shown: without user name, password and
/// fragment. The query may be a secret signature, so its digest replaces it
/// (`https://host/a?sha256:0123456789abcdef`).
pub(super) fn recorded(text: &str) -> String {
    let text = text.split_once('#').map_or(text, |(text, _)| text);
    // The text is a valid URL or a path, so nothing has to be guessed: two URLs must not have one record.
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let host = authority.rsplit('@').next().unwrap_or_default();
    match rest.split_once('?') {
        // The query may have been replaced earlier.
        Some((path, query)) if !is_digest(query) => {
            let digest = Sha256::of(query).to_string();
            format!("{scheme}://{host}{path}?sha256:{}", &digest[..QUERY_DIGITS])
        }
        _ => format!("{scheme}://{host}{rest}"),
    }
}

fn is_digest(query: &str) -> bool {
    let digits = query.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == QUERY_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text, Path::new("/base")).unwrap()
    }

    #[test]
    fn remote_addresses_keep_port_query_and_odd_characters() {
        for text in [
            "http://host:8080/pool/a_1%2Bb~c+d.deb?token=x%20y",
            "https://[::1]:99/a",
        ] {
            assert_eq!(parse(text), Address::Remote(Url::parse(text).unwrap()));
        }
        let Address::Remote(url) = parse("http://host/a/b/../../c") else {
            panic!("not remote");
        };
        assert_eq!(url.as_str(), "http://host/c");
    }

    #[test]
    fn local_addresses_are_paths() {
        for (text, path) in [
            ("a/b+c~d.deb", "/base/a/b+c~d.deb"),
            ("/x%2By", "/x%2By"),
            ("file:///x%2By", "/x+y"),
            ("file://localhost/x", "/x"),
        ] {
            assert_eq!(parse(text), Address::Local(path.into()), "{text}");
        }
    }

    #[test]
    fn others_are_refused() {
        for text in ["ftp://host/a", "http://", "", "http://host:99999/"] {
            let refused = Address::parse(text, Path::new("/base"));
            assert!(matches!(refused, Err(Answer::Address(_))), "{text}");
        }
    }

    #[test]
    fn recorded_url_has_no_secret_and_is_no_other_urls() {
        for (text, shown) in [
            ("http://user:secret@host:1/a@b", "http://host:1/a@b"),
            ("https://[::1]:99/a#secret", "https://[::1]:99/a"),
            ("http://host/a_1%2Bb~c+d.deb", "http://host/a_1%2Bb~c+d.deb"),
            ("a@b/c?d", "a@b/c?d"),
        ] {
            assert_eq!(recorded(text), shown);
        }
        let one = recorded("https://user:p@ss@host/a?secret=1#x");
        assert!(one.starts_with("https://host/a?sha256:"), "{one}");
        assert_eq!(one, recorded("https://host/a?secret=1"));
        assert_ne!(one, recorded("https://host/a?secret=2"));
        assert_eq!(one, recorded(&one));
    }
}
