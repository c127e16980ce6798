//! Multiplies out the `[[target]]`s of one matrix: drivers x kernels x artifacts, less what rules leave out.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::candidate::{Candidate, Origin};
use super::floor;
use super::interned::Interned;
use super::reasons::reason_to_leave_out;
use super::used::UsedRules;
use super::{Build, BuildSettings, LeftOut, Unbuilt};
use crate::diagnostic::Place;
use crate::driver::{Artifact, Driver, DriverVersion};
use crate::kernel::Kernel;
use crate::matrix::{Exclude, Matrix, Override, SelectorIndex, Settings, TargetEntry};
use crate::target;

/// The reason for leaving out a subscription's kernels when no image is configured.
const NEEDS_IMAGE: &str = "its packages need a subscription: set an image that has access to them (`image = \"...\"` in \
    [[target]], [[override]] or [defaults], or --builderimage), or list the packages with `headers`";

/// The reason for leaving out kernels whose `[[target]]` requests no artifacts.
const NO_ARTIFACTS: &str = "the matrix requests no artifacts for it";

/// The number of kernels in one unit of parallel work.
pub(super) const LOOKED_AT_ONCE: usize = 1024;
/// The number of kernels that are multiplied out before their results are collected. The limit avoids holding a second
/// plan in memory.
const MULTIPLIED_AT_ONCE: usize = 16 * LOOKED_AT_ONCE;

/// A kernel with its byte range in the matrix.
type PlacedKernel = (Arc<Kernel>, Range<usize>);

/// The grid of one matrix.
pub(super) struct Grid<'a> {
    index: usize,
    matrix: &'a Matrix,
    image: Option<&'a str>,
    excludes: SelectorIndex<'a>,
    overrides: SelectorIndex<'a>,
}

/// The data that all kernels of a `[[target]]` share.
struct Row<'a> {
    entry: &'a TargetEntry,
    drivers: Vec<&'a Arc<Driver>>,
    /// For each driver, the reason why the driver cannot have a probe; `None` if it can.
    no_probe: Vec<Option<&'static str>>,
    settings: BuildSettings,
    place: Place,
}

/// The result for one chunk of the kernels of a `[[target]]`.
pub(super) struct Part<'a> {
    pub(super) candidates: Vec<Candidate>,
    /// Whether the candidates are in plan order and without duplicates.
    pub(super) is_ordered: bool,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) unbuilt: Vec<Unbuilt>,
    pub(super) used: UsedRules,
    grid: &'a Grid<'a>,
    row: &'a Row<'a>,
    /// Each part interns its own values: threads that share an `Arc` contend for its reference count.
    interned: Interned,
    settings: Arc<BuildSettings>,
    /// The places of rules and targets as strings, by their spans.
    places: HashMap<(usize, usize), Arc<str>>,
}

impl<'a> Grid<'a> {
    pub(super) fn new(index: usize, matrix: &'a Matrix, image: Option<&'a str>) -> Self {
        Self {
            index,
            matrix,
            image,
            excludes: SelectorIndex::new(matrix.excludes.iter().map(|one| &one.selector)),
            overrides: SelectorIndex::new(matrix.overrides.iter().map(|one| &one.selector)),
        }
    }

    /// Multiplies out the kernels of a `[[target]]` on all processors, and passes the parts to `take` in order.
    pub(super) fn each_part(
        &self,
        entry: &TargetEntry,
        kernels: Vec<PlacedKernel>,
        mut take: impl FnMut(Part<'_>),
    ) {
        let row = &self.row(entry);
        let mut kernels = kernels.into_iter();
        while kernels.len() > 0 {
            let some: Vec<PlacedKernel> = kernels.by_ref().take(MULTIPLIED_AT_ONCE).collect();
            let parts: Vec<Part<'_>> = some
                .into_par_iter()
                .chunks(LOOKED_AT_ONCE)
                .map(|kernels| self.part(row, kernels))
                .collect();
            parts.into_iter().for_each(&mut take);
        }
    }

    fn row<'b>(&'b self, entry: &'b TargetEntry) -> Row<'b> {
        let drivers = self.matrix.drivers.iter().map(toml::Spanned::get_ref);
        let is_wanted = |driver: &&Arc<Driver>| {
            let mut wanted = entry.drivers.iter();
            entry.drivers.is_empty() || wanted.any(|one| one.matches_driver(&driver.version))
        };
        let mut settings = BuildSettings::default();
        apply(&mut settings, &self.matrix.defaults);
        apply(&mut settings, &entry.settings);
        if let Some(image) = self.image {
            settings.image = Some(image.to_owned());
        }
        let drivers: Vec<&Arc<Driver>> = drivers.filter(is_wanted).collect();
        let no_probe = drivers
            .iter()
            .map(|driver| floor::of_driver(&driver.version, Artifact::Probe).err());
        Row {
            entry,
            no_probe: no_probe.collect(),
            drivers,
            settings,
            place: self.matrix.place(entry.name.span()),
        }
    }

    fn part<'b>(&'b self, row: &'b Row<'b>, kernels: Vec<PlacedKernel>) -> Part<'b> {
        let mut interned = Interned::default();
        let mut part = Part {
            candidates: Vec::with_capacity(kernels.len() * row.drivers.len()),
            is_ordered: true,
            left_out: Vec::new(),
            unbuilt: Vec::new(),
            used: UsedRules::none_of(self.matrix),
            grid: self,
            row,
            settings: interned.settings(row.settings.clone()),
            interned,
            places: HashMap::new(),
        };
        let mut taken = Vec::with_capacity(kernels.len());
        for one in kernels {
            match reason_to_leave_out(row.entry, &one.0) {
                Some((rule, reason)) => {
                    part.leave_out(&one.0, None, None, rule, &reason, &row.place);
                }
                None => taken.push(one),
            }
        }
        let kernels: Vec<&Kernel> = taken.iter().map(|(kernel, _)| &**kernel).collect();
        let excludes = self.excludes.matching(&kernels);
        let overrides = self.overrides.matching(&kernels);
        for (position, (kernel, span)) in taken.into_iter().enumerate() {
            let excludes: Vec<(usize, &Exclude)> = rules_at(excludes.as_deref(), position)
                .map(|rule| (rule, &self.matrix.excludes[rule]))
                .collect();
            let overrides: Vec<(usize, &Override)> = rules_at(overrides.as_deref(), position)
                .map(|rule| (rule, &self.matrix.overrides[rule]))
                .collect();
            part.add_kernel(&kernel, &span, &excludes, &overrides);
        }
        part
    }
}

/// Returns the indices of the rules that match the kernel at `position`.
fn rules_at(rules: Option<&[Vec<usize>]>, position: usize) -> impl Iterator<Item = usize> {
    let rules = rules.into_iter().flat_map(move |rules| &rules[position]);
    rules.copied()
}

impl Part<'_> {
    fn leave_out(
        &mut self,
        kernel: &Arc<Kernel>,
        driver: Option<&DriverVersion>,
        artifact: Option<Artifact>,
        rule: &str,
        reason: &str,
        place: &Place,
    ) {
        let at = (place.span.start, place.span.end);
        let place = self.places.entry(at).or_insert_with(|| {
            let (line, _) = place.line_and_column();
            format!("{}:{line}", place.file.path.display()).into()
        });
        let left_out = LeftOut {
            kernel: Arc::clone(kernel),
            driver: driver.cloned(),
            artifact,
            rule: self.interned.text(rule),
            reason: self.interned.text(reason),
            place: Some(Arc::clone(place)),
            first_seen: None,
        };
        self.left_out.push(left_out);
    }

    fn leave_unbuilt(&mut self, kernel: &Arc<Kernel>, driver: &Arc<Driver>) {
        self.unbuilt.push(Unbuilt {
            kernel: Arc::clone(kernel),
            driver: Arc::clone(driver),
        });
    }

    fn add_kernel(
        &mut self,
        kernel: &Arc<Kernel>,
        span: &Range<usize>,
        excludes: &[(usize, &Exclude)],
        overrides: &[(usize, &Override)],
    ) {
        let Row {
            entry,
            drivers,
            no_probe,
            place,
            ..
        } = self.row;
        self.used.note(entry, drivers, excludes, overrides);
        let is_whole = |exclude: &Exclude| {
            exclude.selector.drivers.is_empty() && exclude.selector.artifacts.is_empty()
        };
        if let Some((_, exclude)) = excludes.iter().find(|(_, exclude)| is_whole(exclude)) {
            let (reason, place) = (&exclude.reason, &exclude.place);
            self.leave_out(kernel, None, None, "exclude", reason, place);
            return;
        }
        let mut supported = Vec::with_capacity(2);
        for &artifact in &entry.artifacts {
            match floor::of_kernel(kernel, artifact) {
                Ok(()) => supported.push(artifact),
                Err(reason) => {
                    let rule = "support floor";
                    self.leave_out(kernel, None, Some(artifact), rule, &reason, place);
                }
            }
        }
        if entry.artifacts.is_empty() {
            self.leave_out(kernel, None, None, "artifacts", NO_ARTIFACTS, place);
        }
        if supported.is_empty() {
            for driver in drivers {
                self.leave_unbuilt(kernel, driver);
            }
            return;
        }
        let needs_image = target::subscription(kernel).is_some();
        for (driver, no_probe) in drivers.iter().zip(no_probe) {
            let version = &driver.version;
            let mut artifacts = Vec::with_capacity(2);
            let mut is_excluded = false;
            for &artifact in &supported {
                let exclude = excludes.iter().find(|(_, exclude)| {
                    exclude.selector.matches_driver(version)
                        && exclude.selector.matches_artifact(artifact)
                });
                if let Some((_, exclude)) = exclude {
                    is_excluded = true;
                    self.leave_out(
                        kernel,
                        Some(version),
                        Some(artifact),
                        "exclude",
                        &exclude.reason,
                        &exclude.place,
                    );
                } else if let (Artifact::Probe, Some(reason)) = (artifact, no_probe) {
                    self.leave_out(
                        kernel,
                        Some(version),
                        Some(artifact),
                        "support floor",
                        reason,
                        place,
                    );
                } else {
                    artifacts.push(artifact);
                }
            }
            if artifacts.is_empty() {
                if !is_excluded {
                    self.leave_unbuilt(kernel, driver);
                }
                continue;
            }
            let settings = self.settings(overrides, version);
            if needs_image && settings.image.is_none() {
                let (rule, reason) = ("image", NEEDS_IMAGE);
                self.leave_out(kernel, Some(version), None, rule, reason, place);
                continue;
            }
            let build = Build {
                kernel: Arc::clone(kernel),
                driver: Arc::clone(driver),
                artifacts: self.interned.artifacts(&artifacts),
                settings,
            };
            let candidate = Candidate {
                build,
                origin: self.origin(span),
            };
            // Compared here, while the kernels are in the processor's cache: a second pass over a large lock is slow.
            self.is_ordered &= candidate.follows(self.candidates.last());
            self.candidates.push(candidate);
        }
    }

    /// The place of a candidate; most are that of the one before.
    fn origin(&self, span: &Range<usize>) -> Origin {
        let last = self.candidates.last().map(|last| &last.origin);
        match last.filter(|last| last.1 == *span) {
            Some(last) => Arc::clone(last),
            None => Arc::new((self.grid.index, span.clone())),
        }
    }

    fn settings(
        &mut self,
        overrides: &[(usize, &Override)],
        version: &DriverVersion,
    ) -> Arc<BuildSettings> {
        let mut changed = None;
        for (_, one) in overrides {
            if one.selector.matches_driver(version) {
                let settings = changed.get_or_insert_with(|| self.row.settings.clone());
                apply(settings, &one.settings);
            }
        }
        if let (Some(changed), Some(image)) = (&mut changed, self.grid.image) {
            changed.image = Some(image.to_owned());
        }
        match changed {
            Some(settings) => self.interned.settings(settings),
            None => Arc::clone(&self.settings),
        }
    }
}

/// Overwrites `settings` with the values that `table` sets.
fn apply(settings: &mut BuildSettings, table: &Settings) {
    fn put<T: Clone>(place: &mut T, value: Option<&T>) {
        if let Some(value) = value {
            place.clone_from(value);
        }
    }
    put(&mut settings.timeout, table.timeout.as_ref());
    put(&mut settings.memory_bytes, table.memory_bytes.as_ref());
    if table.output_bytes.is_some() {
        settings.output_bytes = table.output_bytes;
    }
    put(&mut settings.output_files, table.output_files.as_ref());
    put(&mut settings.module_bytes, table.module_bytes.as_ref());
    put(&mut settings.probe_bytes, table.probe_bytes.as_ref());
    put(&mut settings.processes, table.processes.as_ref());
    put(&mut settings.retries, table.retries.as_ref());
    put(&mut settings.prove, table.prove.as_ref());
    if table.gcc.is_some() {
        settings.gcc.clone_from(&table.gcc);
    }
    if table.image.is_some() {
        settings.image.clone_from(&table.image);
    }
}
