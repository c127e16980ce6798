//! A driver for a kernel of each distribution, from the packages on its mirror to the named artifact, in Docker.
//!
//! Packages of other distributions are not available where this is tested, so they are created: Debian's real header
//! tree in the layout, names, formats and compressions of each distribution, with the release of one of its real
//! kernels (`targets/distributions.rs`), served in the layout of its mirrors. docs/targets.md says which parts are
//! real.
//!
//! An ordinary test covers a few families; `make test-targets` covers all and prints a table. Both need the
//! requirements that `scripts/test.sh` prepares: a Docker daemon, the builder image `bookworm`, the driver sources,
//! apt's mirror.

pub(crate) mod content;
pub(crate) mod distributions;
pub(crate) mod kernels;
pub(crate) mod packages;
mod pi;
mod sources;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use driverkit_matrix::fs;
use driverkit_matrix::report::{BuildRecord, read_manifest};

use distributions::{DISTRIBUTIONS, Distribution, Package};
use support::real::{program, vendor};
use support::server::Server;

const DRIVER: &str = "0.20.0+driver";

/// A kernel for which a module is built, with its entries in the matrix and the table.
struct Kernel {
    target: &'static str,
    release: String,
    version: &'static str,
    /// The release in its header tree.
    uts_release: String,
    /// The keys in the matrix besides release and version.
    further: String,
    /// Scheme and host of every file that is downloaded for the kernel.
    hosts: Vec<(&'static str, &'static str)>,
    /// The inputs of the build, for the table.
    inputs: String,
}

/// Returns the matrix of some kernels and a driver with these sources; all hosts are directories of `server`.
fn matrix(kernels: &[Kernel], server: &Server, sources: &Path) -> String {
    let mut text = format!(
        "drivers = [\"{DRIVER}\"]\narchitectures = [\"amd64\"]\nartifacts = [\"module\"]\n\n\
         [driver.\"{DRIVER}\"]\nsource = {{ path = \"{}\" }}\n\n\
         [defaults]\ntimeout = \"30m\"\n",
        sources.display()
    );
    let mut targets: Vec<&str> = kernels.iter().map(|kernel| kernel.target).collect();
    targets.dedup();
    for target in targets {
        writeln!(text, "\n[[target]]\nname = \"{target}\"\nkernels = [").unwrap();
        for kernel in kernels.iter().filter(|kernel| kernel.target == target) {
            let (release, version, further) = (&kernel.release, kernel.version, &kernel.further);
            let names = format!("release = \"{release}\", version = \"{version}\"");
            writeln!(text, "  {{ {names}{further} }},").unwrap();
        }
        text.push_str("]\n");
    }
    let hosts: BTreeSet<_> = kernels.iter().flat_map(|kernel| &kernel.hosts).collect();
    text.push_str("\n[mirrors]\noffline = true\n");
    for (scheme, host) in hosts {
        let address = &server.address;
        writeln!(text, "\"{scheme}://{host}\" = [\"{address}/{host}\"]").unwrap();
    }
    text
}

/// The directory in which packages and mirrors are created.
fn here() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("targets")
}

/// A finished run over some kernels.
struct Done {
    code: i32,
    log: String,
    /// The builds of the manifest, in the order of the kernels.
    builds: Vec<BuildRecord>,
    out: PathBuf,
    _work: tempfile::TempDir,
}

/// Builds a module of a real driver for each kernel.
fn build(kernels: &[Kernel]) -> Done {
    let sources = vendor().join("falcosecurity-libs-0.20.0");
    build_with(kernels, &sources, &["--executor", "docker"])
}

/// The same for a driver with these sources and with further arguments.
fn build_with(kernels: &[Kernel], sources: &Path, arguments: &[&str]) -> Done {
    let server = Server::of(&here().join("mirrors"));
    let work = tempfile::tempdir().unwrap();
    fs::write(
        &work.path().join("matrix.toml"),
        matrix(kernels, &server, sources),
    )
    .unwrap();
    let output = program(work.path())
        .args(["run", "matrix.toml", "--verbose"])
        .args(arguments)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let out = work.path().join("out");
    let manifest =
        read_manifest(&out.join("manifest.json")).unwrap_or_else(|error| panic!("{error}\n{log}"));
    let of = |kernel: &Kernel| {
        let is_it = |build: &&BuildRecord| {
            build.target.to_string() == kernel.target
                && build.kernel_release.to_string() == kernel.release
        };
        let found = manifest.builds.iter().find(is_it);
        found
            .unwrap_or_else(|| panic!("{} is not in the manifest\n{log}", kernel.release))
            .clone()
    };
    Done {
        code: output.status.code().unwrap(),
        builds: kernels.iter().map(of).collect(),
        log,
        out,
        _work: work,
    }
}

/// Tests run concurrently, and packages are created in one directory.
static MAKING: Mutex<()> = Mutex::new(());

/// Returns the kernels of some distributions; creates their packages if they do not exist.
fn with_packages(distributions: &[&Distribution]) -> Vec<Kernel> {
    let _making = MAKING.lock();
    let here = here();
    let content = content::Content::of_debian(&here);
    for package in distributions.iter().flat_map(|one| one.packages) {
        packages::make(&content, package, &here, &here.join("mirrors"));
    }
    let kernel = |one: &&Distribution| {
        let addresses: Vec<_> = one
            .packages
            .iter()
            .map(|package| format!("\"{}\"", package.address))
            .collect();
        let packages: Vec<_> = one.packages.iter().map(packages::describe).collect();
        let (how, further) = if one.is_computed {
            ("computed", String::new())
        } else {
            ("named", format!(", headers = [{}]", addresses.join(", ")))
        };
        Kernel {
            target: one.target,
            release: one.release.to_owned(),
            version: one.version,
            uts_release: one.uts_release.to_owned(),
            further,
            hosts: one.packages.iter().map(Package::host).collect(),
            inputs: format!("{} | {how}", packages.join(" + ")),
        }
    };
    distributions.iter().map(kernel).collect()
}

/// Returns what is wrong with the module of a kernel, if anything.
fn problem(one: &Kernel, build: &BuildRecord, out: &Path) -> Option<String> {
    let artifact = &build.artifacts[0];
    if let Some(failure) = &artifact.failure {
        return Some(format!("{}: {}", failure.class, failure.message));
    }
    let name = format!("falco_{}_{}_{}.ko", one.target, one.release, one.version);
    let path = out.join(DRIVER).join("x86_64").join(name);
    if !path.is_file() {
        return Some(format!("there is no {}", path.display()));
    }
    let vermagic = artifact.vermagic.as_deref().unwrap_or_default();
    let is_right = vermagic.starts_with(&format!("{} SMP ", one.uts_release));
    (!is_right).then(|| format!("the vermagic of its module is {vermagic}"))
}

/// Whether `TARGETS` contains a target: names are separated by blanks; if it is empty, all targets are wanted.
fn is_wanted(target: &str) -> bool {
    let named = std::env::var("TARGETS").unwrap_or_default();
    let mut names = named.split_whitespace().peekable();
    names.peek().is_none() || names.any(|name| name == target)
}

fn find(target: &str, release: &str) -> &'static Distribution {
    let mut all = DISTRIBUTIONS.iter();
    all.find(|one| one.target == target && one.release == release)
        .unwrap()
}

/// Builds for all kernels, prints a table, and fails if one module is wrong.
#[expect(clippy::print_stdout, reason = "the table is the purpose of the test")]
fn build_and_tell(kernels: &[Kernel]) {
    let done = build(kernels);
    let mut table = String::from(
        "| target | kernel | from | addresses | tree says | result |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    let mut failed = 0;
    for (kernel, build) in kernels.iter().zip(&done.builds) {
        let result = match problem(kernel, build, &done.out) {
            None => "module built and checked".to_owned(),
            Some(problem) => {
                failed += 1;
                problem.lines().next().unwrap_or_default().to_owned()
            }
        };
        let (target, release, version) = (kernel.target, &kernel.release, kernel.version);
        let (inputs, uts_release) = (&kernel.inputs, &kernel.uts_release);
        writeln!(
            table,
            "| {target} | `{release}` #{version} | {inputs} | `{uts_release}` | {result} |"
        )
        .unwrap();
    }
    println!("\n{table}");
    assert_eq!(failed, 0, "{}", done.log);
}

/// A deb, an rpm and an Arch package, a custom kernel from two package formats and from a tarball, a real-time variant,
/// and an rpm with another kernel than its name says.
#[test]
fn modules_are_built_from_packages_of_each_format() {
    let kernels = with_packages(&[
        find("ubuntu-generic", "5.19.0-15-generic"),
        find("fedora", "5.19.12-200.fc36.x86_64"),
        find("arch", "6.1.12.hardened1-1"),
        find("generic", "6.1.30-acme"),
        find("generic", "6.1.31-acme"),
        find("generic", "6.1.32-acme"),
        find("rocky", "5.14.0-427.13.1.el9_4.x86_64+rt"),
        &distributions::WRONG_RELEASE,
    ]);
    let done = build(&kernels);
    for (kernel, build) in kernels.iter().zip(&done.builds).take(7) {
        assert_eq!(problem(kernel, build, &done.out), None, "{}", done.log);
    }
    assert_eq!(done.code, 1, "{}", done.log);
    let wrong = &done.builds[7];
    let failure = wrong.artifacts[0].failure.as_ref().unwrap();
    let message = &failure.message;
    assert_eq!(failure.class.as_str(), "wrong-headers", "{message}");
    for release in [kernels[7].release.as_str(), "5.14.0-167.el9.x86_64"] {
        assert!(message.contains(release), "{message}");
    }
    // The wrong kernel was found before any job ran.
    assert_eq!((wrong.cpu_seconds, wrong.checks.len()), (None, 0));
}

/// Users set this link to get BTF for their own machine, but it is of the running kernel, not of the tree's.
#[test]
fn a_module_is_built_from_a_plain_tree_without_the_machines_kernel() {
    with_packages(&[find("generic", "6.1.32-acme")]);
    let work = tempfile::tempdir_in(here()).unwrap();
    let tarball =
        here().join("mirrors/packages.example.org/kernels/linux-6.1.32-acme-build.tar.gz");
    support::host::run("tar", &["-xf", tarball.to_str().unwrap()], work.path());
    let tree = work.path().join("linux-6.1.32-acme");
    std::os::unix::fs::symlink("/sys/kernel/btf/vmlinux", tree.join("vmlinux")).unwrap();
    let kernel = Kernel {
        target: "generic",
        release: "6.1.32-acme".to_owned(),
        version: "7",
        uts_release: "6.1.32-acme".to_owned(),
        further: format!(", headers = [{:?}]", tree.display().to_string()),
        hosts: Vec::new(),
        inputs: "directory | named".to_owned(),
    };
    let done = build(std::slice::from_ref(&kernel));
    assert_eq!(
        problem(&kernel, &done.builds[0], &done.out),
        None,
        "{}",
        done.log
    );
    let module = done
        .out
        .join(DRIVER)
        .join("x86_64/falco_generic_6.1.32-acme_7.ko");
    let module = fs::read(&module).unwrap();
    let sections = object::File::parse(&*module).unwrap();
    let has_btf = object::Object::section_by_name(&sections, ".BTF").is_some();
    assert!(!has_btf && !done.log.contains("BTF"), "{}", done.log);
}

/// Every distribution with header packages, and every target whose tree is prepared from a kernel source; prints the
/// table for docs/targets.md.
#[test]
#[ignore = "takes a quarter of an hour: make test-targets"]
fn modules_are_built_for_every_target() {
    let wanted = DISTRIBUTIONS.iter().filter(|one| is_wanted(one.target));
    let mut kernels = with_packages(&wanted.collect::<Vec<_>>());
    let sources = ["bottlerocket", "flatcar", "minikube", "talos", "vanilla"];
    if sources.into_iter().any(is_wanted) {
        let sources = sources::kernels(&here().join("mirrors"));
        kernels.extend(sources.into_iter().filter(|one| is_wanted(one.target)));
    }
    assert!(!kernels.is_empty(), "no target in TARGETS exists");
    build_and_tell(&kernels);
}
