//! Files that survive a crash, locks between processes, and errors that name the path.
//!
//! Every write of the program goes through here: to a temporary name in the same directory, fsync, rename, fsync of
//! the directory. A reader sees the old file or the new one, never half of one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

mod blocking;
mod file_size;
mod foreign;
mod lock;
mod open_folder;

pub use blocking::blocking;
pub use file_size::outlive_file_size_limit;
pub use foreign::{ForeignError, ForeignFolder};
pub use lock::Lock;
pub use open_folder::{FileFacts, OpenFolder};

/// An operation on a file that failed, with the operation and the path.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} {}: {}", path.display(), in_words(cause))]
pub struct FileError {
    /// What was tried: `read`, `write`, `create folder`.
    pub operation: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The cause.
    pub cause: io::Error,
}

/// What stands behind the kernel's words.
const KERNELS_NUMBER: &str = " (os error ";

/// Describes what went wrong, without the kernel's words and numbers.
pub fn in_words(cause: &io::Error) -> String {
    // What this program says itself; libraries wrap the kernel's words.
    if cause.get_ref().is_some() && !cause.to_string().contains(KERNELS_NUMBER) {
        return cause.to_string();
    }
    let words = match cause.kind() {
        io::ErrorKind::NotFound => "it does not exist",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::IsADirectory => "it is a directory, not a file",
        io::ErrorKind::NotADirectory => "a part of its path is a file, not a directory",
        io::ErrorKind::AlreadyExists => "it exists already",
        io::ErrorKind::StorageFull => "no space is left on the disk",
        io::ErrorKind::QuotaExceeded => "the disk quota is used up",
        io::ErrorKind::FileTooLarge => {
            "the file is larger than the limit of this process (`ulimit -f`)"
        }
        io::ErrorKind::ReadOnlyFilesystem => "its file system is read-only",
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "the connection was closed",
        io::ErrorKind::TimedOut => "timed out",
        _ => {
            let text = cause.to_string();
            let end = text.find(KERNELS_NUMBER).unwrap_or(text.len());
            return text[..end].to_owned();
        }
    };
    words.to_owned()
}

impl FileError {
    /// Makes a converter for `map_err`.
    pub fn of(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self {
            operation,
            path,
            cause,
        }
    }

    /// Whether the file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        self.cause.kind() == io::ErrorKind::NotFound
    }

    /// Returns what to do about a directory of the program that cannot be written.
    pub fn advice(&self) -> Option<&'static str> {
        let is_read = self.operation.starts_with("read");
        match self.cause.kind() {
            _ if is_read => None,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
                "free space there, as with `driverkit-matrix cache gc`, or name another directory with --out or --cache",
            ),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Some(
                "give this user write access there, or name another place (directories: --out, --cache)",
            ),
            _ => None,
        }
    }

    /// Whether the disk or the quota is full, so that going on makes no sense.
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self.cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

/// The prefix of every temporary file and directory that this program makes beside the final one; what a killed run
/// left behind is recognised by it.
pub const TEMPORARY_PREFIX: &str = ".dkm-tmp-";

/// Opens a regular file. Opening a pipe would wait for its writer, so nothing waits, and what was opened is looked at.
pub fn open_file(path: &Path) -> io::Result<File> {
    let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options()
        .read(true)
        .custom_flags(no_wait)
        .open(path)?;
    check_is_file(&file.metadata()?)?;
    Ok(file)
}

/// An error for what is no regular file.
pub fn check_is_file(metadata: &std::fs::Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    Err(io::Error::other(if metadata.is_dir() {
        "it is a directory, not a file"
    } else {
        "it is a pipe, socket or device, not a file"
    }))
}

/// The content of a regular file that somebody names: see [`open_file`].
pub fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    open_file(path)
        .and_then(|mut file| io::Read::read_to_end(&mut file, &mut bytes))
        .map_err(FileError::of("read", path))?;
    Ok(bytes)
}

/// Whether somebody writes this file, or was killed while writing it.
pub fn is_temporary(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes()
        .starts_with(TEMPORARY_PREFIX.as_bytes())
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(FileError::of("read", path))
}

/// Reads a whole UTF-8 file.
pub fn read_to_string(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(FileError::of("read", path))
}

/// Makes a directory and those above it.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(FileError::of("create directory", path))
}

/// A file under its temporary name, in the directory where it will be kept; gone when dropped.
pub struct PendingFile {
    file: tempfile::NamedTempFile,
    path: PathBuf,
}

impl PendingFile {
    /// Opens a temporary file in the directory of `path`, which is created when missing.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let folder = folder_of(path);
        create_folder(folder)?;
        let file = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(FileError::of("create", path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Where the bytes are now.
    pub fn temporary_path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the open file, to read back what was written.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Makes the content durable and gives the file its name, replacing what was there.
    pub fn keep(self) -> Result<(), FileError> {
        let path = self.path.clone();
        self.keep_as(&path)
    }

    /// The same under another name on the same file system, whose directory is created when missing.
    pub fn keep_as(self, path: &Path) -> Result<(), FileError> {
        let folder = folder_of(path);
        create_folder(folder)?;
        self.file
            .as_file()
            .sync_all()
            .map_err(FileError::of("write", path))?;
        self.file
            .persist(path)
            .map_err(|error| FileError::of("rename to", path)(error.error))?;
        sync_folder(folder)
    }
}

impl Write for PendingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes `bytes` durably to `path`, replacing what was there.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), FileError> {
    let mut pending = PendingFile::create(path)?;
    pending
        .write_all(bytes.as_ref())
        .map_err(FileError::of("write", path))?;
    pending.keep()
}

/// Writes `bytes` to `path`, replacing what was there, without waiting for the disk: for files that are made again
/// just as well.
pub fn write_unsynced(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), FileError> {
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path);
    file.and_then(|mut file| file.write_all(bytes.as_ref()))
        .map_err(FileError::of("write", path))
}

/// Gives `from` the name `to` in a way that survives a crash.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place that makes it durable"
    )]
    fs::rename(from, to).map_err(FileError::of("rename to", to))?;
    sync_folder(folder_of(to))
}

/// Gives the file `from` the further name `to`, by a copy where the file system has no hard links; a file that has
/// that name already is left as it is.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<(), FileError> {
    create_folder(folder_of(to))?;
    match fs::hard_link(from, to) {
        Ok(()) => sync_folder(folder_of(to)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => write(to, read(from)?),
    }
}

/// A file that grows: what was flushed is there when the process is killed, what was synchronised also when the
/// machine is.
pub struct AppendFile {
    file: io::BufWriter<File>,
    path: PathBuf,
}

impl AppendFile {
    /// Opens an empty file; its directory is created when missing, what was there goes.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        let folder = folder_of(path);
        create_folder(folder)?;
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .open(path)
            .map_err(FileError::of("create", path))?;
        sync_folder(folder)?;
        Ok(Self {
            file: io::BufWriter::with_capacity(1 << 16, file),
            path: path.to_owned(),
        })
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all(bytes)
            .map_err(FileError::of("write", &self.path))
    }

    /// Hands what was added to the system.
    pub fn flush(&mut self) -> Result<(), FileError> {
        self.file
            .flush()
            .map_err(FileError::of("write", &self.path))
    }

    /// Makes what was added durable.
    pub fn sync(&mut self) -> Result<(), FileError> {
        self.flush()?;
        self.file
            .get_ref()
            .sync_data()
            .map_err(FileError::of("write", &self.path))
    }
}

/// Makes the names in a directory durable.
pub fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(FileError::of("sync directory", path))
}

/// Removes a directory and everything in it, also where parts of it are read-only; a directory that is not there is
/// fine.
pub fn remove_folder(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_folders_writable(path);
            fs::remove_dir_all(path).map_err(FileError::of("remove", path))
        }
        Err(error) => Err(FileError::of("remove", path)(error)),
    }
}

fn make_folders_writable(path: &Path) {
    for entry in walkdir::WalkDir::new(path).into_iter().flatten() {
        if entry.file_type().is_dir() {
            // A directory that stays read-only shows up as the error of the removal itself.
            drop(fs::set_permissions(
                entry.path(),
                fs::Permissions::from_mode(0o755),
            ));
        }
    }
}

/// Removes a file; one that is not there is fine.
pub fn remove_file(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::of("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The directory that holds `path`; `.` for a bare name.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_files_replace_the_old_and_leave_nothing_else() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a/b.txt");
        write(&path, "one").expect("written");
        write(&path, "two").expect("written");
        assert_eq!(read_to_string(&path).expect("there"), "two");
        let names: Vec<_> = fs::read_dir(folder.path().join("a"))
            .expect("folder")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        assert_eq!(names, ["b.txt"]);
    }

    #[test]
    fn a_dropped_pending_file_leaves_the_old_one() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("b.txt");
        write(&path, "one").expect("written");
        let mut pending = PendingFile::create(&path).expect("created");
        pending.write_all(b"half").expect("written");
        drop(pending);
        assert_eq!(read_to_string(&path).expect("there"), "one");
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
    }

    #[test]
    fn a_linked_file_keeps_its_content_when_the_first_name_is_written_anew() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (path, kept) = (folder.path().join("a"), folder.path().join("kept/a"));
        write(&path, "one").expect("written");
        link_or_copy(&path, &kept).expect("linked");
        write(&path, "two").expect("written");
        link_or_copy(&path, &kept).expect("left alone");
        assert_eq!(read_to_string(&kept).expect("there"), "one");
    }

    #[test]
    fn appended_bytes_are_there_once_flushed() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a/log");
        let mut file = AppendFile::create(&path).expect("created");
        file.append(b"one\n").expect("appended");
        file.flush().expect("flushed");
        assert_eq!(read_to_string(&path).expect("there"), "one\n");
        file.append(b"two\n").expect("appended");
        file.sync().expect("synchronised");
        assert_eq!(read_to_string(&path).expect("there"), "one\ntwo\n");
        AppendFile::create(&path).expect("created");
        assert_eq!(read_to_string(&path).expect("there"), "");
    }

    #[test]
    fn full_disk_is_named_in_words_with_advice() {
        let kernel = io::Error::from(rustix::io::Errno::NOSPC);
        let text = format!("{kernel} at path \"/a/b\"");
        let error = FileError::of("write", "x")(io::Error::new(kernel.kind(), text));
        assert_eq!(
            error.to_string(),
            "failed to write x: no space is left on the disk"
        );
        assert!(error.is_disk_full());
        let advice = error.advice().unwrap();
        assert!(advice.contains("--out"), "{advice}");
        let reading = FileError::of("read", "x")(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(reading.advice(), None);
    }

    #[test]
    fn errors_name_operation_and_path() {
        let error = read(Path::new("/nonexistent/x")).expect_err("missing");
        assert!(error.is_not_found());
        assert!(
            error
                .to_string()
                .starts_with("failed to read /nonexistent/x: ")
        );
    }

    #[test]
    fn a_lock_excludes_others() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("lock");
        let held = Lock::exclusive(&path).expect("free");
        assert!(Lock::try_exclusive(&path).expect("tried").is_none());
        drop(held);
        assert!(Lock::try_exclusive(&path).expect("tried").is_some());
    }
}
