//! From matrices and their kernels to a [`Plan`].

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::doubts::Doubts;
use super::floor;
use super::interned::Interned;
use super::merge::{Candidate, conflicting_drivers, merge};
use super::reasons::reason_to_leave_out;
use super::{Build, BuildSettings, LeftOut, Names, Plan, Unbuilt};
use crate::diagnostic::{Diagnostic, Place};
use crate::driver::{Artifact, Driver, DriverVersion};
use crate::kernel::Kernel;
use crate::matrix::{Exclude, Matrix, Override, Selector, SelectorIndex, Settings, TargetEntry};
use crate::target::{self, AskedNames};

/// Says where what was found of a kernel for a `[[target]]` is written: a line of a lock.
#[derive(Clone, Copy)]
pub struct FoundAt<'a>(pub &'a dyn Fn(&TargetEntry, &Kernel) -> Option<Place>);

impl std::fmt::Debug for FoundAt<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FoundAt")
    }
}

/// A matrix with the kernels of each of its `[[target]]` tables.
#[derive(Clone, Debug)]
pub struct Expansion<'a> {
    /// The matrix.
    pub matrix: &'a Matrix,
    /// For each target, in the order of the file: its kernels, each with the place that names it.
    pub kernels: Vec<Vec<(Arc<Kernel>, Range<usize>)>>,
    /// What was left out before anything is multiplied: kernels that their source does not name any more.
    pub left_out: Vec<LeftOut>,
    /// Where messages about kernels that were found point to; to the `[[target]]` without it.
    pub found_at: Option<FoundAt<'a>>,
}

/// A plan and what is to be said about its making.
#[derive(Clone, Debug, Default)]
pub struct Expanded {
    /// The plan.
    pub plan: Plan,
    /// Rules that match nothing, and kernels for which nothing can be built.
    pub warnings: Vec<Diagnostic>,
}

/// Multiplies out the matrices: drivers x kernels x architectures x artifacts, less what rules leave out, every
/// build once. `image` is the builder image that the command line names: it beats what matrices say. The errors are
/// contradictions between matrices, each with both places.
pub fn expand(
    expansions: &[Expansion<'_>],
    image: Option<&str>,
) -> Result<Expanded, Vec<Diagnostic>> {
    let conflicts = conflicting_drivers(expansions);
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let mut candidates = Vec::new();
    let mut expanded = Expanded::default();
    let mut interned = Interned::default();
    for (index, expansion) in expansions.iter().enumerate() {
        let mut grid = Grid::new(index, expansion.matrix, image, &mut interned);
        for (entry, kernels) in expansion.matrix.targets.iter().zip(&expansion.kernels) {
            grid.add_entry(entry, kernels);
        }
        candidates.append(&mut grid.candidates);
        let gone = expansion.left_out.iter().cloned();
        expanded.plan.left_out.extend(gone);
        expanded.plan.left_out.append(&mut grid.left_out);
        expanded.plan.unbuilt.append(&mut grid.unbuilt);
        expanded.warnings.append(&mut grid.warnings());
    }
    let (builds, duplicates) = merge(expansions, candidates)?;
    let (names, doubts) = look_at_kernels(&builds);
    expanded.warnings.extend(doubts);
    expanded.plan.names = names;
    expanded.plan.builds = builds;
    expanded.plan.duplicates = duplicates;
    let left_out = &mut expanded.plan.left_out;
    left_out.par_sort_by(|left, right| order_of(left).cmp(&order_of(right)));
    left_out.dedup_by(|right, left| order_of(left) == order_of(right));
    Ok(expanded)
}

/// Decides about the loader's names of all kernels of a plan, and returns what is in doubt about them. Each kernel is
/// looked at once: to fetch those of a large lock from memory takes longer than what is done with them.
fn look_at_kernels(builds: &[Build]) -> (Names, Vec<Diagnostic>) {
    let mut kernels: Vec<&Arc<Kernel>> = builds.iter().map(|build| &build.kernel).collect();
    // Builds of one kernel are neighbours.
    kernels.dedup_by(|right, left| Arc::ptr_eq(right, left) || right.identity() == left.identity());
    let parts: Vec<(Vec<_>, Doubts<'_>)> = kernels
        .par_chunks(LOOKED_AT_ONCE)
        .map(|kernels| {
            let (mut named, mut doubts) = (Vec::new(), Doubts::default());
            for kernel in kernels {
                let asked = AskedNames::of(kernel);
                doubts.add(kernel, &asked);
                named.extend(asked.other.map(|name| (*kernel, name)));
            }
            (named, doubts)
        })
        .collect();
    let (mut named, mut doubts) = (Vec::new(), Doubts::default());
    for (part, doubts_of_part) in parts {
        named.extend(part);
        doubts.append(doubts_of_part);
    }
    (Names::of(&kernels, named), doubts.warnings().collect())
}

type LeftOutOrder<'a> = (
    (
        &'a crate::kernel::TargetId,
        &'a crate::kernel::KernelRelease,
        &'a crate::kernel::KernelVersion,
        crate::kernel::Architecture,
    ),
    &'a Option<DriverVersion>,
    Option<Artifact>,
    &'a str,
    &'a str,
);

fn order_of(left_out: &LeftOut) -> LeftOutOrder<'_> {
    (
        left_out.kernel.identity(),
        &left_out.driver,
        left_out.artifact,
        &left_out.rule,
        &left_out.reason,
    )
}

/// Why the kernels of a subscription are left out where no image is named.
const NEEDS_IMAGE: &str = "its packages are behind a subscription: name an image of yours that has access to them \
    (`image = \"...\"` in [[target]], [[override]] or [defaults], or --builderimage), or the packages with `headers`";

/// Why kernels are left out whose `[[target]]` names no artifacts.
const NO_ARTIFACTS: &str = "the matrix names it and asks for no artifact";
/// For how many kernels rules are looked up at once, by all processors.
const MATCHED_AT_ONCE: usize = 16_384;
/// How many kernels one processor looks at without a pause.
const LOOKED_AT_ONCE: usize = 1024;
/// How many rules that match nothing are shown with their place.
const SHOWN_UNUSED: usize = 10;
/// Of how many more the line is named.
const NAMED_UNUSED: usize = 50;

/// The grid of one matrix.
struct Grid<'a> {
    index: usize,
    matrix: &'a Matrix,
    image: Option<&'a str>,
    interned: &'a mut Interned,
    candidates: Vec<Candidate>,
    left_out: Vec<LeftOut>,
    unbuilt: Vec<Unbuilt>,
    excludes: SelectorIndex<'a>,
    overrides: SelectorIndex<'a>,
    used_excludes: Vec<bool>,
    used_overrides: Vec<bool>,
    /// The places of rules and targets as text, by their spans.
    places: HashMap<(usize, usize), Arc<str>>,
}

impl<'a> Grid<'a> {
    fn new(
        index: usize,
        matrix: &'a Matrix,
        image: Option<&'a str>,
        interned: &'a mut Interned,
    ) -> Self {
        Self {
            index,
            matrix,
            image,
            interned,
            candidates: Vec::new(),
            left_out: Vec::new(),
            unbuilt: Vec::new(),
            excludes: SelectorIndex::new(matrix.excludes.iter().map(|one| &one.selector)),
            overrides: SelectorIndex::new(matrix.overrides.iter().map(|one| &one.selector)),
            used_excludes: vec![false; matrix.excludes.len()],
            used_overrides: vec![false; matrix.overrides.len()],
            places: HashMap::new(),
        }
    }

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

    fn add_entry(&mut self, entry: &TargetEntry, kernels: &[(Arc<Kernel>, Range<usize>)]) {
        let matrix = self.matrix;
        let drivers: Vec<&Arc<Driver>> = matrix
            .drivers
            .iter()
            .map(toml::Spanned::get_ref)
            .filter(|driver| {
                entry.drivers.is_empty()
                    || entry
                        .drivers
                        .iter()
                        .any(|one| one.matches_driver(&driver.version))
            })
            .collect();
        let mut base = BuildSettings::default();
        apply(&mut base, &matrix.defaults);
        apply(&mut base, &entry.settings);
        if let Some(image) = self.image {
            base.image = Some(image.to_owned());
        }
        let base = self.interned.settings(base);
        let place = matrix.place(entry.name.span());
        for part in kernels.chunks(MATCHED_AT_ONCE) {
            let reasons: Vec<Option<(&str, String)>> = part
                .par_iter()
                .map(|(kernel, _)| reason_to_leave_out(entry, kernel))
                .collect();
            let mut taken = Vec::with_capacity(part.len());
            for (one, reason) in part.iter().zip(reasons) {
                match reason {
                    Some((rule, reason)) => {
                        self.leave_out(&one.0, None, None, rule, &reason, &place);
                    }
                    None => taken.push(one),
                }
            }
            let part = taken;
            let kernels: Vec<&Kernel> = part.iter().map(|(kernel, _)| &**kernel).collect();
            let mut excludes = self.excludes.matching(&kernels);
            let mut overrides = self.overrides.matching(&kernels);
            let rules_of = |position: usize, rules: &mut Option<Vec<Vec<usize>>>| {
                let rules = rules.as_mut().map(|rules| &mut rules[position]);
                rules.map(std::mem::take).unwrap_or_default()
            };
            for (position, (kernel, span)) in part.into_iter().enumerate() {
                let excludes = rules_of(position, &mut excludes);
                let overrides = rules_of(position, &mut overrides);
                self.add_kernel(entry, &drivers, &base, kernel, span, (excludes, overrides));
            }
        }
    }

    fn add_kernel(
        &mut self,
        entry: &TargetEntry,
        drivers: &[&Arc<Driver>],
        base: &Arc<BuildSettings>,
        kernel: &Arc<Kernel>,
        span: &Range<usize>,
        (excludes, overrides): (Vec<usize>, Vec<usize>),
    ) {
        let matrix = self.matrix;
        let excludes: Vec<(usize, &Exclude)> = excludes
            .into_iter()
            .map(|position| (position, &matrix.excludes[position]))
            .collect();
        let overrides: Vec<(usize, &Override)> = overrides
            .into_iter()
            .map(|position| (position, &matrix.overrides[position]))
            .collect();
        self.note_used(entry, drivers, &excludes, &overrides);
        let place = matrix.place(entry.name.span());
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
                    self.leave_out(kernel, None, Some(artifact), rule, &reason, &place);
                }
            }
        }
        if entry.artifacts.is_empty() {
            self.leave_out(kernel, None, None, "artifacts", NO_ARTIFACTS, &place);
        }
        if supported.is_empty() {
            for driver in drivers {
                self.leave_unbuilt(kernel, driver);
            }
            return;
        }
        let needs_image = target::subscription(kernel).is_some();
        for driver in drivers {
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
                } else if let Err(reason) = floor::of_driver(version, artifact) {
                    self.leave_out(
                        kernel,
                        Some(version),
                        Some(artifact),
                        "support floor",
                        reason,
                        &place,
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
            let settings = self.settings(base, &overrides, version);
            if needs_image && settings.image.is_none() {
                let (rule, reason) = ("image", NEEDS_IMAGE);
                self.leave_out(kernel, Some(version), None, rule, reason, &place);
                continue;
            }
            let build = Build {
                kernel: Arc::clone(kernel),
                driver: Arc::clone(driver),
                artifacts: self.interned.artifacts(&artifacts),
                settings,
            };
            self.candidates.push(Candidate {
                build,
                origin: (self.index, span.clone()),
            });
        }
    }

    /// Notes which of the rules that match a kernel match one of its builds, whether or not another rule comes first.
    fn note_used(
        &mut self,
        entry: &TargetEntry,
        drivers: &[&Arc<Driver>],
        excludes: &[(usize, &Exclude)],
        overrides: &[(usize, &Override)],
    ) {
        let has_driver = |selector: &Selector| {
            drivers
                .iter()
                .any(|driver| selector.matches_driver(&driver.version))
        };
        for (position, exclude) in excludes {
            let selector = &exclude.selector;
            let has_artifact = entry
                .artifacts
                .iter()
                .any(|one| selector.matches_artifact(*one));
            self.used_excludes[*position] |= has_artifact && has_driver(selector);
        }
        for (position, one) in overrides {
            self.used_overrides[*position] |= has_driver(&one.selector);
        }
    }

    fn settings(
        &mut self,
        base: &Arc<BuildSettings>,
        overrides: &[(usize, &Override)],
        version: &DriverVersion,
    ) -> Arc<BuildSettings> {
        let mut changed = None;
        for (_, one) in overrides {
            if one.selector.matches_driver(version) {
                apply(
                    changed.get_or_insert_with(|| (**base).clone()),
                    &one.settings,
                );
            }
        }
        if let (Some(changed), Some(image)) = (&mut changed, self.image) {
            changed.image = Some(image.to_owned());
        }
        match changed {
            Some(settings) => self.interned.settings(settings),
            None => Arc::clone(base),
        }
    }

    /// A warning for each rule that matched nothing, or one for all beyond the first few.
    fn warnings(&self) -> Vec<Diagnostic> {
        let excludes = self.matrix.excludes.iter().zip(&self.used_excludes);
        let overrides = self.matrix.overrides.iter().zip(&self.used_overrides);
        let unused: Vec<(&str, &Place)> = excludes
            .map(|(one, used)| ("[[exclude]]", &one.place, *used))
            .chain(overrides.map(|(one, used)| ("[[override]]", &one.place, *used)))
            .filter_map(|(name, place, used)| (!used).then_some((name, place)))
            .collect();
        let (shown, others) = unused.split_at(unused.len().min(SHOWN_UNUSED));
        let mut warnings: Vec<Diagnostic> = shown
            .iter()
            .map(|(name, place)| {
                let warning = Diagnostic::warning(format!("this {name} matches nothing"));
                warning.at((*place).clone(), "")
            })
            .collect();
        if !others.is_empty() {
            let named = others.iter().take(NAMED_UNUSED);
            let mut lines: Vec<String> = named
                .map(|(_, place)| place.line_and_column().0.to_string())
                .collect();
            if others.len() > NAMED_UNUSED {
                lines.push("...".to_owned());
            }
            warnings.push(Diagnostic::warning(format!(
                "{}: {} more rules match nothing, on lines {}",
                self.matrix.file.path.display(),
                others.len(),
                lines.join(", ")
            )));
        }
        warnings
    }
}

/// Puts what a table sets over what was set before.
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
