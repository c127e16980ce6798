//! The configure checks of a driver: small modules and programs that test properties of a kernel.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::kbuild_module::{is_word, kbuild_objects};
use super::layout::{MOST_FILE_BYTES, SourceError};
use crate::digest::{KeyBuilder, Sha256};
use crate::driver::Artifact;
use crate::fs::ForeignFolder;

/// A configure check.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConfigureCheck {
    /// The name of the check; the driver sees `HAS_<name>`.
    pub name: String,
    /// The directory of the check in the configured driver: `configure/<name>` or `bpf/configure/<name>`.
    pub folder: String,
    /// Whether the check is for the module or the probe.
    pub artifact: Artifact,
    /// The digest of everything in the driver that the answer depends on: the files of the check's directory that are
    /// compiled, and the driver's own headers that they include. Equal checks of different driver versions have equal
    /// digests.
    pub digest: Sha256,
    /// The files that the digest covers, relative to the driver. A job of checks gets no other files, so that equal
    /// checks have the same answer in every driver.
    pub files: Vec<String>,
    /// The objects of the check's module, if the check does nothing but compile it and can therefore be compiled
    /// together with others.
    pub objects: Option<Vec<String>>,
}

impl ConfigureCheck {
    /// Returns the id under which a job of checks reports the answer.
    pub fn id(&self) -> String {
        format!("{}-{}", self.artifact, self.digest.short())
    }
}

/// The files of a check that determine what is compiled and how. `Makefile.inc` is not included: it only determines how
/// the driver uses the answer.
const FILES: [&str; 3] = ["Makefile", "build.sh", "test.c"];

/// Reads the checks of the configured driver in `driver`.
pub(super) fn read_checks(driver: &Path) -> Result<Vec<ConfigureCheck>, SourceError> {
    let mut checks = Vec::new();
    let files = ForeignFolder::open(driver)?;
    for (parent, artifact) in [
        ("bpf/configure", Artifact::Probe),
        ("configure", Artifact::Module),
    ] {
        for name in files.names(Path::new(parent))? {
            let path = Path::new(parent).join(&name);
            if !files.is_file(&path.join("build.sh")) {
                continue;
            }
            let name = name
                .into_string()
                .map_err(|_| SourceError::Name(driver.join(&path)))?;
            let folder = format!("{parent}/{name}");
            let objects = match artifact {
                Artifact::Module if is_word(&name) => objects(&files, &path)?,
                _ => None,
            };
            let (digest, covered) = digest(&files, driver, &folder, artifact)?;
            checks.push(ConfigureCheck {
                name,
                folder,
                artifact,
                digest,
                files: covered,
                objects,
            });
        }
    }
    checks.sort_by(|left, right| left.folder.cmp(&right.folder));
    Ok(checks)
}

/// Returns the objects of a check in `folder` that is only a kbuild module.
fn objects(files: &ForeignFolder, folder: &Path) -> Result<Option<Vec<String>>, SourceError> {
    let makefile = folder.join("Makefile");
    if !files.is_file(&makefile) {
        return Ok(None);
    }
    let text = |path: &Path| {
        let bytes = files.read(path, MOST_FILE_BYTES)?;
        Ok::<_, SourceError>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let script = text(&folder.join("build.sh"))?;
    Ok(kbuild_objects(&text(&makefile)?, &script))
}

/// Returns the digest of a check, and the files that it covers.
fn digest(
    driver: &ForeignFolder,
    root: &Path,
    folder: &str,
    artifact: Artifact,
) -> Result<(Sha256, Vec<String>), SourceError> {
    let mut pending: Vec<PathBuf> = FILES
        .iter()
        .map(|name| Path::new(folder).join(name))
        .filter(|path| driver.is_file(path))
        .collect();
    let mut files: BTreeSet<PathBuf> = pending.iter().cloned().collect();
    let mut key = KeyBuilder::new("configure check", 1).field("artifact", artifact);
    let mut fields = Vec::new();
    while let Some(path) = pending.pop() {
        let bytes = driver.read(&path, MOST_FILE_BYTES)?;
        for included in local_includes(&String::from_utf8_lossy(&bytes)) {
            let parent = path.parent().unwrap_or(Path::new(""));
            let Some(target) = normalise(&parent.join(&included)) else {
                let path = root.join(&path);
                return Err(SourceError::Include { path, included });
            };
            // Files that do not exist here are looked up in the kernel, whose tree is part of the answer's cache key
            // anyway.
            if driver.is_file(&target) && files.insert(target.clone()) {
                pending.push(target);
            }
        }
        // Paths are relative to the check's directory, so that its name does not affect the digest.
        let relative = match path.strip_prefix(folder) {
            Ok(inside) => inside.to_owned(),
            Err(_) => Path::new("..").join(&path),
        };
        fields.push((relative.display().to_string(), Sha256::of(bytes)));
    }
    fields.sort_unstable();
    for (path, digest) in fields {
        key = key.field(path, digest);
    }
    let files = files.iter().map(|path| path.display().to_string());
    Ok((key.key(), files.collect()))
}

/// Returns the files that a C source includes with a relative path: `#include "../quirks.h"`.
fn local_includes(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let rest = line.trim_start().strip_prefix('#')?.trim_start();
            let rest = rest
                .strip_prefix("include")?
                .trim_start()
                .strip_prefix('"')?;
            rest.split_once('"').map(|(path, _)| path.to_owned())
        })
        .collect()
}

/// Resolves `..` without accessing the file system. Returns `None` for a path outside of the directory.
fn normalise(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir => {
                if !parts.pop() {
                    return None;
                }
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;
    use crate::source::read_configured_driver;

    const MAKEFILE: (&str, &str) = ("Makefile", "falco-y += main.o\nobj-m += falco.o\n");

    fn driver(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in [MAKEFILE].iter().chain(files) {
            fs::write(&folder.path().join(path), text).unwrap();
        }
        folder
    }

    const FILES_OF_A_DRIVER: [(&str, &str); 8] = [
        ("configure/A/build.sh", "make"),
        ("configure/A/test.c", "#include <linux/module.h>\n"),
        ("configure/A/Makefile.inc", "HAS_A"),
        ("bpf/configure/B/build.sh", "make"),
        (
            "bpf/configure/B/test.c",
            "# include \"../../quirks.h\"\n#include \"asm/x.h\"\n",
        ),
        ("bpf/quirks.h", "#include \"types.h\"\n"),
        ("bpf/types.h", "typedef int a;\n"),
        ("bpf/fillers.h", ""),
    ];

    fn digests(changes: &[(&str, &str)]) -> [Sha256; 2] {
        let mut files = FILES_OF_A_DRIVER.to_vec();
        files.extend_from_slice(changes);
        let folder = driver(&files);
        let configured = read_configured_driver(folder.path()).unwrap();
        assert_eq!(configured.module_name, "falco");
        let folders: Vec<_> = configured
            .checks
            .iter()
            .map(|check| check.folder.as_str())
            .collect();
        assert_eq!(folders, ["bpf/configure/B", "configure/A"]);
        let of = |artifact| configured.checks_of(artifact).next().unwrap().digest;
        [of(Artifact::Module), of(Artifact::Probe)]
    }

    #[test]
    fn a_digest_covers_what_the_answer_depends_on_and_nothing_else() {
        let [module, probe] = digests(&[]);
        for (path, changes_module, changes_probe) in [
            ("configure/A/test.c", true, false),
            ("configure/A/build.sh", true, false),
            ("configure/A/Makefile", true, false),
            ("configure/A/Makefile.inc", false, false),
            ("configure/A/test.o", false, false),
            ("bpf/quirks.h", false, true),
            ("bpf/types.h", false, true),
            ("bpf/fillers.h", false, false),
            ("main.c", false, false),
        ] {
            let changed = digests(&[(path, "other\n#include \"types.h\"\n")]);
            assert_eq!(changed[0] != module, changes_module, "{path}");
            assert_eq!(changed[1] != probe, changes_probe, "{path}");
        }
    }

    #[test]
    fn equal_checks_with_different_names_have_one_digest() {
        let folder = driver(&[
            ("configure/A/build.sh", "make"),
            ("configure/A/test.c", "x"),
            ("configure/B/build.sh", "make"),
            ("configure/B/test.c", "x"),
            ("configure/build.sh", "not a check"),
        ]);
        let checks = read_configured_driver(folder.path()).unwrap().checks;
        assert_eq!(checks.len(), 2);
        assert_eq!(checks[0].digest, checks[1].digest);
        assert!(checks[0].id().starts_with("module-"));
    }

    #[test]
    fn a_check_with_files_outside_of_the_driver_is_refused() {
        let folder = driver(&[
            ("configure/A/build.sh", "make"),
            ("configure/A/test.c", "#include \"../../../etc/passwd\"\n"),
        ]);
        let error = read_configured_driver(folder.path()).unwrap_err();
        assert!(matches!(error, SourceError::Include { .. }), "{error}");
    }
}
