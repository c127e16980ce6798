//! Takes over the output directory of a script without trusting any of its content.
//!
//! Input: a directory that no foreign process writes to any more. Output: the same directory with regular files and
//! directories only, all of them owned by this process, and the resource usage that the script reported. Links are
//! never followed.

use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tar::EntryType;

use super::{Completion, Exit, Job, Limits, Resources, writes};
use crate::fs::{self, FileError};

const RESOURCES: &str = ".resources";
const RESOURCES_LIMIT_BYTES: u64 = 4096;

/// Takes over the output directory of a job that ended with `completion`. Calls [`accept`] if the directory is within
/// the job's limits; otherwise empties the directory and returns [`Exit::TooMuchOutput`], unless the job was cancelled.
pub(super) fn take_over(job: &Job, mut completion: Completion) -> Result<Completion, FileError> {
    if completion.exit == Exit::TooMuchOutput || writes::is_over(&job.output, job.limits) {
        if completion.exit != Exit::Cancelled {
            completion.exit = Exit::TooMuchOutput;
        }
        if fs::remove_folder(&job.output).is_err() {
            // Some directories may not be readable by their owner.
            accept(&job.output, &mut completion.resources)?;
            fs::remove_folder(&job.output)?;
        }
        fs::create_folder(&job.output)?;
        return Ok(completion);
    }
    accept(&job.output, &mut completion.resources)?;
    Ok(completion)
}

/// Removes links, pipes, sockets and devices, takes ownership of the rest, and moves the content of the resources file
/// to `resources`.
fn accept(folder: &Path, resources: &mut Resources) -> Result<(), FileError> {
    let is_root = rustix::process::getuid().is_root();
    let group = rustix::process::getgid().as_raw();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        own(&folder, 0o755, is_root, group)?;
        let entries =
            std::fs::read_dir(&folder).map_err(FileError::of("read directory", &folder))?;
        for entry in entries {
            let path = entry
                .map_err(FileError::of("read directory", &folder))?
                .path();
            let metadata =
                std::fs::symlink_metadata(&path).map_err(FileError::of("inspect", &path))?;
            if metadata.is_dir() {
                folders.push(path);
            } else if metadata.is_file() {
                let mode = if metadata.mode() & 0o111 == 0 {
                    0o644
                } else {
                    0o755
                };
                own(&path, mode, is_root, group)?;
            } else {
                fs::remove_file(&path)?;
            }
        }
    }
    take_resources(&folder.join(RESOURCES), resources)
}

fn own(path: &Path, mode: u32, is_root: bool, group: u32) -> Result<(), FileError> {
    if is_root {
        std::os::unix::fs::lchown(path, Some(0), Some(group))
            .map_err(FileError::of("take over", path))?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(FileError::of("set permissions of", path))
}

fn take_resources(path: &Path, resources: &mut Resources) -> Result<(), FileError> {
    if path.is_file() {
        let file = std::fs::File::open(path).map_err(FileError::of("read", path))?;
        let mut bytes = Vec::new();
        file.take(RESOURCES_LIMIT_BYTES)
            .read_to_end(&mut bytes)
            .map_err(FileError::of("read", path))?;
        fs::remove_file(path)?;
        parse_resources(&String::from_utf8_lossy(&bytes), resources);
    }
    Ok(())
}

fn parse_resources(text: &str, resources: &mut Resources) {
    for line in text.lines() {
        let Some((name, value)) = line.split_once(' ') else {
            continue;
        };
        match name {
            "cpu_seconds" => {
                let seconds = value.trim().parse().ok();
                if let Some(cpu) =
                    seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                {
                    resources.cpu = Some(cpu);
                }
            }
            "memory_peak_bytes" => {
                if let Ok(bytes) = value.trim().parse() {
                    resources.peak_memory_bytes = Some(bytes);
                }
            }
            _ => {}
        }
    }
}

/// Writes the regular files and directories of a tar stream to `folder`, without the first path component (the name of
/// the directory itself). Returns false if the stream exceeds the limits of the job.
pub(super) fn unpack(
    stream: impl Read,
    folder: &Path,
    limits: Limits,
) -> Result<bool, std::io::Error> {
    let mut archive = tar::Archive::new(stream);
    let mut left_bytes = limits.bytes_each();
    let mut left_files = limits.files_each();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let (Some(bytes), Some(files)) = (
            left_bytes.checked_sub(entry.size()),
            left_files.checked_sub(1),
        ) else {
            return Ok(false);
        };
        (left_bytes, left_files) = (bytes, files);
        let Some(relative) = below_first(&entry.path()?) else {
            continue;
        };
        let path = folder.join(relative);
        match entry.header().entry_type() {
            EntryType::Directory => std::fs::create_dir_all(&path)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                let mode = entry.header().mode()? & 0o777 | 0o600;
                // Only files and directories are created here, so no link can lead outside.
                let mut file = std::fs::File::options()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(mode)
                    .open(&path)?;
                std::io::copy(&mut entry, &mut file)?;
            }
            // A hard link to an earlier file.
            EntryType::Link => {
                let first = entry.link_name()?.and_then(|name| below_first(&name));
                if let Some(first) = first.map(|first| folder.join(first))
                    && first.is_file()
                {
                    std::fs::hard_link(first, &path)?;
                }
            }
            _ => {}
        }
    }
    Ok(true)
}

/// Returns the path without its first component, or `None` if it has no other component or leaves the directory.
fn below_first(path: &Path) -> Option<PathBuf> {
    use std::path::Component;
    let mut components = path
        .components()
        .filter(|component| *component != Component::CurDir);
    components.next()?;
    let mut relative = PathBuf::new();
    for component in components {
        match component {
            Component::Normal(name) => relative.push(name),
            _ => return None,
        }
    }
    (!relative.as_os_str().is_empty()).then_some(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_go_and_what_they_point_to_stays() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        fs::write(&outside, "secret").unwrap();
        std::fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
        let out = folder.path().join("out");
        fs::write(&out.join("a/kept"), "kept").unwrap();
        std::os::unix::fs::symlink(&outside, out.join("a/link")).unwrap();
        std::os::unix::fs::symlink(folder.path(), out.join("folder-link")).unwrap();
        std::os::unix::net::UnixListener::bind(out.join("socket")).unwrap();
        std::fs::set_permissions(out.join("a/kept"), Permissions::from_mode(0o4711)).unwrap();
        std::fs::set_permissions(out.join("a"), Permissions::from_mode(0o700)).unwrap();
        let mut resources = Resources::default();
        accept(&out, &mut resources).unwrap();
        let names: Vec<_> = walkdir::WalkDir::new(&out)
            .sort_by_file_name()
            .into_iter()
            .map(|entry| {
                let entry = entry.unwrap();
                let mode = entry.metadata().unwrap().mode() & 0o7777;
                (
                    entry
                        .path()
                        .strip_prefix(&out)
                        .unwrap()
                        .display()
                        .to_string(),
                    mode,
                )
            })
            .collect();
        let expected = [("", 0o755), ("a", 0o755), ("a/kept", 0o755)];
        assert_eq!(names, expected.map(|(name, mode)| (name.to_owned(), mode)));
        assert_eq!(fs::read(&outside).unwrap(), b"secret");
        assert_eq!(outside.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn resources_are_read_and_nonsense_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RESOURCES);
        fs::write(&path, "cpu_seconds 1.5\nmemory_peak_bytes 4096\nx y\nz\n").unwrap();
        let mut resources = Resources::default();
        accept(folder.path(), &mut resources).unwrap();
        assert_eq!(resources.cpu, Some(Duration::from_millis(1500)));
        assert_eq!(resources.peak_memory_bytes, Some(4096));
        assert!(!path.exists());
        let before = resources;
        parse_resources(
            "cpu_seconds -1\ncpu_seconds NaN\nmemory_peak_bytes x",
            &mut resources,
        );
        assert_eq!(resources, before);
    }

    fn archive(entries: &[(&[u8], EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            header.set_size(content.len() as u64);
            // Written by hand: the library refuses to create the names that are tested here.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name);
            if *kind == EntryType::Symlink {
                header.set_link_name("/etc").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn archives_cannot_leave_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::create_folder(&out).unwrap();
        let bytes = archive(&[
            (b"out/", EntryType::Directory, b""),
            (b"out/link", EntryType::Symlink, b""),
            (b"out/link/passwd", EntryType::Regular, b"not there"),
            (b"out/../../escaped", EntryType::Regular, b"x"),
            (b"/out/nested/file", EntryType::Regular, b"content"),
        ]);
        // The first component of the absolute name is its root, as `out` is for the other names.
        let limits = |output_bytes, output_files| Limits {
            timeout: Duration::from_secs(1),
            memory_bytes: 1 << 20,
            output_bytes,
            output_files,
            processes: 1,
        };
        assert!(unpack(bytes.as_slice(), &out, limits(200, 20)).unwrap());
        assert_eq!(fs::read(&out.join("link/passwd")).unwrap(), b"not there");
        assert_eq!(fs::read(&out.join("out/nested/file")).unwrap(), b"content");
        assert_eq!(
            out.join("link/passwd").metadata().unwrap().mode() & 0o7777,
            0o755
        );
        assert!(!folder.path().join("escaped").exists());
        assert!(!unpack(bytes.as_slice(), &out, limits(20, 20)).unwrap());
        assert!(!unpack(bytes.as_slice(), &out, limits(200, 4)).unwrap());
    }
}
