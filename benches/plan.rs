//! Measures planning at full scale: two kernel lists with 6,434 kernels, times 8 driver versions.
//!
//! `cargo bench --bench plan`; the whole process is measured with `cargo bench --bench commands`.
//!
//! The lists are `kernel-crawler-x86_64.json` and `kernel-crawler-aarch64.json` in the directory named by
//! `DRIVERKIT_MATRIX_KERNEL_LISTS`, or in `../shared/data` next to the checkout. If they do not exist, lists of the
//! same size and shape are generated.

use std::sync::Arc;

use divan::{Bencher, black_box};
use driverkit_matrix::diagnostic::SourceFile;
use driverkit_matrix::discover::lock::{self, Asked, AskedSource, Lock, RefreshRules};
use driverkit_matrix::discover::{self, Discovered, SharedLists};
use driverkit_matrix::kernel::{Kernel, PackageSet};
use driverkit_matrix::matrix::{self, Matrix};
use driverkit_matrix::plan::{Expansion, expand};
use driverkit_matrix::target;

fn main() {
    divan::main();
}

/// Returns the matrix over the lists, and its lock.
fn prepare() -> (tempfile::TempDir, Matrix, Lock) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let lists = support::lists::find_or_make(folder.path());
    let text = support::lists::matrix(&lists);
    let path = folder.path().join("lists.toml");
    let matrix = matrix::read(Arc::new(SourceFile { path, text })).expect("a good matrix");
    let mut lock = Lock::default();
    let found = discover(&matrix);
    let entry = &matrix.targets[0];
    let kernels = entry.kernels.get_ref();
    let asked = Asked {
        label: &entry.label,
        source: kernels.digest(entry.name.get_ref(), &entry.architectures),
        limits: kernels.limits(),
        takes: &|kernel, first_seen| entry.asks_for(kernel, first_seen),
        is_literal: false,
        sources: &AskedSource::all(kernels),
    };
    let rules = RefreshRules {
        today: lock::today(),
        max_shrink_percent: 20,
        shrink_nights: 14,
        keep_gone_days: 90,
        accepted: &[],
    };
    lock.refresh(&asked, found.kernels, &rules);
    (folder, matrix, lock)
}

fn discover(matrix: &Matrix) -> Discovered {
    let mirrors = std::collections::BTreeMap::new();
    let context = discover::Context {
        mirrors: &mirrors,
        fetcher: None,
        lists: &SharedLists::default(),
        known: &discover::KnownKernels::default(),
        first_seen: &|_| lock::today(),
        progress: &|_| {},
    };
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(discover::discover(&matrix.targets[0], context))
        .expect("readable lists")
}

/// Reading the lists.
#[divan::bench]
fn read_lists(bencher: Bencher<'_, '_>) {
    let (_folder, matrix, _) = prepare();
    bencher.bench_local(|| discover(black_box(&matrix)));
}

/// Reading the lock.
#[divan::bench]
fn read_lock(bencher: Bencher<'_, '_>) {
    let (folder, _, lock) = prepare();
    let path = folder.path().join("lists.lock");
    lock.write(&path, &std::collections::BTreeMap::new())
        .expect("written");
    bencher.bench_local(|| Lock::read(black_box(&path)));
}

/// Expanding 51,472 combinations of kernel and driver.
#[divan::bench]
fn expand_lists(bencher: Bencher<'_, '_>) {
    let (_folder, matrix, lock) = prepare();
    let span = matrix.targets[0].kernels.span();
    let kernels = lock.kernels.iter();
    let kernels = kernels
        .map(|locked| (Arc::clone(&locked.kernel), span.clone()))
        .collect();
    let expansions = vec![Expansion {
        matrix: &matrix,
        kernels: vec![kernels],
        left_out: Vec::new(),
        found_at: None,
    }];
    bencher
        .with_inputs(|| expansions.clone())
        .bench_local_values(|expansions| expand(black_box(expansions), None));
}

/// Computing the URLs of all header packages of 6,434 kernels from release and version alone.
#[divan::bench]
fn compute_header_urls(bencher: Bencher<'_, '_>) {
    let (_folder, _, lock) = prepare();
    let kernels: Vec<Kernel> = lock
        .kernels
        .iter()
        .map(|locked| Kernel {
            packages: PackageSet::default(),
            ..(*locked.kernel).clone()
        })
        .collect();
    bencher.bench_local(|| count_addresses(black_box(&kernels)));
}

/// Sorting the URLs that lists name for 6,434 kernels.
#[divan::bench]
fn sort_named_urls(bencher: Bencher<'_, '_>) {
    let (_folder, _, lock) = prepare();
    let kernels: Vec<Kernel> = lock
        .kernels
        .iter()
        .map(|locked| (*locked.kernel).clone())
        .collect();
    bencher.bench_local(|| count_addresses(black_box(&kernels)));
}

fn count_addresses(kernels: &[Kernel]) -> usize {
    let packages = kernels.iter().filter_map(|kernel| {
        let target = target::find(&kernel.target)?;
        target.header_packages(kernel, kernel.architecture).ok()
    });
    packages
        .flatten()
        .map(|package| package.candidates.len())
        .sum()
}
