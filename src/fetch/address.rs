//! Where a file is: on a server, or on this machine.

use std::path::{Path, PathBuf};

use url::Url;

use super::Answer;

/// A parsed address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// On a server; `..` segments are resolved.
    Remote(Url),
    /// On this machine.
    Local(PathBuf),
}

impl Address {
    /// Reads an `http://`, `https://` or `file://` address, or a path; a relative one counts from `base_folder`.
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
                Err(()) => Err(Answer::Address("it names no local file".to_owned())),
            },
            other => Err(Answer::Address(format!(
                "`{other}://` is not supported; http, https, file and paths are"
            ))),
        }
    }
}

/// The address as it may be shown and kept: without user name and password.
pub(super) fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
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
            assert_eq!(without_credentials(text), text);
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
    fn credentials_are_cut_off() {
        for (text, shown) in [
            ("http://user:secret@host:1/a@b", "http://host:1/a@b"),
            ("https://user:p@ss@host?x", "https://host?x"),
            ("a@b/c", "a@b/c"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }
}
