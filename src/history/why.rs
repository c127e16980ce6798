//! Describes what is known about a kernel or a build, in sentences.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::driver::DriverVersion;
use crate::event::{ArtifactReport, KnownBy, ProofReport, ProofResult};
use crate::failure::{FailureClass, Status};
use crate::kernel::{Identity, Kernel};
use crate::plan::BuildId;
use crate::report::{BuildRecord, Excluded, Manifest, clean};

/// The maximum number of builds that are described separately.
const TOLD: usize = 40;

/// The user's query: a kernel release, a build ID, or a part of either.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a>(pub &'a str);

/// The facts of a kernel in a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockedFacts {
    /// The lock.
    pub lock: String,
    /// The kernel.
    pub kernel: Arc<Kernel>,
    /// The day on which the kernel was first seen.
    pub first_seen: Date,
    /// Since when its source no longer names it.
    pub gone: Option<Date>,
}

/// How a query names something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    Exact,
    Part,
}

impl<'a> Query<'a> {
    /// Returns texts. The line in the index of each row that the query names contains at least one of them. The line of
    /// an exclusion has the release and the target of a build's name, but not the whole name.
    pub fn texts(self) -> Vec<&'a str> {
        let kernel = self.0.rsplit('/').next().unwrap_or_default();
        let is_target = |text: &str| text.starts_with(|first: char| first.is_ascii_alphabetic());
        // The version is not separated from a release that contains the character.
        let release = match kernel.split_once('_') {
            Some((target, rest)) if is_target(target) => rest.split('_').next(),
            _ => self.0.contains('/').then_some(kernel),
        };
        let texts = [Some(self.0), release.filter(|text| !text.is_empty())];
        texts.into_iter().flatten().collect()
    }

    /// Returns how the query names a build.
    fn fit_of_build(self, build: &BuildRecord) -> Option<Fit> {
        let id = build.build_id.as_str();
        let release = build.kernel_release.as_str();
        if release == self.0 || id == self.0 {
            return Some(Fit::Exact);
        }
        (release.contains(self.0) || id.contains(self.0)).then_some(Fit::Part)
    }

    /// Returns how the query names a kernel or one of its builds: those of one driver version, or of any.
    fn fit_of_kernel(self, kernel: Identity<'_>, driver: Option<&DriverVersion>) -> Option<Fit> {
        let (_, release, _, _) = kernel;
        let release = release.as_str();
        let part = BuildId::kernel_part(kernel);
        // Without a driver version, the first part of the query may be any.
        let (asked_driver, asked_kernel) = match self.0.split_once('/') {
            Some((asked, rest)) => (Some(asked), rest),
            None => (None, self.0),
        };
        let is_driver = |asked: &str| driver.is_none_or(|driver| driver.as_str() == asked);
        if release == self.0 || asked_driver.is_some_and(is_driver) && asked_kernel == part {
            return Some(Fit::Exact);
        }
        let ends_driver =
            |asked: &str| driver.is_none_or(|driver| driver.as_str().ends_with(asked));
        let is_part = release.contains(self.0)
            || part.contains(self.0)
            || asked_driver.is_some_and(ends_driver) && part.starts_with(asked_kernel)
            || driver.is_some_and(|driver| driver.as_str().contains(self.0));
        is_part.then_some(Fit::Part)
    }

    fn fit_of_excluded(self, row: &Excluded) -> Option<Fit> {
        self.fit_of_kernel(row.kernel_identity(), row.driver_version.as_ref())
    }

    fn fit_of_locked(self, locked: &LockedFacts) -> Option<Fit> {
        self.fit_of_kernel(locked.kernel.identity(), None)
    }
}

/// Returns a paragraph for each build and exclusion in the manifests of a night that matches the query, or for the
/// kernels in locks if nothing matches. The manifests only need the rows found by [`Query::texts`]. Builds
/// and kernels that the query names in part are described only if it names none exactly.
pub fn why(night: &[Manifest], query: Query<'_>, locked: &[LockedFacts]) -> Vec<String> {
    let builds = || night.iter().flat_map(|shard| &shard.builds);
    let excluded = || night.iter().flat_map(|shard| &shard.excluded);
    let mut fits = builds()
        .filter_map(|build| query.fit_of_build(build))
        .chain(excluded().filter_map(|row| query.fit_of_excluded(row)))
        .chain(locked.iter().filter_map(|one| query.fit_of_locked(one)));
    let has_exact = fits.any(|fit| fit == Fit::Exact);
    let is_wanted = |fit: Option<Fit>| fit.is_some_and(|fit| !has_exact || fit == Fit::Exact);
    let mut paragraphs = Vec::new();
    for shard in night {
        for build in &shard.builds {
            if is_wanted(query.fit_of_build(build)) {
                paragraphs.push(of_build(build, shard));
            }
        }
    }
    let whole_kernel = paragraphs.is_empty();
    for row in excluded() {
        if is_wanted(query.fit_of_excluded(row)) {
            let paragraph = of_excluded(row);
            // Each shard may list the exclusions of the whole plan.
            if night.len() == 1 || !paragraphs.contains(&paragraph) {
                paragraphs.push(paragraph);
            }
        }
    }
    if whole_kernel {
        let locked = locked.iter();
        let locked = locked.filter(|one| is_wanted(query.fit_of_locked(one)));
        paragraphs.extend(locked.map(of_locked));
    }
    let more = paragraphs.len().saturating_sub(TOLD);
    if more > 0 {
        paragraphs.truncate(TOLD);
        paragraphs.push(format!("and {more} more: name a build to see it alone"));
    }
    paragraphs
}

/// Returns the introduction to paragraphs that describe an earlier night.
pub fn of_earlier(night: &[Manifest]) -> String {
    let run = night.first().map(|shard| &shard.run);
    let run = run.map_or(String::new(), |run| {
        format!(" {} of {}", run.id, moment(run.started))
    });
    format!("The last run does not have it. This is what was known in run{run}:")
}

fn of_build(build: &BuildRecord, manifest: &Manifest) -> String {
    let mut lines = vec![build.build_id.to_string()];
    for artifact in &build.artifacts {
        lines.push(format!("  {}", of_artifact(build, artifact, manifest)));
    }
    lines.push(format!("  {}", of_source(&build.source, build.first_seen)));
    lines.join("\n")
}

fn of_artifact(build: &BuildRecord, artifact: &ArtifactReport, manifest: &Manifest) -> String {
    let kind = artifact.artifact;
    let first = match artifact.status {
        Status::Built | Status::Cached => built(build, artifact, manifest),
        Status::Failed | Status::Error | Status::Unresolvable | Status::Known => {
            let failure = artifact.failure.as_ref();
            let class = failure.map_or("unknown", |failure| failure.class.as_str());
            let message = failure.map(|failure| match &failure.first_error {
                Some(error) => format!(": {}", clean(&error.to_string())),
                None => format!(": {}", clean(&failure.message)),
            });
            format!(
                "The {kind} is missing ({class}){}.",
                message.unwrap_or_default()
            )
        }
        Status::Cancelled => format!("The {kind} was in progress when the run ended."),
        Status::NotRun => format!("The {kind} was not started before the run ended."),
        Status::Excluded => format!("The {kind} is left out."),
    };
    let mut sentences = vec![first];
    if let Some(proof) = &artifact.proof {
        sentences.extend(of_proof(proof));
    }
    if let Some(since) = artifact.failing_since {
        let nights = match artifact.failing_nights {
            Some(nights) if nights > 1 => format!(", {nights} nights"),
            _ => String::new(),
        };
        sentences.push(format!("It has been failing since {}{nights}.", day(since)));
    }
    if let Some(known) = &artifact.known {
        sentences.push(of_known(known));
    }
    if artifact.failure_is_cached {
        sentences.push(
            "The failure is cached from an earlier run: `--retry` retries the build.".to_owned(),
        );
    }
    if artifact
        .failure
        .as_ref()
        .is_some_and(|failure| failure.class == FailureClass::HeadersNotFound)
    {
        sentences.push("No server has its header packages.".to_owned());
    }
    if let Some(log) = &artifact.log
        && !artifact.status.is_success()
    {
        sentences.push(format!("Log: {}.", log.display()));
    }
    if let Some(other) = &artifact.name_taken_by {
        sentences.push(format!("The loader's name for it belongs to {other}."));
    }
    sentences.join(" ")
}

fn built(build: &BuildRecord, artifact: &ArtifactReport, manifest: &Manifest) -> String {
    let kind = artifact.artifact;
    let with = build.toolchain.as_ref().map(|toolchain| {
        let compiler = toolchain.compiler(kind);
        format!(" with {compiler} in {}", toolchain.image)
    });
    let with = with.unwrap_or_default();
    let run = &manifest.run;
    let text = match (artifact.status, &artifact.made_by, artifact.made_at) {
        (Status::Built, ..) => format!(
            "was built by run {}, {}{with}",
            run.id,
            moment(build.finished)
        ),
        (_, Some(by), Some(at)) => format!("was built by run {by}, {}{with}", moment(at)),
        _ => format!("was built by an earlier run{with}"),
    };
    let path = artifact.path.as_ref();
    let path = path.map(|path| format!(": {}", path.display()));
    format!("The {kind} {text}{}.", path.unwrap_or_default())
}

/// Describes the result of the proof; a refusal is already described as the failure.
fn of_proof(proof: &ProofReport) -> Option<String> {
    let message = clean(&proof.message);
    match proof.result {
        ProofResult::Loaded => Some(format!("It was tested in its kernel: {message}.")),
        ProofResult::NotProven => Some(format!("It was not tested in its kernel: {message}.")),
        ProofResult::Refused => None,
    }
}

fn of_known(known: &KnownBy) -> String {
    let owner = known.owner.as_ref();
    let owner = owner.map_or(String::new(), |owner| format!(" of {}", clean(owner)));
    let until = known
        .expires
        .map_or(String::new(), |day| format!(" until {day}"));
    let link = known.link.as_ref();
    let link = link.map_or(String::new(), |link| format!(", {}", clean(link)));
    format!(
        "It is a known failure{owner}{until}: {} ({}{link}).",
        clean(&known.reason),
        known.place
    )
}

fn of_excluded(row: &Excluded) -> String {
    let what = match (&row.driver_version, row.artifact) {
        (Some(driver), Some(artifact)) => format!("The {artifact} of driver {driver} is"),
        (Some(driver), None) => format!("Driver {driver} is"),
        (None, Some(artifact)) => format!("The {artifact}s of all drivers are"),
        (None, None) => "The kernel is".to_owned(),
    };
    let place = row.place.as_ref();
    let place = place.map_or(String::new(), |place| format!(" in {place}"));
    format!(
        "{} {} #{} {}\n  {what} left out by the rule `{}`{place}: {}.\n  {}",
        row.target,
        row.kernel_release,
        row.kernel_version,
        row.architecture,
        clean(&row.rule),
        clean(&row.reason),
        of_source(&row.source, row.first_seen)
    )
}

/// Describes the source of a kernel, and since when it is known.
fn of_source(source: &str, first_seen: Option<Date>) -> String {
    let source = clean(source);
    match first_seen {
        Some(day) => {
            format!("The kernel was first seen on {day}; it comes from the source {source}.")
        }
        None => format!("The kernel comes from the source {source}."),
    }
}

fn of_locked(locked: &LockedFacts) -> String {
    let LockedFacts {
        lock,
        kernel,
        first_seen,
        gone,
    } = locked;
    let Kernel {
        target,
        release,
        architecture,
        source,
        ..
    } = &**kernel;
    let state = match gone {
        Some(day) => format!(
            "Its source has not named it since {day}: existing artifacts stay, and no new ones are built."
        ),
        None => {
            "The last run's plan does not have it: filters or an older lock left it out.".to_owned()
        }
    };
    format!(
        "{target} {release} {architecture}\n  The kernel was first seen on {first_seen}; it comes from the source {} (lock {lock}). {state}",
        clean(source)
    )
}

fn day(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
