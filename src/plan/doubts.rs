//! What can be told of kernels before anything is downloaded: releases of another distribution, packages that are no
//! kernel headers, sets that are not whole, configurations that are missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::Build;
use crate::diagnostic::Diagnostic;
use crate::kernel::{Architecture, Kernel, TargetId};
use crate::target::{self, AskedNames, Target};

/// What is to be said of a kernel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Doubt {
    /// Nothing can be built for it.
    Unbuildable,
    /// Its packages are named, but the rules of its target do not know such a release.
    UnknownRelease,
    /// Its packages hold more than is used.
    Remark,
    /// No host can ask for it.
    Unasked,
}

/// A warning for each target that has kernels for which nothing can be built, or of whose releases or packages a
/// person should know something.
pub(super) fn doubts(builds: &[Build]) -> Vec<Diagnostic> {
    let mut kernels: Vec<&Arc<Kernel>> = builds.iter().map(|build| &build.kernel).collect();
    // Builds of one kernel are neighbours.
    kernels.dedup_by(|right, left| Arc::ptr_eq(right, left));
    let doubts: Vec<(&Kernel, Doubt, String)> = kernels
        .into_par_iter()
        .flat_map_iter(|kernel| {
            let found = doubts_of(kernel).into_iter();
            found.map(|(kind, reason)| (&**kernel, kind, reason))
        })
        .collect();
    let mut groups: BTreeMap<(&TargetId, Doubt), Vec<(&Kernel, String)>> = BTreeMap::new();
    for (kernel, kind, reason) in doubts {
        groups
            .entry((&kernel.target, kind))
            .or_default()
            .push((kernel, reason));
    }
    let warnings = groups
        .iter()
        .map(|((_, kind), doubts)| warning(*kind, doubts));
    warnings.collect()
}

fn warning(kind: Doubt, doubts: &[(&Kernel, String)]) -> Diagnostic {
    let [(kernel, reason), others @ ..] = doubts else {
        return Diagnostic::warning("nothing is in doubt");
    };
    let more = |word: &str| match others.len() {
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

/// What is to be said of a kernel, where that can be told.
fn doubts_of(kernel: &Kernel) -> Vec<(Doubt, String)> {
    let Some(target) = target::rules_of(kernel) else {
        return Vec::new();
    };
    if let Some(reason) = unbuildable(target, kernel) {
        return vec![(Doubt::Unbuildable, reason)];
    }
    // Said of the first of a group alone, where it is drawn: it takes a look at every target.
    let of_release =
        target::is_release_in_doubt(kernel).then(|| (Doubt::UnknownRelease, String::new()));
    let of_packages = || target.remark(kernel).map(|remark| (Doubt::Remark, remark));
    let of_names = AskedNames::of(kernel).is_empty().then(|| {
        let reason = "Falco's loader cannot read this release and asks for a file without one, so that no host finds \
            the artifacts by their names: load the module yourself (insmod)";
        (Doubt::Unasked, reason.to_owned())
    });
    of_release
        .or_else(of_packages)
        .into_iter()
        .chain(of_names)
        .collect()
}

/// Why nothing can be built for a kernel.
fn unbuildable(target: &dyn Target, kernel: &Kernel) -> Option<String> {
    if kernel.packages.is_empty()
        && let Err(expected) =
            target::check_release(&kernel.target, &kernel.release, kernel.architecture)
    {
        return Some(expected.to_string());
    }
    if let Err(problem) = target.tree_kind(kernel) {
        return Some(problem.to_string());
    }
    if lacks_configuration(kernel) {
        return Some(
            "its tree is prepared from a kernel source, which needs the kernel's configuration: give it with `config`"
                .to_owned(),
        );
    }
    // A list of the distribution has to be read first.
    if kernel.upstream.is_none() && target.upstream_list(kernel).is_some() {
        return None;
    }
    target
        .header_packages(kernel, Architecture::of_host())
        .err()
        .map(|error| error.to_string())
}

/// True if a kernel's tree is made of a kernel source whose configuration nobody knows.
pub fn lacks_configuration(kernel: &Kernel) -> bool {
    kernel.config_sha256.is_none()
        && target::rules_of(kernel).is_some_and(Target::needs_config)
        && !names_folder(kernel)
}

/// True if a kernel's only package is a directory, which is a build tree whatever its target is.
fn names_folder(kernel: &Kernel) -> bool {
    let mut packages = kernel.packages.iter();
    let only = packages.next().filter(|_| packages.next().is_none());
    only.is_some_and(|only| std::path::Path::new(&*only.url).is_dir())
}
