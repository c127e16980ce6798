//! Tests of proofs: what the manifest says, what is cached, and what is removed from the output directory.

use driverkit_matrix::event::{ProofReport, ProofResult};
use driverkit_matrix::failure::{FailureClass, Status};
use driverkit_matrix::fs;
use serde_json::{Value, json};

use crate::run::{BUILD, MODULE, NOTHING};
use support::grid::{Grid, RELEASE, deb, rule};
use support::server::Server;

mod probes;

/// Returns the console output of a module that is loaded, used and unloaded.
pub(super) fn loaded(number: usize) -> String {
    let steps = [
        "load 1",
        "loaded 0",
        "listed 1",
        "parameters 3",
        "devices 2",
        "open 0",
        "map 0",
        "used 5000",
        "unloaded 0",
        "taints 12288",
    ];
    steps
        .map(|step| format!("proof: {number} {step}\n"))
        .concat()
}

/// Returns a boot whose console shows `modules` between the start of the init program and the end of qemu.
pub(super) fn boot(modules: &str) -> Value {
    let console = format!(
        "[    0.1] Run /init as init process\nproof: -1 boot 2\n{modules}proof: -1 end 0\nproof: qemu exit 0\n"
    );
    rule("prove *", &json!({ "outputs": { "console": console } }))
}

/// A grid whose kernel package is next to its headers, with a boot that shows `modules`.
pub(super) fn grid(modules: &str) -> Grid {
    let grid = Grid::new();
    let image = deb(&[
        ("boot/config-6.1", "CONFIG_X86_64=y\n"),
        ("boot/vmlinuz-6.1.0-1-amd64", "kernel"),
        ("lib/modules/6.1.0-1-amd64/kernel/fs/ext4.ko", "module"),
    ]);
    grid.write(
        &format!("debs/linux-image-{RELEASE}-unsigned_6.1.1-1_amd64.deb"),
        image,
    );
    grid.fake(&[boot(modules)]);
    grid
}

pub(super) fn proof(grid: &Grid) -> ProofReport {
    let proof = grid.record().artifacts.remove(0).proof;
    proof.expect("a proof")
}

/// Asserts that the module was not proven because the package of its kernel is missing.
pub(super) fn assert_has_no_kernel(grid: &Grid) {
    let report = proof(grid);
    assert_eq!(report.result, ProofResult::NotProven);
    assert!(
        report
            .message
            .contains("the package of the kernel is not available"),
        "{report:?}"
    );
}

#[test]
fn a_module_is_loaded_once_and_its_proof_is_cached() {
    let grid = grid(&loaded(0));
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("artifacts proven in their kernels: 1 loaded, 0 refused, 0 not proven"),
        "{text}"
    );
    assert_eq!(grid.jobs(), ["check", "module", "prove"]);
    let expected = ProofReport {
        result: ProofResult::Loaded,
        message: "loaded (2 devices, 3 parameters)".to_owned(),
    };
    assert_eq!(proof(&grid), expected);

    assert_eq!(grid.run(&["--prove", "all", "--offline"]).0, 0);
    assert_eq!(grid.jobs(), NOTHING);
    assert_eq!(proof(&grid), expected);
    assert_eq!(grid.record().status, Status::Cached);

    // This run requests no proof.
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.record().artifacts[0].proof, None);
}

#[test]
fn missing_kvm_is_reported_and_does_not_change_the_proof() {
    let grid = grid(&loaded(0));
    let (code, text) = grid.run(&["--prove", "all", "--prove-kvm"]);
    assert_eq!(code, 0, "{text}");
    // The fake executor has no devices.
    assert!(text.contains("KVM is not used: "), "{text}");
    assert_eq!(proof(&grid).result, ProofResult::Loaded);
    grid.jobs();
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), NOTHING);
    assert!(!text.contains("KVM"), "{text}");
}

#[test]
fn a_cached_module_is_proven_if_requested_later() {
    let grid = grid(&loaded(0));
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.jobs(), ["check", "module"]);
    grid.edit_matrix("retries = 1", "retries = 1\nprove = \"all\"");
    assert_eq!(grid.run(&[]).0, 0);
    assert_eq!(grid.jobs(), ["prove"]);
    assert_eq!(proof(&grid).result, ProofResult::Loaded);
    // The command line overrides the matrix.
    assert_eq!(grid.run(&["--prove", "none"]).0, 0);
    assert_eq!(grid.record().artifacts[0].proof, None);
}

#[test]
fn the_kernel_package_named_in_the_matrix_is_used() {
    let grid = Grid::new();
    grid.fake(&[boot(&loaded(0))]);
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    // There is no kernel package next to the headers.
    assert_eq!(proof(&grid).result, ProofResult::NotProven);
    assert_eq!(grid.jobs(), ["check", "module"]);

    let image = deb(&[("boot/vmlinuz-6.1.0-1-amd64", "kernel")]);
    grid.write("debs/edge-kernel_7_amd64.deb", image);
    let release = "release = \"6.1.1-1-amd64\",";
    let named = format!("{release} image = \"debs/edge-kernel_7_amd64.deb\",");
    grid.edit_matrix(release, &named);
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(proof(&grid).result, ProofResult::Loaded);
    // The kernel package is no input of the module, which is cached.
    assert_eq!(grid.jobs(), ["prove"]);

    grid.edit_matrix("edge-kernel_7", "edge-kernel_8");
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    let proof = proof(&grid);
    assert_eq!(proof.result, ProofResult::NotProven);
    assert!(proof.message.contains("edge-kernel_8"), "{proof:?}");
}

#[test]
fn an_unsupported_scheme_in_a_kernel_url_is_refused() {
    let grid = Grid::new();
    let release = "release = \"6.1.1-1-amd64\",";
    grid.edit_matrix(
        release,
        &format!("{release} image = \"ftp://host/kernel.deb\","),
    );
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("`ftp` URLs are not supported"), "{text}");
    assert!(text.contains("matrix.toml:"), "{text}");
}

#[test]
fn driver_versions_of_a_kernel_share_a_boot() {
    let grid = grid(&(loaded(0) + &loaded(1)));
    grid.write_driver("other", "other");
    grid.fake(&[boot(&(loaded(0) + &loaded(1)))]);
    grid.edit_matrix("drivers = [\"one\"]", "drivers = [\"one\", \"two\"]");
    grid.edit_matrix(
        "[defaults]",
        "[driver.\"two\"]\nsource = { path = \"other\" }\nmodule_name = \"scap\"\n\n[defaults]",
    );
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    let boots = grid.jobs().into_iter().filter(|job| job == "prove");
    assert_eq!(boots.count(), 1);
    assert!(text.contains("2 loaded, 0 refused"), "{text}");
}

#[test]
fn a_refused_module_fails_and_is_removed_from_the_output_directory() {
    let refused =
        "proof: 0 load 1\n[    4.7] scap: Unknown symbol nowhere (err -2)\nproof: 0 loaded -2\n";
    let grid = grid(refused);
    // The module exists before a proof is requested.
    assert_eq!(grid.run(&[]).0, 0);
    assert!(grid.path(MODULE).exists());
    grid.jobs();

    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 1, "{text}");
    assert!(!grid.path(MODULE).exists());
    let artifact = grid.record().artifacts.remove(0);
    assert_eq!(artifact.status, Status::Failed);
    assert_eq!((artifact.path, artifact.sha256), (None, None));
    let failure = artifact.failure.unwrap();
    assert_eq!(failure.class, FailureClass::Load);
    assert_eq!(
        failure.message,
        "refused, error 2: scap: Unknown symbol nowhere (err -2)"
    );
    assert_eq!(artifact.proof.unwrap().result, ProofResult::Refused);
    assert_eq!(grid.jobs(), ["prove"]);

    // The second run gives the same result.
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 1, "{text}");
    assert_eq!(grid.jobs(), NOTHING);
    assert!(grid.record().artifacts[0].failure_is_cached);
    assert!(!grid.path(MODULE).exists());

    grid.fake(&[boot(&loaded(0))]);
    let (code, text) = grid.run(&["--prove", "all", "--retry", "load"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["prove"]);
    assert!(grid.path(MODULE).exists());
}

#[test]
fn a_module_that_cannot_be_tried_is_not_proven_and_does_not_fail() {
    let grid = Grid::new();
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    assert_has_no_kernel(&grid);
    grid.jobs();

    // A kernel that does not boot is not tried again.
    let silent = self::grid("");
    silent.fake(&[rule(
        "prove *",
        &json!({ "outputs": { "console": "Kernel panic - no console\nproof: qemu exit 0\n" } }),
    )]);
    for jobs in [&["check", "module", "prove"][..], &[]] {
        let (code, text) = silent.run(&["--prove", "all"]);
        assert_eq!(code, 0, "{text}");
        assert_eq!(silent.jobs(), jobs);
        let report = proof(&silent);
        assert_eq!(report.result, ProofResult::NotProven);
        assert!(
            report.message.contains("did not start the program"),
            "{report:?}"
        );
    }

    // A kernel that ran out of time is tried again.
    let slow = self::grid("");
    slow.fake(&[rule(
        "prove *",
        &json!({ "outputs": { "console": "Booting\nproof: qemu exit 124\n" } }),
    )]);
    for _ in 0..2 {
        assert_eq!(slow.run(&["--prove", "all"]).0, 0);
        assert!(slow.jobs().contains(&"prove".to_owned()));
        assert_eq!(proof(&slow).result, ProofResult::NotProven);
    }
    fs::remove_file(&slow.path("out/manifest.json")).unwrap();
}

#[test]
fn fail_fast_ignores_proofs_that_cannot_be_made() {
    const RUN: [&str; 5] = ["--prove", "all", "--fail-fast", "--jobs", "1"];
    let grid_of_four = || {
        let grid = Grid::of_four();
        for number in ["1", "2", "3", "4"] {
            let name = format!("debs/linux-image-{RELEASE}-unsigned_6.1.{number}-1_amd64.deb");
            grid.write(&name, deb(&[("boot/vmlinuz-6.1.0-1-amd64", "kernel")]));
        }
        grid
    };
    // The second kind of failure is retried once for each kernel.
    for (then, times) in [
        (json!({ "code": 2 }), 4),
        (json!({ "infrastructure-error": "no daemon" }), 8),
    ] {
        let grid = grid_of_four();
        grid.fake(&[rule("prove *", &then)]);
        let (code, text) = grid.run(&RUN);
        assert_eq!(code, 0, "{text}");
        assert!(!text.contains("stopping"), "{text}");
        assert!(text.contains("0 refused, 4 not proven\n      "), "{text}");
        assert!(text.contains(" x not proven: "), "{text}");
        let boots = grid.jobs().into_iter().filter(|job| job == "prove");
        assert_eq!(boots.count(), times, "{text}");
    }

    // A module that its kernel refuses is a failure.
    let other = grid_of_four();
    other.fake(&[boot(&loaded(0).replace("loaded 0", "loaded -8"))]);
    let (code, text) = other.run(&RUN);
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("--fail-fast"), "{text}");
}

/// A crash in a kernel from a damaged package is not a failure of the module.
#[test]
fn a_module_is_not_refused_if_the_kernel_package_is_damaged() {
    let crash = "proof: 0 load 1\nOops: 0000 [#1]\n";
    let grid = grid(crash);
    let name = format!("debs/linux-image-{RELEASE}-unsigned_6.1.1-1_amd64.deb");
    let whole = fs::read(&grid.path(&name)).unwrap();
    // The image is stored before the part that is cut off.
    grid.write(&name, &whole[..whole.len() - 40]);
    for _ in 0..2 {
        let (code, text) = grid.run(&["--prove", "all"]);
        assert_eq!(code, 0, "{text}");
        let report = proof(&grid);
        assert_eq!(report.result, ProofResult::NotProven);
        assert!(report.message.contains("cannot be unpacked"), "{report:?}");
        assert!(grid.path(MODULE).exists());
    }
    grid.write(&name, &whole);
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 1, "{text}");
    assert_eq!(proof(&grid).result, ProofResult::Refused);
    assert!(!grid.record().artifacts[0].failure_is_cached);
}

#[test]
fn retry_checks_the_kernel_package_and_boots_again() {
    let grid = grid("");
    let silent = |words: &str| {
        let console = format!("{words}\nproof: qemu exit 0\n");
        rule("prove *", &json!({ "outputs": { "console": console } }))
    };
    let server = Server::of(&grid.path(""));
    grid.point_to(&server);
    grid.fake(&[silent("Kernel panic - not syncing")]);
    let asked = || server.requests();
    assert_eq!(grid.run(&["--prove", "all"]).0, 0);
    assert_eq!(proof(&grid).result, ProofResult::NotProven);
    let first = asked();
    assert!(first > 0);
    grid.jobs();
    grid.fake(&[boot(&loaded(0))]);
    assert_eq!(grid.run(&["--prove", "all"]).0, 0);
    assert_eq!((grid.jobs(), asked()), (Vec::new(), first));
    assert_eq!(grid.run(&["--prove", "all", "--retry", "load"]).0, 0);
    assert_eq!(grid.jobs(), ["prove"]);
    assert!(asked() > first);
    assert_eq!(proof(&grid).result, ProofResult::Loaded);
}

#[test]
fn long_console_output_is_cut_and_has_no_control_characters() {
    let flood = "\u{1b}[31m".repeat(1 << 20);
    let grid = grid("");
    let console = format!("Kernel panic - {flood}\nproof: qemu exit 0\n");
    grid.fake(&[rule(
        "prove *",
        &json!({ "outputs": { "console": console } }),
    )]);
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    let report = proof(&grid);
    assert!(report.message.len() < 2_000, "{}", report.message.len());
    assert!(report.message.contains("Kernel panic - \u{fffd}[31m"));
}

#[test]
fn invalid_values_of_prove_are_refused() {
    let grid = Grid::new();
    let (code, text) = grid.run(&["--prove", "some"]);
    assert_eq!(code, 2);
    assert!(text.contains("expected all, series or none"), "{text}");
    grid.edit_matrix("retries = 1", "prove = \"some\"");
    let (code, text) = grid.run(&[]);
    assert_eq!(code, 2);
    assert!(text.contains("matrix.toml:"), "{text}");
    assert!(text.contains("expected all, series or none"), "{text}");
}

#[test]
fn every_view_shows_the_proofs() {
    let grid = grid(&loaded(0));
    assert_eq!(grid.run(&["--prove", "all"]).0, 0);
    let say = |words: &[&str]| {
        let output = grid.program(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let csv = fs::read_to_string(&grid.path("out/manifest.csv")).unwrap();
    let (header, row) = csv.split_once("\r\n").unwrap();
    assert!(header.contains(",proof,proof_message,"), "{header}");
    let expected = ",loaded,\"loaded (2 devices, 3 parameters)\",,,\r\n";
    assert!(row.ends_with(expected), "{row}");
    let why = say(&["why", BUILD]);
    let expected = "It was tested in its kernel: loaded (2 devices, 3 parameters).";
    assert!(why.contains(expected), "{why}");
    let stats = say(&["stats", "--format", "csv"]);
    assert!(stats.ends_with(",1,0,0\n"), "{stats}");
    let page = say(&["report"]);
    let expected = "in their kernels: 1 loaded, 0 refused, 0 not proven";
    assert!(page.contains(expected) && page.contains("Artifacts loaded into their kernels"));
    let summary = say(&["report", "--format", "markdown"]);
    assert!(
        summary.contains("| debian | one | 1 | 0 | 0 |"),
        "{summary}"
    );
    let metrics = say(&["report", "--format", "prometheus"]);
    let expected = "driverkit_matrix_proofs{target=\"debian\",driver_version=\"one\",architecture=\"amd64\",result=\"loaded\"} 1";
    assert!(metrics.contains(expected), "{metrics}");
    let kcidb: Value = serde_json::from_str(&say(&["report", "--format", "kcidb"])).unwrap();
    let test = &kcidb["tests"][0];
    assert_eq!(test["status"], "PASS");
    assert_eq!(test["build_id"], kcidb["builds"][0]["id"]);

    let grid = Grid::new();
    assert_eq!(grid.run(&["--prove", "all"]).0, 0);
    let reason = "the package of the kernel is not available";
    for words in [
        &["why", BUILD][..],
        &["report"],
        &["report", "--format", "markdown"],
        &["report", "--format", "csv"],
    ] {
        let output = grid.program(words).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(reason), "{words:?}: {text}");
    }
}

/// Returns a boot whose console shows `modules` until qemu ends with this status.
fn ended(modules: &str, exit: i32) -> Value {
    let console = format!("proof: -1 boot 2\n{modules}proof: qemu exit {exit}\n");
    rule("prove *", &json!({ "outputs": { "console": console } }))
}

#[test]
fn a_boot_that_qemu_ended_is_not_held_against_the_module() {
    let unfinished = loaded(0)
        .split_once("proof: 0 unloaded")
        .unwrap()
        .0
        .to_owned();
    let grid = grid("");
    grid.fake(&[ended(&unfinished, 137)]);
    for _ in 0..2 {
        let (code, text) = grid.run(&["--prove", "all"]);
        assert_eq!(code, 0, "{text}");
        assert!(grid.jobs().contains(&"prove".to_owned()));
        let report = proof(&grid);
        assert_eq!(report.result, ProofResult::NotProven);
        assert!(report.message.contains("exit status 137"), "{report:?}");
        assert!(grid.path(MODULE).exists());
    }
    // A time-out is a failure in this run only.
    grid.fake(&[ended(&unfinished, 124)]);
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 1, "{text}");
    assert_eq!(grid.jobs(), ["prove"]);
    assert_eq!(proof(&grid).result, ProofResult::Refused);
    grid.fake(&[boot(&loaded(0))]);
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 0, "{text}");
    assert_eq!(grid.jobs(), ["prove"]);
    assert_eq!(proof(&grid).result, ProofResult::Loaded);
    assert!(grid.path(MODULE).exists());
}

#[test]
fn a_crash_has_a_first_error_and_one_line_on_the_terminal() {
    let crash = "proof: 0 load 1\n[ 5.0] BUG: kernel NULL pointer dereference, address: 0000000000000000\n\
        [ 5.0] CPU: 0 PID: 1 Comm: init\n[ 5.0] RIP: 0010:scap_init+0x10/0x1000 [scap]\n\
        [ 5.0] Code: 00 00 00\n[ 5.0] RAX: 0000000000000000 RBX: 0000000000000000\n[ 5.0] Call Trace:\n\
        [ 5.0]  do_one_initcall+0x59/0x220\n";
    let grid = grid(crash);
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 1, "{text}");
    let first = "kernel: BUG: kernel NULL pointer dereference, address: 0000000000000000, at scap_init+0x10/0x1000 [scap]";
    assert!(text.contains(first), "{text}");
    assert!(!text.contains("Call Trace"), "{text}");
    let failure = grid.record().artifacts.remove(0).failure.unwrap();
    assert_eq!(failure.first_error.unwrap().to_string(), first);
    assert!(
        failure
            .message
            .ends_with("Call Trace:\n do_one_initcall+0x59/0x220"),
        "{}",
        failure.message
    );
    let csv = fs::read_to_string(&grid.path("out/manifest.csv")).unwrap();
    assert!(csv.contains(first), "{csv}");
}

#[test]
fn new_builds_and_their_proofs_come_before_old_proofs() {
    let grid = Grid::new();
    let numbers = ["1", "2", "3", "4", "5", "6"];
    for number in numbers {
        grid.write_headers(number, RELEASE);
        let name = format!("debs/linux-image-{RELEASE}-unsigned_6.1.{number}-1_amd64.deb");
        let image = format!("kernel {number}");
        grid.write(&name, deb(&[("boot/vmlinuz-6.1.0-1-amd64", &image)]));
    }
    grid.fake(&[boot(&loaded(0))]);
    grid.write_matrix(&grid.matrix(&numbers[..5]));
    assert_eq!(grid.run(&[]).0, 0);
    grid.jobs();
    grid.write_matrix(&grid.matrix(&numbers));
    let (code, text) = grid.run(&["--prove", "all", "--jobs", "1"]);
    assert_eq!(code, 0, "{text}");
    let journal = fs::read_to_string(&grid.path("journal")).unwrap();
    let jobs: Vec<&str> = journal.lines().collect();
    let is_new = |job: &&&str| job.contains("6.1.6-1");
    let new = jobs.iter().take_while(is_new).count();
    assert!(jobs[new - 1].starts_with("prove "), "{jobs:#?}");
    assert_eq!(jobs.iter().filter(is_new).count(), new, "{jobs:#?}");
    assert_eq!(jobs.len(), new + 5, "{jobs:#?}");
}

#[test]
fn a_driver_that_records_no_event_is_refused() {
    let events = "events 0\nproof: 0 used 5000";
    let grid = grid(&loaded(0).replace("used 5000", events));
    let (code, text) = grid.run(&["--prove", "all"]);
    assert_eq!(code, 1, "{text}");
    let proof = proof(&grid);
    assert_eq!(proof.result, ProofResult::Refused);
    assert!(
        proof.message.contains("it recorded no event"),
        "{}",
        proof.message
    );
}
