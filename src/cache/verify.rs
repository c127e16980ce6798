//! Proves that the store holds what its names say.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::clean::{children, contents};
use super::outcome::{Outcome, Outcomes};
use crate::digest::Sha256;
use crate::fs::{self, FileError};
use crate::store::{SharedFile, Store};

/// Something in the store that is not what its name says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Defect {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// Reads everything in the store and compares it with its names. `tree_digest` gives the digest of a folder.
/// With `remove`, what is wrong is removed, so that the next run makes it again.
pub fn verify(
    store: &Store,
    tree_digest: impl Fn(&Path) -> Result<Sha256, String> + Sync,
    remove: bool,
) -> Result<Vec<Defect>, FileError> {
    let root = store.root();
    let mut blobs = Vec::new();
    for folder in children(&root.join("blobs"))? {
        blobs.extend(children(&folder)?);
    }
    let mut shared = Vec::new();
    for folder in children(&root.join("files"))? {
        shared.extend(children(&folder)?);
    }
    let mut outcomes = Vec::new();
    for folder in children(Outcomes::new(root).folder())? {
        if folder.file_name().is_some_and(|name| name != "locks") {
            outcomes.extend(children(&folder)?);
        }
    }
    let mut defects: Vec<Defect> = Vec::new();
    defects.par_extend(blobs.into_par_iter().filter_map(|path| {
        let found = std::fs::File::open(&path).and_then(Sha256::of_reader);
        compare(
            path,
            found
                .map(|(digest, _)| digest)
                .map_err(|error| error.to_string()),
        )
    }));
    defects.par_extend(shared.into_par_iter().filter_map(|path| {
        let problem = shared_file_problem(&path)?;
        Some(Defect { path, problem })
    }));
    defects.par_extend(
        children(&root.join("trees"))?
            .into_par_iter()
            .filter_map(|path| {
                let found = tree_digest(&path);
                compare(path, found)
            }),
    );
    if remove {
        for defect in &defects {
            if defect.path.is_dir() {
                fs::remove_folder(&defect.path)?;
            } else {
                fs::remove_file(&defect.path)?;
            }
        }
    }
    // After the files, so that an outcome whose file was just removed goes too.
    for path in outcomes {
        let problem = match serde_json::from_slice::<Outcome>(&fs::read(&path)?) {
            Err(error) => Some(format!("cannot be read: {error}")),
            Ok(outcome) if Outcomes::new(root).path(outcome.inputs.key()) != path => {
                Some("its inputs do not give its key".to_owned())
            }
            Ok(outcome) => contents(&outcome)
                .into_iter()
                .find(|&digest| !store.has_blob(digest))
                .map(|digest| format!("names {digest}, which is not in the store")),
        };
        if let Some(problem) = problem {
            if remove {
                fs::remove_file(&path)?;
            }
            defects.push(Defect { path, problem });
        }
    }
    defects.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(defects)
}

/// What is wrong with a file that trees share: later ones would take it.
fn shared_file_problem(path: &Path) -> Option<String> {
    let read = || -> std::io::Result<SharedFile> {
        let file = std::fs::File::open(path)?;
        let is_executable = file.metadata()?.permissions().mode() & 0o100 != 0;
        let (sha256, _) = Sha256::of_reader(file)?;
        Ok(SharedFile {
            sha256,
            is_executable,
        })
    };
    let name = path.file_name().and_then(|name| name.to_str());
    match read() {
        Ok(found) if name.and_then(SharedFile::of_name) == Some(found) => None,
        Ok(found) => Some(format!("its content has digest {}", found.sha256)),
        Err(error) => Some(error.to_string()),
    }
}

fn compare(path: PathBuf, found: Result<Sha256, String>) -> Option<Defect> {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let problem = match found {
        Ok(found) if name.as_deref() == Some(&found.to_string()) => return None,
        Ok(found) => format!("its content has digest {found}"),
        Err(error) => error,
    };
    Some(Defect { path, problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::StepResult;
    use crate::digest::KeyBuilder;
    use std::io::Write as _;
    use std::time::Duration;

    #[test]
    fn changed_files_and_outcomes_without_files_are_found_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), "run").unwrap();
        let (good, _) = store.put_blob("good".as_bytes()).unwrap();
        let (bad, _) = store.put_blob("bad".as_bytes()).unwrap();
        fs::write(&store.blob_path(bad), "changed").unwrap();
        let outcome = Outcome {
            inputs: KeyBuilder::new("module", 1),
            result: StepResult::Check { passed: true },
            log: Some(bad),
            wall: Duration::ZERO,
            cpu: None,
            peak_memory_bytes: None,
        };
        Outcomes::new(folder.path()).put(&outcome).unwrap();
        let no_trees = |_: &Path| Err("no trees here".to_owned());
        let found = verify(&store, no_trees, false).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].path, store.blob_path(bad));
        let removed = verify(&store, no_trees, true).unwrap();
        assert_eq!(removed.len(), 2, "{removed:?}");
        assert!(store.has_blob(good));
        assert_eq!(verify(&store, no_trees, false).unwrap(), []);

        let shared = store.shared_files().unwrap();
        for (content, is_executable) in [("good", false), ("good", true), ("other", false)] {
            let path = folder.path().join(format!("{content}{is_executable}"));
            fs::write(&path, content).unwrap();
            let sha256 = Sha256::of("good");
            let file = SharedFile {
                sha256,
                is_executable,
            };
            shared.add(&path, file).unwrap();
            let found = verify(&store, no_trees, true).unwrap();
            // Of the second, its mode is wrong; the third has the first one's name, so it is not taken.
            assert_eq!(found.len(), usize::from(is_executable), "{found:?}");
        }
        fs::remove_file(&folder.path().join("goodfalse")).unwrap();
        let name = Sha256::of("good").to_string();
        let path = folder.path().join("files").join(&name[..2]).join(&name);
        std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"x")
            .unwrap();
        let found = verify(&store, no_trees, true).unwrap();
        assert_eq!(found[0].path, path);
        assert_eq!(verify(&store, no_trees, false).unwrap(), []);
    }
}
