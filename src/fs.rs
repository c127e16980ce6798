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
    /// The operation: `read`, `write`, `create directory`.
    pub operation: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// The cause.
    pub cause: io::Error,
}

/// The text between the operating system's message and the error number.
const KERNELS_NUMBER: &str = " (os error ";

/// Returns a description of an I/O error without the operating system's error number.
pub fn in_words(cause: &io::Error) -> String {
    // The text of an error that this program created; libraries wrap the operating system's message.
    if cause.get_ref().is_some() && !cause.to_string().contains(KERNELS_NUMBER) {
        return cause.to_string();
    }
    let words = match cause.kind() {
        io::ErrorKind::NotFound => "it does not exist",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::IsADirectory => "it is a directory, not a file",
        io::ErrorKind::NotADirectory => "a part of its path is a file, not a directory",
        io::ErrorKind::AlreadyExists => "it already exists",
        io::ErrorKind::StorageFull => "no space is left on the disk",
        io::ErrorKind::QuotaExceeded => "the disk quota is exceeded",
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
    /// Returns a converter for `map_err`.
    pub fn of(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self {
            operation,
            path,
            cause,
        }
    }

    /// Returns true if the file or directory does not exist.
    pub fn is_not_found(&self) -> bool {
        self.cause.kind() == io::ErrorKind::NotFound
    }

    /// Returns what to do about a directory of the program that cannot be written.
    pub fn advice(&self) -> Option<&'static str> {
        let is_read = self.operation.starts_with("read");
        match self.cause.kind() {
            _ if is_read => None,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(
                "free space there, for example with `driverkit-matrix cache gc`, or use another directory with --out or --cache",
            ),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Some(
                "give this user write access there, or use another path (directories: --out, --cache)",
            ),
            _ => None,
        }
    }

    /// Returns true if the disk or the quota is full or a file size limit is reached, so that the run cannot continue.
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self.cause.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        )
    }
}

/// The prefix of temporary files and directories, which are created next to the final ones. The leftovers of a killed
/// run are recognised by it.
pub const TEMPORARY_PREFIX: &str = ".dkm-tmp-";

/// Opens a regular file, without blocking: opening a pipe would otherwise wait for its writer. Other kinds are errors.
pub fn open_file(path: &Path) -> io::Result<File> {
    let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options()
        .read(true)
        .custom_flags(no_wait)
        .open(path)?;
    check_is_file(&file.metadata()?)?;
    Ok(file)
}

/// Returns an error unless the metadata is that of a regular file.
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

/// Reads a regular file whose path a user gave: see [`open_file`].
pub fn read_file(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    open_file(path)
        .and_then(|mut file| io::Read::read_to_end(&mut file, &mut bytes))
        .map_err(FileError::of("read", path))?;
    Ok(bytes)
}

/// Returns true if the file is being written, or was when its writer was killed.
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

/// Creates a directory and its parents.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(FileError::of("create directory", path))
}

/// A file under a temporary name in its final directory; removed when dropped.
pub struct PendingFile {
    file: tempfile::NamedTempFile,
    path: PathBuf,
}

impl PendingFile {
    /// Creates a temporary file in the directory of `path`; creates the directory if it does not exist.
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

    /// Returns the temporary path.
    pub fn temporary_path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the open file, to read back what was written.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Makes the content durable and renames the file to its final name, replacing an existing file.
    pub fn keep(self) -> Result<(), FileError> {
        let path = self.path.clone();
        self.keep_as(&path)
    }

    /// Renames the file to its final name without waiting for the disk: for files that can be recreated, and whose
    /// readers notice a wrong content.
    pub fn keep_unsynced(self) -> Result<(), FileError> {
        let path = self.path;
        let kept = self.file.persist(&path).map(drop);
        kept.map_err(|error| FileError::of("rename to", path)(error.error))
    }

    /// Makes the content durable and renames the file to `path`, which must be on the same file system. Creates the
    /// directory of `path` if it does not exist.
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

/// Writes `bytes` durably to `path`, replacing an existing file.
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), FileError> {
    let mut pending = PendingFile::create(path)?;
    pending
        .write_all(bytes.as_ref())
        .map_err(FileError::of("write", path))?;
    pending.keep()
}

/// Writes `bytes` to `path`, replacing an existing file, without waiting for the disk: for files that can be recreated.
pub fn write_unsynced(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), FileError> {
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path);
    file.and_then(|mut file| file.write_all(bytes.as_ref()))
        .map_err(FileError::of("write", path))
}

/// Renames `from` to `to` durably.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place that makes it durable"
    )]
    fs::rename(from, to).map_err(FileError::of("rename to", to))?;
    sync_folder(folder_of(to))
}

/// Links the file `from` to the additional name `to`, or copies it if the file system does not support hard links. An
/// existing `to` stays unchanged.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<(), FileError> {
    create_folder(folder_of(to))?;
    match fs::hard_link(from, to) {
        Ok(()) => sync_folder(folder_of(to)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(_) => write(to, read(from)?),
    }
}

/// A file that is only appended to. Flushed bytes survive the end of the process, synchronised ones also a crash of the
/// machine.
pub struct AppendFile {
    file: io::BufWriter<File>,
    path: PathBuf,
}

impl AppendFile {
    /// Creates an empty file, replacing an existing one; creates its directory if it does not exist.
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

    /// Appends bytes.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all(bytes)
            .map_err(FileError::of("write", &self.path))
    }

    /// Passes the appended bytes to the operating system.
    pub fn flush(&mut self) -> Result<(), FileError> {
        self.file
            .flush()
            .map_err(FileError::of("write", &self.path))
    }

    /// Makes the appended bytes durable.
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

/// Removes a directory with its content, including read-only parts. A missing directory is not an error.
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
            // If this fails, the removal below reports the error.
            drop(fs::set_permissions(
                entry.path(),
                fs::Permissions::from_mode(0o755),
            ));
        }
    }
}

/// Removes a file. A missing file is not an error.
pub fn remove_file(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::of("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Returns the parent directory of `path`; `.` for a bare name.
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
    fn written_file_replaces_the_old_one_without_leftovers() {
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
    fn dropped_pending_file_leaves_the_old_file_unchanged() {
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
    fn linked_file_keeps_its_content_when_the_original_is_rewritten() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let (path, kept) = (folder.path().join("a"), folder.path().join("kept/a"));
        write(&path, "one").expect("written");
        link_or_copy(&path, &kept).expect("linked");
        write(&path, "two").expect("written");
        link_or_copy(&path, &kept).expect("left alone");
        assert_eq!(read_to_string(&kept).expect("there"), "one");
    }

    #[test]
    fn appended_bytes_can_be_read_once_flushed() {
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
    fn full_disk_error_has_plain_text_and_advice() {
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
    fn lock_excludes_other_holders() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("lock");
        let held = Lock::exclusive(&path).expect("free");
        assert!(Lock::try_exclusive(&path).expect("tried").is_none());
        drop(held);
        assert!(Lock::try_exclusive(&path).expect("tried").is_some());
    }
}
