//! A server on this machine that serves the files of a directory and counts requests.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Returns the response to a request, given the requested file.
type Answer = dyn Fn(&str, Option<Vec<u8>>) -> Vec<u8> + Send + Sync;

pub struct Server {
    pub address: String,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// Serves the files of `folder`.
    pub fn of(folder: &Path) -> Self {
        Self::with(folder, |_, body| {
            body.map_or_else(|| empty("404 Not Found"), |body| whole(&body, ""))
        })
    }

    /// Serves the files of `folder` with their digests as entity tags; a request with the current tag gets 304.
    pub fn with_tags(folder: &Path) -> Self {
        Self::with(folder, |request, body| {
            let Some(body) = body else {
                return empty("404 Not Found");
            };
            let tag = format!("\"{}\"", driverkit_matrix::digest::Sha256::of(&body));
            if request.contains(&format!("if-none-match: {tag}\r\n")) {
                empty("304 Not Modified")
            } else {
                whole(&body, &format!("ETag: {tag}\r\n"))
            }
        })
    }

    /// Serves the files of `folder`; the first `count` downloads of files whose path contains `name` are cut in half.
    pub fn of_halves(folder: &Path, name: &'static str, count: usize) -> Self {
        let downloads = AtomicUsize::new(0);
        Self::with(folder, move |request, body| {
            let Some(body) = body else {
                return empty("404 Not Found");
            };
            let is_half = request.starts_with("GET")
                && request
                    .lines()
                    .next()
                    .is_some_and(|line| line.contains(name))
                && downloads.fetch_add(1, Ordering::SeqCst) < count;
            let length = if is_half { body.len() / 2 } else { body.len() };
            whole(&body[..length], "")
        })
    }

    /// Answers `status` to everything.
    pub fn refusing(status: &'static str) -> Self {
        Self::with(Path::new("/nonexistent"), move |_, _| empty(status))
    }

    /// Answers 404 to everything, and records the first line of each request.
    pub fn remembering(lines: Arc<Mutex<Vec<String>>>) -> Self {
        Self::with(Path::new("/nonexistent"), move |request, _| {
            let line = request.lines().next().unwrap_or_default();
            lines.lock().unwrap().push(line.to_owned());
            empty("404 Not Found")
        })
    }

    fn with(
        folder: &Path,
        answer: impl Fn(&str, Option<Vec<u8>>) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let (counter, folder) = (requests.clone(), folder.to_owned());
        let answer: Arc<Answer> = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (counter, folder, answer) = (counter.clone(), folder.clone(), answer.clone());
                // A client may open a connection and not use it: this must not block others.
                std::thread::spawn(move || serve(stream.unwrap(), &counter, &folder, &*answer));
            }
        });
        Self { address, requests }
    }

    /// The number of requests.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, counter: &AtomicUsize, folder: &Path, answer: &Answer) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(length) if length > 0 => request.extend(&buffer[..length]),
            _ => return,
        }
    }
    counter.fetch_add(1, Ordering::SeqCst);
    let request = String::from_utf8_lossy(&request).into_owned();
    let mut words = request.split(' ');
    let is_head = words.next() == Some("HEAD");
    let path = words.next().unwrap_or("/");
    let path = path.split('?').next().unwrap_or(path);
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let mut file = folder.join(path.trim_start_matches('/'));
    if path.ends_with('/') {
        file.push("index.html");
    }
    let body = std::fs::read(file).ok();
    let mut answer = answer(&request, body);
    if is_head {
        let end = answer.windows(4).position(|part| part == b"\r\n\r\n");
        answer.truncate(end.map_or(answer.len(), |end| end + 4));
    }
    // The client may have closed the connection.
    drop(stream.write_all(&answer));
}

fn whole(body: &[u8], headers: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{headers}Connection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn empty(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}
