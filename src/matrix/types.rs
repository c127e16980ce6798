//! The validated content of a matrix file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use regex::Regex;
use toml::Spanned;

use super::{Attestation, KernelSources, Pattern, Selector, Settings, Signing, Source};
use crate::bucket::BucketUrl;
use crate::diagnostic::{Place, SourceFile};
use crate::driver::{Artifact, Driver, DriverVersion};
use crate::failure::FailureClass;
use crate::kernel::{Architecture, Kernel};

/// A matrix file.
#[derive(Clone, Debug)]
pub struct Matrix {
    /// The path and text of the file.
    pub file: Arc<SourceFile>,
    /// The drivers, in the order of the file, each with the position of its version.
    pub drivers: Vec<Spanned<Arc<Driver>>>,
    /// The positions of the sources in `[driver.*]`.
    pub driver_sources: BTreeMap<DriverVersion, Range<usize>>,
    /// The architectures, sorted.
    pub architectures: Vec<Architecture>,
    /// The artifacts, sorted.
    pub artifacts: Vec<Artifact>,
    /// Settings of all builds.
    pub defaults: Settings,
    /// The targets with their kernels.
    pub targets: Vec<TargetEntry>,
    /// When sources are trusted, and how long gone kernels are stored.
    pub lock: LockSettings,
    /// Replacements of download URLs.
    pub mirrors: Mirrors,
    /// The store that machines share.
    pub store: Option<SharedStore>,
    /// The settings for signing modules.
    pub signing: Option<Signing>,
    /// The settings of attestations.
    pub attestation: Option<Attestation>,
    /// Exclusions from the plan.
    pub excludes: Vec<Exclude>,
    /// Settings of some builds.
    pub overrides: Vec<Override>,
    /// Failures that are expected.
    pub known_failures: Vec<KnownFailure>,
}

impl Matrix {
    /// Returns a matrix with one `[[target]]` that does not come from a file: it has no text and no drivers.
    pub fn of_entry(entry: TargetEntry) -> Self {
        Self {
            file: Arc::new(SourceFile {
                path: "command line".into(),
                text: String::new(),
            }),
            drivers: Vec::new(),
            driver_sources: BTreeMap::new(),
            architectures: entry.architectures.clone(),
            artifacts: Vec::new(),
            defaults: Settings::default(),
            targets: vec![entry],
            lock: LockSettings::default(),
            mirrors: Mirrors::default(),
            store: None,
            signing: None,
            attestation: None,
            excludes: Vec::new(),
            overrides: Vec::new(),
            known_failures: Vec::new(),
        }
    }

    /// Returns a place in the file.
    pub fn place(&self, span: std::ops::Range<usize>) -> Place {
        Place {
            file: Arc::clone(&self.file),
            span,
        }
    }
}

/// A `[[target]]`.
#[derive(Clone, Debug)]
pub struct TargetEntry {
    /// The unique label of the entry: the name, followed by `#2` and so on if the name is repeated.
    pub label: String,
    /// A target, or a glob for the targets in the source.
    pub name: Spanned<Pattern>,
    /// The sources of its kernels.
    pub kernels: Spanned<KernelSources>,
    /// Settings of its builds.
    pub settings: Settings,
    /// The drivers of the file that are built for the target; empty for all.
    pub drivers: Vec<Pattern>,
    /// Its architectures, sorted.
    pub architectures: Vec<Architecture>,
    /// Its artifacts, sorted; empty if its kernels are planned without artifacts.
    pub artifacts: Vec<Artifact>,
}

impl TargetEntry {
    /// Returns true if the entry selects a kernel by target, architecture, `match` and `exclude`, and by `since` for
    /// a kernel that was first seen on the given day.
    pub fn asks_for(&self, kernel: &Kernel, first_seen: Date) -> bool {
        let takes = |source: &Spanned<Source>| {
            let selection = &source.get_ref().selection;
            // A kernel's packages were built before it was first seen.
            let is_new = selection.since.is_none_or(|since| first_seen >= since);
            is_new && selection.takes(&kernel.release)
        };
        self.name.get_ref().matches_name(kernel.target.as_str())
            && self.architectures.contains(&kernel.architecture)
            && self.kernels.get_ref().sources.iter().any(takes)
    }
}

/// The table `[lock]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockSettings {
    /// `max_shrink_percent`: a source that loses more than this share of a target's kernels of one architecture is
    /// not trusted.
    pub max_shrink_percent: u32,
    /// `shrink_nights`: the number of nights whose best count a source is compared with, so that small losses add up.
    pub shrink_nights: u32,
    /// `keep_gone_days`: how long kernels that are gone stay in the lock.
    pub keep_gone_days: u32,
}

impl Default for LockSettings {
    /// 20 %, 14 nights and 90 days.
    fn default() -> Self {
        Self {
            max_shrink_percent: 20,
            shrink_nights: 14,
            keep_gone_days: 90,
        }
    }
}

/// The table `[mirrors]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    /// Prefixes of URLs with their replacements, in the order of the file; the first replacement that responds is
    /// used.
    pub rewrites: Vec<(String, Vec<String>)>,
    /// True if URLs that no rewrite matches must not be requested.
    pub is_offline: bool,
}

/// The table `[store]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedStore {
    /// `url`: the bucket.
    pub url: Option<BucketUrl>,
    /// `endpoint`: the URL of the server, if it is not the provider's.
    pub endpoint: Option<String>,
    /// `region`: the bucket's region.
    pub region: Option<String>,
    /// `trusted`: true if everyone who can write to the bucket is trusted.
    pub is_trusted: Option<bool>,
    /// `key`: the file with the keys for packs, relative to the matrix.
    pub key: Option<PathBuf>,
    /// `read_only`: true if nothing is written.
    pub is_read_only: Option<bool>,
    /// `keep`: the stored contents; artifacts, logs and headers if missing.
    pub keep: Option<Vec<Kept>>,
    /// `lease`: the time for which a machine has a step to itself; zero if no machine waits for another.
    pub lease: Option<Duration>,
}

/// A kind of content that the store stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Modules and probes.
    Artifacts,
    /// Logs of jobs.
    Logs,
    /// Header packages, kernel configurations and driver sources.
    Headers,
    /// Header trees that were prepared from a kernel source.
    Prepared,
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "artifacts" => Ok(Self::Artifacts),
            "logs" => Ok(Self::Logs),
            "headers" => Ok(Self::Headers),
            "prepared" => Ok(Self::Prepared),
            _ => Err(format!(
                "unknown content `{text}`: expected artifacts, logs, headers or prepared"
            )),
        }
    }
}

/// An `[[exclude]]`.
#[derive(Clone, Debug)]
pub struct Exclude {
    /// What is excluded.
    pub selector: Selector,
    /// The reason, for a person.
    pub reason: Arc<str>,
    /// The place of the rule.
    pub place: Place,
}

/// A `[[known_failure]]`.
#[derive(Clone, Debug)]
pub struct KnownFailure {
    /// Which artifacts the rule applies to.
    pub selector: Selector,
    /// The classes of failures; empty for all.
    pub classes: Vec<FailureClass>,
    /// A pattern that the first error or the message must contain.
    pub message: Option<Regex>,
    /// The reason why the failure is expected, for a person.
    pub reason: Arc<str>,
    /// The URL of an issue.
    pub link: Option<String>,
    /// The person or team responsible for it.
    pub owner: Option<String>,
    /// The last day on which the failure is expected.
    pub expires: Option<Date>,
    /// The place of the rule.
    pub place: Place,
}

/// An `[[override]]`.
#[derive(Clone, Debug)]
pub struct Override {
    /// Which builds the rule applies to.
    pub selector: Selector,
    /// Their settings.
    pub settings: Settings,
    /// The place of the rule.
    pub place: Place,
}
