//! The results of loading a night's artifacts into their kernels.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::driver::DriverVersion;
use crate::event::ProofResult;
use crate::kernel::TargetId;
use crate::report::{Manifest, clean};

/// The number of artifacts by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProofCounts {
    /// Loaded, used and unloaded.
    pub loaded: usize,
    /// Refused: failures of the class `load`.
    pub refused: usize,
    /// Not proven, for a reason other than the artifact.
    pub not_proven: usize,
}

impl ProofCounts {
    /// Counts a result.
    pub fn add(&mut self, result: ProofResult) {
        *match result {
            ProofResult::Loaded => &mut self.loaded,
            ProofResult::Refused => &mut self.refused,
            ProofResult::NotProven => &mut self.not_proven,
        } += 1;
    }
}

/// The proofs of a night; empty if nothing was to be proven.
#[derive(Clone, Debug, Default)]
pub struct Proofs {
    /// The counts by target and driver version.
    pub rows: BTreeMap<(TargetId, DriverVersion), ProofCounts>,
    /// The reasons why artifacts were refused or not proven, the most frequent first.
    pub reasons: Vec<(ProofResult, String, usize)>,
}

impl Proofs {
    /// Collects the proofs of a night.
    pub fn of(manifest: &Manifest) -> Self {
        let mut rows: BTreeMap<_, ProofCounts> = BTreeMap::new();
        let mut reasons: BTreeMap<(ProofResult, &str), usize> = BTreeMap::new();
        for build in &manifest.builds {
            for proof in build.artifacts.iter().filter_map(|one| one.proof.as_ref()) {
                let key = (build.target.clone(), build.driver_version.clone());
                rows.entry(key).or_default().add(proof.result);
                if proof.result != ProofResult::Loaded {
                    *reasons.entry((proof.result, &proof.message)).or_default() += 1;
                }
            }
        }
        let reasons = reasons.into_iter();
        let mut reasons: Vec<_> = reasons
            .map(|((result, reason), count)| (result, clean(reason).into_owned(), count))
            .collect();
        reasons.sort_by_key(|(.., count)| Reverse(*count));
        Self { rows, reasons }
    }

    /// Returns the sum of all rows.
    pub fn total(&self) -> ProofCounts {
        self.rows
            .values()
            .fold(ProofCounts::default(), |sum, row| ProofCounts {
                loaded: sum.loaded + row.loaded,
                refused: sum.refused + row.refused,
                not_proven: sum.not_proven + row.not_proven,
            })
    }
}
