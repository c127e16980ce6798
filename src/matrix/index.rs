//! Finds which of thousands of rules match a kernel, without testing each.

use std::collections::{BTreeSet, HashMap};

use aho_corasick::AhoCorasick;
use rayon::prelude::*;

use super::pattern::ReleasePlace;
use super::{Pattern, Selector};
use crate::kernel::{Kernel, TargetId};

/// The selectors of many rules, by their patterns on target and kernel release.
#[derive(Debug)]
pub struct SelectorIndex<'a> {
    selectors: Vec<&'a Selector>,
    targets: Axis<'a>,
    kernels: Axis<'a>,
}

impl<'a> SelectorIndex<'a> {
    /// Creates an index of rules with these selectors; a rule is identified by its position.
    pub fn new(selectors: impl IntoIterator<Item = &'a Selector>) -> Self {
        let selectors: Vec<&Selector> = selectors.into_iter().collect();
        let patterns_of = |patterns: fn(&Selector) -> &[Pattern]| {
            selectors.iter().map(move |selector| patterns(selector))
        };
        Self {
            targets: Axis::new(patterns_of(|selector| &selector.targets)),
            kernels: Axis::new(patterns_of(|selector| &selector.kernels)),
            selectors,
        }
    }

    /// Returns, for each kernel, the positions of the rules that match its target, release and architecture; `None`
    /// if there are no rules.
    pub fn matching(&self, kernels: &[&Kernel]) -> Option<Vec<Vec<usize>>> {
        if self.selectors.is_empty() {
            return None;
        }
        let targets: BTreeSet<&TargetId> = kernels.iter().map(|kernel| &kernel.target).collect();
        let by_target: HashMap<&TargetId, Vec<bool>> = targets
            .into_iter()
            .map(|target| (target, self.of_target(target)))
            .collect();
        let matching = kernels
            .par_iter()
            .map(|kernel| self.of_kernel(kernel, &by_target[&kernel.target]));
        Some(matching.collect())
    }

    fn of_kernel(&self, kernel: &Kernel, of_target: &[bool]) -> Vec<usize> {
        let mut matching = Vec::new();
        self.kernels.each_match(
            kernel.release.as_str(),
            Some(ReleasePlace::of(&kernel.release)),
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

    /// Returns, for each rule, whether it matches a target.
    fn of_target(&self, target: &TargetId) -> Vec<bool> {
        let mut rules = vec![false; self.selectors.len()];
        self.targets.each_match(
            target.as_str(),
            None,
            |_, pattern| pattern.matches_name(target.as_str()),
            |rule| rules[rule] = true,
        );
        rules
    }
}

/// The patterns of all rules on one axis.
#[derive(Debug, Default)]
struct Axis<'a> {
    /// The rules without a pattern on this axis.
    unbound: Vec<usize>,
    literals: HashMap<&'a str, Vec<usize>>,
    globs: Option<Globs<'a>>,
    /// Version ranges, sorted by the first position that they can match.
    ranges: Vec<Range<'a>>,
    /// The patterns that have to be tested one by one.
    others: Vec<(usize, &'a Pattern)>,
}

/// A version range of a rule.
#[derive(Debug)]
struct Range<'a> {
    first: ReleasePlace<'a>,
    /// The last position that this range or an earlier one can match.
    last_so_far: ReleasePlace<'a>,
    rule: (usize, &'a Pattern),
}

/// Globs, by a text that every match contains.
#[derive(Debug)]
struct Globs<'a> {
    texts: AhoCorasick,
    /// For each text, the rules with the glob that requires it.
    by_text: Vec<Vec<(usize, &'a Pattern)>>,
}

impl<'a> Axis<'a> {
    fn new(rules: impl Iterator<Item = &'a [Pattern]>) -> Self {
        let mut axis = Self::default();
        let mut globs: HashMap<&str, Vec<(usize, &Pattern)>> = HashMap::new();
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
                } else if let Some((first, last)) = pattern.possible_places() {
                    axis.ranges.push(Range {
                        first,
                        last_so_far: last,
                        rule: (rule, pattern),
                    });
                } else if let Some(text) = pattern.required_text() {
                    globs.entry(text).or_default().push((rule, pattern));
                } else {
                    axis.others.push((rule, pattern));
                }
            }
        }
        axis.ranges.sort_by_key(|range| range.first);
        for position in 1..axis.ranges.len() {
            let before = axis.ranges[position - 1].last_so_far;
            let range = &mut axis.ranges[position];
            range.last_so_far = range.last_so_far.max(before);
        }
        let (texts, by_text): (Vec<&str>, Vec<_>) = globs.into_iter().unzip();
        match AhoCorasick::new(texts) {
            Ok(_) if by_text.is_empty() => {}
            Ok(texts) => axis.globs = Some(Globs { texts, by_text }),
            // The texts exceed the limits of the automaton.
            Err(_) => axis.others.extend(by_text.into_iter().flatten()),
        }
        axis
    }

    /// Calls `take` with each rule that matches a name, possibly more than once; `test` checks a candidate pattern.
    /// Ranges only match releases, which have a `place`.
    fn each_match(
        &self,
        name: &str,
        place: Option<ReleasePlace<'_>>,
        test: impl Fn(usize, &Pattern) -> bool,
        mut take: impl FnMut(usize),
    ) {
        let literals = self.literals.get(name).into_iter().flatten();
        self.unbound
            .iter()
            .chain(literals)
            .copied()
            .for_each(&mut take);
        let mut try_all = |patterns: &[(usize, &Pattern)]| {
            for (rule, pattern) in patterns {
                if test(*rule, pattern) {
                    take(*rule);
                }
            }
        };
        try_all(&self.others);
        if let Some(place) = place {
            let begun = self.ranges.partition_point(|range| range.first <= place);
            let begun = self.ranges[..begun].iter().rev();
            for range in begun.take_while(|range| place <= range.last_so_far) {
                try_all(std::slice::from_ref(&range.rule));
            }
        }
        if let Some(globs) = &self.globs {
            for found in globs.texts.find_overlapping_iter(name) {
                try_all(&globs.by_text[found.pattern().as_usize()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Pattern, Selector};
    use super::SelectorIndex;
    use crate::kernel::{Architecture, Kernel, PackageSet};

    fn kernel(release: &str) -> Kernel {
        Kernel {
            target: "debian".parse().unwrap(),
            release: release.parse().unwrap(),
            version: "1".parse().unwrap(),
            architecture: Architecture::Amd64,
            packages: PackageSet::default(),
            config_sha256: None,
            upstream: None,
            image: None,
            source: "inline".into(),
        }
    }

    fn check(patterns: &[String], releases: &[String]) -> Result<(), TestCaseError> {
        let patterns: Vec<Pattern> = patterns
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        let selectors: Vec<Selector> = patterns
            .chunks(2)
            .map(|kernels| Selector {
                kernels: kernels.to_vec(),
                ..Selector::default()
            })
            .collect();
        let kernels: Vec<Kernel> = releases.iter().map(|release| kernel(release)).collect();
        let kernels: Vec<&Kernel> = kernels.iter().collect();
        let index = SelectorIndex::new(&selectors);
        let found = index
            .matching(&kernels)
            .unwrap_or_else(|| vec![Vec::new(); kernels.len()]);
        for (kernel, found) in kernels.iter().zip(found) {
            let expected: Vec<usize> = (0..selectors.len())
                .filter(|&rule| selectors[rule].matches_kernel(kernel))
                .collect();
            prop_assert_eq!(found, expected, "{}", kernel);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn index_finds_the_rules_that_match(
            patterns in prop::collection::vec("[1-3a.*?-]{1,6}|[1-3][*]\\{[1-3a],[a.]{0,2}\\}[a*]|[*a]\\[[!1-3a]{1,3}\\][1a*]|[1*]\\\\[a*1][1a]|>=[1-3]\\.[1-3]", 0..12),
            releases in prop::collection::vec("[1-3][1-3a.-]{0,7}", 1..8),
        ) {
            check(&patterns, &releases)?;
        }

        #[test]
        fn index_finds_the_ranges_that_match(
            ranges in prop::collection::vec("([<>]=?|=)[12]\\.[12](\\.[12]([-.~][1-3]([-.][1-3a]{1,2})?)?|-[12])?(, ([<>]=?|=)[12]\\.[12](\\.[12]([-.][1-3](-[1-3a])?)?)?)?", 0..12),
            releases in prop::collection::vec("[12]\\.[12](\\.[12])?([-.+~]0?[1-3]([-+.][1-3a]{1,2}){0,2})?", 1..8),
        ) {
            check(&ranges, &releases)?;
        }
    }
}
