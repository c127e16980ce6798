use std::time::Duration;

use super::format::{COARSE_STEP, FINE_STEP, FOOTER_BYTES, STAMP_BYTES};
use super::*;
use crate::cache::outcomes::tests::outcome_of;
use crate::cache::{Outcome, Outcomes, StepResult};
use crate::digest::KeyBuilder;
use crate::fs;

/// Outcomes in a new directory.
struct Cache(tempfile::TempDir);

impl Cache {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Returns the outcomes, read from their own files.
    fn files(&self) -> Outcomes {
        Outcomes::new(self.0.path())
    }

    fn begin(&self) -> Outcomes {
        self.files().begin_look_up(self.0.path())
    }

    fn index(&self) -> PathBuf {
        path(self.0.path())
    }

    fn put(&self, number: u32, passed: bool) {
        self.files().put(&outcome(number, passed)).unwrap();
    }

    /// Returns the results for these numbers in a look-up of their own.
    fn look_up(&self, numbers: &[u32]) -> Vec<Option<bool>> {
        let outcomes = self.begin();
        let found = numbers.iter().map(|&number| find(&outcomes, number));
        let found = found.collect();
        outcomes.end_look_up();
        found
    }

    /// Makes the file of an outcome unreadable without a change of its directory.
    fn damage(&self, number: u32) {
        let path = self.files().path(inputs(number).key());
        fs::write_unsynced(&path, "").unwrap();
    }
}

fn inputs(number: u32) -> KeyBuilder {
    KeyBuilder::new("check", 1).field("number", number)
}

fn outcome(number: u32, passed: bool) -> Outcome {
    Outcome {
        run_id: Some("run".into()),
        ..outcome_of(inputs(number), passed)
    }
}

/// Returns the result of an outcome, all of which must be as it was put.
fn find(outcomes: &Outcomes, number: u32) -> Option<bool> {
    let inputs = inputs(number);
    let found = outcomes.find_with(inputs.key(), &inputs).unwrap()?;
    let StepResult::Check { passed } = found.result else {
        panic!("{found:?}");
    };
    assert_eq!(found, outcome(number, passed));
    Some(passed)
}

/// Waits until a later change of a directory has another time.
fn pause() {
    std::thread::sleep(Duration::from_nanos(u64::try_from(FINE_STEP).unwrap()) * 2);
}

const ALL: [u32; 6] = [0, 1, 2, 3, 4, 5];

/// Returns a cache with outcomes in different directories, and an index of them.
fn indexed() -> Cache {
    let cache = Cache::new();
    for number in ALL {
        cache.put(number, true);
    }
    let folders = ALL.map(|number| folder_of(inputs(number).key()));
    assert_eq!(std::collections::HashSet::from(folders).len(), ALL.len());
    pause();
    assert_eq!(cache.look_up(&ALL), [Some(true); 6]);
    assert!(cache.index().is_file());
    cache
}

#[test]
fn an_indexed_outcome_is_found_without_its_file() {
    let cache = indexed();
    for number in ALL {
        cache.damage(number);
    }
    assert_eq!(cache.look_up(&ALL), [Some(true); 6]);
    assert_eq!(find(&cache.files(), 0), None);
    // What the index does not have is read from its file.
    assert_eq!(cache.look_up(&[6]), [None]);
}

#[test]
fn an_outcome_that_was_removed_replaced_or_added_is_read_from_its_file() {
    let cache = indexed();
    cache.files().remove(inputs(1).key()).unwrap();
    cache.put(2, false);
    cache.put(6, false);
    let expected = [true, false, true, true, true, false].map(Some);
    assert_eq!(cache.look_up(&[0, 2, 3, 4, 5, 6]), expected);
    assert_eq!(cache.look_up(&[1]), [None]);
    pause();
    // These are now indexed too.
    assert_eq!(cache.look_up(&[1, 2, 6]), [None, Some(false), Some(false)]);
    for number in [2, 6] {
        cache.damage(number);
    }
    assert_eq!(cache.look_up(&[1, 2, 6]), [None, Some(false), Some(false)]);
}

#[test]
fn a_change_by_the_same_process_counts_at_once() {
    let cache = indexed();
    let outcomes = cache.begin();
    assert_eq!(
        [1, 2].map(|number| find(&outcomes, number)),
        [Some(true); 2]
    );
    outcomes.remove(inputs(1).key()).unwrap();
    outcomes.put(&outcome(2, false)).unwrap();
    let now = [None, Some(false)];
    assert_eq!([1, 2].map(|number| find(&outcomes, number)), now);
    outcomes.end_look_up();
    assert_eq!(cache.look_up(&[1, 2]), now);
}

#[test]
fn a_change_by_another_process_during_the_look_up_counts_afterwards() {
    let cache = Cache::new();
    for number in [0, 1, 2] {
        cache.put(number, true);
    }
    pause();
    for is_indexed in [false, true] {
        assert_eq!(cache.index().is_file(), is_indexed);
        let outcomes = cache.begin();
        assert_eq!(
            [1, 2].map(|number| find(&outcomes, number)),
            [Some(true); 2]
        );
        cache.files().remove(inputs(1).key()).unwrap();
        cache.put(2, false);
        // Another outcome makes the index worth writing.
        assert_eq!(find(&outcomes, 0), Some(true));
        outcomes.end_look_up();
        assert_eq!(find(&outcomes, 2), Some(false));
        assert_eq!(cache.look_up(&[0, 1, 2]), [Some(true), None, Some(false)]);
        for number in [1, 2] {
            cache.put(number, true);
        }
        pause();
    }
}

#[test]
fn entries_of_unchanged_directories_are_kept_when_others_are_added() {
    let cache = indexed();
    cache.put(6, true);
    pause();
    assert_eq!(cache.look_up(&[6]), [Some(true)]);
    let all = [0, 1, 2, 3, 4, 5, 6];
    for number in all {
        cache.damage(number);
    }
    assert_eq!(cache.look_up(&all), [Some(true); 7]);
}

#[test]
fn the_index_is_written_only_if_it_gains_enough() {
    let cache = Cache::new();
    let count = u32::try_from(WORTHWHILE).unwrap() * 2;
    let all: Vec<u32> = (0..count + 2).collect();
    for &number in &all {
        cache.put(number, true);
    }
    pause();
    cache.look_up(&all[2..]);
    let before = fs::read(&cache.index()).unwrap();
    cache.look_up(&all[1..]);
    assert_eq!(fs::read(&cache.index()).unwrap(), before);
    cache.look_up(&all);
    let after = fs::read(&cache.index()).unwrap();
    assert!(after.len() > before.len());
    cache.look_up(&all);
    assert_eq!(fs::read(&cache.index()).unwrap(), after);
}

#[test]
fn a_damaged_index_gives_no_wrong_outcome() {
    let cache = Cache::new();
    cache.put(0, true);
    pause();
    cache.look_up(&[0]);
    let whole = fs::read(&cache.index()).unwrap();
    let changed = |at: usize| {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        changed
    };
    let stamps = whole.len() - FOOTER_BYTES - FOLDERS * STAMP_BYTES;
    let places = (0..stamps + 64).chain(whole.len() - 64..whole.len());
    let damaged = places.clone().map(changed);
    let cut = places.map(|end| whole[..end].to_vec());
    let cases: Vec<Vec<u8>> = damaged.chain(cut).collect();
    for is_file_whole in [true, false] {
        if !is_file_whole {
            cache.damage(0);
        }
        for case in &cases {
            fs::write_unsynced(&cache.index(), case).unwrap();
            let found = find(&cache.begin(), 0);
            assert_eq!(found, is_file_whole.then_some(true));
        }
        fs::write_unsynced(&cache.index(), &whole).unwrap();
        assert_eq!(find(&cache.begin(), 0), Some(true));
    }
}

#[test]
fn an_index_with_a_damaged_entry_is_replaced() {
    let cache = indexed();
    let mut text = fs::read(&cache.index()).unwrap();
    text[0] ^= 1;
    fs::write_unsynced(&cache.index(), text).unwrap();
    assert_eq!(cache.look_up(&ALL), [Some(true); 6]);
    for number in ALL {
        cache.damage(number);
    }
    assert_eq!(cache.look_up(&ALL), [Some(true); 6]);
}

#[test]
fn a_directory_that_takes_the_place_of_an_indexed_one_is_read() {
    let cache = indexed();
    let path = cache.files().path(inputs(1).key());
    let folder = path.parent().unwrap();
    let other = folder.with_file_name("other");
    fs::create_folder(&other).unwrap();
    for aside in ["one", "two"] {
        fs::rename(folder, &folder.with_file_name(aside)).unwrap();
        if aside == "one" {
            fs::rename(&other, folder).unwrap();
        }
        assert_eq!(cache.look_up(&[0, 1]), [Some(true), None]);
    }
}

#[test]
fn an_index_that_cannot_be_written_or_read_is_no_error() {
    let cache = Cache::new();
    cache.put(0, true);
    pause();
    fs::create_folder(&cache.index()).unwrap();
    assert_eq!(cache.look_up(&[0]), [Some(true)]);
    assert!(cache.index().is_dir());
    let left = cache.index().parent().unwrap().read_dir().unwrap();
    let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["index-1", "used", "v1"]);
    // The directory of the index is a file.
    let cache = Cache::new();
    fs::write(cache.index().parent().unwrap(), "").unwrap();
    let outcomes = cache.begin();
    let inputs = inputs(0);
    assert!(outcomes.find_with(inputs.key(), &inputs).is_err());
    outcomes.end_look_up();
}

#[test]
fn a_directory_is_quiet_once_its_time_cannot_be_given_again() {
    let of = |seconds, nanoseconds| Stamp {
        inode: 1,
        seconds,
        nanoseconds,
    };
    let fine = of(100, 500);
    assert!(!fine.is_quiet(fine.time()));
    assert!(!fine.is_quiet(fine.time() + FINE_STEP));
    assert!(fine.is_quiet(fine.time() + FINE_STEP + 1));
    // The clock was set back.
    assert!(!fine.is_quiet(0));
    let coarse = of(100, 0);
    assert!(!coarse.is_quiet(coarse.time() + FINE_STEP + 1));
    assert!(coarse.is_quiet(coarse.time() + COARSE_STEP + 1));
    assert!(!Stamp::default().is_quiet(i128::MAX));
}
