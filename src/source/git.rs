//! A commit of a local clone, by git's own program: nothing that is changed or left over in the clone's folder counts.

use std::path::Path;
use std::process::Command;

use super::layout::SourceError;

/// The id of the folder that a commit, tag or branch of the clone in `repository` holds: equal contents have equal ids.
pub fn resolve(repository: &Path, reference: &str) -> Result<String, SourceError> {
    let wanted = format!("{reference}^{{tree}}");
    let id = git(
        repository,
        &[
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &wanted,
        ],
    )
    .map_err(|message| SourceError::Git {
        repository: repository.to_owned(),
        message: if message.is_empty() {
            format!("it has no commit, tag or branch `{reference}`")
        } else {
            message
        },
    })?;
    // Some versions of git print the option, too.
    let id = id.lines().last().unwrap_or_default().trim().to_owned();
    Ok(id)
}

/// Writes the folder with this id as a tar archive.
pub fn archive(repository: &Path, tree: &str, into: &Path) -> Result<(), SourceError> {
    let output = format!("--output={}", into.display());
    git(repository, &["archive", "--format=tar", &output, tree])
        .map(drop)
        .map_err(|message| SourceError::Git {
            repository: repository.to_owned(),
            message,
        })
}

/// What git prints, or what it complains of.
fn git(repository: &Path, words: &[&str]) -> Result<String, String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(repository)
        .args(words)
        // A clone's own settings must not start other programs.
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .output()
        .map_err(|error| format!("failed to run git: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(text.lines().next().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;

    fn run(folder: &Path, words: &[&str]) {
        let status = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(["-c", "user.name=a", "-c", "user.email=a@example.org"])
            .args(words)
            .output()
            .unwrap()
            .status;
        assert!(status.success(), "git {words:?}");
    }

    #[test]
    fn commits_are_found_by_any_name_and_what_is_not_committed_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let clone = folder.path().join("clone");
        fs::write(&clone.join("driver/main.c"), "one").unwrap();
        run(&clone, &["init", "--quiet", "--initial-branch=main"]);
        run(&clone, &["add", "."]);
        run(&clone, &["commit", "--quiet", "-m", "one"]);
        run(&clone, &["tag", "v1"]);
        let first = resolve(&clone, "v1").unwrap();
        assert_eq!(resolve(&clone, "main").unwrap(), first);
        fs::write(&clone.join("driver/main.c"), "two").unwrap();
        assert_eq!(resolve(&clone, "main").unwrap(), first);
        run(&clone, &["commit", "--quiet", "--all", "-m", "two"]);
        assert_ne!(resolve(&clone, "main").unwrap(), first);

        let tar = folder.path().join("sources.tar");
        archive(&clone, &first, &tar).unwrap();
        let into = folder.path().join("unpacked");
        fs::create_folder(&into).unwrap();
        crate::unpack::unpack(&tar, &into, &crate::unpack::Limits::default()).unwrap();
        assert_eq!(fs::read(&into.join("driver/main.c")).unwrap(), b"one");
        assert!(!into.join(".git").exists());

        let error = resolve(&clone, "v2").unwrap_err().to_string();
        assert!(error.contains("no commit, tag or branch `v2`"), "{error}");
        assert!(resolve(folder.path(), "v1").is_err());
    }
}
