//! The rules for single values: each function parses a text or returns what is wrong with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use url::Url;

use crate::driver::DriverVersion;
use crate::image::GccVersion;

/// How much is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Failures and important notices.
    Warn,
    /// Also each step and its result.
    Info,
    /// Also the output of the compilers.
    Debug,
    /// Also the program's own log.
    Trace,
}

/// Parses a level: `info`, `warn`, `debug`, `trace`.
pub fn parse_log_level(text: &str) -> Result<LogLevel, String> {
    match text {
        "warn" => Ok(LogLevel::Warn),
        "info" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        _ => Err(format!(
            "unknown level `{text}`: expected info, warn, debug or trace"
        )),
    }
}

/// Parses a number of seconds, at least 30.
pub fn parse_timeout(text: &str) -> Result<Duration, String> {
    match text.parse::<u32>() {
        Ok(seconds) if seconds >= 30 => Ok(Duration::from_secs(seconds.into())),
        Ok(seconds) => Err(format!(
            "{seconds} seconds are too few: expected at least 30"
        )),
        Err(_) => Err(format!(
            "`{text}` is not a number of seconds: expected a value such as 120"
        )),
    }
}

/// Checks the URL of a proxy.
pub fn check_proxy(text: &str) -> Result<String, String> {
    let schemes = ["http", "https", "socks5"];
    match Url::parse(text) {
        Ok(url) if schemes.contains(&url.scheme()) && url.has_host() => Ok(text.to_owned()),
        _ => Err(format!(
            "`{text}` is not the URL of a proxy: expected http://, https:// or socks5://"
        )),
    }
}

/// Parses the version of a driver to download: `master`, a commit, or a release.
pub(super) fn parse_released_version(text: &str) -> Result<DriverVersion, String> {
    let is_commit = (7..=40).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
    if text != "master" && !is_commit && semver::Version::parse(text).is_err() {
        let hint = if text == "dev" {
            "; the branch called dev until 2022 is now master"
        } else {
            ""
        };
        return Err(format!(
            "invalid driver version `{text}`: expected master, a commit, or a release such as 8.0.0+driver{hint}"
        ));
    }
    text.parse()
        .map_err(|error: crate::driver::ParseDriverVersionError| error.to_string())
}

/// The maximum length of the path of an output file.
const LONGEST_PATH: usize = 4000;
/// The maximum length of each name in it.
const LONGEST_NAME: usize = 230;

/// Parses the path of an output file; `extension` has no dot.
pub(super) fn parse_output(text: &str, extension: &str) -> Result<PathBuf, String> {
    let path = Path::new(text);
    if path.is_dir() {
        return Err(format!("{text} is a directory"));
    }
    check_output_name(text, extension)?;
    if text.contains('\0') {
        return Err("a path cannot contain a NUL character".to_owned());
    }
    // The limits are below those of the kernel, since the file is first written under a longer
    // name.
    let too_long = path
        .components()
        .map(|part| part.as_os_str().len())
        .find(|length| *length > LONGEST_NAME);
    if text.len() > LONGEST_PATH || too_long.is_some() {
        return Err(format!(
            "a path of {} characters is too long: {LONGEST_PATH} are allowed, {LONGEST_NAME} for each name in it",
            text.len()
        ));
    }
    let mut above = path.ancestors().skip(1);
    if let Some(file) = above.find(|above| above.is_file()) {
        return Err(format!("{} is a file, not a directory", file.display()));
    }
    std::path::absolute(path).map_err(|error| format!("`{text}`: {error}"))
}

/// Checks that a path ends like those of an artifact: with a name and `extension`.
pub(super) fn check_output_name(text: &str, extension: &str) -> Result<(), String> {
    if Path::new(text)
        .extension()
        .is_some_and(|found| found == extension)
    {
        Ok(())
    } else {
        Err(format!("`{text}` does not end with .{extension}"))
    }
}

/// Decodes the content of a kernel's `.config` from base64.
pub(super) fn parse_kernel_config(text: &str) -> Result<Vec<u8>, String> {
    let text: String = text.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .map_err(|error| format!("it is not base64 ({error}); encode it with `base64 -w0 .config`"))
}

/// Checks the URL of a package: http, https, file, or an absolute path.
pub(super) fn check_package_url(text: &str) -> Result<(), String> {
    if text.starts_with('/') {
        return Ok(());
    }
    match Url::parse(text) {
        Ok(url) if ["http", "https", "file"].contains(&url.scheme()) => Ok(()),
        Ok(url) => Err(format!(
            "`{text}` is a {} URL; http, https and file are supported",
            url.scheme()
        )),
        Err(error) => Err(format!("`{text}` is not a valid URL: {error}")),
    }
}

/// Parses a compiler version: `12`, `12.0.0`, or `v12.0.0` as in driverkit's lists of images.
pub(super) fn parse_gcc(text: &str) -> Result<GccVersion, String> {
    let number = text.strip_prefix('v').unwrap_or(text);
    number
        .parse()
        .map_err(|error: crate::image::ParseGccVersionError| error.to_string())
}

/// Checks the name of an image: letters, digits and `/ . - @ _ :`, in non-empty parts between slashes that start and
/// end with a letter or digit.
pub fn check_image_name(text: &str) -> Result<(), String> {
    let is_name = |part: &str| {
        let is_word =
            |found: Option<char>| found.is_some_and(|found| found.is_ascii_alphanumeric());
        is_word(part.chars().next())
            && is_word(part.chars().last())
            && part
                .chars()
                .all(|found| found.is_ascii_alphanumeric() || ".-@_:".contains(found))
    };
    // Images are pulled by the Docker daemon or the cluster, which take no password in a name.
    if text
        .split('@')
        .skip(1)
        .any(|digest| !digest.starts_with("sha256:"))
    {
        let message = "an image name has no user and password: give them as registry-user and registry-password";
        return Err(message.to_owned());
    }
    if text.len() <= 255 && text.split('/').all(is_name) {
        Ok(())
    } else {
        Err(format!(
            "invalid image name `{text}`: expected letters, digits and `/ . - @ _ :`, each part between slashes starting and ending with a letter or digit"
        ))
    }
}

/// Checks an organisation or repository name in a URL: `libs`, `falcosecurity`.
pub(super) fn check_repository_name(text: &str) -> Result<(), String> {
    let is_allowed = |found: char| found.is_ascii_alphanumeric() || "._-".contains(found);
    if (1..=100).contains(&text.len()) && text.chars().all(is_allowed) && !text.starts_with('.') {
        Ok(())
    } else {
        Err(format!(
            "`{text}` cannot name a repository: letters, digits and `. _ -` are allowed, not starting with a dot"
        ))
    }
}

/// Parses a boolean as driverkit does: `true`, `false` and their short forms.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "true" | "True" | "TRUE" | "t" | "T" | "1" => Ok(true),
        "false" | "False" | "FALSE" | "f" | "F" | "0" => Ok(false),
        _ => Err(format!("`{text}` is neither true nor false")),
    }
}

/// Checks the name of a namespace, a secret or a service account: a DNS label, or with `with_dots` several labels
/// separated by dots.
pub(super) fn check_cluster_name(text: &str, with_dots: bool) -> Result<String, String> {
    let is_label = |label: &str| {
        let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = label.as_bytes();
        is_end(bytes.first())
            && is_end(bytes.last())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase() || *byte == b'-')
    };
    let is_name = if with_dots {
        text.len() <= 253 && text.split('.').all(is_label)
    } else {
        text.len() <= 63 && is_label(text)
    };
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "invalid name `{text}`: expected at most {} lower-case letters, digits and dashes, starting and ending with a letter or digit",
            if with_dots { 253 } else { 63 }
        ))
    }
}
