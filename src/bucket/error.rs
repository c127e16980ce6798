//! Errors of buckets, with advice.

mod facts;

use super::url::{BucketKind, BucketUrl};
use crate::redact::{self, HIDDEN};

use facts::Facts;

/// The attempted operation, for messages and for the meaning of a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Opening the bucket: no request is sent.
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
    /// A setting is missing or invalid; no request was sent.
    Settings,
    /// The credentials are unknown, wrong, expired or missing.
    Credentials,
    /// The bucket or directory does not exist.
    NoBucket,
    /// The credentials do not allow reading.
    ReadForbidden,
    /// The credentials do not allow listing.
    ListForbidden,
    /// The credentials do not allow writing or removing: the bucket is read-only for them.
    ReadOnly,
    /// The bucket is in another region.
    Region,
    /// The clock of this machine is wrong.
    Clock,
    /// The server is not an object store.
    NotAStore,
    /// A proxy rejected the request.
    Proxy,
    /// No server answered.
    Unreachable,
    /// The server still requested fewer requests in the last retry.
    Throttled,
    /// The server still failed in the last retry.
    Server,
    /// The object does not exist.
    NotFound,
    /// The object has been created, replaced or removed in the meantime.
    Changed,
    /// The content does not match its name or the index.
    Damaged,
    /// A file of a directory cannot be read or written.
    Files,
    /// Any other error.
    Other,
}

impl BucketFault {
    /// Returns true if the same request may succeed later without manual changes.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Throttled | Self::Server | Self::Proxy
        )
    }

    /// Returns the name of the class.
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

    /// Returns what to do about the error.
    fn help(self, kind: BucketKind) -> Option<&'static str> {
        let text = match (self, kind) {
            (Self::Credentials, BucketKind::S3) => {
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN if temporary), or give the \
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
                "check AWS_ENDPOINT_URL and the proxy: the server is not an object store"
            }
            (Self::NotAStore, _) => {
                "check the endpoint and the proxy: the server is not an object store"
            }
            (Self::Proxy, _) => "check HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
            (Self::Unreachable, BucketKind::S3) => {
                "check the network, AWS_ENDPOINT_URL and the proxy"
            }
            (Self::Unreachable, _) => "check the network, the endpoint and the proxy",
            (Self::Throttled | Self::Server, _) => {
                "try again later, or with fewer concurrent requests"
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
    /// The class of the error.
    pub fault: BucketFault,
    /// What failed, on what, and why; contains no credentials.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl BucketError {
    /// Creates an error of a class with a message of the caller.
    pub fn new(fault: BucketFault, url: &BucketUrl, message: impl Into<String>) -> Self {
        Self {
            fault,
            message: message.into(),
            help: fault.help(url.kind()).map(str::to_owned),
        }
    }

    /// Classifies an error of the crate. `what` completes "failed to ..."; `secrets` are removed from the server's
    /// message.
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
