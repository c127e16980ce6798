//! Builds the bubblewrap arguments that define the file system of a sandbox.
//!
//! Input: a root file system and a job. Output: a command line. The root file system is not changed: where a mount
//! point does not exist in it, the parent directory is replaced in the sandbox by a new, read-only one with the same
//! content plus the mount point.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::FileType;
use std::path::{Component, Path, PathBuf};

use super::super::kvm::DEVICE;
use super::super::sandbox::{self, OUT, TMP};
use super::super::{ExecutorError, Job, Kvm};
use super::outer::Outer;
use crate::fs::FileError;

/// The root file system of a sandbox.
pub(super) enum Root {
    /// An unpacked image.
    Image(PathBuf),
    /// This machine's own files, as far as compilers need them.
    Host,
}

/// Directories of this machine's root that contain programs and libraries.
const HOST_FOLDERS: &[&str] = &["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Entries of this machine's `/etc` that programs need.
const HOST_SETTINGS: &[&str] = &["alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d"];

/// Directories that the sandbox itself creates.
const OWN_FOLDERS: &[&str] = &["dev", "proc", "tmp", "out", "sys"];

const MAXIMUM_LINKS: usize = 40;

/// Returns the whole command line of `bwrap`, including the script. Directories are named by the paths at which `outer`
/// shows them.
pub(super) fn arguments(
    root: &Root,
    job: &Job,
    outer: &mut Outer,
    kvm: Option<&Kvm>,
) -> Result<Vec<OsString>, ExecutorError> {
    let (user, group) = sandbox::user();
    let shown_base = match root {
        Root::Image(folder) => outer.show(folder),
        Root::Host => PathBuf::from("/"),
    };
    let mut line = Line {
        words: Vec::new(),
        shown_base,
    };
    line.words("--unshare-all --unshare-user --die-with-parent --new-session --as-pid-1");
    line.words("--cap-drop ALL");
    let host = job.host_name();
    line.words(&format!("--hostname {host} --uid {user} --gid {group}"));
    let base = match root {
        Root::Image(folder) => folder.clone(),
        Root::Host => PathBuf::from("/"),
    };
    let targets = job
        .mounts
        .iter()
        .map(|mount| (outer.show(&mount.source), resolve(&base, &mount.target)))
        .collect::<Vec<_>>();
    let mut remade: BTreeSet<PathBuf> = targets
        .iter()
        .filter_map(|(_, target)| folder_to_remake(&base, target))
        .collect();
    remade.remove(Path::new("/"));
    match root {
        Root::Image(_) => {
            line.content_of(&base, Path::new("/"), |name| !OWN_FOLDERS.contains(&name))?;
        }
        Root::Host => {
            line.content_of(&base, Path::new("/"), |name| HOST_FOLDERS.contains(&name))?;
            line.content_of(&base, Path::new("/etc"), |name| {
                HOST_SETTINGS.contains(&name)
            })?;
        }
    }
    // File systems made for the sandbox must stay read-only inside, whatever user its processes run as.
    line.words("--proc /proc --remount-ro /proc");
    // Nothing is mounted at /dev/shm: a second writable file system would have a limit of its own.
    line.words("--dev /dev");
    if kvm.is_some() {
        line.words(&format!("--dev-bind {DEVICE} {DEVICE}"));
    }
    line.words("--remount-ro /dev --dir /sys");
    let size = job.limits.bytes_each();
    line.words(&format!("--size {size} --perms 1777 --tmpfs {TMP}"));
    for folder in &remade {
        line.words("--tmpfs").path(folder);
        line.content_of(&base, folder, |_| true)?;
    }
    for (source, target) in &targets {
        line.words("--ro-bind").path(source).path(target);
    }
    line.words("--bind")
        .path(&outer.show(&job.output))
        .path(Path::new(OUT));
    for folder in &remade {
        line.words("--remount-ro").path(folder);
    }
    line.words(&format!("--remount-ro / --chdir {TMP} --"));
    line.words
        .extend(sandbox::command(job)?.into_iter().map(OsString::from));
    Ok(line.words)
}

struct Line {
    words: Vec<OsString>,
    /// The path at which the root file system is visible.
    shown_base: PathBuf,
}

impl Line {
    fn words(&mut self, text: &str) -> &mut Self {
        self.words.extend(text.split(' ').map(OsString::from));
        self
    }

    fn path(&mut self, path: &Path) -> &mut Self {
        self.words.push(path.as_os_str().to_owned());
        self
    }

    /// Mounts each entry of the directory `inner` of the root file system at its own path.
    fn content_of(
        &mut self,
        base: &Path,
        inner: &Path,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<(), FileError> {
        let outer = below(base, inner);
        let mut entries: Vec<(PathBuf, FileType)> = Vec::new();
        for entry in std::fs::read_dir(&outer).map_err(FileError::of("read directory", &outer))? {
            let entry = entry.map_err(FileError::of("read directory", &outer))?;
            let kind = entry
                .file_type()
                .map_err(FileError::of("inspect", entry.path()))?;
            if entry.file_name().to_str().is_none_or(&is_wanted) {
                entries.push((entry.path(), kind));
            }
        }
        entries.sort_by(|left, right| left.0.cmp(&right.0));
        for (path, kind) in entries {
            let shown = inner.join(path.file_name().unwrap_or_default());
            if kind.is_symlink() {
                let target =
                    std::fs::read_link(&path).map_err(FileError::of("read link", &path))?;
                self.words("--symlink").path(&target).path(&shown);
            } else if kind.is_dir() || kind.is_file() {
                let source = below(&self.shown_base, &shown);
                self.words("--ro-bind").path(&source).path(&shown);
            }
        }
        Ok(())
    }
}

/// Returns the path on this machine of an absolute path in the sandbox.
fn below(base: &Path, inner: &Path) -> PathBuf {
    base.join(inner.strip_prefix("/").unwrap_or(inner))
}

/// Resolves all links of a path as seen from inside; links are followed within the root file system.
fn resolve(base: &Path, path: &Path) -> PathBuf {
    let mut pending: Vec<OsString> = parts(path);
    let mut resolved = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = pending.pop() {
        if part == ".." {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&part);
        match std::fs::read_link(below(base, &next)) {
            Ok(target) if links < MAXIMUM_LINKS => {
                links += 1;
                if target.is_absolute() {
                    resolved = PathBuf::from("/");
                }
                pending.extend(parts(&target));
            }
            _ => resolved = next,
        }
    }
    resolved
}

/// Returns the names and `..` components of a path, last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let mut parts: Vec<OsString> = path
        .components()
        .filter(|component| matches!(component, Component::Normal(_) | Component::ParentDir))
        .map(|component| component.as_os_str().to_owned())
        .collect();
    parts.reverse();
    parts
}

/// Returns the directory that must be replaced so that `target` can exist in it, or `None` if `target` exists.
fn folder_to_remake(base: &Path, target: &Path) -> Option<PathBuf> {
    if below(base, target).is_dir() {
        return None;
    }
    target
        .ancestors()
        .skip(1)
        .find(|folder| below(base, folder).is_dir())
        .map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_found_through_links_of_the_root_file_system() {
        let root = tempfile::tempdir().unwrap();
        let base = root.path();
        std::fs::create_dir_all(base.join("usr/lib/there")).unwrap();
        std::os::unix::fs::symlink("usr/lib", base.join("lib")).unwrap();
        std::os::unix::fs::symlink("/usr/lib/there", base.join("usr/absolute")).unwrap();
        std::os::unix::fs::symlink("loop", base.join("loop")).unwrap();
        for (path, resolved, remade) in [
            ("/lib/there", "/usr/lib/there", None),
            ("/lib/new", "/usr/lib/new", Some("/usr/lib")),
            ("/lib/new/deep", "/usr/lib/new/deep", Some("/usr/lib")),
            ("/usr/absolute/../x", "/usr/lib/x", Some("/usr/lib")),
            ("/driver", "/driver", Some("/")),
            ("/loop/x", "/loop/x", Some("/")),
        ] {
            let found = resolve(base, Path::new(path));
            assert_eq!(found, Path::new(resolved), "{path}");
            assert_eq!(
                folder_to_remake(base, &found).as_deref(),
                remade.map(Path::new),
                "{path}"
            );
        }
    }
}
