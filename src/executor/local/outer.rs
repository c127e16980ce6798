//! Creates the sandbox when this process is root, in two steps: root first creates an outer sandbox that shows the
//! needed directories where every user can read them; then the user `nobody` creates the actual sandbox inside.
//!
//! If root created the sandbox itself, the kernel would treat its processes as root wherever it checks the user instead
//! of capabilities. The user `nobody`, on the other hand, cannot read root's directories, which usually include the
//! cache.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::sandbox::NOBODY;

/// A directory that exists on every machine; the outer sandbox replaces its content with the directories to show.
const SHOWN: &str = "/tmp";

/// The directories that a sandbox shows, at the paths where the process that creates it finds them.
pub(super) struct Outer {
    is_root: bool,
    /// An additional group for the user `nobody`.
    group: Option<u32>,
    folders: Vec<PathBuf>,
}

impl Outer {
    /// Creates the outer sandbox that this process needs: none unless the process is root. The user `nobody` gets the
    /// additional group `group`.
    pub(super) fn new(group: Option<u32>) -> Self {
        Self {
            is_root: rustix::process::getuid().is_root(),
            group,
            folders: Vec::new(),
        }
    }

    /// Returns the number of processes in addition to those of the sandbox: one that waits, and one whose end ends all
    /// others.
    pub(super) fn processes() -> u32 {
        if rustix::process::getuid().is_root() {
            2
        } else {
            0
        }
    }

    /// Adds `folder` and returns the path at which it is visible.
    pub(super) fn show(&mut self, folder: &Path) -> PathBuf {
        if !self.is_root {
            return folder.to_owned();
        }
        let number = self.folders.len();
        self.folders.push(folder.to_owned());
        Path::new(SHOWN).join(number.to_string())
    }

    /// Returns the command prefix for the command that creates the sandbox.
    pub(super) fn command(&self) -> Vec<OsString> {
        if !self.is_root {
            return Vec::new();
        }
        // All processes of the sandbox end with their first one. A parent death signal would not work: a process may
        // not send signals to processes of another user.
        let mut words: Vec<OsString> = [
            "bwrap",
            "--die-with-parent",
            "--unshare-pid",
            "--dev-bind",
            "/",
            "/",
        ]
        .into_iter()
        .chain(["--tmpfs", SHOWN])
        .map(OsString::from)
        .collect();
        for (number, folder) in self.folders.iter().enumerate() {
            words.push("--bind".into());
            words.push(folder.into());
            words.push(Path::new(SHOWN).join(number.to_string()).into());
        }
        let user = NOBODY.to_string();
        let rest = ["--", "setpriv", "--reuid", &user, "--regid", &user];
        words.extend(rest.map(OsString::from));
        words.push(match self.group {
            Some(group) => format!("--groups={group}").into(),
            None => "--clear-groups".into(),
        });
        let rest = ["--inh-caps=-all", "--bounding-set=-all", "--"];
        words.extend(rest.map(OsString::from));
        words
    }
}
