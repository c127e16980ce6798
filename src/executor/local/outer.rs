//! How root makes a sandbox: first as itself one that shows the sandbox's directories where everybody may look, then as
//! nobody the sandbox itself.
//!
//! A sandbox that root makes would hold processes that the kernel takes for root wherever it looks at the user and not
//! at capabilities. Nobody, in turn, may not look into root's own directories, in which the cache mostly is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::sandbox::NOBODY;

/// A directory that the outer sandbox replaces by the directories shown, and that every machine has.
const SHOWN: &str = "/tmp";

/// The directories that a sandbox shows, at the paths where its maker finds them.
pub(super) struct Outer {
    is_root: bool,
    /// The group that nobody has beside its own.
    group: Option<u32>,
    folders: Vec<PathBuf>,
}

impl Outer {
    /// What this process needs: nothing, where it is not root. Nobody gets the group `group`.
    pub(super) fn new(group: Option<u32>) -> Self {
        Self {
            is_root: rustix::process::getuid().is_root(),
            group,
            folders: Vec::new(),
        }
    }

    /// How many processes it takes beside those of the sandbox: one that waits, one that all others end with.
    pub(super) fn processes() -> u32 {
        if rustix::process::getuid().is_root() {
            2
        } else {
            0
        }
    }

    /// Where `folder` is to be found.
    pub(super) fn show(&mut self, folder: &Path) -> PathBuf {
        if !self.is_root {
            return folder.to_owned();
        }
        let number = self.folders.len();
        self.folders.push(folder.to_owned());
        Path::new(SHOWN).join(number.to_string())
    }

    /// The words in front of the command that makes the sandbox.
    pub(super) fn command(&self) -> Vec<OsString> {
        if !self.is_root {
            return Vec::new();
        }
        // Its processes end with their first one. A signal at its parent's death would not do: it is sent in the name
        // of a process that may not send one to another user's.
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
