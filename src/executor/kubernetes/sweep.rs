//! Removes Jobs of dead runs.
//!
//! Runs are known to be dead if they ran on this machine, or if they used this store on any machine, since a run holds
//! a lock in its store while it is alive. So the next night's pod finds what the last one left behind.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::api::ListParams;

use super::connection::failure;
use super::manifest::{MANAGED_BY, MANAGED_BY_LABEL, OWNER_ANNOTATION, RUN_LABEL, STORE_LABEL};
use super::request::remove;
use crate::digest::Sha256;
use crate::executor::ExecutorError;
use crate::executor::owner::is_abandoned;
use crate::fs::{self, FileError, Lock};

/// The file of a store that contains its name.
const NAME_FILE: &str = "kubernetes-name";

/// A store, and the name that identifies it in Jobs.
pub(super) struct Home {
    store: PathBuf,
    pub(super) name: String,
}

impl Home {
    /// Returns the store in that directory, and gives it a name if it does not have one.
    pub(super) fn of(store: &Path, random: impl AsRef<[u8]>) -> Result<Self, FileError> {
        let path = store.join(NAME_FILE);
        let name = match fs::read_to_string(&path) {
            Ok(text) if is_plain(text.trim()) => text.trim().to_owned(),
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {
                let name = Sha256::of(random).short();
                fs::write(&path, format!("{name}\n"))?;
                name
            }
        };
        Ok(Self {
            store: store.to_owned(),
            name,
        })
    }

    /// Whether a run of this store has ended: no process holds its lock.
    fn has_ended(&self, run: &str) -> bool {
        let lock = self.store.join("temporary").join(format!("{run}.lock"));
        is_plain(run) && (!lock.exists() || matches!(Lock::try_exclusive(&lock), Ok(Some(_))))
    }
}

/// Whether the string, which may come from the cluster, is safe as part of a file name.
fn is_plain(text: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !text.is_empty() && text.bytes().all(is_inner)
}

pub(super) async fn sweep(jobs: &Api<Job>, home: &Home) -> Result<usize, ExecutorError> {
    let now = Timestamp::now();
    let labels = format!("{MANAGED_BY_LABEL}={MANAGED_BY}");
    let found = jobs
        .list(&ListParams::default().labels(&labels))
        .await
        .map_err(|error| failure("list Jobs", &error))?;
    let mut removed = 0;
    for job in found.items {
        let annotations = job.metadata.annotations.unwrap_or_default();
        let labels = job.metadata.labels.unwrap_or_default();
        let created = job.metadata.creation_timestamp.map(|time| time.0);
        let is_of_dead_run = labels.get(STORE_LABEL) == Some(&home.name)
            && labels.get(RUN_LABEL).is_some_and(|run| home.has_ended(run));
        if let Some(name) = job.metadata.name
            && (is_of_dead_run || is_abandoned(annotations.get(OWNER_ANNOTATION), created, now))
        {
            remove(jobs, &name).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_lives_as_long_as_it_holds_its_lock() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::of(folder.path(), "random").unwrap();
        assert_eq!(Home::of(folder.path(), "other").unwrap().name, home.name);
        assert!(home.has_ended("never-was"));
        let lock = Lock::exclusive(&folder.path().join("temporary/run-1.lock")).unwrap();
        assert!(!home.has_ended("run-1"));
        drop(lock);
        assert!(home.has_ended("run-1"));
        // A name from the cluster cannot refer to a path elsewhere.
        assert!(!home.has_ended("../run-1") && !home.has_ended(""));
    }
}
