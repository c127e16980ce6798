//! The facts in an error of the crate, and the class of the error.

use std::error::Error;
use std::sync::LazyLock;

use object_store::client::{HttpError, HttpErrorKind};
use regex::Regex;

use super::{Action, BucketFault};
use crate::bucket::traffic::HtmlPage;
use crate::bucket::url::BucketKind;
use crate::error::{causes, chain};
use crate::fs::in_words;

/// The facts in an error of the crate, most of which are only in its text.
pub(super) struct Facts {
    text: String,
    status: Option<u16>,
    /// The code from S3 or Azure, or the reason from Google.
    code: Option<String>,
    /// The server's message.
    message: Option<String>,
    is_html: bool,
    /// The error of the connection: its kind, and its cause in plain words.
    transport: Option<(HttpErrorKind, String)>,
    /// Whether that error is about a proxy.
    is_of_proxy: bool,
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
    pub(super) fn of(error: &object_store::Error) -> Self {
        let text = chain(error);
        let find = |pattern: &Regex| {
            let found = pattern.captures(&text)?;
            let group = found.get(1).or_else(|| found.get(2))?;
            // The first line: Azure adds ids and times.
            group.as_str().lines().next().map(str::to_owned)
        };
        let mut is_html = text.contains("<html") || text.contains("<!DOCTYPE html");
        let mut transport = None;
        let mut is_of_proxy = false;
        let mut io = None;
        let mut next: Option<&(dyn Error + 'static)> = error.source();
        while let Some(cause) = next {
            is_html |= cause.is::<HtmlPage>();
            if let Some(http) = cause.downcast_ref::<HttpError>() {
                let whole = http.source().map_or_else(|| http.to_string(), chain);
                is_of_proxy = whole.contains("tunnel") || whole.contains("proxy");
                let why = http.source().map_or(whole, why);
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
            is_of_proxy,
            io,
        }
    }

    pub(super) fn fault(
        &self,
        action: Action,
        error: &object_store::Error,
        kind: BucketKind,
    ) -> BucketFault {
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
        if let Some((kind, _)) = &self.transport {
            return match kind {
                _ if self.is_of_proxy => BucketFault::Proxy,
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

    /// Classifies codes of S3 and Azure and reasons of Google that are more specific than the status.
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
            // Servers use 404 also for other reasons; only the codes above mean that an object does not exist.
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

    /// Returns a short reason.
    pub(super) fn words(&self) -> String {
        if self.is_html {
            let status = self.status.map_or(200, |status| status);
            return format!("the response is an HTML page with status {status}");
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

/// Returns why a request failed, in plain words.
fn why(error: &(dyn Error + 'static)) -> String {
    if error.source().is_some() {
        causes(error)
    } else {
        error.to_string()
    }
}

fn forbidden(action: Action) -> BucketFault {
    match action {
        Action::List => BucketFault::ListForbidden,
        Action::Write | Action::Delete => BucketFault::ReadOnly,
        Action::Open | Action::Read | Action::Sign => BucketFault::ReadForbidden,
    }
}
