//! URLs of buckets.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The kind of object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BucketKind {
    /// `s3://`: Amazon S3, or a server that speaks its protocol.
    S3,
    /// `gs://`: Google Cloud Storage.
    Gcs,
    /// `az://`: a container of Azure Blob Storage.
    Azure,
    /// `file://`: a directory.
    Directory,
}

impl BucketKind {
    /// Returns the scheme of URLs of this kind.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3://",
            Self::Gcs => "gs://",
            Self::Azure => "az://",
            Self::Directory => "file://",
        }
    }

    /// Returns the prefix of the environment variables with the endpoint and the credentials of a bucket.
    pub fn variables(self) -> Option<&'static str> {
        match self {
            Self::S3 => Some("AWS_"),
            Self::Gcs => Some("GOOGLE_"),
            Self::Azure => Some("AZURE_"),
            Self::Directory => None,
        }
    }
}

/// A bucket: `s3://BUCKET[/PREFIX]`, `gs://BUCKET[/PREFIX]`, `az://CONTAINER[/PREFIX]` or `file:///DIRECTORY`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BucketUrl {
    kind: BucketKind,
    /// The bucket's name; the path of a directory.
    bucket: String,
    /// The prefix of all names of objects, without a slash at either end; may be empty.
    prefix: String,
}

impl BucketUrl {
    /// The kind of object store.
    pub fn kind(&self) -> BucketKind {
        self.kind
    }

    /// The name of the bucket or container; the path of a directory.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The prefix of all names of objects; may be empty.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The directory of a `file://` URL.
    pub fn directory(&self) -> Option<&Path> {
        (self.kind == BucketKind::Directory).then(|| Path::new(&self.bucket))
    }

    /// Returns the URL of a location below this one; for a directory, of a subdirectory.
    #[must_use]
    pub fn below(&self, name: &str) -> Self {
        let name = name.trim_matches('/');
        let mut below = self.clone();
        match self.kind {
            BucketKind::Directory => {
                let path = PathBuf::from(&self.bucket).join(name);
                below.bucket = path.to_string_lossy().into_owned();
            }
            _ if self.prefix.is_empty() => name.clone_into(&mut below.prefix),
            _ => below.prefix = format!("{}/{name}", self.prefix),
        }
        below
    }
}

impl fmt::Display for BucketUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.kind.scheme(), self.bucket)?;
        if !self.prefix.is_empty() {
            write!(formatter, "/{}", self.prefix)?;
        }
        Ok(())
    }
}

impl FromStr for BucketUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shown = crate::redact::url(text);
        let invalid = |why: &str| format!("invalid bucket `{shown}`: {why}");
        let kinds = [
            BucketKind::S3,
            BucketKind::Gcs,
            BucketKind::Azure,
            BucketKind::Directory,
        ];
        let found = kinds
            .into_iter()
            .find_map(|kind| Some((kind, text.strip_prefix(kind.scheme())?)));
        let Some((kind, path)) = found else {
            return Err(invalid(
                "expected s3://BUCKET[/PREFIX], gs://BUCKET[/PREFIX], az://CONTAINER[/PREFIX] or file:///DIRECTORY",
            ));
        };
        if kind == BucketKind::Directory {
            if !path.starts_with('/') {
                return Err(invalid("expected file:// and an absolute path"));
            }
            let path = path.trim_end_matches('/');
            let bucket = if path.is_empty() { "/" } else { path };
            return Ok(Self {
                kind,
                bucket: bucket.to_owned(),
                prefix: String::new(),
            });
        }
        let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
        let is_name =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(is_name) {
            return Err(invalid(
                "a bucket name has 3 to 63 lower-case letters, digits, `-`, `.` and `_`; credentials come from the \
                 environment",
            ));
        }
        let prefix = prefix.trim_matches('/');
        let is_part = |part: &str| {
            let bytes = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+~=@".contains(&byte);
            !["", ".", ".."].contains(&part) && part.bytes().all(bytes)
        };
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(invalid(
                "a prefix consists of letters, digits, `-`, `_`, `.`, `+`, `~`, `=`, `@` and single slashes",
            ));
        }
        Ok(Self {
            kind,
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed_and_printed() {
        for (given, shown, bucket, prefix) in [
            ("s3://builds", "s3://builds", "builds", ""),
            ("s3://builds/a/b/", "s3://builds/a/b", "builds", "a/b"),
            ("gs://builds/a", "gs://builds/a", "builds", "a"),
            ("az://builds", "az://builds", "builds", ""),
            ("file:///srv/store/", "file:///srv/store", "/srv/store", ""),
        ] {
            let url: BucketUrl = given.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!((url.bucket(), url.prefix()), (bucket, prefix));
        }
        let below = |text: &str| text.parse::<BucketUrl>().unwrap().below("x").to_string();
        assert_eq!(below("s3://builds"), "s3://builds/x");
        assert_eq!(below("s3://builds/a"), "s3://builds/a/x");
        assert_eq!(below("file:///srv"), "file:///srv/x");
    }

    #[test]
    fn invalid_urls_are_refused_without_their_credentials() {
        for text in [
            "builds",
            "http://key:secret@host/bucket",
            "s3://key:secret@bucket/a",
            "s3://ab",
            "s3://builds/a//b",
            "s3://builds/../b",
            "s3://builds/a?secret",
            "file://relative",
        ] {
            let error = text.parse::<BucketUrl>().unwrap_err();
            assert!(error.starts_with("invalid bucket `"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
