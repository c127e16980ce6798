//! Tracks which rules of a matrix match a build.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Place};
use crate::driver::Driver;
use crate::matrix::{Exclude, Matrix, Override, Selector, TargetEntry};

/// The maximum number of unused rules that get a warning of their own.
const SHOWN_UNUSED: usize = 10;
/// The maximum number of line numbers in the warning about the remaining unused rules.
const NAMED_UNUSED: usize = 50;

/// For each rule of a matrix, whether the rule matches a build.
pub(super) struct UsedRules {
    excludes: Vec<bool>,
    overrides: Vec<bool>,
}

impl UsedRules {
    pub(super) fn none_of(matrix: &Matrix) -> Self {
        Self {
            excludes: vec![false; matrix.excludes.len()],
            overrides: vec![false; matrix.overrides.len()],
        }
    }

    /// Adds the rules that match other builds of the same matrix.
    pub(super) fn add(&mut self, other: &Self) {
        for (used, others) in [
            (&mut self.excludes, &other.excludes),
            (&mut self.overrides, &other.overrides),
        ] {
            for (used, other) in used.iter_mut().zip(others) {
                *used |= other;
            }
        }
    }

    /// Records which of the rules that match a kernel also match one of the kernel's builds. A rule counts as used even
    /// if an earlier rule takes precedence.
    pub(super) fn note(
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
            self.excludes[*position] |= has_artifact && has_driver(selector);
        }
        for (position, one) in overrides {
            self.overrides[*position] |= has_driver(&one.selector);
        }
    }

    /// Returns a warning for each of the first unused rules, and one warning for all remaining ones.
    pub(super) fn warnings(&self, matrix: &Matrix) -> Vec<Diagnostic> {
        let excludes = matrix.excludes.iter().zip(&self.excludes);
        let overrides = matrix.overrides.iter().zip(&self.overrides);
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
                matrix.file.path.display(),
                others.len(),
                lines.join(", ")
            )));
        }
        warnings
    }
}
