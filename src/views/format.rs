//! The output formats by name.

use std::io::{self, Write};
use std::str::FromStr;

use super::cyclonedx::CycloneDx;
use super::html::Html;
use super::junit::Junit;
use super::kcidb::Kcidb;
use super::markdown::Markdown;
use super::prometheus::Prometheus;
use super::subject::{Subject, View};
use crate::report::Columns;

/// An output format.
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
    /// A bill of materials, `CycloneDX` 1.6.
    CycloneDx,
    /// A row for each artifact.
    Csv,
}

impl Format {
    /// Returns the columns of the manifest that the format needs.
    pub fn columns(self) -> Columns {
        match self {
            Self::Html | Self::Markdown | Self::Junit | Self::Prometheus => Columns::Outcomes,
            Self::Kcidb | Self::CycloneDx | Self::Csv => Columns::All,
        }
    }

    /// Every format.
    pub const ALL: [Self; 7] = [
        Self::Html,
        Self::Markdown,
        Self::Junit,
        Self::Prometheus,
        Self::Kcidb,
        Self::CycloneDx,
        Self::Csv,
    ];

    /// Returns the name of the format.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::Markdown => "markdown",
            Self::Junit => "junit",
            Self::Prometheus => "prometheus",
            Self::Kcidb => "kcidb",
            Self::CycloneDx => "cyclonedx",
            Self::Csv => "csv",
        }
    }

    /// Returns the view of the format.
    pub fn view(self) -> &'static dyn View {
        match self {
            Self::Html => &Html,
            Self::Markdown => &Markdown,
            Self::Junit => &Junit,
            Self::Prometheus => &Prometheus,
            Self::Kcidb => &Kcidb,
            Self::CycloneDx => &CycloneDx,
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

/// The CSV of the manifest itself.
struct Csv;

impl View for Csv {
    fn write(&self, subject: &Subject<'_>, output: &mut dyn Write) -> io::Result<()> {
        crate::report::write_csv(subject.manifest, output)
    }
}
