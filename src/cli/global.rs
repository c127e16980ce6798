//! The arguments of all commands.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::color::ColorChoice;
use super::messages::StandardError;
use super::trace::TraceArguments;
use super::{CliError, Context};
use crate::diagnostic::did_you_mean;
use crate::report::Style;
use crate::resolve::{check_directory, mirror_names};

/// The prefix of the environment variables that set base URLs; the rest is the distribution's name.
const MIRROR_VARIABLES: &str = "DRIVERKIT_MATRIX_MIRROR_";

#[derive(Debug, Args)]
#[command(next_help_heading = "Global")]
pub(super) struct GlobalArguments {
    /// Base URL of a distribution's mirror, for discovery and downloads
    ///
    /// For example debian=http://ftp.debian.org/debian. The environment variable
    /// `DRIVERKIT_MATRIX_MIRROR_DEBIAN` does the same.
    #[arg(long, global = true, value_name = "NAME=URL", value_parser = parse_mirror)]
    mirror: Vec<(String, String)>,
    /// Directory of everything that is stored between runs
    ///
    /// [default: $XDG_CACHE_HOME/driverkit-matrix or ~/.cache/driverkit-matrix]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "DRIVERKIT_MATRIX_CACHE"
    )]
    cache: Option<PathBuf>,
    /// Use only the store and the mirrors that `[mirrors]` and --mirror name
    ///
    /// Every missing file is listed. `offline = true` in a matrix's `[mirrors]` does the same.
    #[arg(long, global = true)]
    offline: bool,
    /// Print only errors and the requested data
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Print more: a line for each build, each step of `explain`; -vv also logs the program's internals
    ///
    /// -vv is `--log debug`, and -vvv is `--log trace`.
    #[arg(long, short, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// When to colour messages
    // `ColorChoice::given` reads it before clap does, since errors of clap are coloured too.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorChoice,
    #[command(flatten)]
    trace: TraceArguments,
}

impl GlobalArguments {
    /// Builds the context of all commands.
    pub(super) fn context(self, style: Style) -> Result<Context, CliError> {
        self.trace.start(self.verbose, style)?;
        let mut mirrors = mirrors_of_variables();
        mirrors.extend(self.mirror);
        let cache = match self.cache {
            // Directories in the cache are mounted into containers, which needs absolute paths.
            Some(directory) => std::path::absolute(&directory).unwrap_or(directory),
            None => default_cache()?,
        };
        check_directory(&cache, "--cache")?;
        let is_quiet = self.quiet;
        Ok(Context {
            mirrors,
            is_offline: self.offline,
            cache,
            is_quiet,
            style,
            verbosity: self.verbose,
            listener: Box::new(StandardError::new(style, is_quiet)),
        })
    }
}

/// Returns the base URLs that environment variables set, by mirror.
pub(super) fn mirrors_of_variables() -> BTreeMap<String, String> {
    // `vars` would panic at a variable that is not UTF-8.
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.to_str()?.strip_prefix(MIRROR_VARIABLES)?;
        let name = name.to_lowercase().replace('_', "-");
        let value = value.into_string().ok()?;
        (!value.is_empty()).then_some((name, value))
    });
    variables.collect()
}

fn default_cache() -> Result<PathBuf, CliError> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    folder("XDG_CACHE_HOME")
        .or_else(|| Some(folder("HOME")?.join(".cache")))
        .map(|folder| folder.join("driverkit-matrix"))
        .ok_or_else(|| CliError::Input {
            message: "no directory for the cache: neither XDG_CACHE_HOME nor HOME is set"
                .to_owned(),
            help: Some("set one with --cache DIR".to_owned()),
        })
}

pub(super) fn parse_mirror(text: &str) -> Result<(String, String), String> {
    let expected = "expected NAME=URL, as in debian=http://ftp.debian.org/debian";
    let (name, url) = text.split_once('=').ok_or(expected)?;
    // The name is missing, and this `=` is part of the URL.
    if name.is_empty() || name.contains("://") {
        return Err(expected.to_owned());
    }
    url::Url::parse(url).map_err(|error| format!("`{url}` is not a valid URL: {error}"))?;
    let name = name.to_lowercase();
    if !mirror_names().any(|known| known == name) {
        let names: Vec<&str> = mirror_names().collect();
        let near = did_you_mean(&name, names.iter().copied());
        return Err(format!(
            "no mirror is called `{name}`: {}",
            near.unwrap_or_else(|| format!("expected one of {}", names.join(", ")))
        ));
    }
    Ok((name, url.to_owned()))
}
