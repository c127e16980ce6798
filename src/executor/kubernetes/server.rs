//! The input server: pods download archives of trees from it and upload results to it.
//!
//! `GET /v1/JOB/inputs/SHA256` returns an archive, and `PUT /v1/JOB/result/SHA256` accepts the result of a job. Both
//! require the job's own random token, which becomes invalid once the job has ended. Data that does not match its
//! digest is discarded.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::TryStreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ring::rand::SecureRandom as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_util::io::ReaderStream;
use tokio_util::task::AbortOnDropHandle;

use super::super::ExecutorError;
use super::courier::Arrival;
use super::settings::ServerTls;
use crate::digest::{HashingWriter, Sha256};
use crate::fs::blocking;

/// Larger than the output of any build.
const RESULT_LIMIT_BYTES: u64 = 4 << 30;

const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The pause after a failure to accept a connection, usually because of a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TOKEN_BYTES: usize = 32;

type Body = BoxBody<Bytes, io::Error>;

/// A running input server, stopped on drop.
pub(super) struct InputServer {
    base: String,
    /// The certificates that pods must trust, in PEM.
    pub(super) authority: Option<String>,
    shared: Arc<Shared>,
    _accepting: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    archives: Mutex<HashMap<Sha256, PathBuf>>,
    jobs: Mutex<HashMap<String, Expected>>,
}

/// A job whose result is awaited.
struct Expected {
    /// The digest of the job's token, so that the timing of a comparison reveals nothing about the token.
    token: Sha256,
    /// The directory for the unnamed file that receives the result.
    folder: PathBuf,
    sender: Option<oneshot::Sender<Result<std::fs::File, ExecutorError>>>,
}

/// The data that a pod needs to send the result of a job.
pub(super) struct Registration {
    pub(super) token: String,
    /// The base URL of the job.
    pub(super) url: String,
    job: String,
    shared: Arc<Shared>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        locked(&self.shared.jobs).remove(&self.job);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InputServer {
    /// Binds to `listen`. Pods connect to `address` (`HOST` or `HOST:PORT`), or by default to the bound address.
    pub(super) async fn start(
        listen: SocketAddr,
        address: Option<&str>,
        tls: Option<&ServerTls>,
    ) -> Result<Self, ExecutorError> {
        let (acceptor, authority) = match tls.cloned() {
            Some(tls) => {
                let read = move || -> Result<_, ExecutorError> {
                    let path = tls.authority.as_ref().unwrap_or(&tls.certificate);
                    Ok((acceptor(&tls)?, crate::fs::read_to_string(path)?))
                };
                blocking(read)
                    .await
                    .map(|(acceptor, authority)| (Some(acceptor), Some(authority)))?
            }
            None => (None, None),
        };
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            ExecutorError::caused_by(
                format!("the server of inputs cannot bind to {listen}"),
                error,
            )
        })?;
        let bound = listener.local_addr().map_err(|error| {
            ExecutorError::caused_by("the server of inputs has no address", error)
        })?;
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let base = format!("{scheme}://{}/v1", advertised(bound, address));
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn(accept(listener, acceptor, shared.clone()));
        Ok(Self {
            base,
            authority,
            shared,
            _accepting: AbortOnDropHandle::new(accepting),
        })
    }

    /// Returns the base URL for pods.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Makes an archive available to pods.
    pub(super) fn offer(&self, sha256: Sha256, path: &Path) {
        locked(&self.shared.archives).insert(sha256, path.to_owned());
    }

    /// Accepts the result of a job until the registration is dropped, and writes it to an unnamed file in `folder`.
    pub(super) fn expect(
        &self,
        job: &str,
        folder: &Path,
    ) -> Result<(Registration, Arrival), ExecutorError> {
        let mut bytes = [0; TOKEN_BYTES];
        ring::rand::SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| {
                ExecutorError::infrastructure("the system does not provide random numbers")
            })?;
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let (sender, result) = oneshot::channel();
        let expected = Expected {
            token: Sha256::of(&token),
            folder: folder.to_owned(),
            sender: Some(sender),
        };
        locked(&self.shared.jobs).insert(job.to_owned(), expected);
        let registration = Registration {
            token,
            url: format!("{}/{job}", self.base),
            job: job.to_owned(),
            shared: self.shared.clone(),
        };
        Ok((registration, result))
    }
}

fn advertised(bound: SocketAddr, address: Option<&str>) -> String {
    match address {
        // The last colon precedes a port and is not part of an IPv6 address.
        Some(address)
            if address
                .rsplit_once(':')
                .is_some_and(|(host, _)| !host.contains(':') || host.ends_with(']')) =>
        {
            address.to_owned()
        }
        Some(address) => match address.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, bound.port()).to_string(),
            Err(_) => format!("{address}:{}", bound.port()),
        },
        None => bound.to_string(),
    }
}

fn acceptor(files: &ServerTls) -> Result<TlsAcceptor, ExecutorError> {
    let unusable = |path: &Path, error: &dyn std::fmt::Display| {
        ExecutorError::infrastructure(format!("{} cannot be used: {error}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unusable(&files.certificate, &error))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| unusable(&files.key, &error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| unusable(&files.certificate, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("the server of inputs failed to accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        tokio::spawn(greet(stream, acceptor.clone(), shared.clone()));
    }
}

/// Handles one connection. A pod that disconnects early is not an error here: it retries, or its own end counts.
async fn greet(stream: TcpStream, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    match acceptor {
        Some(acceptor) => {
            let accepted = tokio::time::timeout(HEADER_TIMEOUT, acceptor.accept(stream)).await;
            if let Ok(Ok(stream)) = accepted {
                serve(stream, shared).await;
            }
        }
        None => serve(stream, shared).await,
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let answer = service_fn(move |request| {
        let shared = shared.clone();
        async move {
            let response = shared.answer(request).await.unwrap_or_else(|error| {
                tracing::warn!("the server of inputs: {error}");
                plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
            });
            Ok::<_, Infallible>(response)
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!("a connection to the server of inputs ended: {error}");
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> io::Result<Response<Body>> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.split('/').collect();
        let ["", "v1", job, kind, digest] = parts[..] else {
            return Ok(plain(StatusCode::NOT_FOUND, "not found"));
        };
        let token = request
            .headers()
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
            .map(Sha256::of);
        let is_known = locked(&self.jobs)
            .get(job)
            .is_some_and(|expected| Some(expected.token) == token);
        if !is_known {
            return Ok(plain(
                StatusCode::FORBIDDEN,
                "unknown job, or invalid token",
            ));
        }
        let Ok(digest) = digest.parse::<Sha256>() else {
            return Ok(plain(StatusCode::NOT_FOUND, "not a digest"));
        };
        match (request.method(), kind) {
            (&Method::GET, "inputs") => self.give(digest).await,
            (&Method::PUT, "result") => self.take(job, digest, request.into_body()).await,
            _ => Ok(plain(StatusCode::METHOD_NOT_ALLOWED, "not found")),
        }
    }

    async fn give(&self, digest: Sha256) -> io::Result<Response<Body>> {
        let Some(path) = locked(&self.archives).get(&digest).cloned() else {
            return Ok(plain(StatusCode::NOT_FOUND, "no such input"));
        };
        let file = tokio::fs::File::open(&path).await?;
        let size_bytes = file.metadata().await?.len();
        let frames = ReaderStream::with_capacity(file, 1 << 16).map_ok(Frame::data);
        let mut response = Response::new(BodyExt::boxed(StreamBody::new(frames)));
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, size_bytes.into());
        Ok(response)
    }

    async fn take(
        &self,
        job: &str,
        digest: Sha256,
        mut body: Incoming,
    ) -> io::Result<Response<Body>> {
        let Some(folder) = locked(&self.jobs)
            .get(job)
            .map(|expected| expected.folder.clone())
        else {
            return Ok(plain(StatusCode::FORBIDDEN, "no such job"));
        };
        let mut file = tokio::fs::File::from_std(tempfile::tempfile_in(folder)?);
        let mut hashing = HashingWriter::new(io::sink());
        let mut left_bytes = RESULT_LIMIT_BYTES;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(io::Error::other)?.into_data() else {
                continue;
            };
            let Some(left) = left_bytes.checked_sub(data.len() as u64) else {
                return Ok(plain(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "the result is too large",
                ));
            };
            left_bytes = left;
            io::Write::write_all(&mut hashing, &data)?;
            file.write_all(&data).await?;
        }
        file.flush().await?;
        let (found, ..) = hashing.finish();
        if found != digest {
            let message = format!("the received content has digest {found}");
            return Ok(plain(StatusCode::UNPROCESSABLE_ENTITY, &message));
        }
        let file = file.into_std().await;
        // Sent twice if the first response was lost; the first result counts.
        let sender = locked(&self.jobs)
            .get_mut(job)
            .and_then(|expected| expected.sender.take());
        if let Some(sender) = sender {
            drop(sender.send(Ok(file)));
        }
        let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }
}

fn plain(status: StatusCode, message: &str) -> Response<Body> {
    let body = Full::from(format!("{message}\n")).map_err(|never| match never {});
    let mut response = Response::new(body.boxed());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
