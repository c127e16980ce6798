//! `stats`: shows the coverage of the plan, and how long new kernels waited.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::destination::Source;
use super::diff::Baseline;
use super::output::{ignore_broken_pipe, print_json};
use super::report::Nights;
use super::{CliError, Context, ExitStatus};
use crate::report::Columns;
use crate::resolve::said_while_reading;
use crate::text::{no_formula, separated, write_columns};
use crate::views::{PastNight, Stats};

/// Show the coverage by target, driver version and architecture, and how long new kernels waited
#[derive(Debug, Args)]
pub(super) struct StatsArguments {
    /// Output directory of the run, or the URL of a destination
    #[arg(value_name = "OUT", default_value = "out")]
    out: PathBuf,
    /// Output format
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        help_heading = "Output"
    )]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Table for people
    Table,
    /// JSON, including previous nights
    Json,
    /// CSV with a row for each target, driver version and architecture
    Csv,
    /// Prometheus metrics
    Prometheus,
}

const COLUMNS: [&str; 12] = [
    "target",
    "driver_version",
    "architecture",
    "built",
    "failing",
    "unknown",
    "excluded",
    "median_lag_days",
    "worst_lag_days",
    "loaded",
    "refused",
    "not_proven",
];

impl StatsArguments {
    /// Runs the command.
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let source = Source::open(context, &self.out)?;
        let read = || Nights::read(source.path(), Baseline::Nothing, Columns::Outcomes);
        let nights = said_while_reading(context, &self.out, read)?;
        let stats = Stats::of(nights.manifest());
        match self.format {
            Format::Json => print_json(&json!({
                "schema": 1,
                "rows": stats.rows,
                "nights": all(&nights).iter().map(|night| json!({
                    "run_id": night.run.id,
                    "started": night.run.started,
                    "artifacts_planned": night.totals.artifacts_planned,
                    "artifacts_there": night.there(),
                    "is_partial": !night.run.extent.is_complete(),
                })).collect::<Vec<_>>(),
            }))?,
            Format::Table => ignore_broken_pipe(|output| write_table(output, &stats, &nights))?,
            Format::Csv => ignore_broken_pipe(|output| write_csv(output, &stats))?,
            Format::Prometheus => ignore_broken_pipe(|output| stats.write_prometheus(output))?,
        }
        Ok(ExitStatus::Success)
    }
}

/// Returns the previous nights, and this one.
fn all(nights: &Nights) -> Vec<PastNight> {
    let mut all = nights.history().to_vec();
    all.push(PastNight::of(nights.manifest()));
    all
}

fn cells(stats: &Stats, number: impl Fn(usize) -> String) -> Vec<[String; COLUMNS.len()]> {
    let days = |days: Option<i64>| days.map_or(String::new(), |days| days.to_string());
    let median = |days: Option<f64>| days.map_or(String::new(), |days| days.to_string());
    let rows = stats.rows.iter().map(|stat| {
        [
            stat.target.to_string(),
            stat.driver_version.to_string(),
            stat.architecture.to_string(),
            number(stat.built),
            number(stat.failing),
            number(stat.unknown),
            number(stat.excluded),
            median(stat.median_lag_days),
            days(stat.worst_lag_days),
            number(stat.loaded),
            number(stat.refused),
            number(stat.not_proven),
        ]
    });
    rows.collect()
}

fn write_table(output: &mut dyn Write, stats: &Stats, nights: &Nights) -> io::Result<()> {
    let mut rows = vec![COLUMNS.map(|name| name.replace('_', " "))];
    rows.extend(cells(stats, separated));
    let mut right = [true; COLUMNS.len()];
    right[..3].fill(false);
    write_columns(output, right, &rows)?;
    writeln!(output, "\ncoverage over the nights")?;
    let rows: Vec<[String; 3]> = all(nights)
        .iter()
        .filter(|night| night.run.extent.is_complete())
        .map(|night| {
            let planned = night.totals.artifacts_planned;
            [
                night.run.started.strftime("%Y-%m-%d %H:%M").to_string(),
                separated(night.there()),
                format!("of {}", separated(planned)),
            ]
        })
        .collect();
    write_columns(output, [false, true, false], &rows)
}

fn write_csv(output: &mut dyn Write, stats: &Stats) -> io::Result<()> {
    let mut writer = csv::Writer::from_writer(output);
    writer.write_record(COLUMNS)?;
    for row in cells(stats, |number| number.to_string()) {
        writer.write_record(row.iter().map(|field| no_formula(field).into_owned()))?;
    }
    writer.flush()
}
