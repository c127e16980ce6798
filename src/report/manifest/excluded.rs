//! Rows for what rules left out of the plan.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::driver::{Artifact, DriverVersion};
use crate::kernel::{Architecture, Identity, KernelRelease, KernelVersion, TargetId};
use crate::plan::LeftOut;

/// An exclusion from the plan, and the rule that caused it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// The distribution.
    pub target: TargetId,
    /// The kernel's release.
    pub kernel_release: KernelRelease,
    /// The kernel's version.
    pub kernel_version: KernelVersion,
    /// The architecture.
    pub architecture: Architecture,
    /// The driver version, if the rule applies to one; otherwise all versions are excluded.
    pub driver_version: Option<DriverVersion>,
    /// The artifact, if the rule applies to one; otherwise all artifacts are excluded.
    #[serde(default)]
    pub artifact: Option<Artifact>,
    /// The rule: `support floor`, `exclude`, `gone`.
    pub rule: String,
    /// The reason, for a person.
    pub reason: String,
    /// The place of the rule: `matrices/debian.toml:12`.
    pub place: Option<String>,
    /// The source of the kernel.
    pub source: String,
    /// The day on which the kernel was first seen, if a lock has it.
    pub first_seen: Option<Date>,
}

impl Excluded {
    /// The identity of the kernel.
    pub fn kernel_identity(&self) -> Identity<'_> {
        (
            &self.target,
            &self.kernel_release,
            &self.kernel_version,
            self.architecture,
        )
    }

    /// Converts an entry of the plan to a row.
    pub(super) fn of(entry: &LeftOut) -> Self {
        let kernel = &entry.kernel;
        Self {
            target: kernel.target.clone(),
            kernel_release: kernel.release.clone(),
            kernel_version: kernel.version.clone(),
            architecture: kernel.architecture,
            driver_version: entry.driver.clone(),
            artifact: entry.artifact,
            rule: entry.rule.to_string(),
            reason: entry.reason.to_string(),
            place: entry.place.as_ref().map(ToString::to_string),
            source: kernel.source.to_string(),
            first_seen: entry.first_seen,
        }
    }
}
