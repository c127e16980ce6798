//! What is said while a command waits for servers: nothing that takes more than two seconds is silent.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Context;
use crate::fetch::{Activity, Asking};
use crate::text::count;

/// How long nothing may be said; the wait doubles with each line that says what is waited for.
const QUIET: Duration = Duration::from_secs(2);
/// The longest such wait.
const LONGEST_QUIET: Duration = Duration::from_secs(30);
/// How many requests a line names.
const NAMED: usize = 3;

/// Waits for `work`, and says now and then what is being asked of which servers.
pub(crate) async fn said_what_is_asked<T>(
    context: &Context,
    activity: &Activity,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    let mut quiet = QUIET;
    loop {
        let next = Instant::now() + quiet;
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = sleep_until(next) => {}
        }
        if let Some(line) = line(&activity.current()) {
            context.notice(&line);
        }
        quiet = (quiet * 2).min(LONGEST_QUIET);
    }
}

/// One line for all requests, those of one server once.
fn line(all: &[Asking]) -> Option<String> {
    let mut named: Vec<&Asking> = Vec::new();
    for one in all {
        if named.iter().all(|other| other.host != one.host) {
            named.push(one);
        }
    }
    let mut parts: Vec<String> = named.iter().take(NAMED).map(ToString::to_string).collect();
    let more = all.len().saturating_sub(parts.len());
    if parts.is_empty() {
        return None;
    }
    if more > 0 {
        parts.push(count(more, "other request"));
    }
    Some(parts.join("; "))
}
