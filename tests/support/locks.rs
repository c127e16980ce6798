//! Reads the content of locks.

use serde_json::Value;

use crate::workspace::Workspace;

/// Returns the kernels of a lock as JSON.
pub fn lines(workspace: &Workspace, lock: &str) -> Vec<Value> {
    let lock = workspace.get(lock);
    let lines = lock.lines().skip(1);
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Returns `target release #version architecture`.
pub fn name(kernel: &Value) -> String {
    let text = |key: &str| kernel[key].as_str().unwrap_or_default();
    format!(
        "{} {} #{} {}",
        text("target"),
        text("release"),
        text("version"),
        text("architecture")
    )
}

/// Returns the URLs of a kernel's packages.
pub fn urls(kernel: &Value) -> Vec<String> {
    let packages = kernel["packages"].as_array().unwrap().iter();
    packages
        .map(|package| package["url"].as_str().unwrap().to_owned())
        .collect()
}
