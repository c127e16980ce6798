//! Settings of builds: `[defaults]`, and the same keys in `[[target]]` and `[[override]]`.

use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::section::{Reader, Section};

/// The settings of a table; missing ones are inherited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The time limit of a step.
    pub timeout: Option<Duration>,
    /// The memory limit of a step in bytes.
    pub memory_bytes: Option<u64>,
    /// The maximum number of bytes that a step may write.
    pub output_bytes: Option<u64>,
    /// The maximum number of files that a step may write.
    pub output_files: Option<u32>,
    /// The maximum size of a module in bytes.
    pub module_bytes: Option<u64>,
    /// The maximum size of a probe in bytes.
    pub probe_bytes: Option<u64>,
    /// The maximum number of concurrent processes of a step.
    pub processes: Option<u32>,
    /// How often a transient failure is retried.
    pub retries: Option<u32>,
    /// The compiler version: `12`.
    pub gcc: Option<String>,
    /// The position of `gcc`.
    pub gcc_span: Option<Range<usize>>,
    /// The builder image.
    pub image: Option<String>,
    /// The position of `image`.
    pub image_span: Option<Range<usize>>,
    /// Which modules are loaded into their kernels.
    pub prove: Option<Prove>,
}

/// Which kernels load the modules that are built for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prove {
    /// None.
    #[default]
    None,
    /// The modules of the newest of each series and flavour, the probes of one flavour, and a different part of the
    /// others each night.
    Series,
    /// All.
    All,
}

impl Prove {
    /// Returns true for the default.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl FromStr for Prove {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "series" => Ok(Self::Series),
            "all" => Ok(Self::All),
            _ => Err(format!(
                "invalid value `{text}`: expected all, series or none"
            )),
        }
    }
}

impl Settings {
    /// Returns true if nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the keys of settings from a table.
    pub(super) fn read(section: &mut Section<'_>, reader: &mut Reader) -> Self {
        Self {
            timeout: section.parsed(
                reader,
                "timeout",
                "a time such as \"5m\" or \"1h30m\"",
                parse_time,
            ),
            memory_bytes: section.parsed(reader, "memory", "a size such as \"2GiB\"", parse_size),
            output_bytes: section.parsed(reader, "output", "a size such as \"2GiB\"", parse_size),
            output_files: section.number(reader, "output_files", 100..=100_000_000),
            module_bytes: section.parsed(
                reader,
                "module_size",
                "a size such as \"64MiB\"",
                parse_size,
            ),
            probe_bytes: section.parsed(
                reader,
                "probe_size",
                "a size such as \"128MiB\"",
                parse_size,
            ),
            processes: section.number(reader, "processes", 1..=4_194_304),
            retries: section.number(reader, "retries", 0..=100),
            gcc_span: section.value("gcc").map(Spanned::span),
            gcc: section.parsed(
                reader,
                "gcc",
                "a compiler version such as \"12\"",
                parse_gcc,
            ),
            image_span: section.value("image").map(Spanned::span),
            image: section.parsed(reader, "image", "an image name", parse_image),
            prove: section.parsed(
                reader,
                "prove",
                "\"all\", \"series\" or \"none\"",
                str::parse,
            ),
        }
    }
}

/// Parses a time such as `90s`, `5m` or `1h30m`: 1 s to 7 days.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let expected = || format!("invalid time `{text}`: expected 1s to 7d, such as 90s, 5m or 1h30m");
    let span: jiff::SignedDuration = text.trim().parse().map_err(|_| expected())?;
    let time = span.unsigned_abs();
    if span.is_negative()
        || !(Duration::from_secs(1)..=Duration::from_hours(7 * 24)).contains(&time)
    {
        return Err(expected());
    }
    Ok(time)
}

/// Parses the time for which a machine has a step to itself: 1s to 6h, or 0 if no machine waits for another.
pub fn parse_lease(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Ok(Duration::ZERO);
    }
    let is_fit = |time: &Duration| *time <= Duration::from_hours(6);
    parse_time(text).ok().filter(is_fit).ok_or_else(|| {
        format!("invalid time `{text}`: expected 1s to 6h, such as 5m or 1h30m, or 0 for no leases")
    })
}

/// Parses a size in bytes such as `512MiB` or `2GB`: at least 1 MiB.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let expected =
        || format!("invalid size `{text}`: expected at least 1MiB, such as 512MiB, 2GiB or 2000MB");
    let trimmed = text.trim();
    let end = trimmed
        .find(|character: char| !character.is_ascii_digit())
        .ok_or_else(expected)?;
    let number: u64 = trimmed[..end].parse().map_err(|_| expected())?;
    let unit: u64 = match trimmed[end..].trim_start() {
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(expected()),
    };
    number
        .checked_mul(unit)
        .filter(|bytes| *bytes >= 1 << 20)
        .ok_or_else(expected)
}

fn parse_gcc(text: &str) -> Result<String, String> {
    let is_version = text.len() <= 20
        && text.split('.').count() <= 3
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
    if is_version {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "invalid compiler version `{text}`: expected a value such as 12 or 4.9"
        ))
    }
}

fn parse_image(text: &str) -> Result<String, String> {
    let is_allowed = |found: char| found.is_ascii_alphanumeric() || "._-/:@".contains(found);
    if (1..=255).contains(&text.len())
        && text.chars().all(is_allowed)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
    {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "invalid image name `{text}`: expected letters, digits and `. _ - / : @`, starting with a letter or digit"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_checked() {
        assert_eq!(parse_time("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(parse_time("1h30m"), Ok(Duration::from_mins(90)));
        for text in ["", "5", "-5m", "0s", "1y", "9999h"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert_eq!(parse_size("2GiB"), Ok(2 << 30));
        assert_eq!(parse_size("1500 MB"), Ok(1_500_000_000));
        for text in ["", "2", "GiB", "2gib", "1KiB", "-1GiB", "99999999999TiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn compilers_and_images_are_checked() {
        assert!(parse_gcc("12").is_ok());
        assert!(parse_gcc("4.9").is_ok());
        assert!(parse_gcc("gcc-12").is_err());
        assert!(parse_gcc("12; true").is_err());
        assert!(parse_image("driverkit-matrix/builder:bookworm").is_ok());
        assert!(parse_image("--privileged").is_err());
    }
}
