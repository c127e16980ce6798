//! Simulates jobs with a script instead of running them, to test everything around an executor.
//!
//! Input: a [`FakeScript`]. Output: the results that it describes. The toolchain has an identity of its own, so fake
//! artifacts are never mistaken for real ones.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{Completion, Executor, ExecutorError, Exit, Job, LogSink, Resources, Toolchain};
use crate::digest::Sha256;
use crate::fs::{self, blocking};

/// The script of a [`FakeExecutor`]: the first rule that matches a job and is not used up applies. A job without a rule
/// ends with exit code 0 and no output.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FakeScript {
    /// Simulates different compilers: changes the identity of the toolchain.
    #[serde(default)]
    pub toolchain: String,
    /// The rules, in order.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// A file to which the name of each job is appended when it starts, to count calls across processes.
    #[serde(default)]
    pub journal: Option<PathBuf>,
}

/// A rule for the jobs that match it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A glob over job names; `*` matches slashes too.
    pub job: String,
    /// A string that the script of the job contains.
    #[serde(default)]
    pub script: String,
    /// How many jobs the rule applies to; all if not set.
    #[serde(default)]
    pub times: Option<u32>,
    /// The behaviour of a matching job.
    #[serde(default)]
    pub then: Behaviour,
}

/// The simulated behaviour of one job.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an independent key of the script"
)]
pub struct Behaviour {
    /// The text written to the log.
    pub log: String,
    /// How long the job takes, in milliseconds.
    pub delay_milliseconds: u64,
    /// The script's exit code.
    pub code: i32,
    /// Whether the job exceeds the memory limit.
    pub out_of_memory: bool,
    /// Whether the job exceeds a limit on its output.
    pub too_much_output: bool,
    /// Whether the job runs until it reaches the wall time limit or is cancelled.
    pub hangs: bool,
    /// Whether the job ignores cancellation.
    pub ignores_cancellation: bool,
    /// The job cannot run: the image is at fault, with this message.
    pub image_error: Option<String>,
    /// The job cannot run: something else is at fault, with this message.
    pub infrastructure_error: Option<String>,
    /// Files written to `/out`: name and content.
    pub outputs: BTreeMap<String, String>,
    /// Files copied to `/out`: name and source.
    pub copies: BTreeMap<String, PathBuf>,
}

/// The reason a [`FakeScript`] cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FakeError {
    /// The script cannot be read.
    #[error(transparent)]
    File(#[from] fs::FileError),
    /// The script is not valid JSON, or not of the expected form.
    #[error("failed to read the fake executor's script")]
    Json(#[from] serde_json::Error),
    /// A rule's glob is invalid.
    #[error("failed to read the fake executor's script")]
    Glob(#[from] globset::Error),
}

/// An executor that simulates jobs.
pub struct FakeExecutor {
    identity: Sha256,
    journal: Option<PathBuf>,
    state: Mutex<State>,
}

/// A rule, and the number of jobs that it still applies to.
struct Played {
    glob: globset::GlobMatcher,
    script: String,
    left: Option<u32>,
    behaviour: Behaviour,
}

struct State {
    rules: Vec<Played>,
    calls: Vec<String>,
}

impl FakeExecutor {
    /// The environment variable that holds the script for `--executor fake`: JSON, or the path of a JSON file.
    pub const VARIABLE: &'static str = "DRIVERKIT_MATRIX_FAKE";

    /// Creates an executor that plays `script`.
    pub fn new(script: &FakeScript) -> Result<Self, FakeError> {
        let mut rules = Vec::with_capacity(script.rules.len());
        for rule in &script.rules {
            let glob = globset::Glob::new(&rule.job)?.compile_matcher();
            rules.push(Played {
                glob,
                script: rule.script.clone(),
                left: rule.times,
                behaviour: rule.then.clone(),
            });
        }
        Ok(Self {
            identity: Sha256::of(format!(
                "fake toolchain: its artifacts are not real{}",
                script.toolchain
            )),
            journal: script.journal.clone(),
            state: Mutex::new(State {
                rules,
                calls: Vec::new(),
            }),
        })
    }

    /// Creates an executor from the JSON in `text`, or from the file of that name; with an empty text every job
    /// succeeds.
    pub fn from_text(text: &str) -> Result<Self, FakeError> {
        let text = text.trim();
        let script = if text.is_empty() {
            FakeScript::default()
        } else if text.starts_with('{') {
            serde_json::from_str(text)?
        } else {
            serde_json::from_slice(&fs::read(Path::new(text))?)?
        };
        Self::new(&script)
    }

    /// Returns the toolchain that the jobs must have.
    pub fn toolchain(&self) -> Toolchain {
        Toolchain::Host {
            identity: self.identity,
        }
    }

    /// Returns the names of the jobs so far, in the order they started.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn behaviour_of(&self, job: &Job) -> Behaviour {
        let mut state = self.state();
        state.calls.push(job.name.clone());
        let rule = state.rules.iter_mut().find(|rule| {
            rule.left != Some(0)
                && rule.glob.is_match(&job.name)
                && job.script.contains(&rule.script)
        });
        let Some(rule) = rule else {
            return Behaviour::default();
        };
        if let Some(left) = &mut rule.left {
            *left -= 1;
        }
        rule.behaviour.clone()
    }

    async fn play(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        let start = Instant::now();
        if let Some(journal) = self.journal.clone() {
            let name = job.name.clone();
            blocking(move || note(&journal, &name)).await?;
        }
        let behaviour = self.behaviour_of(job);
        log.write(behaviour.log.as_bytes());
        let delay = Duration::from_millis(behaviour.delay_milliseconds);
        let exit = tokio::select! {
            biased;
            () = cancel.cancelled(), if !behaviour.ignores_cancellation => Exit::Cancelled,
            () = tokio::time::sleep(job.limits.timeout) => Exit::TimedOut,
            () = tokio::time::sleep(delay), if !behaviour.hangs => {
                if behaviour.out_of_memory {
                    Exit::OutOfMemory
                } else if behaviour.too_much_output {
                    Exit::TooMuchOutput
                } else {
                    Exit::Code(behaviour.code)
                }
            }
        };
        if let Exit::Code(_) = exit {
            if let Some(message) = behaviour.image_error {
                let image = "fake".to_owned();
                return Err(ExecutorError::Image { image, message });
            }
            if let Some(message) = behaviour.infrastructure_error {
                return Err(ExecutorError::infrastructure(message));
            }
            let output = job.output.clone();
            let leave = move || -> Result<(), fs::FileError> {
                for (name, content) in &behaviour.outputs {
                    fs::write(&output.join(name), content)?;
                }
                for (name, path) in &behaviour.copies {
                    fs::write(&output.join(name), fs::read(path)?)?;
                }
                Ok(())
            };
            blocking(leave).await?;
        }
        let resources = Resources {
            wall: start.elapsed(),
            ..Resources::default()
        };
        Ok(Completion { exit, resources })
    }
}

/// Appends the name of a job to the journal.
fn note(journal: &Path, job: &str) -> Result<(), fs::FileError> {
    std::fs::File::options()
        .create(true)
        .append(true)
        .open(journal)
        .and_then(|mut file| file.write_all(format!("{job}\n").as_bytes()))
        .map_err(fs::FileError::of("append to", journal))
}

#[async_trait]
impl Executor for FakeExecutor {
    fn name(&self) -> &'static str {
        "fake"
    }

    async fn version(&self) -> Result<String, ExecutorError> {
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    async fn run(
        &self,
        job: &Job,
        log: &mut dyn LogSink,
        cancel: &CancellationToken,
    ) -> Result<Completion, ExecutorError> {
        self.play(job, log, cancel).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Limits;

    fn job(name: &str, output: &Path) -> Job {
        Job {
            name: name.to_owned(),
            run_id: "run".to_owned(),
            toolchain: Toolchain::Host {
                identity: Sha256::of("x"),
            },
            script: String::new(),
            mounts: Vec::new(),
            environment: Vec::new(),
            network: crate::executor::Network::None,
            kvm: false,
            limits: Limits {
                timeout: Duration::from_mins(1),
                memory_bytes: 1 << 30,
                output_bytes: 2 << 30,
                output_files: 200_000,
                processes: 100,
            },
            output: output.to_owned(),
        }
    }

    async fn run(fake: &FakeExecutor, name: &str) -> (Result<Exit, String>, String, Vec<String>) {
        let output = tempfile::tempdir().unwrap();
        let mut log = Vec::new();
        let result = fake
            .run(
                &job(name, output.path()),
                &mut log,
                &CancellationToken::new(),
            )
            .await;
        let files = walkdir::WalkDir::new(output.path())
            .into_iter()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().is_file())
            .map(|entry| fs::read_to_string(entry.path()).unwrap())
            .collect();
        (
            result
                .map(|completion| completion.exit)
                .map_err(|error| error.to_string()),
            String::from_utf8(log).unwrap(),
            files,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn every_kind_of_end() {
        let fake = FakeExecutor::from_text(
            r#"{"rules": [
                {"job": "module*", "times": 2, "then": {"infrastructure-error": "no daemon"}},
                {"job": "module*", "then": {"outputs": {"a/x.ko": "fake"}}},
                {"job": "probe*", "then": {"code": 2, "log": "a.c:1:1: error: no\n"}},
                {"job": "oom", "then": {"out-of-memory": true}},
                {"job": "slow", "then": {"hangs": true}},
                {"job": "image", "then": {"image-error": "missing"}}
            ]}"#,
        )
        .unwrap();
        let none = Vec::<String>::new;
        let expected = [
            ("module a/b", Err("no daemon"), "", none()),
            ("module c", Err("no daemon"), "", none()),
            ("module c", Ok(Exit::Code(0)), "", vec!["fake".to_owned()]),
            ("probe c", Ok(Exit::Code(2)), "a.c:1:1: error: no\n", none()),
            ("oom", Ok(Exit::OutOfMemory), "", none()),
            ("slow", Ok(Exit::TimedOut), "", none()),
            ("image", Err("builder image fake: missing"), "", none()),
            ("other", Ok(Exit::Code(0)), "", none()),
        ];
        for (name, result, log, files) in expected.clone() {
            let result = result.map_err(str::to_owned);
            assert_eq!(
                run(&fake, name).await,
                (result, log.to_owned(), files),
                "{name}"
            );
        }
        assert_eq!(fake.calls(), expected.map(|(name, ..)| name.to_owned()));
    }

    #[tokio::test(start_paused = true)]
    async fn cancellation_ends_what_hangs() {
        let fake = FakeExecutor::from_text(r#"{"rules": [{"job": "*", "then": {"hangs": true}}]}"#)
            .unwrap();
        let output = tempfile::tempdir().unwrap();
        let cancel = CancellationToken::new();
        let job = job("x", output.path());
        let mut log = Vec::new();
        let (completion, ()) = tokio::join!(fake.run(&job, &mut log, &cancel), async {
            cancel.cancel();
        });
        assert_eq!(completion.unwrap().exit, Exit::Cancelled);
    }

    #[test]
    fn environment_names_the_host_with_a_host_name_only() {
        let folder = tempfile::tempdir().unwrap();
        let mut job = job("x", folder.path());
        assert_eq!(job.host_name(), "builder");
        for (host, expected) in [("other-host", "other-host"), ("a --bind / /", "other-host")] {
            job.environment
                .push(("HOSTNAME".to_owned(), host.to_owned()));
            assert_eq!(job.host_name(), expected);
        }
    }

    #[test]
    fn mistakes_in_the_script_are_told() {
        for text in [
            "{\"rule\": []}",
            "{\"rules\": [{\"job\": \"[\"}]}",
            "/nonexistent/script",
        ] {
            assert!(FakeExecutor::from_text(text).is_err(), "{text}");
        }
    }
}
