//! Opening a bucket.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use reqwest::header::HeaderValue;

use super::acl::{Acl, S3Signer};
use super::error::{Action, BucketError, BucketFault};
use super::traffic::{Counting, Traffic, TrafficCount};
use super::url::{BucketKind, BucketUrl};

const USER_AGENT: &str = concat!("driverkit-matrix/", env!("CARGO_PKG_VERSION"));

/// The number of retries of a request after a transient error.
const RETRIES: usize = 7;

/// The URL and the credentials of a bucket.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketSettings {
    /// The URL.
    pub url: BucketUrl,
    /// Environment variables that all programs for this kind of store use: `AWS_ENDPOINT_URL` and so on.
    pub variables: Vec<(String, String)>,
    /// The number of retries after 429, 5xx or a lost connection.
    pub retries: usize,
    /// The ACL of written objects; if `None`, the server's default. Azure and directories do not support ACLs.
    pub acl: Option<Acl>,
}

impl BucketSettings {
    /// Returns settings with the environment variables of this process that apply to the kind of bucket.
    pub fn from_environment(url: BucketUrl) -> Self {
        let start = url.kind().variables();
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
            (name.starts_with(start?) && !value.is_empty()).then_some((name, value))
        });
        Self {
            variables: variables.collect(),
            ..Self::new(url)
        }
    }

    fn new(url: BucketUrl) -> Self {
        Self {
            url,
            variables: Vec::new(),
            retries: RETRIES,
            acl: None,
        }
    }

    /// Sets a variable that is not set in the environment.
    #[must_use]
    pub fn with_default(mut self, name: &str, value: &str) -> Self {
        if !self.variables.iter().any(|(known, _)| known == name) {
            self.variables.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Returns the values that no message may contain.
    fn secrets(&self) -> Vec<String> {
        let is_secret = |name: &str| {
            ["KEY", "TOKEN", "SECRET", "SAS", "PASSWORD", "CREDENTIAL"]
                .iter()
                .any(|word| name.contains(word))
        };
        let secrets = self
            .variables
            .iter()
            .filter(|(name, value)| is_secret(&name.to_ascii_uppercase()) && value.len() >= 4);
        secrets.map(|(_, value)| value.clone()).collect()
    }

    /// Returns true if a variable sets an endpoint without TLS, which is then intended.
    fn has_plain_endpoint(&self) -> bool {
        let is_endpoint = |name: &str| name.contains("ENDPOINT") || name.ends_with("BASE_URL");
        self.variables
            .iter()
            .any(|(name, value)| is_endpoint(name) && value.starts_with("http://"))
    }
}

impl fmt::Debug for BucketSettings {
    /// Omits the variables, which contain the secret key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BucketSettings({})", self.url)
    }
}

impl fmt::Display for BucketSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(formatter)
    }
}

impl FromStr for BucketSettings {
    type Err = String;

    /// Parses the URL; there are no variables.
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self::new)
    }
}

/// An open bucket. Names of objects are relative to the prefix.
#[derive(Clone)]
pub struct Bucket {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) signer: Option<Arc<dyn Signer>>,
    pub(super) traffic: Arc<Traffic>,
    url: BucketUrl,
    secrets: Arc<[String]>,
}

impl fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bucket({})", self.url)
    }
}

impl Bucket {
    /// Opens a bucket without sending a request: only the first request shows whether the bucket exists. A directory
    /// must already exist.
    pub fn open(settings: &BucketSettings) -> Result<Self, BucketError> {
        // Fails if a provider is already installed, which is fine.
        drop(rustls::crypto::ring::default_provider().install_default());
        let traffic = Arc::new(Traffic::default());
        let secrets: Arc<[String]> = settings.secrets().into();
        let failed = |error: object_store::Error| {
            BucketError::of(&settings.url, Action::Open, "open it", &error, &secrets)
        };
        let (store, signer) = build(settings, &traffic).map_err(failed)?;
        Ok(Self {
            store,
            signer,
            traffic,
            url: settings.url.clone(),
            secrets,
        })
    }

    /// Returns the URL.
    pub fn url(&self) -> &BucketUrl {
        &self.url
    }

    /// Returns true for a directory, which has no metadata and no conditional replacement.
    pub fn is_directory(&self) -> bool {
        self.url.kind() == BucketKind::Directory
    }

    /// Returns the traffic so far.
    pub fn traffic(&self) -> TrafficCount {
        self.traffic.count()
    }

    /// Returns the key of a name below the prefix, without escaping (`+` and `~` stay).
    pub(super) fn key(&self, name: &str) -> Result<Key, BucketError> {
        let prefix = self.url.prefix();
        let whole = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/{name}")
        };
        self.whole_key(&whole)
    }

    /// Returns the key of a name that includes the prefix.
    pub(super) fn whole_key(&self, name: &str) -> Result<Key, BucketError> {
        Key::parse(name).map_err(|error| {
            let message = format!("{}: invalid name of an object `{name}`: {error}", self.url);
            BucketError::new(BucketFault::Settings, &self.url, message)
        })
    }

    /// Returns the name below the prefix of a key.
    pub(super) fn name<'a>(&self, key: &'a Key) -> &'a str {
        let name = key.as_ref().strip_prefix(self.url.prefix());
        name.unwrap_or(key.as_ref()).trim_start_matches('/')
    }

    pub(super) fn error(
        &self,
        action: Action,
        what: &str,
        error: &object_store::Error,
    ) -> BucketError {
        BucketError::of(&self.url, action, what, error, &self.secrets)
    }
}

type Opened = (Arc<dyn ObjectStore>, Option<Arc<dyn Signer>>);

fn build(settings: &BucketSettings, traffic: &Arc<Traffic>) -> object_store::Result<Opened> {
    let client = ClientOptions::new()
        .with_user_agent(HeaderValue::from_static(USER_AGENT))
        .with_allow_http(settings.has_plain_endpoint())
        .with_connect_timeout(Duration::from_secs(10))
        // The timeout of a whole request, including a part of an upload; reads have their own timeout.
        .with_timeout(Duration::from_mins(10))
        .with_read_timeout(Duration::from_mins(1));
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(200),
            max_backoff: Duration::from_secs(15),
            base: 2.0,
        },
        max_retries: settings.retries,
        retry_timeout: Duration::from_mins(3),
    };
    let bucket = settings.url.bucket();
    let variables = settings.variables.iter().map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        (name, value.clone())
    });
    let signer = Arc::new(S3Signer::new());
    let header = Acl::header(settings.url.kind());
    let acl = settings.acl.clone().zip(header);
    let counting = Counting {
        traffic: Arc::clone(traffic),
        acl: acl.map(|(acl, header)| (acl, header, Arc::clone(&signer))),
    };
    // The builders are different types with the same methods.
    macro_rules! configured {
        ($builder:expr) => {{
            let mut builder = $builder
                .with_client_options(client)
                .with_retry(retry)
                .with_http_connector(counting);
            for (name, value) in variables {
                // Variables with this prefix that the builder does not know are ignored.
                if let Ok(key) = name.parse() {
                    builder = builder.with_config(key, value);
                }
            }
            builder
        }};
    }
    macro_rules! opened {
        ($store:expr) => {{
            let store = Arc::new($store);
            Ok((
                Arc::clone(&store) as Arc<dyn ObjectStore>,
                Some(store as Arc<dyn Signer>),
            ))
        }};
    }
    match settings.url.kind() {
        BucketKind::S3 => {
            let builder = configured!(AmazonS3Builder::new()).with_bucket_name(bucket);
            let region = builder.get_config_value(&AmazonS3ConfigKey::Region);
            let store = builder.build()?;
            let region = region.unwrap_or_else(|| "us-east-1".to_owned());
            // Cannot fail, since it is still empty.
            drop(signer.set((Arc::clone(store.credentials()), region)));
            opened!(store)
        }
        BucketKind::Gcs => opened!(
            configured!(GoogleCloudStorageBuilder::new())
                .with_bucket_name(bucket)
                .build()?
        ),
        BucketKind::Azure => opened!(
            configured!(MicrosoftAzureBuilder::new())
                .with_container_name(bucket)
                .build()?
        ),
        BucketKind::Directory => {
            let store = LocalFileSystem::new_with_prefix(bucket)?.with_fsync(true);
            Ok((Arc::new(store), None))
        }
    }
}
