//! Tests of the output of a run: lines, the live display, the summary.

use super::*;

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
        ["[1,000/1,000] 1,000 cached"]
    );

    let mut verbose = PlainProgress::new(screen.terminal(Style::default()), true);
    feed(&mut verbose, &events);
    assert_eq!(screen.take().lines().count(), 1001);
}

#[test]
fn cached_builds_are_reported_while_others_run() {
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
fn long_builds_are_reported_during_silence() {
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
            event(
                0,
                EventKind::PhaseStarted {
                    build,
                    phase,
                    live_log: Some("live".into()),
                },
            ),
        ],
    );
    progress.tick(now + Duration::from_secs(1)).unwrap();
    assert_eq!(screen.take(), "");
    progress.tick(now + Duration::from_secs(95)).unwrap();
    assert_eq!(
        screen.take(),
        "[1/3] 1 running, longest 1m 35s: 0.20.0+driver/x86_64/debian_6.1.0-56-amd64_1 (module), about 14.2s left\n"
    );
    progress.tick(now + Duration::from_secs(98)).unwrap();
    assert_eq!(screen.take(), "", "the wait doubles");
}

#[test]
fn control_characters_never_reach_the_terminal() {
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
                failure: Box::new(plain),
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
fn colours_do_not_change_the_text() {
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
                    live_log: Some("live".into()),
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
        drawn.contains("3/4 builds artifacts: built 1, cached 1, failed 1  about 7.1s left"),
        "{drawn}"
    );
    // At the end, the live display is removed completely.
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

#[test]
fn a_waiting_build_is_distinguished_from_a_running_one() {
    let screen = Screen::default();
    let mut progress = PlainProgress::new(screen.terminal(Style::default()), false);
    let now = Instant::now();
    let mut events = vec![run_started("one", 3)];
    for (release, live_log) in [("6.1.1", Some("live".into())), ("6.1.2", None)] {
        let build = amd64(release).id();
        events.push(event(
            0,
            EventKind::BuildStarted {
                build: build.clone(),
            },
        ));
        let phase = Phase::Module;
        events.push(event(
            0,
            EventKind::PhaseStarted {
                build,
                phase,
                live_log,
            },
        ));
    }
    feed(&mut progress, &events);
    screen.take();
    progress.tick(now + Duration::from_secs(95)).unwrap();
    let line = screen.take();
    assert!(
        line.contains("2 running, 1 of them waiting, longest 1m 3"),
        "{line}"
    );
}

#[test]
fn equal_failures_are_shown_three_times_and_then_counted() {
    let screen = Screen::default();
    let mut progress = PlainProgress::new(screen.terminal(Style::default()), false);
    let mut events = vec![run_started("one", 50)];
    for number in 0..50 {
        let build = amd64(&format!("6.1.{number}"));
        events.push(finished(
            &build,
            0,
            vec![missing(&build, Artifact::Module, &compile_error())],
        ));
    }
    events.push(run_finished(1));
    feed(&mut progress, &events);
    let text = screen.take();
    assert_eq!(text.matches("failed  module").count(), 3, "{text}");
    assert!(text.contains("47 more lines like those above"), "{text}");
}

#[test]
fn summary_of_a_small_run() {
    let screen = Screen::default();
    let mut summary = Summary::new(screen.terminal(Style::default()), Path::new("out"));
    feed(&mut summary, &small_run("one"));
    insta::assert_snapshot!(screen.take());
}

#[test]
fn failures_with_one_cause_are_one_group() {
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
