//! Merges the kernels of several sources for one target.

use std::collections::HashMap;
use std::sync::Arc;

use crate::kernel::{Kernel, KernelId};

/// Merges kernels with the same identity. Packages, and the configuration, come from the first source that has them.
/// Other sources add missing sizes and digests of the same packages, and their names. A single source stays unchanged.
pub fn overlay(mut sources: Vec<Vec<Arc<Kernel>>>) -> Vec<Arc<Kernel>> {
    if sources.len() < 2 {
        return sources.pop().unwrap_or_default();
    }
    let mut merged: Vec<Arc<Kernel>> = Vec::new();
    let mut positions: HashMap<KernelId, usize> = HashMap::new();
    for source in sources {
        for kernel in source {
            let id = kernel.id();
            if let Some(&position) = positions.get(&id) {
                add(Arc::make_mut(&mut merged[position]), &kernel);
            } else {
                positions.insert(id, merged.len());
                merged.push(kernel);
            }
        }
    }
    merged
}

fn add(first: &mut Kernel, second: &Kernel) {
    if !first.source.split(", ").any(|name| name == &*second.source) {
        first.source = format!("{}, {}", first.source, second.source).into();
    }
    if first.config_sha256.is_none() {
        first.config_sha256 = second.config_sha256;
    }
    if first.image.is_none() {
        first.image.clone_from(&second.image);
    }
    if first.upstream.is_none() {
        first.upstream.clone_from(&second.upstream);
    }
    if first.packages.is_empty() {
        first.packages.clone_from(&second.packages);
        return;
    }
    first.packages.update(|package| {
        let mut others = second.packages.iter();
        let other = others.find(|other| other.url == package.url);
        if let Some(other) = other {
            package.learn_from(other);
        }
        other.is_some()
    });
}
