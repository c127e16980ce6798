//! The limit on the size of a process's files.

use tokio::signal::unix::{SignalKind, signal};

/// Makes a write beyond the file size limit (`ulimit -f`) fail with an error, as on a full disk. By default the kernel
/// kills the process silently; a handler of the signal prevents that.
pub fn outlive_file_size_limit() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    if let Ok(runtime) = runtime {
        let _guard = runtime.enter();
        // Without a handler the default behaviour stays.
        drop(signal(SignalKind::from_raw(libc::SIGXFSZ)));
    }
}
