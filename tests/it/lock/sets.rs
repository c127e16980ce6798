//! The packages of a kernel are a set: the order in which a source lists packages or kernels changes nothing.

use std::fmt::Write as _;

use driverkit_matrix::failure::Status;
use driverkit_matrix::report::BuildRecord;
use insta::assert_snapshot;
use proptest::prelude::*;

use crate::lock::{crawler_matrix, locked, of_list};
use support::grid::Grid;
use support::workspace::Workspace;

/// Returns a list with one Amazon Linux kernel of the same release for each array of package URLs.
fn repeated(packages: &[&[&str]]) -> String {
    let entries: Vec<String> = packages
        .iter()
        .map(|urls| {
            format!(
                r#"{{"kernelversion": 1, "kernelrelease": "4.14.9-1.amzn1.x86_64", "target": "amazonlinux", "headers": {urls:?}}}"#
            )
        })
        .collect();
    format!(r#"{{"AmazonLinux": [{}]}}"#, entries.join(", "))
}

#[test]
fn reordered_packages_do_not_change_the_lock() {
    let urls = ["http://b/x-1.rpm", "http://a/y-1.rpm", "http://a/x-1.rpm"];
    let workspace = locked(&repeated(&[&urls]));
    let lock = workspace.get("m.lock");
    assert!(
        lock.contains(
            r#""packages":[{"url":"http://a/x-1.rpm"},{"url":"http://b/x-1.rpm"},{"url":"http://a/y-1.rpm"}]"#
        ),
        "{lock}"
    );
    let reordered = [urls[2], urls[0], urls[1]];
    workspace.put("list.json", &repeated(&[&reordered]));
    assert_snapshot!(workspace.run(&["lock", "m.toml"]), @r"
    exit 0
    --- out
    LOCK    TARGET  KERNELS  CAME  WENT  MOVED  RENAMED  CHANGED  UNCONFIRMED
    m.lock  *             1     0     0      0        0        0            0
    ");
    assert_eq!(workspace.get("m.lock"), lock);
}

#[test]
fn a_lock_in_another_order_is_equal() {
    let workspace = locked(&repeated(&[&["http://a/x-1.rpm", "http://a/y-1.rpm"]]));
    let lock = workspace.get("m.lock");
    let [x, y] = ["x-1", "y-1"].map(|name| format!(r#"{{"url":"http://a/{name}.rpm"}}"#));
    let old = lock.replace(&format!("{x},{y}"), &format!("{y},{x}"));
    assert_ne!(old, lock);
    workspace.put("m.lock", &old);
    let plan = workspace.run(&["plan", "m.toml", "--format", "json"]);
    workspace.put("m.lock", &lock);
    assert_eq!(plan, workspace.run(&["plan", "m.toml", "--format", "json"]));
}

#[test]
fn repeated_entries_are_merged_if_they_agree() {
    let lists = [
        repeated(&[
            &["http://a/x-1.rpm", "http://a/y-1.rpm"],
            &["http://b/y-1.rpm", "http://a/x-1.rpm"],
            &[],
        ]),
        // A version written as a number equals the same version written as a string.
        repeated(&[
            &["http://b/y-1.rpm", "http://a/x-1.rpm"],
            &["http://a/x-1.rpm", "http://a/y-1.rpm"],
        ])
        .replacen(": 1", ": \"1\"", 1),
    ];
    for list in lists {
        let workspace = of_list(&list);
        let report = workspace.run(&["lock", "m.toml"]);
        assert!(
            report.starts_with("exit 0\n") && !report.contains("ignored"),
            "{report}"
        );
        let lock = workspace.get("m.lock");
        assert_eq!(lock.lines().count(), 2, "{lock}");
        for url in ["http://a/x-1.rpm", "http://a/y-1.rpm", "http://b/y-1.rpm"] {
            assert_eq!(lock.matches(url).count(), 1, "{lock}");
        }
        let plan = workspace.run(&["plan", "m.toml", "--locked"]);
        assert!(plan.starts_with("exit 0\n"), "{plan}");
    }
}

#[test]
fn contradictory_entries_are_counted_and_one_is_used() {
    let sets: [&[&str]; 2] = [&["http://a/y-1.rpm"], &["http://a/x-1.rpm"]];
    let workspace = of_list(&repeated(&sets));
    let report = workspace.run(&["lock", "m.toml"]);
    let (_, notices) = report.split_once("--- err\n").unwrap();
    assert_snapshot!(notices, @"list.json: 1 ignored because another entry of the same kernel has different packages (if the ignored packages are correct, set them as `headers`): line 1, amazonlinux 4.14.9-1.amzn1.x86_64 #1 amd64: x-1.rpm, not y-1.rpm");
    let lock = workspace.get("m.lock");
    let plan = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(plan.starts_with("exit 0\n"), "{plan}");
    workspace.put("list.json", &repeated(&[sets[1], sets[0]]));
    workspace.run(&["lock", "m.toml"]);
    assert_eq!(workspace.get("m.lock"), lock);
}

/// Every ignored entry is listed with its line, and says what differs.
#[test]
fn contradictory_entries_are_listed_with_their_lines() {
    let entry = |number: u8, rest: &str| {
        format!(
            r#"{{"kernelversion": 1, "kernelrelease": "3000.{number}.0", "target": "flatcar", {rest}}}"#
        )
    };
    let config = |text: &str| format!(r#""kernelconfigdata": "{text}""#);
    let entries: Vec<String> = (1..=5)
        .flat_map(|number| {
            ["Q09ORklHX1g9eQo=", "Q09ORklHX1g9bgo="].map(|text| entry(number, &config(text)))
        })
        .collect();
    let list = format!("{{\"Flatcar\": [\n{}\n]}}", entries.join(",\n"));
    let workspace = of_list(&list);
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(
        report.contains(
            "list.json: 5 ignored because another entry of the same kernel has another configuration: line "
        ) && report.contains("; and 2 more (`lock --all` lists them)"),
        "{report}"
    );
    let report = workspace.run(&["lock", "m.toml", "--all"]);
    assert_eq!(
        report.matches("! skipped list.json: line ").count(),
        5,
        "{report}"
    );
    assert_eq!(
        report.matches("amd64: another configuration (").count(),
        5,
        "{report}"
    );
    let json = workspace.run(&["lock", "m.toml", "--format", "json"]);
    for number in 1..=5 {
        let lines = [2 * number, 2 * number + 1];
        let is_named = |line: &u8| {
            json.contains(&format!(
                "list.json: line {line}, flatcar 3000.{number}.0 #1 amd64"
            ))
        };
        assert_eq!(
            lines.iter().filter(|line| is_named(line)).count(),
            1,
            "{json}"
        );
    }
    // A table is the user's own, and its lines are named too.
    workspace.put(
        "list.csv",
        "target,release,headers\n\namazonlinux,4.14.9-1.amzn1.x86_64,http://a/x-1.rpm\namazonlinux,4.14.9-1.amzn1.x86_64,http://a/y-1.rpm\n",
    );
    workspace.put(
        "m.toml",
        &matrix_of("*", "{ from = \"csv\", path = \"list.csv\" }"),
    );
    let report = workspace.run(&["lock", "m.toml", "--all"]);
    assert!(
        report.contains("! skipped list.csv: line 4, amazonlinux 4.14.9-1.amzn1.x86_64 #1 amd64: x-1.rpm, not y-1.rpm ("),
        "{report}"
    );
}

#[test]
fn both_names_of_photon_are_one_target() {
    let list = |target: &str| {
        format!(
            r#"{{"PhotonOS": [{{"kernelversion": 1, "kernelrelease": "4.19.15-3.ph3.x86_64", "target": "{target}", "headers": ["http://a/linux-devel-4.19.15-3.ph3.x86_64.rpm"]}}]}}"#
        )
    };
    let workspace = locked(&list("photon"));
    let lock = workspace.get("m.lock");
    for name in ["PhotonOS", "photonOS", "photonos"] {
        workspace.put("list.json", &list(name));
        workspace.run(&["lock", "m.toml"]);
        assert_eq!(workspace.get("m.lock"), lock, "{name}");
    }
}

/// A file name without a version does not show that two kernels are the same.
#[test]
fn releases_that_share_a_file_name_are_not_renamed() {
    let list = |release: &str| {
        format!(
            r#"{{"Flatcar": [{{"kernelversion": 1, "kernelrelease": "{release}", "target": "flatcar", "headers": ["https://stable.example.org/{release}/flatcar_developer_container.bin.bz2"]}}]}}"#
        )
    };
    let workspace = locked(&list("3033.2.3"));
    workspace.put("list.json", &list("3033.2.4"));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(
        report
            .contains("m.lock  *             1     1     1      0        0        0            0"),
        "{report}"
    );
}

/// An entry of a source: a kernel and its package URLs.
type Entry = (u8, Vec<String>);

fn as_json(entries: &[Entry]) -> String {
    let entries: Vec<String> = entries
        .iter()
        .map(|(number, urls)| {
            format!(
                r#"{{"kernelversion": 1, "kernelrelease": "4.14.{number}-1.amzn1.x86_64", "target": "amazonlinux", "headers": {urls:?}}}"#
            )
        })
        .collect();
    format!(r#"{{"AmazonLinux": [{}]}}"#, entries.join(", "))
}

fn as_csv(entries: &[Entry]) -> String {
    let mut table = "target,release,headers\n".to_owned();
    for (number, urls) in entries {
        let _ = writeln!(
            table,
            "amazonlinux,4.14.{number}-1.amzn1.x86_64,{}",
            urls.join(" ")
        );
    }
    table
}

fn as_inline(entries: &[Entry]) -> String {
    let kernels: Vec<String> = entries
        .iter()
        .enumerate()
        .map(|(number, (_, urls))| {
            format!(r#"{{ release = "4.14.{number}-1.amzn1.x86_64", headers = {urls:?} }}"#)
        })
        .collect();
    format!(
        "drivers = [\"8.1.0+driver\"]\n\n[[target]]\nname = \"amazonlinux\"\nkernels = [{}]\n",
        kernels.join(", ")
    )
}

fn as_text(entries: &[Entry]) -> String {
    let line = |(number, _): &Entry| format!("4.14.{number}-1.amzn1.x86_64\n");
    let lines: Vec<String> = entries.iter().map(line).collect();
    lines.concat()
}

/// Returns the index of a repository with one package for each URL.
fn as_repository(entries: &[Entry]) -> String {
    let packages = entries.iter().flat_map(|(number, urls)| {
        urls.iter().map(move |url| {
            let (_, folder) = url.rsplit_once('/').unwrap();
            format!(
                "<package type=\"rpm\"><name>kernel-devel</name><arch>x86_64</arch><version epoch=\"0\" ver=\"4.14.{number}\" rel=\"1.amzn1\"/><location href=\"{folder}/kernel-devel-4.14.{number}-1.amzn1.x86_64.rpm\"/></package>"
            )
        })
    });
    format!("<metadata>{}</metadata>", packages.collect::<String>())
}

fn matrix_of(name: &str, source: &str) -> String {
    format!("drivers = [\"8.1.0+driver\"]\n\n[[target]]\nname = \"{name}\"\nkernels = {source}\n")
}

/// Returns the lock and the plan of a matrix over these entries, for each kind of source.
fn outcomes(workspace: &Workspace, entries: &[Entry], order: &[Entry]) -> Vec<String> {
    workspace.put("list.json", &as_json(order));
    workspace.put("list.csv", &as_csv(order));
    workspace.put("list.txt", &as_text(order));
    workspace.put("repository/repodata/primary.xml", &as_repository(order));
    workspace.put(
        "repository/repodata/repomd.xml",
        "<repomd><data type=\"primary\"><location href=\"repodata/primary.xml\"/></data></repomd>",
    );
    // A driverkit tree has one file for each kernel.
    for (kernel, urls) in entries.iter().rev() {
        let release = format!("4.14.{kernel}-1.amzn1.x86_64");
        let text = format!(
            "kernelrelease: {release}\ntarget: amazonlinux\narchitecture: amd64\noutput:\n  module: x.ko\nkernelurls: {urls:?}\n"
        );
        workspace.put(&format!("tree/amazonlinux_{release}_1.yaml"), &text);
    }
    let repository = format!("file://{}/repository", workspace.path().display());
    let matrices = [
        ("crawler", crawler_matrix("")),
        (
            "csv",
            matrix_of("*", "{ from = \"csv\", path = \"list.csv\" }"),
        ),
        (
            "text",
            matrix_of("amazonlinux", "{ from = \"text\", path = \"list.txt\" }"),
        ),
        (
            "mirror",
            matrix_of(
                "amazonlinux",
                &format!("{{ from = \"mirror\", urls = [{repository:?}] }}"),
            ),
        ),
        (
            "tree",
            matrix_of("*", "{ from = \"driverkit\", path = \"tree\" }"),
        ),
        ("inline", as_inline(entries)),
    ];
    let mut outcomes = Vec::new();
    for (name, text) in matrices {
        let (matrix, lock) = (format!("{name}.toml"), format!("{name}.lock"));
        workspace.put(&matrix, &text);
        drop(std::fs::remove_file(workspace.path().join(&lock)));
        let plan = workspace.run(&["plan", &matrix, "--format", "json"]);
        assert!(plan.starts_with("exit 0\n"), "{name}: {plan}");
        outcomes.push(plan.split("--- err").next().unwrap().to_owned());
        if name != "inline" {
            outcomes.push(workspace.get(&lock));
        }
    }
    outcomes
}

/// The order of the packages does not change the key of a build: nothing is built again.
#[test]
fn any_order_of_packages_gives_the_same_key() {
    let grid = Grid::new();
    let [arch, common, kbuild] = grid.headers("1").map(|path| path.display().to_string());
    let write = |headers: [&String; 3]| {
        let list = headers.map(String::as_str).join(" ");
        grid.write(
            "list.csv",
            format!("release,headers\n6.1.1-1-amd64,{list}\n"),
        );
    };
    let inline = grid.matrix(&["1"]);
    let (head, _) = inline.split_once("kernels = ").unwrap();
    let listed = format!("{head}kernels = {{ from = \"csv\", path = \"list.csv\" }}\n");
    write([&arch, &common, &kbuild]);
    grid.write_matrix(&listed);
    assert_eq!(grid.run(&[]).0, 0);
    let first = grid.record();
    assert_eq!(first.status, Status::Built);
    grid.jobs();
    for headers in [
        [&kbuild, &common, &arch],
        [&common, &kbuild, &arch],
        [&kbuild, &arch, &common],
    ] {
        write(headers);
        let kernel = format!("[{{ release = \"6.1.1-1-amd64\", headers = {headers:?} }}]");
        for matrix in [&listed, &format!("{head}kernels = {kernel}\n")] {
            drop(std::fs::remove_file(grid.path("matrix.lock")));
            grid.write_matrix(matrix);
            let (code, text) = grid.run(&[]);
            assert_eq!(code, 0, "{text}");
            let record = grid.record();
            assert_eq!(record.status, Status::Cached, "{text}");
            let urls = |record: &BuildRecord| -> Vec<String> {
                record
                    .inputs
                    .iter()
                    .map(|one| one.url.to_string())
                    .collect()
            };
            assert_eq!(urls(&record), urls(&first));
        }
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let files = proptest::sample::subsequence(vec!["x-1.rpm", "y-1.rpm", "z%2B1.rpm"], 1..=3);
    let hosts = proptest::sample::subsequence(vec!["http://a", "http://b"], 1..=2);
    let urls = (files, hosts).prop_map(|(files, hosts)| {
        let of_file = |file| hosts.iter().map(move |host| format!("{host}/{file}"));
        files.into_iter().flat_map(of_file).collect::<Vec<String>>()
    });
    proptest::collection::vec((0..4_u8, urls), 1..6)
}

/// Returns the entries with each package set in another order, and the same with the entries reordered as well.
fn permuted(entries: Vec<Entry>) -> impl Strategy<Value = (Vec<Entry>, Vec<Entry>)> {
    let shuffled: Vec<_> = entries
        .into_iter()
        .map(|(kernel, urls)| (Just(kernel), Just(urls).prop_shuffle()))
        .collect();
    shuffled.prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_a_source_gives_the_same_lock_and_plan(
        (entries, (other, order)) in entries().prop_flat_map(|entries| (Just(entries.clone()), permuted(entries)))
    ) {
        let workspace = Workspace::new();
        let before = outcomes(&workspace, &entries, &entries);
        for (left, right) in before.into_iter().zip(outcomes(&workspace, &other, &order)) {
            prop_assert_eq!(left, right);
        }
    }
}
