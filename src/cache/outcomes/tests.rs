use std::time::Duration;

use super::*;
use crate::cache::{FAILURE_RULES, StepResult};
use crate::failure::Failure;

fn outcome(passed: bool) -> Outcome {
    outcome_of(
        KeyBuilder::new("check", 1).field("tree \"é\"\n", "a\\bc"),
        passed,
    )
}

/// Returns the outcome of a check with these inputs.
pub(in crate::cache) fn outcome_of(inputs: KeyBuilder, passed: bool) -> Outcome {
    Outcome {
        inputs,
        result: StepResult::Check { passed },
        log: None,
        wall: Duration::from_secs(1),
        cpu: None,
        peak_memory_bytes: None,
        failure_rules: FAILURE_RULES,
        run_id: None,
        done_at: None,
    }
}

/// Returns the outcome of these inputs and asserts that both ways of finding it agree.
fn find(outcomes: &Outcomes, inputs: &KeyBuilder) -> Option<Outcome> {
    let key = inputs.key();
    let found = outcomes.find(key).unwrap();
    assert_eq!(outcomes.find_with(key, inputs).unwrap(), found);
    found
}

#[test]
fn stored_outcome_is_found_until_removed() {
    let folder = tempfile::tempdir().unwrap();
    let outcomes = Outcomes::new(folder.path());
    let inputs = outcome(true).inputs;
    assert_eq!(find(&outcomes, &inputs), None);
    outcomes.put(&outcome(false)).unwrap();
    outcomes.put(&outcome(true)).unwrap();
    assert_eq!(find(&outcomes, &inputs), Some(outcome(true)));
    outcomes.remove(inputs.key()).unwrap();
    assert_eq!(find(&outcomes, &inputs), None);
}

#[test]
fn truncated_outcome_counts_as_missing() {
    let folder = tempfile::tempdir().unwrap();
    let outcomes = Outcomes::new(folder.path());
    let inputs = outcome(true).inputs;
    outcomes.put(&outcome(true)).unwrap();
    let path = outcomes.path(inputs.key());
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() - 1 {
        fs::write(&path, &whole[..length]).unwrap();
        // Early versions wrote only the first line.
        let is_line = length == whole.iter().position(|&byte| byte == b'\n').unwrap();
        assert_eq!(find(&outcomes, &inputs).is_some(), is_line, "{length}");
    }
}

#[test]
fn outcome_of_another_key_or_with_a_changed_byte_counts_as_missing() {
    let folder = tempfile::tempdir().unwrap();
    let outcomes = Outcomes::new(folder.path());
    let inputs = outcome(true).inputs;
    outcomes.put(&outcome(true)).unwrap();
    let text = fs::read_to_string(&outcomes.path(inputs.key())).unwrap();
    let other = KeyBuilder::new("other", 1);
    fs::write(&outcomes.path(other.key()), &text).unwrap();
    assert_eq!(find(&outcomes, &other), None);
    for (old, new) in [("true", "false"), ("bc", "cc")] {
        fs::write(&outcomes.path(inputs.key()), text.replace(old, new)).unwrap();
        assert_eq!(find(&outcomes, &inputs), None, "{old}");
    }
}

#[test]
fn old_outcome_without_checksum_is_used_unless_it_is_a_failure() {
    use crate::failure::{FailureClass, Phase};
    let folder = tempfile::tempdir().unwrap();
    let outcomes = Outcomes::new(folder.path());
    let failure = Failure::new(FailureClass::Compile, Phase::Module, "no /driver");
    let failed = Outcome {
        result: StepResult::Failure(failure),
        ..outcome(true)
    };
    let inputs = failed.inputs.clone();
    let key = inputs.key();
    for (old, is_believed) in [(outcome(true), true), (failed, false)] {
        let text = serde_json::to_vec(&old).unwrap();
        fs::write(&outcomes.path(key), text).unwrap();
        assert_eq!(find(&outcomes, &inputs).is_some(), is_believed);
        outcomes.put(&old).unwrap();
        assert_eq!(find(&outcomes, &inputs), Some(old));
    }
}
