//! File work beside asynchronous work.

/// Does file work on a thread that may wait, so that nothing else of the run is held up. Work that nobody waits for any
/// more goes on to its end, or dies with the process.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down and drops every task, this one included.
            Err(_) => std::future::pending().await,
        },
    }
}
