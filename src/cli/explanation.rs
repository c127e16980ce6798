//! Summarizes a build in one sentence: since when it is cached, or why it would be rebuilt.

use crate::cache::{Outcomes, StepResult};
use crate::digest::Sha256;
use crate::driver::Artifact;
use crate::engine::Asked;
use crate::failure::FailureClass;
use crate::text::size;

/// A field of a key whose value has changed.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Change {
    pub(super) field: String,
    pub(super) before: Option<String>,
    pub(super) now: Option<String>,
}

/// The changes of an artifact's key since the last run.
#[derive(Clone, Debug, serde::Serialize)]
pub(super) struct Comparison {
    pub(super) artifact: Artifact,
    pub(super) key_before: Sha256,
    pub(super) key_now: Option<Sha256>,
    pub(super) changes: Vec<Change>,
}

/// Returns the sentence. Artifacts with the same text are listed together.
pub(super) fn sentence(
    artifacts: &[Artifact],
    steps: &[Asked],
    comparisons: &[Comparison],
    outcomes: &Outcomes,
) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for &artifact in artifacts {
        let text = of_artifact(artifact, steps, comparisons, outcomes);
        match groups.iter_mut().find(|(other, _)| *other == text) {
            Some((_, names)) => names.push(artifact.as_str()),
            None => groups.push((text, vec![artifact.as_str()])),
        }
    }
    if let [(text, _)] = &*groups {
        return text.clone();
    }
    let parts = groups
        .iter()
        .map(|(text, names)| format!("{}: {text}", names.join(" and ")));
    parts.collect::<Vec<_>>().join(". ")
}

fn of_artifact(
    artifact: Artifact,
    steps: &[Asked],
    comparisons: &[Comparison],
    outcomes: &Outcomes,
) -> String {
    let prefix = format!("{artifact}/");
    let now = steps
        .iter()
        .find(|asked| asked.inputs.step().starts_with(&prefix));
    if let Some(asked) = now
        && let Some(result) = &asked.result
    {
        return format!("{}: {}", since(outcomes, asked.key), words(result));
    }
    // An earlier step that failed decides.
    let failed = steps
        .iter()
        .find(|asked| matches!(asked.result, Some(StepResult::Failure(_))) && !is_artifact(asked));
    if let (None, Some(asked)) = (now, failed) {
        let result = asked.result.as_ref().map(words).unwrap_or_default();
        return format!("{}: {result}", since(outcomes, asked.key));
    }
    let before = comparisons.iter().find(|one| one.artifact == artifact);
    let known = before.and_then(|before| {
        let outcome = outcomes.find(before.key_before).ok().flatten()?;
        Some((before, outcome))
    });
    let why = match (&known, now) {
        (Some((before, _)), Some(_)) if !before.changes.is_empty() => changes(&before.changes),
        (_, Some(_)) => "nothing was built with these inputs".to_owned(),
        (_, None) => match steps.iter().find(|asked| asked.result.is_none()) {
            Some(asked) => format!("the step `{}` is not cached", asked.inputs.kind()),
            None => "its packages have not been downloaded".to_owned(),
        },
    };
    match known {
        Some((before, outcome)) => format!(
            "{}: {}; would be rebuilt: {why}",
            since(outcomes, before.key_before),
            words(&outcome.result)
        ),
        None => format!("not cached: {why}"),
    }
}

fn is_artifact(asked: &Asked) -> bool {
    Artifact::ALL
        .iter()
        .any(|artifact| asked.inputs.kind() == artifact.as_str())
}

/// Returns text such as `cached since 2026-11-24`. Outcomes of older versions have no time; the time of their file is
/// used.
fn since(outcomes: &Outcomes, key: Sha256) -> String {
    let outcome = outcomes.find(key).ok().flatten();
    let at = outcome.and_then(|outcome| outcome.done_at).or_else(|| {
        let metadata = std::fs::metadata(outcomes.path(key)).ok()?;
        jiff::Timestamp::try_from(metadata.modified().ok()?).ok()
    });
    at.map_or_else(
        || "cached".to_owned(),
        |at| {
            format!(
                "cached since {}",
                at.to_zoned(jiff::tz::TimeZone::UTC).date()
            )
        },
    )
}

fn words(result: &StepResult) -> String {
    match result {
        StepResult::Artifact(facts) => format!("built, {}", size(facts.size_bytes)),
        StepResult::Failure(failure) => match failure.class {
            FailureClass::Compile => "compile error".to_owned(),
            FailureClass::Timeout => "timeout".to_owned(),
            class => class.to_string().replace('-', " "),
        },
        _ => "known".to_owned(),
    }
}

/// Describes the changed fields of a key, as in `gcc 12 -> 13`.
fn changes(all: &[Change]) -> String {
    let mut texts: Vec<String> = Vec::new();
    let is_other_compiler = all.iter().any(|change| change.field == "compiler");
    for change in all {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        let text = match change.field.as_str() {
            "compiler" => {
                let version = |text: &str| text.rsplit_once("gcc-").map(|(_, one)| one.to_owned());
                let (before, now) = (value(&change.before), value(&change.now));
                match (version(&before), version(&now)) {
                    (Some(before), Some(now)) => format!("gcc {before} -> {now}"),
                    _ => format!("compiler {before} -> {now}"),
                }
            }
            "toolchain" if is_other_compiler => continue,
            "toolchain" => "another builder image".to_owned(),
            "driver tree" => "other driver sources".to_owned(),
            "script" => "another build script".to_owned(),
            field if field.starts_with("kernel tree") => "other kernel headers".to_owned(),
            field if field.starts_with("check ") => {
                "other answers of the configure checks".to_owned()
            }
            field if field.starts_with("environment ") => {
                format!("another value of the {field} variable")
            }
            field => format!(
                "{field} {} -> {}",
                value(&change.before),
                value(&change.now)
            ),
        };
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.join(", ")
}
