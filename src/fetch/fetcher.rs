//! The fetcher: checks the store, joins downloads under way, and tries the URLs in order.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock};

use reqwest::Client;
use url::Url;

use super::address::{Address, recorded};
use super::body::{Body, Wanted};
use super::download::Server;
use super::host::Hosts;
use super::record::{Record, Validators};
use super::refuse::Refusal;
use super::{Activity, Answer, ContentKind, FetchError, Settings, SingleFlight, Tried, local};
use crate::digest::Sha256;
use crate::fs::blocking;
use crate::redact;
use crate::store::Store;

/// A request for one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// URLs or paths of the file, in the order in which they are tried.
    pub candidates: Vec<Arc<str>>,
    /// The digest of the file, if it is known.
    pub sha256: Option<Sha256>,
    /// The size of the file, if it is known.
    pub size_bytes: Option<u64>,
    /// The expected kind of content.
    pub kind: ContentKind,
}

/// A file that is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Its digest.
    pub sha256: Sha256,
    /// Its size.
    pub size_bytes: u64,
    /// The URL that returned it, without user name, password and query.
    pub url: String,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum FlightKey {
    Digest(Sha256),
    Address(Arc<str>, ContentKind, Option<u64>),
}

/// Fetches files into a store.
pub struct Fetcher {
    pub(super) store: Arc<Store>,
    pub(super) settings: Settings,
    pub(super) flights: SingleFlight<FlightKey, Fetched, FetchError>,
    client: OnceLock<Result<Client, String>>,
    hosts: Hosts,
    pub(super) distrusted: Mutex<HashSet<String>>,
    pub(super) refusals: Mutex<Vec<Refusal>>,
}

impl Fetcher {
    /// A fetcher for `store`. Nothing is opened before the first download.
    pub fn new(store: Arc<Store>, settings: Settings) -> Self {
        let base_folder =
            std::path::absolute(&settings.base_folder).unwrap_or(settings.base_folder);
        Self {
            store,
            settings: Settings {
                base_folder,
                ..settings
            },
            flights: SingleFlight::default(),
            client: OnceLock::new(),
            hosts: Hosts::default(),
            distrusted: Mutex::default(),
            refusals: Mutex::default(),
        }
    }

    /// The store of the fetched files.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Whether only the store and configured mirrors may be used.
    pub fn is_offline(&self) -> bool {
        self.settings.mirrors.is_offline
    }

    /// The original URLs of a file that was fetched from `place`, which may be a mirror.
    pub fn originals(&self, place: &str) -> Vec<String> {
        self.settings.mirrors.originals(place)
    }

    /// Whether servers were contacted and none of them has answered.
    pub fn has_no_network(&self) -> bool {
        self.hosts.is_none_reached()
    }

    /// Whether a server has answered anything.
    pub fn has_reached_a_server(&self) -> bool {
        self.hosts.is_any_reached()
    }

    /// The requests under way.
    pub fn activity(&self) -> &Activity {
        &self.settings.activity
    }

    /// The proxy of all connections.
    pub fn proxy(&self) -> Option<&str> {
        self.settings.proxy.as_deref()
    }

    /// Whether the file is neither in the store nor at a URL that may be requested.
    pub fn is_out_of_reach(&self, request: &Request) -> bool {
        self.known(&request.candidates, request.sha256).is_none()
            && request
                .candidates
                .iter()
                .all(|url| self.settings.mirrors.candidates(url).is_empty())
    }

    /// Fetches the file into the store, unless the store has it.
    pub async fn fetch(&self, request: &Request) -> Result<Fetched, FetchError> {
        if let Some(fetched) = self.known(&request.candidates, request.sha256) {
            return Ok(fetched);
        }
        let shared = request.sha256.or_else(|| {
            let known = self.known_anywhere(&request.candidates);
            known.map(|known| known.sha256)
        });
        if let Some(sha256) = shared
            && self.store.fetch_shared(sha256).await
            && let Some(fetched) = self.known(&request.candidates, request.sha256.or(shared))
        {
            return Ok(fetched);
        }
        let wanted = Wanted {
            kind: request.kind,
            sha256: request.sha256,
            size_bytes: request.size_bytes,
            limit_bytes: self.settings.limit_bytes,
        };
        let mut error = FetchError { tried: Vec::new() };
        if let Some(sha256) = request.sha256 {
            let mut remaining = request.candidates.clone();
            while !remaining.is_empty() {
                let key = FlightKey::Digest(sha256);
                let work = || self.fetch_first(&remaining, &wanted);
                match self.flights.run(key, work).await {
                    Ok(fetched) => return Ok(fetched),
                    Err(failed) => {
                        // The download may belong to another request, with other URLs.
                        remaining.retain(|url| !self.was_tried(url, &failed));
                        error.tried.extend(failed.tried);
                    }
                }
            }
        } else if request.has_guesses() {
            return self.fetch_guesses(request, &wanted).await;
        } else {
            for url in &request.candidates {
                match self.fetch_shared(url, &wanted).await {
                    Ok(fetched) => return Ok(fetched),
                    Err(failed) => error.tried.extend(failed.tried),
                }
            }
        }
        Err(error)
    }

    /// Returns the places to try for `url`, in order. If no place is allowed, adds this to `error`.
    pub(super) fn places(&self, url: &str, error: &mut FetchError) -> Vec<String> {
        let places = self.settings.mirrors.candidates(url);
        if places.is_empty() {
            error.tried.push(tried(url, Answer::OnlyMirrors));
        }
        places
    }

    fn was_tried(&self, url: &str, error: &FetchError) -> bool {
        let has = |text: &str| {
            let shown = recorded(text);
            error.tried.iter().any(|tried| tried.url == shown)
        };
        let places = self.settings.mirrors.candidates(url);
        has(url) || (!places.is_empty() && places.iter().all(|place| has(place)))
    }

    async fn fetch_first(
        &self,
        candidates: &[Arc<str>],
        wanted: &Wanted,
    ) -> Result<Fetched, FetchError> {
        let mut error = FetchError { tried: Vec::new() };
        for url in candidates {
            match self.fetch_url(url, wanted).await {
                Ok(fetched) => return Ok(fetched),
                Err(failed) => error.tried.extend(failed.tried),
            }
        }
        Err(error)
    }

    /// Fetches the file of one URL whose digest is unknown; concurrent callers share one download.
    pub(super) async fn fetch_shared(
        &self,
        url: &Arc<str>,
        wanted: &Wanted,
    ) -> Result<Fetched, FetchError> {
        let key = FlightKey::Address(Arc::clone(url), wanted.kind, wanted.size_bytes);
        self.flights.run(key, || self.fetch_url(url, wanted)).await
    }

    async fn fetch_url(&self, url: &str, wanted: &Wanted) -> Result<Fetched, FetchError> {
        let mut error = FetchError { tried: Vec::new() };
        for place in self.places_by_trust(url, wanted.sha256, &mut error) {
            match self.fetch_place(url, &place, wanted, None).await {
                Ok(fetched) => return Ok(fetched),
                Err(answer) => error.tried.push(tried(&place, answer)),
            }
        }
        Err(error)
    }

    /// Fetches the file of `asked_url` from `place`. If `earlier` came from this place, the file is fetched only if it
    /// has changed since.
    pub(super) async fn fetch_place(
        &self,
        asked_url: &str,
        place: &str,
        wanted: &Wanted,
        earlier: Option<&Record>,
    ) -> Result<Fetched, Answer> {
        let base_folder = &self.settings.base_folder;
        let shown = recorded(place);
        // Recorded under the requested URL: the mirrors may differ next time.
        let name = name(&Address::parse(asked_url, base_folder)?);
        let given = match Address::parse(place, base_folder)? {
            Address::Remote(url) => {
                let earlier = earlier.filter(|record| record.place() == shown);
                self.fetch_remote(&url, wanted, earlier).await
            }
            Address::Local(path) => self.fetch_local(path, wanted).await,
        };
        if matches!(given, Err(Answer::Checksum { .. })) {
            self.no_longer_agreed(&name);
        }
        let (sha256, size_bytes, validators) = given?;
        let mut record = Record::new(name.clone(), sha256, size_bytes, validators).given_by(&shown);
        record.is_agreed = self.agrees(&record, place);
        let store = Arc::clone(&self.store);
        blocking(move || {
            record
                .keep(&store)
                .map_err(|error| Answer::Store(error.to_string()))
        })
        .await?;
        self.distrusted().remove(&name);
        let url = redact::url(place).into_owned();
        tracing::debug!(url, %sha256, size_bytes, "fetched");
        Ok(Fetched {
            sha256,
            size_bytes,
            url,
        })
    }

    async fn fetch_remote(
        &self,
        url: &Url,
        wanted: &Wanted,
        earlier: Option<&Record>,
    ) -> Result<(Sha256, u64, Validators), Answer> {
        let mut may_be_pieced = true;
        loop {
            let mut body = Body::for_store(&self.store, wanted.clone())?;
            let known = earlier.map(|record| &record.validators);
            let complete = self.download_if_changed(url, &mut body, known).await?;
            if let (true, Some(record)) = (complete.is_unchanged, earlier) {
                return Ok((record.sha256, record.size_bytes, record.validators.clone()));
            }
            let store = Arc::clone(&self.store);
            match blocking(move || body.into_store(&store)).await {
                Ok((sha256, size_bytes)) => return Ok((sha256, size_bytes, complete.validators)),
                // The pieces may be of different files: retry once from the start.
                Err(Answer::Checksum { .. }) if complete.is_pieced && may_be_pieced => {
                    may_be_pieced = false;
                }
                Err(answer) => return Err(answer),
            }
        }
    }

    async fn fetch_local(
        &self,
        path: PathBuf,
        wanted: &Wanted,
    ) -> Result<(Sha256, u64, Validators), Answer> {
        let (store, wanted) = (Arc::clone(&self.store), wanted.clone());
        blocking(move || {
            let mut body = Body::for_store(&store, wanted)?;
            let (_, validators) =
                local::validators(&path).map_err(|error| local::answer(&error))?;
            local::read(&path, &mut body)?;
            let (sha256, size_bytes) = body.into_store(&store)?;
            Ok((sha256, size_bytes, validators))
        })
        .await
    }

    pub(super) async fn download(
        &self,
        url: &Url,
        body: &mut Body,
    ) -> Result<super::download::Complete, Answer> {
        self.download_if_changed(url, body, None).await
    }

    /// Like `download`; `known` are the validators of the content that the store has.
    pub(super) async fn download_if_changed(
        &self,
        url: &Url,
        body: &mut Body,
        known: Option<&Validators>,
    ) -> Result<super::download::Complete, Answer> {
        self.server(url)?.download(url, body, known).await
    }

    /// Parses a place.
    pub(super) fn address(&self, place: &str) -> Result<Address, Answer> {
        Address::parse(place, &self.settings.base_folder)
    }

    /// The server of `url`.
    pub(super) fn server(&self, url: &Url) -> Result<Server<'_>, Answer> {
        let client = self
            .client
            .get_or_init(|| make_client(&self.settings))
            .as_ref()
            .map_err(|error| Answer::Connection(error.clone()))?;
        Ok(Server {
            client,
            host: self.hosts.of(url, &self.settings),
            settings: &self.settings,
        })
    }
}

/// An HTTP client with the proxy and timeouts of `settings`.
pub fn make_client(settings: &Settings) -> Result<Client, String> {
    // Fails only if a provider is already installed.
    drop(rustls::crypto::ring::default_provider().install_default());
    let proxy = settings.proxy.as_ref().map(reqwest::Proxy::all).transpose();
    let proxy = proxy.map_err(|error| error.to_string())?;
    let builder = || {
        let builder = Client::builder()
            .connect_timeout(settings.connect_timeout)
            .user_agent(concat!("driverkit-matrix/", env!("CARGO_PKG_VERSION")));
        match &proxy {
            Some(proxy) => builder.proxy(proxy.clone()),
            None => builder,
        }
    };
    // Without certificates on this machine, http still works.
    builder()
        .build()
        .or_else(|_| builder().tls_certs_only([]).build())
        .map_err(|error| error.to_string())
}

pub(super) fn tried(place: &str, answer: Answer) -> Tried {
    let url = recorded(place);
    tracing::debug!(url = %redact::url(&url), %answer, "a URL gave no file");
    Tried { url, answer }
}

/// The name of an address in records and refusals.
pub(super) fn name(address: &Address) -> String {
    match address {
        Address::Remote(url) => recorded(url.as_str()),
        Address::Local(path) => path.to_string_lossy().into_owned(),
    }
}
