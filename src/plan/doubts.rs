//! Warnings about suspect kernels before anything is downloaded: releases of another distribution, packages that are
//! not kernel headers, incomplete package sets, missing configurations.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::kernel::{Architecture, Kernel, TargetId};
use crate::target::{self, AskedNames, Rules, Target};

/// The kinds of warnings about a kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// Nothing can be built for the kernel.
    Unbuildable,
    /// The kernel has packages, but its release does not match the rules of its target.
    UnknownRelease,
    /// The packages contain more than the build uses.
    Remark,
    /// No host can request the artifacts of the kernel.
    Unasked,
}

/// The warnings about the kernels of a plan, grouped by target and kind. Each group has the first kernel in plan order,
/// its message, and the number of further kernels.
#[derive(Default)]
pub(super) struct Doubts<'a>(BTreeMap<(&'a TargetId, Doubt), (&'a Kernel, String, usize)>);

impl<'a> Doubts<'a> {
    /// Adds the warnings about the next kernel. `asked` are the names by which hosts request it.
    pub(super) fn add(&mut self, kernel: &'a Kernel, rules: Rules, asked: &AskedNames) {
        for (kind, reason) in doubts_of(kernel, rules, asked) {
            let group = self.0.entry((&kernel.target, kind));
            group
                .and_modify(|(_, _, more)| *more += 1)
                .or_insert((kernel, reason, 0));
        }
    }

    /// Adds the warnings about later kernels.
    pub(super) fn append(&mut self, later: Self) {
        for (key, (kernel, reason, count)) in later.0 {
            let group = self.0.entry(key);
            group
                .and_modify(|(_, _, more)| *more += 1 + count)
                .or_insert((kernel, reason, count));
        }
    }

    /// Returns one warning per target and kind.
    pub(super) fn warnings(self) -> impl Iterator<Item = Diagnostic> {
        let groups = self.0.into_iter();
        groups.map(|((_, kind), (kernel, reason, more))| warning(kind, kernel, &reason, more))
    }
}

fn warning(kind: Doubt, kernel: &Kernel, reason: &str, more: usize) -> Diagnostic {
    let more = |word: &str| match more {
        0 => String::new(),
        count => format!(" (and {word}{count} more of {})", kernel.target),
    };
    Diagnostic::warning(match kind {
        Doubt::Unbuildable => format!(
            "nothing can be built for {kernel}{}: {reason}",
            more("for ")
        ),
        Doubt::UnknownRelease => {
            let reason = target::doubt_of_release(kernel).unwrap_or_default();
            format!("{kernel}{}: {reason}", more(""))
        }
        Doubt::Remark | Doubt::Unasked => format!("{kernel}{}: {reason}", more("")),
    })
}

/// Returns the warnings about a kernel; empty if no rules exist for its target.
fn doubts_of(kernel: &Kernel, rules: Rules, asked: &AskedNames) -> Vec<(Doubt, String)> {
    let Some(target) = rules.used else {
        return Vec::new();
    };
    if let Some(reason) = unbuildable(target, rules, kernel) {
        return vec![(Doubt::Unbuildable, reason)];
    }
    // The message is computed later, for the first kernel of the group only, because it searches every target.
    let is_in_doubt = !kernel.packages.is_empty() && !rules.knows_release;
    let of_release = is_in_doubt.then(|| (Doubt::UnknownRelease, String::new()));
    let of_packages = || target.remark(kernel).map(|remark| (Doubt::Remark, remark));
    let of_names = asked.is_empty().then(|| {
        let reason = "Falco's loader cannot parse this release and requests a file name without it, so no host finds \
            the artifacts by their names: load the module yourself (insmod)";
        (Doubt::Unasked, reason.to_owned())
    });
    of_release
        .or_else(of_packages)
        .into_iter()
        .chain(of_names)
        .collect()
}

/// Returns the reason why nothing can be built for a kernel, or `None` if something can.
fn unbuildable(target: &dyn Target, rules: Rules, kernel: &Kernel) -> Option<String> {
    if kernel.packages.is_empty()
        && !rules.knows_release
        && let Err(expected) =
            target::check_release(&kernel.target, &kernel.release, kernel.architecture)
    {
        return Some(expected.to_string());
    }
    if let Err(problem) = target.tree_kind(kernel) {
        return Some(problem.to_string());
    }
    if lacks_configuration_by(target, kernel) {
        return Some(
            "its tree is prepared from a kernel source, which needs the kernel's configuration: set `config`"
                .to_owned(),
        );
    }
    // The kernel version is in a list of the distribution, which has not been read yet.
    if kernel.upstream.is_none() && target.upstream_list(kernel).is_some() {
        return None;
    }
    target
        .check_packages(kernel, Architecture::of_host())
        .err()
        .map(|error| error.to_string())
}

/// Returns true if a kernel's tree is prepared from a kernel source and the configuration is unknown.
pub fn lacks_configuration(kernel: &Kernel) -> bool {
    target::rules_of(kernel).is_some_and(|target| lacks_configuration_by(target, kernel))
}

fn lacks_configuration_by(target: &dyn Target, kernel: &Kernel) -> bool {
    kernel.config_sha256.is_none() && target.needs_config() && !names_folder(kernel)
}

/// Returns true if a kernel's only package is a directory, which is a build tree for every target.
fn names_folder(kernel: &Kernel) -> bool {
    let mut packages = kernel.packages.iter();
    let only = packages.next().filter(|_| packages.next().is_none());
    only.is_some_and(|only| std::path::Path::new(&*only.url).is_dir())
}
