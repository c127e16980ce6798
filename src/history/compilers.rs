//! Which compiler builds which kernel: a table, and rules derived from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::suggest::{kernels, quoted};
use crate::driver::{Artifact, DriverVersion};
use crate::failure::FailureClass;
use crate::image::GccVersion;
use crate::kernel::{Architecture, KernelId, KernelRelease, TargetId};
use crate::report::{BuildRecord, Manifest};

/// The result of compiling a kernel's module with one compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attempt {
    /// The module was built.
    Built,
    /// The module failed to build.
    Failed(FailureClass),
    /// No image has this compiler for the kernel, or the run did not reach it.
    NotTried,
}

impl Attempt {
    fn as_str(self) -> &'static str {
        match self {
            Self::Built => "ok",
            Self::Failed(class) => class.as_str(),
            Self::NotTried => "-",
        }
    }
}

/// A row of the table: a kernel and a driver version.
#[derive(Clone, Debug, Serialize)]
pub struct CompilerRow {
    /// The kernel.
    #[serde(flatten)]
    pub kernel: KernelId,
    /// The driver version.
    pub driver_version: DriverVersion,
    /// The compiler that is chosen without a rule; `None` if no compiler is chosen.
    pub chosen: Option<String>,
    /// The result with the chosen compiler.
    pub of_chosen: Attempt,
    /// The results with every compiler, in the order of [`CompilerTable::versions`].
    pub attempts: Vec<Attempt>,
}

/// A table of kernels and compilers.
#[derive(Clone, Debug, Serialize)]
pub struct CompilerTable {
    /// The compilers, the oldest first.
    #[serde(serialize_with = "as_text")]
    pub versions: Vec<GccVersion>,
    /// The kernels, in the order of a plan.
    pub rows: Vec<CompilerRow>,
}

fn as_text<S: serde::Serializer>(
    versions: &[GccVersion],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(versions.iter().map(ToString::to_string))
}

/// A rule: build these kernels with this compiler.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rule<'a> {
    target: &'a TargetId,
    architecture: Architecture,
    /// The drivers; `None` for all.
    drivers: Option<Vec<&'a DriverVersion>>,
    gcc: &'a GccVersion,
}

impl CompilerTable {
    /// Creates the table from a run without demanded compilers and one run for each compiler.
    pub fn new(chosen: &Manifest, demanded: &[(GccVersion, Manifest)]) -> Self {
        let found: Vec<BTreeMap<(KernelId, DriverVersion), Attempt>> = demanded
            .iter()
            .map(|(_, manifest)| {
                let builds = manifest.builds.iter();
                builds
                    .map(|build| (of_build(build), attempt(build)))
                    .collect()
            })
            .collect();
        let rows = chosen.builds.iter().map(|build| {
            let wanted = of_build(build);
            let attempts = found.iter().map(|found| found.get(&wanted).copied());
            let (kernel, driver_version) = wanted.clone();
            CompilerRow {
                attempts: attempts
                    .map(|attempt| attempt.unwrap_or(Attempt::NotTried))
                    .collect(),
                chosen: build.toolchain.as_ref().map(|one| one.gcc_used.clone()),
                of_chosen: attempt(build),
                kernel,
                driver_version,
            }
        });
        Self {
            versions: demanded.iter().map(|(gcc, _)| gcc.clone()).collect(),
            rows: rows.collect(),
        }
    }

    /// Returns true if every kernel has a compiler that builds it.
    pub fn all_can_be_built(&self) -> bool {
        self.rows.iter().all(CompilerRow::can_be_built)
    }

    /// Returns the table as text, one line per kernel and driver version.
    pub fn draw(&self) -> String {
        let mut head = vec![
            "target",
            "kernel",
            "version",
            "architecture",
            "driver",
            "chosen",
        ];
        let names: Vec<String> = self
            .versions
            .iter()
            .map(|gcc| format!("gcc {gcc}"))
            .collect();
        head.extend(names.iter().map(String::as_str));
        let mut lines: Vec<Vec<String>> = vec![head.into_iter().map(str::to_owned).collect()];
        for row in &self.rows {
            let kernel = &row.kernel;
            let mut cells = vec![
                kernel.target.to_string(),
                kernel.release.to_string(),
                kernel.version.to_string(),
                kernel.architecture.to_string(),
                row.driver_version.to_string(),
                format!(
                    "{} {}",
                    row.chosen.as_deref().unwrap_or("none"),
                    row.of_chosen.as_str()
                ),
            ];
            cells.extend(
                row.attempts
                    .iter()
                    .map(|attempt| attempt.as_str().to_owned()),
            );
            lines.push(cells);
        }
        aligned(&lines)
    }

    /// Returns `[[override]]` rules in TOML for the kernels that the chosen compiler fails to build and another one
    /// builds. Rules select only such kernels.
    pub fn rules(&self) -> String {
        let mut rules: BTreeMap<Rule<'_>, BTreeSet<&KernelRelease>> = BTreeMap::new();
        for rows in self.of_kernels() {
            for (drivers, gcc) in self.wanted(&rows) {
                let kernel = &rows[0].kernel;
                let rule = Rule {
                    target: &kernel.target,
                    architecture: kernel.architecture,
                    drivers,
                    gcc,
                };
                rules.entry(rule).or_default().insert(&kernel.release);
            }
        }
        let mut text = String::new();
        for (rule, releases) in &rules {
            let others: BTreeSet<&KernelRelease> = self
                .rows
                .iter()
                .map(|row| &row.kernel)
                .filter(|kernel| kernel.target == *rule.target)
                .map(|kernel| &kernel.release)
                .filter(|release| !releases.contains(release))
                .collect();
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "[[override]]\ntarget = {}\nkernel = {}\narchitecture = {}\n",
                quoted(rule.target.as_str()),
                kernels(releases, &others),
                quoted(rule.architecture.as_str())
            );
            if let Some(drivers) = &rule.drivers {
                let drivers: Vec<String> = drivers.iter().map(|one| quoted(one.as_str())).collect();
                let _ = writeln!(text, "driver = [{}]", drivers.join(", "));
            }
            let _ = writeln!(text, "gcc = {}\n", quoted(&rule.gcc.to_string()));
        }
        text
    }

    /// Returns the rows grouped by kernel.
    fn of_kernels(&self) -> Vec<Vec<&CompilerRow>> {
        let mut kernels: Vec<Vec<&CompilerRow>> = Vec::new();
        for row in &self.rows {
            match kernels.last_mut() {
                Some(rows) if rows[0].kernel == row.kernel => rows.push(row),
                _ => kernels.push(vec![row]),
            }
        }
        kernels
    }

    /// Returns the rules that a kernel needs: one compiler for all its drivers if one builds them all, otherwise one
    /// for each driver that fails.
    fn wanted<'a>(
        &'a self,
        rows: &[&'a CompilerRow],
    ) -> Vec<(Option<Vec<&'a DriverVersion>>, &'a GccVersion)> {
        let failing: Vec<&CompilerRow> = rows
            .iter()
            .copied()
            .filter(|row| row.of_chosen != Attempt::Built && row.can_be_built())
            .collect();
        let Some(first) = failing.first() else {
            return Vec::new();
        };
        if failing.len() == rows.len()
            && let Some(gcc) = self.nearest(first, &failing)
        {
            return vec![(None, gcc)];
        }
        let mut wanted: BTreeMap<&GccVersion, Vec<&DriverVersion>> = BTreeMap::new();
        for row in failing {
            if let Some(gcc) = self.nearest(row, &[row]) {
                let drivers = wanted.entry(gcc).or_default();
                drivers.push(&row.driver_version);
            }
        }
        let wanted = wanted.into_iter();
        wanted.map(|(gcc, drivers)| (Some(drivers), gcc)).collect()
    }

    /// Returns the compiler that builds all of `rows` and is nearest to the one chosen for `row`: the newest below
    /// it, otherwise the oldest above it.
    fn nearest<'a>(&'a self, row: &CompilerRow, rows: &[&CompilerRow]) -> Option<&'a GccVersion> {
        let chosen: Option<GccVersion> = row.chosen.as_ref().and_then(|text| text.parse().ok());
        let versions = self.versions.iter().enumerate();
        let good = versions.filter(|(position, _)| {
            rows.iter()
                .all(|row| row.attempts[*position] == Attempt::Built)
        });
        let good: Vec<&GccVersion> = good.map(|(_, gcc)| gcc).collect();
        let below = good
            .iter()
            .filter(|gcc| chosen.as_ref().is_none_or(|own| **gcc < own));
        let above = good
            .iter()
            .filter(|gcc| chosen.as_ref().is_some_and(|own| **gcc > own));
        below.max().or_else(|| above.min()).copied()
    }
}

impl CompilerRow {
    fn can_be_built(&self) -> bool {
        self.of_chosen == Attempt::Built || self.attempts.contains(&Attempt::Built)
    }
}

/// Returns the kernel and the driver version of a build.
fn of_build(build: &BuildRecord) -> (KernelId, DriverVersion) {
    let kernel = build.kernel_identity().into();
    (kernel, build.driver_version.clone())
}

fn attempt(build: &BuildRecord) -> Attempt {
    let mut artifacts = build.artifacts.iter();
    let Some(module) = artifacts.find(|one| one.artifact == Artifact::Module) else {
        return Attempt::NotTried;
    };
    if module.status.is_success() {
        return Attempt::Built;
    }
    match module.failing() {
        // No image has this compiler.
        Some(failure) if failure.class == FailureClass::Image => Attempt::NotTried,
        Some(failure) => Attempt::Failed(failure.class),
        None => Attempt::NotTried,
    }
}

fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
