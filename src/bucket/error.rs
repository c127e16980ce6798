//! What goes wrong with a bucket, and what to do about it.

mod facts;

use super::url::{BucketKind, BucketUrl};
use crate::redact::{self, HIDDEN};

use facts::Facts;

/// What was tried, for messages and for telling what a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Opening it: no request was made.
    Open,
    Read,
    List,
    Write,
    Delete,
    Sign,
}

/// The class of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BucketFault {
    /// A setting is missing or invalid; nothing was requested.
    Settings,
    /// Unknown, wrong or expired credentials, or none.
    Credentials,
    /// The bucket or directory does not exist.
    NoBucket,
    /// The credentials may not read.
    ReadForbidden,
    /// The credentials may not list.
    ListForbidden,
    /// The credentials may not write or remove: the bucket is read-only for them.
    ReadOnly,
    /// The bucket is in another region.
    Region,
    /// The clock of this machine is wrong.
    Clock,
    /// The server is no object store.
    NotAStore,
    /// A proxy refused.
    Proxy,
    /// No server answered.
    Unreachable,
    /// The server asked for fewer requests until the last retry.
    Throttled,
    /// The server failed until the last retry.
    Server,
    /// The object does not exist.
    NotFound,
    /// The object is another one than expected: it was made, replaced or removed meanwhile.
    Changed,
    /// The content is not what its name or index says.
    Damaged,
    /// A file of a directory could not be read or written.
    Files,
    /// What none of the others covers.
    Other,
}

impl BucketFault {
    /// Whether the same request may succeed later without anything being changed by hand.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Throttled | Self::Server | Self::Proxy
        )
    }

    /// The class's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Credentials => "credentials",
            Self::NoBucket => "no-bucket",
            Self::ReadForbidden => "read-forbidden",
            Self::ListForbidden => "list-forbidden",
            Self::ReadOnly => "read-only",
            Self::Region => "wrong-region",
            Self::Clock => "clock-skew",
            Self::NotAStore => "not-an-object-store",
            Self::Proxy => "proxy",
            Self::Unreachable => "unreachable",
            Self::Throttled => "throttled",
            Self::Server => "server-error",
            Self::NotFound => "not-found",
            Self::Changed => "changed",
            Self::Damaged => "damaged",
            Self::Files => "files",
            Self::Other => "other",
        }
    }

    /// What to do about it.
    fn help(self, kind: BucketKind) -> Option<&'static str> {
        let text = match (self, kind) {
            (Self::Credentials, BucketKind::S3) => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN of temporary ones), or give the \
                 machine or service account a role"
            }
            (Self::Credentials, BucketKind::Gcs) => {
                "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account, or give the machine one"
            }
            (Self::Credentials, BucketKind::Azure) => {
                "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or give the machine an identity"
            }
            (Self::NoBucket, BucketKind::Directory) => {
                "create the directory, or mount its file system"
            }
            (Self::NoBucket, BucketKind::S3) => {
                "create the bucket, or check its name, AWS_REGION and AWS_ENDPOINT_URL"
            }
            (Self::NoBucket, _) => "create the bucket, or check its name",
            (Self::ReadForbidden, _) => {
                "allow these credentials to read objects (s3:GetObject, storage.objects.get)"
            }
            (Self::ListForbidden, _) => {
                "allow these credentials to list the bucket (s3:ListBucket, storage.objects.list)"
            }
            (Self::ReadOnly, BucketKind::Directory) => "make the directory writable for this user",
            (Self::ReadOnly, _) => {
                "allow these credentials to write objects (s3:PutObject, s3:DeleteObject; storage.objects.create)"
            }
            (Self::Region, _) => "set AWS_REGION to the bucket's region",
            (Self::Clock, _) => "set this machine's clock: requests are signed with its time",
            (Self::NotAStore, BucketKind::S3) => {
                "check AWS_ENDPOINT_URL and the proxy: what answers is not an object store"
            }
            (Self::NotAStore, _) => {
                "check the endpoint and the proxy: what answers is not an object store"
            }
            (Self::Proxy, _) => "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
            (Self::Unreachable, BucketKind::S3) => {
                "check the network, AWS_ENDPOINT_URL and the proxy"
            }
            (Self::Unreachable, _) => "check the network, the endpoint and the proxy",
            (Self::Throttled | Self::Server, _) => {
                "try again later, or with fewer requests at once"
            }
            (
                Self::Files
                | Self::Other
                | Self::Settings
                | Self::Credentials
                | Self::NotFound
                | Self::Changed
                | Self::Damaged,
                _,
            ) => return None,
        };
        Some(text)
    }
}

/// A failed operation on a bucket.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BucketError {
    /// Its class.
    pub fault: BucketFault,
    /// What failed, on what, and why; contains no credential.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl BucketError {
    /// An error of a class, in words of the caller.
    pub fn new(fault: BucketFault, url: &BucketUrl, message: impl Into<String>) -> Self {
        Self {
            fault,
            message: message.into(),
            help: fault.help(url.kind()).map(str::to_owned),
        }
    }

    /// Classifies an error of the crate. `what` completes "failed to ...", `secrets` are cut out of all that the server
    /// says.
    pub(super) fn of(
        url: &BucketUrl,
        action: Action,
        what: &str,
        error: &object_store::Error,
        secrets: &[String],
    ) -> Self {
        let facts = Facts::of(error);
        let fault = facts.fault(action, error, url.kind());
        let mut why = facts.words();
        for secret in secrets {
            why = why.replace(secret.as_str(), HIDDEN);
        }
        let why = redact::text(&why);
        let message = format!("{url}: failed to {what}: {}", redact::shortened(&why));
        Self::new(fault, url, message)
    }
}
