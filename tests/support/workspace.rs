//! A directory in which the program runs.

use std::path::Path;

use assert_cmd::Command;

/// A directory with files, in which the program runs.
pub struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn with(self, path: &str, text: &str) -> Self {
        self.put(path, text);
        self
    }

    pub fn put(&self, path: &str, text: &str) {
        driverkit_matrix::fs::write(&self.path().join(path), text).unwrap();
    }

    pub fn get(&self, path: &str) -> String {
        std::fs::read_to_string(self.path().join(path)).unwrap()
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs the program; returns exit code, standard output and standard error, in this order.
    pub fn run(&self, arguments: &[&str]) -> String {
        self.run_with(arguments, &[])
    }

    /// The same, with environment variables.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &Path)]) -> String {
        let output = Command::cargo_bin("driverkit-matrix")
            .unwrap()
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path())
            .envs(variables.iter().copied())
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut report = vec![format!("exit {}\n", output.status.code().unwrap())];
        for (name, text) in [("out", text(&output.stdout)), ("err", text(&output.stderr))] {
            if !text.is_empty() {
                report.push(format!("--- {name}\n{text}"));
            }
        }
        report.concat()
    }
}
