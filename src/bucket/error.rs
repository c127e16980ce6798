//! What goes wrong with a bucket, and what to do about it.

use std::error::Error;
use std::sync::LazyLock;

use object_store::client::{HttpError, HttpErrorKind};
use regex::Regex;

use super::traffic::HtmlPage;
use super::url::{BucketKind, BucketUrl};
use crate::error::chain;
use crate::fs::in_words;
use crate::redact::{self, HIDDEN};

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

/// What an error of the crate says, which keeps most of it in its text.
struct Facts {
    text: String,
    status: Option<u16>,
    /// The code that S3 and Azure give, the reason that Google gives.
    code: Option<String>,
    /// The server's sentence.
    message: Option<String>,
    is_html: bool,
    /// The error of the connection.
    transport: Option<(HttpErrorKind, String)>,
    io: Option<(std::io::ErrorKind, String)>,
}

fn pattern(text: &str) -> Regex {
    #[expect(clippy::expect_used, reason = "the patterns are constants")]
    Regex::new(text).expect("a valid pattern")
}

static STATUS: LazyLock<Regex> = LazyLock::new(|| pattern(r"status code: (\d{3})"));
static CODE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"<Code>([^<]+)</Code>|"reason"\s*:\s*"([^"]+)""#));
static MESSAGE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"<Message>([^<]+)</Message>|"message"\s*:\s*"([^"]+)""#));

impl Facts {
    fn of(error: &object_store::Error) -> Self {
        let text = chain(error);
        let find = |pattern: &Regex| {
            let found = pattern.captures(&text)?;
            let group = found.get(1).or_else(|| found.get(2))?;
            // The first line: Azure adds ids and times.
            group.as_str().lines().next().map(str::to_owned)
        };
        let mut is_html = text.contains("<html") || text.contains("<!DOCTYPE html");
        let mut transport = None;
        let mut io = None;
        let mut next: Option<&(dyn Error + 'static)> = error.source();
        while let Some(cause) = next {
            is_html |= cause.is::<HtmlPage>();
            if let Some(http) = cause.downcast_ref::<HttpError>() {
                let why = http.source().map_or_else(|| http.to_string(), chain);
                transport = Some((http.kind(), why));
            }
            if let Some(found) = cause.downcast_ref::<std::io::Error>()
                && transport.is_none()
            {
                io = Some((found.kind(), in_words(found)));
            }
            next = cause.source();
        }
        Self {
            status: find(&STATUS).and_then(|status| status.parse().ok()),
            code: find(&CODE),
            message: find(&MESSAGE),
            text,
            is_html,
            transport,
            io,
        }
    }

    fn fault(&self, action: Action, error: &object_store::Error, kind: BucketKind) -> BucketFault {
        use object_store::Error as E;
        if self.is_html {
            return match self.status {
                Some(407) => BucketFault::Proxy,
                _ => BucketFault::NotAStore,
            };
        }
        if let Some(fault) = self.fault_of_code(action) {
            return fault;
        }
        if kind == BucketKind::Directory {
            return self.fault_of_files(action, error);
        }
        if let Some((kind, why)) = &self.transport {
            return match kind {
                _ if why.contains("tunnel") || why.contains("proxy") => BucketFault::Proxy,
                HttpErrorKind::Decode => BucketFault::NotAStore,
                _ => BucketFault::Unreachable,
            };
        }
        if self.text.contains("without LOCATION") {
            return BucketFault::Region;
        }
        let is_about_credentials = [
            "credential",
            "Credential",
            "token",
            "OAuth",
            "metadata server",
        ]
        .iter()
        .any(|word| self.text.contains(word));
        match (error, self.status) {
            (_, Some(407)) => BucketFault::Proxy,
            (_, Some(301 | 307)) => BucketFault::Region,
            (_, Some(429 | 503)) => BucketFault::Throttled,
            (_, Some(500..)) => BucketFault::Server,
            (E::Unauthenticated { .. }, _) => BucketFault::Credentials,
            (E::PermissionDenied { .. }, _) | (_, Some(403)) => forbidden(action),
            (E::NotFound { .. }, _) if matches!(action, Action::Write | Action::List) => {
                BucketFault::NoBucket
            }
            (E::NotFound { .. }, _) => BucketFault::NotFound,
            (_, Some(404)) => BucketFault::NoBucket,
            (E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. }, _) => {
                BucketFault::Changed
            }
            (_, Some(401)) => BucketFault::Credentials,
            _ if self.text.contains("invalid list response")
                || self.text.contains("extract metadata from headers") =>
            {
                BucketFault::NotAStore
            }
            _ if action == Action::Open => BucketFault::Settings,
            _ if is_about_credentials => BucketFault::Credentials,
            _ => BucketFault::Other,
        }
    }

    /// The codes of S3 and Azure and the reasons of Google that say more than the status.
    fn fault_of_code(&self, action: Action) -> Option<BucketFault> {
        Some(match self.code.as_deref()? {
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "AuthenticationFailed"
            | "InvalidAuthenticationInfo"
            | "XAdminUserNotFound"
            | "NoAuthenticationInformation"
            | "authError"
            | "required" => BucketFault::Credentials,
            "RequestTimeTooSkewed" | "RequestExpired" => BucketFault::Clock,
            "AuthorizationHeaderMalformed"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "IncorrectEndpoint"
            | "IllegalLocationConstraintException" => BucketFault::Region,
            "NoSuchBucket" | "ContainerNotFound" | "ResourceNotFound" => BucketFault::NoBucket,
            "AccessDenied"
            | "AuthorizationPermissionMismatch"
            | "AuthorizationFailure"
            | "AllAccessDisabled"
            | "forbidden"
            | "MethodNotAllowed" => forbidden(action),
            "SlowDown" | "ServerBusy" | "TooManyRequests" | "rateLimitExceeded" => {
                BucketFault::Throttled
            }
            "NoSuchKey" | "NoSuchVersion" | "BlobNotFound" | "notFound" => BucketFault::NotFound,
            // Servers have reasons of their own for 404, and only those above say that an object is not there.
            _ if self.status == Some(404) => BucketFault::Other,
            _ => return None,
        })
    }

    fn fault_of_files(&self, action: Action, error: &object_store::Error) -> BucketFault {
        use std::io::ErrorKind as K;
        match (error, self.io.as_ref().map(|(kind, _)| *kind)) {
            (object_store::Error::AlreadyExists { .. }, _) => BucketFault::Changed,
            (_, Some(K::PermissionDenied | K::ReadOnlyFilesystem)) => forbidden(action),
            (_, Some(K::NotFound)) if action == Action::Open => BucketFault::NoBucket,
            (object_store::Error::NotFound { .. }, _) => BucketFault::NotFound,
            _ => BucketFault::Files,
        }
    }

    /// Why it failed, in a few words.
    fn words(&self) -> String {
        if self.is_html {
            let status = self.status.map_or(200, |status| status);
            return format!("the answer is an HTML page with status {status}");
        }
        if let Some((_, why)) = &self.transport {
            return why.clone();
        }
        if let Some((_, why)) = &self.io {
            return why.clone();
        }
        let status = self.status.map(|status| format!("status {status}"));
        let parts = [status, self.code.clone(), self.message.clone()];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() {
            self.text.clone()
        } else {
            parts.join(": ")
        }
    }
}

fn forbidden(action: Action) -> BucketFault {
    match action {
        Action::List => BucketFault::ListForbidden,
        Action::Write | Action::Delete => BucketFault::ReadOnly,
        Action::Open | Action::Read | Action::Sign => BucketFault::ReadForbidden,
    }
}
