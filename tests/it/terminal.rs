//! Tests of the screen after a run: the live display leaves nothing behind, whatever happens to the terminal.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;
use support::grid::{Grid, rule, wait_until};

/// A program in a terminal, and the content of the terminal.
struct Session {
    program: Child,
    keyboard: File,
    terminal: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: std::thread::JoinHandle<()>,
}

impl Session {
    /// Starts a run of the grid's matrix.
    fn begin(grid: &Grid, height: u16, width: u16) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&controller).unwrap();
        unlockpt(&controller).unwrap();
        let path = ptsname(&controller, Vec::new()).unwrap();
        let path = std::ffi::OsStr::from_bytes(path.to_bytes());
        let open = || -> Stdio {
            let terminal = OpenOptions::new().read(true).write(true).open(path);
            terminal.unwrap().into()
        };
        resize(&controller, height, width);
        // The terminal becomes the program's controlling terminal, so that Ctrl-C reaches the program.
        let program = Command::new("setsid")
            .arg("--ctty")
            .arg(support::program())
            .args(["run", "matrix.toml", "--executor", "fake", "--jobs", "4"])
            .current_dir(grid.path(""))
            .env("DRIVERKIT_MATRIX_CACHE", grid.path("cache"))
            .env("DRIVERKIT_MATRIX_FAKE", grid.path("fake.json"))
            .env("TERM", "xterm-256color")
            .env_remove("CI")
            .env_remove("NO_COLOR")
            .stdin(open())
            .stdout(open())
            .stderr(open())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            cells(height),
            cells(width),
            1_000,
        )));
        let shown = Arc::clone(&screen);
        let mut output = File::from(controller.try_clone().unwrap());
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Reading fails when no process has the terminal open any more.
            while let Ok(length @ 1..) = output.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..length]);
            }
        });
        Self {
            program,
            keyboard: File::from(controller.try_clone().unwrap()),
            terminal: controller,
            screen,
            reader,
        }
    }

    fn resize(&self, height: u16, width: u16) {
        resize(&self.terminal, height, width);
        let mut screen = self.screen.lock().unwrap();
        screen.screen_mut().set_size(cells(height), cells(width));
    }

    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    fn shown(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn wait_for(&self, text: &str) {
        wait_until(text, || self.shown().contains(text));
    }

    /// Waits for the end; returns the exit code and all text that was printed and not removed.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.program.wait().unwrap();
        self.reader.join().unwrap();
        let mut screen = self.screen.lock().unwrap();
        let (_, width) = screen.screen().size();
        screen.screen_mut().set_size(cells(1_000), width);
        (status.code(), screen.screen().contents())
    }
}

fn cells(number: u16) -> NonZero<u16> {
    NonZero::new(number).unwrap()
}

fn resize(terminal: &OwnedFd, height: u16, width: u16) {
    let size = Winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

/// Asserts that nothing is left of the display of running builds.
fn assert_nothing_is_stale(text: &str) {
    for drawn in ["[=", "[>", "[ ", "and 1 more", "  module ", "about "] {
        assert!(
            text.lines().all(|line| !line.starts_with(drawn)),
            "{drawn}: {text}"
        );
    }
}

/// Four builds whose compile behaves as `then` says.
fn grid(then: &serde_json::Value) -> Grid {
    let grid = Grid::of_four();
    grid.fake(&[rule("module*", then)]);
    grid
}

#[test]
fn resizing_a_small_terminal_leaves_no_line_of_the_live_display() {
    let grid = grid(&json!({ "delay-milliseconds": 1_500, "code": 1, "log": "broken" }));
    let session = Session::begin(&grid, 10, 100);
    session.wait_for("[");
    session.wait_for("/4 builds");
    session.resize(10, 60);
    session.wait_for("  module");
    session.resize(24, 120);
    session.wait_for("exit 1");
    let (code, text) = session.end();
    assert_eq!(code, Some(1), "{text}");
    assert_nothing_is_stale(&text);
    assert!(text.contains("4 builds, 4 artifacts in"), "{text}");
}

#[test]
fn ctrl_c_leaves_the_summary_and_no_line_of_the_live_display() {
    let grid = grid(&json!({ "hangs": true }));
    let mut session = Session::begin(&grid, 10, 100);
    session.wait_for("  module");
    session.press(b"\x03");
    let (code, text) = session.end();
    assert_eq!(code, Some(130), "{text}");
    assert_nothing_is_stale(&text);
    assert!(text.contains("exit 130"), "{text}");
}

#[test]
fn a_terminal_of_five_lines_shows_the_progress_bar() {
    let grid = grid(&json!({ "delay-milliseconds": 1_500, "code": 1 }));
    let session = Session::begin(&grid, 5, 100);
    session.wait_for("and 3 more");
    session.wait_for("/4 builds");
    let (code, text) = session.end();
    assert_eq!(code, Some(1), "{text}");
}
