//! The limits and waits of downloads.

use std::path::PathBuf;
use std::time::Duration;

use super::{Activity, Mirrors};

/// Settings of downloads.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The base directory of relative paths.
    pub base_folder: PathBuf,
    /// Other URLs of the same files.
    pub mirrors: Mirrors,
    /// The proxy of all requests, `http://`, `https://` or `socks5://`; `None` for the proxy of the
    /// environment.
    pub proxy: Option<String>,
    /// Whether URLs are requested again although the store has their files of an earlier run.
    pub refresh: bool,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for the next byte.
    pub stall_timeout: Duration,
    /// If fewer bytes than this arrive within `stall_timeout`, the transfer counts as stalled.
    pub stall_bytes: u64,
    /// How many times a request is retried after a transient error.
    pub retries: usize,
    /// The wait before the first retry; it doubles with each.
    pub first_delay: Duration,
    /// The longest wait before a retry.
    pub longest_delay: Duration,
    /// The longest wait that a server may ask for; if it asks for more, the download fails.
    pub longest_retry_after: Duration,
    /// How long a server may be unreachable before requests to it fail at once.
    pub longest_outage: Duration,
    /// The interval at which such a server is queried again; in between, requests to it fail at once.
    pub outage_pause: Duration,
    /// The maximum size of a file whose size is not known beforehand.
    pub limit_bytes: u64,
    /// The most connections to one host at a time.
    pub connections_per_host: usize,
    /// Registers the requests under way.
    pub activity: Activity,
}

impl Settings {
    /// The same settings for interactive use: short timeouts, one retry, and no further requests to
    /// a server that is down.
    #[must_use]
    pub fn without_patience(self) -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            retries: 1,
            longest_retry_after: Duration::from_secs(2),
            longest_outage: Duration::ZERO,
            outage_pause: Duration::from_hours(1),
            ..self
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_folder: PathBuf::from("."),
            mirrors: Mirrors::default(),
            proxy: None,
            refresh: false,
            connect_timeout: Duration::from_secs(15),
            stall_timeout: Duration::from_secs(30),
            stall_bytes: 4096,
            retries: 4,
            first_delay: Duration::from_millis(500),
            longest_delay: Duration::from_secs(30),
            longest_retry_after: Duration::from_mins(2),
            longest_outage: Duration::from_mins(5),
            outage_pause: Duration::from_secs(30),
            limit_bytes: 2 << 30,
            connections_per_host: 6,
            activity: Activity::default(),
        }
    }
}
