//! Which rules are outdated according to all parts of a plan.

use super::Manifest;
use crate::event::{Finding, FindingKind};

/// The findings of the parts of a plan.
#[derive(Default)]
pub(super) struct Outdated {
    expired: Vec<Finding>,
    /// The rules that expect no failure in any part so far; `None` before the first part.
    idle: Option<Vec<Finding>>,
}

impl Outdated {
    /// Adds the findings of a part.
    pub(super) fn add(&mut self, part: &Manifest) {
        let findings = part.findings.iter().chain(&part.findings_of_part);
        let (expired, idle): (Vec<&Finding>, Vec<&Finding>) =
            findings.partition(|one| one.kind == FindingKind::Expired);
        for finding in expired {
            if !self.expired.contains(finding) {
                self.expired.push(finding.clone());
            }
        }
        self.idle = Some(match self.idle.take() {
            None => idle.into_iter().cloned().collect(),
            Some(known) => known
                .into_iter()
                .filter_map(|one| {
                    let other = idle.iter().find(|other| other.place == one.place)?;
                    let has_passed = one.kind == FindingKind::UnexpectedPass;
                    Some(if has_passed { one } else { (*other).clone() })
                })
                .collect(),
        });
    }

    /// Records the findings in the merged manifest. Only the whole plan shows that nothing fails as a rule expects.
    pub(super) fn finish(self, merged: &mut Manifest) {
        let idle = self.idle.unwrap_or_default();
        merged.findings = self.expired;
        merged.findings_of_part.clear();
        if merged.run.is_partial || merged.run.stopped.is_some() {
            merged.findings_of_part = idle;
        } else {
            merged.findings.extend(idle);
        }
    }
}
