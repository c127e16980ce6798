//! What reporters make of events: lines, the summary, the manifest as JSON and CSV.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use common::events::{
    build, cached, compile_error, event, facts, finished, missing, report, small_run, there,
};
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

/// What was written.
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
    event(0, EventKind::RunStarted(facts(run_id, builds, builds)))
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

// Lines.

#[test]
fn plain_lines_of_a_small_run() {
    let screen = Screen::default();
    let mut progress = PlainProgress::new(screen.terminal(Style::default()), false);
    feed(&mut progress, &small_run("one"));
    insta::assert_snapshot!(screen.take());
}

#[test]
fn a_thousand_cached_builds_are_one_line_unless_verbose() {
    let mut events = vec![run_started("one", 1000)];
    events.extend((0..1000).map(|number| cached(&amd64(&format!("6.1.{number}")), 0)));
    events.push(run_finished(0));
    let screen = Screen::default();
    let mut progress = PlainProgress::new(screen.terminal(Style::default()), false);
    feed(&mut progress, &events);
    let text = screen.take();
    assert_eq!(
        text.lines().skip(1).collect::<Vec<_>>(),
        ["[1000/1000] 1,000 cached"]
    );

    let mut verbose = PlainProgress::new(screen.terminal(Style::default()), true);
    feed(&mut verbose, &events);
    assert_eq!(screen.take().lines().count(), 1001);
}

#[test]
fn cached_builds_are_told_while_others_go_on() {
    let screen = Screen::default();
    let mut progress = PlainProgress::new(screen.terminal(Style::default()), false);
    let now = Instant::now();
    feed(
        &mut progress,
        &[run_started("one", 5), cached(&amd64("6.1.1"), 0)],
    );
    screen.take();
    progress.tick(now + Duration::from_secs(5)).unwrap();
    assert_eq!(screen.take(), "");
    progress.tick(now + Duration::from_secs(11)).unwrap();
    assert_eq!(screen.take(), "[1/5] 1 cached\n");
    progress.tick(now + Duration::from_secs(22)).unwrap();
    assert_eq!(screen.take(), "");
}

#[test]
fn a_long_silence_is_broken_only_while_builds_are_running() {
    let screen = Screen::default();
    let mut progress = PlainProgress::new(screen.terminal(Style::default()), false);
    let build = amd64("6.1.0-56-amd64").id();
    feed(&mut progress, &[run_started("one", 3), built("6.1.1", 0)]);
    screen.take();
    let now = Instant::now();
    progress.tick(now + Duration::from_secs(35)).unwrap();
    assert_eq!(screen.take(), "", "nothing is running");
    let phase = Phase::Module;
    feed(
        &mut progress,
        &[
            event(
                0,
                EventKind::BuildStarted {
                    build: build.clone(),
                },
            ),
            event(0, EventKind::PhaseStarted { build, phase }),
        ],
    );
    progress.tick(now + Duration::from_secs(20)).unwrap();
    assert_eq!(screen.take(), "");
    progress.tick(now + Duration::from_secs(95)).unwrap();
    assert_eq!(
        screen.take(),
        "[1/3] 1 running, longest 1m 35s: 0.20.0+driver/x86_64/debian_6.1.0-56-amd64_1 (module), about 14.2s left\n"
    );
    progress.tick(now + Duration::from_mins(2)).unwrap();
    assert_eq!(screen.take(), "", "thirty seconds have not passed again");
}

#[test]
fn foreign_text_cannot_steer_the_terminal() {
    let screen = Screen::default();
    let evil = "\u{1b}[2Jgone\r\nfake line";
    let mut failure = compile_error();
    failure.first_error.as_mut().unwrap().message = evil.to_owned();
    let plain = Failure::new(FailureClass::Image, Phase::Toolchain, evil);
    let first = amd64("6.1.1");
    let second = amd64("6.1.2");
    let events = [
        run_started("one", 2),
        event(
            0,
            EventKind::Note {
                message: evil.to_owned(),
            },
        ),
        finished(&first, 0, vec![missing(&first, Artifact::Module, &failure)]),
        finished(&second, 0, vec![missing(&second, Artifact::Module, &plain)]),
        event(
            0,
            EventKind::Retrying {
                build: first.id(),
                failure: plain,
                attempt: 1,
                wait: Duration::ZERO,
            },
        ),
        event(
            0,
            EventKind::Stopping {
                reason: evil.to_owned(),
            },
        ),
        run_finished(1),
    ];
    feed(
        &mut PlainProgress::new(screen.terminal(Style::default()), false),
        &events,
    );
    feed(
        &mut Summary::new(screen.terminal(Style::default()), Path::new("out")),
        &events,
    );
    let text = screen.take();
    assert!(
        text.contains("fake line") && !text.contains(['\u{1b}', '\r']),
        "{text}"
    );
    assert!(!text.lines().any(|line| line.starts_with("fake")), "{text}");
}

#[test]
fn colours_add_nothing_to_the_words() {
    let text = |has_colour| {
        let screen = Screen::default();
        let terminal = screen.terminal(Style {
            is_live: false,
            has_colour,
        });
        feed(
            &mut PlainProgress::new(terminal.clone(), false),
            &small_run("one"),
        );
        feed(
            &mut Summary::new(terminal, Path::new("out")),
            &small_run("one"),
        );
        screen.take()
    };
    let coloured = text(true);
    assert!(coloured.contains("\u{1b}[31m"));
    let codes = regex::Regex::new("\u{1b}\\[[0-9]+m").unwrap();
    assert_eq!(codes.replace_all(&coloured, ""), text(false));
}

// The live display.

impl TermLike for Screen {
    fn width(&self) -> u16 {
        100
    }
    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(&format!("{text}\n"))
    }
    fn write_str(&self, text: &str) -> io::Result<()> {
        self.clone().write_all(text.as_bytes())
    }
    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_live_display_shows_running_builds_and_prints_failures_above() {
    let lines = Screen::default();
    let drawing = Screen::default();
    let target = ProgressDrawTarget::term_like(Box::new(drawing.clone()));
    let style = Style {
        is_live: true,
        has_colour: false,
    };
    let terminal = Terminal::new(Box::new(lines.clone()), style, target);
    let mut progress = LiveProgress::new(terminal, false);
    let running = amd64("6.1.0-56-amd64").id();
    let broken = amd64("6.1.2");
    feed(
        &mut progress,
        &[
            run_started("one", 4),
            event(
                0,
                EventKind::BuildStarted {
                    build: running.clone(),
                },
            ),
            event(
                0,
                EventKind::PhaseStarted {
                    build: running.clone(),
                    phase: Phase::Module,
                },
            ),
            built("6.1.1", 0),
            finished(
                &broken,
                0,
                vec![missing(&broken, Artifact::Module, &compile_error())],
            ),
            cached(&amd64("6.1.3"), 0),
        ],
    );
    let printed = lines.take();
    assert_eq!(printed.lines().count(), 2, "{printed}");
    assert!(printed.contains("failed  module 14.2s 0.20.0+driver/x86_64/debian_6.1.2_1: compile: ppm_fillers.c:1234: implicit"));
    drawing.take();
    progress
        .tick(Instant::now() + Duration::from_secs(83))
        .unwrap();
    let drawn = drawing.take();
    assert!(
        drawn.contains("module     1m 23s  0.20.0+driver/x86_64/debian_6.1.0-56-amd64_1"),
        "{drawn}"
    );
    assert!(
        drawn.contains("3/4 built 1, cached 1, failed 1  about 7.1s left"),
        "{drawn}"
    );
    // At the end nothing of it stays.
    feed(
        &mut progress,
        &[built("6.1.0-56-amd64", 0), run_finished(1)],
    );
    drawing.take();
    progress
        .tick(Instant::now() + Duration::from_secs(100))
        .unwrap();
    progress.finish().unwrap();
    assert_eq!(drawing.take().trim(), "");
}

// The summary.

#[test]
fn summary_of_a_small_run() {
    let screen = Screen::default();
    let mut summary = Summary::new(screen.terminal(Style::default()), Path::new("out"));
    feed(&mut summary, &small_run("one"));
    insta::assert_snapshot!(screen.take());
}

#[test]
fn failures_of_one_cause_are_one_group() {
    let screen = Screen::default();
    let mut summary = Summary::new(screen.terminal(Style::default()), Path::new("out"));
    let mut events = vec![run_started("one", 60)];
    for number in 0..50 {
        let build = amd64(&format!("6.1.{number}-amd64"));
        let message =
            format!("http://mirror.example/linux-headers-6.1.{number}-amd64.deb answered 404");
        let failure = Failure::new(FailureClass::HeadersNotFound, Phase::Fetch, message);
        events.push(finished(
            &build,
            0,
            vec![missing(&build, Artifact::Module, &failure)],
        ));
    }
    for number in 50..60 {
        let build = amd64(&format!("6.1.{number}-amd64"));
        let mut failure = compile_error();
        failure.first_error.as_mut().unwrap().line = number;
        events.push(finished(
            &build,
            0,
            vec![missing(&build, Artifact::Module, &failure)],
        ));
    }
    events.push(run_finished(1));
    feed(&mut summary, &events);
    let text = screen.take();
    let groups: Vec<_> = text.lines().filter(|line| line.contains(" x ")).collect();
    assert_eq!(groups.len(), 2, "{text}");
    assert!(
        groups[0].starts_with("  50 x headers-not-found: "),
        "{text}"
    );
    assert!(
        groups[1].starts_with("  10 x compile: ppm_fillers.c:50: "),
        "{text}"
    );
}

// The manifest.

/// Runs a reporter over events in a folder of its own; returns the folder.
fn write_run(out: &Path, events: &[Event]) {
    let mut reporter = ManifestReporter::create(out).unwrap();
    feed(&mut reporter, events);
    reporter.finish().unwrap();
}

fn text_of(out: &Path, name: &str) -> String {
    String::from_utf8(driverkit_matrix::fs::read(&out.join(name)).unwrap()).unwrap()
}

fn ids(manifest: &Manifest) -> Vec<&str> {
    manifest
        .builds
        .iter()
        .map(|build| build.build_id.as_str())
        .collect()
}

#[test]
fn manifest_of_a_small_run() {
    let out = tempfile::tempdir().unwrap();
    write_run(out.path(), &small_run("one"));
    insta::assert_snapshot!("manifest.json", text_of(out.path(), "manifest.json"));
    insta::assert_snapshot!(
        "manifest.csv",
        text_of(out.path(), "manifest.csv").replace("\r\n", "\n")
    );
    assert!(
        text_of(out.path(), "manifest.csv")
            .lines()
            .all(|line| !line.is_empty())
    );
    assert!(text_of(out.path(), "manifest.csv").ends_with("\r\n"));
    let value: serde_json::Value =
        serde_json::from_str(&text_of(out.path(), "manifest.json")).unwrap();
    assert_eq!(value["schema"], 1);
    assert_eq!(value["builds"].as_array().unwrap().len(), 7);
}

#[test]
fn the_order_in_which_builds_end_changes_nothing() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let events = small_run("one");
    write_run(first.path(), &events);
    let mut other = events;
    let finished: Vec<usize> = (0..other.len())
        .filter(|&index| matches!(other[index].kind, EventKind::BuildFinished(_)))
        .collect();
    for pair in finished.chunks_exact(2) {
        other.swap(pair[0], pair[1]);
    }
    write_run(second.path(), &other);
    for name in ["manifest.json", "manifest.csv"] {
        assert_eq!(text_of(first.path(), name), text_of(second.path(), name));
    }
}

#[test]
fn a_manifest_reads_back_as_it_was_written() {
    let out = tempfile::tempdir().unwrap();
    write_run(out.path(), &small_run("one"));
    let mut manifest = read_manifest(&out.path().join("manifest.json")).unwrap();
    let mut bytes = Vec::new();
    manifest.write_json(&mut bytes).unwrap();
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        text_of(out.path(), "manifest.json")
    );
    assert_eq!(manifest.totals.artifacts_missing(), 5);
    assert_eq!(manifest.exit.unwrap().code, 130);
}

#[test]
fn manifests_of_version_1_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/manifest-v1.json");
    let manifest = read_manifest(&path).unwrap();
    assert_eq!(manifest.run.id, "one");
    assert_eq!(manifest.totals.builds_finished, 7);
    let failed = manifest
        .builds
        .iter()
        .find(|build| build.status == Status::Failed)
        .unwrap();
    assert_eq!(failed.artifacts[0].failure, Some(compile_error()));
    assert_eq!(failed.phase_seconds[&Phase::Module].to_string(), "13");
}

#[test]
fn unreadable_manifests_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.json");
    let read = |text: &str| {
        driverkit_matrix::fs::write(&path, text).unwrap();
        read_manifest(&path).unwrap_err()
    };
    let newer = read("{\"schema\": 2, \"builds\": \"of another shape\"}");
    assert!(matches!(newer, ManifestError::NewerSchema { found: 2, .. }));
    let text = newer.to_string();
    assert!(text.ends_with(
        "has manifest schema 2, this version reads up to 1: use a newer driverkit-matrix"
    ));
    let text = read("{\"schema\": 1,\n \"run\": 3}").to_string();
    assert!(
        text.contains("manifest.json is no manifest: ") && text.contains("line 2"),
        "{text}"
    );
    std::fs::remove_file(&path).unwrap();
    assert!(
        matches!(read_manifest(&path), Err(ManifestError::File(error)) if error.is_not_found())
    );
}

/// What the disk holds at this moment, as a killed run leaves it.
fn copy_of(out: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in walk(out) {
        let to = copy.path().join(entry.strip_prefix(out).unwrap());
        driverkit_matrix::fs::write(&to, std::fs::read(&entry).unwrap()).unwrap();
    }
    copy
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = walkdir::WalkDir::new(folder)
        .into_iter()
        .map(Result::unwrap);
    entries
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect()
}

#[test]
fn a_killed_run_leaves_what_has_finished() {
    let out = tempfile::tempdir().unwrap();
    let mut reporter = ManifestReporter::create(out.path()).unwrap();
    feed(&mut reporter, &[run_started("one", 3), built("6.1.2", 0)]);
    reporter
        .tick(Instant::now() + Duration::from_secs(2))
        .unwrap();
    feed(&mut reporter, &[built("6.1.1", 1)]);
    reporter.tick(Instant::now()).unwrap();
    let killed = copy_of(out.path());
    let unfinished = killed.path().join("0.20.0+driver/x86_64/.dkm-tmp-abc");
    driverkit_matrix::fs::write(&unfinished, "half").unwrap();

    // The file itself is a few builds behind; the reader completes it from the journal.
    let text = text_of(killed.path(), "manifest.json");
    let on_disk: Manifest = serde_json::from_str(&text).unwrap();
    assert_eq!(ids(&on_disk), ["0.20.0+driver/x86_64/debian_6.1.2_1"]);
    assert!(text.contains("\"finished\": null") && text.contains("\"exit\": null"));
    let both = [
        "0.20.0+driver/x86_64/debian_6.1.1_1",
        "0.20.0+driver/x86_64/debian_6.1.2_1",
    ];
    let path = killed.path().join("manifest.json");
    assert_eq!(ids(&read_manifest(&path).unwrap()), both);

    // The next run brings the file up to date before it does anything else.
    let _next = ManifestReporter::create(killed.path()).unwrap();
    let on_disk: Manifest = serde_json::from_str(&text_of(killed.path(), "manifest.json")).unwrap();
    assert_eq!(ids(&on_disk), both);
    assert!(text_of(killed.path(), "manifest.csv").contains("6.1.1"));
    assert!(on_disk.run.finished.is_none() && on_disk.totals.builds_planned == 3);
    assert!(!unfinished.exists());
}

#[test]
fn a_run_whose_end_never_came_is_written_all_the_same() {
    let out = tempfile::tempdir().unwrap();
    write_run(out.path(), &[run_started("one", 3), built("6.1.2", 0)]);
    let manifest = read_manifest(&out.path().join("manifest.json")).unwrap();
    assert_eq!((manifest.builds.len(), manifest.run.finished), (1, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Wherever a crash cuts the journal: every whole line counts, nothing else does, and nothing fails.
    #[test]
    fn a_torn_journal_keeps_its_whole_lines(cut in 0.0_f64..=1.0, garbage in any::<bool>()) {
        let out = tempfile::tempdir().unwrap();
        let mut reporter = ManifestReporter::create(out.path()).unwrap();
        let mut events = vec![run_started("one", 9)];
        events.extend((0..4).map(|number| built(&format!("6.1.{number}"), number)));
        feed(&mut reporter, &events);
        reporter.tick(Instant::now()).unwrap();
        let killed = copy_of(out.path());
        let path = killed.path().join(".driverkit-matrix/journal.jsonl");
        let mut bytes = std::fs::read(&path).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a position in a small file")]
        bytes.truncate((bytes.len() as f64 * cut) as usize);
        let whole = bytes.split(|&byte| byte == b'\n').count() - 1;
        let is_whole = bytes.ends_with(b"\n");
        // The last line may be complete but for its line end.
        let is_complete = !is_whole && serde_json::from_slice::<serde_json::Value>(
            bytes.rsplit(|&byte| byte == b'\n').next().unwrap()).is_ok();
        let lines = whole + usize::from(is_complete && !garbage);
        if garbage {
            bytes.extend([0; 100]);
        }
        driverkit_matrix::fs::write(&path, &bytes).unwrap();
        let mut read = 0;
        if let Ok(end) = read_journal(&path, |_| read += 1) {
            prop_assert_eq!(read, lines - 1);
            let is_torn = garbage || !(is_whole || is_complete);
            prop_assert_eq!(matches!(end, JournalEnd::Torn { line } if line == lines + 1), is_torn);
        } else {
            prop_assert_eq!(lines, 0);
        }
        drop(ManifestReporter::create(killed.path()).unwrap());
        let manifest = read_manifest(&killed.path().join("manifest.json"));
        // One line is the header, one the start of the run.
        match lines.saturating_sub(2) {
            0 => prop_assert!(manifest.is_err()),
            builds => prop_assert_eq!(manifest.unwrap().builds.len(), builds),
        }
    }
}

#[test]
fn journals_of_other_versions_are_put_aside() {
    for text in ["{\"journal_schema\": 2}\n{}\n", "something else\n", ""] {
        let out = tempfile::tempdir().unwrap();
        let path = out.path().join(".driverkit-matrix/journal.jsonl");
        driverkit_matrix::fs::write(&path, text).unwrap();
        write_run(out.path(), &small_run("one"));
        assert_eq!(
            read_manifest(&out.path().join("manifest.json"))
                .unwrap()
                .builds
                .len(),
            7
        );
    }
}

#[test]
fn an_earlier_manifest_stays_until_there_is_something_new_and_is_kept_then() {
    let out = tempfile::tempdir().unwrap();
    let path = out.path().join("manifest.json");
    write_run(out.path(), &small_run("one"));
    let first = text_of(out.path(), "manifest.json");

    let mut second = ManifestReporter::create(out.path()).unwrap();
    feed(&mut second, &[run_started("two", 1)]);
    second
        .tick(Instant::now() + Duration::from_mins(1))
        .unwrap();
    assert_eq!(text_of(out.path(), "manifest.json"), first);
    feed(&mut second, &[built("6.1.1", 0)]);
    second
        .tick(Instant::now() + Duration::from_mins(1))
        .unwrap();
    assert_eq!(read_manifest(&path).unwrap().run.id, "two");
    feed(&mut second, &[run_finished(0)]);
    second.finish().unwrap();
    drop(second);

    let earlier = earlier_manifests(out.path()).unwrap();
    assert_eq!(earlier.len(), 1);
    assert_eq!(std::fs::read_to_string(&earlier[0]).unwrap(), first);
    for number in 0..12 {
        write_run(
            out.path(),
            &[
                run_started(&format!("later-{number:02}"), 1),
                built("6.1.1", 0),
                run_finished(0),
            ],
        );
    }
    let earlier = earlier_manifests(out.path()).unwrap();
    let names: Vec<_> = earlier
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(names.len(), 8, "{names:?}");
    assert_eq!(
        names[0], "20261123T010000Z-two.json",
        "same second: by name"
    );
    assert_eq!(names[1], "20261123T010000Z-one.json");
    assert_eq!(names[2], "20261123T010000Z-later-10.json");
}

#[test]
fn two_runs_cannot_have_one_output_folder() {
    let out = tempfile::tempdir().unwrap();
    let first = ManifestReporter::create(out.path()).unwrap();
    let second = ManifestReporter::create(out.path());
    assert!(matches!(second.err(), Some(ReportError::OutInUse { .. })));
    drop(first);
    ManifestReporter::create(out.path()).unwrap();
}

#[test]
fn durations_outlive_runs_that_find_everything_cached() {
    let out = tempfile::tempdir().unwrap();
    write_run(
        out.path(),
        &[run_started("one", 2), built("6.1.1", 0), run_finished(0)],
    );
    write_run(
        out.path(),
        &[
            run_started("two", 2),
            cached(&amd64("6.1.1"), 0),
            built("6.1.2", 0),
            run_finished(0),
        ],
    );
    let durations = Durations::read(out.path());
    let thirteen = Some(Duration::from_secs(13));
    assert_eq!(
        durations.get(&amd64("6.1.1").id()),
        thirteen,
        "fetching is not counted"
    );
    assert_eq!(durations.get(&amd64("6.1.2").id()), thirteen);
    assert_eq!(durations.get(&amd64("6.1.3").id()), None);
    driverkit_matrix::fs::write(&out.path().join(".driverkit-matrix/durations.json"), "{").unwrap();
    assert_eq!(Durations::read(out.path()).get(&amd64("6.1.1").id()), None);
}

// CSV.

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever compilers and packages say comes back as it was.
    #[test]
    fn csv_gives_back_every_field(
        message in "[a-z,;\"'=\\r\\n\\t\\x00\\x1bä-]{0,20}",
        vermagic in any::<String>(),
    ) {
        let build = amd64("6.1.1");
        let failure = Failure::new(FailureClass::OutputInvalid, Phase::Verify, message.clone());
        let mut artifact = missing(&build, Artifact::Module, &failure);
        artifact.vermagic = Some(vermagic.clone());
        let report = BuildReport { artifacts: vec![artifact], ..report(&build, 0) };
        let mut manifest = Manifest::new(&facts("one", 1, 1));
        manifest.builds.push((&report).into());
        let mut bytes = Vec::new();
        write_csv(&manifest, &mut bytes).unwrap();
        let mut reader = csv::Reader::from_reader(&*bytes);
        prop_assert_eq!(reader.headers().unwrap(), COLUMNS.as_slice());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        let column = |name| COLUMNS.iter().position(|column| *column == name).unwrap();
        prop_assert_eq!(rows.len(), 1);
        prop_assert_eq!(&rows[0][column("message")], &message);
        prop_assert_eq!(&rows[0][column("vermagic")], &vermagic);
        prop_assert_eq!(&rows[0][column("class")], "output-invalid");
    }
}

#[test]
fn the_documentation_lists_every_column_and_field() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/manifest.md");
    let text = driverkit_matrix::fs::read_to_string(&path).unwrap();
    let section = |title: &str| {
        let start = text.find(title).unwrap();
        text[start + 1..].split("\n## ").next().unwrap().to_owned()
    };
    let names = |section: &str| -> Vec<String> {
        let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| row.split('`').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&section("\n## Columns of manifest.csv")), COLUMNS);
    let build = amd64("6.1.1");
    let report = BuildReport {
        artifacts: vec![there(&build, Artifact::Module, Status::Built)],
        ..report(&build, 0)
    };
    let mut manifest = Manifest::new(&facts("one", 1, 1));
    manifest.builds.push((&report).into());
    let mut bytes = Vec::new();
    manifest.write_json(&mut bytes).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let documented = names(&section("\n## Fields of manifest.json"));
    let mut found = Vec::new();
    let keys = |value: &serde_json::Value| {
        value
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    for key in keys(&value) {
        match key.as_str() {
            "run" | "totals" => found.extend(
                keys(&value[&key])
                    .into_iter()
                    .map(|inner| format!("{key}.{inner}")),
            ),
            _ => found.push(key),
        }
    }
    found.extend(
        keys(&value["builds"][0])
            .into_iter()
            .map(|key| format!("builds[].{key}")),
    );
    found.extend(
        keys(&value["builds"][0]["artifacts"][0])
            .into_iter()
            .map(|key| format!("builds[].artifacts[].{key}")),
    );
    for name in &found {
        assert!(documented.contains(name), "{name} is not documented");
    }
    assert_eq!(documented.len(), found.len(), "{documented:?}");
}

// The fan-out.

struct Failing(Arc<Mutex<usize>>);

impl Reporter for Failing {
    fn report(&mut self, _: &Event) -> Result<(), ReportError> {
        *self.0.lock().unwrap() += 1;
        Err(ReportError::OutInUse { out: "out".into() })
    }
}

#[test]
fn a_failing_reporter_is_told_once_and_harms_no_other() {
    let screen = Screen::default();
    let count = Arc::new(Mutex::new(0));
    let told = Arc::new(Mutex::new(0));
    let (sender, receiver) = mpsc::channel();
    let reporters: Vec<Box<dyn Reporter>> = vec![
        Box::new(Failing(Arc::clone(&count))),
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
    assert!(screen.take().contains("exit 130"));
}
