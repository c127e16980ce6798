//! Progress messages while a command waits or works: a message is printed for anything that takes more than two
//! seconds.

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

/// The maximum time for which an interactive terminal stays blank.
const BLANK: Duration = Duration::from_millis(150);
/// The maximum time without a message; it doubles with each progress message.
const QUIET: Duration = Duration::from_secs(2);
/// The upper limit of the time between two messages.
const LONGEST_QUIET: Duration = Duration::from_secs(30);

/// The time until the first message, and until the second.
fn first_quiet(context: &Context) -> (Duration, Duration) {
    if context.listener.is_awaited() {
        (BLANK, QUIET)
    } else {
        (QUIET, QUIET * 2)
    }
}

/// Waits for `work`, and regularly prints which servers are being queried.
pub(crate) async fn said_what_is_asked<T>(
    context: &Context,
    activity: &Activity,
    work: impl Future<Output = T>,
) -> T {
    said_while_waiting(context, || activity.line(), work).await
}

/// Waits for `work`, and regularly prints what it is waiting for.
pub(crate) async fn said_while_waiting<T>(
    context: &Context,
    line: impl Fn() -> Option<String>,
    work: impl Future<Output = T>,
) -> T {
    tokio::pin!(work);
    let (mut quiet, mut next_quiet) = first_quiet(context);
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
        (quiet, next_quiet) = (next_quiet, (next_quiet * 2).min(LONGEST_QUIET));
    }
}

/// Runs `work` on this thread, and regularly prints what is being done.
pub(crate) fn said_while_busy<T>(
    context: &Context,
    line: impl Fn() -> String + Sync,
    work: impl FnOnce() -> T,
) -> T {
    let (done, is_done) = channel::<()>();
    let line = &line;
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut quiet, mut next_quiet) = first_quiet(context);
            while is_done.recv_timeout(quiet) == Err(RecvTimeoutError::Timeout) {
                context.notice(&line());
                (quiet, next_quiet) = (next_quiet, (next_quiet * 2).min(LONGEST_QUIET));
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Runs `read`, and regularly prints that `path` is being read.
pub(crate) fn said_while_reading<T>(context: &Context, path: &Path, read: impl FnOnce() -> T) -> T {
    said_while_busy(context, || format!("reading {}", path.display()), read)
}

/// Opens the cache for a run, and regularly prints that it is waiting: another process may be cleaning up the cache.
pub(crate) fn open_store(context: &Context, run_id: &str) -> Result<Store, FileError> {
    said_while_opening(context, || Store::open(&context.cache, run_id))
}

/// Like [`open_store`], for a cache that is opened in another way.
pub(crate) fn said_while_opening<T>(context: &Context, open: impl FnOnce() -> T) -> T {
    let cache = context.cache.display();
    let line = || format!("waiting for other processes that use the cache {cache}");
    said_while_busy(context, line, open)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::Listener;
    use super::*;
    use crate::diagnostic::Diagnostic;

    #[derive(Debug, Default)]
    struct Screen(Mutex<Vec<String>>);

    impl Listener for Screen {
        fn notice(&self, message: &str) {
            self.0.lock().unwrap().push(message.to_owned());
        }

        fn warn(&self, _: &[Diagnostic]) {}

        fn is_awaited(&self) -> bool {
            self.0.lock().unwrap().is_empty()
        }
    }

    #[test]
    fn a_wait_is_reported_sooner_while_the_screen_is_empty() {
        let context = Context {
            listener: Box::new(Screen::default()),
            ..Context::new("cache".into())
        };
        assert_eq!(first_quiet(&context), (BLANK, QUIET));
        context.notice("asking h.example.org");
        assert_eq!(first_quiet(&context), (QUIET, QUIET * 2));
    }
}
