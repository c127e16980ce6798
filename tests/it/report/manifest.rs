//! Tests of the machine-readable result of a run: the manifest as JSON and CSV, and the journal behind it.

use super::*;

/// Runs a reporter over events, with `out` as the output directory.
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
fn the_order_in_which_builds_finish_does_not_change_the_manifest() {
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
fn a_manifest_survives_a_round_trip() {
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
fn unreadable_manifests_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("manifest.json");
    let read = |text: &str| {
        driverkit_matrix::fs::write(&path, text).unwrap();
        read_manifest(&path).unwrap_err()
    };
    let newer = read("{\"schema\": 3, \"builds\": \"of another shape\"}");
    assert!(matches!(newer, ManifestError::NewerSchema { found: 3, .. }));
    let text = newer.to_string();
    assert!(text.ends_with(
        "has manifest schema 3, this version reads up to 2: use a newer driverkit-matrix"
    ));
    let text = read("{\"schema\": 1,\n \"run\": 3}").to_string();
    assert!(
        text.contains("manifest.json is not a manifest: ") && text.contains("line 2"),
        "{text}"
    );
    std::fs::remove_file(&path).unwrap();
    assert!(
        matches!(read_manifest(&path), Err(ManifestError::File(error)) if error.is_not_found())
    );
}

/// Returns a copy of the files as a killed run would leave them.
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
fn a_killed_run_keeps_its_finished_builds() {
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

    // The manifest on disk lacks the last builds; the reader adds them from the journal.
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

    // The next run completes the manifest on disk first.
    let _next = ManifestReporter::create(killed.path()).unwrap();
    let on_disk: Manifest = serde_json::from_str(&text_of(killed.path(), "manifest.json")).unwrap();
    assert_eq!(ids(&on_disk), both);
    assert!(text_of(killed.path(), "manifest.csv").contains("6.1.1"));
    assert!(on_disk.run.finished.is_none() && on_disk.totals.builds_planned == 3);
    assert!(!unfinished.exists());
}

#[test]
fn a_run_without_a_final_event_is_written() {
    let out = tempfile::tempdir().unwrap();
    write_run(out.path(), &[run_started("one", 3), built("6.1.2", 0)]);
    let manifest = read_manifest(&out.path().join("manifest.json")).unwrap();
    assert_eq!((manifest.builds.len(), manifest.run.finished), (1, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Wherever a crash cuts the journal: all complete lines are read, nothing else is, and nothing fails.
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
        // The last line may be complete except for its line feed.
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
        // The first line is the header, the second the start of the run.
        match lines.saturating_sub(2) {
            0 => prop_assert!(manifest.is_err()),
            builds => prop_assert_eq!(manifest.unwrap().builds.len(), builds),
        }
    }
}

#[test]
fn journals_of_other_versions_are_ignored() {
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
fn an_earlier_manifest_is_replaced_only_by_results_and_then_kept() {
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
    let mut kept = read_manifest(&earlier[0]).unwrap();
    let mut bytes = Vec::new();
    kept.write_json(&mut bytes).unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), first);
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
        names[0], "20261123T010000.000000Z-two",
        "same second: by name"
    );
    assert_eq!(names[1], "20261123T010000.000000Z-one");
    assert_eq!(names[2], "20261123T010000.000000Z-later-10");
}

#[test]
fn two_runs_cannot_share_an_output_directory() {
    let out = tempfile::tempdir().unwrap();
    let first = ManifestReporter::create(out.path()).unwrap();
    let second = ManifestReporter::create(out.path());
    assert!(matches!(second.err(), Some(ReportError::OutInUse { .. })));
    drop(first);
    ManifestReporter::create(out.path()).unwrap();
}

#[test]
fn durations_are_kept_by_fully_cached_runs() {
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
        "the time for fetching is not counted"
    );
    assert_eq!(durations.get(&amd64("6.1.2").id()), thirteen);
    assert_eq!(durations.get(&amd64("6.1.3").id()), None);
    driverkit_matrix::fs::write(&out.path().join(".driverkit-matrix/durations.json"), "{").unwrap();
    assert_eq!(Durations::read(out.path()).get(&amd64("6.1.1").id()), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// All text of compilers and packages is read back, without characters that a terminal would interpret.
    #[test]
    fn every_field_can_be_read_back_from_csv(
        message in "[a-z,;\"'=\\r\\n\\t\\x00\\x1bä-]{0,20}",
        vermagic in any::<String>(),
    ) {
        let build = amd64("6.1.1");
        let failure = Failure::new(FailureClass::OutputInvalid, Phase::Verify, message.clone());
        let mut artifact = missing(&build, Artifact::Module, &failure);
        artifact.vermagic = Some(vermagic.clone());
        let report = BuildReport { artifacts: vec![artifact].into(), ..report(&build, 0) };
        let mut manifest = Manifest::new(&facts("one", 1, 1));
        manifest.builds.push((&report).into());
        let mut bytes = Vec::new();
        write_csv(&manifest, &mut bytes).unwrap();
        let mut reader = csv::Reader::from_reader(&*bytes);
        prop_assert_eq!(reader.headers().unwrap(), COLUMNS.as_slice());
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        // Text that a spreadsheet would read as a formula starts with a quote.
        let shown = |text: &str| match text.chars().next() {
            Some('=' | '+' | '-' | '@' | '\t' | '\r') => format!("'{text}"),
            _ => text.to_owned(),
        };
        let column = |name| COLUMNS.iter().position(|column| *column == name).unwrap();
        prop_assert_eq!(rows.len(), 1);
        prop_assert_eq!(&rows[0][column("message")], &shown(&driverkit_matrix::failure::printable(&message)));
        prop_assert_eq!(&rows[0][column("vermagic")], &shown(&vermagic));
        prop_assert_eq!(&rows[0][column("class")], "output-invalid");
    }
}

#[test]
fn docs_manifest_md_lists_every_column_and_field() {
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
        artifacts: vec![there(&build, Artifact::Module, Status::Built)].into(),
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
