//! Tests of docs/mistakes.md: common mistakes, the output of the program and its exit code. The page is the snapshot:
//! `INSTA_UPDATE=always` writes it again.

use std::fmt::Write as _;
use std::path::Path;

use support::workspace::Workspace;

const PAGE: &str = "docs/mistakes.md";

const HEAD: &str = "# Mistakes

This page shows what the program prints when something is wrong, and its exit code: 1 if something is missing or not believed, 2 if the matrix, a file beside it or the command line must be
changed, 3 if something that the program needs is down. `tests/it/mistakes.rs` makes every mistake of this page and compares the output.
";

/// A valid matrix.
const GOOD: &str = r#"drivers = ["8.1.0+driver"]

[[target]]
name = "amazonlinux"
kernels = [{ release = "4.14.10-1.amzn1.x86_64", headers = ["http://h.example.org/kernel-devel-4.14.10-1.amzn1.x86_64.rpm"] }]
"#;

/// A valid matrix with an Ubuntu kernel.
const UBUNTU: &str = r#"drivers = ["8.1.0+driver"]

[[target]]
name = "ubuntu-generic"
kernels = [{ release = "5.15.0-91-generic", version = "101" }]
"#;

struct Mistake {
    title: &'static str,
    /// A text in [`GOOD`], and its replacement.
    edit: (&'static str, &'static str),
    /// Whether an offline run, which could download nothing, comes first.
    follows_run: bool,
    /// The command line; `DIRECTORY` stands for the working directory.
    command: &'static str,
}

const fn in_matrix(title: &'static str, from: &'static str, to: &'static str) -> Mistake {
    Mistake {
        title,
        edit: (from, to),
        follows_run: false,
        command: "plan m.toml",
    }
}

const fn in_run(title: &'static str, from: &'static str, to: &'static str) -> Mistake {
    Mistake {
        title,
        edit: (from, to),
        follows_run: false,
        command: "--offline run m.toml --executor fake",
    }
}

const fn of(title: &'static str, command: &'static str) -> Mistake {
    Mistake {
        title,
        edit: ("", ""),
        follows_run: false,
        command,
    }
}

const fn after_run(title: &'static str, command: &'static str) -> Mistake {
    Mistake {
        title,
        edit: ("", ""),
        follows_run: true,
        command,
    }
}

const KERNELS: &str = r#"[{ release = "4.14.10-1.amzn1.x86_64", headers = ["http://h.example.org/kernel-devel-4.14.10-1.amzn1.x86_64.rpm"] }]"#;
const DRIVERS: &str = r#"drivers = ["8.1.0+driver"]"#;

const MISTAKES: &[Mistake] = &[
    // The matrix.
    in_matrix(
        "an array without its `]`",
        DRIVERS,
        r#"drivers = ["8.1.0+driver""#,
    ),
    in_matrix(
        "a table's header without its `]`",
        "[[target]]",
        "[[target]",
    ),
    in_matrix(
        "a string without its quote",
        r#""amazonlinux""#,
        r#""amazonlinux"#,
    ),
    in_matrix("a duplicate key", "[[target]]", "drivers = []\n[[target]]"),
    in_matrix("a misspelt key", "drivers =", "driver_versions ="),
    in_matrix("a misspelt key of a target", "kernels =", "kernel ="),
    in_matrix("a value of another type", DRIVERS, "drivers = 8"),
    in_matrix("an invalid driver version", "8.1.0+driver", "8.1 driver"),
    in_matrix("a misspelt target", r#""amazonlinux""#, r#""amazonlinx""#),
    in_matrix(
        "an unknown architecture",
        "[[target]]",
        "architectures = [\"x64\"]\n[[target]]",
    ),
    in_matrix(
        "an unknown kind of artifact",
        "[[target]]",
        "artifacts = [\"modul\"]\n[[target]]",
    ),
    in_matrix(
        "a driver that is described and not listed",
        "[[target]]",
        "[driver.dev]\n[[target]]",
    ),
    in_matrix(
        "an invalid compiler version",
        "[[target]]",
        "[defaults]\ngcc = \"gcc-12\"\n[[target]]",
    ),
    in_matrix(
        "a compiler that no builder image has",
        "[[target]]",
        "[defaults]\ngcc = \"99\"\n[[target]]",
    ),
    in_matrix(
        "an invalid time",
        "[[target]]",
        "[defaults]\ntimeout = \"5 minutes or so\"\n[[target]]",
    ),
    in_matrix(
        "an invalid size",
        "[[target]]",
        "[defaults]\nmemory = \"2 gigs\"\n[[target]]",
    ),
    in_matrix(
        "an exclude without a reason",
        "[[target]]",
        "[[exclude]]\ntarget = \"*\"\n[[target]]",
    ),
    in_matrix(
        "an exclude that leaves nothing",
        "[[target]]",
        "[[exclude]]\ntarget = \"*\"\nreason = \"none\"\n[[target]]",
    ),
    in_matrix(
        "a target without kernels",
        r#"kernels = [{ release = "4.14.10-1.amzn1.x86_64", headers = ["http://h.example.org/kernel-devel-4.14.10-1.amzn1.x86_64.rpm"] }]"#,
        "",
    ),
    in_matrix(
        "an unknown kind of source",
        KERNELS,
        r#"{ from = "mirrors" }"#,
    ),
    in_matrix(
        "a release with a space",
        "4.14.10-1.amzn1.x86_64\", ",
        "4.14.10 amzn1\", ",
    ),
    in_matrix(
        "all of `uname -v` for the version",
        "headers =",
        "version = \"#45-Ubuntu SMP\", headers =",
    ),
    in_matrix(
        "an invalid range of releases",
        "[[target]]",
        "[[exclude]]\nkernel = \">= new\"\nreason = \"none\"\n[[target]]",
    ),
    in_matrix(
        "a conflict of a merge",
        "[[target]]",
        "<<<<<<< HEAD\n[[target]]",
    ),
    in_matrix(
        "a suite that the distribution's mirror does not know, on a mirror that is down",
        KERNELS,
        r#"{ from = "mirror", url = "http://127.0.0.1:9", suites = ["bookwurm"] }"#,
    ),
    // Files.
    of(
        "a misspelt path of a matrix",
        "plan matrices/amazonlinx.toml",
    ),
    of("a directory instead of a matrix", "plan matrices"),
    of("no matrix at all", "plan gone.toml"),
    in_matrix(
        "a list that does not exist",
        KERNELS,
        r#"{ from = "kernel-crawler", path = { amd64 = "gone.json" } }"#,
    ),
    in_matrix(
        "a file that is not a kernel list",
        KERNELS,
        r#"{ from = "kernel-crawler", path = { amd64 = "m.toml" } }"#,
    ),
    in_matrix(
        "a CSV table with unknown columns",
        KERNELS,
        r#"{ from = "csv", path = "m.toml" }"#,
    ),
    in_matrix(
        "driver sources that do not exist",
        "[[target]]",
        "[driver.\"8.1.0+driver\"]\nsource = { path = \"gone\" }\n[[target]]",
    ),
    in_matrix(
        "a clone that does not exist",
        "[[target]]",
        "[driver.\"8.1.0+driver\"]\nsource = { git = \"gone\", ref = \"main\" }\n[[target]]",
    ),
    in_matrix(
        "a URL instead of a clone",
        "[[target]]",
        "[driver.\"8.1.0+driver\"]\nsource = { git = \"https://h.example.org/libs\", ref = \"main\" }\n[[target]]",
    ),
    in_matrix(
        "an archive that does not exist",
        "[[target]]",
        "[driver.\"8.1.0+driver\"]\nsource = { url = \"file:///gone/driver.tar.gz\" }\n[[target]]",
    ),
    in_matrix(
        "a branch without its clone",
        "[[target]]",
        "[driver.\"8.1.0+driver\"]\nsource = { ref = \"main\" }\n[[target]]",
    ),
    in_matrix(
        "vanilla without a configuration",
        "name = \"amazonlinux\"\nkernels = [{ release = \"4.14.10-1.amzn1.x86_64\", headers = [\"http://h.example.org/kernel-devel-4.14.10-1.amzn1.x86_64.rpm\"] }]",
        "name = \"vanilla\"\nkernels = [{ release = \"6.1.55\" }]",
    ),
    in_matrix(
        "a configuration that does not exist",
        "headers =",
        "config = \"gone.config\", headers =",
    ),
    Mistake {
        title: "`--locked` without a lock",
        edit: (KERNELS, r#"{ from = "mirror" }"#),
        follows_run: false,
        command: "plan m.toml --locked",
    },
    // Filters.
    of(
        "a target that the plan does not have",
        "plan m.toml --target debian",
    ),
    of(
        "a release that the plan does not have",
        "plan m.toml --kernel 5.*",
    ),
    of(
        "a driver that the plan does not have",
        "plan m.toml --driver 9.*",
    ),
    of(
        "an architecture that the matrix does not have",
        "plan m.toml --arch arm64",
    ),
    of(
        "an unknown kind of artifact, on the command line",
        "plan m.toml --artifact modules",
    ),
    of(
        "a build that is not planned",
        "plan m.toml --only 8.1.0+driver/x86_64/amazonlinux_4.14.11-1.amzn1.x86_64_1",
    ),
    of("an invalid shard", "plan m.toml --shard 9/8"),
    // Flags.
    of("a misspelt command", "paln m.toml"),
    of("a misspelt flag", "plan m.toml --targt debian"),
    of(
        "a misspelt mirror",
        "--mirror debain=http://ftp.example.org plan m.toml",
    ),
    of(
        "a mirror without its name",
        "--mirror http://ftp.example.org plan m.toml",
    ),
    of(
        "a mirror with an invalid URL",
        "--mirror debian=ftp.example.org plan m.toml",
    ),
    of("an invalid number of jobs", "run m.toml --jobs many"),
    of("an unknown class of failures", "run m.toml --retry foo"),
    of(
        "a class of failures that is never cached",
        "run m.toml --retry download",
    ),
    of("no jobs", "run m.toml --jobs 0"),
    of("a deadline without a unit", "run m.toml --deadline 5"),
    of("an unknown executor", "run m.toml --executor dokcer"),
    of("a file for the output directory", "run m.toml --out m.toml"),
    of(
        "the matrices for the output directory",
        "run matrices/amazonlinux.toml --out matrices",
    ),
    of("a file for the cache", "--cache m.toml plan m.toml"),
    of(
        "a socket of Docker that does not exist",
        "run m.toml --executor docker --docker-host unix:///gone/docker.sock --builderimage registry.example.org/any:1",
    ),
    of(
        "a Docker daemon that does not run",
        "run m.toml --executor docker --docker-host tcp://127.0.0.1:9 --builderimage registry.example.org/any:1",
    ),
    of(
        "a Docker daemon and the local executor",
        "run m.toml --executor local --docker-host unix:///gone",
    ),
    of(
        "this machine's compilers in a container",
        "run m.toml --executor docker --toolchain host",
    ),
    in_run(
        "a compiler that does not exist",
        "[[target]]",
        "[defaults]\ngcc = \"99\"\n[[target]]",
    ),
    Mistake {
        title: "an image that is not built",
        edit: ("[[target]]", "[defaults]\nimage = \"bookworm\"\n[[target]]"),
        follows_run: false,
        command: "--offline run m.toml",
    },
    of(
        "Ubuntu without `--kernelversion`",
        "docker --target ubuntu-generic --kernelrelease 5.4.0-1-generic --driverversion 8.1.0+driver --output-module x.ko",
    ),
    of(
        "vanilla without its configuration, as driverkit is called",
        "docker --target vanilla --kernelrelease 6.1.55 --driverversion 8.1.0+driver --output-module x.ko",
    ),
    of("an image that is not described", "images build bookwurm"),
    // Questions.
    of(
        "a question about a build that is not planned",
        "explain 8.1.0+driver/x86_64/debian_6.1_1 m.toml",
    ),
    of(
        "the log of a build that was not built",
        "logs 6.1 --out gone",
    ),
    Mistake {
        title: "a question about a matrix that is not locked",
        edit: (KERNELS, r#"{ from = "mirror" }"#),
        follows_run: false,
        command: "explain 8.1.0+driver/x86_64/amazonlinux_4.14.10-1.amzn1.x86_64_1 m.toml",
    },
    of(
        "a kernel of a target that is misspelt",
        "kernels debain --headers 6.1.0-18-amd64",
    ),
    of(
        "the packages of a kernel, on a mirror that is down",
        "--mirror debian=http://127.0.0.1:9 kernels debian --suite bookworm --headers 9.9.9-1-amd64",
    ),
    of(
        "the packages of a kernel of Ubuntu without its version",
        "kernels ubuntu-generic --matrix ubuntu.toml --headers 5.4.0-1-generic",
    ),
    of("the manifest of no run", "verify gone"),
    of(
        "the published artifacts of a server that is down",
        "verify http://127.0.0.1:9/driver",
    ),
    after_run(
        "a key for attestations that does not exist",
        "verify out --key gone.pem",
    ),
    after_run(
        "a certificate of modules that does not exist",
        "verify out --certificate gone.pem",
    ),
    after_run(
        "a signing key that does not exist",
        "attest out --key gone.key",
    ),
    of("the state of no run", "status gone"),
    after_run("the log of a build that the run did not have", "logs 9.9"),
    after_run(
        "the log of an artifact that the build does not have",
        "logs 4.14 --artifact probe",
    ),
    after_run(
        "a log as it grows, for machines",
        "logs 4.14 --follow --format json",
    ),
    // Runs, compared and shown.
    of("two runs of which one does not exist", "diff gone gone"),
    of("a file that is not a manifest", "diff m.toml"),
    after_run("an unknown change", "diff out out --fail-on broken"),
    after_run("a report in an unknown format", "report --format pdf"),
    of("a report of no run", "report gone"),
    of(
        "a report of a run without its file",
        "run m.toml --report html",
    ),
    after_run("a kernel that no source has listed", "why 9.9.9"),
    of("a kernel of no run", "why 4.14.10 --out gone"),
    of("the known failures of no run", "known gone"),
    in_matrix(
        "a known failure without a reason",
        "[[target]]",
        "[[known_failure]]\ntarget = \"*\"\n[[target]]",
    ),
    in_matrix(
        "a known failure with an invalid pattern",
        "[[target]]",
        "[[known_failure]]\ntarget = \"*\"\nmessage = \"(\"\nreason = \"none\"\n[[target]]",
    ),
    of("the statistics of no run", "stats gone"),
    after_run(
        "manifests of which one does not exist",
        "manifest merge out gone --out merged",
    ),
    of(
        "manifests without a directory for the result",
        "manifest merge out",
    ),
    of(
        "a table of compilers without a compiler",
        "compilers m.toml --executor local",
    ),
    of(
        "a build that is not planned, again",
        "rebuild 8.1.0+driver/x86_64/amazonlinux_4.14.11-1.amzn1.x86_64_1 m.toml",
    ),
    of(
        "a builder image of a registry that is down",
        "docker --builderrepo 127.0.0.1:9/x --target debian --kernelrelease 6.1.0-1-amd64 --driverversion 8.1.0+driver --output-module x.ko",
    ),
    of(
        "a build of no run, to be replaced",
        "rebuild 8.1.0+driver/x86_64/amazonlinux_4.14.10-1.amzn1.x86_64_1 m.toml --keep --out gone",
    ),
    of(
        "a module that does not exist",
        "prove gone.ko --kernel-image vmlinuz",
    ),
    of("a proof of a matrix and a module", "prove m.toml scap.ko"),
    of(
        "a proof of a matrix in a named kernel",
        "prove m.toml --kernel-image vmlinuz",
    ),
    of(
        "a proof of a module with a flag for matrices",
        "prove scap.ko --kernel-image vmlinuz --only x",
    ),
    of("a proof without a kernel", "prove scap.ko"),
    of("an unknown choice of proofs", "run m.toml --prove some"),
    // Publishing and the store.
    of("a publication of no run", "publish gone dest"),
    after_run("a destination that does not exist", "publish out gone"),
    after_run(
        "a destination of an unknown kind",
        "publish out ftp://ftp.example.org/driver",
    ),
    after_run("a bucket without a name", "publish out s3://"),
    of(
        "what is published, and where it is not said",
        "run m.toml --skip-published",
    ),
    of("a removal without a rule", "prune dest"),
    of(
        "a removal where nothing was published",
        "prune dest --newest-drivers 1",
    ),
    of(
        "a removal that was never made",
        "prune dest --undo 20260101",
    ),
    of("a store that is not named", "store status"),
    of("no store to keep packages in", "store fetch m.toml"),
    of("no store to clean up", "store gc"),
    of(
        "a store that does not exist",
        "store status --store file:///gone --store-trusted",
    ),
    of(
        "a store of which nobody is believed",
        "store status --store file://DIRECTORY/dest",
    ),
    of(
        "a store with a key that does not exist",
        "store status --store file://DIRECTORY/dest --store-key gone.key",
    ),
    of(
        "a store with a key that is too short",
        "store status --store file://DIRECTORY/dest --store-key short.key",
    ),
    // Other files.
    of("a bundle that does not exist", "bundle import gone.tar"),
    of("a file that is not a bundle", "bundle import m.toml"),
    of(
        "a bundle in a directory that does not exist",
        "--offline bundle export gone/b.tar m.toml",
    ),
    of("files of driverkit that do not exist", "validate gone"),
    of("a manifest that is empty", "stats empty.json"),
    of("manifests that are cut off", "diff cut.json cut.json"),
    of(
        "an output directory that is a file",
        "manifest merge dest --out m.toml",
    ),
    of(
        "a matrix of files that do not exist",
        "import gone --out matrices/imported.toml",
    ),
    of("a matrix that already exists", "import gone --out m.toml"),
    of(
        "an accepted loss that did not happen",
        "lock m.toml --accept-shrink debian",
    ),
    of("a shell that is not known", "completion tcsh"),
];

fn workspace(mistake: &Mistake) -> Workspace {
    let (from, to) = mistake.edit;
    let text = if from.is_empty() {
        GOOD.to_owned()
    } else {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replace(from, to)
    };
    Workspace::new()
        .with("m.toml", &text)
        .with("matrices/amazonlinux.toml", GOOD)
        .with("ubuntu.toml", UBUNTU)
        .with("short.key", "short")
        .with("empty.json", "")
        .with("cut.json", "{\"schema\": 1,\n \"tool_ver")
        .with("dest/.keep", "")
}

#[test]
fn every_mistake_is_answered_as_in_docs_mistakes_md() {
    let mut page = HEAD.to_owned();
    for mistake in MISTAKES {
        let workspace = workspace(mistake);
        let variables = [("PATH", Path::new("/usr/bin:/bin"))];
        if mistake.follows_run {
            let run = ["--offline", "run", "m.toml", "--executor", "fake"];
            let report = workspace.run_with(&run, &variables);
            assert!(report.starts_with("exit 3\n"), "{report}");
        }
        let directory = workspace.path().display().to_string();
        let command = mistake.command.replace("DIRECTORY", &directory);
        let words: Vec<&str> = command.split(' ').collect();
        let report = workspace.run_with(&words, &variables);
        let report = report.replace(&directory, "DIRECTORY");
        let (code, text) = report.split_once('\n').unwrap();
        let code = code.strip_prefix("exit ").unwrap();
        // Lines about requests to servers are progress, not part of the error.
        let text = text
            .lines()
            .filter(|line| !line.starts_with("--- ") && !line.starts_with("asking "))
            .map(|line| format!("    {line}").trim_end().to_owned());
        let text: Vec<String> = text.collect();
        let text = text.join("\n");
        for word in [
            "os error",
            "tcp connect",
            "client error",
            "hyper",
            "EOF while",
            "No such file",
            "Permission denied",
            "panicked",
        ] {
            assert!(!text.contains(word), "{}: {text}", mistake.title);
        }
        assert!(["1", "2", "3"].contains(&code), "{}: {text}", mistake.title);
        let title = mistake.title;
        let command = mistake.command;
        write!(
            page,
            "\n## {title}\n\nExit code {code}.\n\n    $ driverkit-matrix {command}\n{text}\n"
        )
        .unwrap();
    }
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        driverkit_matrix::fs::write(Path::new(PAGE), &page).unwrap();
    }
    let there = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        there == page,
        "run this test with INSTA_UPDATE=always, and read what changed in {PAGE}"
    );
}
