//! A small grid in its own directory: tiny header packages, a flat driver, a module that passes the checks, and a fake
//! executor that records its jobs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};

use assert_cmd::Command;
use driverkit_matrix::failure::Status;
use driverkit_matrix::fs;
use driverkit_matrix::kernel::Architecture;
use driverkit_matrix::report::{BuildRecord, Manifest, read_manifest};
use driverkit_matrix::source::read_configured_driver;
use object::write::Object;
use object::{BinaryFormat, SectionKind};
use serde_json::{Value, json};

use crate::server::Server;

pub const RELEASE: &str = "6.1.0-1-amd64";

/// The flags after the release in the vermagic of a module for the kernel of [`Grid::headers`].
const FLAGS: &str = "SMP mod_unload";

pub struct Grid {
    folder: tempfile::TempDir,
}

impl Grid {
    /// A grid with one kernel and one driver.
    pub fn new() -> Self {
        let grid = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        };
        grid.write_driver("driver", "main");
        grid.write_headers("1", RELEASE);
        grid.write("module.ko", module(RELEASE));
        grid.write("probe.o", probe());
        grid.write_matrix(&grid.matrix(&["1"]));
        grid.fake(&[]);
        grid
    }

    /// A grid with four kernels.
    pub fn of_four() -> Self {
        let grid = Self::new();
        let numbers = ["1", "2", "3", "4"];
        for number in numbers {
            grid.write_headers(number, RELEASE);
        }
        grid.write_matrix(&grid.matrix(&numbers));
        grid
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(&self.path(name), content).expect("written");
    }

    pub fn write_matrix(&self, text: &str) {
        self.write("matrix.toml", text);
    }

    /// Writes a flat driver called scap in directory `name`; `content` is the content of its C file.
    pub fn write_driver(&self, name: &str, content: &str) {
        self.write(
            &format!("{name}/Makefile"),
            "scap-y += main.o\nobj-m += scap.o\n",
        );
        self.write(
            &format!("{name}/driver_config.h"),
            "#define DRIVER_NAME \"scap\"\n",
        );
        self.write(&format!("{name}/main.c"), content);
        self.write(&format!("{name}/bpf/probe.c"), content);
        self.write(&format!("{name}/bpf/Makefile"), "all:\n");
        self.write(&format!("{name}/configure/CHECK/build.sh"), "exit 0\n");
        self.write(&format!("{name}/configure/CHECK/test.c"), "int x;\n");
    }

    /// Writes the header packages of version `6.1.<number>-1`, whose tree is of kernel `release`.
    pub fn write_headers(&self, number: &str, release: &str) {
        let [arch, common, kbuild] = self.headers(number);
        let base = "usr/src/linux-headers-6.1.0-1-amd64";
        let config =
            "CONFIG_X86_64=y\nCONFIG_GCC_VERSION=120200\nCONFIG_SMP=y\nCONFIG_MODULE_UNLOAD=y\n";
        let uts = format!("#define UTS_RELEASE \"{release}\"\n");
        fs::write(
            &arch,
            deb(&[
                (&format!("{base}/.config"), config),
                (&format!("{base}/include/generated/utsrelease.h"), &uts),
                (&format!("{base}/Makefile"), number),
            ]),
        )
        .expect("written");
        fs::write(
            &common,
            deb(&[("usr/src/linux-headers-6.1.0-1-common/Makefile", "all:\n")]),
        )
        .expect("written");
        fs::write(
            &kbuild,
            deb(&[("usr/lib/linux-kbuild-6.1/scripts/x", "x\n")]),
        )
        .expect("written");
    }

    /// Returns the paths of the header packages of version `6.1.<number>-1`.
    pub fn headers(&self, number: &str) -> [PathBuf; 3] {
        let version = format!("6.1.{number}-1");
        [
            format!("debs/linux-headers-{RELEASE}_{version}_amd64.deb"),
            format!("debs/linux-headers-6.1.0-1-common_{version}_all.deb"),
            format!("debs/linux-kbuild-6.1_{version}_amd64.deb"),
        ]
        .map(|name| self.path(&name))
    }

    /// Returns a matrix of kernels `6.1.<number>-1-amd64` and the driver in `driver`.
    pub fn matrix(&self, numbers: &[&str]) -> String {
        let kernels: Vec<String> = numbers.iter().map(|number| self.kernel(number)).collect();
        format!(
            "drivers = [\"one\"]\nartifacts = [\"module\"]\n\n[driver.\"one\"]\nsource = {{ path = \"driver\" }}\n\
             module_name = \"scap\"\n\n[defaults]\nretries = 1\n\n[[target]]\nname = \"debian\"\nkernels = [{}]\n",
            kernels.join(", ")
        )
    }

    fn kernel(&self, number: &str) -> String {
        let headers = self.headers(number).map(|path| path.display().to_string());
        format!("{{ release = \"6.1.{number}-1-amd64\", headers = {headers:?} }}")
    }

    /// Sets the script of the fake executor: these rules, followed by the default ones: checks answer yes, modules and
    /// probes are good.
    pub fn fake(&self, rules: &[Value]) {
        let mut ids = vec!["toolchain-module".to_owned(), "toolchain-probe".to_owned()];
        for driver in ["driver", "other"].map(|name| self.path(name)) {
            if let Ok(driver) = read_configured_driver(&driver) {
                ids.extend(driver.checks.iter().map(|check| check.id()));
            }
        }
        let answers: BTreeMap<String, &str> = ids
            .iter()
            .flat_map(|id| {
                [
                    (format!("checks/{id}/status"), "0\n"),
                    (format!("checks/{id}/log"), ""),
                ]
            })
            .collect();
        let configured = [
            ("tree/Makefile", "scap-y += main.o\nobj-m += scap.o\n"),
            ("tree/driver_config.h", "#define DRIVER_NAME \"scap\"\n"),
        ];
        let configured: BTreeMap<&str, &str> = configured.into_iter().collect();
        let usual = [
            json!({ "job": "configure *", "then": { "outputs": configured } }),
            json!({ "job": "check *", "then": { "outputs": answers } }),
            json!({ "job": "{module,double module} *", "then": { "copies": { "module.ko": self.path("module.ko") } } }),
            json!({ "job": "{probe,double probe} *", "then": { "copies": { "probe.o": self.path("probe.o") } } }),
        ];
        let rules: Vec<&Value> = rules.iter().chain(&usual).collect();
        let script = json!({ "rules": rules, "journal": self.path("journal") });
        self.write("fake.json", script.to_string());
    }

    /// Returns the program, to be run in the grid's directory.
    pub fn program(&self, words: &[&str]) -> Command {
        let mut command = Command::cargo_bin("driverkit-matrix").expect("the program");
        command
            .current_dir(self.folder.path())
            .env("DRIVERKIT_MATRIX_CACHE", self.path("cache"))
            .env("DRIVERKIT_MATRIX_FAKE", self.path("fake.json"))
            .env_remove("RUST_BACKTRACE")
            .args(words);
        command
    }

    /// Runs the matrix with the fake executor; returns the exit code and the output.
    pub fn run(&self, words: &[&str]) -> (i32, String) {
        let mut all = vec!["run", "matrix.toml", "--executor", "fake"];
        if !words.contains(&"--jobs") {
            all.extend(["--jobs", "2"]);
        }
        all.extend(words);
        let Output { status, stderr, .. } = self.program(&all).output().expect("a run");
        (
            status.code().expect("an exit code"),
            String::from_utf8_lossy(&stderr).into_owned(),
        )
    }

    /// Starts such a run without waiting for its end.
    pub fn start(&self, words: &[&str]) -> Child {
        let mut command = self.command(words);
        command.stderr(Stdio::null()).spawn().expect("the program")
    }

    /// Returns the command of such a run.
    pub fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(crate::program());
        command
            .args(["run", "matrix.toml", "--executor", "fake"])
            .args(words)
            .current_dir(self.folder.path())
            .env("DRIVERKIT_MATRIX_CACHE", self.path("cache"))
            .env("DRIVERKIT_MATRIX_FAKE", self.path("fake.json"));
        command
    }

    /// Waits until the fake executor has started `count` jobs since the last call of [`Grid::jobs`].
    pub fn wait_for_jobs(&self, count: usize) {
        wait_until(&format!("{count} jobs"), || {
            let text = std::fs::read_to_string(self.path("journal")).unwrap_or_default();
            text.lines().count() >= count
        });
    }

    /// Changes the matrix so that it reads the packages from a server instead of the grid's directory.
    pub fn point_to(&self, server: &Server) {
        let folder = self.path("").display().to_string();
        self.edit_matrix(folder.trim_end_matches('/'), &server.address);
    }

    /// Replaces a part of the matrix.
    pub fn edit_matrix(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.path("matrix.toml")).expect("a matrix");
        assert!(text.contains(from), "{from} is not in {text}");
        self.write_matrix(&text.replace(from, to));
    }

    /// Returns the status of every build of the last run, sorted.
    pub fn statuses(&self) -> Vec<Status> {
        let builds = self.manifest().builds;
        let mut statuses: Vec<Status> = builds.iter().map(|build| build.status).collect();
        statuses.sort();
        statuses
    }

    /// Returns the jobs that the fake executor ran since the last call, by the first word of their names.
    pub fn jobs(&self) -> Vec<String> {
        let path = self.path("journal");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        fs::remove_file(&path).expect("removed");
        let mut jobs: Vec<String> = text
            .lines()
            .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
            .collect();
        jobs.sort();
        jobs
    }

    pub fn manifest(&self) -> Manifest {
        read_manifest(&self.path("out/manifest.json")).expect("a manifest")
    }

    /// Returns the only build of the last run.
    pub fn record(&self) -> BuildRecord {
        let mut builds = self.manifest().builds;
        assert_eq!(builds.len(), 1, "{builds:#?}");
        builds.remove(0)
    }

    /// Returns status, class and message of the only build's first artifact.
    pub fn outcome(&self) -> (String, String, String) {
        let artifact = self.record().artifacts.remove(0);
        let (class, message) = artifact
            .failure
            .map(|failure| (failure.class.to_string(), failure.message))
            .unwrap_or_default();
        (artifact.status.to_string(), class, message)
    }
}

/// Waits, at most a minute, until the condition holds.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1200 {
        if is_so() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("timed out waiting for {what}");
}

/// Returns a rule of the fake executor for `count` jobs.
pub fn rule_for(count: u32, job: &str, then: &Value) -> Value {
    json!({ "job": job, "times": count, "then": then })
}

/// Returns a rule of the fake executor.
pub fn rule(job: &str, then: &Value) -> Value {
    json!({ "job": job, "then": then })
}

/// Returns a tar archive with these files.
pub fn tarball(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, content.as_bytes())
            .expect("memory");
    }
    builder.into_inner().expect("memory")
}

/// Returns a Debian package with these files.
pub fn deb(files: &[(&str, &str)]) -> Vec<u8> {
    deb_of(&tarball(files))
}

/// Returns a Debian package with the files of this tar archive.
pub fn deb_of(data: &[u8]) -> Vec<u8> {
    let mut package = b"!<arch>\n".to_vec();
    for (name, content) in [
        ("debian-binary", &b"2.0\n"[..]),
        ("control.tar", &[]),
        ("data.tar", data),
    ] {
        package.extend(
            format!(
                "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
                0,
                0,
                0,
                "100644",
                content.len()
            )
            .into_bytes(),
        );
        package.extend(content);
        if content.len() % 2 == 1 {
            package.push(b'\n');
        }
    }
    package
}

fn object(architecture: object::Architecture, sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, architecture, object::Endianness::Little);
    for (name, content) in sections {
        let id = object.add_section(Vec::new(), (*name).into(), SectionKind::ReadOnlyData);
        object.append_section_data(id, content, 1);
    }
    object.write().expect("memory")
}

/// Returns a module called scap for kernel `release`.
pub fn module(release: &str) -> Vec<u8> {
    module_of(Architecture::Amd64, release)
}

/// Returns a module called scap for kernel `release` and an architecture.
pub fn module_of(architecture: Architecture, release: &str) -> Vec<u8> {
    let (machine, flags) = match architecture {
        Architecture::Amd64 => (object::Architecture::X86_64, FLAGS.to_owned()),
        Architecture::Arm64 => (object::Architecture::Aarch64, format!("{FLAGS} aarch64")),
    };
    let info = format!("license=GPL\0name=scap\0vermagic={release} {flags} \0srcversion=ABC\0");
    object(
        machine,
        &[
            (".modinfo", info.as_bytes()),
            (".gnu.linkonce.this_module", b"scap"),
        ],
    )
}

fn probe() -> Vec<u8> {
    object(
        object::Architecture::Bpf,
        &[
            ("license", b"GPL\0"),
            ("maps", b"maps"),
            ("raw_tracepoint/sys_enter", b"code"),
        ],
    )
}
