//! Runs file work on threads that may block.

/// Runs file work on a blocking thread, so that it does not delay asynchronous tasks. The work continues to its end if
/// the future is dropped, unless the process ends first.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down and drops every task, including this one.
            Err(_) => std::future::pending().await,
        },
    }
}
