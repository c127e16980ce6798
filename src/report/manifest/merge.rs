//! Merges the manifests of the shards of a plan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::outdated::Outdated;
use super::read::{ManifestError, MergeError, manifest_file, read_columns, read_manifest};
use super::rows::{Columns, sources};
use super::totals::exit_reason;
use super::{BuildRecord, Exit, LeftOutGroup, Manifest, Paths, Totals};
use crate::failure::Status;
use crate::plan::BuildId;
use crate::report::ReportError;

/// The maximum number of conflicts that an error lists.
const NAMED: usize = 5;

/// Merges the manifests of the shards of a plan. Their order makes no difference. If a build is unfinished in one of
/// them, the other record is used; two contradicting records are an error.
pub fn merge_manifests(mut parts: Vec<Manifest>) -> Result<Manifest, MergeError> {
    parts.sort_by(|left, right| left.run.id.cmp(&right.run.id));
    // The same manifest may be given twice.
    parts.dedup_by(|right, left| {
        left.run.id == right.run.id
            && left.run.finished == right.run.finished
            && left.run.shard == right.run.shard
    });
    check_grid(&parts)?;
    let mut rest = parts.into_iter();
    let mut merged = rest.next().ok_or(MergeError::Nothing)?;
    let rest: Vec<Manifest> = rest.collect();
    if rest.is_empty() {
        return Ok(merged);
    }
    let mut shards = Shards::default();
    shards.add(&merged);
    let mut outdated = Outdated::default();
    outdated.add(&merged);
    let mut builds: BTreeMap<BuildId, (BuildRecord, String)> = BTreeMap::new();
    let mut conflicts = Vec::new();
    let mut planned = (0, 0);
    let mut ids = vec![merged.run.id.clone()];
    let own = std::mem::take(&mut merged.builds);
    let mut add = |manifest: &Manifest, records: Vec<BuildRecord>| {
        planned.0 += manifest.totals.builds_planned;
        planned.1 += manifest.totals.artifacts_planned;
        for record in records {
            let artifacts = record.artifacts.len();
            let run = &manifest.run.id;
            match builds.entry(record.build_id.clone()) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert((record, run.clone()));
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    planned.0 = planned.0.saturating_sub(1);
                    planned.1 = planned.1.saturating_sub(artifacts);
                    let (known, known_run) = entry.get();
                    match one_of(known, &record) {
                        Some(Side::Left) => {}
                        Some(Side::Right) => {
                            entry.insert((record, run.clone()));
                        }
                        None => conflicts.push(conflict(known, known_run, &record, run)),
                    }
                }
            }
        }
    };
    add(&merged, own);
    for mut part in rest {
        let records = std::mem::take(&mut part.builds);
        shards.add(&part);
        outdated.add(&part);
        add(&part, records);
        ids.push(part.run.id.clone());
        merge_facts(&mut merged, part);
    }
    if !conflicts.is_empty() {
        let more = conflicts.len().saturating_sub(NAMED);
        conflicts.truncate(NAMED);
        if more > 0 {
            conflicts.push(format!("and {more} more"));
        }
        return Err(MergeError::Conflicts { conflicts });
    }
    ids.dedup();
    merged.run.id = ids.join("+");
    shards.finish(&mut merged);
    outdated.finish(&mut merged);
    merged.builds = builds.into_values().map(|(record, _)| record).collect();
    merged.sort();
    merged.totals = Totals::planned(planned.0, planned.1);
    for build in &merged.builds {
        merged.totals.add(build);
    }
    sort_excluded(&mut merged);
    merged.sources = sources(&merged);
    set_exit(&mut merged);
    Ok(merged)
}

/// Reads a night: a manifest, its directory, or a directory whose subdirectories have the manifests of shards.
pub fn read_night(path: &Path, columns: Columns) -> Result<Manifest, ManifestError> {
    let shards = shards_in(path);
    if shards.is_empty() {
        return read_columns(path, columns);
    }
    let parts: Result<Vec<Manifest>, ManifestError> =
        shards.iter().map(|path| read_manifest(path)).collect();
    merge_manifests(parts?).map_err(|cause| ManifestError::Merge {
        path: path.to_owned(),
        cause,
    })
}

/// Returns the subdirectories of `path` that have manifests, sorted; empty if `path` has a manifest itself.
pub fn shards_in(path: &Path) -> Vec<PathBuf> {
    if manifest_file(path).exists() {
        return Vec::new();
    }
    manifests_below(path)
}

/// Returns the subdirectories of `path` that have manifests, sorted, whether or not it has one itself.
pub fn manifests_below(path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut shards: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && manifest_file(path).exists())
        .collect();
    shards.sort_unstable();
    shards
}

/// Writes a manifest to an output directory, in all formats.
pub fn write_manifest(manifest: &mut Manifest, out: &Path) -> Result<(), ReportError> {
    super::write::write_files(manifest, &Paths::under(out), true)
}

/// Checks that no two manifests have different contents of the same matrix.
fn check_grid(parts: &[Manifest]) -> Result<(), MergeError> {
    let mut known: BTreeMap<&str, (&super::Named, &str)> = BTreeMap::new();
    for part in parts {
        for matrix in &part.matrices {
            let (other, run) = known
                .entry(&matrix.name)
                .or_insert((matrix, part.run.id.as_str()));
            if other.sha256 != matrix.sha256 {
                return Err(MergeError::OtherGrid {
                    matrix: matrix.name.clone(),
                    left: (*run).to_owned(),
                    right: part.run.id.clone(),
                });
            }
        }
    }
    Ok(())
}

enum Side {
    Left,
    Right,
}

/// Returns which of two records of one build to use; `None` if they contradict each other.
fn one_of(left: &BuildRecord, right: &BuildRecord) -> Option<Side> {
    let is_open = |record: &BuildRecord| {
        record
            .artifacts
            .iter()
            .any(|one| matches!(one.status, Status::NotRun | Status::Cancelled))
    };
    match (is_open(left), is_open(right)) {
        (true, false) => return Some(Side::Right),
        (false, true) => return Some(Side::Left),
        (true, true) => return Some(first_ended(left, right)),
        (false, false) => {}
    }
    let said = |record: &BuildRecord| -> Vec<_> {
        let artifacts = record.artifacts.iter();
        artifacts
            .map(|one| (one.artifact, one.status.is_success(), one.sha256))
            .collect()
    };
    (said(left) == said(right)).then(|| first_ended(left, right))
}

/// Returns the record that ended first: that run did the work, the other found it in the cache.
fn first_ended(left: &BuildRecord, right: &BuildRecord) -> Side {
    if right.finished < left.finished {
        Side::Right
    } else {
        Side::Left
    }
}

fn conflict(left: &BuildRecord, left_run: &str, right: &BuildRecord, right_run: &str) -> String {
    let of = |record: &BuildRecord| {
        let digest = record.artifacts.iter().find_map(|one| one.sha256);
        let digest = digest.map_or(String::new(), |digest| format!(" ({})", digest.short()));
        format!("{}{digest}", record.status)
    };
    format!(
        "{} is {} in run {left_run} and {} in run {right_run}",
        left.build_id,
        of(left),
        of(right)
    )
}

/// Merges the run facts of a part.
fn merge_facts(merged: &mut Manifest, part: Manifest) {
    let run = &mut merged.run;
    run.started = run.started.min(part.run.started);
    run.finished = run
        .finished
        .zip(part.run.finished)
        .map(|(one, other)| one.max(other));
    run.jobs += part.run.jobs;
    for note in part.run.notes {
        if !run.notes.contains(&note) {
            run.notes.push(note);
        }
    }
    let stopped = part.run.stopped.map(|reason| match &part.run.shard {
        Some(shard) => format!("shard {shard}: {reason}"),
        None => reason,
    });
    run.stopped = match (run.stopped.take(), stopped) {
        (Some(one), Some(other)) if one != other => Some(format!("{one}; {other}")),
        (one, other) => one.or(other),
    };
    merged.exit = merged
        .exit
        .take()
        .zip(part.exit)
        .map(|(one, other)| if other.code > one.code { other } else { one });
    for (known, more) in [
        (&mut merged.images, part.images),
        (&mut merged.matrices, part.matrices),
    ] {
        for one in more {
            if !known.contains(&one) {
                known.push(one);
            }
        }
        known.sort_by(|left, right| left.name.cmp(&right.name));
    }
    let known: BTreeSet<String> = merged.left_out.iter().map(group_key).collect();
    let more = part.left_out.into_iter();
    merged
        .left_out
        .extend(more.filter(|group| !known.contains(&group_key(group))));
    merged.excluded.extend(part.excluded);
}

fn group_key(group: &LeftOutGroup) -> String {
    format!("{}\n{}", group.rule, group.reason)
}

/// Sorts the excluded rows in the order of a plan, and removes duplicates: each shard may list those of the whole plan.
fn sort_excluded(merged: &mut Manifest) {
    let rows = &mut merged.excluded;
    rows.sort_by(|left, right| {
        let key = |row: &super::Excluded| {
            (
                row.target.clone(),
                row.kernel_release.clone(),
                row.kernel_version.clone(),
                row.architecture,
                row.driver_version.clone(),
                row.artifact,
                row.rule.clone(),
                row.place.clone(),
            )
        };
        key(left).cmp(&key(right))
    });
    rows.dedup();
    for group in &mut merged.left_out {
        let of_group =
            |row: &&super::Excluded| row.rule == group.rule && row.reason == group.reason;
        let found = rows.iter().filter(of_group).count();
        group.count = group.count.max(found);
    }
}

fn set_exit(merged: &mut Manifest) {
    let run = &mut merged.run;
    run.duration_seconds = run.finished.map(|finished| {
        let seconds = finished.duration_since(run.started).as_secs_f64();
        (seconds * 1000.0).round() / 1000.0
    });
    let totals = &merged.totals;
    let stopped = run.stopped.as_deref();
    if let Some(exit) = &mut merged.exit {
        *exit = Exit {
            code: exit.code,
            reason: exit_reason(exit.code, &totals.available(&merged.left_out), stopped),
        };
    }
}

/// The shards that were merged.
#[derive(Default)]
struct Shards {
    seen: BTreeMap<u64, BTreeSet<u64>>,
    /// True if one of the parts covers the whole plan.
    has_whole: bool,
}

impl Shards {
    fn add(&mut self, part: &Manifest) {
        let shard = part.run.shard.as_deref();
        let numbers = shard.and_then(|shard| {
            let (index, of) = shard.split_once('/')?;
            Some((index.parse::<u64>().ok()?, of.parse::<u64>().ok()?))
        });
        match numbers {
            Some((index, of)) => {
                self.seen.entry(of).or_default().insert(index);
            }
            None => self.has_whole |= !part.run.is_partial,
        }
    }

    /// Records in `merged` which shards are missing.
    fn finish(self, merged: &mut Manifest) {
        let missing: Vec<String> = self
            .seen
            .iter()
            .flat_map(|(&of, seen)| {
                (1..=of)
                    .filter(|index| !seen.contains(index))
                    .map(move |index| format!("{index}/{of}"))
            })
            .collect();
        let is_whole = self.has_whole || (!self.seen.is_empty() && missing.is_empty());
        merged.run.shard = None;
        merged.run.is_partial = !is_whole;
        if !is_whole && !missing.is_empty() {
            let note = format!("missing shards: {}", missing.join(", "));
            merged.run.notes.push(note);
        }
    }
}
