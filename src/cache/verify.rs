//! Verifies the contents of the store against their digests.

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::clean::contents;
use super::listing::children;
use super::outcome::{KeptOutcome, Outcome, StepResult};
use super::outcomes::Outcomes;
use crate::digest::Sha256;
use crate::fs::{self, FileError};
use crate::store::{SharedFile, Store};

/// A damaged or inconsistent file or directory in the store.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Defect {
    /// The file or directory.
    pub path: PathBuf,
    /// A description of the problem.
    pub problem: String,
}

/// Reads everything in the store, compares it with its digests and returns the defects. `tree_digest` computes the
/// digest of a directory. With `remove`, defects are removed so that the next run rebuilds them; the caller must then
/// hold the store exclusively. Outcomes with a damaged input are defects too, and so are the artifacts they produced.
pub fn verify(
    store: &Store,
    tree_digest: impl Fn(&Path) -> Result<Sha256, String> + Sync,
    remove: bool,
) -> Result<Vec<Defect>, FileError> {
    let root = store.root();
    if remove {
        store.sweep()?;
    }
    let blobs = grandchildren(&root.join("blobs"))?;
    let shared = grandchildren(&root.join("files"))?;
    let outcomes = grandchildren(Outcomes::new(root).folder())?;
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
    let wrong: HashSet<String> = defects
        .iter()
        .filter_map(|defect| name(&defect.path))
        .collect();
    let mut kept = Vec::new();
    for path in outcomes {
        let outcome = KeptOutcome::read(&fs::read(&path)?).and_then(KeptOutcome::confirmed);
        kept.push((path, outcome));
    }
    // An artifact that was built from a damaged input may be wrong itself.
    let suspects: BTreeSet<Sha256> = kept
        .iter()
        .filter_map(|(_, outcome)| outcome.as_ref().ok())
        .filter(|outcome| wrong_input(outcome, &wrong).is_some())
        .filter_map(|outcome| match &outcome.result {
            StepResult::Artifact(facts) => Some(facts.sha256),
            _ => None,
        })
        .collect();
    for path in suspects.iter().map(|&digest| store.blob_path(digest)) {
        if path.is_file() && !name(&path).is_some_and(|name| wrong.contains(&name)) {
            let problem = "it was built from a damaged input".to_owned();
            defects.push(Defect { path, problem });
        }
    }
    let is_there = |digest: Sha256| {
        let is_wrong = wrong.contains(&digest.to_string()) || suspects.contains(&digest);
        store.has_blob(digest) && !is_wrong
    };
    for (path, outcome) in kept {
        let problem = match outcome {
            Err(problem) => Some(problem),
            Ok(outcome) if Outcomes::new(root).path(outcome.inputs.key()) != path => {
                Some("its inputs do not match its key".to_owned())
            }
            Ok(outcome) => wrong_input(&outcome, &wrong).or_else(|| {
                let lost = contents(&outcome)
                    .into_iter()
                    .find(|&digest| !is_there(digest))?;
                Some(format!(
                    "names {lost}, which is missing in the store or damaged"
                ))
            }),
        };
        defects.extend(problem.map(|problem| Defect { path, problem }));
    }
    if remove {
        for defect in &defects {
            remove_any(&defect.path)?;
        }
    }
    defects.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(defects)
}

/// Describes the first input of an outcome that is among the digests in `wrong`.
fn wrong_input(outcome: &Outcome, wrong: &HashSet<String>) -> Option<String> {
    let mut fields = outcome.inputs.fields();
    let (field, value) = fields.find(|(_, value)| wrong.contains(*value))?;
    Some(format!("its input `{field}` is {value}, which is damaged"))
}

/// Returns the files two levels below `folder`, except temporary files and locks.
fn grandchildren(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut found = Vec::new();
    for folder in children(folder)? {
        if folder.file_name().is_some_and(|name| name != "locks") && folder.is_dir() {
            found.extend(children(&folder)?);
        }
    }
    found.retain(|path| !fs::is_temporary(path));
    Ok(found)
}

fn remove_any(path: &Path) -> Result<(), FileError> {
    if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        fs::remove_folder(path)
    } else {
        fs::remove_file(path)
    }
}

fn name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// Describes the problem with a shared file, if there is one. Later trees would link to the file.
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
    let problem = match found {
        Ok(found) if name(&path).as_deref() == Some(&found.to_string()) => return None,
        Ok(found) => format!("its content has digest {found}"),
        Err(error) => error,
    };
    Some(Defect { path, problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{ArtifactFacts, StepResult};
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
            failure_rules: 0,
            run_id: None,
            done_at: None,
        };
        Outcomes::new(folder.path()).put(&outcome).unwrap();
        let no_trees = |_: &Path| Err("no trees here".to_owned());
        let found = verify(&store, no_trees, false).unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].path, store.blob_path(bad));
        assert_eq!(verify(&store, no_trees, true).unwrap(), found);
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
            // The second file has the wrong mode; the third is not added because the name of the first exists.
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

    #[test]
    fn outcomes_and_artifacts_of_a_damaged_tree_are_removed_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_alone(folder.path(), "run").unwrap();
        let work = store.temporary_folder().unwrap();
        fs::write(&work.path().join("tree/file"), "damaged").unwrap();
        let tree = Sha256::of("tree");
        store.put_tree(&work.path().join("tree"), tree).unwrap();
        let (sha256, size_bytes) = store.put_blob("module".as_bytes()).unwrap();
        let outcome = |name: &str, input, result| Outcome {
            inputs: KeyBuilder::new(name, 1).field("kernel tree /usr", input),
            result,
            log: None,
            wall: Duration::ZERO,
            cpu: None,
            peak_memory_bytes: None,
            failure_rules: 0,
            run_id: None,
            done_at: None,
        };
        let module = StepResult::Artifact(ArtifactFacts {
            sha256,
            size_bytes,
            vermagic: None,
            srcversion: None,
        });
        let check = StepResult::Check { passed: false };
        let outcomes = Outcomes::new(folder.path());
        let of_tree = [
            outcome("module", tree, module),
            outcome("check", tree, check.clone()),
        ];
        let other = outcome("check", Sha256::of("other"), check);
        for outcome in of_tree.iter().chain([&other]) {
            outcomes.put(outcome).unwrap();
        }
        let changed = |_: &Path| Ok(Sha256::of("changed"));
        let found = verify(&store, changed, false).unwrap();
        assert_eq!(found.len(), 4, "{found:#?}");
        assert_eq!(verify(&store, changed, true).unwrap(), found);
        assert!(!store.has_tree(tree) && !store.has_blob(sha256));
        for outcome in of_tree {
            assert_eq!(outcomes.find(outcome.inputs.key()).unwrap(), None);
        }
        assert!(outcomes.find(other.inputs.key()).unwrap().is_some());
        assert_eq!(verify(&store, changed, false).unwrap(), []);
    }

    #[test]
    fn file_that_is_being_written_is_not_a_defect() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_alone(folder.path(), "run").unwrap();
        let path = Outcomes::new(folder.path()).folder().join("ab/.dkm-tmp-1");
        fs::write(&path, "{").unwrap();
        let no_trees = |_: &Path| Err("no trees here".to_owned());
        assert_eq!(verify(&store, no_trees, false).unwrap(), []);
        assert!(path.exists());
        assert_eq!(verify(&store, no_trees, true).unwrap(), []);
        assert!(!path.exists());
    }
}
