//! Test of a large grid without a network: equal failures are shown once, whatever the size of the grid.

use support::workspace::Workspace;

/// The number of kernels in the list; with eight drivers there are many more builds than lines on a screen.
const KERNELS: usize = 289;
const BUILDS: &str = "2,312";

const MATRIX: &str = r#"drivers = ["5.0.1+driver", "6.0.0+driver", "7.0.0+driver", "7.3.0+driver", "8.0.0+driver", "8.1.0+driver", "9.1.0+driver", "10.2.0+driver"]
artifacts = ["module"]

[[target]]
name = "*"
kernels = { from = "kernel-crawler", path = { amd64 = "list.json" } }
"#;

fn list() -> String {
    let kernel = |number: usize| {
        let release = format!("4.14.{number}-1.amzn1.x86_64");
        let host = number % 4;
        format!(
            r#"{{"kernelversion": 1, "kernelrelease": "{release}", "target": "amazonlinux", "headers": ["http://mirror{host}.example.org/kernel-devel-{release}.rpm"]}}"#
        )
    };
    let kernels: Vec<String> = (0..KERNELS).map(kernel).collect();
    format!("{{\"AmazonLinux\": [{}]}}", kernels.join(",\n"))
}

#[test]
fn the_summary_of_an_outage_of_a_large_grid_fits_on_one_screen() {
    let workspace = Workspace::new()
        .with("m.toml", MATRIX)
        .with("list.json", &list());
    assert!(workspace.run(&["lock", "m.toml"]).starts_with("exit 0\n"));
    let report = workspace.run(&["--offline", "run", "m.toml", "--executor", "fake"]);
    let shown: Vec<&str> = report.lines().collect();
    assert!(report.starts_with("exit 3\n"), "{}", shown[..60].join("\n"));
    assert!(shown.len() < 60, "{} lines", shown.len());
    for expected in [
        &*format!("{BUILDS} builds, {BUILDS} artifacts wanted"),
        // The files of the packages and of the drivers' sources.
        "297 files are missing for an offline run: out/.driverkit-matrix/missing.txt lists all",
        "download: mirror0.example.org: was not requested",
        &format!(
            "exit 3    infrastructure failed; {BUILDS} of {BUILDS} wanted artifacts are missing"
        ),
    ] {
        assert!(report.contains(expected), "{expected}: {report}");
    }
    let missing = workspace.get("out/.driverkit-matrix/missing.txt");
    assert_eq!(missing.lines().count(), KERNELS + 8);
}
