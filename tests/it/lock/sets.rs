//! The packages of a kernel are a set: the order in which a source lists packages or kernels changes nothing.

use std::fmt::Write as _;

use insta::assert_snapshot;
use proptest::prelude::*;

use crate::lock::{crawler_matrix, locked, of_list};
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

fn matrix_of(name: &str, source: &str) -> String {
    format!("drivers = [\"8.1.0+driver\"]\n\n[[target]]\nname = \"{name}\"\nkernels = {source}\n")
}

/// Returns the lock and the plan of a matrix over these entries, for each kind of source.
fn outcomes(entries: &[Entry], order: &[Entry]) -> Vec<String> {
    let workspace = Workspace::new()
        .with("list.json", &as_json(order))
        .with("list.csv", &as_csv(order))
        .with("crawler.toml", &crawler_matrix(""))
        .with(
            "csv.toml",
            "drivers = [\"8.1.0+driver\"]\n\n[[target]]\nname = \"*\"\nkernels = { from = \"csv\", path = \"list.csv\" }\n",
        );
    // A driverkit tree has one file for each kernel.
    for (kernel, urls) in entries.iter().rev() {
        let release = format!("4.14.{kernel}-1.amzn1.x86_64");
        let text = format!(
            "kernelrelease: {release}\ntarget: amazonlinux\narchitecture: amd64\noutput:\n  module: x.ko\nkernelurls: {urls:?}\n"
        );
        workspace.put(&format!("tree/amazonlinux_{release}_1.yaml"), &text);
    }
    workspace.put("inline.toml", &as_inline(entries));
    workspace.put(
        "tree.toml",
        "drivers = [\"8.1.0+driver\"]\n\n[[target]]\nname = \"*\"\nkernels = { from = \"driverkit\", path = \"tree\" }\n",
    );
    let mut outcomes = Vec::new();
    for name in ["crawler", "csv", "tree", "inline"] {
        let matrix = format!("{name}.toml");
        let plan = workspace.run(&["plan", &matrix, "--format", "json"]);
        outcomes.push(plan.split("--- err").next().unwrap().to_owned());
        if name != "inline" {
            outcomes.push(workspace.get(&format!("{name}.lock")));
        }
    }
    outcomes
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
        for (left, right) in outcomes(&entries, &entries).into_iter().zip(outcomes(&other, &order)) {
            prop_assert_eq!(left, right);
        }
    }
}
