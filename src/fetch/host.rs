//! State shared by all requests to one server: the limit of connections, and its outage.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Semaphore;
use url::Url;

use super::{Answer, Settings};

/// The servers that were contacted, by name and port.
#[derive(Default)]
pub(super) struct Hosts(Mutex<HashMap<String, Arc<Host>>>);

impl Hosts {
    /// The server of `url`.
    pub(super) fn of(&self, url: &Url, settings: &Settings) -> Arc<Host> {
        let name = format!(
            "{}:{}",
            url.host_str().unwrap_or_default(),
            url.port_or_known_default().unwrap_or_default()
        );
        // The map is consistent after every statement, so a panic elsewhere cannot have left it half changed.
        let mut hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Host::new(settings.connections_per_host));
        Arc::clone(hosts.entry(name).or_insert_with(new))
    }

    /// Whether a server has answered anything.
    pub(super) fn is_any_reached(&self) -> bool {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let was_reached = |host: &Arc<Host>| host.was_reached.load(Ordering::Relaxed);
        hosts.values().any(was_reached)
    }

    /// Whether servers were contacted and none of them has answered: there is no network.
    pub(super) fn is_none_reached(&self) -> bool {
        let hosts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hosts = hosts.values();
        let is_silent = |host: &Arc<Host>| !host.was_reached.load(Ordering::Relaxed);
        hosts.len() > 0 && hosts.all(is_silent)
    }
}

/// One server.
pub(super) struct Host {
    /// Bounds the connections to it.
    pub(super) connections: Semaphore,
    outage: Mutex<Option<Outage>>,
    was_reached: AtomicBool,
}

/// An outage: no request has reached the server since it began.
struct Outage {
    began: Instant,
    asked: Instant,
    answer: Answer,
}

impl Host {
    fn new(connections: usize) -> Self {
        Self {
            connections: Semaphore::new(connections.max(1)),
            outage: Mutex::default(),
            was_reached: AtomicBool::new(false),
        }
    }

    /// Returns an error if the server has been down for long and was contacted less than
    /// `outage_pause` ago; otherwise each of a thousand requests would wait for all its retries.
    pub(super) fn may_ask(&self, settings: &Settings) -> Result<(), Answer> {
        match &mut *self.outage() {
            Some(outage) if outage.is_long(settings) => {
                if outage.asked.elapsed() < settings.outage_pause {
                    return Err(Answer::Away(outage.answer.to_string()));
                }
                outage.asked = Instant::now();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the server has been down for so long that a retry is not worthwhile.
    pub(super) fn is_away(&self, settings: &Settings) -> bool {
        let outage = self.outage();
        outage.as_ref().is_some_and(|one| one.is_long(settings))
    }

    /// Records that the server answered, whatever the answer.
    pub(super) fn has_answered(&self) {
        self.was_reached.store(true, Ordering::Relaxed);
        *self.outage() = None;
    }

    /// Records a failed request, if the failure says something about the server.
    pub(super) fn has_failed(&self, answer: &Answer) {
        if !matches!(answer, Answer::Connection(_) | Answer::Stalled(_)) {
            return;
        }
        let now = Instant::now();
        let mut outage = self.outage();
        let began = outage.as_ref().map_or(now, |outage| outage.began);
        *outage = Some(Outage {
            began,
            asked: now,
            answer: answer.clone(),
        });
    }

    fn outage(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outage {
    fn is_long(&self, settings: &Settings) -> bool {
        self.began.elapsed() >= settings.longest_outage
    }
}
