//! Applies `latest = N` to kernels of a lock: which kernels of a source are beyond the N newest ones.

use std::cmp::Ordering;
use std::collections::HashMap;

use super::labels::AskedSource;
use crate::discover::select::{self, LatestGroup};
use crate::kernel::Kernel;
use crate::matrix::SourceKind;
use crate::target::{self, Series};

/// A group of kernels, by the position of their source. In archives of apt, `latest` counts for each suite, which a
/// lock does not record: there, each series is a group.
type Group = (usize, LatestGroup, Option<Series>);

/// The kernels that `latest` selects among the given ones.
pub(super) struct Latest<'a> {
    sources: &'a [AskedSource<'a>],
    /// The oldest selected kernel of each group that has as many kernels as `latest` allows.
    oldest: HashMap<Group, &'a Kernel>,
}

impl<'a> Latest<'a> {
    pub(super) fn of(
        sources: &'a [AskedSource<'a>],
        kernels: impl Iterator<Item = &'a Kernel>,
    ) -> Self {
        let limit = |position: usize| sources[position].source.selection.latest;
        let mut oldest = HashMap::new();
        if (0..sources.len()).any(|position| limit(position).is_some()) {
            let mut groups: HashMap<Group, Vec<&Kernel>> = HashMap::new();
            for kernel in kernels {
                for position in positions(sources, kernel) {
                    if limit(position).is_some() {
                        let group = group(sources, position, kernel);
                        groups.entry(group).or_default().push(kernel);
                    }
                }
            }
            for (group, mut kernels) in groups {
                let limit = limit(group.0).unwrap_or_default() as usize;
                kernels.sort_by(|left, right| order(right, left));
                if let Some(last) = kernels.get(limit.saturating_sub(1)) {
                    oldest.insert(group, *last);
                }
            }
        }
        Self { sources, oldest }
    }

    /// Whether `latest` of all sources of a kernel excludes it, because there are enough newer kernels.
    pub(super) fn excludes(&self, kernel: &Kernel) -> bool {
        if self.oldest.is_empty() {
            return false;
        }
        let mut positions = positions(self.sources, kernel).peekable();
        positions.peek().is_some()
            && positions.all(|position| {
                let oldest = self.oldest.get(&group(self.sources, position, kernel));
                oldest.is_some_and(|oldest| order(oldest, kernel).is_gt())
            })
    }
}

fn group(sources: &[AskedSource<'_>], position: usize, kernel: &Kernel) -> Group {
    let is_mirror = matches!(sources[position].source.kind, SourceKind::Mirror(_));
    let target = kernel.target.as_str();
    let has_suites = is_mirror && (target == "debian" || target.starts_with("ubuntu"));
    let series = has_suites.then(|| target::series_of(kernel));
    (position, select::latest_group(kernel), series)
}

/// Returns the positions of the sources of a kernel. The only source of a `[[target]]` lists all of its kernels.
fn positions<'a>(
    sources: &'a [AskedSource<'_>],
    kernel: &'a Kernel,
) -> impl Iterator<Item = usize> + 'a {
    let is_single = sources.len() == 1;
    (0..sources.len()).filter(move |position| is_single || sources[*position].lists(kernel))
}

/// Compares two kernels of a target by the rules of their distribution.
pub(super) fn order(left: &Kernel, right: &Kernel) -> Ordering {
    select::compare(&left.target, &left.release, &right.release)
        .then_with(|| left.version.cmp(&right.version))
}
