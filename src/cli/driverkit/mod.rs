//! driverkit's own commands: one kernel and one driver, with driverkit's flags, environment variables and file.
//!
//! A command collects its flags in [`Values`], has them checked, and runs its single build like any other run.

#[cfg(feature = "kubernetes")]
mod cluster;
mod docker;
pub(super) mod flags;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod local;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::flags::{AgainFlags, Flags, ProcessFlags};
use super::recorded::{rebuild_command, recorded_command};
use super::{CliError, Context};
use crate::diagnostic::SourceFile;
use crate::driverkit::{LogLevel, Request, Values, read_file};
use crate::fs;
use crate::session::Single;

pub(super) use docker::{DockerArguments, image_sources_of};
#[cfg(feature = "kubernetes")]
pub(super) use kubernetes::{InClusterArguments, KubernetesArguments};
pub(super) use local::LocalArguments;

/// Merges flags, environment and file. The file is the one that is named, or `.driverkit.yaml` (`.yml`, `.json`,
/// `.toml`) in the home directory if it exists.
pub(super) fn values(
    context: &Context,
    flags: &Flags,
    process: &ProcessFlags,
) -> Result<Values, CliError> {
    let path = process.config.clone().or_else(home_file);
    let file = path.as_deref().map(read_text).transpose()?;
    let of_file = match file {
        Some(file) => {
            let (given, warnings) = read_file(&file).map_err(CliError::Diagnostics)?;
            context.warn(&warnings);
            given
        }
        None => BTreeMap::new(),
    };
    let variable = |name: &str| std::env::var_os(name)?.into_string().ok();
    let values = Values::merge(flags, variable, of_file);
    if process.dryrun || process.loglevel >= LogLevel::Debug {
        context.notice(&match &path {
            Some(path) => format!("configuration file: {}", path.display()),
            None => "configuration file: none".to_owned(),
        });
        for line in values.described() {
            context.notice(&line);
        }
    }
    Ok(values)
}

/// The configuration file in the home directory: the first that exists, in driverkit's order.
fn home_file() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
    ["json", "toml", "yaml", "yml"]
        .into_iter()
        .map(|extension| Path::new(&home).join(format!(".driverkit.{extension}")))
        .find(|path| path.is_file())
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

/// Returns the build of a request, with this process's command line.
fn single<'a>(
    request: &'a Request,
    process: &ProcessFlags,
    again: &AgainFlags,
    proxy: Option<String>,
) -> Single<'a> {
    Single {
        request,
        settings: process.settings(),
        proxy,
        retry: again.classes(),
        environment: Vec::new(),
        command: recorded_command(),
        rebuild_command: rebuild_command(),
    }
}
