//! Extracts from an image built here what is needed to run programs of another architecture, or of a newer C library,
//! in an image that lacks it.
//!
//! In: the archive of such an image. Out: a directory with `lib/` (loader and libraries) and, for another architecture,
//! `qemu`, Debian's static emulator.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::fs::{self, FileError};
use crate::kernel::Architecture;

/// Name prefixes of the libraries that programs of the kernel's build system are linked with.
const LIBRARIES: &[&str] = &[
    "ld-linux",
    "libc.so.",
    "libm.so.",
    "libdl.so.",
    "libpthread.so.",
    "librt.so.",
    "libelf",
    "libdw",
    "libz.so.",
    "libzstd.so.",
    "libbz2.so.",
    "liblzma.so.",
    "libcrypto.so.",
];

/// The package with the emulators of other architectures.
pub(super) const EMULATOR_PACKAGE: &str = "qemu-user";

/// The name of the emulator in the directory.
pub const EMULATOR: &str = "qemu";

/// Writes the loader, the libraries and, if needed, the emulator for running programs of `machine` on `host` into the
/// directory `into`.
pub fn extract_runtime(
    archive: &Path,
    machine: Architecture,
    host: Architecture,
    into: &Path,
) -> Result<(), FileError> {
    let triplet = format!("{}-linux-gnu", machine.machine());
    // The libraries of another architecture are those of the cross compiler.
    let folder = if machine == host {
        format!("usr/lib/{triplet}")
    } else {
        format!("usr/{triplet}/lib")
    };
    let emulator = format!("usr/bin/qemu-{}", machine.machine());
    let read_error = || FileError::of("read", archive);
    let file = File::open(archive).map_err(read_error())?;
    let mut entries = tar::Archive::new(file);
    for entry in entries.entries_with_seek().map_err(read_error())? {
        let mut entry = entry.map_err(read_error())?;
        let path = entry.path().map_err(read_error())?.into_owned();
        let path = path.strip_prefix(".").map(Path::to_owned).unwrap_or(path);
        let Some(place) = place_of(&path, &folder)
            .or_else(|| (machine != host && path == Path::new(&emulator)).then(|| EMULATOR.into()))
        else {
            continue;
        };
        let place = into.join(place);
        if let Some(parent) = place.parent() {
            fs::create_folder(parent)?;
        }
        // The directory is empty, and the names cannot lead out of it.
        entry
            .unpack(&place)
            .map_err(FileError::of("write", &place))?;
    }
    Ok(())
}

/// Returns the destination of a library, or `None` for other files.
fn place_of(path: &Path, folder: &str) -> Option<PathBuf> {
    let name = path.strip_prefix(folder).ok()?.to_str()?;
    let is_library = LIBRARIES.iter().any(|start| name.starts_with(start));
    (is_library && !name.contains('/') && name.contains(".so")).then(|| Path::new("lib").join(name))
}

/// Returns the name of the loader for programs of an architecture, in `lib/`.
pub fn loader(machine: Architecture) -> &'static str {
    match machine {
        Architecture::Amd64 => "ld-linux-x86-64.so.2",
        Architecture::Arm64 => "ld-linux-aarch64.so.1",
    }
}
