//! Opens the destinations that commands name, and reports their traffic.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{CliError, Context};
use crate::bucket::{Acl, BucketKind, BucketSettings, BucketUrl, TrafficCount};
use crate::fs;
use crate::publish::{Destination, PublishError, fetch_manifests};
use crate::redact;
use crate::resolve::said_while_busy;
use crate::text::{count, separated, size};

impl From<PublishError> for CliError {
    fn from(error: PublishError) -> Self {
        let message = error.to_string();
        let help = error.help().map(str::to_owned);
        if error.is_input() {
            Self::Input { message, help }
        } else {
            Self::Infrastructure { message, help }
        }
    }
}

/// Runs `work` at a destination, and reports its traffic now and then.
pub(super) fn said_at<T>(
    context: &Context,
    destination: &Destination,
    doing: &str,
    work: impl FnOnce() -> T,
) -> T {
    let bucket = destination.bucket();
    let line = || format!("{doing} {}: {}", bucket.url(), traffic(bucket.traffic()));
    said_while_busy(context, line, work)
}

/// Reads `--acl`.
pub(super) fn acl_parser() -> impl TypedValueParser<Value = Acl> {
    PossibleValuesParser::new(Acl::NAMES).try_map(|name| name.parse::<Acl>())
}

/// Returns the error for a directory that has no manifest.
pub(super) fn no_run(out: &Path, help: &str) -> CliError {
    let is_json = out.extension().is_some_and(|extension| extension == "json");
    let file = if is_json {
        out.to_owned()
    } else {
        out.join("run.json")
    };
    CliError::Input {
        message: format!("{} does not exist", file.display()),
        help: Some(help.to_owned()),
    }
}

/// Checks `--public-url`, which is published as part of the site's `download` fields.
pub(super) fn public_url(text: &str) -> Result<String, String> {
    if redact::url(text) == text && redact::text(text) == text {
        return Ok(text.to_owned());
    }
    Err("it is published, so it must not have a user name, password, query or fragment".to_owned())
}

/// Opens a destination with the ACL of objects that are written there; a path without a scheme is a directory.
pub(super) fn destination(to: &OsStr, acl: Option<&Acl>) -> Result<Destination, CliError> {
    let text = to.to_string_lossy();
    let url = if text.contains("://") {
        text.into_owned()
    } else {
        let path = std::path::absolute(to).map_err(fs::FileError::of("find", to))?;
        format!("file://{}", path.display())
    };
    let url: BucketUrl = url.parse().map_err(CliError::input)?;
    if acl.is_some() && !matches!(url.kind(), BucketKind::S3 | BucketKind::Gcs) {
        return Err(CliError::Input {
            message: format!("{url} does not support ACLs of objects"),
            help: Some("omit --acl".to_owned()),
        });
    }
    Ok(Destination::open(&BucketSettings {
        acl: acl.cloned(),
        ..BucketSettings::from_environment(url)
    })?)
}

/// Starts the runtime for requests.
pub(super) fn new_runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::infrastructure(format!("failed to start the runtime: {error}")))
}

/// An output directory, or the manifests of a destination in a temporary directory with the same layout.
pub(super) struct Source {
    path: PathBuf,
    /// The temporary directory, which is removed on drop.
    _fetched: Option<tempfile::TempDir>,
}

impl Source {
    /// Downloads the manifests if `path` is the URL of a destination; returns `None` if that has no manifests.
    pub(super) fn find(context: &Context, path: &Path) -> Result<Option<Self>, CliError> {
        if !path.to_str().is_some_and(|text| text.contains("://")) {
            return Ok(Some(Self {
                path: path.to_owned(),
                _fetched: None,
            }));
        }
        let destination = destination(path.as_os_str(), None)?;
        let folder = tempfile::tempdir().map_err(fs::FileError::of("create", "directory"))?;
        let runtime = new_runtime()?;
        let found = said_at(context, &destination, "reading manifests of", || {
            runtime.block_on(fetch_manifests(&destination, folder.path()))
        })?;
        Ok((found > 0).then(|| Self {
            path: folder.path().to_owned(),
            _fetched: Some(folder),
        }))
    }

    /// Like [`Self::find`], but it is an error if the destination has no manifests.
    pub(super) fn open(context: &Context, path: &Path) -> Result<Self, CliError> {
        Self::find(context, path)?.ok_or_else(|| CliError::Input {
            message: format!("{} has no manifests", path.display()),
            help: Some("`publish` stores the manifest of each run that it publishes".to_owned()),
        })
    }

    /// The directory.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Describes the requests for a person.
pub(super) fn traffic(count_of: TrafficCount) -> String {
    let requests = usize::try_from(count_of.requests).unwrap_or(usize::MAX);
    format!(
        "{}, {} of them writes, {} sent, {} received",
        count(requests, "request"),
        separated(usize::try_from(count_of.writes).unwrap_or(usize::MAX)),
        size(count_of.sent_bytes),
        size(count_of.received_bytes)
    )
}
