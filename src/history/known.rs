//! Known failures: applies the `[[known_failure]]` rules of matrices, and finds outdated rules.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::civil::Date;
use regex::Regex;

use crate::event::{ArtifactReport, BuildReport, Finding, FindingKind, KnownBy};
use crate::failure::{Failure, Status};
use crate::kernel::{Kernel, KernelId};
use crate::matrix::{KnownFailure, SelectorIndex};
use crate::plan::BuildId;

/// The rules, and which results each has matched so far.
#[derive(Debug)]
pub struct KnownFailures {
    rules: Vec<Rule>,
    /// The positions of the rules that apply to each kernel of the plan.
    by_kernel: HashMap<KernelId, Vec<usize>>,
    seen: Mutex<Vec<Seen>>,
}

#[derive(Debug)]
struct Rule {
    demands: KnownFailure,
    known: Arc<KnownBy>,
    is_expired: bool,
}

/// The results of the artifacts that a rule selects.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// The number of failures that the rule expects.
    matched: usize,
    /// The first build that succeeded.
    passed: Option<BuildId>,
}

impl KnownFailures {
    /// Creates rules for a plan with these kernels, as of `today`.
    pub fn new(
        rules: impl IntoIterator<Item = KnownFailure>,
        kernels: &[&Kernel],
        today: Date,
    ) -> Self {
        let rules: Vec<Rule> = rules
            .into_iter()
            .map(|rule| Rule {
                known: Arc::new(known_by(&rule)),
                is_expired: rule.expires.is_some_and(|day| day < today),
                demands: rule,
            })
            .collect();
        let index = SelectorIndex::new(rules.iter().map(|one| &one.demands.selector));
        let matching = index.matching(kernels).unwrap_or_default();
        let of_kernel = kernels.iter().zip(matching);
        let by_kernel = of_kernel
            .filter(|(_, rules)| !rules.is_empty())
            .map(|(kernel, rules)| (kernel.id(), rules))
            .collect();
        let seen = Mutex::new(vec![Seen::default(); rules.len()]);
        Self {
            rules,
            by_kernel,
            seen,
        }
    }

    /// Sets the status [`Status::Known`] of artifacts that failed as a rule expects. The first matching rule counts;
    /// an expired rule has no effect.
    pub fn apply(&self, report: &mut BuildReport) {
        if self.by_kernel.is_empty() {
            return;
        }
        let Some(positions) = self.by_kernel.get(&report.kernel_identity().into()) else {
            return;
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for artifact in &mut report.artifacts {
            for &position in positions {
                let rule = &self.rules[position];
                let selector = &rule.demands.selector;
                if !selector.matches_driver(&report.driver_version)
                    || !selector.matches_artifact(artifact.artifact)
                {
                    continue;
                }
                let seen = &mut seen[position];
                if artifact.status.is_success() {
                    seen.passed.get_or_insert_with(|| report.build_id.clone());
                } else if rule.expects(artifact) {
                    seen.matched += 1;
                    if !rule.is_expired && artifact.known.is_none() {
                        artifact.status = Status::Known;
                        artifact.known = Some(Arc::clone(&rule.known));
                    }
                }
            }
        }
    }

    /// Returns the problems of the rules, as if the results so far were those of the whole plan.
    pub fn findings(&self) -> Vec<Finding> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = self.rules.iter().zip(seen.iter());
        rules
            .filter_map(|(rule, seen)| rule.finding(seen))
            .collect()
    }
}

impl Rule {
    /// Returns true if the rule expects the failure of this artifact.
    fn expects(&self, artifact: &ArtifactReport) -> bool {
        artifact.failing().is_some_and(|failure| {
            let classes = &self.demands.classes;
            let message = self.demands.message.as_ref();
            (classes.is_empty() || classes.contains(&failure.class))
                && message.is_none_or(|pattern| has_message(failure, pattern))
        })
    }

    fn finding(&self, seen: &Seen) -> Option<Finding> {
        let reason = &self.known.reason;
        let (kind, message) = match (self.demands.expires, &seen.passed) {
            (Some(day), _) if self.is_expired => (
                FindingKind::Expired,
                format!(
                    "this [[known_failure]] ({reason}) expired on {day} and no longer applies; it would match {} failures",
                    seen.matched
                ),
            ),
            (_, Some(build)) if seen.matched == 0 => (
                FindingKind::UnexpectedPass,
                format!(
                    "an artifact that this [[known_failure]] ({reason}) expects to fail was built, such as {build}"
                ),
            ),
            (_, None) if seen.matched == 0 => (
                FindingKind::Unused,
                format!("this [[known_failure]] ({reason}) matches nothing"),
            ),
            _ => return None,
        };
        Some(Finding {
            kind,
            place: self.known.place.clone(),
            message,
        })
    }
}

/// Returns true if the message or the first error of a failure matches.
pub(super) fn has_message(failure: &Failure, pattern: &Regex) -> bool {
    let first_error = failure.first_error.as_ref();
    let first_error = first_error.map(|error| format!("{}: {}", error.file, error.message));
    pattern.is_match(&failure.message) || first_error.is_some_and(|error| pattern.is_match(&error))
}

fn known_by(rule: &KnownFailure) -> KnownBy {
    let (line, _) = rule.place.line_and_column();
    KnownBy {
        place: format!("{}:{line}", rule.place.file.path.display()),
        reason: rule.reason.to_string(),
        link: rule.link.clone(),
        owner: rule.owner.clone(),
        expires: rule.expires,
    }
}
