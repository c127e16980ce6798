//! A small server that implements the part of S3 that publishing needs, records its requests, and returns the faults
//! that a test sets. It checks no signatures: tests/system does that with a real server.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use driverkit_matrix::bucket::BucketSettings;

/// Credentials that tests search for in messages and files.
pub const KEY: &str = "planted-key-id";
pub const SECRET: &str = "planted-secret-key";

/// A response set by a test: status, content type, body.
pub type Fault = (u16, &'static str, &'static str);

type Faults = dyn FnMut(&str, &str, &mut Objects) -> Option<Fault> + Send;

/// Objects by key.
pub type Objects = BTreeMap<String, Stored>;

#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub body: Vec<u8>,
    /// `content-type`, `cache-control`, `x-amz-acl` and user metadata.
    pub headers: BTreeMap<String, String>,
    version: usize,
}

#[derive(Default)]
struct State {
    objects: Objects,
    requests: Vec<String>,
    versions: usize,
    faults: Option<Box<Faults>>,
}

/// The server; the bucket is called `builds`.
pub struct FakeS3 {
    address: String,
    state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    key: String,
    query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl FakeS3 {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Lets `faults` answer requests, selected by method and key; it may change the objects first.
    pub fn fail(
        &self,
        faults: impl FnMut(&str, &str, &mut Objects) -> Option<Fault> + Send + 'static,
    ) {
        self.state().faults = Some(Box::new(faults));
    }

    pub fn heal(&self) {
        self.state().faults = None;
    }

    /// Returns the requests since the last call, in order: `PUT driver/x86_64/name`.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    pub fn objects(&self) -> Objects {
        self.state().objects.clone()
    }

    pub fn change(&self, change: impl FnOnce(&mut Objects)) {
        change(&mut self.state().objects);
    }

    /// Returns the environment variables with which a program uses the server.
    pub fn variables(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// Returns settings that open the bucket, with few retries.
    pub fn settings(&self) -> BucketSettings {
        BucketSettings {
            variables: self.variables(),
            retries: 2,
            .."s3://builds/p".parse().unwrap()
        }
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut writer = stream.try_clone().unwrap();
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        let answer = answer(&request, &mut state.lock().unwrap());
        if writer.write_all(&answer).is_err() {
            return;
        }
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|text| text.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let url = url::Url::parse(&format!("http://host{target}")).ok()?;
    let path = decoded(url.path());
    Some(Request {
        method,
        key: path
            .trim_start_matches("/builds")
            .trim_start_matches('/')
            .to_owned(),
        query: url.query_pairs().into_owned().collect(),
        headers,
        body,
    })
}

/// Decodes a path; as in S3, only an escaped plus sign is a plus sign.
fn decoded(path: &str) -> String {
    let path = path.replace('+', "%20");
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        if *first == b'%' && rest.len() >= 2 {
            let digits = std::str::from_utf8(&rest[..2]).unwrap();
            bytes.push(u8::from_str_radix(digits, 16).unwrap());
            rest = &rest[2..];
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn answer(request: &Request, state: &mut State) -> Vec<u8> {
    let Request { method, key, .. } = request;
    state.requests.push(if key.is_empty() {
        format!(
            "{method} ?prefix={}",
            request.query.get("prefix").map_or("", |prefix| prefix)
        )
    } else {
        format!("{method} {key}")
    });
    if let Some(faults) = &mut state.faults
        && let Some((status, kind, body)) = faults(method, key, &mut state.objects)
    {
        let body = if method == "HEAD" { "" } else { body };
        return whole(
            status,
            &format!("content-type: {kind}\r\n"),
            body.as_bytes(),
            None,
        );
    }
    match method.as_str() {
        "PUT" => put(request, state),
        "GET" if key.is_empty() => list(request, state),
        "GET" | "HEAD" => get(request, state),
        _ => whole(501, "", b"", None),
    }
}

fn put(request: &Request, state: &mut State) -> Vec<u8> {
    let etag = |stored: &Stored| format!("\"{}\"", stored.version);
    let now = state.objects.get(&request.key);
    let must_be_new = request.headers.contains_key("if-none-match");
    let wanted = request.headers.get("if-match");
    let is_met = match now {
        Some(now) => !must_be_new && wanted.is_none_or(|wanted| *wanted == etag(now)),
        None => wanted.is_none(),
    };
    if !is_met {
        let body = b"<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>";
        return whole(412, "content-type: application/xml\r\n", body, None);
    }
    state.versions += 1;
    let is_kept = |name: &str| {
        ["content-type", "cache-control", "x-amz-acl"].contains(&name)
            || name.starts_with("x-amz-meta-")
    };
    let kept = request.headers.iter().filter(|(name, _)| is_kept(name));
    let stored = Stored {
        body: request.body.clone(),
        headers: kept
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        version: state.versions,
    };
    let etag = etag(&stored);
    state.objects.insert(request.key.clone(), stored);
    whole(200, &format!("etag: {etag}\r\n"), b"", None)
}

fn get(request: &Request, state: &State) -> Vec<u8> {
    let Some(found) = state.objects.get(&request.key) else {
        let body = if request.method == "HEAD" {
            ""
        } else {
            "<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
        };
        return whole(
            404,
            "content-type: application/xml\r\n",
            body.as_bytes(),
            None,
        );
    };
    let mut headers = format!(
        "etag: \"{}\"\r\nlast-modified: Mon, 23 Nov 2026 01:00:00 GMT\r\nx-amz-request-id: 1\r\n",
        found.version
    );
    for (name, value) in &found.headers {
        write!(headers, "{name}: {value}\r\n").unwrap();
    }
    let is_head = request.method == "HEAD";
    let body: &[u8] = if is_head { b"" } else { &found.body };
    whole(200, &headers, body, Some(found.body.len()))
}

fn list(request: &Request, state: &State) -> Vec<u8> {
    let prefix = request.query.get("prefix").map_or("", |prefix| prefix);
    let mut text =
        "<?xml version=\"1.0\"?><ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
    for (key, stored) in state
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(prefix))
    {
        write!(
            text,
            "<Contents><Key>{key}</Key><LastModified>2026-11-23T01:00:00.000Z</LastModified><ETag>\"{}\"</ETag>\
             <Size>{}</Size></Contents>",
            stored.version,
            stored.body.len()
        )
        .unwrap();
    }
    text += "</ListBucketResult>";
    whole(
        200,
        "content-type: application/xml\r\n",
        text.as_bytes(),
        None,
    )
}

fn whole(status: u16, headers: &str, body: &[u8], length: Option<usize>) -> Vec<u8> {
    let length = length.unwrap_or(body.len());
    let mut answer =
        format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {length}\r\n\r\n")
            .into_bytes();
    answer.extend_from_slice(body);
    answer
}
