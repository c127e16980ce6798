//! Views: a night for people and for other programs, one file for each format.
//!
//! In: a [`Subject`], made of manifests. Out: text in a format. Nothing here runs, asks or writes anything but its text.

mod coverage;
mod html;
mod junit;
mod kcidb;
mod markdown;
mod prometheus;
mod stats;

use std::io::{self, Write};
use std::str::FromStr;

use jiff::Timestamp;
use serde::Deserialize;

use crate::history::Diff;
use crate::report::{Manifest, Totals};

pub use coverage::{Cell, Coverage, Failures, SignatureGroup};
pub use stats::{Stat, Stats};

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
    pub sources: std::collections::BTreeMap<String, usize>,
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

/// A way to show a night.
pub trait View {
    /// Writes all of it.
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()>;
}

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One page for a browser.
    Html,
    /// A summary for a CI job.
    Markdown,
    /// Test results for CI servers.
    Junit,
    /// Metrics as text.
    Prometheus,
    /// Kernel CI's database, schema 5.3.
    Kcidb,
    /// A row for each artifact.
    Csv,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] = [
        Self::Html,
        Self::Markdown,
        Self::Junit,
        Self::Prometheus,
        Self::Kcidb,
        Self::Csv,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Markdown => "markdown",
            Self::Junit => "junit",
            Self::Prometheus => "prometheus",
            Self::Kcidb => "kcidb",
            Self::Csv => "csv",
        }
    }

    /// Its view.
    pub fn view(self) -> &'static dyn View {
        match self {
            Self::Html => &html::Html,
            Self::Markdown => &markdown::Markdown,
            Self::Junit => &junit::Junit,
            Self::Prometheus => &prometheus::Prometheus,
            Self::Kcidb => &kcidb::Kcidb,
            Self::Csv => &Csv,
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|format| format.as_str() == text);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            format!("unknown format `{text}`: expected one of {names}")
        })
    }
}

/// The manifest's own CSV.
struct Csv;

impl View for Csv {
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()> {
        crate::report::write_csv(subject.manifest, output)
    }
}
