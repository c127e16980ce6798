//! Tests that written files match their schemas.

use driverkit_matrix::fs;
use serde_json::{Value, json};
use support::grid::Grid;

use super::{KNOWN, broken, lines, say};

#[test]
fn written_files_match_their_schemas() {
    let grid = broken(&format!("[[exclude]]\nkernel = \"6.1.4-1*\"\n{KNOWN}"));
    assert_eq!(grid.run(&[]).0, 0);
    let schema = |name: &str| {
        let (code, text, _) = say(&grid, &["generate", "schema", name]);
        assert_eq!(code, 0);
        jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
    };
    let check = |schema: &jsonschema::Validator, value: &Value| {
        let errors: Vec<String> = schema
            .iter_errors(value)
            .map(|error| format!("{} {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
    };
    let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let manifest = schema("manifest");
    check(
        &manifest,
        &parse(&fs::read_to_string(&grid.path("out/run.json")).unwrap()),
    );
    let whole = parse(&fs::read_to_string(&grid.path("out/manifest.json")).unwrap());
    check(&manifest, &whole);
    let mut damaged = whole.clone();
    damaged["builds"][0]["status"] = json!("perhaps");
    assert!(!manifest.is_valid(&damaged));
    for line in &lines(&grid)[1..] {
        check(&manifest, line);
    }
    assert!(!manifest.is_valid(&json!({ "schema": 2 })));
    let events = schema("events");
    let journal = grid.path("out/.driverkit-matrix/previous-journal.jsonl");
    for line in fs::read_to_string(&journal).unwrap().lines() {
        check(&events, &parse(line));
    }
    assert!(!events.is_valid(&json!({ "at": "now" })));
    let (_, plan, _) = say(&grid, &["plan", "matrix.toml", "--format", "json"]);
    check(&schema("plan"), &parse(&plan));

    let matrix = schema("matrix");
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("matrices");
    let mut files: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect();
    assert!(files.len() > 10);
    files.push(grid.path("matrix.toml"));
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let value: toml::Value = toml::from_str(&text).unwrap();
        check(&matrix, &serde_json::to_value(value).unwrap());
        let is_own = file == grid.path("matrix.toml");
        assert!(is_own || text.starts_with("#:schema ../schemas/matrix.json\n"));
    }
    assert!(!matrix.is_valid(&json!({ "drivers": ["a"], "target": [], "tagret": [] })));
    // The example in the documentation contains every table.
    let page = include_str!("../../../../docs/matrix.md");
    let shown = page.split("```toml\n").nth(1).unwrap();
    let shown: toml::Value = toml::from_str(shown.split("```").next().unwrap()).unwrap();
    check(&matrix, &serde_json::to_value(shown).unwrap());
}

#[test]
fn locks_match_their_schema() {
    let grid = Grid::new();
    let list = json!({ "Debian": [{
        "kernelversion": "1", "kernelrelease": "6.1.0-1-amd64", "target": "debian",
        "headers": ["http://example.org/linux-headers-6.1.0-1-amd64_6.1.0-1_amd64.deb"],
    }] });
    grid.write("list.json", list.to_string());
    grid.write_matrix(
        "drivers = [\"8.1.0+driver\"]\n[[target]]\nname = \"debian\"\n\
         kernels = { from = \"kernel-crawler\", path = { amd64 = \"list.json\" } }\n",
    );
    let (code, _, text) = say(&grid, &["lock", "matrix.toml"]);
    assert_eq!(code, 0, "{text}");
    let (_, schema, _) = say(&grid, &["generate", "schema", "lock"]);
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let lock = fs::read_to_string(&grid.path("matrix.lock")).unwrap();
    assert_eq!(lock.lines().count(), 2);
    for line in lock.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(schema.is_valid(&line), "{line}");
    }
    assert!(!schema.is_valid(&json!({ "target": "debian" })));
    let (code, _, text) = say(&grid, &["generate", "schema", "nothing"]);
    assert_eq!(code, 2);
    assert!(
        text.contains("expected one of manifest, plan, lock, events, matrix"),
        "{text}"
    );
}
