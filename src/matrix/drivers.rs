//! The drivers of a matrix: `drivers` and `[driver.*]`.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::Pattern;
use super::section::{Reader, Section, folder_of};
use super::types::TargetEntry;
use crate::diagnostic::did_you_mean;
use crate::driver::{
    DEFAULT_NAME, Driver, DriverLocation, DriverVersion, check_device_name, check_module_name,
    default_url, url_of,
};

/// The positions of the sources of drivers.
type SourcePlaces = BTreeMap<DriverVersion, Range<usize>>;

/// Reads the drivers of the file with the settings of `[driver.*]`, and the positions of their sources.
pub(super) fn read_drivers(
    reader: &mut Reader,
    section: &mut Section<'_>,
    versions: Vec<Spanned<DriverVersion>>,
) -> (Vec<Spanned<Arc<Driver>>>, SourcePlaces) {
    let mut described: HashMap<String, Driver> = HashMap::new();
    let mut places = BTreeMap::new();
    if let Some(value) = section.value("driver")
        && let Some(table) = Section::of_value(reader, "driver", "[driver]", value)
    {
        for (key, value) in table.entries() {
            let name = key.get_ref();
            let Some(version) = versions
                .iter()
                .find(|version| version.get_ref().as_str() == name)
            else {
                let known = versions.iter().map(|version| version.get_ref().as_str());
                reader.error(
                    key.span(),
                    format!("`{name}` is not in `drivers`"),
                    "",
                    did_you_mean(name, known),
                );
                continue;
            };
            let title = format!("[driver.\"{name}\"]");
            if let Some(table) = Section::of_value(reader, name, title, value) {
                let driver = read_driver(reader, table, version.get_ref());
                if let DeValue::Table(table) = value.get_ref()
                    && let Some(source) = table.get("source")
                {
                    places.insert(version.get_ref().clone(), source.span());
                }
                described.insert(name.clone(), driver);
            }
        }
    }
    let drivers = versions
        .into_iter()
        .map(|version| {
            let span = version.span();
            let version = version.into_inner();
            let driver = described
                .remove(version.as_str())
                .unwrap_or_else(|| default_driver(version));
            Spanned::new(span, Arc::new(driver))
        })
        .collect();
    (drivers, places)
}

fn default_driver(version: DriverVersion) -> Driver {
    Driver {
        location: DriverLocation::Url(default_url(&version)),
        version,
        module_name: DEFAULT_NAME.to_owned(),
        device_name: DEFAULT_NAME.to_owned(),
    }
}

fn read_driver(reader: &mut Reader, mut table: Section<'_>, version: &DriverVersion) -> Driver {
    let mut driver = default_driver(version.clone());
    if let Some(value) = table.value("source")
        && let Some(mut source) = Section::of_value(reader, "source", "`source`", value)
    {
        if let Some(location) = read_source(reader, &mut source, value.span(), version) {
            driver.location = location;
        }
        source.finish(reader);
    }
    if let Some(name) = table.parsed(reader, "module_name", "a name", check_module_name) {
        driver.module_name = name;
    }
    if let Some(name) = table.parsed(reader, "device_name", "a name", check_device_name) {
        driver.device_name = name;
    }
    table.finish(reader);
    driver
}

/// Reads one of `{ path }`, `{ url }`, `{ git, ref }` and `{ org, name }`.
fn read_source(
    reader: &mut Reader,
    source: &mut Section<'_>,
    span: Range<usize>,
    version: &DriverVersion,
) -> Option<DriverLocation> {
    let folder = folder_of(&reader.file.path).to_owned();
    let path = source.text(reader, "path", "a path");
    let url = source.parsed(reader, "url", "a URL", |text| match url::Url::parse(text) {
        Ok(url) if ["http", "https", "file"].contains(&url.scheme()) => Ok(text.to_owned()),
        Ok(_) => Err(format!("`{text}` is not an http, https or file URL")),
        Err(error) => Err(format!("`{text}` is not a valid URL: {error}")),
    });
    let mut is_url = false;
    let git = source.parsed(reader, "git", "the path of a clone", |text| {
        if text.contains("://") || text.starts_with("git@") {
            is_url = true;
            return Err(format!(
                "`{text}` is a URL, which is not supported here: clone it and give the path of the clone, or use org and \
                 name, or the `url` of an archive"
            ));
        }
        Ok(text.to_owned())
    });
    let reference = source.parsed(reader, "ref", "a commit, tag or branch", |text| {
        let is_allowed = |found: char| !found.is_whitespace() && !found.is_control();
        if !text.is_empty() && !text.starts_with('-') && text.chars().all(is_allowed) {
            Ok(text.to_owned())
        } else {
            Err(format!("`{text}` is not a commit, tag or branch"))
        }
    });
    let part = |text: &str| check_repository_part(text);
    let organisation = source.parsed(reader, "org", "an organisation", part);
    let name = source.parsed(reader, "name", "the name of a repository", part);
    let mut found: Vec<DriverLocation> = Vec::new();
    found.extend(path.map(|path| DriverLocation::Path(folder.join(path.get_ref()))));
    found.extend(url.map(DriverLocation::Url));
    match (git, reference) {
        (Some(git), Some(reference)) => found.push(DriverLocation::Git {
            repository: folder.join(git),
            reference,
        }),
        (Some(_), None) => {
            source.missing(reader, "ref", "name a commit, tag or branch: ref = \"...\"");
        }
        (None, Some(_)) if !is_url => {
            source.missing(reader, "git", "name the local clone: git = \"...\"");
        }
        (None, _) => {}
    }
    if organisation.is_some() || name.is_some() {
        found.push(DriverLocation::Url(url_of(
            organisation.as_deref().unwrap_or("falcosecurity"),
            name.as_deref().unwrap_or("libs"),
            version,
        )));
    }
    if found.len() > 1 {
        reader.error(
            span,
            "`source` has several locations",
            "",
            Some("keep one: path, url, git with ref, or org and name".to_owned()),
        );
    } else if found.is_empty() && source.entries().is_empty() {
        source.missing(
            reader,
            "path",
            "write source = { path = \"...\" }, { url = \"...\" }, { git = \"...\", ref = \"...\" } or { org = \"...\", name = \"...\" }",
        );
    }
    found.pop()
}

/// Checks an organisation or repository name in a URL: `falcosecurity`, `libs`.
fn check_repository_part(text: &str) -> Result<String, String> {
    let is_allowed = |found: char| found.is_ascii_alphanumeric() || "._-".contains(found);
    if (1..=100).contains(&text.len()) && text.chars().all(is_allowed) && !text.starts_with('.') {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "invalid repository name `{text}`: expected letters, digits and `. _ -`, not starting with a dot"
        ))
    }
}

/// Reports targets with a pattern that matches none of the drivers.
pub(super) fn check_driver_patterns(
    reader: &mut Reader,
    drivers: &[Spanned<Arc<Driver>>],
    targets: &[TargetEntry],
) {
    for target in targets {
        let is_unused = |pattern: &&Pattern| {
            !drivers
                .iter()
                .any(|driver| pattern.matches_driver(&driver.get_ref().version))
        };
        if let Some(pattern) = target.drivers.iter().find(is_unused) {
            let names = drivers
                .iter()
                .map(|driver| driver.get_ref().version.as_str());
            reader.error(
                target.name.span(),
                format!("`{pattern}` matches none of `drivers`"),
                "in `drivers` of this target",
                did_you_mean(pattern.as_str(), names),
            );
        }
    }
}
