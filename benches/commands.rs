//! Whole commands at full scale, each in its own process: `plan` over 51,472 builds, and `run` with everything cached.
//!
//! `cargo bench --bench commands [--
//! plan|cached-1000|cached-single|cached-51472|shared-1000|shared-51472|publish-1000]`; without a name the first three,
//! since the others fill a cache first, which takes minutes, or need an S3 server.
//!
//! The cache is filled by a first run with `--executor fake`, over generated kernels and drivers: every kernel has its
//! own header package, eight driver versions have five configure checks, and every module is a separate file in the
//! output directory.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use driverkit_matrix::fs;
use driverkit_matrix::source::read_configured_driver;
use object::write::{Object, StandardSegment};
use object::{BinaryFormat, SectionKind};
use support::measure::{Measured, measure};
use support::tell::{Chosen, median, tell};

const ABI: &str = "6.1.0-1-amd64";
const RUNS: usize = 5;

fn main() {
    let chosen = Chosen::from_command_line();
    if chosen.wants("plan") {
        plan();
    }
    if chosen.wants("cached-1000") {
        cached(125, "0.5 s");
    }
    if chosen.wants("cached-single") {
        cached_single();
    }
    if chosen.names("shared-51472") {
        shared(6_434, "30 s, 200 requests");
    }
    if chosen.names("shared-1000") {
        shared(125, "30 s, 200 requests");
    }
    if chosen.names("publish-1000") {
        published(1_000);
    }
    if chosen.names("cached-51472") {
        cached(6_434, "10 s");
    }
}

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_driverkit-matrix"))
}

fn report(what: &str, runs: &[Measured], target: &str) {
    let wall = median(runs.iter().map(|run| run.wall).collect());
    let peak = runs.iter().map(|run| run.peak_mebibytes).max();
    let result = format!(
        "{:.3} s (median of {}), {} MiB",
        wall.as_secs_f64(),
        runs.len(),
        peak.unwrap_or_default()
    );
    tell(what, &result, target);
}

/// `plan` of two kernel lists and eight driver versions, from the lists themselves and from the lock.
fn plan() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lists = support::lists::find_or_make(folder.path());
    let matrix = folder.path().join("all.toml");
    fs::write(&matrix, support::lists::matrix(&lists)).expect("a writable folder");
    let lock = matrix.with_extension("lock");
    let (mut from_lists, mut from_lock) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        if lock.exists() {
            fs::remove_file(&lock).expect("a removable lock");
        }
        from_lists.push(measure(program().arg("plan").arg(&matrix)));
        from_lock.push(measure(program().arg("plan").arg(&matrix)));
    }
    let target = "0.3 s, 200 MB";
    report("plan, 51,472 builds, from the lists", &from_lists, target);
    report("plan, 51,472 builds, from the lock", &from_lock, target);
}

/// `run` of a number of kernels and eight driver versions, when everything is cached.
fn cached(kernels: usize, target: &str) {
    let folder = tempfile::Builder::new()
        .prefix("cached-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a temporary folder");
    let grid = Grid::make(folder.path(), kernels);
    let first = measure(&mut grid.run());
    let builds = kernels * support::lists::DRIVERS.len();
    report(&format!("first run, {builds} builds"), &[first], "none");
    let journal = std::fs::read_to_string(&grid.journal).expect("a journal");
    let modules = journal.lines().filter(|job| job.starts_with("module "));
    assert_eq!(modules.count(), builds, "every module is built once");
    fs::remove_file(&grid.journal).expect("a removable journal");

    // The packages' server does not exist, so a run that sends a request fails.
    let runs: Vec<Measured> = (0..RUNS).map(|_| measure(&mut grid.run())).collect();
    assert!(!grid.journal.exists(), "a cached run starts no job");
    report(&format!("cached run, {builds} builds"), &runs, target);
}

/// `run` on a machine with an empty disk, for builds that another machine has put into the store on an S3 server.
fn shared(kernels: usize, target: &str) {
    let folder = tempfile::Builder::new()
        .prefix("shared-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a temporary folder");
    let grid = Grid::make(folder.path(), kernels);
    let server = support::object_store::ObjectStore::s3();
    let builds = kernels * support::lists::DRIVERS.len();
    let run = |machine: &str| {
        let mut command = grid.run();
        let (cache, out) = (format!("cache-{machine}"), format!("out-{machine}"));
        command
            .args(["--cache", &cache, "--out", &out, "--place", "new"])
            .args(["--store", &server.url("night"), "--store-trusted"])
            .args(["--log", "info", "--log-file", "log"])
            .envs(server.variables());
        let measured = measure(&mut command);
        let log = std::fs::read_to_string(folder.path().join("log")).expect("a log");
        let requests = log.lines().rfind(|line| line.contains(" requests, "));
        tell(machine, requests.unwrap_or_default(), target);
        measured
    };
    report(
        &format!("first run, {builds} builds"),
        &[run("first")],
        "none",
    );
    fs::remove_file(&grid.journal).expect("a removable journal");
    let runs: Vec<Measured> = (0..RUNS).map(|at| run(&format!("empty-{at}"))).collect();
    assert!(!grid.journal.exists(), "nothing is left to build");
    report(
        &format!("run on an empty disk, {builds} builds"),
        &runs,
        target,
    );
}

/// `publish` of 1 MB modules to an S3 server, alternating with rclone for the same files, if rclone is installed.
fn published(count: usize) {
    let folder = tempfile::Builder::new()
        .prefix("publish-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a temporary folder");
    let server = support::object_store::ObjectStore::s3();
    let names: Vec<String> = (0..count)
        .map(|number| format!("6.1.0-{number}-amd64"))
        .collect();
    let content = "0123456789abcdef".repeat(62_500);
    let modules: Vec<support::published::Module<'_>> = names
        .iter()
        .map(|name| (name.as_str(), "0.23.2", content.as_str()))
        .collect();
    let out = folder.path().join("out");
    support::published::write_out(&out, "run-1", 0, &modules);
    let publish = |to: &str| {
        let mut command = program();
        command
            .args(["publish", "out", &server.url(to)])
            .current_dir(folder.path())
            .envs(server.variables());
        measure(&mut command)
    };
    let variables = server.variables();
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let rclone = std::env::var("RCLONE").unwrap_or_else(|_| "rclone".to_owned());
    let has_rclone = Command::new(&rclone).arg("version").output().is_ok();
    let copy = |to: &str| {
        let mut command = Command::new(&rclone);
        // Everything that rclone can skip is skipped.
        command
            .args([
                "copy",
                "--transfers",
                "16",
                "--no-check-dest",
                "--s3-no-check-bucket",
            ])
            .args(["--s3-no-head", "out/0.23.2", &format!("server:builds/{to}")])
            .current_dir(folder.path())
            .env_remove("AWS_CA_BUNDLE")
            .env("RCLONE_CONFIG_SERVER_TYPE", "s3")
            .env("RCLONE_CONFIG_SERVER_PROVIDER", "Other")
            .env(
                "RCLONE_CONFIG_SERVER_ENDPOINT",
                variable("AWS_ENDPOINT_URL"),
            )
            .env(
                "RCLONE_CONFIG_SERVER_ACCESS_KEY_ID",
                variable("AWS_ACCESS_KEY_ID"),
            )
            .env(
                "RCLONE_CONFIG_SERVER_SECRET_ACCESS_KEY",
                variable("AWS_SECRET_ACCESS_KEY"),
            );
        measure(&mut command)
    };
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for round in 0..3 {
        own.push(publish(&format!("own-{round}")));
        if has_rclone {
            others.push(copy(&format!("rclone-{round}")));
        }
    }
    let target = "80 % of rclone's rate, 150 MB";
    report(&format!("publish, {count} artifacts of 1 MB"), &own, target);
    if has_rclone {
        report("the same files by rclone", &others, "none");
    }
    report("the second publication", &[publish("own-0")], "no write");
}

/// One build with driverkit's command line, when its module is cached.
fn cached_single() {
    let folder = tempfile::Builder::new()
        .prefix("single-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .expect("a temporary folder");
    let grid = Grid::make(folder.path(), 1);
    let list = std::fs::read_to_string(folder.path().join("list.json")).expect("a list");
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let kernel = &list["debian"][0];
    let config = serde_json::json!({
        "kernelrelease": kernel["kernelrelease"],
        "kernelurls": kernel["headers"],
        "kernelversion": 1,
        "target": "debian",
        "architecture": "amd64",
        "driverversion": support::lists::DRIVERS[0],
        "src-dir": folder.path().join("drivers").join(support::lists::DRIVERS[0]),
        "output": { "module": "falco.ko" },
    });
    // JSON is valid YAML.
    grid.write("config.yaml", config.to_string());
    let run = || {
        let mut command = grid.command();
        command
            .args(["docker", "-c", "config.yaml"])
            .env("DRIVERKIT_MATRIX_EXECUTOR", "fake");
        measure(&mut command)
    };
    run();
    fs::remove_file(&grid.journal).expect("a removable journal");
    let runs: Vec<Measured> = (0..RUNS * 4).map(|_| run()).collect();
    assert!(!grid.journal.exists(), "a cached build starts no job");
    report(
        "one cached build of driverkit's docker command",
        &runs,
        "0.05 s",
    );
}

/// Kernels and drivers in a directory, with everything that a run of them needs.
struct Grid {
    folder: PathBuf,
    journal: PathBuf,
}

impl Grid {
    fn make(folder: &Path, kernels: usize) -> Self {
        let grid = Self {
            folder: folder.to_owned(),
            journal: folder.join("journal"),
        };
        grid.write("list.json", grid.packages(kernels));
        let mut matrix = format!(
            "drivers = {:?}\narchitectures = [\"amd64\"]\n[[target]]\nname = \"debian\"\nkernels = {{ from = \"kernel-crawler\", path = {{ amd64 = \"list.json\" }} }}\n",
            support::lists::DRIVERS
        );
        let mut answers = serde_json::json!({ "checks/toolchain-module/status": "0" });
        for version in support::lists::DRIVERS {
            let driver = grid.driver(version);
            for check in &driver.checks {
                answers[format!("checks/{}/status", check.id())] = "0".into();
            }
            let path = format!("drivers/{version}");
            writeln!(
                matrix,
                "[driver.{version:?}]\nsource = {{ path = {path:?} }}"
            )
            .expect("memory");
        }
        grid.write("matrix.toml", matrix);
        grid.write("module.ko", module());
        let script = serde_json::json!({
            "journal": grid.journal,
            "rules": [
                { "job": "check *", "then": { "outputs": answers } },
                { "job": "module *", "then": { "copies": { "module.ko": grid.folder.join("module.ko") } } },
            ],
        });
        grid.write("fake.json", script.to_string());
        grid
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::write(&self.folder.join(path), content).expect("a writable folder");
    }

    /// Returns the command to run the matrix.
    fn run(&self) -> Command {
        let mut command = self.command();
        command.args(["run", "matrix.toml", "--executor", "fake"]);
        command
    }

    /// Returns the program, to be run in the grid's directory.
    fn command(&self) -> Command {
        let mut command = program();
        command
            .current_dir(&self.folder)
            .env("DRIVERKIT_MATRIX_FAKE", self.folder.join("fake.json"))
            .env("DRIVERKIT_MATRIX_CACHE", self.folder.join("cache"));
        command
    }

    /// Creates the packages and returns the list of kernels. The headers that flavours share are one file with many
    /// names.
    fn packages(&self, kernels: usize) -> String {
        let common = package(&[("usr/src/linux-headers-6.1.0-1-common/Makefile", "all:\n")]);
        let kbuild = package(&[("usr/lib/linux-kbuild-6.1/scripts/basic/fixdep", "\n")]);
        self.write("packages/common.deb", common);
        self.write("packages/linux-kbuild-6.1_6.1.1-1_amd64.deb", kbuild);
        let utsrelease = format!("#define UTS_RELEASE \"{ABI}\"\n");
        let build = format!("usr/src/linux-headers-{ABI}");
        let (config_path, release_path) = (
            format!("{build}/.config"),
            format!("{build}/include/generated/utsrelease.h"),
        );
        let entries: Vec<_> = (1..=kernels)
            .map(|number| {
                let version = format!("6.1.{number}-1");
                let config = format!(
                    "# {version}\nCONFIG_X86_64=y\nCONFIG_GCC_VERSION=120200\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n"
                );
                let headers = package(&[(&config_path, &config), (&release_path, &utsrelease)]);
                let name = format!("packages/linux-headers-{ABI}_{version}_amd64.deb");
                // Like `fs::write`, but does not wait for the disk.
                self.put(&name, &headers);
                let shared = format!("packages/linux-headers-6.1.0-1-common_{version}_all.deb");
                std::fs::hard_link(self.folder.join("packages/common.deb"), self.folder.join(&shared))
                    .expect("a link");
                let paths = [name, shared, "packages/linux-kbuild-6.1_6.1.1-1_amd64.deb".to_owned()];
                serde_json::json!({
                    "kernelrelease": format!("{version}-amd64"),
                    "kernelversion": "1",
                    "target": "debian",
                    "headers": paths.map(|path| self.folder.join(path)),
                })
            })
            .collect();
        serde_json::json!({ "debian": entries }).to_string()
    }

    fn put(&self, path: &str, content: &[u8]) {
        let file = std::fs::File::options()
            .write(true)
            .create_new(true)
            .open(self.folder.join(path));
        file.and_then(|mut file| file.write_all(content))
            .expect("a writable folder");
    }

    /// Writes flat sources with five configure checks, which all versions share.
    fn driver(&self, version: &str) -> driverkit_matrix::source::ConfiguredDriver {
        let folder = format!("drivers/{version}");
        self.write(&format!("{folder}/Makefile"), "obj-m += falco.o\n");
        let header = format!("#define DRIVER_VERSION \"{version}\"\n");
        self.write(&format!("{folder}/driver_config.h"), header);
        self.write(&format!("{folder}/falco.c"), "int answer;\n");
        for check in [
            "ACCESS_OK_2",
            "CLASS_CREATE_1",
            "DEVNODE_ARG1_CONST",
            "TRACEPOINT",
            "VMA",
        ] {
            let folder = format!("{folder}/configure/{check}");
            self.write(&format!("{folder}/build.sh"), "true\n");
            self.write(&format!("{folder}/test.c"), format!("int {check};\n"));
        }
        read_configured_driver(&self.folder.join(folder)).expect("a driver")
    }
}

/// Returns the smallest module that passes the checks of artifacts.
fn module() -> Vec<u8> {
    let mut object = Object::new(
        BinaryFormat::Elf,
        object::Architecture::X86_64,
        object::Endianness::Little,
    );
    let info = format!("license=GPL\0name=falco\0vermagic={ABI} SMP mod_unload \0srcversion=ABC\0");
    for (name, content) in [
        (".modinfo", info.as_bytes()),
        (".gnu.linkonce.this_module", b"falco".as_slice()),
    ] {
        let segment = object.segment_name(StandardSegment::Data).to_vec();
        let id = object.add_section(segment, name.into(), SectionKind::ReadOnlyData);
        object.append_section_data(id, content, 1);
    }
    object.write().expect("an object file")
}

/// Returns a Debian package with these files.
fn package(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, format!("./{path}"), content.as_bytes())
            .expect("memory");
    }
    let data = archive.into_inner().expect("memory");
    let mut package = b"!<arch>\n".to_vec();
    for (name, content) in [("debian-binary", b"2.0\n".as_slice()), ("data.tar", &data)] {
        let size = content.len();
        writeln!(
            package,
            "{name:<16}0           0     0     100644  {size:<10}`"
        )
        .expect("memory");
        package.extend(content);
        if size % 2 == 1 {
            package.push(b'\n');
        }
    }
    package
}
