//! A configured driver: module sources at the top level, the probe's in `bpf/`, and the configure checks.

use std::path::Path;
use std::sync::Arc;

use super::check::{ConfigureCheck, read_checks};
use super::layout::{SourceError, module_name};
use crate::driver::Artifact;
use crate::fs::ForeignFolder;

/// A configured driver with its configure checks.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ConfiguredDriver {
    /// The name of the module.
    pub module_name: String,
    /// Whether there is a legacy eBPF probe.
    pub has_probe: bool,
    /// The configure checks of module and probe, sorted by directory.
    pub checks: Vec<Arc<ConfigureCheck>>,
}

impl ConfiguredDriver {
    /// Returns the checks whose answers an artifact needs.
    pub fn checks_of(&self, artifact: Artifact) -> impl Iterator<Item = &ConfigureCheck> {
        let checks = self.checks.iter().map(|check| &**check);
        checks.filter(move |check| check.artifact == artifact)
    }
}

/// Reads the configured driver in `folder`: the tree produced by the configure step, or flat sources.
pub fn read_configured_driver(folder: &Path) -> Result<ConfiguredDriver, SourceError> {
    let driver = ForeignFolder::open(folder)?;
    let has = |name: &str| driver.is_file(Path::new(name));
    Ok(ConfiguredDriver {
        module_name: module_name(folder)?,
        has_probe: has("bpf/probe.c") && has("bpf/Makefile"),
        checks: read_checks(folder)?.into_iter().map(Arc::new).collect(),
    })
}
