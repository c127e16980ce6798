use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::diagnostic::{Diagnostic, SourceFile};

type Flags = BTreeMap<&'static str, Given>;

fn flags(pairs: &[(&'static str, &str)]) -> Flags {
    let mut flags = Flags::new();
    for (key, value) in pairs {
        let given = flags
            .entry(*key)
            .or_insert_with(|| Given::by_flag(Vec::new()));
        given.items.push((*value).to_owned());
    }
    flags
}

fn file(text: &str) -> Arc<SourceFile> {
    Arc::new(SourceFile {
        path: "config.yaml".into(),
        text: text.to_owned(),
    })
}

fn read(text: &str) -> Flags {
    read_file(&file(text)).unwrap().0
}

/// Merges flags, variables and a file.
fn merged(of_flags: &[(&'static str, &str)], variables: &[(&str, &str)], text: &str) -> Values {
    let variable = |name: &str| {
        let found = variables.iter().find(|(of, _)| *of == name)?;
        Some(found.1.to_owned())
    };
    Values::merge(&flags(of_flags), variable, read(text))
}

fn messages(diagnostics: &[Diagnostic]) -> Vec<&str> {
    diagnostics.iter().map(Diagnostic::message).collect()
}

#[test]
fn a_flag_overrides_the_environment_and_the_environment_overrides_the_file() {
    let text = "target: a\nkernelrelease: b\nrepo-org: c\n";
    let variables = [("DRIVERKIT_TARGET", "d"), ("DRIVERKIT_REPO_ORG", "")];
    let values = merged(&[("target", "e")], &variables, text);
    assert_eq!(values.text("target"), Some("e"));
    assert_eq!(values.text("kernelrelease"), Some("b"));
    assert_eq!(values.text("repo-org"), Some("c"));
    let values = merged(&[], &variables, text);
    assert_eq!(values.text("target"), Some("d"));
    assert_eq!(values.text("kernelversion"), None);
}

#[test]
fn outputs_may_be_nested_or_flat_and_lists_may_be_strings() {
    for text in [
        "output:\n  module: /a.ko\n  probe: /b.o\n",
        "output-module: /a.ko\noutput-probe: /b.o\n",
        "output.module: /a.ko\nOutput:\n  Probe: /b.o\n",
    ] {
        let values = merged(&[], &[], text);
        assert_eq!(values.text("output-module"), Some("/a.ko"), "{text}");
        assert_eq!(values.text("output-probe"), Some("/b.o"), "{text}");
    }
    for text in [
        "kernelurls: [http://a/1, http://a/2]",
        "kernelurls:\n  - http://a/1\n  - http://a/2\n",
        "kernelurls: http://a/1,http://a/2",
        "kernelurls: http://a/1 http://a/2",
    ] {
        let values = merged(&[], &[], text);
        assert_eq!(values.items("kernelurls"), ["http://a/1", "http://a/2"]);
    }
    let of_flags = [
        ("kernelurls", "http://a/1"),
        ("kernelurls", "http://a/2,http://a/3"),
    ];
    let values = merged(&of_flags, &[], "kernelurls: http://b");
    assert_eq!(values.items("kernelurls").len(), 3);
    let values = merged(&[], &[], "env: {A: b, C: 5.10}");
    assert_eq!(values.items("env"), ["A=b", "C=5.10"]);
}

#[test]
fn numbers_keep_their_spelling() {
    let values = merged(&[], &[], "kernelversion: 59\nkernelrelease: 5.10\n");
    assert_eq!(values.text("kernelversion"), Some("59"));
    assert_eq!(values.text("kernelrelease"), Some("5.10"));
}

#[test]
fn errors_in_a_file_are_reported_with_their_place() {
    for (text, message, place) in [
        ("targt: debian\n", "unknown key `targt`", "config.yaml:1:1"),
        (
            "- a\n",
            "the file is not a mapping of keys to values",
            "config.yaml:1:1",
        ),
        (
            "target: [a]\n",
            "`target` takes one value",
            "config.yaml:1:9",
        ),
        ("a: 1\noutput: x.ko\n", "unknown key `a`", "config.yaml:1:1"),
        (
            "output:\n  modul: x\n",
            "unknown key `modul` in `output`",
            "config.yaml:2:3",
        ),
        (
            "kernelurls: [[a]]\n",
            "`kernelurls` must be a list of strings",
            "config.yaml:1:13",
        ),
        (
            "env: {A: [b]}\n",
            "`env` must map names to strings",
            "config.yaml:1:6",
        ),
    ] {
        let faults = read_file(&file(text)).unwrap_err();
        assert_eq!(faults[0].message(), message);
        assert_eq!(faults[0].place().unwrap().to_string(), place, "{text}");
    }
    let faults = read_file(&file("targt: debian\nzzz: 1\n")).unwrap_err();
    assert_eq!(faults.len(), 2);
    assert!(faults[0].draw(false).contains("did you mean `target`?"));
}

#[test]
fn keys_that_are_only_flags_have_no_effect_in_a_file() {
    let (given, warnings) = read_file(&file("timeout: 300\ntarget: debian\n")).unwrap();
    assert_eq!(given.len(), 1);
    assert!(warnings[0].message().contains("`timeout`"));
}

const GOOD: &[(&str, &str)] = &[
    ("target", "debian"),
    ("kernelrelease", "6.1.0-50-amd64"),
    ("architecture", "amd64"),
    ("output-module", "/tmp/falco.ko"),
];

fn request(changes: &[(&'static str, &str)]) -> Result<Request, Vec<Diagnostic>> {
    let mut all = flags(GOOD);
    for (key, given) in flags(changes) {
        all.insert(key, given);
    }
    Request::read(&Values::merge(&all, |_| None, BTreeMap::new()))
}

#[test]
fn defaults_match_driverkit() {
    let Request {
        kernel,
        driver,
        outputs,
        ..
    } = request(&[]).unwrap();
    assert_eq!(kernel.version.as_str(), "1");
    assert_eq!(driver.version.as_str(), "master");
    assert_eq!(driver.module_name, "falco");
    assert_eq!(driver.device_name, "falco");
    let url = "https://github.com/falcosecurity/libs/archive/master.tar.gz".to_owned();
    assert_eq!(driver.location, crate::driver::DriverLocation::Url(url));
    assert_eq!(outputs.len(), 1);
}

#[test]
fn a_kernel_url_with_a_port_is_accepted() {
    let url = "http://127.0.0.1:8080/linux-headers_1%2B2~3.deb?x=y";
    let request = request(&[("kernelurls", url)]).unwrap();
    assert_eq!(&*request.kernel.packages[0].url, url);
}

#[test]
fn unsupported_outputs_are_left_out_with_a_warning() {
    let probe = ("output-probe", "/tmp/probe.o");
    let found = request(&[probe, ("driverversion", "10.0.0+driver")]).unwrap();
    assert_eq!(found.outputs.len(), 1);
    assert_eq!(
        found.warnings,
        ["no probe is built: drivers after 9.1.0+driver have no probe"]
    );
    assert_eq!(request(&[probe]).unwrap().outputs.len(), 2);
    let faults = request(&[
        ("kernelrelease", "2.6.32-754.el6.x86_64"),
        ("target", "centos"),
    ])
    .unwrap_err();
    assert_eq!(
        messages(&faults),
        ["nothing can be built: a module needs kernel 3.10 or newer on amd64"]
    );
}

const SIXTY_ONE: &str = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

/// Key, value, and part of the expected message.
const BAD: &[(&str, &str, &str)] = &[
    ("target", "debain", "`--target`: target `debain` is unknown"),
    ("target", "", "`target` is missing"),
    (
        "target",
        "a b",
        "`--target`: invalid target `a b`: ' ' is not allowed; only letters, digits and `. + ~ -`",
    ),
    ("kernelrelease", "", "`kernelrelease` is missing"),
    (
        "kernelrelease",
        "6.1.0-ä",
        "`--kernelrelease`: `6.1.0-ä` contains characters that are not ASCII",
    ),
    (
        "kernelrelease",
        "six",
        "`--kernelrelease`: kernel release `six` does not start with a number",
    ),
    (
        "kernelversion",
        "a/b",
        "`--kernelversion`: invalid kernel version `a/b`: '/' is not allowed",
    ),
    (
        "architecture",
        "riscv64",
        "`--architecture`: unknown architecture `riscv64`: expected amd64 (or x86_64) or arm64",
    ),
    (
        "builderimage",
        "/a",
        "`--builderimage`: invalid image name `/a`",
    ),
    (
        "builderimage",
        "a//b",
        "`--builderimage`: invalid image name `a//b`",
    ),
    (
        "builderimage",
        "a-/b",
        "`--builderimage`: invalid image name `a-/b`",
    ),
    (
        "builderimage",
        "a b",
        "`--builderimage`: invalid image name `a b`",
    ),
    (
        "builderimage",
        "auto:a/b",
        "`--builderimage`: invalid tag `a/b`",
    ),
    (
        "builderrepo",
        "a$b",
        "`--builderrepo`: invalid image name `a$b`",
    ),
    (
        "driverversion",
        "0.20",
        "`--driverversion`: invalid driver version `0.20`",
    ),
    (
        "driverversion",
        "../x",
        "`--driverversion`: invalid driver version `../x`",
    ),
    ("driverversion", "dev", "until 2022 is now master"),
    (
        "gccversion",
        "gcc-12",
        "`--gccversion`: `gcc-12` is not a gcc version such as 12 or 4.8.5",
    ),
    (
        "kernelconfigdata",
        "%",
        "`--kernelconfigdata`: it is not base64",
    ),
    (
        "kernelconfigdata",
        "YQ",
        "`--kernelconfigdata`: it is not base64",
    ),
    (
        "kernelurls",
        "ftp://a/b",
        "`--kernelurls`: `ftp://a/b` is a ftp URL",
    ),
    (
        "kernelurls",
        "a.deb",
        "`--kernelurls`: `a.deb` is not a valid URL",
    ),
    (
        "kernelurls",
        "http://h:99999/",
        "`--kernelurls`: `http://h:99999/` is not a valid URL",
    ),
    (
        "moduledevicename",
        "a/b",
        "`--moduledevicename`: `a/b` cannot name a module or device",
    ),
    (
        "moduledrivername",
        SIXTY_ONE,
        "`--moduledrivername`: the name has 61 characters: expected 1 to 60",
    ),
    (
        "moduledrivername",
        "-x",
        "`--moduledrivername`: `-x` cannot name",
    ),
    (
        "output-module",
        "",
        "there is nothing to build: `output-module` is missing",
    ),
    (
        "output-module",
        "/tmp/falco.o",
        "`--output-module`: `/tmp/falco.o` does not end with .ko",
    ),
    ("output-module", "/", "`--output-module`: / is a directory"),
    (
        "output-module",
        "/etc/passwd/a.ko",
        "`--output-module`: /etc/passwd is a file, not a directory",
    ),
    (
        "output-probe",
        "/tmp/probe.ko",
        "`--output-probe`: `/tmp/probe.ko` does not end with .o",
    ),
    (
        "registry-name",
        "a",
        "the registry login is incomplete: `registry-user` and `registry-password` are missing",
    ),
    (
        "registry-plain-http",
        "maybe",
        "`--registry-plain-http`: `maybe` is neither true nor false",
    ),
    (
        "repo-name",
        "a/b",
        "`--repo-name`: `a/b` cannot name a repository",
    ),
    (
        "repo-org",
        "..",
        "`--repo-org`: `..` cannot name a repository",
    ),
    (
        "src-dir",
        "/nonexistent",
        "`--src-dir`: /nonexistent does not exist",
    ),
];

#[test]
fn every_bad_value_is_refused_with_its_reason() {
    for &(key, value, message) in BAD {
        let key = KEYS.iter().find(|known| **known == key).unwrap();
        let faults = request(&[(key, value)]).unwrap_err();
        assert!(
            faults.iter().any(|fault| fault.message().contains(message)),
            "{key}={value}: {:?}",
            messages(&faults)
        );
    }
}

#[test]
fn related_values_are_checked_together() {
    for (changes, message) in [
        (
            vec![("target", "vanilla"), ("kernelrelease", "6.1.55")],
            "target vanilla needs the kernel's configuration: `kernelconfigdata` is missing",
        ),
        (
            vec![("target", "minikube"), ("kernelrelease", "5.10.57")],
            "target minikube needs the kernel's configuration",
        ),
        (
            vec![
                ("target", "ubuntu-aws"),
                ("kernelrelease", "4.15.0-1057-aws"),
                ("kernelversion", ""),
            ],
            "`--kernelversion`: it may not be empty for target ubuntu-aws",
        ),
        (
            vec![
                ("target", "redhat"),
                ("kernelrelease", "4.18.0-1.el8.x86_64"),
            ],
            "target redhat needs an image",
        ),
    ] {
        let faults = request(&changes).unwrap_err();
        assert!(
            faults.iter().any(|fault| fault.message().contains(message)),
            "{changes:?}: {:?}",
            messages(&faults)
        );
    }
    let faults = request(&[("target", "x"), ("kernelrelease", "y"), ("gccversion", "z")]);
    assert_eq!(faults.unwrap_err().len(), 3);
    let faults = request(&[("target", "vanilla"), ("kernelrelease", "y")]).unwrap_err();
    assert_eq!(faults.len(), 2, "{:?}", messages(&faults));
}

#[test]
fn errors_name_the_origin_of_the_value() {
    let text = "target: debian\nkernelrelease: 6.1.0-50-amd64\noutput:\n  module: /etc\n";
    let values = merged(&[], &[("DRIVERKIT_GCCVERSION", "x")], text);
    let faults = Request::read(&values).unwrap_err();
    let drawn: Vec<String> = faults.iter().map(|fault| fault.draw(false)).collect();
    assert!(drawn[0].contains("config.yaml:4:11"), "{drawn:?}");
    assert!(
        drawn[1].contains("`DRIVERKIT_GCCVERSION`: `x` is not"),
        "{drawn:?}"
    );
}

#[test]
fn a_kernel_configuration_is_decoded_and_identified_by_its_digest() {
    // The distribution publishes its own.
    let published = request(&[("target", "flatcar"), ("kernelrelease", "3815.2.0")]).unwrap();
    assert_eq!(published.kernel.config_sha256, None);
    let request = request(&[
        ("target", "vanilla"),
        ("kernelrelease", "6.1.55"),
        ("kernelconfigdata", "Q09ORklHX1g4Nl82ND15\n"),
    ])
    .unwrap();
    assert_eq!(
        request.kernel_config.as_deref(),
        Some(&b"CONFIG_X86_64=y"[..])
    );
    let digest = crate::digest::Sha256::of("CONFIG_X86_64=y");
    assert_eq!(request.kernel.config_sha256, Some(digest));
}

#[test]
fn images_may_be_automatic_tagged_or_named() {
    for (text, image) in [
        ("auto", Image::Automatic),
        ("auto:0.21.0", Image::Tagged("0.21.0".to_owned())),
        (
            "host:5000/a/b:c",
            Image::Named("host:5000/a/b:c".to_owned()),
        ),
        ("automat", Image::Named("automat".to_owned())),
    ] {
        assert_eq!(
            request(&[("builderimage", text)]).unwrap().images.image,
            image
        );
    }
}

#[test]
fn log_levels_timeouts_and_proxies_are_checked() {
    assert_eq!(parse_log_level("debug"), Ok(LogLevel::Debug));
    assert!(parse_log_level("loud").is_err());
    assert_eq!(parse_timeout("30").unwrap().as_secs(), 30);
    for text in ["29", "-1", "2m", ""] {
        assert!(parse_timeout(text).is_err(), "{text}");
    }
    for text in ["http://a:1", "https://a", "socks5://u:p@a:1080"] {
        assert!(check_proxy(text).is_ok(), "{text}");
    }
    for text in ["a:1", "ftp://a", "http://", "socks4://a"] {
        assert!(check_proxy(text).is_err(), "{text}");
    }
}

const BAD_OF_CLUSTERS: &[(&str, &str, &str)] = &[
    ("namespace", "Falco", "invalid name `Falco`"),
    ("run-as-user", "root", "`root` is not a user ID"),
    ("image-pull-secret", "-", "invalid name `-`"),
    (
        "kubeconfig",
        "/nonexistent",
        "file /nonexistent does not exist",
    ),
    ("server", "127.0.0.1", "is not an http or https URL"),
    ("request-timeout", "soon", "invalid time `soon`"),
    ("insecure-skip-tls-verify", "x", "neither true nor false"),
    ("client-key", "/etc/passwd", "must be given together"),
    (
        "certificate-authority",
        "/nonexistent",
        "file /nonexistent does not exist",
    ),
    (
        "client-certificate",
        "/nonexistent",
        "file /nonexistent does not exist",
    ),
    ("disable-compression", "x", "neither true nor false"),
    (
        "as-user-extra",
        "scopes",
        "invalid `scopes`: expected NAME=VALUE",
    ),
    ("as-group", "builders", "`as` is missing"),
];

#[test]
fn clusters_and_pods_are_checked() {
    let read = |pairs: &[(&'static str, &str)]| {
        let values = Values::merge(&flags(pairs), |_| None, BTreeMap::new());
        (PodRequest::read(&values), ClientRequest::read(&values))
    };
    let (pods, client) = read(&[
        ("namespace", "falco"),
        ("run-as-user", "1000"),
        ("request-timeout", "30s"),
        ("server", "https://127.0.0.1:6443"),
        ("token", "secret"),
    ]);
    assert_eq!(pods.unwrap().run_as_user, Some(1000));
    let client = client.unwrap();
    assert_eq!(client.request_timeout.map(|time| time.as_secs()), Some(30));
    assert!(!format!("{client:?}").contains("secret"));
    for &(key, value, message) in BAD_OF_CLUSTERS {
        let (pods, client) = read(&[(key, value)]);
        let faults: Vec<Diagnostic> = pods
            .err()
            .into_iter()
            .chain(client.err())
            .flatten()
            .collect();
        assert!(
            faults[0].message().contains(message),
            "{:?}",
            messages(&faults)
        );
    }
}

#[test]
fn every_key_has_a_tested_bad_value() {
    // Any text is valid.
    let free = [
        "as",
        "as-uid",
        "cache-dir",
        "cluster",
        "context",
        "registry-password",
        "registry-user",
        "tls-server-name",
        "token",
        "user",
    ];
    // Tried by tests/it/driverkit/local.rs, since only the command `local` has them.
    let of_local = ["dkms", "download-headers", "env"];
    let tried = BAD.iter().chain(BAD_OF_CLUSTERS).map(|(key, ..)| *key);
    let tried: BTreeSet<&str> = tried.chain(free).chain(of_local).collect();
    let untried: Vec<_> = KEYS.iter().filter(|key| !tried.contains(*key)).collect();
    assert!(untried.is_empty(), "{untried:?}");
}
