use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

fn runner(folder: &std::path::Path, retry: RetryClasses) -> StepRunner {
    let runner = StepRunner::new(Outcomes::new(folder), "run", Arc::new(Stop::default()));
    runner.retry(retry);
    runner
}

fn inputs() -> KeyBuilder {
    KeyBuilder::new("check", 1).field("tree", "abc")
}

async fn check(
    runner: &StepRunner,
    calls: &AtomicUsize,
    answer: Result<Work, Halt>,
) -> Result<Done, Halt> {
    let work = async {
        calls.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        answer
    };
    runner.step(Mode::Run, Phase::Check, inputs(), work).await
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is one of the answers of a step"
)]
fn passed() -> Result<Work, Halt> {
    Ok(Work::plain(StepResult::Check { passed: true }))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is one of the answers of a step"
)]
fn failed(class: FailureClass) -> Result<Work, Halt> {
    let failure = Failure::new(class, Phase::Check, "broken");
    Ok(Work::plain(StepResult::Failure(failure)))
}

fn not_ready(class: FailureClass) -> Result<Work, Halt> {
    Err(Failure::new(class, Phase::Check, "no tree").into())
}

#[tokio::test]
async fn concurrent_callers_do_the_work_once_and_later_ones_find_it_cached() {
    let folder = tempfile::tempdir().unwrap();
    let runner = runner(folder.path(), RetryClasses::default());
    let calls = AtomicUsize::new(0);
    let both = tokio::join!(
        check(&runner, &calls, passed()),
        check(&runner, &calls, passed())
    );
    assert!(!both.0.unwrap().is_cached && !both.1.unwrap().is_cached);
    assert!(check(&runner, &calls, passed()).await.unwrap().is_cached);
    assert_eq!(calls.into_inner(), 1);
}

#[tokio::test]
async fn a_lookup_never_does_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let runner = runner(folder.path(), RetryClasses::default());
    let never = async { panic!("a lookup did the work") };
    let answer = runner
        .step(Mode::Lookup, Phase::Check, inputs(), never)
        .await;
    assert_eq!(answer.unwrap_err(), Halt::Missing);
}

#[tokio::test]
async fn only_deterministic_failures_of_the_step_itself_are_cached() {
    let folder = tempfile::tempdir().unwrap();
    let runner = runner(folder.path(), RetryClasses::default());
    let calls = AtomicUsize::new(0);
    let transient = check(&runner, &calls, not_ready(FailureClass::Download)).await;
    assert!(matches!(transient, Err(Halt::Failed(_))));
    let of_inputs = check(&runner, &calls, not_ready(FailureClass::Unpack)).await;
    assert!(matches!(of_inputs, Err(Halt::Failed(_))));
    let kept = check(&runner, &calls, failed(FailureClass::Compile))
        .await
        .unwrap();
    assert!(!kept.is_cached && matches!(kept.outcome.result, StepResult::Failure(_)));
    assert!(check(&runner, &calls, passed()).await.unwrap().is_cached);
    assert_eq!(calls.into_inner(), 3);
}

#[tokio::test]
async fn retry_runs_a_cached_failure_again() {
    let folder = tempfile::tempdir().unwrap();
    let calls = AtomicUsize::new(0);
    let first = runner(folder.path(), RetryClasses::default());
    check(&first, &calls, failed(FailureClass::Compile))
        .await
        .unwrap();
    let other = runner(folder.path(), RetryClasses::new([FailureClass::Configure]));
    assert!(check(&other, &calls, passed()).await.unwrap().is_cached);
    let again = runner(folder.path(), RetryClasses::new([FailureClass::Compile]));
    let done = check(&again, &calls, passed()).await.unwrap();
    assert_eq!(done.outcome.result, StepResult::Check { passed: true });
    assert_eq!(calls.into_inner(), 2);
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_an_infrastructure_failure() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    crate::fs::write(&file, "in the way").unwrap();
    let runner = runner(&file, RetryClasses::default());
    let calls = AtomicUsize::new(0);
    match check(&runner, &calls, passed()).await {
        Err(Halt::Failed(failed)) => assert_eq!(failed.failure.class, FailureClass::Infrastructure),
        other => panic!("{other:?}"),
    }
}
