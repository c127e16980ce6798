//! Tests of full-size matrices, of the shipped matrices, and of a matrix that reads a mirror.

use insta::assert_snapshot;

use super::output::SMALL;
use support::lists;
use support::workspace::Workspace;

/// The demo matrix is valid; its kernels are found only if a mirror is available.
#[test]
fn the_demo_matrix_is_read() {
    let demo = include_str!("../../../matrices/debian.toml");
    let workspace = Workspace::new().with("matrices/debian.toml", demo);
    let report = workspace.run(&["plan", "--locked"]);
    let expected = "exit 2\n--- err\nerror: matrices/debian.lock does not exist";
    assert!(report.starts_with(expected), "{report}");
}

#[test]
fn the_mirror_flag_is_checked() {
    let workspace = Workspace::new().with("m.toml", SMALL);
    assert_snapshot!(workspace.run(&["plan", "m.toml", "--mirror", "debian"]), @r"
    exit 2
    --- err
    error: invalid value 'debian' for '--mirror <NAME=URL>': expected NAME=URL, as in debian=http://ftp.debian.org/debian

    For more information, try '--help'.
    ");
    assert_snapshot!(workspace.run(&["plan", "m.toml", "--mirror", "debian=here"]), @r"
    exit 2
    --- err
    error: invalid value 'debian=here' for '--mirror <NAME=URL>': `here` is not a valid URL: relative URL without a base

    For more information, try '--help'.
    ");
    let report = workspace.run(&[
        "plan",
        "m.toml",
        "--mirror",
        "debian=http://example.org/debian",
    ]);
    assert!(report.starts_with("exit 0\n"), "{report}");
}

/// `--mirror` is read, but the lock contains the usual URLs.
#[test]
fn a_mirror_is_read_and_not_written_to_the_lock() {
    let workspace = Workspace::new().with(
        "m.toml",
        "drivers = [\"mine\"]\n[[target]]\nname = \"debian\"\nkernels = { from = \"mirror\", suites = [\"sid\"] }\n",
    );
    let version = "7.2.1-1";
    let paragraph = |name: &str, architecture: &str, depends: &str| {
        let digest = driverkit_matrix::digest::Sha256::of(name);
        format!(
            "Package: {name}\nSource: linux\nVersion: {version}\nArchitecture: {architecture}\nDepends: {depends}\nFilename: pool/main/l/linux/{name}_{version}_{architecture}.deb\nSize: 7\nSHA256: {digest}\n\n"
        )
    };
    let depends =
        format!("linux-headers-7.2.1-common (= {version}), linux-kbuild-7.2.1 (= {version})");
    let packages = [
        paragraph("linux-headers-7.2.1-amd64", "amd64", &depends),
        paragraph("linux-headers-7.2.1-common", "all", ""),
        paragraph("linux-kbuild-7.2.1", "amd64", ""),
    ]
    .concat();
    let digest = |text: &str| driverkit_matrix::digest::Sha256::of(text);
    let release = format!(
        "Suite: sid\nSHA256:\n {} {} main/binary-amd64/Packages\n {} 0 main/binary-arm64/Packages\n",
        digest(&packages),
        packages.len(),
        digest(""),
    );
    workspace.put("mirror/dists/sid/Release", &release);
    workspace.put("mirror/dists/sid/main/binary-amd64/Packages", &packages);
    workspace.put("mirror/dists/sid/main/binary-arm64/Packages", "");
    let mirror = format!("debian=file://{}/mirror", workspace.path().display());
    let report = workspace.run(&["plan", "m.toml", "--mirror", &mirror]);
    assert_snapshot!(report, @r"
    exit 0
    --- out
    Plan of 1 matrix: 1 kernel, 1 driver, 1 build, 1 artifact

    TARGET  KERNELS  DRIVERS  BUILDS  MODULES  PROBES
    debian        1        1       1        1       0

    BUILD                               ARTIFACTS  PACKAGES  SOURCE
    mine/x86_64/debian_7.2.1-1-amd64_1  module            3  mirror
    --- err
    m.lock does not exist: looking for kernels
    debian: reading suite 1 of 1: sid
    debian: sid: header packages: 3 for amd64, 0 for arm64
    m.lock: 1 kernel found
    ");
    let lock = workspace.get("m.lock");
    let (_, usual) = driverkit_matrix::discover::DEFAULT_MIRRORS[0];
    let address = format!(
        "\"url\":\"{usual}/pool/main/l/linux/linux-headers-7.2.1-amd64_7.2.1-1_amd64.deb\""
    );
    assert!(
        lock.contains(&address) && !lock.contains("file://"),
        "{lock}"
    );

    // Without the mirror, the lock still works until it is refreshed.
    let again = workspace.run(&["plan", "m.toml", "--locked"]);
    assert!(again.starts_with("exit 0\n"), "{again}");
}

/// Two whole kernel lists with eight drivers: every kernel is planned or left out, none twice.
#[test]
fn every_kernel_of_two_lists_is_planned_or_left_out() {
    let workspace = Workspace::new();
    let lists = lists::find_or_make(workspace.path());
    workspace.put("all.toml", &lists::matrix(&lists));
    let report = workspace.run(&["plan", "all.toml"]);
    let head = report.lines().nth(2).unwrap();
    let are_real = !lists.paths[0].starts_with(workspace.path());
    if are_real {
        assert_eq!(
            head,
            "Plan of 1 matrix: 5,782 kernels, 8 drivers, 46,256 builds, 46,256 artifacts"
        );
        for (kernels, target) in [
            (10, "amazonlinux2022"),
            (154, "centos"),
            (46, "debian"),
            (361, "flatcar"),
            (9, "minikube"),
            (420, "ol"),
            (388, "photon"),
            (360, "ubuntu-aws"),
        ] {
            let is_there = report.lines().any(|line| {
                let mut words = line.split_whitespace();
                words.next() == Some(target) && words.next() == Some(&kernels.to_string())
            });
            assert!(is_there, "{target}: {report}");
        }
        // 118 kernels of centos6 and 431 of ol on amd64; the others are of ubuntu on arm64.
        assert!(
            report.contains("support floor    549  a module needs kernel 3.10 or newer on amd64")
        );
        assert!(
            report.contains("support floor    103  a module needs kernel 3.16 or newer on arm64")
        );
    }
    let lock = workspace.run(&["lock", "all.toml"]);
    let row: Vec<&str> = lock.lines().nth(3).unwrap().split_whitespace().collect();
    assert_eq!(
        row,
        ["all.lock", "*", "6,434", "0", "0", "0", "0", "0", "0"]
    );
}

#[test]
fn shipped_matrices_are_planned_without_warnings() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("matrices");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let is_matrix = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        // Matrices that read the mirrors of distributions are left out.
        if !is_matrix
            || std::fs::read_to_string(&path)
                .unwrap()
                .contains("from = \"mirror\"")
        {
            continue;
        }
        let output = assert_cmd::Command::cargo_bin("driverkit-matrix")
            .unwrap()
            .args(["plan", "--format", "json"])
            .arg(&path)
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaints}", path.display());
        // No output on standard error means no warnings: every package has a URL, every source a configuration.
        assert_eq!(complaints, "", "{}", path.display());
        count += 1;
    }
    assert!(count >= 14, "{count} matrices");
}

#[test]
fn kernels_for_which_nothing_can_be_built_are_reported() {
    let matrix = r#"drivers = ["8.1.0+driver"]
[[target]]
name = "debian"
kernels = [{ release = "6.1.55-1-amd64", headers = ["https://example.org/linux-image-6.1.0-13-amd64_6.1.55-1_amd64.deb"] }]
[[target]]
name = "amazonlinux2"
kernels = [{ release = "5.10.102-99.473.amzn2.x86_64" }, { release = "5.4.95-42.163.amzn2.x86_64" }]
[[target]]
name = "redhat"
kernels = [{ release = "4.18.0-372.9.1.el8.x86_64" }]
[[target]]
name = "vanilla"
kernels = [{ release = "6.1.55" }]
"#;
    let workspace = Workspace::new().with("m.toml", matrix);
    let shown = workspace.run(&["plan", "m.toml", "--arch", "amd64"]);
    for text in [
        "nothing can be built for debian 6.1.55-1-amd64 #1 amd64: none of its packages is the header package",
        "amazonlinux2 5.4.95-42.163.amzn2.x86_64 #1 amd64 (and for 1 more of amazonlinux2): the URL of its",
        "vanilla 6.1.55 #1 amd64: its tree is prepared from a kernel source",
    ] {
        assert!(shown.contains(text), "{shown}");
    }
}

#[test]
fn kernels_of_a_subscription_need_an_image() {
    let matrix = r#"drivers = ["8.1.0+driver", "7.0.0+driver"]
architectures = ["amd64"]
[[target]]
name = "redhat"
kernels = [{ release = "4.18.0-372.9.1.el8.x86_64" }, { release = "4.18.0-305.el8.x86_64", headers = [
    "https://example.org/kernel-devel-4.18.0-305.el8.x86_64.rpm",
] }]
[[override]]
target = "redhat"
driver = "7.0.0+driver"
image  = "registry.example.org/rhel8"
"#;
    let workspace = Workspace::new().with("m.toml", matrix);
    let shown = workspace.run(&["plan", "m.toml"]);
    // One of the two drivers has no image for the kernel; named packages need none.
    for text in [
        "2 kernels, 2 drivers, 3 builds",
        "its packages need a subscription: set an image that has access to them",
        "yum                  1  registry.example.org/rhel8",
    ] {
        assert!(shown.contains(text), "{shown}");
    }
    let shown = workspace.run(&[
        "plan",
        "m.toml",
        "--builderimage",
        "a/b:c",
        "--format",
        "json",
    ]);
    let out = shown.split_once("--- out\n").unwrap().1;
    let out = out.split("--- err").next().unwrap();
    let plan: serde_json::Value = serde_json::from_str(out).unwrap();
    assert_eq!(plan["build_count"], 4);
    for build in plan["builds"].as_array().unwrap() {
        assert_eq!(build["image"], "a/b:c");
        let is_named = build["kernel_release"] == "4.18.0-305.el8.x86_64";
        assert_eq!(build["download"].is_null(), is_named, "{build}");
    }
}

#[test]
fn a_matrix_may_name_the_upstream_kernel_of_a_flatcar_release() {
    let matrix = |upstream: &str| {
        format!(
            "drivers = [\"9.1.0+driver\"]\n[[target]]\nname = \"flatcar\"\narchitectures = [\"amd64\"]\n\
             kernels = [{{ release = \"3227.2.2\", upstream = \"{upstream}\" }}]\n"
        )
    };
    let workspace = Workspace::new().with("m.toml", &matrix("5.15.63"));
    let report = workspace.run(&["plan", "m.toml"]);
    assert!(report.starts_with("exit 0\n"), "{report}");

    workspace.put("m.toml", &matrix("five"));
    let report = workspace.run(&["plan", "m.toml"]);
    assert!(report.starts_with("exit 2\n"), "{report}");
    assert!(
        report.contains("m.toml:5:") && report.contains("`five`"),
        "{report}"
    );
}
