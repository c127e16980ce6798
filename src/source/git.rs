//! Reads a commit of a local clone with git: modified or untracked files in the working directory are ignored.

use std::path::Path;
use std::process::Command;

use super::layout::SourceError;

/// Returns the id of the tree of a commit, tag or branch of the clone in `repository`. Equal contents have equal ids.
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
            format!("no commit, tag or branch `{reference}`")
        } else {
            message
        },
    })?;
    // Some versions of git also print the option.
    let id = id.lines().last().unwrap_or_default().trim().to_owned();
    Ok(id)
}

/// Writes the tree with this id as a tar archive.
///
/// The archive is written from an empty repository that borrows the clone's objects, because the clone's own
/// configuration may name filter programs for files.
pub fn archive(repository: &Path, tree: &str, into: &Path) -> Result<(), SourceError> {
    let failed = |message| SourceError::Git {
        repository: repository.to_owned(),
        message,
    };
    let objects = ["rev-parse", "--git-path", "objects"];
    let objects = git(repository, &objects).map_err(failed)?;
    let objects = std::path::absolute(repository.join(objects.trim_end_matches('\n')));
    let objects = objects.map_err(|error| failed(error.to_string()))?;
    let empty = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
    let of_empty = |words: &[&str]| {
        let mut command = command(empty.path(), words);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null");
        output_of(command).map_err(failed)
    };
    of_empty(&["init", "--quiet", "--bare", "--template="])?;
    let alternates = empty.path().join("objects/info/alternates");
    let line = format!("{}\n", objects.display());
    crate::fs::write(&alternates, line).map_err(|error| failed(error.to_string()))?;
    let output = format!("--output={}", into.display());
    of_empty(&["archive", "--format=tar", &output, tree]).map(drop)
}

/// Returns the output of git, or its error message.
fn git(repository: &Path, words: &[&str]) -> Result<String, String> {
    output_of(command(repository, words))
}

fn command(repository: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(repository)
        .args(words)
        // The clone's configuration must not start other programs.
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE");
    command
}

fn output_of(mut command: Command) -> Result<String, String> {
    let output = command
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
    fn commits_are_found_by_any_name_and_uncommitted_changes_are_ignored() {
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

        // Programs named in the clone's configuration are not started.
        fs::write(&clone.join(".gitattributes"), "*.c filter=x\n").unwrap();
        run(&clone, &["add", "."]);
        run(&clone, &["commit", "--quiet", "-m", "three"]);
        run(&clone, &["config", "filter.x.smudge", "touch started; cat"]);
        let tree = resolve(&clone, "main").unwrap();
        archive(&clone, &tree, &tar).unwrap();
        assert!(!clone.join("started").exists());
        assert!(!Path::new("started").exists());

        let error = resolve(&clone, "v2").unwrap_err().to_string();
        assert!(error.contains("no commit, tag or branch `v2`"), "{error}");
        assert!(resolve(folder.path(), "v1").is_err());
    }
}
