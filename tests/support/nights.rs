//! Simulated nights of a large grid: equal numbers give equal nights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use driverkit_matrix::executor::LogSink as _;
use driverkit_matrix::failure::Failure;
use driverkit_matrix::report::{LogLimits, LogWriter, Manifest, write_manifest};
use serde_json::{Value, json};

/// A grid over a year.
#[derive(Clone, Copy, Debug)]
pub struct Year {
    /// The number of kernels in the last night.
    pub kernels: usize,
    /// The number of driver versions.
    pub drivers: usize,
    /// The number of nights to write, counted back from the last one.
    pub nights: usize,
}

/// The number of the last night.
pub const LAST: usize = 364;

/// The size of the real grid: 51,472 builds.
pub const WHOLE: Year = Year {
    kernels: 6_434,
    drivers: 8,
    nights: 3,
};

const TARGETS: [(&str, &str, &str); 8] = [
    ("ubuntu-generic", "5.15.0-N-generic", "kernel-crawler"),
    ("ubuntu-aws", "6.8.0-N-aws", "kernel-crawler"),
    (
        "amazonlinux2",
        "5.10.N-215.933.amzn2.x86_64",
        "kernel-crawler",
    ),
    ("debian", "6.1.0-N-amd64", "mirror"),
    ("debian", "6.12.N-amd64", "mirror"),
    ("centos", "5.14.0-N.el9", "kernel-crawler"),
    ("oracle9", "5.15.0-N.el9uek", "kernel-crawler"),
    ("photon", "6.1.N-1.ph5", "mirror"),
];

/// Failures: class, phase, file, compiler message, N if one of N kernels fails, the driver (9: all), the first night.
const FAULTS: [(&str, &str, &str, &str, u64, usize, usize); 7] = [
    (
        "compile",
        "module",
        "ppm_fillers.c",
        "implicit declaration of function 'class_create'",
        31,
        0,
        0,
    ),
    (
        "compile",
        "module",
        "main.c",
        "too many arguments to function 'access_ok'",
        43,
        1,
        40,
    ),
    (
        "compile",
        "module",
        "ppm_events.c",
        "'struct mm_struct' has no member named 'rss_stat'",
        53,
        2,
        200,
    ),
    (
        "headers-not-found",
        "fetch",
        "",
        "none of 2 URLs has it: http://mirror.example/a.deb and http://other.example/a.deb each answered 404",
        61,
        9,
        120,
    ),
    (
        "toolchain-mismatch",
        "module",
        "",
        "the compiler cannot build an empty module for this kernel",
        97,
        9,
        300,
    ),
    (
        "timeout",
        "module",
        "",
        "the module took longer than 10 minutes",
        401,
        9,
        364,
    ),
    (
        "compile",
        "module",
        "dynamic_params_table.c",
        "<script>alert('a compiler says this')</script>",
        211,
        7,
        363,
    ),
];

fn noise(seed: &[u64]) -> u64 {
    seed.iter().fold(0x9e37_79b9_7f4a_7c15, |state: u64, part| {
        let mixed = (state ^ part).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (mixed >> 32)
    })
}

fn digest(seed: &[u64]) -> String {
    let parts = (0..4).map(|part| noise(&[seed, &[part]].concat()));
    parts.fold(String::new(), |text, part| text + &format!("{part:016x}"))
}

fn number(of: usize) -> u64 {
    u64::try_from(of).expect("small")
}

/// Returns the date of a day, counted from 2026-01-01.
fn date(day: usize) -> jiff::civil::Date {
    let days = i64::try_from(day).expect("small");
    jiff::civil::date(2026, 1, 1)
        .checked_add(jiff::Span::new().days(days))
        .expect("a day")
}

/// Writes the head of a run. A simulated night need not survive a power failure, and there are hundreds.
#[expect(
    clippy::disallowed_methods,
    reason = "each durable write takes milliseconds"
)]
fn write_quickly(place: &Path, head: &Value) {
    std::fs::create_dir_all(place).expect("a directory");
    std::fs::write(place.join("run.json"), head.to_string()).expect("written");
}

/// Writes one log for each kind of compile failure, that of the first build.
fn write_logs(night: &Manifest, out: &Path) {
    let mut told = BTreeSet::new();
    for build in &night.builds {
        let artifact = &build.artifacts[0];
        let error = |failure: &Failure| failure.first_error.clone();
        let Some(error) = artifact.failure.as_ref().and_then(error) else {
            continue;
        };
        if !told.insert(error.file.clone()) {
            continue;
        }
        let path = out.join(artifact.log.as_ref().expect("a log"));
        let first = format!("# driverkit-matrix rebuild {}", build.build_id);
        let mut log = LogWriter::create(&path, &first, LogLimits::default()).expect("a log");
        let release = &build.kernel_release;
        let text = format!(
            "make: Entering directory '/usr/src/linux-headers-{release}'\n  CC [M]  /tmp/driver/main.o\n\
             /tmp/driver/{error}\n\
             make[2]: *** [scripts/Makefile.build:243: /tmp/driver/{}.o] Error 1\n\
             make: *** [Makefile:2013: /tmp/driver] Error 2\n",
            error.file.trim_end_matches(".c")
        );
        log.write(text.as_bytes());
        log.finish().expect("a log");
    }
}

/// Returns the proofs of two targets; some kernels of one target cannot be booted.
fn proof(target: &str, seed: &[u64]) -> Value {
    match target {
        "photon" if noise(&[seed, &[11]].concat()).is_multiple_of(9) => json!({
            "result": "not_proven",
            "message": "the package of the kernel is not available: the server answered 404",
        }),
        "debian" | "photon" => {
            json!({ "result": "loaded", "message": "loaded (2 devices, 3 parameters)" })
        }
        _ => Value::Null,
    }
}

impl Year {
    /// Returns the manifest of a night, numbered from 0 to [`LAST`].
    pub fn night(&self, night: usize) -> Manifest {
        let rows: Vec<Value> = (0..self.kernels_of(night))
            .flat_map(|kernel| (0..self.drivers).map(move |driver| (kernel, driver)))
            .map(|(kernel, driver)| self.build(night, kernel, driver))
            .collect();
        let mut head = self.head(night);
        head["builds"] = Value::Array(rows);
        head["excluded"] = (0..self.kernels / 10)
            .map(|one| self.excluded(one))
            .collect();
        let mut manifest: Manifest = serde_json::from_value(head).expect("a manifest");
        manifest.sort();
        manifest
    }

    /// Writes the last night to `out`, and the earlier ones as earlier manifests: all except the last two contain only
    /// the head of the run.
    pub fn write(&self, out: &Path) {
        let earlier = out.join(".driverkit-matrix/manifests");
        for night in LAST + 1 - self.nights..LAST {
            let place = earlier.join(format!(
                "{}T010000.000000Z-n{night}",
                date(night).strftime("%Y%m%d")
            ));
            if night + 1 == LAST {
                write_manifest(&mut self.night(night), &place).expect("written");
                continue;
            }
            write_quickly(&place, &self.head(night));
        }
        let mut last = self.night(LAST);
        write_logs(&last, out);
        write_manifest(&mut last, out).expect("written");
    }

    /// New kernels appear all year; the newest is only in the last night.
    fn kernels_of(&self, night: usize) -> usize {
        self.kernels - (self.kernels * (LAST - night)).div_ceil(LAST * 3)
    }

    fn kernel(kernel: usize) -> (&'static str, String, &'static str) {
        let (target, form, source) = TARGETS[kernel % TARGETS.len()];
        let release = form.replace('N', &(kernel / TARGETS.len() + 1).to_string());
        (target, release, source)
    }

    fn fault(night: usize, kernel: usize, driver: usize) -> Option<usize> {
        (0..FAULTS.len()).find(|&fault| {
            let (.., part, only, since) = FAULTS[fault];
            night >= since
                && (only == 9 || driver == only)
                && noise(&[number(kernel), number(fault)]).is_multiple_of(part)
        })
    }

    fn is_new(&self, night: usize, kernel: usize) -> bool {
        night == 0 || kernel >= self.kernels_of(night - 1)
    }

    fn status(&self, night: usize, kernel: usize, fault: Option<usize>) -> &'static str {
        match fault {
            Some(3) => "unresolvable",
            Some(5) => "error",
            Some(_) => "failed",
            None if self.is_new(night, kernel) => "built",
            None => "cached",
        }
    }

    fn build(&self, night: usize, kernel: usize, driver: usize) -> Value {
        let (target, release, source) = Self::kernel(kernel);
        let version = format!("{}.0.0+driver", driver + 1);
        let id = format!("{version}/x86_64/{target}_{release}_1");
        let seed = [number(kernel), number(driver)];
        let day = date(night);
        let fault = Self::fault(night, kernel, driver);
        let is_new = self.is_new(night, kernel);
        let seconds = f64::from(u32::try_from(noise(&seed) % 9_000).expect("small")) / 1000.0 + 4.0;
        let mut failure = Value::Null;
        let mut since = Value::Null;
        let mut nights = Value::Null;
        if let Some(fault) = fault {
            let (class, phase, file, message, .., start) = FAULTS[fault];
            failure = json!({ "class": class, "phase": phase, "message": message });
            if !file.is_empty() {
                failure["message"] = json!("make ended with exit code 2");
                failure["first_error"] =
                    json!({ "file": file, "line": 100 + kernel % 900, "message": message });
                failure["exit_code"] = json!(2);
            }
            since = json!(format!("{}T01:00:00Z", date(start)));
            nights = json!(night + 1 - start.min(night));
        }
        let status = self.status(night, kernel, fault);
        let is_there = fault.is_none();
        let when_there = |value: Value| if is_there { value } else { Value::Null };
        let path = format!("{version}/x86_64/falco_{target}_{release}_1.ko");
        json!({
            "build_id": id, "target": target, "kernel_release": release, "kernel_version": "1",
            "architecture": "amd64", "driver_version": version, "status": status,
            "artifacts": [{
                "artifact": "module", "status": status, "failure": failure, "failure_is_cached": !is_there && !is_new,
                "key": digest(&[seed[0], seed[1], 1]), "path": when_there(json!(path)), "aliases": [],
                "sha256": when_there(json!(digest(&[seed[0], seed[1], 2]))),
                "size_bytes": when_there(json!(700_000 + noise(&seed) % 90_000)),
                "vermagic": when_there(json!(format!("{release} SMP mod_unload modversions"))),
                "srcversion": when_there(json!(digest(&[seed[0], 7])[..24])),
                "log": format!(".logs/{path}.log.zst"), "made_by": format!("n{night}"),
                "made_at": format!("{day}T01:10:00Z"), "failing_since": since, "failing_nights": nights,
                "proof": when_there(proof(target, &seed)),
            }],
            "module_name": "falco", "device_name": "falco", "source": source,
            "first_seen": date(kernel % 300).to_string(),
            "inputs": (0..3).map(|part| json!({
                "url": format!("http://mirror.example/{target}/linux-headers-{release}_{part}.deb"),
                "sha256": digest(&[seed[0], 40 + part]), "size_bytes": 1_000_000 + noise(&[seed[0], part]) % 9_000_000,
            })).collect::<Vec<_>>(),
            "driver_sha256": digest(&[seed[1], 5]),
            "toolchain": {
                "image": "driverkit-matrix/builder:bookworm", "image_sha256": digest(&[6]), "gcc_wanted": "12",
                "gcc_used": "12.2.0", "reason": "the kernel's own",
            },
            "tree": { "origin": "headers", "symbols_checked": true, "host_programs": "packaged" },
            "checks": { "ACCESS_OK_2": true, "CLASS_CREATE_1": false, "FOLIO_1": true, "MM_1": false, "SYSCALL_1": true },
            "attempts": 1, "retries": [], "started": format!("{day}T01:00:05Z"), "finished": format!("{day}T01:10:00Z"),
            "duration_seconds": if is_new { seconds } else { 0.0 },
            "queued_seconds": if is_new { json!(seconds * 3.0) } else { Value::Null },
            "phase_seconds": if is_new { json!({ "fetch": 1.2, "module": seconds - 1.2 }) } else { json!({}) },
            "cpu_seconds": if is_new { json!(seconds - 0.5) } else { Value::Null },
            "peak_memory_bytes": if is_new { json!(230_000_000 + noise(&seed) % 90_000_000) } else { Value::Null },
        })
    }

    fn excluded(&self, one: usize) -> Value {
        let (target, release, source) = Self::kernel(self.kernels + one);
        json!({
            "target": target, "kernel_release": release, "kernel_version": "1", "architecture": "amd64",
            "driver_version": null, "artifact": null, "rule": "exclude", "reason": "=cmd|' /C calc'!A0 is no longer supported",
            "place": "matrices/all.toml:12", "source": source, "first_seen": "2026-01-05",
        })
    }

    fn head(&self, night: usize) -> Value {
        let day = date(night);
        let mut counts: BTreeMap<&str, BTreeMap<String, BTreeMap<&str, usize>>> = BTreeMap::new();
        let (mut statuses, mut classes) = (BTreeMap::new(), BTreeMap::new());
        let mut sources: BTreeMap<String, usize> = BTreeMap::new();
        let kernels = self.kernels_of(night);
        for kernel in (0..kernels).chain(self.kernels..self.kernels + self.kernels / 10) {
            let (target, _, source) = Self::kernel(kernel);
            *sources.entry(format!("{target} ({source})")).or_default() += 1;
        }
        for kernel in 0..kernels {
            let (target, _, _) = Self::kernel(kernel);
            for driver in 0..self.drivers {
                let fault = Self::fault(night, kernel, driver);
                let status = self.status(night, kernel, fault);
                *statuses.entry(status).or_insert(0) += 1;
                if let Some(fault) = fault {
                    *classes.entry(FAULTS[fault].0).or_insert(0) += 1;
                }
                for (name, key) in [
                    ("by_target", target.to_owned()),
                    ("by_driver_version", format!("{}.0.0+driver", driver + 1)),
                    ("by_architecture", "amd64".to_owned()),
                    ("by_artifact", "module".to_owned()),
                ] {
                    let by = counts.entry(name).or_default().entry(key).or_default();
                    *by.entry(status).or_default() += 1;
                }
            }
        }
        let wanted = kernels * self.drivers;
        let there: usize = ["built", "cached"]
            .iter()
            .filter_map(|word| statuses.get(*word))
            .sum();
        let missing = wanted - there;
        let minutes = 10 + noise(&[number(night), 3]) % 45;
        json!({
            "schema": 2, "tool_version": "0.1.0",
            "run": {
                "id": format!("n{night}"), "command": ["driverkit-matrix", "run", "matrices/all.toml"],
                "started": format!("{day}T01:00:00Z"), "finished": format!("{day}T01:{minutes}:00Z"),
                "duration_seconds": minutes * 60, "jobs": 8, "shard": null, "is_partial": false, "stopped": null, "notes": [],
            },
            "exit": { "code": 1, "reason": format!("{missing} of {} wanted artifacts are missing", wanted) },
            "host": { "architecture": "amd64", "system": "Debian GNU/Linux 12", "cores": 8, "memory_bytes": 17_179_869_184_u64 },
            "executor": { "name": "docker", "version": "27" }, "images": [],
            "matrices": [{ "name": "matrices/all.toml", "sha256": digest(&[8]) }], "plan_sha256": digest(&[number(night), 9]),
            "totals": {
                "builds_planned": wanted, "builds_finished": wanted, "artifacts_planned": wanted,
                "by_status": statuses, "by_class": classes, "by_target": counts["by_target"],
                "by_driver_version": counts["by_driver_version"], "by_architecture": counts["by_architecture"],
                "by_artifact": counts["by_artifact"],
            },
            "left_out": [], "sources": sources, "findings": [],
        })
    }
}
