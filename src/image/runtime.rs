//! What runs programs of another machine, or of a newer C library, in an image that lacks it: parts of an image that
//! was built here.
//!
//! In: the archive of such an image. Out: a directory with `lib/` (loader and libraries) and, for another machine,
//! `qemu`, Debian's static emulator of it.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::fs::{self, FileError};
use crate::kernel::Architecture;

/// Beginnings of the names of what programs of the kernel's build system are linked with.
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

/// The package that emulates other machines.
pub(super) const EMULATOR_PACKAGE: &str = "qemu-user";

/// The emulator's name in the directory.
pub const EMULATOR: &str = "qemu";

/// Writes what runs programs of `machine` on `host` into the directory `into`.
pub fn extract_runtime(
    archive: &Path,
    machine: Architecture,
    host: Architecture,
    into: &Path,
) -> Result<(), FileError> {
    let triplet = format!("{}-linux-gnu", machine.machine());
    // The libraries of another machine are those of the cross compiler.
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
        // Into an empty directory, and under names that hold no way out of it.
        entry
            .unpack(&place)
            .map_err(FileError::of("write", &place))?;
    }
    Ok(())
}

/// Where a library goes.
fn place_of(path: &Path, folder: &str) -> Option<PathBuf> {
    let name = path.strip_prefix(folder).ok()?.to_str()?;
    let is_library = LIBRARIES.iter().any(|start| name.starts_with(start));
    (is_library && !name.contains('/') && name.contains(".so")).then(|| Path::new("lib").join(name))
}

/// The loader of a machine's programs, in `lib/`.
pub fn loader(machine: Architecture) -> &'static str {
    match machine {
        Architecture::Amd64 => "ld-linux-x86-64.so.2",
        Architecture::Arm64 => "ld-linux-aarch64.so.1",
    }
}
