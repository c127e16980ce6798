//! What can be told of kernels before anything is downloaded: releases of another distribution, packages that are no
//! kernel headers, sets that are not whole, configurations that are missing.

use std::collections::BTreeMap;
use std::sync::Arc;

use rayon::prelude::*;

use super::Build;
use crate::diagnostic::Diagnostic;
use crate::kernel::{Architecture, Kernel, TargetId};
use crate::target;

/// A warning for each target that has kernels for which nothing can be built.
pub(super) fn doubts(builds: &[Build]) -> Vec<Diagnostic> {
    let mut kernels: Vec<&Arc<Kernel>> = builds.iter().map(|build| &build.kernel).collect();
    // Builds of one kernel are neighbours.
    kernels.dedup_by(|right, left| Arc::ptr_eq(right, left));
    let doubts: Vec<(&Kernel, String)> = kernels
        .into_par_iter()
        .filter_map(|kernel| Some((&**kernel, doubt(kernel)?)))
        .collect();
    let mut by_target: BTreeMap<&TargetId, Vec<(&Kernel, String)>> = BTreeMap::new();
    for (kernel, reason) in doubts {
        by_target
            .entry(&kernel.target)
            .or_default()
            .push((kernel, reason));
    }
    by_target.values().map(|doubts| warning(doubts)).collect()
}

fn warning(doubts: &[(&Kernel, String)]) -> Diagnostic {
    let [(kernel, reason), others @ ..] = doubts else {
        return Diagnostic::warning("nothing is in doubt");
    };
    let more = match others.len() {
        0 => String::new(),
        count => format!(" (and for {count} more of {})", kernel.target),
    };
    Diagnostic::warning(format!("nothing can be built for {kernel}{more}: {reason}"))
}

/// Why nothing can be built for a kernel, where that can be told.
fn doubt(kernel: &Kernel) -> Option<String> {
    let target = target::find(&kernel.target)?;
    let checked = target.check_release(&kernel.release, kernel.architecture);
    if let Err(expected) = checked {
        return Some(expected);
    }
    if let Err(problem) = target.tree_kind(kernel) {
        return Some(problem);
    }
    if target.needs_config() && kernel.config_sha256.is_none() {
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
}
