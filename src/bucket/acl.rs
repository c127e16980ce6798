//! Canned ACLs of written objects. The client of the object store does not support them, and an S3 server only
//! accepts signed headers: the header is added to the finished request, which is then signed again.

use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{
    HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService,
};
use reqwest::header::{HeaderName, HeaderValue};

use super::url::BucketKind;
use crate::digest::Sha256;

/// A canned ACL, which controls who can read an object: `public-read`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(HeaderValue);

/// A text that is not a canned ACL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid canned ACL `{text}`: expected one of {}", Acl::NAMES.join(", "))]
pub struct ParseAclError {
    text: String,
}

impl Acl {
    /// The ACLs that S3 and Google Cloud Storage have in common.
    pub const NAMES: [&str; 5] = [
        "private",
        "public-read",
        "authenticated-read",
        "bucket-owner-read",
        "bucket-owner-full-control",
    ];

    /// Returns the header that sets an ACL; `None` if the kind of store does not support it.
    pub(super) fn header(kind: BucketKind) -> Option<HeaderName> {
        match kind {
            BucketKind::S3 => Some(HeaderName::from_static("x-amz-acl")),
            BucketKind::Gcs => Some(HeaderName::from_static("x-goog-acl")),
            BucketKind::Azure | BucketKind::Directory => None,
        }
    }
}

impl FromStr for Acl {
    type Err = ParseAclError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::NAMES.into_iter().find(|name| *name == text);
        known
            .map(|name| Self(HeaderValue::from_static(name)))
            .ok_or_else(|| ParseAclError {
                text: text.to_owned(),
            })
    }
}

/// The credentials and the region for signing requests to S3; set once the client exists.
pub(super) type S3Signer = OnceLock<(AwsCredentialProvider, String)>;

/// Adds the ACL to requests that write an object.
#[derive(Debug)]
pub(super) struct WithAcl {
    pub(super) client: HttpClient,
    pub(super) header: HeaderName,
    pub(super) acl: Acl,
    pub(super) signer: Arc<S3Signer>,
}

#[async_trait]
impl HttpService for WithAcl {
    async fn call(&self, mut request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if makes_object(&request) {
            let headers = request.headers_mut();
            headers.insert(&self.header, self.acl.0.clone());
            self.sign_again(&mut request).await?;
        }
        self.client.execute(request).await
    }
}

impl WithAcl {
    async fn sign_again(&self, request: &mut HttpRequest) -> Result<(), HttpError> {
        // Requests to publicly writable buckets are not signed, nor those to Google, which use a token.
        let is_signed = request.headers().contains_key("x-amz-content-sha256");
        let Some((credentials, region)) = self.signer.get().filter(|_| is_signed) else {
            return Ok(());
        };
        let failed = |error| HttpError::new::<object_store::Error>(HttpErrorKind::Request, error);
        let credential = credentials.get_credential().await.map_err(failed)?;
        let digest = request.headers().get("x-amz-content-sha256");
        let digest = digest.and_then(|value| value.to_str().ok()?.parse::<Sha256>().ok());
        AwsAuthorizer::new(&credential, "s3", region)
            // Without a digest in the header, the body is not part of the signature.
            .with_sign_payload(digest.is_some())
            .try_authorize(
                request,
                digest.as_ref().map(|digest| &digest.as_bytes()[..]),
            )
            .map_err(failed)
    }
}

/// Returns true if a request writes an object, or begins a multipart upload.
fn makes_object(request: &HttpRequest) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| {
        query
            .split('&')
            .any(|pair| pair.split('=').next() == Some(name))
    };
    match request.method().as_str() {
        "PUT" => !has("partNumber"),
        "POST" => has("uploads"),
        _ => false,
    }
}
