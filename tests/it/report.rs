//! Tests of the reporters: lines, the summary, the manifest as JSON and CSV.

mod manifest;
mod screen;

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use driverkit_matrix::driver::Artifact;
use driverkit_matrix::event::{BuildReport, Event, EventKind};
use driverkit_matrix::failure::{Failure, FailureClass, Phase, Status};
use driverkit_matrix::kernel::Architecture;
use driverkit_matrix::plan::Build;
use driverkit_matrix::report::{
    COLUMNS, Durations, JournalEnd, LiveProgress, Manifest, ManifestError, ManifestReporter,
    PlainProgress, ReportError, Reporter, Style, Summary, Terminal, earlier_manifests,
    read_journal, read_manifest, spawn, write_csv,
};
use indicatif::{ProgressDrawTarget, TermLike};
use proptest::prelude::*;
use support::events::{
    build, cached, compile_error, event, facts, finished, missing, report, small_run, there,
};

/// The text that a reporter wrote.
#[derive(Clone, Debug, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Screen {
    fn terminal(&self, style: Style) -> Terminal {
        Terminal::new(Box::new(self.clone()), style, ProgressDrawTarget::hidden())
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl Write for Screen {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn feed(reporter: &mut dyn Reporter, events: &[Event]) {
    for event in events {
        reporter.report(event).unwrap();
    }
}

fn amd64(release: &str) -> Build {
    build(release, Architecture::Amd64, "0.20.0+driver")
}

fn built(release: &str, second: u64) -> Event {
    let build = amd64(release);
    finished(
        &build,
        second,
        vec![there(&build, Artifact::Module, Status::Built)],
    )
}

fn run_started(run_id: &str, builds: usize) -> Event {
    event(
        0,
        EventKind::RunStarted(Box::new(facts(run_id, builds, builds))),
    )
}

fn run_finished(exit_code: u8) -> Event {
    event(
        60_000,
        EventKind::RunFinished {
            duration: Duration::from_mins(1),
            exit_code,
        },
    )
}

struct Failing {
    count: Arc<Mutex<usize>>,
    waits_for_disk: bool,
}

impl Reporter for Failing {
    fn waits_for_disk(&self) -> bool {
        self.waits_for_disk
    }

    fn report(&mut self, _: &Event) -> Result<(), ReportError> {
        *self.count.lock().unwrap() += 1;
        Err(ReportError::OutInUse { out: "out".into() })
    }
}

#[test]
fn a_failing_reporter_is_reported_once_and_does_not_affect_others() {
    for waits_for_disk in [false, true] {
        let screen = Screen::default();
        let count = Arc::new(Mutex::new(0));
        let told = Arc::new(Mutex::new(0));
        let (sender, receiver) = mpsc::channel();
        let reporters: Vec<Box<dyn Reporter>> = vec![
            Box::new(Failing {
                count: Arc::clone(&count),
                waits_for_disk,
            }),
            Box::new(Summary::new(
                screen.terminal(Style::default()),
                Path::new("out"),
            )),
        ];
        let counter = Arc::clone(&told);
        let thread = spawn(reporters, receiver, move |_| *counter.lock().unwrap() += 1);
        let events = small_run("one");
        let number = events.len();
        for event in events {
            sender.send(event).unwrap();
        }
        drop(sender);
        assert!(matches!(
            thread.join().unwrap(),
            Err(ReportError::OutInUse { .. })
        ));
        assert_eq!((*count.lock().unwrap(), *told.lock().unwrap()), (number, 1));
        assert!(screen.take().contains("exit 3"));
    }
}

/// A reporter whose disk is busy until the other end of the channel is closed. It sends `written` for each event.
struct Busy(mpsc::Receiver<()>, mpsc::Sender<String>);

impl Reporter for Busy {
    fn waits_for_disk(&self) -> bool {
        true
    }

    fn report(&mut self, _: &Event) -> Result<(), ReportError> {
        assert!(self.0.recv().is_err(), "nothing is sent");
        self.1.send("written".to_owned()).unwrap();
        Ok(())
    }
}

struct Forwarding(mpsc::Sender<String>);

impl Reporter for Forwarding {
    fn report(&mut self, event: &Event) -> Result<(), ReportError> {
        self.0.send(format!("{:?}", event.kind)).unwrap();
        Ok(())
    }
}

#[test]
fn display_does_not_wait_for_a_busy_disk() {
    let (disk, is_free) = mpsc::channel();
    let (shown, is_shown) = mpsc::channel();
    let (sender, receiver) = mpsc::channel();
    let reporters: Vec<Box<dyn Reporter>> = vec![
        Box::new(Busy(is_free, shown.clone())),
        Box::new(Forwarding(shown)),
    ];
    let thread = spawn(reporters, receiver, |_| {});
    sender.send(run_started("one", 1)).unwrap();
    let reason = "interrupted".to_owned();
    sender
        .send(event(1, EventKind::Stopping { reason }))
        .unwrap();
    assert!(is_shown.recv().unwrap().starts_with("RunStarted"));
    assert!(is_shown.recv().unwrap().starts_with("Stopping"));
    // The end is shown once everything is written.
    sender.send(run_finished(130)).unwrap();
    drop(disk);
    thread.join().unwrap().unwrap();
    let shown: Vec<String> = is_shown.iter().collect();
    let (last, before) = shown.split_last().unwrap();
    assert_eq!(before, ["written"; 3]);
    assert!(last.starts_with("RunFinished"));
}

/// A reporter that takes longer for an event than the time between two ticks, and notes the calls.
struct Slow(Arc<Mutex<Vec<&'static str>>>);

impl Reporter for Slow {
    fn report(&mut self, event: &Event) -> Result<(), ReportError> {
        let is_last = matches!(event.kind, EventKind::RunFinished { .. });
        let call = if is_last { "end" } else { "event" };
        self.0.lock().unwrap().push(call);
        std::thread::sleep(Duration::from_millis(150));
        Ok(())
    }

    fn tick(&mut self, _: Instant) -> Result<(), ReportError> {
        self.0.lock().unwrap().push("tick");
        Ok(())
    }
}

#[test]
fn a_slow_reporter_gets_no_tick_before_the_end_that_already_waits() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (sender, receiver) = mpsc::channel();
    let message = "a fallback".to_owned();
    sender.send(event(1, EventKind::Note { message })).unwrap();
    sender.send(run_finished(0)).unwrap();
    let reporters: Vec<Box<dyn Reporter>> = vec![Box::new(Slow(Arc::clone(&calls)))];
    spawn(reporters, receiver, |_| {}).join().unwrap().unwrap();
    // On a busy machine, the thread may begin late.
    let calls = calls.lock().unwrap();
    let calls: Vec<_> = calls.iter().skip_while(|call| **call == "tick").collect();
    assert_eq!(calls, [&"event", &"end"]);
}
