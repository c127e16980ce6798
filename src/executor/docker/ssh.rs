//! A daemon behind ssh: a local socket. For each connection to it, an `ssh` process runs `docker system dial-stdio`
//! on the other machine, as the docker client does.
//!
//! Users, keys, known hosts and shared connections are left to the configuration of ssh.

use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, copy_bidirectional, join};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// The most bytes of ssh's stderr that are recorded.
const WORDS_BYTES: usize = 1024;

/// How long to wait for ssh's stderr after a connection has failed.
const WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Forwards connections over ssh until it is dropped.
pub(super) struct Bridge {
    socket: PathBuf,
    /// The last stderr of an ssh process.
    words: watch::Receiver<String>,
    task: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Bridge {
    /// Opens the socket; ssh starts at the first connection.
    pub(super) fn open(destination: &str, port: Option<u16>) -> io::Result<Self> {
        // Only this user can enter the directory.
        let folder = tempfile::Builder::new()
            .prefix("driverkit-matrix-ssh-")
            .tempdir()?;
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket)?;
        let (tell, words) = watch::channel(String::new());
        let mut arguments = vec!["-T".to_owned(), "-o".to_owned(), "BatchMode=yes".to_owned()];
        if let Some(port) = port {
            arguments.extend(["-p".to_owned(), port.to_string()]);
        }
        arguments.push("--".to_owned());
        // ssh expects an IPv6 address without brackets.
        arguments.push(destination.replace(['[', ']'], ""));
        arguments.extend(["docker", "system", "dial-stdio"].map(str::to_owned));
        let task = tokio::spawn(accept(listener, arguments, tell));
        Ok(Self {
            socket,
            words,
            task,
            _folder: folder,
        })
    }

    /// The address of the socket, `unix://PATH`.
    pub(super) fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Returns ssh's stderr after a connection has failed, on one line; empty if it printed nothing.
    pub(super) async fn words(&self) -> String {
        let mut words = self.words.clone();
        let told = timeout(WORDS_TIMEOUT, words.wait_for(|words| !words.is_empty())).await;
        let told = told.map_or_else(
            |_| String::new(),
            |told| told.map(|words| words.clone()).unwrap_or_default(),
        );
        told.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, arguments: Vec<String>, tell: watch::Sender<String>) {
    // When this task ends, all connections and their ssh processes end with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                connections.spawn(carry(stream, arguments.clone(), tell.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(mut stream: UnixStream, arguments: Vec<String>, tell: watch::Sender<String>) {
    let started = Command::new("ssh")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let told = match started {
        Ok(child) => follow(&mut stream, child).await,
        Err(error) => format!("ssh cannot be started: {error}"),
    };
    if !told.is_empty() {
        tell.send_replace(told);
    }
}

/// Forwards one connection, and returns ssh's stderr.
async fn follow(stream: &mut UnixStream, mut child: Child) -> String {
    let (Some(input), Some(output), Some(mut errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return String::new();
    };
    let mut there = join(output, input);
    let mut told = Vec::new();
    let listen = async {
        let mut buffer = [0; 256];
        while let Ok(length @ 1..) = errors.read(&mut buffer).await {
            let room = WORDS_BYTES.saturating_sub(told.len()).min(length);
            told.extend_from_slice(&buffer[..room]);
        }
    };
    // If one side closes, the other sees the end of the stream.
    let (_, ()) = tokio::join!(copy_bidirectional(stream, &mut there), listen);
    String::from_utf8_lossy(&told).into_owned()
}
