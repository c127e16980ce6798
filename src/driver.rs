//! Driver versions, where their sources are, and the artifacts built from them.

use std::cmp::Ordering;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::kernel::compare_versions;

/// A tag, commit or branch of the driver's sources, or a name given in the matrix: `8.1.0+driver`. Ordered by version.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct DriverVersion(Arc<str>);

/// The error for a string that is not a valid driver version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "driver version `{0}` cannot name a directory: 1 to 100 letters, digits and `. _ + ~ -`, not starting with a dot or dash"
)]
pub struct ParseDriverVersionError(String);

impl DriverVersion {
    /// The version as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Major, minor and patch, where the version is a release such as `8.1.0+driver`.
    pub fn numbers(&self) -> Option<[u64; 3]> {
        let version = semver::Version::parse(&self.0).ok()?;
        Some([version.major, version.minor, version.patch])
    }
}

impl FromStr for DriverVersion {
    type Err = ParseDriverVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_allowed = |found: char| found.is_ascii_alphanumeric() || "._+~-".contains(found);
        if (1..=100).contains(&text.len())
            && text.chars().all(is_allowed)
            && !text.starts_with(['.', '-'])
        {
            Ok(Self(text.into()))
        } else {
            Err(ParseDriverVersionError(text.to_owned()))
        }
    }
}

impl Ord for DriverVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_versions(&self.0, &other.0)
    }
}

impl PartialOrd for DriverVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'de> Deserialize<'de> for DriverVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for DriverVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

impl fmt::Debug for DriverVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", &self.0)
    }
}

/// A kind of file that is built from a driver for a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Artifact {
    /// The kernel module, `.ko`.
    Module,
    /// The legacy eBPF probe, `.o`.
    Probe,
}

impl Artifact {
    /// Both artifacts, in the order used by manifests.
    pub const ALL: [Self; 2] = [Self::Module, Self::Probe];

    /// The text form: `module`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Probe => "probe",
        }
    }

    /// The file name extension, without the dot: `ko` or `o`.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Module => "ko",
            Self::Probe => "o",
        }
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for Artifact {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|artifact| artifact.as_str() == text)
            .ok_or_else(|| format!("unknown artifact `{text}`: expected `module` or `probe`"))
    }
}

/// Where a driver's sources are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverLocation {
    /// A tarball at an `http://` or `https://` URL.
    Url(String),
    /// A local directory or tarball.
    Path(PathBuf),
    /// A commit, tag or branch of a local clone.
    Git {
        /// The clone.
        repository: PathBuf,
        /// The commit, tag or branch.
        reference: String,
    },
}

impl DriverLocation {
    /// Returns true if the URL may return different sources later. This is the case for a repository archive of a
    /// branch, that is, of anything that is neither a release (`8.1.0+driver`, `v1.2.3`) nor a commit. Other URLs are
    /// assumed to return the same file forever. Directories and clones return false: every run reads them anyway.
    pub fn may_move(&self) -> bool {
        let Self::Url(url) = self else {
            return false;
        };
        let Some((_, file)) = url.rsplit_once("/archive/") else {
            return false;
        };
        let reference = file.strip_suffix(".tar.gz").unwrap_or(file);
        let number = reference.strip_prefix('v').unwrap_or(reference);
        let is_commit = reference.len() == COMMIT_CHARACTERS
            && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_release = semver::Version::parse(number).is_ok();
        !is_commit && !is_release && !reference.starts_with("refs/tags/")
    }
}

impl fmt::Display for DriverLocation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => formatter.write_str(url),
            Self::Path(path) => write!(formatter, "{}", path.display()),
            Self::Git {
                repository,
                reference,
            } => write!(formatter, "{reference} of {}", repository.display()),
        }
    }
}

/// The length of a full commit hash, in characters.
const COMMIT_CHARACTERS: usize = 40;

/// The default name of the module and its devices.
pub const DEFAULT_NAME: &str = "falco";

/// A driver of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Driver {
    /// The version, which also names the directory under `out/`.
    pub version: DriverVersion,
    /// The location of the sources.
    pub location: DriverLocation,
    /// The module name, shown by `lsmod` and at the start of the artifact's file name: at most 60 characters.
    pub module_name: String,
    /// The prefix of the character devices: at most 255 characters, no slash.
    pub device_name: String,
}

/// The default URL of a released driver version, used when the matrix does not give one.
pub fn default_url(version: &DriverVersion) -> String {
    url_of("falcosecurity", "libs", version)
}

/// The URL of a version's source archive in any repository on GitHub.
pub fn url_of(organisation: &str, repository: &str, version: &DriverVersion) -> String {
    format!("https://github.com/{organisation}/{repository}/archive/{version}.tar.gz")
}

/// The maximum length of a module name.
const MODULE_NAME_CHARACTERS: usize = 60;
/// The maximum length of a character device prefix.
const DEVICE_NAME_CHARACTERS: usize = 255;

/// Checks a module name and returns it. The error is a message for the user.
pub fn check_module_name(text: &str) -> Result<String, String> {
    check_name(text, MODULE_NAME_CHARACTERS)
}

/// Checks the prefix of the character devices and returns it. The error is a message for the user.
pub fn check_device_name(text: &str) -> Result<String, String> {
    check_name(text, DEVICE_NAME_CHARACTERS)
}

fn check_name(text: &str, most: usize) -> Result<String, String> {
    let is_allowed = |found: char| found.is_ascii_alphanumeric() || "_-.".contains(found);
    if !(1..=most).contains(&text.chars().count()) {
        return Err(format!(
            "the name has {} characters: expected 1 to {most}",
            text.chars().count()
        ));
    }
    if !text.chars().all(is_allowed) || text.starts_with(['.', '-']) {
        return Err(format!(
            "`{text}` cannot name a module or device: letters, digits and `_ - .` are allowed, not starting with a dot or dash"
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_archives_of_branches_may_change() {
        let may_move = |reference: &str| {
            let url = format!("https://github.com/me/libs/archive/{reference}.tar.gz");
            DriverLocation::Url(url).may_move()
        };
        for reference in [
            "master",
            "dev",
            "release-0.20",
            "refs/heads/main",
            "0.20",
            "abcdef",
        ] {
            assert!(may_move(reference), "{reference}");
        }
        for reference in [
            "8.1.0+driver",
            "v1.2.3",
            "0.20.0-rc1",
            "refs/tags/any",
            "b7eb0dd65226a8dc254d228c8d950d07bf3521d2",
        ] {
            assert!(!may_move(reference), "{reference}");
        }
        for other in ["https://example.org/master.tar.gz", "http://127.0.0.1/x"] {
            assert!(!DriverLocation::Url(other.to_owned()).may_move(), "{other}");
        }
        assert!(!DriverLocation::Path("archive/master".into()).may_move());
    }
}
