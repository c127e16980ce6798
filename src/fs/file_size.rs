//! The limit on the size of a process's files.

use tokio::signal::unix::{SignalKind, signal};

/// Makes a write beyond the limit on file sizes (`ulimit -f`) an error like that of a full disk. By default the kernel ends
/// a process that tries, without a word; once somebody listens to the signal, it does not.
pub fn outlive_file_size_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    if let Ok(runtime) = runtime {
        let _guard = runtime.enter();
        // It stays as it was where nobody can listen.
        drop(signal(SignalKind::from_raw(libc::SIGXFSZ)));
    }
}
