//! The options and the result of a publication.

use serde::Serialize;

use super::index::Index;
use crate::bucket::BucketFault;
use crate::digest::Sha256;

/// The options of a publication.
#[derive(Clone, Debug)]
pub struct PublishOptions {
    /// The maximum number of concurrent uploads.
    pub uploads: usize,
    /// The `Cache-Control` of artifacts.
    pub cache_control: Option<String>,
    /// The `Content-Type` of artifacts.
    pub content_type: String,
    /// True if any existing object with the right name counts as published, whatever its content and origin.
    pub skip_published: bool,
    /// True if objects that differ from the index are replaced.
    pub replace_foreign: bool,
    /// True if logs are also published.
    pub with_logs: bool,
    /// The public URL of the destination.
    pub public_url: Option<String>,
}

impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            uploads: 16,
            cache_control: None,
            content_type: "application/octet-stream".to_owned(),
            skip_published: false,
            replace_foreign: false,
            with_logs: false,
            public_url: None,
        }
    }
}

/// The result of a publication.
#[derive(Clone, Debug)]
pub struct PublishReport {
    /// The result for every name, sorted.
    pub rows: Vec<Row>,
    /// The index after the publication.
    pub index: Index,
}

impl PublishReport {
    /// Returns the number of names for which the predicate is true.
    pub fn count(&self, is_one: impl Fn(&RowState) -> bool) -> usize {
        self.rows.iter().filter(|row| is_one(&row.state)).count()
    }
}

/// The result for one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The name below the destination.
    pub key: String,
    /// The digest of the content to publish.
    pub sha256: Sha256,
    /// The result.
    #[serde(flatten)]
    pub state: RowState,
}

/// The result for an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "publish", rename_all = "kebab-case")]
pub enum RowState {
    /// The index already has this content.
    Unchanged,
    /// The artifact was uploaded and verified.
    Published,
    /// The object already existed: an earlier publication was interrupted after the upload.
    Found,
    /// An object with this name exists, and `skip_published` is set.
    Skipped,
    /// The artifact was not published.
    Failed {
        /// The class of the failure.
        class: String,
        /// The reason.
        reason: String,
        /// What to do about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        help: Option<String>,
    },
}

impl RowState {
    /// Creates a failure.
    pub(super) fn failed(fault: BucketFault, reason: impl Into<String>) -> Self {
        Self::Failed {
            class: fault.name().to_owned(),
            reason: reason.into(),
            help: None,
        }
    }

    /// Adds advice to a failure.
    pub(super) fn with_help(mut self, advice: impl Into<String>) -> Self {
        if let Self::Failed { help, .. } = &mut self {
            *help = Some(advice.into());
        }
        self
    }

    /// Returns true if the artifact was not published.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}
