//! Tests of the audit of a destination, its repair, and of `prune`.

use super::*;

#[test]
fn audit_finds_every_kind_of_defect_and_repair_fixes_what_it_can() {
    let space = published();
    let said = space.run(&["publish", "--audit", "to"]);
    assert!(
        said.starts_with("exit 0\n") && said.contains("3 artifacts match the index"),
        "{said}"
    );
    // A mistyped URL is an error, not a destination without defects.
    std::fs::create_dir(space.path().join("too")).unwrap();
    let said = space.run(&["publish", "--audit", "too"]);
    assert!(said.starts_with("exit 2\n"), "{said}");
    assert!(said.contains("nothing is published at"), "{said}");
    let keys: Vec<String> = MODULES
        .iter()
        .map(|module| key(module.0, module.1))
        .collect();
    std::fs::remove_file(space.path().join("to").join(&keys[0])).unwrap();
    space.put(&format!("to/{}", keys[1]), "2wo");
    space.put("to/0.23.2/x86_64/falco_debian_nobody_1.ko", "foreign");
    space.put("to/.logs/0.23.2/x86_64/gone.ko.log.zst", "log");
    space.put("to/SHA256SUMS", "");
    let more = [
        MODULES[0],
        MODULES[1],
        MODULES[2],
        ("6.1.0-9-amd64", NEW, "nine"),
    ];
    write_out(&space.path().join("out"), "run-2", 1, &more);
    let said = space.run(&["publish", "--audit", "out", "to"]);
    assert!(said.starts_with("exit 1\n"), "{said}");
    for words in [
        format!("missing       {}", keys[0]),
        format!("different     {}", keys[1]),
        "different     SHA256SUMS".to_owned(),
        format!("unpublished   {}", key("6.1.0-9-amd64", NEW)),
        "foreign       0.23.2/x86_64/falco_debian_nobody_1.ko".to_owned(),
        "orphaned-log  .logs/0.23.2/x86_64/gone.ko.log.zst".to_owned(),
    ] {
        assert!(said.contains(&words), "{words}: {said}");
    }
    let said = space.run(&["publish", "--audit", "--repair", "out", "to"]);
    assert!(said.starts_with("exit 1\n"), "{said}");
    assert_eq!(said.matches("\nforeign").count(), 1, "{said}");
    assert!(
        said.contains("4 artifacts match the index, 1 finding"),
        "{said}"
    );
    assert_eq!(space.get(&format!("to/{}", keys[1])), "two");
    // An artifact that no output directory has is removed from the index.
    std::fs::remove_file(space.path().join("to").join(&keys[2])).unwrap();
    space.run(&["publish", "--audit", "--repair", "to"]);
    let index = Index::parse(space.get("to/index.json").as_bytes()).unwrap();
    assert!(!index.artifacts.contains_key(&keys[2]));
}

#[test]
fn prune_needs_confirmation_refuses_too_much_and_can_be_undone() {
    let space = published();
    let old = key(MODULES[0].0, OLD);
    let said = space.run(&["prune", "to"]);
    assert!(
        said.starts_with("exit 2\n") && said.contains("no rule"),
        "{said}"
    );
    let said = space.run(&["prune", "to", "--newest-drivers", "1"]);
    assert!(said.starts_with("exit 0\n"), "{said}");
    assert!(
        said.contains(&format!(
            "remove  {old}: driver 0.20.0+driver is not supported"
        )),
        "{said}"
    );
    assert!(said.contains("nothing was removed"), "{said}");
    let said = space.run(&["prune", "to", "--newest-drivers", "1", "--yes"]);
    assert!(
        said.starts_with("exit 2\n") && said.contains("more than 20 %"),
        "{said}"
    );
    assert_eq!(space.get(&format!("to/{old}")), "one");
    let said = space.run(&["prune", "to", "--keep-driver", NEW, "--yes", "--yes-really"]);
    assert!(
        said.starts_with("exit 0\n") && said.contains("removed 2 artifacts"),
        "{said}"
    );
    assert!(!space.path().join("to").join(&old).exists());
    assert!(!space.path().join("to/site/0.20.0+driver.json").exists());
    assert!(
        space
            .run(&["publish", "--audit", "to"])
            .starts_with("exit 0\n")
    );
    let id = said.split("--undo ").nth(1).unwrap();
    let id = id.split('`').next().unwrap();
    let said = space.run(&["prune", "to", "--undo", id]);
    assert!(said.contains("restored 2 artifacts"), "{said}");
    assert_eq!(space.get(&format!("to/{old}")), "one");
    assert!(
        space
            .run(&["publish", "--audit", "to"])
            .starts_with("exit 0\n")
    );
    let said = space.run(&["prune", "to", "--undo", id]);
    assert!(said.starts_with("exit 2\n"), "{said}");
}

#[test]
fn prune_keeps_the_newest_run_and_what_loaders_requested() {
    let space = published();
    write_out(
        &space.path().join("out"),
        "run-2",
        40,
        &[MODULES[0], MODULES[2]],
    );
    space.run(&["publish", "to"]);
    let gone = key(MODULES[1].0, OLD);
    let said = space.run(&["prune", "to", "--gone-days", "40"]);
    assert!(said.contains("0 of 3 artifacts"), "{said}");
    let said = space.run(&["prune", "to", "--gone-days", "30"]);
    assert!(
        said.contains(&format!(
            "remove  {gone}: the kernel has been gone for 40 days"
        )),
        "{said}"
    );
    assert!(said.contains("1 of 3 artifacts"), "{said}");
    let index = Index::parse(space.get("to/index.json").as_bytes()).unwrap();
    let rules = PruneRules {
        gone_days: Some(30),
        ..PruneRules::default()
    };
    let escaped = gone.replace('+', "%2B").replace('~', "%7E");
    let twice = escaped.replace('%', "%25");
    for (line, is_kept) in [
        (format!("GET /driver/{escaped} HTTP/1.1"), true),
        (
            format!("o b [1] 1.2.3.4 - 5 REST.GET.OBJECT driver/{twice} \"GET /driver/x\" 200"),
            true,
        ),
        (format!("\"GET /driver/{gone}?a=b\" 200"), true),
        (
            format!("\"GET /driver/{gone}\" \"driverkit-matrix/0.1.0\""),
            false,
        ),
        ("GET /driver/0.23.2/x86_64/other.ko".to_owned(), false),
    ] {
        let mut log = AccessLog::default();
        log.add(&line, &index);
        let plan = plan_prune(&index, &rules, &log);
        assert_eq!(plan.asked_for.contains(&gone), is_kept, "{line}");
        assert_eq!(plan.remove.contains_key(&gone), !is_kept, "{line}");
    }
    let words = "prune to --gone-days 30 --access-log access.log";
    let prune = || space.run(&words.split(' ').collect::<Vec<_>>());
    space.put("access.log", &format!("GET /{escaped} 200\n"));
    let said = prune();
    assert!(
        said.contains(&format!("keep    {gone}: it was requested")),
        "{said}"
    );
    space.put("access.log", "nothing\n");
    let said = prune();
    assert!(said.starts_with("exit 2\n"), "{said}");
}
