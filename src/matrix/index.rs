//! Which of thousands of rules match a kernel, without trying each.

use std::collections::HashMap;
use std::sync::Arc;

use globset::{GlobSet, GlobSetBuilder};

use super::{Pattern, Selector};
use crate::kernel::{Kernel, TargetId};

/// The selectors of many rules, by their patterns on target and kernel release.
#[derive(Debug)]
pub struct SelectorIndex<'a> {
    selectors: Vec<&'a Selector>,
    targets: Axis<'a>,
    kernels: Axis<'a>,
    /// For each target that was asked for: which rules are about it.
    by_target: HashMap<TargetId, Arc<[bool]>>,
}

impl<'a> SelectorIndex<'a> {
    /// For rules with these selectors; a rule is known by its position.
    pub fn new(selectors: impl IntoIterator<Item = &'a Selector>) -> Self {
        let selectors: Vec<&Selector> = selectors.into_iter().collect();
        let patterns_of = |patterns: fn(&Selector) -> &[Pattern]| {
            selectors.iter().map(move |selector| patterns(selector))
        };
        Self {
            targets: Axis::new(patterns_of(|selector| &selector.targets)),
            kernels: Axis::new(patterns_of(|selector| &selector.kernels)),
            by_target: HashMap::new(),
            selectors,
        }
    }

    /// The positions of the rules that are about a kernel: its target, release and architecture.
    pub fn matching(&mut self, kernel: &Kernel) -> Vec<usize> {
        if self.selectors.is_empty() {
            return Vec::new();
        }
        let of_target = self.of_target(&kernel.target);
        let mut matching = Vec::new();
        self.kernels.each_match(
            kernel.release.as_str(),
            |rule, pattern| of_target[rule] && pattern.matches_release(&kernel.release),
            |rule| {
                if of_target[rule] && self.selectors[rule].matches_architecture(kernel.architecture)
                {
                    matching.push(rule);
                }
            },
        );
        matching.sort_unstable();
        matching.dedup();
        matching
    }

    fn of_target(&mut self, target: &TargetId) -> Arc<[bool]> {
        if let Some(known) = self.by_target.get(target) {
            return Arc::clone(known);
        }
        let mut rules = vec![false; self.selectors.len()];
        self.targets.each_match(
            target.as_str(),
            |_, pattern| pattern.matches_name(target.as_str()),
            |rule| rules[rule] = true,
        );
        let rules: Arc<[bool]> = rules.into();
        self.by_target.insert(target.clone(), Arc::clone(&rules));
        rules
    }
}

/// The patterns of all rules on one axis.
#[derive(Debug, Default)]
struct Axis<'a> {
    /// The rules without a pattern here.
    unbound: Vec<usize>,
    literals: HashMap<&'a str, Vec<usize>>,
    /// One automaton for all globs, and the rule of each.
    globs: GlobSet,
    rules_of_globs: Vec<usize>,
    /// What has to be tried one by one.
    others: Vec<(usize, &'a Pattern)>,
}

impl<'a> Axis<'a> {
    fn new(rules: impl Iterator<Item = &'a [Pattern]>) -> Self {
        let mut axis = Self::default();
        let mut globs = Vec::new();
        for (rule, patterns) in rules.enumerate() {
            if patterns.is_empty() {
                axis.unbound.push(rule);
            }
            for pattern in patterns {
                if pattern.is_literal() {
                    axis.literals
                        .entry(pattern.as_str())
                        .or_default()
                        .push(rule);
                } else if let Some(glob) = pattern.glob() {
                    globs.push((rule, pattern, glob));
                } else {
                    axis.others.push((rule, pattern));
                }
            }
        }
        let mut builder = GlobSetBuilder::new();
        for (_, _, glob) in &globs {
            builder.add((*glob).clone());
        }
        match builder.build() {
            Ok(set) => {
                axis.globs = set;
                axis.rules_of_globs = globs.into_iter().map(|(rule, _, _)| rule).collect();
            }
            // Together they are more than the automaton may hold.
            Err(_) => axis
                .others
                .extend(globs.into_iter().map(|(rule, pattern, _)| (rule, pattern))),
        }
        axis
    }

    /// Calls `take` with each rule that a name matches, perhaps more than once; `test` decides on a pattern that has to
    /// be tried.
    fn each_match(
        &self,
        name: &str,
        test: impl Fn(usize, &Pattern) -> bool,
        mut take: impl FnMut(usize),
    ) {
        let literals = self.literals.get(name).into_iter().flatten();
        self.unbound
            .iter()
            .chain(literals)
            .copied()
            .for_each(&mut take);
        if !self.rules_of_globs.is_empty() {
            for position in self.globs.matches(name) {
                take(self.rules_of_globs[position]);
            }
        }
        for (rule, pattern) in &self.others {
            if test(*rule, pattern) {
                take(*rule);
            }
        }
    }
}
