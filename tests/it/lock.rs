//! Tests of the command `lock` and of `plan` with locks, through the binary.

use insta::assert_snapshot;
use support::workspace::Workspace;

mod git;
mod sets;

fn crawler_matrix(selection: &str) -> String {
    format!(
        r#"drivers = ["8.1.0+driver"]

[[target]]
name = "*"
kernels = {{ from = "kernel-crawler", path = {{ amd64 = "list.json" }}{selection} }}
"#
    )
}

const LIST: &str = r#"{
  "AmazonLinux": [
    {"kernelversion": 1, "kernelrelease": "4.14.10-1.amzn1.x86_64", "target": "amazonlinux", "headers": ["http://one.example.org/a.rpm"]},
    {"kernelversion": 1, "kernelrelease": "4.14.9-1.amzn1.x86_64", "target": "amazonlinux", "headers": ["http://one.example.org/b.rpm"]},
    {"kernelversion": 1, "kernelrelease": "broken release", "target": "amazonlinux"}
  ],
  "minikube": [
    {"kernelversion": "1_1.26.0", "kernelrelease": "5.10.57", "target": "minikube", "kernelconfigdata": "Q09ORklHX1g9eQo="}
  ]
}"#;

/// Returns a matrix that selects everything in a list.
fn of_list(list: &str) -> Workspace {
    Workspace::new()
        .with("list.json", list)
        .with("m.toml", &crawler_matrix(""))
}

/// Returns a workspace with such a matrix and its lock.
fn locked(list: &str) -> Workspace {
    let workspace = of_list(list);
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    workspace
}

#[test]
fn a_lock_is_created_used_and_kept() {
    let workspace = of_list(LIST);
    assert_snapshot!(workspace.run(&["plan", "m.toml", "--locked"]), @r"
    exit 2
    --- err
    error: m.lock does not exist, and --locked prevents creating it
     |
     = help: run `driverkit-matrix lock m.toml`
    ");
    assert_snapshot!(workspace.run(&["plan", "m.toml"]), @r"
    exit 0
    --- out
    Plan of 1 matrix: 3 kernels, 1 driver, 3 builds, 3 artifacts

    TARGET       KERNELS  DRIVERS  BUILDS  MODULES  PROBES
    amazonlinux        2        1       2        2       0
    minikube           1        1       1        1       0

    BUILD                                                     ARTIFACTS  PACKAGES  SOURCE
    8.1.0+driver/x86_64/amazonlinux_4.14.9-1.amzn1.x86_64_1   module            1  kernel-crawler
    8.1.0+driver/x86_64/amazonlinux_4.14.10-1.amzn1.x86_64_1  module            1  kernel-crawler
    8.1.0+driver/x86_64/minikube_5.10.57_1_1.26.0             module     computed  kernel-crawler
    --- err
    m.lock does not exist: looking for kernels
    list.json: 1 skipped: line 5, AmazonLinux[2]: invalid kernel release `broken release`: ' ' is not allowed; only letters, digits and `. _ + ~ -` are allowed
    m.lock: 3 kernels found
    ");
    let lock = workspace.get("m.lock");
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    let today = now.date().to_string();
    assert_snapshot!(lock.replace(&today, "TODAY"), @r#"
    {"lock":3,"sources":{"*":"e12eee5d67bcbf2beae783f5af1d8a610f50010275376694875a1ffa31dc1e7a"},"limits":{"*":"d9fc052c770dcaf350170442f96b74308c4b78d5cb8816c90c846af150bf6786"}}
    {"target":"amazonlinux","release":"4.14.9-1.amzn1.x86_64","version":"1","architecture":"amd64","entry":"*","packages":[{"url":"http://one.example.org/b.rpm"}],"source":"kernel-crawler","first_seen":"TODAY"}
    {"target":"amazonlinux","release":"4.14.10-1.amzn1.x86_64","version":"1","architecture":"amd64","entry":"*","packages":[{"url":"http://one.example.org/a.rpm"}],"source":"kernel-crawler","first_seen":"TODAY"}
    {"target":"minikube","release":"5.10.57","version":"1_1.26.0","architecture":"amd64","entry":"*","packages":[],"config_sha256":"1f7630d899dcba3785654af21322a2c8853722810228d473f558cfd5513e9d72","source":"kernel-crawler","first_seen":"TODAY"}
    "#);
    let digest = driverkit_matrix::digest::Sha256::of("CONFIG_X=y\n");
    let config = workspace.path().join(format!("m.configs/{digest}.zst"));
    let config = std::fs::read(config).unwrap();
    assert_eq!(
        zstd::decode_all(config.as_slice()).unwrap(),
        b"CONFIG_X=y\n"
    );

    // Without the list, the lock is enough.
    std::fs::remove_file(workspace.path().join("list.json")).unwrap();
    let report = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(
        report.starts_with("exit 0\n") && !report.contains("looking for kernels"),
        "{report}"
    );
    // A first-seen day in the lock is kept when the kernel is found again.
    let old = lock.replace(&today, "2024-02-29");
    workspace.put("m.lock", &old);
    workspace.put("list.json", LIST);
    workspace.run(&["lock", "m.toml"]);
    assert_eq!(workspace.get("m.lock"), old);
}

#[test]
fn a_refresh_reports_new_gone_and_moved_kernels() {
    let workspace = locked(LIST);
    let list = LIST
        .replace("one.example.org/a.rpm", "two.example.org/a.rpm")
        .replace("b.rpm", "b2.rpm")
        .replace("5.10.57", "5.10.58")
        .replace("broken release", "4.14.11-1.amzn1.x86_64");
    workspace.put("list.json", &list);
    assert_snapshot!(workspace.run(&["lock", "m.toml"]), @r"
    exit 0
    --- out
    LOCK    TARGET  KERNELS  CAME  WENT  MOVED  RENAMED  CHANGED  UNCONFIRMED
    m.lock  *             4     2     1      1        0        1            0

    m.lock *
    + amazonlinux 4.14.11-1.amzn1.x86_64 #1 amd64
    + minikube 5.10.58 #1_1.26.0 amd64
    - minikube 5.10.57 #1_1.26.0 amd64
    > amazonlinux 4.14.10-1.amzn1.x86_64 #1 amd64: http://one.example.org/a.rpm -> http://two.example.org/a.rpm
    ~ amazonlinux 4.14.9-1.amzn1.x86_64 #1 amd64
    ");
}

#[test]
fn a_stale_lock_is_refreshed_or_refused() {
    let workspace = locked(LIST);
    workspace.put("m.toml", &crawler_matrix(", match = \"4.*\", latest = 1"));
    assert_snapshot!(workspace.run(&["plan", "m.toml", "--locked"]), @r"
    exit 2
    --- err
    error: m.lock is stale for *, and --locked prevents updating it
     |
     = help: run `driverkit-matrix lock m.toml`
    ");
    assert_snapshot!(workspace.run(&["plan", "m.toml"]), @r"
    exit 0
    --- out
    Plan of 1 matrix: 1 kernel, 1 driver, 1 build, 1 artifact

    TARGET       KERNELS  DRIVERS  BUILDS  MODULES  PROBES
    amazonlinux        1        1       1        1       0

    BUILD                                                     ARTIFACTS  PACKAGES  SOURCE
    8.1.0+driver/x86_64/amazonlinux_4.14.10-1.amzn1.x86_64_1  module            1  kernel-crawler
    --- err
    m.lock is stale for *: looking for kernels
    list.json: 1 skipped: line 5, AmazonLinux[2]: invalid kernel release `broken release`: ' ' is not allowed; only letters, digits and `. _ + ~ -` are allowed
    m.lock: the suites, flavours, limits or kinds of sources of `*` changed: 1 kernel dropped that they no longer include
    m.lock: 1 kernel found
    ");
    // The configuration of a dropped kernel is removed as well.
    assert!(!workspace.path().join("m.configs").exists());
}

#[test]
fn a_plan_without_kernels_is_refused() {
    let workspace = of_list("{}");
    assert_snapshot!(workspace.run(&["plan", "m.toml"]), @r#"
    exit 2
    --- err
    m.lock does not exist: looking for kernels
    warning: this [[target]] finds no kernel: `*`
     --> m.toml:5:11
      |
    5 | kernels = { from = "kernel-crawler", path = { amd64 = "list.json" } }
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: compare its name, architectures, `match` and `exclude` with its source, or remove it
    m.lock: 0 kernels found
    error: the plan is empty: no kernel was found for `*`
     --> m.toml:5:11
      |
    5 | kernels = { from = "kernel-crawler", path = { amd64 = "list.json" } }
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ nothing here matches
    "#);
}

#[test]
fn releases_and_urls_with_escapes_are_read_from_a_lock() {
    let list = r#"{"Ubuntu": [{"kernelversion": 6, "kernelrelease": "5.4.0-1003-aws", "target": "ubuntu-aws", "headers": [
        "http://one.example.org/linux-aws-headers-5.4.0-1003_5.4.0-1003.6_all.deb",
        "http://two.example.org/linux-headers-5.4.0-1003-aws_5.4.0-1003.6_amd64.deb"]}]}"#;
    let workspace = locked(list);
    let plan = || workspace.run(&["plan", "m.toml", "--locked", "--format", "json"]);
    let expected = plan();
    assert!(expected.starts_with("exit 0\n"), "{expected}");
    let lock = workspace.get("m.lock");
    let escaped = lock
        .replace("5.4.0-1003-aws\",", "5.4.0-1003-\\u0061ws\",")
        .replace("http://one", "http:\\/\\/one")
        .replace("_amd64.deb", "_amd64\\u002edeb");
    assert_ne!(escaped.replace('\\', ""), escaped);
    workspace.put("m.lock", &escaped);
    assert_eq!(plan(), expected);
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    assert_eq!(workspace.get("m.lock"), lock);
}

#[test]
fn unreadable_locks_are_refused() {
    let workspace = of_list(LIST).with("m.lock", "{\"lock\":99,\"future\":true}\n");
    assert_snapshot!(workspace.run(&["plan", "m.toml"]), @r"
    exit 2
    --- err
    error: m.lock has version 99, and this program reads versions up to 3: use a newer driverkit-matrix
    ");
    workspace.put("m.lock", "{\"lock\":1,\"sources\":{}}\n<<<<<<< HEAD\n");
    assert_snapshot!(workspace.run(&["plan", "m.toml"]), @r"
    exit 2
    --- err
    error: the lock has a merge conflict
     --> m.lock:2:1
      |
    2 | <<<<<<< HEAD
      | ^^^^^^^^^^^^
      |
      = help: run `driverkit-matrix lock`, which resolves it kernel by kernel
    ");
}

#[test]
fn unreadable_lists_are_refused() {
    let workspace = Workspace::new().with("m.toml", &crawler_matrix(""));
    assert_snapshot!(workspace.run(&["plan", "m.toml"]), @r#"
    exit 2
    --- err
    m.lock does not exist: looking for kernels
    error: no kernels for `*`: failed to read list.json: it does not exist
     --> m.toml:5:55
      |
    5 | kernels = { from = "kernel-crawler", path = { amd64 = "list.json" } }
      |                                                       ^^^^^^^^^^^ asked for here
    "#);
    workspace.put("list.json", "<html>");
    assert_snapshot!(workspace.run(&["plan", "m.toml"]), @r#"
    exit 2
    --- err
    m.lock does not exist: looking for kernels
    error: no kernels for `*`: list.json is not a kernel list: it is a web page (HTML or XML): use the URL of the file itself
     --> m.toml:5:55
      |
    5 | kernels = { from = "kernel-crawler", path = { amd64 = "list.json" } }
      |                                                       ^^^^^^^^^^^ asked for here
    "#);
}

/// Returns `count` kernels of a target, numbered from `first`.
fn entries(target: &str, first: usize, count: usize) -> String {
    let entries: Vec<String> = (first..first + count)
        .map(|number| {
            format!(
                r#"{{"kernelversion": "1", "kernelrelease": "5.4.{number}-1", "target": "{target}", "headers": ["http://example.org/{target}-{number}.rpm"]}}"#
            )
        })
        .collect();
    entries.join(",\n")
}

fn list(ol: &str, centos: &str) -> String {
    format!(r#"{{"ol": [{ol}], "centos": [{centos}]}}"#)
}

fn today() -> String {
    let now = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC);
    now.date().to_string()
}

#[test]
fn kernels_missing_from_a_shrunken_source_are_kept_as_unconfirmed() {
    let workspace = locked(&list(&entries("ol", 1, 10), &entries("centos", 1, 4)));
    let before = workspace.get("m.lock");
    // A loss of two of ten kernels is accepted; a loss of three, or of a whole target, is not.
    workspace.put("list.json", &list(&entries("ol", 4, 7), ""));
    assert_snapshot!(workspace.run(&["lock", "m.toml"]), @r#"
    exit 1
    --- out
    LOCK    TARGET  KERNELS  CAME  WENT  MOVED  RENAMED  CHANGED  UNCONFIRMED
    m.lock  *            14     0     0      0        0        0            7

    m.lock *
    ? centos 5.4.1-1 #1 amd64
    ? centos 5.4.2-1 #1 amd64
    ? centos 5.4.3-1 #1 amd64
    ? centos 5.4.4-1 #1 amd64
    ? ol 5.4.1-1 #1 amd64
    ? ol 5.4.2-1 #1 amd64
    ? ol 5.4.3-1 #1 amd64
    --- err
    warning: m.lock: 2 losses not believed, so the missing kernels stay, marked unconfirmed
     |
     = help: look at the source; if the kernels are really gone, run `driverkit-matrix lock m.toml --accept-shrink "centos" --accept-shrink "ol"`
      SOURCE  TARGET  SERIES  ARCHITECTURE  BEFORE  NOW
      *       centos  all     amd64              4    0
      *       ol      all     amd64             10    7
    "#);
    let lock = workspace.get("m.lock");
    assert_eq!(lock.matches("\"unconfirmed\":").count(), 7);
    assert_eq!(lock.matches("\"gone\":").count(), 0);

    // The unconfirmed kernels are built as before, and a second refresh changes nothing.
    let plan = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(plan.contains("Plan of 1 matrix: 14 kernels"), "{plan}");
    let again = workspace.run(&["lock", "m.toml"]);
    assert!(again.starts_with("exit 1\n"), "{again}");
    assert_eq!(workspace.get("m.lock"), lock);

    // When the kernels are back in the source, they are confirmed.
    workspace.put(
        "list.json",
        &list(&entries("ol", 1, 10), &entries("centos", 1, 4)),
    );
    let recovered = workspace.run(&["lock", "m.toml"]);
    assert!(recovered.starts_with("exit 0\n"), "{recovered}");
    assert_eq!(workspace.get("m.lock"), before);
}

#[test]
fn an_accepted_loss_of_a_target_keeps_its_kernels_as_gone() {
    let workspace = locked(&list(&entries("ol", 1, 4), &entries("centos", 1, 4)));
    workspace.put(
        "list.json",
        &list(&entries("ol", 4, 1), &entries("centos", 4, 1)),
    );
    let report = workspace.run(&["lock", "m.toml", "--accept-shrink", "o*"]);
    assert!(report.starts_with("exit 1\n"), "{report}");
    let lock = workspace.get("m.lock").replace(&today(), "TODAY");
    assert_eq!(lock.matches("\"unconfirmed\":\"TODAY\"").count(), 3);
    assert_eq!(lock.matches("\"gone\":\"TODAY\"").count(), 3);
    let plan = workspace.run(&["plan", "m.toml", "--locked"]);
    assert_snapshot!(plan.replace(&today(), "TODAY"), @r"
    exit 0
    --- out
    Plan of 1 matrix: 5 kernels, 1 driver, 5 builds, 5 artifacts
    3 kernels unconfirmed: no longer in their sources, which lost too many kernels at once

    TARGET  KERNELS  DRIVERS  BUILDS  MODULES  PROBES
    centos        4        1       4        4       0
    ol            1        1       1        1       0

    BUILD                                 ARTIFACTS  PACKAGES  SOURCE
    8.1.0+driver/x86_64/centos_5.4.1-1_1  module            1  kernel-crawler
    8.1.0+driver/x86_64/centos_5.4.2-1_1  module            1  kernel-crawler
    8.1.0+driver/x86_64/centos_5.4.3-1_1  module            1  kernel-crawler
    8.1.0+driver/x86_64/centos_5.4.4-1_1  module            1  kernel-crawler
    8.1.0+driver/x86_64/ol_5.4.4-1_1      module            1  kernel-crawler

    LEFT OUT BY  COUNT  REASON                                         FOR EXAMPLE
    gone             3  its source has not listed it since TODAY  ol 5.4.1-1, ol 5.4.2-1, ol 5.4.3-1
    --- err
    warning: centos 5.4.1-1 #1 amd64 (and 3 more of centos): a release of centos looks like `3.10.0-957.12.2.el7.x86_64`; `5.4.1-1` looks like one of ubuntu, arch, debian; the content of its named packages decides
    warning: ol 5.4.4-1 #1 amd64: a release of ol looks like `5.4.17-2136.311.6.el8uek.x86_64`; `5.4.4-1` looks like one of ubuntu, arch, debian; the content of its named packages decides
    ");

    // A gone kernel that comes back keeps the day on which it was first seen; after its retention time it is dropped.
    let old = workspace
        .get("m.lock")
        .replace(
            &format!("\"gone\":\"{}\"", today()),
            "\"gone\":\"2020-02-29\"",
        )
        .replace(
            &format!("\"first_seen\":\"{}\"", today()),
            "\"first_seen\":\"2019-02-28\"",
        );
    workspace.put("m.lock", &old);
    workspace.put(
        "list.json",
        &list(&entries("ol", 3, 2), &entries("centos", 1, 4)),
    );
    let report = workspace.run(&["lock", "m.toml", "--format", "json"]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    assert_snapshot!(workspace.get("m.lock"), @r#"
    {"lock":3,"sources":{"*":"e12eee5d67bcbf2beae783f5af1d8a610f50010275376694875a1ffa31dc1e7a"},"limits":{"*":"d9fc052c770dcaf350170442f96b74308c4b78d5cb8816c90c846af150bf6786"}}
    {"target":"centos","release":"5.4.1-1","version":"1","architecture":"amd64","entry":"*","packages":[{"url":"http://example.org/centos-1.rpm"}],"source":"kernel-crawler","first_seen":"2019-02-28"}
    {"target":"centos","release":"5.4.2-1","version":"1","architecture":"amd64","entry":"*","packages":[{"url":"http://example.org/centos-2.rpm"}],"source":"kernel-crawler","first_seen":"2019-02-28"}
    {"target":"centos","release":"5.4.3-1","version":"1","architecture":"amd64","entry":"*","packages":[{"url":"http://example.org/centos-3.rpm"}],"source":"kernel-crawler","first_seen":"2019-02-28"}
    {"target":"centos","release":"5.4.4-1","version":"1","architecture":"amd64","entry":"*","packages":[{"url":"http://example.org/centos-4.rpm"}],"source":"kernel-crawler","first_seen":"2019-02-28"}
    {"target":"ol","release":"5.4.3-1","version":"1","architecture":"amd64","entry":"*","packages":[{"url":"http://example.org/ol-3.rpm"}],"source":"kernel-crawler","first_seen":"2019-02-28"}
    {"target":"ol","release":"5.4.4-1","version":"1","architecture":"amd64","entry":"*","packages":[{"url":"http://example.org/ol-4.rpm"}],"source":"kernel-crawler","first_seen":"2019-02-28"}
    "#);
}

#[test]
fn the_matrix_sets_the_limit_of_a_loss() {
    let matrix = format!(
        "{}\n[lock]\nmax_shrink_percent = 70\nkeep_gone_days = 0\n",
        crawler_matrix("")
    );
    let workspace = Workspace::new()
        .with("list.json", &list(&entries("ol", 1, 10), ""))
        .with("m.toml", &matrix);
    workspace.run(&["lock", "m.toml"]);
    workspace.put("list.json", &list(&entries("ol", 1, 3), ""));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 0\n"), "{report}");
    // Two more kernels are a small loss, but together with the losses of the last nights nine of ten are gone.
    workspace.put("list.json", &list(&entries("ol", 1, 1), ""));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 1\n"), "{report}");
    workspace.put("list.json", &list("", ""));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(report.starts_with("exit 1\n"), "{report}");
    workspace.put("m.toml", &matrix.replace("70", "700"));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(
        report.contains("`max_shrink_percent` is out of range"),
        "{report}"
    );
}

#[test]
fn check_writes_nothing_and_fails_if_the_lock_would_change() {
    let workspace = of_list(LIST);
    let missing = workspace.run(&["lock", "--check", "m.toml"]);
    assert!(missing.starts_with("exit 1\n"), "{missing}");
    assert!(!workspace.path().join("m.lock").exists());
    workspace.run(&["lock", "m.toml"]);
    let lock = workspace.get("m.lock");
    let same = workspace.run(&["lock", "--check", "m.toml"]);
    assert!(same.starts_with("exit 0\n"), "{same}");
    workspace.put("list.json", &LIST.replace("one.example", "two.example"));
    assert_snapshot!(workspace.run(&["lock", "--check", "m.toml"]), @r"
    exit 1
    --- out
    LOCK    TARGET  KERNELS  CAME  WENT  MOVED  RENAMED  CHANGED  UNCONFIRMED
    m.lock  *             3     0     0      2        0        0            0

    m.lock *
    > amazonlinux 4.14.9-1.amzn1.x86_64 #1 amd64: http://one.example.org/b.rpm -> http://two.example.org/b.rpm
    > amazonlinux 4.14.10-1.amzn1.x86_64 #1 amd64: http://one.example.org/a.rpm -> http://two.example.org/a.rpm
    --- err
    list.json: 1 skipped: line 5, AmazonLinux[2]: invalid kernel release `broken release`: ' ' is not allowed; only letters, digits and `. _ + ~ -` are allowed
    m.lock would change: run `driverkit-matrix lock m.toml`
    ");
    assert_eq!(workspace.get("m.lock"), lock);
}

/// Returns a list of three kernels with this suffix; the names of their packages do not contain it.
fn three_kernels(suffix: &str) -> String {
    let entries: Vec<String> = (1..=3)
        .map(|number| format!(
            r#"{{"kernelversion": "59", "kernelrelease": "5.4.0-{number}-{suffix}", "target": "ubuntu-{suffix}", "headers": ["http://example.org/linux-headers-{number}.deb"]}}"#
        ))
        .collect();
    format!(r#"{{"ubuntu": [{}]}}"#, entries.join(", "))
}

/// A renamed kernel keeps its first-seen day, and a source that renames kernels loses none.
#[test]
fn renamed_kernels_are_recognised() {
    let workspace = locked(&three_kernels("hwe-5.4"));
    let old = workspace.get("m.lock").replace(&today(), "2024-02-29");
    workspace.put("m.lock", &old);
    workspace.put("list.json", &three_kernels("hwe"));
    assert_snapshot!(workspace.run(&["lock", "m.toml"]), @r"
    exit 0
    --- out
    LOCK    TARGET  KERNELS  CAME  WENT  MOVED  RENAMED  CHANGED  UNCONFIRMED
    m.lock  *             3     0     0      0        3        0            0

    m.lock *
    = ubuntu-hwe-5.4 5.4.0-1-hwe-5.4 #59 amd64 -> ubuntu-hwe 5.4.0-1-hwe #59 amd64
    = ubuntu-hwe-5.4 5.4.0-2-hwe-5.4 #59 amd64 -> ubuntu-hwe 5.4.0-2-hwe #59 amd64
    = ubuntu-hwe-5.4 5.4.0-3-hwe-5.4 #59 amd64 -> ubuntu-hwe 5.4.0-3-hwe #59 amd64
    ");
    let lock = workspace.get("m.lock");
    assert_eq!(lock.matches("2024-02-29").count(), 3, "{lock}");

    workspace.put("list.json", &three_kernels("hwe-5.4"));
    let report = workspace.run(&["lock", "m.toml", "--format", "json"]);
    let json: serde_json::Value =
        serde_json::from_str(report.split_once("--- out\n").unwrap().1).unwrap();
    let entry = &json["locks"][0]["entries"][0];
    assert_eq!(entry["renamed"].as_array().unwrap().len(), 3, "{json}");
    assert_eq!(entry["renamed"][0]["before"]["target"], "ubuntu-hwe");
    assert_eq!(entry["renamed"][0]["after"]["target"], "ubuntu-hwe-5.4");
    assert_eq!(entry["came"], serde_json::json!([]));
    assert_eq!(json["locks"][0]["is_changed"], true);
}

/// A kernel that was gone for a night, and came back under another name, keeps its digests and its first-seen day.
#[test]
fn kernel_that_comes_back_under_another_name_keeps_its_history() {
    let workspace = locked(&three_kernels("hwe-5.4"));
    let url = "http://example.org/linux-headers-2.deb\"";
    let digest = format!("{:064}", 7);
    let noted = format!("{url},\"size\":9,\"sha256\":\"{digest}\",\"noted\":true");
    let old = workspace.get("m.lock").replace(&today(), "2024-02-29");
    workspace.put("m.lock", &old.replace(url, &noted));
    workspace.put("list.json", "{}");
    workspace.run(&["lock", "m.toml", "--accept-shrink", "ubuntu-*"]);
    assert_eq!(workspace.get("m.lock").matches("\"gone\":").count(), 3);

    workspace.put("list.json", &three_kernels("hwe"));
    let report = workspace.run(&["lock", "m.toml"]);
    assert!(
        report.contains("m.lock  *             3     3     0      0        0 "),
        "{report}"
    );
    let lock = workspace.get("m.lock");
    assert_eq!(lock.matches("\"2024-02-29\"").count(), 3, "{lock}");
    assert_eq!(lock.matches(&digest).count(), 1, "{lock}");
    assert!(!lock.contains("\"gone\":"), "{lock}");
}
