//! The data of the page's script: every kernel in a few bytes.

use std::collections::{BTreeMap, HashMap};
use std::io;

use serde_json::{Value, json};

use super::charts::day;
use crate::driver::DriverVersion;
use crate::event::ArtifactReport;
use crate::failure::Status;
use crate::kernel::{Architecture, Identity, TargetId};
use crate::plan::BuildId;
use crate::report::{Manifest, clean};
use crate::views::coverage::{Coverage, Failures};

/// A kernel of the list: a letter for each driver version, or the rule that excludes it as a whole.
struct Kernel<'a> {
    identity: Identity<'a>,
    first_seen: String,
    cells: Vec<u8>,
    reason: Option<usize>,
}

/// Returns the data as JSON for a `script` element, escaped so that it cannot end the element.
pub(super) fn json(
    manifest: &Manifest,
    failures: &Failures<'_>,
    coverage: &Coverage,
) -> io::Result<String> {
    let drivers: HashMap<&DriverVersion, usize> = coverage
        .drivers
        .iter()
        .enumerate()
        .map(|(position, driver)| (driver, position))
        .collect();
    let signatures: HashMap<(&BuildId, &str), usize> = failures
        .groups
        .iter()
        .enumerate()
        .flat_map(|(position, group)| {
            let members = group.members.iter();
            members.map(move |(build, artifact)| {
                ((&build.build_id, artifact.artifact.as_str()), position)
            })
        })
        .collect();
    let mut kernels: Vec<Kernel<'_>> = Vec::new();
    let mut of_failures = Vec::new();
    for build in &manifest.builds {
        let identity = (
            &build.target,
            &build.kernel_release,
            &build.kernel_version,
            build.architecture,
        );
        if kernels.last().is_none_or(|last| last.identity != identity) {
            kernels.push(Kernel {
                identity,
                first_seen: build
                    .first_seen
                    .map_or(String::new(), |day| day.to_string()),
                cells: vec![b'-'; drivers.len()],
                reason: None,
            });
        }
        let index = kernels.len() - 1;
        let driver = drivers
            .get(&build.driver_version)
            .copied()
            .unwrap_or_default();
        if let Some(cell) = kernels[index].cells.get_mut(driver) {
            *cell = letter(build.status);
        }
        let failing = |artifact: &&ArtifactReport| artifact.failing().is_some();
        for artifact in build.artifacts.iter().filter(failing) {
            if let Some(signature) = signatures.get(&(&build.build_id, artifact.artifact.as_str()))
            {
                let since = artifact.failing_since.map_or(String::new(), day);
                of_failures.push(json!([index, driver, signature, since]));
            }
        }
    }
    let (excluded, reasons) = add_excluded(manifest, &mut kernels, &drivers);
    let mut targets: Vec<&TargetId> = kernels.iter().map(|kernel| kernel.identity.0).collect();
    targets.sort_unstable();
    targets.dedup();
    let rows: Vec<Value> = kernels
        .iter()
        .map(|kernel| {
            let (target, release, version, architecture) = kernel.identity;
            let target = targets.binary_search(&target).unwrap_or_default();
            let cells = String::from_utf8_lossy(&kernel.cells);
            let reason = kernel.reason.map_or(json!(-1), |reason| json!(reason));
            let is_arm = usize::from(architecture == Architecture::Arm64);
            json!([
                target,
                release,
                version,
                is_arm,
                kernel.first_seen,
                cells,
                reason
            ])
        })
        .collect();
    let signatures: Vec<String> = failures
        .groups
        .iter()
        .map(|group| format!("{}: {}", group.class, clean(&group.signature)))
        .collect();
    let data = json!({
        "drivers": coverage.drivers, "targets": targets, "reasons": reasons, "signatures": signatures,
        "kernels": rows, "failures": of_failures, "excluded": excluded,
    });
    let text = serde_json::to_string(&data)?;
    // In JSON, these characters occur only in strings, where they can be escaped.
    Ok(text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026"))
}

/// Adds what rules exclude. Returns the exclusions of single driver versions and artifacts (driver version or -1 for all,
/// reason, kernels), and the reasons.
fn add_excluded<'a>(
    manifest: &'a Manifest,
    kernels: &mut Vec<Kernel<'a>>,
    drivers: &HashMap<&DriverVersion, usize>,
) -> (Vec<Value>, Vec<String>) {
    let all = kernels.iter().enumerate();
    let mut known: HashMap<Identity<'a>, usize> = all
        .map(|(index, kernel)| (kernel.identity, index))
        .collect();
    let built = kernels.len();
    let mut reasons: Vec<String> = Vec::new();
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut parts: BTreeMap<(Option<usize>, usize), Vec<usize>> = BTreeMap::new();
    for row in &manifest.excluded {
        let identity = (
            &row.target,
            &row.kernel_release,
            &row.kernel_version,
            row.architecture,
        );
        let driver = row.driver_version.as_ref();
        let driver = driver.and_then(|driver| drivers.get(driver).copied());
        let index = *known.entry(identity).or_insert_with(|| {
            kernels.push(Kernel {
                identity,
                first_seen: row.first_seen.map_or(String::new(), |day| day.to_string()),
                cells: vec![b'-'; drivers.len().max(1)],
                reason: None,
            });
            kernels.len() - 1
        });
        let kernel = &mut kernels[index];
        // The limits of a driver version's probes are not news of a kernel whose module is built.
        let is_news = match driver.and_then(|driver| kernel.cells.get(driver)) {
            Some(cell) => row.rule == "exclude" || matches!(cell, b'-' | b'X'),
            None => index >= built,
        };
        // Another rule may already exclude the whole kernel.
        if kernel.reason.is_some() || !is_news {
            continue;
        }
        let place = row.place.as_deref().unwrap_or_default();
        let reason = format!("{} ({place}): {}", clean(&row.rule), clean(&row.reason));
        let position = *positions.entry(reason).or_insert_with_key(|reason| {
            reasons.push(reason.clone());
            reasons.len() - 1
        });
        if driver.is_some() || row.artifact.is_some() {
            let kernels = parts.entry((driver, position)).or_default();
            // A rule may exclude both artifacts.
            if kernels.last() != Some(&index) {
                kernels.push(index);
            }
        } else {
            kernel.reason = Some(position);
        }
        for (position, cell) in kernel.cells.iter_mut().enumerate() {
            if *cell == b'-' && driver.is_none_or(|driver| driver == position) {
                *cell = b'X';
            }
        }
    }
    let parts = parts.into_iter().map(|((driver, reason), kernels)| {
        let driver = driver.map_or(json!(-1), |driver| json!(driver));
        json!([driver, reason, kernels])
    });
    (parts.collect(), reasons)
}

fn letter(status: Status) -> u8 {
    match status {
        Status::Built => b'B',
        Status::Cached => b'C',
        Status::Failed => b'F',
        Status::Error => b'E',
        Status::Unresolvable => b'U',
        Status::Known => b'K',
        Status::Cancelled => b'A',
        Status::NotRun => b'N',
        Status::Excluded => b'X',
    }
}
