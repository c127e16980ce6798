//! From matrices and filters to a plan.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;

use super::availability::Availability;
use super::kernels::MatrixKernels;
use super::preflight::check_plan;
use super::sources::{LockUse, Sources, discovered_entries};
use super::{Context, ResolveError};
use crate::diagnostic::Diagnostic;
use crate::digest::Sha256;
use crate::discover::lock::{self, ConfigFile};
use crate::fetch::{self, Activity, Mirrors};
use crate::history::KnownFailures;
use crate::kernel::{Kernel, KernelId};
use crate::matrix::{KnownFailure, Matrix, Pattern, TargetEntry};
use crate::plan::{BuildId, Expansion, Filter, FilterError, FirstSeen, FoundAt, Plan, expand};
use crate::text::count;

/// A request for a plan.
#[derive(Clone, Debug, Default)]
pub struct PlanRequest<'a> {
    /// The matrices; `matrices/*.toml` if the list is empty.
    pub files: &'a [PathBuf],
    /// Which builds of the matrices are selected.
    pub filter: Filter,
    /// How locks are used.
    pub lock_use: LockUse,
    /// The builder image of all builds.
    pub image: Option<&'a str>,
}

/// A plan with everything that a run needs to know about its origin.
#[derive(Debug)]
pub struct Planned {
    /// The plan, filtered.
    pub plan: Plan,
    /// The files and the digests of their contents.
    pub matrices: Vec<(PathBuf, Sha256)>,
    /// The rewrites of the command line, then those of all files in order.
    pub mirrors: Mirrors,
    /// The file of each kernel configuration, by its digest.
    pub configs: BTreeMap<Sha256, ConfigFile>,
    /// The `[[known_failure]]` rules of all files.
    pub known_failures: Arc<KnownFailures>,
    /// The number of kernels that are built although their source, whose result is not trusted, does not name them.
    pub unconfirmed: usize,
    /// The requests that are in progress.
    pub activity: Activity,
    /// The matrices.
    pub(crate) sources: Sources,
    /// The sources that could not be queried, and whether any source's result is not trusted.
    pub(crate) availability: Availability,
}

impl Planned {
    /// The matrices.
    pub fn matrix_files(&self) -> &[Matrix] {
        &self.sources.matrices
    }

    /// Returns the settings for downloading the plan's files.
    pub fn fetch_settings(&self) -> fetch::Settings {
        fetch::Settings {
            mirrors: self.mirrors.clone(),
            activity: self.activity.clone(),
            ..fetch::Settings::default()
        }
    }
}

impl PlanRequest<'_> {
    /// Whether the filters can match a target named by a `[[target]]`.
    fn is_about(&self, name: &Pattern) -> bool {
        self.filter.only.is_empty()
            && (self.filter.selector.targets.is_empty()
                || !name.is_literal()
                || self
                    .filter
                    .selector
                    .targets
                    .iter()
                    .any(|one| one.matches_name(name.as_str())))
    }

    /// Whether a matrix contains the kernel and the driver of one of the requested builds.
    fn names_any(&self, matrix: &Matrix, kernels: &MatrixKernels) -> bool {
        let drivers = || matrix.drivers.iter().map(Spanned::get_ref);
        let kernels = kernels.entries.iter().flatten();
        kernels
            .flat_map(|(kernel, _)| drivers().map(move |one| BuildId::of(&one.version, kernel)))
            .any(|build| self.filter.only.iter().any(|only| only == build.as_str()))
    }

    /// Reads the matrices and their locks, expands them and applies the filters.
    pub fn plan(&self, context: &Context) -> Result<Planned, ResolveError> {
        let sources = Sources::read(self.files)?;
        let mut configs = BTreeMap::new();
        let lock_use = self.lock_use;
        let (mut kernels, availability) = sources.kernels(context, lock_use, &mut configs)?;
        let mut first_seen = FirstSeen::default();
        for kernels in &mut kernels {
            first_seen.add(std::mem::take(&mut kernels.first_seen));
        }
        let unconfirmed: HashSet<KernelId> = kernels
            .iter()
            .flat_map(|kernels| &kernels.unconfirmed)
            .map(|kernel| kernel.id())
            .collect();
        let locators: Vec<_> = sources
            .matrices
            .iter()
            .map(|matrix| {
                let lock = lock::path_of(&matrix.file.path);
                move |entry: &TargetEntry, kernel: &Kernel| {
                    lock::place_of_kernel(&lock, &entry.label, kernel)
                }
            })
            .collect();
        // A query about a single build concerns only the matrices that contain its kernel.
        let is_question = lock_use == LockUse::AsIs && !self.filter.only.is_empty();
        let mut pairs = sources.matrices.iter().zip(&kernels);
        let is_narrow =
            is_question && pairs.any(|(matrix, kernels)| self.names_any(matrix, kernels));
        let expansions: Vec<Expansion<'_>> = sources
            .matrices
            .iter()
            .zip(kernels)
            .zip(&locators)
            .filter(|((matrix, kernels), _)| !is_narrow || self.names_any(matrix, kernels))
            .map(|((matrix, kernels), locator)| Expansion {
                matrix,
                kernels: kernels.entries,
                left_out: kernels.gone,
                found_at: Some(FoundAt(locator)),
            })
            .collect();
        let kernels = expansions.iter().flat_map(|expansion| &expansion.kernels);
        let found: usize = kernels.map(Vec::len).sum();
        let expanded = expand(expansions, self.image).map_err(ResolveError::Diagnostics)?;
        if !is_question {
            context.warn(&expanded.warnings);
        }
        let mut plan = expanded.plan;
        plan.note_first_seen(first_seen);
        let unlocked = match lock_use {
            LockUse::AsIs => unlocked(&sources.matrices),
            _ => Vec::new(),
        };
        if plan.builds.is_empty() {
            return Err(if !unlocked.is_empty() {
                ResolveError::Input {
                    message: format!("no kernel is known: {}", not_there(&unlocked)),
                    help: Some(make_locks(&unlocked)),
                }
            } else if availability.unavailable.is_empty() {
                empty_plan(&sources.matrices, found, &plan)
            } else {
                availability.error()
            });
        }
        availability.warn(context);
        let left_out = availability.left_out(|name| self.is_about(name));
        let filtered = self.filter.apply(&mut plan);
        // The requested builds may belong to a target that could not be queried.
        if filtered.is_err() && !left_out.is_empty() {
            return Err(availability.error());
        }
        filtered.map_err(|error| filter_error(&error, &unlocked))?;
        plan.left_out.extend(left_out);
        let faults = check_plan(&sources, &plan);
        if !faults.is_empty() {
            return Err(ResolveError::Diagnostics(faults));
        }
        let digest = |matrix: &Matrix| Sha256::of(&matrix.file.text);
        Ok(Planned {
            activity: Activity::default(),
            matrices: sources
                .matrices
                .iter()
                .map(|matrix| (matrix.file.path.clone(), digest(matrix)))
                .collect(),
            mirrors: sources.mirrors(context),
            configs,
            unconfirmed: count_unconfirmed(&plan, &unconfirmed),
            known_failures: Arc::new(known_failures(&sources.matrices, &plan)),
            availability,
            plan,
            sources,
        })
    }
}

fn known_failures(matrices: &[Matrix], plan: &Plan) -> KnownFailures {
    let rules = matrices.iter().flat_map(|matrix| &matrix.known_failures);
    let rules: Vec<KnownFailure> = rules.cloned().collect();
    let mut kernels: Vec<&Kernel> = Vec::new();
    if !rules.is_empty() {
        kernels.extend(plan.builds.iter().map(|build| &*build.kernel));
    }
    // Builds of the same kernel are adjacent.
    kernels.dedup_by_key(|kernel| kernel.identity());
    KnownFailures::new(rules, &kernels, lock::today())
}

/// Returns the number of kernels of a plan that no source confirms.
fn count_unconfirmed(plan: &Plan, unconfirmed: &HashSet<KernelId>) -> usize {
    if unconfirmed.is_empty() {
        return 0;
    }
    let kernels = plan.builds.iter().map(|build| build.kernel.id());
    let kernels: HashSet<KernelId> = kernels.filter(|id| unconfirmed.contains(id)).collect();
    kernels.len()
}

/// Returns the error for a plan without builds. `kernels` is the number of kernels that were found.
fn empty_plan(matrices: &[Matrix], kernels: usize, plan: &Plan) -> ResolveError {
    if kernels > 0 {
        let mut rules: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for left_out in &plan.left_out {
            *rules.entry((&left_out.rule, &left_out.reason)).or_default() += 1;
        }
        let rules: Vec<String> = rules
            .into_iter()
            .map(|((rule, reason), count)| format!("{rule} ({reason}): {count}"))
            .collect();
        return ResolveError::Input {
            message: match kernels {
                1 => "the plan is empty: the only kernel was left out".to_owned(),
                _ => format!(
                    "the plan is empty: all {} were left out",
                    count(kernels, "kernel")
                ),
            },
            help: Some(format!("by these rules: {}", rules.join(", "))),
        };
    }
    let diagnostics = matrices
        .iter()
        .flat_map(|matrix| {
            matrix.targets.iter().map(move |entry| {
                let name = entry.name.get_ref();
                Diagnostic::error(format!(
                    "the plan is empty: no kernel was found for `{name}`"
                ))
                .at(matrix.place(entry.kernels.span()), "nothing here matches")
            })
        })
        .collect();
    ResolveError::Diagnostics(diagnostics)
}

/// The matrices whose kernels are discovered and that have no lock yet.
fn unlocked(matrices: &[Matrix]) -> Vec<&Path> {
    let is_unlocked = |matrix: &&Matrix| {
        discovered_entries(matrix).next().is_some() && !lock::path_of(&matrix.file.path).exists()
    };
    let unlocked = matrices.iter().filter(is_unlocked);
    unlocked.map(|matrix| matrix.file.path.as_path()).collect()
}

fn not_there(unlocked: &[&Path]) -> String {
    match unlocked {
        [one] => format!("{} does not exist", lock::path_of(one).display()),
        several => format!("{} do not exist", count(several.len(), "lock")),
    }
}

fn make_locks(unlocked: &[&Path]) -> String {
    let files: Vec<String> = unlocked
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    format!("run `driverkit-matrix lock {}`", files.join(" "))
}

/// The maximum number of matching builds that an error lists.
const LISTED: usize = 10;

/// Returns the error of a filter with advice. `unlocked` are matrices without a lock.
pub(crate) fn filter_error(error: &FilterError, unlocked: &[&Path]) -> ResolveError {
    let help = match error {
        FilterError::Nothing { examples, .. } if !examples.is_empty() => Some(format!(
            "the plan has, for example: {}",
            examples.join(", ")
        )),
        FilterError::NoBuild {
            nearest: Some(nearest),
            ..
        } => Some(format!("did you mean `{nearest}`?")),
        FilterError::NoBuild { .. } if !unlocked.is_empty() => Some(format!(
            "it may belong to a matrix that has no lock yet: {}",
            make_locks(unlocked)
        )),
        FilterError::Several { ids, .. } => {
            let mut names: Vec<&str> = ids.iter().take(LISTED).map(String::as_str).collect();
            if ids.len() > LISTED {
                names.push("...");
            }
            Some(format!("specify one of them: {}", names.join(", ")))
        }
        FilterError::Nothing { .. } | FilterError::NoBuild { .. } => None,
    };
    ResolveError::Input {
        message: error.to_string(),
        help,
    }
}
