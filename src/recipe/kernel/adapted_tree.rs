//! Helpers to copy a tree and replace some of its programs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::fs::{self, FileError};
use crate::image;
use crate::kernel::Architecture;

/// Returns a script that runs a program which this machine or its C library cannot run. The program sees its usual
/// name, because some programs look for files next to themselves.
pub(crate) fn wrapper(
    machine: Architecture,
    host: Architecture,
    base: &Path,
    program: &Path,
) -> String {
    let quote = |path: &Path| {
        let text = path.display().to_string();
        format!("'{}'", text.replace('\'', r"'\''"))
    };
    let (base_text, program) = (quote(base), quote(program));
    let command = if machine == host {
        let libraries = base.join("lib");
        format!(
            "{} --argv0 \"$0\" --library-path {}",
            quote(&libraries.join(image::loader(machine))),
            quote(&libraries)
        )
    } else {
        format!(
            "{} -0 \"$0\" -L {base_text}",
            quote(&base.join(image::EMULATOR))
        )
    };
    format!("#!/bin/sh\nexec {command} {program} \"$@\"\n")
}

/// Replaces a file, which may be a hard link, by a program with this content.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    fs::remove_file(path)?;
    fs::write(path, content)?;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(path, mode).map_err(FileError::of("change", path))
}

/// Copies a tree by hard links.
pub(crate) fn link_all(from: &Path, into: &Path) -> Result<(), FileError> {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(from).to_owned();
            FileError::of("read", path)(error.into())
        })?;
        let path = entry.path();
        let target = into.join(path.strip_prefix(from).unwrap_or(path));
        if entry.file_type().is_dir() {
            fs::create_folder(&target)?;
        } else if entry.file_type().is_symlink() {
            let link = std::fs::read_link(path).map_err(FileError::of("read link", path))?;
            std::os::unix::fs::symlink(link, &target).map_err(FileError::of("link", &target))?;
        } else if std::fs::hard_link(path, &target).is_err() {
            // The number of hard links to a file is limited.
            std::fs::copy(path, &target).map_err(FileError::of("copy to", &target))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapper_passes_on_the_name_of_the_program() {
        let base = Path::new("/a/.driverkit-matrix/arm64");
        let text = wrapper(
            Architecture::Arm64,
            Architecture::Amd64,
            base,
            Path::new("/a/x"),
        );
        assert_eq!(
            text,
            "#!/bin/sh\nexec '/a/.driverkit-matrix/arm64/qemu' -0 \"$0\" -L '/a/.driverkit-matrix/arm64' '/a/x' \"$@\"\n"
        );
    }
}
