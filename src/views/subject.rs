//! What views show, and what a view is.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Deserialize;

use crate::history::Diff;
use crate::plan::BuildId;
use crate::report::{Manifest, Totals};

/// What views show.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The night.
    pub manifest: &'a Manifest,
    /// What changed since the baseline; none on the first night.
    pub diff: Option<&'a Diff>,
    /// Earlier nights, the oldest first.
    pub history: &'a [PastNight],
    /// Returns the end of the log of a build, where it can be read.
    pub excerpt: &'a dyn Fn(&std::path::Path) -> Option<String>,
}

/// What is known of an earlier night.
#[derive(Clone, Debug, Deserialize)]
pub struct PastNight {
    /// Its run.
    pub run: PastRun,
    /// Its counts.
    pub totals: Totals,
    /// How many kernels each source named.
    #[serde(default)]
    pub sources: BTreeMap<String, usize>,
}

/// The run of an earlier night.
#[derive(Clone, Debug, Deserialize)]
pub struct PastRun {
    /// Its name.
    pub id: String,
    /// When it began.
    pub started: Timestamp,
    /// Wall time.
    pub duration_seconds: Option<f64>,
    /// Whether it was about a part of the plan.
    #[serde(default)]
    pub is_partial: bool,
}

impl PastNight {
    /// The same facts of a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            run: PastRun {
                id: manifest.run.id.clone(),
                started: manifest.run.started,
                duration_seconds: manifest.run.duration_seconds,
                is_partial: manifest.run.is_partial,
            },
            totals: manifest.totals.clone(),
            sources: manifest.sources.clone(),
        }
    }

    /// How many artifacts there are.
    pub fn there(&self) -> usize {
        let there = self.totals.by_status.iter();
        let there = there.filter(|(status, _)| status.is_success());
        there.map(|(_, count)| count).sum()
    }
}

/// Returns the command that repeats a build of a run.
pub(super) fn rebuild_command(manifest: &Manifest, build: &BuildId) -> String {
    let matrices = manifest.matrices.iter().map(|matrix| matrix.name.as_str());
    let words = ["driverkit-matrix", "rebuild", build.as_str()];
    let words = words.into_iter().chain(matrices);
    // A name with a null character is the only one that no shell takes.
    let quoted = words.map(|word| shlex::try_quote(word).unwrap_or_default());
    quoted.collect::<Vec<_>>().join(" ")
}

/// A way to show a night.
pub trait View {
    /// Writes all of it.
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()>;
}
