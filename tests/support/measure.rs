//! Measures commands.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How often the memory of a running command is read.
const MEMORY_INTERVAL: Duration = Duration::from_millis(2);

/// The measurements of one run of a command.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// The time from start to end.
    pub wall: Duration,
    /// The highest resident memory that was read, in MiB.
    pub peak_mebibytes: u64,
}

/// Runs a command and discards its output; a command that fails ends the benchmark.
pub fn measure(command: &mut Command) -> Measured {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a program that starts");
    let status = format!("/proc/{}/status", child.id());
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        let mut peak_kibibytes = 0;
        while receiver.recv_timeout(MEMORY_INTERVAL).is_err() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let high_water = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let number = high_water.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse().ok());
            peak_kibibytes = number.unwrap_or(peak_kibibytes);
        }
        peak_kibibytes / 1024
    });
    let exit = child.wait().expect("a program that ends");
    let wall = start.elapsed();
    sender.send(()).expect("a watcher that listens");
    let peak_mebibytes = watcher.join().expect("a watcher that ends");
    assert!(exit.success(), "{command:?} failed: {exit}");
    Measured {
        wall,
        peak_mebibytes,
    }
}
