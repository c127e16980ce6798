//! `--log`: logs the program's internals (retried requests, closed connections) for diagnosis.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::sync::Mutex;

use clap::Args;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use super::CliError;
use crate::fs::FileError;
use crate::report::{Style, Terminal};

/// What is logged, and to which file.
#[derive(Debug, Args)]
pub(super) struct TraceArguments {
    /// Log the program's internals: error, warn, info, debug, trace, or `MODULE=LEVEL,...`
    ///
    /// For example `debug`, or `fetch=trace,executor=debug`. Credentials and query strings of URLs are not logged.
    #[arg(
        long,
        global = true,
        value_name = "FILTER",
        env = "DRIVERKIT_MATRIX_LOG"
    )]
    log: Option<String>,
    /// File that `--log` appends to [default: standard error]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DRIVERKIT_MATRIX_LOG_FILE"
    )]
    log_file: Option<PathBuf>,
}

impl TraceArguments {
    /// Starts logging if `--log` or `verbosity` enables it.
    pub(super) fn start(&self, verbosity: u8, style: Style) -> Result<(), CliError> {
        let of_verbosity = match verbosity {
            0 | 1 => None,
            2 => Some("debug"),
            _ => Some("trace"),
        };
        let given = self.log.as_deref().filter(|filter| !filter.is_empty());
        let Some(filter) = given.or(of_verbosity) else {
            return Ok(());
        };
        let filter = own_filter(filter);
        let filter = EnvFilter::builder()
            .parse(&filter)
            .map_err(|error| CliError::Input {
                message: format!("invalid filter of --log: {error}"),
                help: Some(
                    "use a level (error, warn, info, debug, trace) or MODULE=LEVEL,...".to_owned(),
                ),
            })?;
        let format = fmt().with_env_filter(filter).with_ansi(false);
        match &self.log_file {
            // `try_init` fails if a program that uses this library already has a subscriber, which then gets the
            // records. `Terminal` keeps records apart from a display that is being redrawn.
            None => drop(
                format
                    .with_writer(move || Terminal::stderr(style))
                    .try_init(),
            ),
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path);
                let file = file.map_err(FileError::of("open", path))?;
                drop(format.with_writer(Mutex::new(file)).try_init());
            }
        }
        Ok(())
    }
}

/// Returns a filter in which each module may be one of this program (`fetch=debug` for `driverkit_matrix::fetch=debug`)
/// or of a library (`hyper=debug`). A level without a module applies to this program only.
fn own_filter(filter: &str) -> String {
    let name = env!("CARGO_CRATE_NAME");
    let directive = |directive: &str| match directive.split_once('=') {
        Some((module, _)) if module.starts_with(name) => directive.to_owned(),
        Some(_) => format!("{name}::{directive},{directive}"),
        None => format!("{name}={directive}"),
    };
    let directives: Vec<String> = filter.split(',').map(str::trim).map(directive).collect();
    directives.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_may_be_of_this_program_or_of_a_library() {
        for (given, filter) in [
            ("debug", "driverkit_matrix=debug"),
            (
                "driverkit_matrix::fetch=warn",
                "driverkit_matrix::fetch=warn",
            ),
            (
                "engine::jobs=trace, hyper=info",
                "driverkit_matrix::engine::jobs=trace,engine::jobs=trace,driverkit_matrix::hyper=info,hyper=info",
            ),
        ] {
            assert_eq!(own_filter(given), filter);
        }
    }
}
