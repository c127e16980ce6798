//! How much of its plan a run covered: the rule for a complete night, which all comparisons use.

use jiff::Timestamp;
use serde::Deserialize;

use super::Run;

/// The fields of a run that show how much of its plan it covered. Only a complete night shows what is missing.
#[derive(Clone, Debug, Deserialize)]
pub struct Extent {
    finished: Option<Timestamp>,
    stopped: Option<String>,
    shard: Option<String>,
    #[serde(default)]
    is_partial: bool,
}

impl Extent {
    /// Returns true if the run covered its whole plan and reached its end.
    pub fn is_complete(&self) -> bool {
        self.shortfall().is_none()
    }

    /// True if the run reached its end or was stopped.
    pub fn has_ended(&self) -> bool {
        self.finished.is_some()
    }

    /// True if filters or a shard limited the run to a part of its plan.
    pub fn is_partial(&self) -> bool {
        self.is_partial || self.shard.is_some()
    }

    /// True if the run was of a shard.
    pub fn is_of_shard(&self) -> bool {
        self.shard.is_some()
    }

    /// Returns what makes the run incomplete, to follow its name in a sentence.
    pub fn shortfall(&self) -> Option<String> {
        if self.finished.is_none() {
            return Some("has not ended".to_owned());
        }
        if let Some(reason) = &self.stopped {
            return Some(format!("was stopped ({reason})"));
        }
        self.is_partial()
            .then(|| "covers only a part of its plan".to_owned())
    }
}

impl Run {
    /// Returns how much of its plan the run covered.
    pub fn extent(&self) -> Extent {
        Extent {
            finished: self.finished,
            stopped: self.stopped.clone(),
            shard: self.shard.clone(),
            is_partial: self.is_partial,
        }
    }
}
