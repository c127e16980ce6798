use std::sync::Arc;

use super::*;
use crate::diagnostic::SourceFile;
use crate::driver::DriverLocation;
use crate::kernel::Architecture;

fn read_text(text: &str) -> Result<Matrix, Vec<String>> {
    let file = SourceFile {
        path: "some/folder/m.toml".into(),
        text: text.to_owned(),
    };
    read(Arc::new(file)).map_err(|errors| {
        errors
            .iter()
            .map(|error| format!("{}: {}", error.place().unwrap(), error.message()))
            .collect()
    })
}

const TARGET: &str = "[[target]]\nname = \"centos\"\nkernels = [{ release = \"5.4.0-1\" }]\n";

#[test]
fn a_short_matrix_gets_defaults() {
    let matrix = read_text(&format!("drivers = [\"8.1.0+driver\"]\n{TARGET}")).unwrap();
    assert_eq!(matrix.architectures, [Architecture::Amd64]);
    assert_eq!(matrix.artifacts, [crate::driver::Artifact::Module]);
    let driver = matrix.drivers[0].get_ref();
    assert_eq!(driver.module_name, "falco");
    assert_eq!(
        driver.location,
        DriverLocation::Url(
            "https://github.com/falcosecurity/libs/archive/8.1.0+driver.tar.gz".to_owned()
        )
    );
    assert!(matrix.defaults.is_empty());
}

#[test]
fn paths_are_relative_to_the_directory_of_the_matrix() {
    let text = r#"
drivers = ["mine"]
[driver.mine]
source = { path = "../vendor/mine" }
[[target]]
name = "vanilla"
kernels = [{ release = "6.1.55", headers = ["a.tar.xz", "/b.tar.xz", "file:///c.tar.xz"], config = "edge.config" }]
"#;
    let matrix = read_text(text).unwrap();
    assert_eq!(
        matrix.drivers[0].get_ref().location,
        DriverLocation::Path("some/folder/../vendor/mine".into())
    );
    let kernels = matrix.targets[0].kernels.get_ref();
    let kernel = kernels.inline[0].get_ref();
    let headers: Vec<&str> = kernel.headers.iter().map(|header| &**header).collect();
    assert_eq!(
        headers,
        ["some/folder/a.tar.xz", "/b.tar.xz", "file:///c.tar.xz"]
    );
    assert_eq!(
        kernel.config.as_deref(),
        Some(std::path::Path::new("some/folder/edge.config"))
    );
}

#[test]
fn mirrors_keep_their_order() {
    let text = format!(
        r#"
drivers = ["8.1.0+driver"]
[mirrors]
"http://z.example.org/x" = ["http://a.example.org", "file:///srv/mirror"]
offline = true
"http://a.example.org/x" = ["http://b.example.org"]
{TARGET}"#
    );
    let mirrors = read_text(&text).unwrap().mirrors;
    assert!(mirrors.is_offline);
    let from: Vec<&str> = mirrors
        .rewrites
        .iter()
        .map(|(from, _)| from.as_str())
        .collect();
    assert_eq!(from, ["http://z.example.org/x", "http://a.example.org/x"]);
    assert_eq!(
        mirrors.rewrites[0].1,
        ["http://a.example.org", "file:///srv/mirror"]
    );
}

#[test]
fn the_digest_of_a_source_covers_all_its_keys() {
    let digest = |kernels: &str| {
        let text = format!(
            "drivers = [\"8.1.0+driver\"]\n[[target]]\nname = \"debian\"\nkernels = {kernels}\n"
        );
        let matrix = read_text(&text).unwrap();
        let entry = &matrix.targets[0];
        entry
            .kernels
            .get_ref()
            .digest(entry.name.get_ref(), &entry.architectures)
    };
    let all = [
        r#"{ from = "mirror", suites = ["sid"] }"#,
        r#"{ from = "mirror", suites = ["sid", "trixie"] }"#,
        r#"{ from = "mirror", suites = ["sid"], flavours = ["rt"] }"#,
        r#"{ from = "mirror", suites = ["sid"], latest = 1 }"#,
        r#"{ from = "mirror", suites = ["sid"], match = "6.*" }"#,
        r#"{ from = "mirror", suites = ["sid"], exclude = ["6.*"] }"#,
        r#"{ from = "mirror", suites = ["sid"], url = "http://example.org/debian" }"#,
        r#"{ from = "kernel-crawler", path = { amd64 = "a.json" } }"#,
        r#"{ from = "kernel-crawler", path = { amd64 = "b.json" } }"#,
        r#"{ from = "kernel-crawler", path = { arm64 = "a.json" } }"#,
    ];
    let different: std::collections::BTreeSet<_> = all.iter().map(|one| digest(one)).collect();
    assert_eq!(different.len(), all.len());
    assert_eq!(digest(all[0]), digest(all[0]));
}

#[test]
fn invalid_sources_are_refused() {
    for (kernels, expected) in [
        ("3", "`kernels` has the wrong type"),
        ("[]", "`kernels` is empty"),
        ("{}", "`from` is missing in `kernels`"),
        (r#"{ from = "mirror" }"#, "`suites` is missing in `kernels`"),
        (
            r#"{ from = "mirror", suites = ["../x"] }"#,
            "invalid name `../x` of a suite or flavour: expected letters, digits and `. _ - /`",
        ),
        (
            r#"{ from = "mirror", suites = ["sid"], url = "ftp://x" }"#,
            "`ftp` URLs cannot be read",
        ),
        (
            r#"{ from = "mirror", suites = ["sid"], latest = 0 }"#,
            "`latest` is out of range",
        ),
        (
            r#"{ from = "kernel-crawler" }"#,
            "`path` is missing in `kernels`",
        ),
        (
            r#"{ from = "kernel-crawler", path = {} }"#,
            "`path` has no list",
        ),
        (
            r#"{ from = "kernel-crawler", path = { x86 = "a" } }"#,
            "unknown key `x86` in `path`",
        ),
    ] {
        let text = format!(
            "drivers = [\"8.1.0+driver\"]\n[[target]]\nname = \"debian\"\nkernels = {kernels}\n"
        );
        let errors = read_text(&text).unwrap_err();
        assert_eq!(errors.len(), 1, "{kernels}: {errors:?}");
        assert!(
            errors[0].starts_with("some/folder/m.toml:4:") && errors[0].ends_with(expected),
            "{kernels}: {errors:?}"
        );
    }
}

#[test]
fn a_misspelt_key_is_compared_with_all_valid_keys() {
    let text = "drivers = [\"8.1.0+driver\"]\nartefacts = [\"module\"]\n[[target]]\nname = \"debian\"\nkernels = []\n";
    let file = SourceFile {
        path: "m.toml".into(),
        text: text.to_owned(),
    };
    let errors = read(Arc::new(file)).unwrap_err();
    let drawn: String = errors.iter().map(|error| error.draw(false)).collect();
    assert!(drawn.contains("did you mean `artifacts`?"), "{drawn}");
}

#[test]
fn a_driver_has_exactly_one_source() {
    let location = |source: &str| {
        let text = format!("drivers = [\"x\"]\n[driver.x]\nsource = {{ {source} }}\n{TARGET}");
        read_text(&text).map(|matrix| matrix.drivers[0].get_ref().location.clone())
    };
    assert_eq!(
        location("git = \"../libs\", ref = \"v1^{commit}\"").unwrap(),
        DriverLocation::Git {
            repository: "some/folder/../libs".into(),
            reference: "v1^{commit}".to_owned(),
        }
    );
    assert_eq!(
        location("org = \"me\", name = \"fork\"").unwrap(),
        DriverLocation::Url("https://github.com/me/fork/archive/x.tar.gz".to_owned())
    );
    for (source, message) in [
        ("git = \"a\"", "ref"),
        ("ref = \"a\"", "git"),
        (
            "git = \"a\", ref = \"-x\"",
            "is not a commit, tag or branch",
        ),
        (
            "path = \"a\", git = \"a\", ref = \"b\"",
            "has several locations",
        ),
        ("org = \"a/b\"", "invalid repository name `a/b`"),
    ] {
        let error = location(source).unwrap_err();
        assert!(
            format!("{error:?}").contains(message),
            "{source}: {error:?}"
        );
    }
}
