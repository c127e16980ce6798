//! The names of objects at a destination.

use crate::report::STATE_FOLDER;

/// The name of the index.
pub const INDEX_FILE: &str = "index.json";

/// The name of the list of digests, in the format of `sha256sum --check`.
pub const SUMS_FILE: &str = "SHA256SUMS";

/// The directory for logs.
pub(super) const LOGS: &str = ".logs";

/// The directory for the files of Falco's driver site.
pub(super) const SITE: &str = "site";

/// The directory for internal files.
pub(super) const STATE: &str = STATE_FOLDER;

/// Returns the name of the log of an artifact.
pub(super) fn log_key(key: &str) -> String {
    format!("{LOGS}/{key}.log.zst")
}

/// Returns true if an object is not for loaders: the index, its derived files, logs, state.
pub(super) fn is_own(name: &str) -> bool {
    let folder = name.split('/').next().unwrap_or_default();
    [INDEX_FILE, SUMS_FILE].contains(&name) || [SITE, LOGS, STATE].contains(&folder)
}
