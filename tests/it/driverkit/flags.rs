//! Every flag, key and variable of driverkit, from its sources and documents of 0.16 to 0.23: how each command reads it
//! as a flag, as a variable and in a file. docs/migrating-from-driverkit.md gives the reasons for the differences.

use std::collections::BTreeSet;

use driverkit_matrix::driverkit::{KEYS, variable_of};

use support::grid::Grid;

/// The keys that every build command gets, besides the key under test.
const BASE: &[(&str, &str)] = &[
    ("kernelrelease", "6.1.0-50-amd64"),
    ("target", "debian"),
    ("output-module", "falco.ko"),
];

/// A key, a value for it, and the commands that have a flag for it: those that use images (`d`ocker, `k`ubernetes, `i`n
/// the cluster), `l`ocal, and the list of `I`mages.
const GOOD: &[(&str, &str, &str)] = &[
    ("architecture", "amd64", "dkiI"),
    ("builderimage", "auto:latest", "dkiI"),
    ("builderrepo", "/tmp/index.yaml", "dki"),
    ("driverversion", "8.0.0+driver", "dkilI"),
    ("gccversion", "8.0.0", "dkiI"),
    ("kernelconfigdata", "bm8tZGF0YQ==", "dkiI"),
    ("kernelrelease", "6.1.0-51-amd64", "dkilI"),
    ("kernelurls", "http://example.org/a.deb", "dkilI"),
    ("kernelversion", "2", "dkilI"),
    ("moduledevicename", "acme", "dkilI"),
    ("moduledrivername", "acme", "dkilI"),
    ("output-module", "other.ko", "dkilI"),
    ("output-probe", "other.o", "dkilI"),
    ("registry-plain-http", "true", "dkiI"),
    ("repo-name", "libs2", "dkilI"),
    ("repo-org", "acme", "dkilI"),
    ("src-dir", "driver", "dkilI"),
    ("target", "debian", "dkilI"),
    ("dkms", "false", "l"),
    ("download-headers", "true", "l"),
    ("env", "A=b", "l"),
    ("image-pull-secret", "regcred", "ki"),
    ("namespace", "falco", "ki"),
    ("run-as-user", "1000", "ki"),
    ("as", "jane", "k"),
    ("cache-dir", "/tmp", "k"),
    ("certificate-authority", "config.yaml", "k"),
    ("cluster", "c", "k"),
    ("context", "c", "k"),
    ("disable-compression", "true", "k"),
    ("insecure-skip-tls-verify", "true", "k"),
    ("kubeconfig", "config.yaml", "k"),
    ("request-timeout", "30s", "k"),
    ("server", "https://127.0.0.1:1", "k"),
    ("tls-server-name", "example.org", "k"),
    ("user", "u", "k"),
];

/// Keys that need other keys or are never shown; they are tested below.
const TRIED_BELOW: &[&str] = &[
    "as-group",
    "as-uid",
    "as-user-extra",
    "client-certificate",
    "client-key",
    "registry-name",
    "registry-password",
    "registry-user",
    "token",
];

const COMMANDS: &[(char, &str)] = &[
    ('d', "docker"),
    ('k', "kubernetes"),
    ('i', "kubernetes-in-cluster"),
    ('l', "local"),
    ('I', "images"),
];

/// Runs a dry run; returns the exit code and standard error.
fn dry_run(grid: &Grid, words: &[String], variables: &[(String, &str)]) -> (i32, String) {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut command = grid.program(&words);
    command
        .arg("--dryrun")
        .env("HOME", grid.path("home"))
        .envs(variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

/// Returns the command with the base keys as flags, except those in `keys`.
fn base(command: &str, keys: &[(&str, &str)]) -> Vec<String> {
    let is_given = |name: &str| keys.iter().any(|(key, _)| *key == name);
    let others = BASE.iter().filter(|(name, _)| !is_given(name));
    let flags = others.map(|(name, value)| format!("--{name}={value}"));
    std::iter::once(command.to_owned()).chain(flags).collect()
}

/// Checks that a command reads these keys from flags, variables and files, and says where each came from.
fn read_in_each_way(grid: &Grid, command: &str, keys: &[(&str, &str)]) {
    let base = base(command, keys);
    let check = |words: Vec<String>, variables: &[(String, &str)], origins: &[String]| {
        let (code, text) = dry_run(grid, &[base.clone(), words].concat(), variables);
        for ((key, value), origin) in keys.iter().zip(origins) {
            let shown = match *key {
                "env" => "(not shown)",
                _ => value,
            };
            let line = format!("{key}: {shown} (from {origin}");
            assert!(text.contains(&line), "{command} {line}: {text}");
        }
        let is_good = code == 0 || command == "images";
        assert!(is_good, "{command} {origins:?}: {code} {text}");
    };
    let flags = keys.iter().map(|(key, value)| format!("--{key}={value}"));
    let origins: Vec<String> = keys.iter().map(|(key, _)| format!("--{key}")).collect();
    check(flags.collect(), &[], &origins);
    let origins: Vec<String> = keys.iter().map(|(key, _)| variable_of(key)).collect();
    let values = keys.iter().map(|(_, value)| *value);
    let variables: Vec<(String, &str)> = origins.iter().cloned().zip(values).collect();
    check(vec![], &variables, &origins);
    let lines = |form: fn(&str, &str) -> String, between: &str| {
        let lines = keys.iter().map(|(key, value)| form(key, value));
        lines.collect::<Vec<_>>().join(between)
    };
    let json = lines(|key, value| format!("{key:?}: {value:?}"), ",\n");
    let toml = lines(|key, value| format!("{key} = {value:?}"), "\n");
    for (name, text) in [
        (
            "all.yaml",
            lines(|key, value| format!("{key}: {value:?}"), "\n"),
        ),
        ("all.json", format!("{{{json}}}")),
        ("all.toml", toml),
    ] {
        grid.write(name, text);
        let lines = 1..=keys.len();
        let origins: Vec<String> = lines.map(|line| format!("{name}:{line}:")).collect();
        check(vec!["-c".to_owned(), name.to_owned()], &[], &origins);
    }
}

#[test]
fn every_key_is_read_from_flag_variable_and_file() {
    let grid = Grid::new();
    // Two of the values name this file.
    grid.write("config.yaml", "");
    for (letter, command) in COMMANDS {
        let keys = GOOD
            .iter()
            .filter(|(.., commands)| commands.contains(*letter));
        let keys = keys.map(|(key, value, _)| (*key, *value));
        let is_alone = |(key, _): &(&str, &str)| {
            // This key cannot be used with `certificate-authority`.
            *key == "insecure-skip-tls-verify" || BASE.iter().any(|(name, _)| name == key)
        };
        let (alone, others): (Vec<_>, Vec<_>) = keys.partition(is_alone);
        // One process reads all keys, because each process takes time. Without any flag, `images` is another command.
        read_in_each_way(&grid, command, &others);
        for key in alone {
            read_in_each_way(&grid, command, &[key]);
        }
    }
    let tried = GOOD.iter().map(|(key, ..)| key).chain(TRIED_BELOW);
    let tried: BTreeSet<&str> = tried.copied().collect();
    let all: BTreeSet<&str> = KEYS.iter().copied().collect();
    assert_eq!(tried, all);
}

#[test]
fn a_flag_of_another_command_is_refused() {
    let grid = Grid::new();
    grid.write("config.yaml", "");
    for (key, value, commands) in GOOD {
        for (letter, command) in COMMANDS {
            if commands.contains(*letter) {
                continue;
            }
            let mut words = base(command, &[(key, value)]);
            words.push(format!("--{key}={value}"));
            let (code, text) = dry_run(&grid, &words, &[]);
            let is_shared = *command == "images" && *key == "builderrepo";
            let is_refused = code == 2 && text.contains(&format!("--{key}"));
            assert!(is_refused || is_shared, "{command} --{key}: {text}");
        }
    }
}

/// Command lines with the base keys; each with the expected exit code and a part of the expected message.
#[test]
#[expect(clippy::too_many_lines, reason = "it is a table")]
fn flags_are_read_as_driverkit_reads_them() {
    let grid = Grid::new();
    grid.write("login.pem", "");
    for (words, code, part) in [
        // Lists: a repeated flag, commas, or both.
        (
            "docker --kernelurls /a.deb,/b.deb --kernelurls /c.deb",
            0,
            "kernelurls: /a.deb, /b.deb, /c.deb",
        ),
        (
            "docker --builderrepo a/b --builderrepo c/d",
            0,
            "builderrepo: a/b, c/d",
        ),
        ("local --env A=1,B=2 --env C=3", 0, "env: (not shown)"),
        // Booleans: without a value, or in Go's spellings.
        (
            "docker --registry-plain-http",
            0,
            "registry-plain-http: true",
        ),
        (
            "docker --registry-plain-http=T",
            0,
            "registry-plain-http: T",
        ),
        (
            "docker --registry-plain-http=yes",
            2,
            "neither true nor false",
        ),
        ("local --dkms", 0, "dkms: true"),
        ("local --dkms --src-dir driver", 0, "`src-dir` is not used"),
        (
            "kubernetes --insecure-skip-tls-verify",
            0,
            "insecure-skip-tls-verify: true",
        ),
        // Short forms, and flags in front of the command.
        (
            "docker -t centos --kernelrelease=4.18.0-1.el8.x86_64",
            0,
            "target: centos",
        ),
        ("docker -l debug", 0, "would build"),
        ("docker -l trace", 0, "would build"),
        ("docker -l warn", 0, "target: debian"),
        ("docker -l fatal", 2, "unknown level `fatal`"),
        (
            "kubernetes -n falco -s https://127.0.0.1:1",
            0,
            "namespace: falco",
        ),
        ("--loglevel info docker", 0, "would build"),
        // Flags of which the last one is used.
        (
            "docker --moduledrivername a --moduledrivername b",
            0,
            "moduledrivername: b",
        ),
        // Numbers of seconds, at least 30.
        ("docker --timeout 30", 0, "would build"),
        ("docker --timeout 29", 2, "expected at least 30"),
        ("docker --timeout 1m", 2, "is not a number of seconds"),
        // Proxies.
        ("docker --proxy http://127.0.0.1:1", 0, "would build"),
        ("docker --proxy socks5://127.0.0.1:1", 0, "would build"),
        ("docker --proxy 127.0.0.1:1", 2, "is not the URL of a proxy"),
        ("local --proxy http://127.0.0.1:1", 2, "--proxy"),
        (
            "images --proxy http://127.0.0.1:1 --builderrepo 127.0.0.1:1/a",
            3,
            "127.0.0.1:1",
        ),
        // Drivers.
        ("docker --driverversion master", 0, "master/x86_64"),
        (
            "docker --driverversion 0de226085cc4",
            0,
            "0de226085cc4/x86_64",
        ),
        (
            "docker --driverversion 8.0.0+driver",
            0,
            "8.0.0+driver/x86_64",
        ),
        (
            "docker --driverversion latest!",
            2,
            "invalid driver version",
        ),
        (
            "docker --driverversion 9.0.0+driver --output-probe x.o",
            0,
            "would build probe",
        ),
        (
            "docker --driverversion 10.0.0+driver --output-probe x.o",
            0,
            "warning: no probe is built",
        ),
        ("docker --output-module x.o", 2, "does not end with .ko"),
        ("docker --moduledevicename a/b", 2, "moduledevicename"),
        (
            "docker --repo-org acme --repo-name libs2",
            0,
            "github.com/acme/libs2/",
        ),
        // Compilers and images.
        ("docker --gccversion 12", 0, "with gcc 12"),
        ("docker --gccversion v8.0.0", 0, "with gcc 8"),
        ("docker --gccversion twelve", 2, "gccversion"),
        ("docker --builderimage auto", 0, "builder image automatic"),
        (
            "docker --builderimage auto:latest",
            0,
            "builder image automatic",
        ),
        (
            "docker --builderimage example.org/a/b:1",
            0,
            "builder image example.org/a/b:1",
        ),
        ("docker --builderimage %", 2, "invalid image name"),
        (
            "docker --registry-name example.org",
            2,
            "the registry login is incomplete",
        ),
        (
            "docker --registry-name example.org --registry-user u --registry-password p",
            0,
            "registry-password: (not shown)",
        ),
        // Kernels.
        ("docker --kernelversion 63-Ubuntu", 2, "use `63`"),
        (
            "docker --kernelversion 1_1.26.0",
            0,
            "kernelversion: 1_1.26.0",
        ),
        ("docker --architecture x86_64", 0, "architecture: x86_64"),
        ("docker --architecture riscv64", 2, "riscv64"),
        ("docker --target debain", 2, "did you mean `debian`?"),
        (
            "docker --target redhat --kernelrelease=4.18.0-1.el8.x86_64",
            2,
            "`builderimage` is missing",
        ),
        (
            "docker --target vanilla --kernelrelease=6.1.55",
            2,
            "`kernelconfigdata` is missing",
        ),
        (
            "docker --target minikube --kernelrelease=5.10.57",
            2,
            "`kernelconfigdata` is missing",
        ),
        (
            "docker --target flatcar --kernelrelease=3033.2.4",
            0,
            "would build",
        ),
        (
            "docker --target vanilla --kernelrelease=6.1.55 --kernelconfigdata bm8=",
            0,
            "would build",
        ),
        (
            "docker --target vanilla --kernelrelease=6.1.55 --kernelconfigdata %",
            2,
            "not base64",
        ),
        (
            "docker --target generic --kernelrelease=6.6.30-acme --kernelurls /a.rpm",
            0,
            "generic_6.6.30-acme_1",
        ),
        (
            "docker --target rocky --kernelrelease=6.6.30-acme --kernelurls /a.rpm",
            0,
            "the content of its named packages decides",
        ),
        (
            "docker --target generic --kernelrelease=6.6.30-acme",
            0,
            "would build",
        ),
        // Clusters.
        (
            "kubernetes --as jane --as-group a --as-group b --as-uid 42",
            0,
            "as-group: a, b",
        ),
        (
            "kubernetes --as jane --as-user-extra scopes=view --as-user-extra scopes=build",
            0,
            "as-user-extra: scopes=view, scopes=build",
        ),
        ("kubernetes --as-uid 42", 2, "`as` is missing"),
        ("kubernetes --token secret", 0, "token: (not shown)"),
        (
            "kubernetes --client-certificate login.pem --client-key login.pem",
            0,
            "client-key: login.pem",
        ),
        (
            "kubernetes --client-certificate login.pem",
            2,
            "must be given together",
        ),
        ("kubernetes --run-as-user root", 2, "is not a user ID"),
        ("k8s --namespace falco", 0, "namespace: falco"),
        ("k8s-ic --namespace falco", 0, "namespace: falco"),
        ("k8s-ic --token secret", 2, "--token"),
        // Keys that driverkit has no flag for.
        ("docker --output_module x.ko", 2, "--output_module"),
        ("docker --namespace falco", 2, "--namespace"),
        ("local --gccversion 12", 2, "--gccversion"),
        ("local --builderimage a", 2, "--builderimage"),
        ("local --kernelconfigdata bm8=", 2, "--kernelconfigdata"),
        ("local --architecture arm64", 2, "--architecture"),
    ] {
        let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let is_given = |key: &str| {
            let short = (key == "target").then_some("-t");
            let mut all = words.iter();
            all.any(|word| word.starts_with(&format!("--{key}")) || Some(word.as_str()) == short)
        };
        let missing: Vec<String> = BASE
            .iter()
            .filter(|(key, _)| !is_given(key))
            .map(|(key, value)| format!("--{key}={value}"))
            .collect();
        words.extend(missing);
        let (found, text) = dry_run(&grid, &words, &[]);
        assert_eq!(found, code, "{words:?}: {text}");
        assert!(text.contains(part), "{words:?}: {text}");
    }
}

/// Files that are read without flags; each with the expected exit code and a part of the expected message.
#[test]
fn files_are_read_as_driverkit_reads_them() {
    let grid = Grid::new();
    let rest = "target: debian\narchitecture: amd64\noutput: {module: falco.ko}\n";
    let whole = format!("kernelrelease: 6.1.0-50-amd64\n{rest}");
    for (name, text, code, part) in [
        ("a.yaml", whole.clone(), 0, "debian_6.1.0-50-amd64_1"),
        ("a.yml", whole.clone(), 0, "debian_6.1.0-50-amd64_1"),
        ("a.yaml", whole.replace("kernelrelease", "KernelRelease"), 0, "debian_6.1.0-50-amd64_1"),
        ("a.yaml", whole.replace("output: {module: falco.ko}", "output.module: b.ko"), 0, "b.ko"),
        ("a.yaml", whole.replace("output: {module: falco.ko}", "output-module: b.ko"), 0, "b.ko"),
        ("a.yaml", format!("{whole}output-module: b.ko\n"), 0, "`output.module` has no effect"),
        ("a.yaml", format!("{whole}kernelversion: 7\n"), 0, "debian_6.1.0-50-amd64_7"),
        ("a.yaml", format!("{whole}kernelversion: \"7\"\n"), 0, "debian_6.1.0-50-amd64_7"),
        ("a.yaml", format!("{whole}kernelurls: [/a.deb, /b.deb]\n"), 0, "kernelurls: /a.deb, /b.deb"),
        ("a.yaml", format!("{whole}kernelurls: /a.deb,/b.deb\n"), 0, "kernelurls: /a.deb, /b.deb"),
        ("a.yaml", format!("{whole}kernelurls: /a.deb /b.deb\n"), 0, "kernelurls: /a.deb, /b.deb"),
        ("a.yaml", format!("{whole}kernelurls: []\n"), 0, "would build"),
        ("a.yaml", format!("{whole}timeout: 300\n"), 0, "`timeout` in the file has no effect, as in driverkit"),
        ("a.yaml", format!("{whole}dryrun: false\n"), 0, "`dryrun` in the file has no effect"),
        ("a.yaml", format!("{whole}loglevel: debug\n"), 0, "`loglevel` in the file has no effect"),
        ("a.yaml", format!("{whole}proxy: http://a\n"), 0, "`proxy` in the file has no effect"),
        ("a.yaml", format!("{whole}registry-plain-http: true\n"), 0, "registry-plain-http: true"),
        ("a.yaml", format!("{whole}kernelurl: /a.deb\n"), 2, "did you mean `kernelurls`?"),
        ("a.yaml", format!("{whole}output-modul: a\n"), 2, "did you mean `output-module`?"),
        ("a.yaml", format!("{whole}target: ubuntu\n"), 2, "duplicate"),
        ("a.yaml", whole.replace("6.1.0-50-amd64", "&x 6.1.0-50-amd64\nmoduledrivername: *x"), 0, "moduledrivername: 6.1.0-50-amd64"),
        ("a.yaml", format!("---\n{whole}"), 0, "would build"),
        ("a.yaml", format!("{whole}---\ntarget: ubuntu\n"), 0, "several YAML documents"),
        ("a.yaml", format!("{whole}<<<<<<< ours\n"), 2, "a merge conflict that nobody has resolved"),
        ("a.yaml", format!("kernelrelease: 7\n{rest}"), 2, "ends in `-amd64`"),
        ("a.yaml", format!("kernelrelease: ~\n{rest}"), 2, "`kernelrelease` is missing"),
        ("a.yaml", rest.to_owned(), 2, "`kernelrelease` is missing"),
        ("a.yaml", String::new(), 2, "`target` is missing"),
        ("a.yaml", "- a\n".to_owned(), 2, "not a mapping of keys to values"),
        ("a.yaml", "target: [debian\n".to_owned(), 2, "not valid YAML"),
        ("a.json", "{\"target\": \"debian\"".to_owned(), 2, "not valid JSON"),
        ("a.json", "{\"target\": [\"debian\"]}".to_owned(), 2, "`target` takes one value"),
        ("a.json", "{\"output\": \"a.ko\"}".to_owned(), 2, "`output` is a mapping"),
        ("a.json", "{\"kernelrelease\": \"6.1.0-50-amd64\", \"target\": \"debian\", \"output\": {\"module\": \"a.ko\"}}".to_owned(), 0, "would build"),
        ("a.toml", "target = \n".to_owned(), 2, "not valid TOML"),
        ("a.toml", "kernelrelease = \"6.1.0-50-amd64\"\ntarget = \"debian\"\nkernelurls = [\"/a.deb\"]\n[output]\nmodule = \"a.ko\"\n".to_owned(), 0, "kernelurls: /a.deb"),
        ("a.toml", "kernelrelease = \"6.1.0-50-amd64\"\ntarget = \"debian\"\noutput.module = \"a.ko\"\n".to_owned(), 0, "a.ko"),
    ] {
        grid.write(name, &text);
        let words = ["docker", "-c", name].map(str::to_owned);
        let (found, said) = dry_run(&grid, &words, &[]);
        assert_eq!(found, code, "{text}: {said}");
        assert!(said.contains(part), "{text}: {said}");
        let serde = ["borrowed", "struct ", "invalid type", "from_str", "missing field"];
        assert!(!serde.iter().any(|word| said.contains(word)), "{text}: {said}");
    }
}

#[test]
fn flag_overrides_variable_and_variable_overrides_file() {
    let grid = Grid::new();
    grid.write(
        "c.yaml",
        "moduledrivername: of-file\nmoduledevicename: of-file\nrepo-org: of-file\n",
    );
    let mut words = base("docker", &[]);
    words.extend(["-c", "c.yaml", "--moduledrivername", "of-flag"].map(str::to_owned));
    let variables = ["MODULEDRIVERNAME", "MODULEDEVICENAME"]
        .map(|name| (format!("DRIVERKIT_{name}"), "of-variable"));
    let (code, text) = dry_run(&grid, &words, &variables);
    assert_eq!(code, 0, "{text}");
    for line in [
        "moduledrivername: of-flag (from --moduledrivername)",
        "moduledevicename: of-variable (from DRIVERKIT_MODULEDEVICENAME)",
        "repo-org: of-file (from c.yaml:3:11)",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // As in driverkit, an empty variable counts as not set.
    let (_, text) = dry_run(&grid, &words, &[("DRIVERKIT_REPO_ORG".to_owned(), "")]);
    assert!(text.contains("repo-org: of-file"), "{text}");
}

/// Tests each target of driverkit with a package of any name.
#[test]
fn every_target_of_driverkit_is_accepted() {
    let grid = Grid::new();
    for target in "alinux almalinux amazonlinux amazonlinux2 amazonlinux2022 amazonlinux2023 arch bottlerocket centos debian \
        fedora flatcar minikube ol opensuse photon redhat rocky sles talos ubuntu ubuntu-generic ubuntu-aws vanilla"
        .split_whitespace()
    {
        let words = [
            "docker",
            "--target",
            target,
            "--kernelrelease=6.1.55",
            "--output-module=a.ko",
            "--kernelurls=/a.deb",
            "--builderimage=example.org/a",
        ];
        let (code, text) = dry_run(&grid, &words.map(str::to_owned), &[]);
        assert_eq!(code, 0, "{target}: {text}");
        let build = format!("would build module master/x86_64/{target}_6.1.55_1");
        assert!(text.contains(&build), "{target}: {text}");
    }
}
