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

/// How often a request is sent again that a server refused for a moment.
const RETRIES: usize = 7;

/// Where a bucket is and who may use it.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketSettings {
    /// Its URL.
    pub url: BucketUrl,
    /// Variables that all programs for this kind of store read: `AWS_ENDPOINT_URL` and so on.
    pub variables: Vec<(String, String)>,
    /// How often a request is sent again after 429, 5xx or a lost connection.
    pub retries: usize,
    /// The ACL of every object that is written; the server's own without it. Azure and directories know none.
    pub acl: Option<Acl>,
}

impl BucketSettings {
    /// A bucket with the variables of this process's environment that are about its kind.
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

    /// Sets a variable that the environment does not set.
    #[must_use]
    pub fn with_default(mut self, name: &str, value: &str) -> Self {
        if !self.variables.iter().any(|(known, _)| known == name) {
            self.variables.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Values that no message may contain.
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

    /// Whether a variable names an endpoint without TLS, which then is meant.
    fn has_plain_endpoint(&self) -> bool {
        let is_endpoint = |name: &str| name.contains("ENDPOINT") || name.ends_with("BASE_URL");
        self.variables
            .iter()
            .any(|(name, value)| is_endpoint(name) && value.starts_with("http://"))
    }
}

impl fmt::Debug for BucketSettings {
    /// Without the variables, which hold the secret key.
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

    /// Reads the URL; there are no variables.
    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self::new)
    }
}

/// An open bucket. Names of objects are relative to its prefix.
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
    /// Reads the settings. Sends nothing: whether the bucket exists shows with the first request; only a directory must
    /// exist already.
    pub fn open(settings: &BucketSettings) -> Result<Self, BucketError> {
        // Fails when one is installed already, which is as good.
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

    /// Its URL.
    pub fn url(&self) -> &BucketUrl {
        &self.url
    }

    /// Whether it is a directory, which has no metadata and no conditional replacement.
    pub fn is_directory(&self) -> bool {
        self.url.kind() == BucketKind::Directory
    }

    /// What was requested so far.
    pub fn traffic(&self) -> TrafficCount {
        self.traffic.count()
    }

    /// The key of a name below the prefix, each character as it is (`+` and `~` too).
    pub(super) fn key(&self, name: &str) -> Result<Key, BucketError> {
        let prefix = self.url.prefix();
        let whole = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}/{name}")
        };
        self.whole_key(&whole)
    }

    /// The key of a name that has the prefix.
    pub(super) fn whole_key(&self, name: &str) -> Result<Key, BucketError> {
        Key::parse(name).map_err(|error| {
            let message = format!("{}: invalid name of an object `{name}`: {error}", self.url);
            BucketError::new(BucketFault::Settings, &self.url, message)
        })
    }

    /// The name below the prefix of a key.
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
        // A whole request, a part of an upload included; reading has its own limit.
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
    // Each builder has a type of its own, with the same methods.
    macro_rules! configured {
        ($builder:expr) => {{
            let mut builder = $builder
                .with_client_options(client)
                .with_retry(retry)
                .with_http_connector(counting);
            for (name, value) in variables {
                // Variables with this start that are about something else are none of ours.
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
            // It was empty.
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
