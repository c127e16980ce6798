//! Reads the value of `kernels`.

use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use toml::Spanned;
use toml::de::DeValue;

use super::{InlineKernel, KernelSources, ListPlace, MirrorSource, Selection, Source, SourceKind};
use crate::diagnostic::did_you_mean;
use crate::driver::Artifact;
use crate::kernel::Architecture;
use crate::matrix::Pattern;
use crate::matrix::section::{Reader, Section, folder_of};

const KNOWN: [&str; 5] = ["kernel-crawler", "driverkit", "csv", "text", "mirror"];

impl KernelSources {
    pub(in crate::matrix) fn read(
        reader: &mut Reader,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Self> {
        let mut all = Self::default();
        match value.get_ref() {
            DeValue::Array(array) => {
                let before = reader.diagnostics.len();
                for value in array {
                    let is_source = matches!(value.get_ref(), DeValue::Table(table) if table.contains_key("from"));
                    if is_source {
                        all.sources.extend(read_source(reader, value));
                    } else {
                        all.inline.extend(read_inline(reader, value));
                    }
                }
                if array.is_empty() && reader.diagnostics.len() == before {
                    reader.error(value.span(), "`kernels` is empty", "", None);
                }
            }
            DeValue::Table(_) => all.sources.push(read_source(reader, value)?),
            _ => {
                reader.error(
                    value.span(),
                    "`kernels` has the wrong type",
                    "expected a table with `from`, or an array of kernels",
                    None,
                );
                return None;
            }
        }
        Some(all)
    }
}

fn read_source(reader: &mut Reader, value: &Spanned<DeValue<'_>>) -> Option<Spanned<Source>> {
    let mut section = Section::of_value(reader, "kernels", "`kernels`", value)?;
    let Some(from) = section.text(reader, "from", "the name of a source") else {
        if section.value("from").is_none() {
            section.missing(
                reader,
                "from",
                "write from = \"kernel-crawler\" or from = \"mirror\"",
            );
        }
        return None;
    };
    let kind = match from.get_ref().as_str() {
        "kernel-crawler" => read_crawler(reader, &mut section).map(SourceKind::Crawler),
        "driverkit" => read_driverkit(reader, &mut section),
        "csv" => read_place(reader, &mut section, "path", "a CSV file").map(SourceKind::Csv),
        "text" => read_place(reader, &mut section, "path", "a text file").map(SourceKind::Text),
        "mirror" => Some(SourceKind::Mirror(read_mirror(reader, &mut section))),
        other => {
            let help = did_you_mean(other, KNOWN)
                .unwrap_or_else(|| format!("known sources: {}", KNOWN.join(", ")));
            reader.error(
                from.span(),
                format!("`{other}` is not a source of kernels"),
                "",
                Some(help),
            );
            return None;
        }
    };
    let selection = read_selection(reader, &mut section);
    section.finish(reader);
    let source = Source {
        kind: kind?,
        selection,
    };
    Some(Spanned::new(value.span(), source))
}

fn read_selection(reader: &mut Reader, section: &mut Section<'_>) -> Selection {
    let bare = |list: Vec<Spanned<Pattern>>| list.into_iter().map(Spanned::into_inner).collect();
    let (matches, any) = read_match(reader, section);
    Selection {
        matches: bare(matches),
        any: bare(any),
        excludes: bare(section.patterns(reader, "exclude", str::parse)),
        latest: section.number(reader, "latest", 1..=1_000_000),
        since: section.parsed(reader, "since", "a day such as \"2025-01-31\"", |text| {
            text.parse::<Date>().map_err(|_| {
                format!("invalid date `{text}`: expected a value such as \"2025-01-31\"")
            })
        }),
    }
}

type Patterns = Vec<Spanned<Pattern>>;

/// Reads `match`: patterns that must all match, or a table of `all` and `any`.
fn read_match(reader: &mut Reader, section: &mut Section<'_>) -> (Patterns, Patterns) {
    let is_table = section
        .value("match")
        .filter(|value| matches!(value.get_ref(), DeValue::Table(_)));
    let Some(value) = is_table else {
        return (section.patterns(reader, "match", str::parse), Vec::new());
    };
    let Some(mut table) = Section::of_value(reader, "match", "`match`", value) else {
        return Default::default();
    };
    let all = table.patterns(reader, "all", str::parse);
    let any = table.patterns(reader, "any", str::parse);
    if table.value("all").or(table.value("any")).is_none() {
        let help = "write match = { any = [\"5.*\", \"6.*\"] }";
        table.missing(reader, "any", help);
    }
    table.finish(reader);
    (all, any)
}

/// Checks the location of a list.
fn list_place(folder: &Path, text: &str) -> Result<ListPlace, String> {
    match text.split_once("://") {
        Some(("http" | "https" | "file", _)) => {
            url::Url::parse(text)
                .map_err(|error| format!("`{text}` is not a valid URL: {error}"))?;
        }
        Some((scheme, _)) => return Err(format!("`{scheme}` URLs cannot be read")),
        None if text.is_empty() => return Err("an empty path".to_owned()),
        None => {}
    }
    Ok(ListPlace {
        written: text.to_owned(),
        folder: folder.to_owned(),
    })
}

fn read_place(
    reader: &mut Reader,
    section: &mut Section<'_>,
    key: &'static str,
    what: &str,
) -> Option<Spanned<ListPlace>> {
    if section.value(key).is_none() {
        section.missing(reader, key, &format!("write {key} = \"...\", {what}"));
        return None;
    }
    let text = section.text(reader, key, what)?;
    let folder = folder_of(&reader.file.path).to_owned();
    let place = reader.parse_text(&text, |text| list_place(&folder, text))?;
    Some(Spanned::new(text.span(), place))
}

fn read_driverkit(reader: &mut Reader, section: &mut Section<'_>) -> Option<SourceKind> {
    let place = read_place(reader, section, "path", "a directory of YAML files");
    let outputs = section.list(reader, "outputs", "module or probe", str::parse::<Artifact>);
    let outputs = outputs.map(|list| {
        let mut list: Vec<Artifact> = list.into_iter().map(Spanned::into_inner).collect();
        list.sort();
        list
    });
    place.map(|place| SourceKind::Driverkit { place, outputs })
}

fn read_crawler(
    reader: &mut Reader,
    section: &mut Section<'_>,
) -> Option<Vec<(Architecture, Spanned<ListPlace>)>> {
    let help = "write path = { amd64 = \"x86_64.json\", arm64 = \"aarch64.json\" }";
    let mut lists = Vec::new();
    let mut is_named = false;
    for (key, name) in [("path", "`path`"), ("url", "`url`")] {
        let Some(value) = section.value(key) else {
            continue;
        };
        is_named = true;
        let Some(mut places) = Section::of_value(reader, key, name, value) else {
            continue;
        };
        for architecture in Architecture::ALL {
            if places.value(architecture.as_str()).is_some() {
                let what = "a path or a URL";
                let place = read_place(reader, &mut places, architecture.as_str(), what);
                lists.extend(place.map(|place| (architecture, place)));
            }
        }
        if places.entries().is_empty() {
            let message = format!("{name} has no list");
            reader.error(value.span(), message, "", Some(help.to_owned()));
        }
        places.finish(reader);
    }
    if !is_named {
        section.missing(reader, "path", help);
        return None;
    }
    Some(lists)
}

fn read_mirror(reader: &mut Reader, section: &mut Section<'_>) -> MirrorSource {
    let word = |text: &str| {
        let is_allowed = |found: char| found.is_ascii_alphanumeric() || "._-/".contains(found);
        if text.chars().all(is_allowed) && !text.split('/').any(|part| part == "..") {
            Ok(text.to_owned())
        } else {
            Err(format!(
                "invalid name `{text}` of a suite or flavour: expected letters, digits and `. _ - /`"
            ))
        }
    };
    let address = |text: &str| match url::Url::parse(text) {
        Ok(url) if ["http", "https", "file"].contains(&url.scheme()) => Ok(text.to_owned()),
        Ok(url) => Err(format!("`{}` URLs cannot be read", url.scheme())),
        Err(error) => Err(format!("`{text}` is not a valid URL: {error}")),
    };
    let bare = |list: Vec<Spanned<String>>| list.into_iter().map(Spanned::into_inner).collect();
    let mut urls: Vec<String> = Vec::new();
    urls.extend(section.parsed(reader, "url", "a URL", address));
    let more = section.list(reader, "urls", "a URL", address);
    urls.extend(more.into_iter().flatten().map(Spanned::into_inner));
    let suites = section.list(reader, "suites", "the name of a suite", word);
    let flavours = section.list(reader, "flavours", "the name of a flavour", word);
    let keyring = section.text(reader, "keyring", "a path");
    let folder = folder_of(&reader.file.path);
    MirrorSource {
        urls,
        suites: bare(suites.unwrap_or_default()),
        flavours: bare(flavours.unwrap_or_default()),
        keyring: keyring.map(|path| folder.join(path.get_ref())),
        allows_expired: section.flag(reader, "allow_expired").unwrap_or_default(),
        skips_missing: section.flag(reader, "skip_missing").unwrap_or_default(),
    }
}

fn read_inline(reader: &mut Reader, value: &Spanned<DeValue<'_>>) -> Option<Spanned<InlineKernel>> {
    let mut section = Section::of_value(reader, "kernels", "a kernel", value)?;
    let folder = folder_of(&reader.file.path).to_owned();
    let release = section.parsed(reader, "release", "a kernel release", str::parse);
    let version = section.parsed(reader, "version", "a string such as \"1\"", str::parse);
    let architecture = section.parsed(reader, "architecture", "amd64 or arm64", str::parse);
    let headers = section.list(reader, "headers", "a URL or a path", |text| {
        resolve_address(&folder, text)
    });
    let config = section.text(reader, "config", "a path");
    let upstream = section.parsed(reader, "upstream", "a kernel version", str::parse);
    let image = section.parsed(reader, "image", "a URL or a path", |text| {
        resolve_address(&folder, text)
    });
    if section.value("release").is_none() {
        section.missing(reader, "release", "write what `uname -r` prints there");
    }
    section.finish(reader);
    let kernel = InlineKernel {
        release: release?,
        version: version.unwrap_or_default(),
        architecture,
        headers: headers
            .unwrap_or_default()
            .into_iter()
            .map(Spanned::into_inner)
            .collect(),
        config: config.map(|path| folder.join(path.get_ref())),
        upstream,
        image,
    };
    Some(Spanned::new(value.span(), kernel))
}

/// Resolves a path from the directory of the matrix; a URL stays as it is.
fn resolve_address(folder: &Path, text: &str) -> Result<Arc<str>, String> {
    match text.split_once("://") {
        Some(("http" | "https" | "file", _)) => match url::Url::parse(text) {
            Ok(_) => Ok(text.into()),
            Err(error) => Err(format!("`{text}` is not a valid URL: {error}")),
        },
        Some((scheme, _)) => Err(format!(
            "`{scheme}` URLs are not supported: expected http, https, file or a path"
        )),
        None if text.is_empty() => Err("an empty path".to_owned()),
        None => Ok(folder.join(text).to_string_lossy().as_ref().into()),
    }
}
