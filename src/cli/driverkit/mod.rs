//! driverkit's own commands: one kernel, one driver, with driverkit's flags, environment variables and file.
//!
//! A command puts its flags into [`Values`], has them checked, and carries the one build out like any other run.

#[cfg(feature = "kubernetes")]
mod cluster;
mod dkms;
mod docker;
pub(super) mod flags;
mod found;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod local;
mod single;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::flags::Flags;
use super::{CliError, Context};
use crate::diagnostic::SourceFile;
use crate::driverkit::{Values, read_file};
use crate::fs;

pub(super) use docker::{DockerArguments, image_sources_of};
#[cfg(feature = "kubernetes")]
pub(super) use kubernetes::{InClusterArguments, KubernetesArguments};
pub(super) use local::LocalArguments;

/// What flags, environment and file say together. The file is the one that is named, or `.driverkit.yaml` in the home
/// folder when it is there.
pub(super) fn values(
    context: &Context,
    flags: &Flags,
    config: Option<&Path>,
) -> Result<Values, CliError> {
    let file = match config {
        Some(path) => Some(read_text(path)?),
        None => match home_file().filter(|path| path.is_file()) {
            Some(path) => Some(read_text(&path)?),
            None => None,
        },
    };
    let of_file = match file {
        Some(file) => {
            let (given, warnings) = read_file(&file).map_err(CliError::Diagnostics)?;
            context.warn(&warnings);
            given
        }
        None => BTreeMap::new(),
    };
    let variable = |name: &str| std::env::var_os(name)?.into_string().ok();
    Ok(Values::merge(flags, variable, of_file))
}

fn home_file() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
    Some(PathBuf::from(home).join(".driverkit.yaml"))
}

fn read_text(path: &Path) -> Result<Arc<SourceFile>, CliError> {
    let text = fs::read_to_string(path).map_err(|error| CliError::Input {
        message: format!("the configuration file: {error}"),
        help: None,
    })?;
    Ok(Arc::new(SourceFile {
        path: path.to_owned(),
        text,
    }))
}
