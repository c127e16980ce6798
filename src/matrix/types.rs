//! What a matrix file says, checked.

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
    /// The text and path.
    pub file: Arc<SourceFile>,
    /// The drivers, in the order of the file, each with the place of its version.
    pub drivers: Vec<Spanned<Arc<Driver>>>,
    /// Where the sources of those drivers are written that `[driver.*]` describes.
    pub driver_sources: BTreeMap<DriverVersion, Range<usize>>,
    /// The architectures, sorted.
    pub architectures: Vec<Architecture>,
    /// The artifacts, sorted.
    pub artifacts: Vec<Artifact>,
    /// Settings of all builds.
    pub defaults: Settings,
    /// The targets with their kernels.
    pub targets: Vec<TargetEntry>,
    /// How far sources are believed.
    pub lock: LockSettings,
    /// Where downloads are redirected.
    pub mirrors: Mirrors,
    /// The store that machines share.
    pub store: Option<SharedStore>,
    /// How modules are signed.
    pub signing: Option<Signing>,
    /// How artifacts are attested.
    pub attestation: Option<Attestation>,
    /// What is never planned.
    pub excludes: Vec<Exclude>,
    /// Settings of some builds.
    pub overrides: Vec<Override>,
    /// Failures that are expected.
    pub known_failures: Vec<KnownFailure>,
}

impl Matrix {
    /// Returns a matrix of one `[[target]]` that no file describes: its text is empty, it has no drivers.
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

    /// A place in the file.
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
    /// What tells it from the other entries of the file: its name, with `#2` and so on where a name comes again.
    pub label: String,
    /// A target, or a glob over the targets that the source names.
    pub name: Spanned<Pattern>,
    /// Where its kernels come from.
    pub kernels: Spanned<KernelSources>,
    /// Settings of its builds.
    pub settings: Settings,
    /// The drivers of the file that are built for it; empty for all.
    pub drivers: Vec<Pattern>,
    /// Its architectures, sorted.
    pub architectures: Vec<Architecture>,
    /// Its artifacts, sorted; empty where its kernels are named and nothing is built for them.
    pub artifacts: Vec<Artifact>,
}

impl TargetEntry {
    /// Whether it asks for a kernel by target, architecture, `match` and `exclude`, and by `since` for one that is known since
    /// a day.
    pub fn asks_for(&self, kernel: &Kernel, first_seen: Date) -> bool {
        let takes = |source: &Spanned<Source>| {
            let selection = &source.get_ref().selection;
            // Its packages were built before it was seen.
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
    /// `max_shrink_percent`: a source that loses more than this part of a target's kernels of one architecture is
    /// not believed.
    pub max_shrink_percent: u32,
    /// `shrink_nights`: of how many nights the best count is what a source is measured by, so that small losses add up.
    pub shrink_nights: u32,
    /// `keep_gone_days`: how long kernels that left stay in the lock.
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
    /// Beginnings of addresses with what they are replaced by, in the order of the file; of the replacements the
    /// first that answers wins.
    pub rewrites: Vec<(String, Vec<String>)>,
    /// Whether addresses that no rewrite matches must not be asked.
    pub is_offline: bool,
}

/// The table `[store]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SharedStore {
    /// `url`: the bucket.
    pub url: Option<BucketUrl>,
    /// `endpoint`: the URL of the server, where that is not the provider's.
    pub endpoint: Option<String>,
    /// `region`: the bucket's region.
    pub region: Option<String>,
    /// `trusted`: whether everybody who may write to the bucket is believed.
    pub is_trusted: Option<bool>,
    /// `key`: the file of the keys for packs, relative to the matrix.
    pub key: Option<PathBuf>,
    /// `read_only`: whether nothing is written.
    pub is_read_only: Option<bool>,
    /// `keep`: what is kept; artifacts, logs and headers if not given.
    pub keep: Option<Vec<Kept>>,
    /// `lease`: how long a machine has what it compiles to itself; zero: no machine waits for another.
    pub lease: Option<Duration>,
}

/// A kind of content that the store keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Modules and probes.
    Artifacts,
    /// Logs of jobs.
    Logs,
    /// Header packages, kernel configurations and driver sources.
    Headers,
    /// Header trees that were made of a kernel source.
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
    /// What is left out.
    pub selector: Selector,
    /// Why, for a person.
    pub reason: Arc<str>,
    /// Where it stands.
    pub place: Place,
}

/// A `[[known_failure]]`.
#[derive(Clone, Debug)]
pub struct KnownFailure {
    /// Which artifacts it is about.
    pub selector: Selector,
    /// The classes of failures; all of them if empty.
    pub classes: Vec<FailureClass>,
    /// What the first error or the message of a failure contains.
    pub message: Option<Regex>,
    /// Why the failure is expected, for a person.
    pub reason: Arc<str>,
    /// The address of an issue.
    pub link: Option<String>,
    /// Who takes care of it.
    pub owner: Option<String>,
    /// The last day on which it is expected.
    pub expires: Option<Date>,
    /// Where it stands.
    pub place: Place,
}

/// An `[[override]]`.
#[derive(Clone, Debug)]
pub struct Override {
    /// Which builds it is about.
    pub selector: Selector,
    /// Their settings.
    pub settings: Settings,
    /// Where it stands.
    pub place: Place,
}
