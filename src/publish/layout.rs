//! The names of a destination.

use crate::report::STATE_FOLDER;

/// The name of the index.
pub const INDEX_FILE: &str = "index.json";

/// The name of the list of digests, as `sha256sum --check` reads it.
pub const SUMS_FILE: &str = "SHA256SUMS";

/// The directory for logs.
pub(super) const LOGS: &str = ".logs";

/// The directory for the files of Falco's driver site.
pub(super) const SITE: &str = "site";

/// The directory for what this program keeps.
pub(super) const STATE: &str = STATE_FOLDER;

/// The name of the log of an artifact.
pub(super) fn log_key(key: &str) -> String {
    format!("{LOGS}/{key}.log.zst")
}

/// Whether an object is not for loaders: the index, what follows from it, logs, state.
pub(super) fn is_own(name: &str) -> bool {
    let folder = name.split('/').next().unwrap_or_default();
    [INDEX_FILE, SUMS_FILE].contains(&name) || [SITE, LOGS, STATE].contains(&folder)
}
