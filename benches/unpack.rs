//! Unpacks real header packages, compared with the usual programs of the distributions.
//!
//! `cargo bench --bench unpack`: the packages of the two newest kernels of one series, fetched by apt, and rpms that
//! rpmbuild builds from their content. Our program and theirs alternate; each is a process that unpacks one file into
//! an empty directory, without synchronising to disk. Then the packages of both kernels are unpacked durably into a
//! store, where the second kernel finds most of its files from the first: with Debian's compression, and with Ubuntu's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use driverkit_matrix::store::Store;
use driverkit_matrix::unpack::{Limits, unpack, unpack_into_store};
use support::rpmbuild::rpmbuild;
use support::tell::{median, tell};

const PAIRS: usize = 9;
const STORES: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[1..] {
        ["unpack", archive, folder] => {
            unpack(Path::new(archive), Path::new(folder), &Limits::default()).expect("a package");
        }
        ["store", root, ref archives @ ..] => into_store(Path::new(root), archives),
        _ => compare_all(),
    }
}

/// Unpacks all archives concurrently, as a run does with the packages of a kernel.
fn into_store(root: &Path, archives: &[&str]) {
    let store = Store::open(root, "bench").expect("a store");
    std::thread::scope(|scope| {
        for archive in archives {
            let digest = archive.parse().expect("a digest");
            let store = &store;
            scope.spawn(move || {
                unpack_into_store(store, digest, &Limits::default()).expect("a package");
            });
        }
    });
}

fn compare_all() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unpack-bench");
    std::fs::create_dir_all(&folder).expect("a folder");
    let kernels = packages(&folder);
    for package in kernels.iter().flatten() {
        compare(&folder, package, "dpkg-deb -x \"$1\" \"$2\"", "dpkg-deb -x");
    }
    let common = kernels[1]
        .iter()
        .find(|path| name(path).contains("-common_"));
    let content = folder.join("content");
    remove(&content);
    shell(
        "dpkg-deb -x \"$1\" \"$2\"",
        &[common.expect("common headers"), &content],
    );
    for (compression, payload) in [
        ("xz", "w2.xzdio"),
        ("zstd", "w3.zstdio"),
        ("gzip", "w6.gzdio"),
    ] {
        let file = format!("kernel-devel-{compression}-1-1.x86_64.rpm");
        let package = rpmbuild(&folder, &content, &file, payload);
        let theirs = "rpm2cpio \"$1\" | (cd \"$2\" && cpio -idm --quiet)";
        compare(&folder, &package, theirs, "rpm2cpio | cpio");
    }
    remove(&content);
    second_kernel(&folder, &kernels, "xz");
    second_kernel(
        &folder,
        &kernels.map(|packages| with_zstd(&folder, packages)),
        "zstd",
    );
}

/// Returns the packages with Ubuntu's compression.
fn with_zstd(folder: &Path, packages: Vec<PathBuf>) -> Vec<PathBuf> {
    let (content, into) = (folder.join("content"), folder.join("zstd"));
    std::fs::create_dir_all(&into).expect("a folder");
    let repack = |package: PathBuf| {
        let zstd = into.join(name(&package));
        let script =
            "dpkg-deb -R \"$1\" \"$2\" && dpkg-deb -Zzstd --root-owner-group -b \"$2\" \"$3\"";
        shell(script, &[&package, &content, &zstd]);
        remove(&content);
        zstd
    };
    packages.into_iter().map(repack).collect()
}

/// The time that a command took.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    cpu: Duration,
}

/// Runs a command; bash measures it with its child processes, in milliseconds.
fn timed(script: &str, arguments: &[&Path]) -> Took {
    let timing = format!("TIMEFORMAT='%R %U %S'; time {{ {script}; }}");
    let output = Command::new("bash")
        .args(["-ec", &timing, "bash"])
        .args(arguments)
        .output()
        .expect("bash");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{script} {arguments:?}: {text}");
    let last = text.lines().last().expect("the times");
    let seconds: Vec<f64> = last
        .split(' ')
        .map(|number| number.parse().expect("seconds"))
        .collect();
    Took {
        wall: Duration::from_secs_f64(seconds[0]),
        cpu: Duration::from_secs_f64(seconds[1] + seconds[2]),
    }
}

fn shell(script: &str, arguments: &[&Path]) {
    timed(script, arguments);
}

fn remove(folder: &Path) {
    driverkit_matrix::fs::remove_folder(folder).expect("removed");
}

fn name(path: &Path) -> String {
    path.file_name()
        .expect("a file")
        .to_string_lossy()
        .into_owned()
}

fn this_program() -> PathBuf {
    std::env::current_exe().expect("this program")
}

/// Compares our program with theirs, in alternation.
fn compare(folder: &Path, package: &Path, script: &str, program: &str) {
    // In memory if possible: ext4 takes seconds to skip inodes that were just removed, so the measurement would include
    // the removal of the previous tree.
    let memory = Path::new("/dev/shm");
    let into = tempfile::tempdir_in(if memory.is_dir() { memory } else { folder });
    let into = into.expect("a folder");
    let into = into.path().join("into");
    let empty = || {
        remove(&into);
        std::fs::create_dir(&into).expect("a folder");
    };
    let this = this_program();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for pair in 0..=PAIRS {
        empty();
        let our = timed("\"$3\" unpack \"$1\" \"$2\"", &[package, &into, &this]);
        empty();
        let their = timed(script, &[package, &into]);
        // The first pair is not counted: it reads the package and the programs from the disk.
        if pair > 0 {
            ours.push(our);
            theirs.push(their);
        }
    }
    let middle = |took: &[Took], part: fn(&Took) -> Duration| {
        median(took.iter().map(part).collect()).as_secs_f64()
    };
    let (wall, cpu) = (
        middle(&ours, |took| took.wall),
        middle(&ours, |took| took.cpu),
    );
    let their_wall = middle(&theirs, |took| took.wall);
    let their_cpu = middle(&theirs, |took| took.cpu);
    let full = name(package);
    let short = full.split('_').next().unwrap_or_default();
    let short = short.trim_end_matches("-1-1.x86");
    tell(
        &format!("{short}: wall / {program}"),
        &format!("{:.2} ({wall:.3} s / {their_wall:.3} s)", wall / their_wall),
        "1.0",
    );
    tell(
        &format!("{short}: CPU / {program}"),
        &format!("{:.2} ({cpu:.3} s / {their_cpu:.3} s)", cpu / their_cpu),
        "-",
    );
}

/// Unpacks the packages of one kernel and then those of the next into a store.
fn second_kernel(folder: &Path, kernels: &[Vec<PathBuf>; 2], compression: &str) {
    let this = this_program();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    for number in 0..STORES {
        let root = folder.path().join(format!("store-{number}"));
        let digests = kernels.each_ref().map(|packages| {
            let store = Store::open(&root, "fill").expect("a store");
            let put = |path: &PathBuf| {
                let file = std::fs::File::open(path).expect("a package");
                PathBuf::from(store.put_blob(file).expect("kept").0.to_string())
            };
            packages.iter().map(put).collect::<Vec<_>>()
        });
        rustix::fs::sync();
        for (digests, took) in digests.iter().zip([&mut first, &mut second]) {
            let mut arguments = vec![this.as_path(), &root];
            arguments.extend(digests.iter().map(PathBuf::as_path));
            took.push(timed("\"$1\" store \"${@:2}\"", &arguments));
        }
    }
    for (what, part) in [
        ("wall", (|took| took.wall) as fn(&Took) -> Duration),
        ("CPU", |took| took.cpu),
    ] {
        let middle = |took: &[Took]| median(took.iter().map(part).collect()).as_secs_f64();
        let (one, two) = (middle(&first), middle(&second));
        tell(
            &format!("first kernel into a store / second, {compression}: {what}"),
            &format!("{:.1} ({one:.3} s / {two:.3} s)", one / two),
            if what == "wall" { "2.0" } else { "-" },
        );
    }
}

fn output(program: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("a program that starts");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Returns the packages of the last two kernels of the oldest series that apt knows: two builds of nearly the same
/// source.
fn packages(folder: &Path) -> [Vec<PathBuf>; 2] {
    let here = folder.join("packages");
    std::fs::create_dir_all(&here).expect("a folder");
    let names = output("apt-cache", &["pkgnames", "linux-headers-"], &here);
    let numbers = |name: &str| -> Option<Vec<u32>> {
        let version = name
            .strip_prefix("linux-headers-")?
            .strip_suffix("-common")?;
        let version = version.split('+').next()?;
        version
            .split(['.', '-'])
            .map(|part| part.parse().ok())
            .collect()
    };
    let known: BTreeSet<(Vec<u32>, &str)> = names
        .lines()
        .filter_map(|name| Some((numbers(name)?, name)))
        .collect();
    let series = known
        .first()
        .map(|(version, _)| version[..2].to_vec())
        .expect("header packages");
    let kernels: Vec<&str> = known
        .iter()
        .filter(|(version, _)| version.starts_with(&series))
        .map(|(_, name)| *name)
        .collect();
    let architecture = output("dpkg", &["--print-architecture"], &here);
    let newest = kernels.last_chunk::<2>().expect("two kernels");
    newest.map(|common| {
        let plain = common.replace("-common", &format!("-{}", architecture.trim()));
        output("apt-get", &["download", common, &plain], &here);
        let files = std::fs::read_dir(&here).expect("packages");
        let mut files: Vec<_> = files.map(|entry| entry.expect("a file").path()).collect();
        files.retain(|path| {
            let file = name(path);
            [common, &plain]
                .iter()
                .any(|wanted| file.starts_with(&format!("{wanted}_")))
        });
        files.sort();
        files
    })
}
