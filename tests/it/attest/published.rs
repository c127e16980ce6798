//! Tests of attestations at a destination, and of the bill of materials.

use super::*;

#[test]
fn an_attestation_is_published_repaired_and_pruned_with_its_artifact() {
    let space = published();
    let name = key(MODULES[0].0, OLD);
    let index = || Index::parse(space.get("to/index.json").as_bytes()).unwrap();
    let known = index().artifacts[&name].attestation.clone().unwrap();
    assert_eq!(known.name, file(&name));
    assert_eq!(
        known.sha256,
        Sha256::of(space.get(&format!("to/{}", file(&name))))
    );
    let schema = include_str!("../../../schemas/index.json");
    assert_fits(schema, &space.get("to/index.json"));
    assert!(!index().artifacts.keys().any(|key| key.contains("intoto")));
    let sums = space.get("to/SHA256SUMS");
    assert_says(&sums, &[&format!("{}  {}", known.sha256, known.name)]);
    let site = space.get("to/site/0.20.0+driver.json");
    assert!(!site.contains("intoto"), "{site}");
    let said = space.run(&["publish", "to"]);
    assert_says(&said, &["0 published, 3 unchanged", " 0 of them writes"]);

    // The audit finds a lost attestation and repair uploads it again; an attestation without an artifact is removed.
    fs::remove_file(&space.path().join("to").join(file(&name))).unwrap();
    let orphan = "0.23.2/x86_64/nobody.ko.intoto.jsonl";
    space.put(&format!("to/{orphan}"), "{}");
    let said = space.run(&["publish", "--audit", "out", "to"]);
    assert_says(
        &said,
        &[
            &format!("missing       {}", file(&name)),
            &format!("orphaned-attestation  {orphan}"),
        ],
    );
    space.run(&["publish", "--audit", "--repair", "out", "to"]);
    let said = space.run(&["publish", "--audit", "out", "to"]);
    assert_says(
        &said,
        &["exit 0", "3 artifacts match the index, 0 findings"],
    );
    // Without the output directory, repair removes the attestation from the index; the artifact stays.
    fs::remove_file(&space.path().join("to").join(file(&name))).unwrap();
    space.run(&["publish", "--audit", "--repair", "to"]);
    assert_eq!(index().artifacts[&name].attestation, None);
    let said = space.run(&["publish", "out", "to"]);
    assert_says(&said, &["1 found", "2 unchanged"]);
    assert!(index().artifacts[&name].attestation.is_some());

    let said = space.run(&[
        "prune",
        "to",
        "--newest-drivers",
        "1",
        "--max-share",
        "100",
        "--yes",
    ]);
    assert_says(&said, &["exit 0"]);
    assert!(!space.path().join("to").join(file(&name)).exists());
    assert!(
        space
            .path()
            .join("to")
            .join(file(&key(MODULES[2].0, NEW)))
            .exists()
    );
    let pruned = std::fs::read_dir(space.path().join("to/.driverkit-matrix/pruned")).unwrap();
    let id = pruned.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let id = id
        .into_iter()
        .find_map(|name| Some(name.strip_suffix(".json")?.to_owned()))
        .unwrap();
    assert_says(&space.run(&["prune", "to", "--undo", &id]), &["exit 0"]);
    assert_says(
        &verify(space.path(), &["to", "--key", "attest.pub"]),
        &["exit 0", "attestation: 3 ok"],
    );

    // New content without an attestation removes the old attestation.
    write_out(
        &space.path().join("out"),
        "run-2",
        1,
        &[(MODULES[0].0, OLD, "new")],
    );
    let said = space.run(&["publish", "out", "to"]);
    assert_says(&said, &["exit 0", "1 published"]);
    assert_eq!(index().artifacts[&name].attestation, None);
    assert!(!space.path().join("to").join(file(&name)).exists());
    assert_says(&space.run(&["publish", "--audit", "to"]), &["exit 0"]);
}

#[test]
fn the_bill_of_materials_lists_drivers_and_their_inputs() {
    let grid = Grid::new();
    let (code, text) = grid.run(&["--report", "cyclonedx=night.json"]);
    assert_eq!(code, 0, "{text}");
    let text = fs::read_to_string(&grid.path("night.json")).unwrap();
    let bom: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&bom["bomFormat"], &bom["specVersion"]),
        (&json!("CycloneDX"), &json!("1.6"))
    );
    let row = grid.record();
    let drivers: Vec<&Value> = bom["components"].as_array().unwrap().iter().collect();
    let driver = drivers
        .iter()
        .find(|one| one["type"] == "device-driver")
        .unwrap();
    assert_eq!(driver["name"], MODULE);
    assert_eq!(
        driver["hashes"][0]["content"],
        row.artifacts[0].sha256.unwrap().to_string()
    );
    let materials = bom["dependencies"][0]["dependsOn"].as_array().unwrap();
    assert_eq!(materials.len(), row.inputs.len() + 2);
    for material in materials {
        assert!(
            drivers.iter().any(|one| one["bom-ref"] == *material),
            "{material}"
        );
    }
    // The packages are files of this machine: their names are enough.
    assert!(
        !text.contains(grid.path("debs").to_str().unwrap()),
        "{text}"
    );
    let kbuild = "linux-kbuild-6.1_6.1.1-1_amd64.deb";
    assert!(drivers.iter().any(|one| one["name"] == kbuild), "{text}");
}
