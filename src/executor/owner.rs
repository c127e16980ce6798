//! Identifies the process that created an object in a form that lets another process check later whether it is still
//! alive.
//!
//! Input: this process, or the text on a container, volume or control group. Output: alive, dead or unknown.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;

use super::ExecutorError;

/// The age at which an object counts as abandoned if its owner cannot be checked from here; no job takes this long.
const ABANDONED_AFTER: Duration = Duration::from_hours(24);

/// A process, identified so that no later process with the same number and no process of another machine matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The machine's boot and the process namespace in which `process` is valid.
    machine: String,
    process: u32,
    /// When the process started, in ticks since boot.
    started: u64,
}

/// Whether an owner is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Liveness {
    Alive,
    Dead,
    /// The owner belongs to another machine, boot or process namespace.
    Unknown,
}

impl Owner {
    /// Returns this process.
    pub(super) fn this_process() -> Result<Self, ExecutorError> {
        let process = std::process::id();
        let started = start_of(process)
            .ok_or_else(|| ExecutorError::infrastructure("failed to read /proc/self/stat"))?;
        Ok(Self {
            machine: machine()?,
            process,
            started,
        })
    }

    /// Returns whether the owner is still running.
    pub(super) fn liveness(&self) -> Liveness {
        match machine() {
            Ok(machine) if machine == self.machine => {
                if start_of(self.process) == Some(self.started) {
                    Liveness::Alive
                } else {
                    Liveness::Dead
                }
            }
            _ => Liveness::Unknown,
        }
    }
}

fn machine() -> Result<String, ExecutorError> {
    let boot = crate::fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"))?;
    let namespace = std::fs::read_link("/proc/self/ns/pid")
        .map_err(crate::fs::FileError::of("read link", "/proc/self/ns/pid"))?;
    let number: String = namespace
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    Ok(format!("{}.{number}", boot.trim()))
}

/// Returns the start time of a running process, or `None` if it has ended, even if its parent has not yet collected it.
fn start_of(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may contain any character.
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}.{}.{}",
            self.machine, self.process, self.started
        )
    }
}

impl FromStr for Owner {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.rsplitn(3, '.');
        let started = parts.next().and_then(|part| part.parse().ok()).ok_or(())?;
        let process = parts.next().and_then(|part| part.parse().ok()).ok_or(())?;
        let machine = parts.next().ok_or(())?.to_owned();
        Ok(Self {
            machine,
            process,
            started,
        })
    }
}

/// Whether an object with this owner and creation time was left behind by a dead run.
pub(super) fn is_abandoned(
    owner: Option<&String>,
    created: Option<Timestamp>,
    now: Timestamp,
) -> bool {
    let liveness = owner
        .and_then(|text| text.parse().ok())
        .map_or(Liveness::Unknown, |owner: Owner| owner.liveness());
    match liveness {
        Liveness::Alive => false,
        Liveness::Dead => true,
        Liveness::Unknown => created.is_some_and(|created| {
            Duration::try_from(now.duration_since(created)).is_ok_and(|age| age > ABANDONED_AFTER)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_that_cannot_be_seen_have_a_day() {
        let now = Timestamp::now();
        let hours = |hours| Some(now - Duration::from_hours(hours));
        let here = Owner::this_process().unwrap().to_string();
        let elsewhere = "other-boot.1.1.1".to_owned();
        assert!(!is_abandoned(Some(&here), hours(100), now));
        assert!(!is_abandoned(Some(&elsewhere), hours(23), now));
        assert!(is_abandoned(Some(&elsewhere), hours(25), now));
        assert!(!is_abandoned(None, None, now));
    }

    #[test]
    fn text_form_round_trips_and_this_process_lives() {
        let owner = Owner::this_process().unwrap();
        assert_eq!(owner.to_string().parse(), Ok(owner.clone()));
        assert_eq!(owner.liveness(), Liveness::Alive);
    }

    #[test]
    fn another_process_of_the_same_number_is_not_the_owner() {
        let mut owner = Owner::this_process().unwrap();
        owner.started += 1;
        assert_eq!(owner.liveness(), Liveness::Dead);
    }

    #[test]
    fn a_process_that_ended_is_dead_even_before_its_parent_collects_it() {
        let mut child = std::process::Command::new("/bin/cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let owner = Owner {
            process: child.id(),
            started: start_of(child.id()).unwrap(),
            ..Owner::this_process().unwrap()
        };
        assert_eq!(owner.liveness(), Liveness::Alive);
        child.kill().unwrap();
        while owner.liveness() == Liveness::Alive {
            std::thread::yield_now();
        }
        assert_eq!(owner.liveness(), Liveness::Dead);
        child.wait().unwrap();
    }

    #[test]
    fn owners_of_other_machines_are_unknown() {
        let mut owner = Owner::this_process().unwrap();
        owner.machine = "elsewhere.1".to_owned();
        assert_eq!(owner.liveness(), Liveness::Unknown);
    }

    #[test]
    fn other_text_is_no_owner() {
        for text in ["", "x", "a.b.c", "1.2"] {
            assert_eq!(text.parse::<Owner>(), Err(()), "{text}");
        }
    }
}
