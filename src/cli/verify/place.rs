//! The place of published files: an HTTP server, a bucket, or a directory.

use url::Url;

use super::super::destination::destination;
use super::super::{CliError, Context};
use crate::bucket::{Bucket, BucketFault};
use crate::error::causes;
use crate::fetch::make_client;
use crate::publish::PublishError;
use crate::redact;

/// A place with files below it.
#[derive(Clone)]
pub(super) enum Place {
    /// A bucket or a directory.
    Bucket(Bucket),
    /// An HTTP server.
    Http {
        /// The client that sends requests.
        client: reqwest::Client,
        /// The URL that names are appended to.
        base: Url,
    },
}

/// The reason why a file cannot be read.
#[derive(Debug)]
pub(super) enum GetError {
    /// The file is incomplete or too large.
    Damaged(String),
    /// The place does not respond, or rejects the request.
    Place(CliError),
}

impl Place {
    /// Opens a URL or a directory.
    pub(super) fn open(context: &Context, text: &str) -> Result<Self, CliError> {
        if !is_http(text) {
            let bucket = destination(text.as_ref(), None)?.bucket().clone();
            return Ok(Self::Bucket(bucket));
        }
        if context.is_offline {
            let message = format!("--offline prevents reading {}", redact::url(text));
            return Err(CliError::input(message));
        }
        let invalid = || CliError::input(format!("invalid URL `{}`", redact::url(text)));
        let mut base: Url = text.parse().map_err(|_| invalid())?;
        base.set_query(None);
        base.set_fragment(None);
        let settings = crate::fetch::Settings::default();
        let client = make_client(&settings).map_err(CliError::infrastructure)?;
        Ok(Self::Http { client, base })
    }

    /// The place as shown in messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Bucket(bucket) => bucket.url().to_string(),
            Self::Http { base, .. } => redact::url(base.as_str()).to_string(),
        }
    }

    /// Returns the content of a file of at most `limit_bytes`; `None` if it does not exist.
    pub(super) async fn get(
        &self,
        name: &str,
        limit_bytes: u64,
    ) -> Result<Option<Vec<u8>>, GetError> {
        match self {
            Self::Bucket(bucket) => bucket.get(name, limit_bytes).await.map_err(|error| {
                if error.fault == BucketFault::Damaged {
                    GetError::Damaged(error.message)
                } else {
                    GetError::Place(PublishError::from(error).into())
                }
            }),
            Self::Http { client, base } => get(client, base, name, limit_bytes).await,
        }
    }
}

/// Returns true for an HTTP URL.
pub(super) fn is_http(text: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
}

async fn get(
    client: &reqwest::Client,
    base: &Url,
    name: &str,
    limit_bytes: u64,
) -> Result<Option<Vec<u8>>, GetError> {
    let mut url = base.clone();
    let path = base.path().trim_end_matches('/');
    // S3 servers decode a `+` in a path as a space.
    let name = name.replace('%', "%25").replace('+', "%2B");
    url.set_path(&format!("{path}/{name}"));
    let shown = redact::url(url.as_str()).to_string();
    let failed = |error: reqwest::Error| {
        let why = causes(&error);
        GetError::Place(CliError::infrastructure(format!(
            "failed to read {shown}: {why}"
        )))
    };
    let mut response = client.get(url).send().await.map_err(failed)?;
    let status = response.status();
    if [404, 410].contains(&status.as_u16()) {
        return Ok(None);
    }
    if !status.is_success() {
        let message = format!("failed to read {shown}: the server answered {status}");
        return Err(GetError::Place(CliError::infrastructure(message)));
    }
    let too_large = || {
        GetError::Damaged(format!(
            "{shown} is larger than the limit of {limit_bytes} bytes"
        ))
    };
    if response
        .content_length()
        .is_some_and(|length| length > limit_bytes)
    {
        return Err(too_large());
    }
    let mut content = Vec::new();
    while let Some(part) = response.chunk().await.map_err(failed)? {
        if (content.len() + part.len()) as u64 > limit_bytes {
            return Err(too_large());
        }
        content.extend_from_slice(&part);
    }
    Ok(Some(content))
}
