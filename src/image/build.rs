//! Builds an image's archive with mmdebstrap, from a Debian mirror.
//!
//! The same packages give the same bytes, regardless of the mirror: timestamps are fixed, and everything that depends
//! on the building machine is removed.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use url::Url;

use super::record::{archive_path, record_path};
use super::{BuiltImage, DebianArchive, ImageDescription, RecordError};
use crate::digest::HashingWriter;
use crate::fs::{self, FileError, Lock, PendingFile, TEMPORARY_PREFIX};

/// The mirror from which Debian packages are fetched.
#[derive(Clone, Debug)]
pub struct DebianMirror {
    /// The archive of releases and updates.
    pub main: Url,
    /// The archive of security updates; if `None`, images have no security updates.
    pub security: Option<Url>,
}

/// Why an image could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file could not be written or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The record next to the archive could not be written or read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// mmdebstrap could not be started.
    #[error("failed to run mmdebstrap (Debian package mmdebstrap): {0}")]
    Start(io::Error),
    /// mmdebstrap failed.
    #[error("mmdebstrap failed for {image} ({status}):\n{last_lines}")]
    Failed {
        /// The image's name.
        image: String,
        /// The exit status of mmdebstrap.
        status: ExitStatus,
        /// The last lines of its output.
        last_lines: String,
    },
    /// The archive contains no list of installed packages.
    #[error("{} contains no list of installed packages", .0.display())]
    NoPackages(PathBuf),
}

/// The result of a build request.
#[derive(Clone, Debug)]
pub enum BuildOutcome {
    /// The image was built now.
    Built(BuiltImage),
    /// The image already existed, built from the same description.
    AlreadyThere(BuiltImage),
}

/// The timestamp of all files that are newer (14 November 2023), so that an image does not depend on the time of its
/// build.
const SOURCE_DATE_EPOCH: &str = "1700000000";

/// Documentation and translations, which no build reads.
const EXCLUDED: [&str; 5] = [
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/lintian/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
];

/// Creates empty directories for jobs, and removes files that name the mirror or the building machine.
const TIDY: &str = r#"
    install -d -m 1777 "$1/work" "$1/out"
    rm -f "$1/etc/apt/sources.list" "$1/etc/hostname" "$1/etc/resolv.conf"
"#;

/// Puts the libraries of the packages `$@` next to those of the cross compiler. They are not installed as packages: in
/// a rolling suite, their version can differ from that of the image's own architecture, which dpkg would refuse.
const TAKE_LIBRARIES: &str = r#"
    set -e
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
    apt-get -qq -o APT::Sandbox::User=root download "$@"
    for package in *.deb; do dpkg-deb -x "$package" all; done
    install -d "$root/usr/$triplet/lib"
    find all -path "*/$triplet/lib*.so*" ! -type d -exec cp -at "$root/usr/$triplet/lib" {} +
"#;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The number of lines of mmdebstrap's output that an error shows.
const LAST_LINES: usize = 20;

/// Builds the image in `folder` if it does not exist, was built from another description, or `anew` is set. Two
/// processes do not build the same image concurrently. Takes about a minute; blocks the thread.
pub fn build(
    description: &ImageDescription,
    mirror: &DebianMirror,
    folder: &Path,
    anew: bool,
) -> Result<BuildOutcome, BuildError> {
    let name = &description.name;
    let folder_lock = folder.join("lock");
    if let Some(_alone) = Lock::try_exclusive(&folder_lock)? {
        remove_leftovers(folder)?;
    }
    let _folder = Lock::shared(&folder_lock)?;
    let _image = Lock::exclusive(&folder.join(format!("{name}.lock")))?;
    if !anew
        && let Some(image) = BuiltImage::load(folder, name)?
        && image.is_of(description)
    {
        return Ok(BuildOutcome::AlreadyThere(image));
    }

    let path = archive_path(folder, name);
    let mut archive = HashingWriter::new(PendingFile::create(&path)?);
    let mut command = mmdebstrap(description, mirror);
    let (status, last_lines) = run(&mut command, &mut archive, &path)?;
    if !status.success() {
        return Err(BuildError::Failed {
            image: name.clone(),
            status,
            last_lines,
        });
    }
    let (digest, size_bytes, archive) = archive.finish();
    let packages = installed_packages(archive.temporary_path())?
        .ok_or_else(|| BuildError::NoPackages(path.clone()))?;
    // Remove the record first, so that no record describes another archive, even if this process crashes.
    fs::remove_file(&record_path(folder, name))?;
    archive.keep()?;
    let image = BuiltImage::new(description, folder, (digest, size_bytes), packages);
    image.keep(folder)?;
    Ok(BuildOutcome::Built(image))
}

/// Removes partial archives of killed builds. Must be called while no other process builds in `folder`.
fn remove_leftovers(folder: &Path) -> Result<(), FileError> {
    let entries = std::fs::read_dir(folder).map_err(FileError::of("read directory", folder))?;
    for entry in entries {
        let entry = entry.map_err(FileError::of("read directory", folder))?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(TEMPORARY_PREFIX.as_bytes())
        {
            fs::remove_file(&entry.path())?;
        }
    }
    Ok(())
}

fn mmdebstrap(description: &ImageDescription, mirror: &DebianMirror) -> Command {
    let debian = &description.debian;
    let mut command = Command::new("mmdebstrap");
    command
        .env("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH)
        .env("LC_ALL", "C.UTF-8")
        .args(["--format=tar", "--variant=essential"])
        .arg(format!("--architectures={}", architectures(description)))
        .arg(format!("--include={}", description.packages.join(",")))
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .arg("--aptopt=Acquire::Languages \"none\"");
    for option in &debian.apt_options {
        command.arg(format!("--aptopt={option}"));
    }
    let excluded = EXCLUDED
        .into_iter()
        .chain(debian.exclude.iter().map(String::as_str));
    for pattern in excluded {
        command.arg(format!("--dpkgopt=path-exclude={pattern}"));
    }
    // A hook is a shell script whose $1 is the image's root.
    let quote = |text: &str| text.replace('\'', r"'\''");
    for program in &debian.strip {
        let program = quote(program);
        command.arg(format!(
            "--customize-hook=chroot \"$1\" strip --strip-debug -- '{program}'"
        ));
    }
    for (machine, packages) in &debian.foreign_libraries {
        let packages: Vec<String> = packages
            .iter()
            .map(|package| format!("'{}:{machine}'", quote(package)))
            .collect();
        command.arg(format!(
            "--customize-hook=root=$1; triplet={}-linux-gnu; set -- {}\n{TAKE_LIBRARIES}",
            machine.machine(),
            packages.join(" ")
        ));
    }
    for (link, to) in &description.links {
        let (link, to) = (quote(link), quote(to));
        command.arg(format!("--customize-hook=ln -s -- '{to}' \"$1\"'{link}'"));
    }
    command
        .arg(format!("--customize-hook={TIDY}"))
        .args([&debian.suite, "-"])
        .args(sources(&debian.suite, &debian.archives, mirror));
    command
}

/// Returns the architectures whose package indexes apt reads, the image's own first.
fn architectures(description: &ImageDescription) -> String {
    let own = std::iter::once(&description.host_architecture);
    let foreign = description.debian.foreign_libraries.keys();
    let all: Vec<&str> = own.chain(foreign).map(|one| one.as_str()).collect();
    all.join(",")
}

/// Returns the lines of apt's `sources.list`.
fn sources(suite: &str, archives: &[DebianArchive], mirror: &DebianMirror) -> Vec<String> {
    let line = |url: &Url, suffix: &str| {
        let url = url.as_str().trim_end_matches('/');
        format!("deb [signed-by={KEYRING}] {url} {suite}{suffix} main")
    };
    let lines = archives.iter().filter_map(|archive| match archive {
        DebianArchive::Main => Some(line(&mirror.main, "")),
        DebianArchive::Updates => Some(line(&mirror.main, "-updates")),
        DebianArchive::Security => mirror
            .security
            .as_ref()
            .map(|security| line(security, "-security")),
    });
    lines.collect()
}

/// Runs the command and writes its output to `archive`. Returns the exit status and the last lines of stderr.
fn run(
    command: &mut Command,
    archive: &mut HashingWriter<PendingFile>,
    path: &Path,
) -> Result<(ExitStatus, String), BuildError> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(BuildError::Start)?;
    let (output, messages) = (child.stdout.take(), child.stderr.take());
    let (copied, last_lines) = std::thread::scope(|scope| {
        let last_lines = scope.spawn(|| messages.map(last_lines).unwrap_or_default());
        // If writing fails, the pipe is closed here, which ends mmdebstrap.
        let copied = output.map_or(Ok(0), |mut output| io::copy(&mut output, archive));
        (copied, last_lines.join().unwrap_or_default())
    });
    let status = child.wait().map_err(BuildError::Start)?;
    copied.map_err(FileError::of("write", path))?;
    Ok((status, last_lines))
}

fn last_lines(messages: impl io::Read) -> String {
    let mut last = VecDeque::with_capacity(LAST_LINES);
    for line in BufReader::new(messages).split(b'\n').map_while(Result::ok) {
        // Progress bars end with a carriage return only, so keep what follows the last one.
        let line = String::from_utf8_lossy(&line);
        let line = line
            .trim_end()
            .rsplit('\r')
            .next()
            .unwrap_or_default()
            .to_owned();
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    Vec::from(last).join("\n")
}

/// Returns the name and version of each package installed in the archive's root file system.
fn installed_packages(archive: &Path) -> Result<Option<BTreeMap<String, String>>, FileError> {
    let read_error = || FileError::of("read", archive);
    let file = File::open(archive).map_err(read_error())?;
    let mut archive = tar::Archive::new(file);
    for entry in archive.entries_with_seek().map_err(read_error())? {
        let mut entry = entry.map_err(read_error())?;
        if entry.path_bytes().strip_prefix(b"./".as_slice()) != Some(b"var/lib/dpkg/status") {
            continue;
        }
        let mut status = String::new();
        entry.read_to_string(&mut status).map_err(read_error())?;
        return Ok(Some(parse_status(&status)));
    }
    Ok(None)
}

fn parse_status(status: &str) -> BTreeMap<String, String> {
    let field = |paragraph: &str, name: &str| {
        let mut lines = paragraph.lines();
        lines.find_map(|line| line.strip_prefix(name).map(|value| value.trim().to_owned()))
    };
    status
        .split("\n\n")
        .filter_map(|paragraph| {
            let state = field(paragraph, "Status:")?;
            let found = (field(paragraph, "Package:")?, field(paragraph, "Version:")?);
            state.ends_with(" installed").then_some(found)
        })
        .collect()
}

#[cfg(test)]
mod tests;
