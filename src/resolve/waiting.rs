//! What is said while a command waits or works: nothing that takes more than two seconds is silent.

use std::future::Future;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Context;
use crate::fetch::Activity;
use crate::fs::FileError;
use crate::store::Store;

/// How long nothing may be said; the wait doubles with each line that says what is waited for.
const QUIET: Duration = Duration::from_secs(2);
/// The longest such wait.
const LONGEST_QUIET: Duration = Duration::from_secs(30);

/// Waits for `work`, and says now and then what is being asked of which servers.
pub(crate) async fn said_what_is_asked<T>(
    context: &Context,
    activity: &Activity,
    work: impl Future<Output = T>,
) -> T {
    said_while_waiting(context, || activity.line(), work).await
}

/// Waits for `work`, and says now and then what is waited for.
pub(crate) async fn said_while_waiting<T>(
    context: &Context,
    line: impl Fn() -> Option<String>,
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
        if let Some(line) = line() {
            context.notice(&line);
        }
        quiet = (quiet * 2).min(LONGEST_QUIET);
    }
}

/// Does `work` on this thread, and says now and then what is being done.
pub(crate) fn said_while_busy<T>(
    context: &Context,
    line: impl Fn() -> String + Sync,
    work: impl FnOnce() -> T,
) -> T {
    let (done, is_done) = channel::<()>();
    let line = &line;
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut quiet = QUIET;
            while is_done.recv_timeout(quiet) == Err(RecvTimeoutError::Timeout) {
                context.notice(&line());
                quiet = (quiet * 2).min(LONGEST_QUIET);
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Reads what is at `path`, and says now and then that it does.
pub(crate) fn said_while_reading<T>(context: &Context, path: &Path, read: impl FnOnce() -> T) -> T {
    said_while_busy(context, || format!("reading {}", path.display()), read)
}

/// Opens the cache for a run, and says now and then what it waits for: another process may be cleaning it up.
pub(crate) fn open_store(context: &Context, run_id: &str) -> Result<Store, FileError> {
    said_while_opening(context, || Store::open(&context.cache, run_id))
}

/// The same for one that is opened in another way.
pub(crate) fn said_while_opening<T>(context: &Context, open: impl FnOnce() -> T) -> T {
    let cache = context.cache.display();
    let line = || format!("waiting for other processes that use the cache {cache}");
    said_while_busy(context, line, open)
}
