//! Assigns the kernels of a lock to the `[[target]]`s of an edited matrix. No kernel is lost if a `[[target]]` is
//! renamed or split.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;
use toml::Spanned;

use super::Lock;
use crate::digest::Sha256;
use crate::kernel::Kernel;
use crate::matrix::{KernelSources, Source};

/// The kernels that a `[[target]]` asks for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The label of the `[[target]]`.
    pub label: &'a str,
    /// The digest of everything that it defines about its sources.
    pub source: Sha256,
    /// The digest of the limits of its sources, except names and patterns: kinds, suites, flavours, numbers and days.
    /// If the limits are unchanged, a requested kernel that is not listed any more was lost by its source.
    pub limits: Sha256,
    /// Whether the `[[target]]` asks for a kernel, by its target, architecture and patterns, and by the day on which it
    /// was first seen.
    pub takes: &'a dyn Fn(&Kernel, Date) -> bool,
    /// Whether kernels of targets without rules are included, because the matrix names the target.
    pub is_literal: bool,
    /// Its sources, in the order of the matrix.
    pub sources: &'a [AskedSource<'a>],
}

/// A source of a `[[target]]`.
#[derive(Clone, Debug)]
pub struct AskedSource<'a> {
    /// The name by which kernels record the source: see [`crate::matrix::KernelSources::names`].
    pub name: Arc<str>,
    /// The source.
    pub source: &'a Source,
}

impl<'a> AskedSource<'a> {
    /// Returns the sources of a `[[target]]`.
    pub fn all(kernels: &'a KernelSources) -> Vec<Self> {
        let sources = kernels.sources.iter().map(Spanned::get_ref);
        let named = kernels.names().into_iter().zip(sources);
        named.map(|(name, source)| Self { name, source }).collect()
    }

    /// Whether the source listed a kernel when the kernel was last listed.
    pub(super) fn lists(&self, kernel: &Kernel) -> bool {
        kernel.source.split(", ").any(|name| *name == *self.name)
    }
}

impl Asked<'_> {
    /// Returns the positions of the sources of a kernel; none if the `[[target]]` has a single source.
    pub(super) fn sources_to_judge(&self, kernel: &Kernel) -> impl Iterator<Item = usize> {
        let count = self.sources.len();
        let positions = if count > 1 { 0..count } else { 0..0 };
        positions.filter(|position| self.sources[*position].lists(kernel))
    }

    /// Returns the positions of the sources whose new kernels can replace this one. If no source is known, `None`
    /// stands for any.
    pub(super) fn sources_to_settle(&self, kernel: &Kernel) -> Vec<Option<usize>> {
        let known: Vec<Option<usize>> = self.sources_to_judge(kernel).map(Some).collect();
        if known.is_empty() { vec![None] } else { known }
    }
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Asked").field(&self.label).finish()
    }
}

impl Lock {
    /// Moves kernels to the `[[target]]`s that ask for them now. `all` contains the `[[target]]`s of the matrix, in its
    /// order.
    pub fn follow(&mut self, all: &[Asked<'_>]) {
        self.follow_sources(all);
        let labels: BTreeSet<&str> = all.iter().map(|asked| asked.label).collect();
        let new: Vec<&Asked<'_>> = all
            .iter()
            .filter(|asked| !self.sources.contains_key(asked.label))
            .collect();
        if new.is_empty() {
            return;
        }
        let mut limits: BTreeMap<String, Sha256> = BTreeMap::new();
        let mut is_moved = false;
        for locked in &mut self.kernels {
            let own = all.iter().find(|asked| *asked.label == *locked.label);
            if own.is_some_and(|asked| (asked.takes)(&locked.kernel, locked.first_seen)) {
                continue;
            }
            let is_orphan = !labels.contains(&*locked.label);
            if !is_orphan && own.is_none() {
                continue;
            }
            if let Some(asked) = new
                .iter()
                .find(|asked| (asked.takes)(&locked.kernel, locked.first_seen))
            {
                if let Some(known) = self.limits.get(&*locked.label) {
                    limits.entry(asked.label.to_owned()).or_insert(*known);
                }
                locked.label = asked.label.into();
                is_moved = true;
            }
        }
        self.limits.extend(limits);
        if is_moved {
            self.sort();
        }
    }

    /// Renames sources of which only the label changed. Example: the second of two equal `[[target]]`s has the label
    /// `debian#2` until the first one is removed.
    fn follow_sources(&mut self, all: &[Asked<'_>]) {
        let mut renamed: BTreeMap<String, &str> = BTreeMap::new();
        let is_kept = |label: &str, digest: &Sha256| {
            all.iter()
                .any(|asked| asked.label == label && asked.source == *digest)
        };
        for asked in all {
            if self.sources.get(asked.label) == Some(&asked.source) {
                continue;
            }
            let before = self.sources.iter().find(|(label, digest)| {
                **digest == asked.source && !is_kept(label, digest) && !renamed.contains_key(*label)
            });
            if let Some((before, _)) = before {
                renamed.insert(before.clone(), asked.label);
            }
        }
        if renamed.is_empty() {
            return;
        }
        let taken: BTreeSet<&str> = renamed.values().copied().collect();
        // Kernels under the new label belong to another source, which the matrix does not contain any more.
        self.kernels.retain(|locked| {
            renamed.contains_key(&*locked.label) || !taken.contains(&*locked.label)
        });
        for map in [&mut self.sources, &mut self.limits] {
            map.retain(|label, _| renamed.contains_key(label) || !taken.contains(label.as_str()));
            let moved: Vec<(String, Sha256)> = renamed
                .iter()
                .filter_map(|(before, after)| Some(((*after).to_owned(), map.remove(before)?)))
                .collect();
            map.extend(moved);
        }
        let after: BTreeMap<&str, Arc<str>> = renamed
            .iter()
            .map(|(before, after)| (before.as_str(), Arc::from(*after)))
            .collect();
        for locked in &mut self.kernels {
            if let Some(label) = after.get(&*locked.label) {
                locked.label = Arc::clone(label);
            }
        }
        self.sort();
    }
}
