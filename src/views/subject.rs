//! The input of views, and the trait of a view.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use serde::Deserialize;

use crate::history::Diff;
use crate::plan::BuildId;
use crate::report::{Extent, Manifest, Totals};

/// The input of views.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The night.
    pub manifest: &'a Manifest,
    /// The changes since the baseline; `None` in the first night.
    pub diff: Option<&'a Diff>,
    /// Earlier nights, the oldest first.
    pub history: &'a [PastNight],
    /// Returns the end of a build's log, if it can be read.
    pub excerpt: &'a dyn Fn(&std::path::Path) -> Option<String>,
    /// Returns the command that repeats a build: the first line of its log.
    pub reproduce: &'a dyn Fn(&BuildId) -> String,
}

impl<'a> Subject<'a> {
    /// Returns the newest complete nights before this one, at most `count`, the oldest first.
    pub(super) fn complete_nights(&self, count: usize) -> Vec<&'a PastNight> {
        let history = self.history.iter().rev();
        let complete = history.filter(|night| night.run.extent.is_complete());
        let mut nights: Vec<&PastNight> = complete.take(count).collect();
        nights.reverse();
        nights
    }
}

/// The facts of an earlier night.
#[derive(Clone, Debug, Deserialize)]
pub struct PastNight {
    /// The run.
    pub run: PastRun,
    /// The totals.
    pub totals: Totals,
    /// The number of kernels that each source named.
    #[serde(default)]
    pub sources: BTreeMap<String, usize>,
}

/// The run of an earlier night.
#[derive(Clone, Debug, Deserialize)]
pub struct PastRun {
    /// The ID of the run.
    pub id: String,
    /// When it began.
    pub started: Timestamp,
    /// Wall time in seconds.
    pub duration_seconds: Option<f64>,
    /// How much of its plan it covered.
    #[serde(flatten)]
    pub extent: Extent,
}

impl PastNight {
    /// Extracts these facts from a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            run: PastRun {
                id: manifest.run.id.clone(),
                started: manifest.run.started,
                duration_seconds: manifest.run.duration_seconds,
                extent: manifest.run.extent(),
            },
            totals: manifest.totals.clone(),
            sources: manifest.sources.clone(),
        }
    }

    /// Returns the number of available artifacts.
    pub fn there(&self) -> usize {
        let there = self.totals.by_status.iter();
        let there = there.filter(|(status, _)| status.is_success());
        there.map(|(_, count)| count).sum()
    }
}

/// A way to render a night.
pub trait View {
    /// Writes the whole output.
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()>;
}
