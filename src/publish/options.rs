//! How artifacts are published, and the result.

use serde::Serialize;

use super::index::Index;
use crate::bucket::BucketFault;
use crate::digest::Sha256;

/// How artifacts are published.
#[derive(Clone, Debug)]
pub struct PublishOptions {
    /// How many uploads run at once.
    pub uploads: usize,
    /// The artifacts' `Cache-Control`.
    pub cache_control: Option<String>,
    /// The artifacts' `Content-Type`.
    pub content_type: String,
    /// Whether an object with the right name is enough, whatever its content and its origin.
    pub skip_published: bool,
    /// Whether objects are replaced that are not those of the index.
    pub replace_foreign: bool,
    /// Whether logs are published too.
    pub with_logs: bool,
    /// Where the destination is for the public.
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
    /// Every name, in order.
    pub rows: Vec<Row>,
    /// The index as it is now.
    pub index: Index,
}

impl PublishReport {
    /// How many names a test holds for.
    pub fn count(&self, is_one: impl Fn(&RowState) -> bool) -> usize {
        self.rows.iter().filter(|row| is_one(&row.state)).count()
    }
}

/// The result for one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The name below the destination.
    pub key: String,
    /// The digest of the content that was to be published.
    pub sha256: Sha256,
    /// The result.
    #[serde(flatten)]
    pub state: RowState,
}

/// The result for an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "publish", rename_all = "kebab-case")]
pub enum RowState {
    /// The index has it with this content.
    Unchanged,
    /// It was uploaded and read back.
    Published,
    /// It was there: an earlier publication was interrupted after the upload.
    Found,
    /// Something has its name, and that was to be enough.
    Skipped,
    /// It is not published.
    Failed {
        /// The class of the failure.
        class: String,
        /// Why.
        reason: String,
        /// What to do about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        help: Option<String>,
    },
}

impl RowState {
    /// A failure.
    pub(super) fn failed(fault: BucketFault, reason: impl Into<String>) -> Self {
        Self::Failed {
            class: fault.name().to_owned(),
            reason: reason.into(),
            help: None,
        }
    }

    /// The same with what to do about it.
    pub(super) fn with_help(mut self, advice: impl Into<String>) -> Self {
        if let Self::Failed { help, .. } = &mut self {
            *help = Some(advice.into());
        }
        self
    }

    /// Whether it is not published.
    pub fn is_failed(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}
