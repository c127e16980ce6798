//! Reads `[lock]`, `[mirrors]`, `[store]`, `[[exclude]]`, `[[override]]` and `[[known_failure]]`.

use std::sync::Arc;

use jiff::civil::Date;
use regex::{Regex, RegexBuilder};
use toml::Spanned;
use toml::de::DeValue;

use super::section::{Reader, Section, folder_of};
use super::types::{Exclude, KnownFailure, LockSettings, Mirrors, Override, SharedStore};
use super::{Pattern, Settings, parse_lease};
use crate::diagnostic::Place;
use crate::failure::FailureClass;

pub(super) fn read_lock(reader: &mut Reader, mut table: Section<'_>) -> LockSettings {
    let usual = LockSettings::default();
    let max_shrink = table.number(reader, "max_shrink_percent", 0..=100);
    let nights = table.number(reader, "shrink_nights", 1..=366);
    let keep_gone = table.number(reader, "keep_gone_days", 0..=36_500);
    table.finish(reader);
    LockSettings {
        max_shrink_percent: max_shrink.unwrap_or(usual.max_shrink_percent),
        shrink_nights: nights.unwrap_or(usual.shrink_nights),
        keep_gone_days: keep_gone.unwrap_or(usual.keep_gone_days),
    }
}

pub(super) fn read_mirrors(reader: &mut Reader, mut table: Section<'_>) -> Mirrors {
    let is_offline = table.flag(reader, "offline").unwrap_or_default();
    let mut rewrites = Vec::new();
    for (key, value) in table.entries() {
        let from = key.get_ref();
        if from == "offline" {
            continue;
        }
        if !from.contains("://") {
            reader.error(
                key.span(),
                format!("`{from}` is not the beginning of a URL"),
                "",
                Some(
                    "write \"http://host/path\" = [\"http://mirror/path\"], or offline = true"
                        .to_owned(),
                ),
            );
            continue;
        }
        let DeValue::Array(array) = value.get_ref() else {
            reader.error(
                value.span(),
                format!("`{from}` has the wrong type"),
                "expected an array of URLs",
                None,
            );
            continue;
        };
        let replacements = array
            .iter()
            .filter_map(|value| Some(reader.text(from, "a URL", value)?.into_inner()))
            .collect();
        rewrites.push((from.clone(), replacements));
    }
    Mirrors {
        rewrites,
        is_offline,
    }
}

pub(super) fn read_store(reader: &mut Reader, mut table: Section<'_>) -> SharedStore {
    let folder = folder_of(&reader.file.path).to_owned();
    let plain = |text: &str| Ok::<_, String>(text.to_owned());
    let store = SharedStore {
        url: table.parsed(
            reader,
            "url",
            "a URL such as \"s3://bucket/prefix\"",
            str::parse,
        ),
        endpoint: table.parsed(reader, "endpoint", "a URL", plain),
        region: table.parsed(reader, "region", "a region", plain),
        is_trusted: table.flag(reader, "trusted"),
        key: table
            .parsed(reader, "key", "a path", plain)
            .map(|path| folder.join(path)),
        is_read_only: table.flag(reader, "read_only"),
        keep: table
            .list(
                reader,
                "keep",
                "artifacts, logs, headers or prepared",
                str::parse,
            )
            .map(|list| list.into_iter().map(Spanned::into_inner).collect()),
        lease: table.parsed(
            reader,
            "lease",
            "a time such as \"5m\", or \"0\"",
            parse_lease,
        ),
    };
    if table.value("url").is_none() {
        table.missing(reader, "url", "write url = \"s3://bucket/prefix\"");
    }
    table.finish(reader);
    store
}

pub(super) fn read_exclude(reader: &mut Reader, mut table: Section<'_>) -> Exclude {
    let mut selector = table.selector(reader);
    selector.artifacts = table
        .patterns(reader, "artifact", Pattern::for_names)
        .into_iter()
        .map(Spanned::into_inner)
        .collect();
    let reason = table.text(reader, "reason", "a string");
    if table
        .entries()
        .iter()
        .all(|(key, _)| key.get_ref() == "reason")
    {
        table.missing(
            reader,
            "target",
            "add a target, kernel, driver, architecture or artifact to exclude",
        );
    }
    let place = Place {
        file: Arc::clone(&reader.file),
        span: table.span.clone(),
    };
    table.finish(reader);
    let reason = reason.map_or_else(|| "excluded by the matrix".to_owned(), Spanned::into_inner);
    Exclude {
        selector,
        reason: reason.into(),
        place,
    }
}

pub(super) fn read_override(reader: &mut Reader, mut table: Section<'_>) -> Override {
    let selector = table.selector(reader);
    let before = reader.diagnostics.len();
    let settings = Settings::read(&mut table, reader);
    if settings.is_empty() && reader.diagnostics.len() == before {
        reader.error(
            table.span.clone(),
            "this [[override]] sets nothing",
            "",
            Some("set timeout, memory, processes, retries, gcc or image".to_owned()),
        );
    }
    let place = Place {
        file: Arc::clone(&reader.file),
        span: table.span.clone(),
    };
    table.finish(reader);
    Override {
        selector,
        settings,
        place,
    }
}

/// The maximum compiled size of a regular expression in bytes: far more than a message needs, and compiled quickly.
const REGEX_BYTES: usize = 1 << 20;

/// Compiles the regular expression for the message of a known failure.
pub fn message_pattern(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(REGEX_BYTES).build()
}

pub(super) fn read_known_failure(
    reader: &mut Reader,
    mut table: Section<'_>,
) -> Option<KnownFailure> {
    let before = reader.diagnostics.len();
    let mut selector = table.selector(reader);
    selector.artifacts = table
        .patterns(reader, "artifact", Pattern::for_names)
        .into_iter()
        .map(Spanned::into_inner)
        .collect();
    let classes = read_classes(reader, &mut table);
    let message = table.parsed(reader, "message", "a regular expression", |text| {
        message_pattern(text).map_err(|error| format!("invalid regular expression: {error}"))
    });
    let reason = table.text(reader, "reason", "a string");
    if table.value("reason").is_none() {
        table.missing(
            reader,
            "reason",
            "write reason = \"why this failure is expected\"",
        );
    }
    let link = table.text(reader, "link", "a URL");
    let owner = table.text(reader, "owner", "a name");
    let expires = read_day(reader, &mut table, "expires");
    let selects = [
        "target",
        "kernel",
        "driver",
        "architecture",
        "artifact",
        "class",
        "message",
    ];
    if !table
        .entries()
        .iter()
        .any(|(key, _)| selects.contains(&key.get_ref().as_str()))
    {
        table.missing(
            reader,
            "kernel",
            "add a target, kernel, driver, architecture, artifact, class or message: otherwise the rule would match \
             every failure",
        );
    }
    let place = Place {
        file: Arc::clone(&reader.file),
        span: table.span.clone(),
    };
    table.finish(reader);
    (reader.diagnostics.len() == before).then(|| KnownFailure {
        selector,
        classes,
        message,
        reason: reason.map_or_else(Arc::default, |text| text.into_inner().into()),
        link: link.map(Spanned::into_inner),
        owner: owner.map(Spanned::into_inner),
        expires,
        place,
    })
}

/// Reads one class, or an array of classes.
fn read_classes(reader: &mut Reader, table: &mut Section<'_>) -> Vec<FailureClass> {
    fn parse(text: &str) -> Result<FailureClass, String> {
        let is_failure = |class: &FailureClass| *class != FailureClass::Cancelled;
        let classes = FailureClass::ALL.into_iter().filter(is_failure);
        let known = classes.clone().find(|class| class.as_str() == text);
        known.ok_or_else(|| {
            let names: Vec<&str> = classes.map(FailureClass::as_str).collect();
            let names = names.join(", ");
            if text == FailureClass::Cancelled.as_str() {
                return format!("`{text}` says nothing about an artifact: expected one of {names}");
            }
            format!("unknown failure class `{text}`: expected one of {names}")
        })
    }
    let expected = "a failure class, or an array of them";
    match table.value("class").map(Spanned::get_ref) {
        Some(DeValue::Array(_)) => {
            let list = table.list(reader, "class", expected, parse);
            let list = list.unwrap_or_default().into_iter();
            list.map(Spanned::into_inner).collect()
        }
        _ => table
            .parsed(reader, "class", expected, parse)
            .into_iter()
            .collect(),
    }
}

/// Reads a day: `2026-12-31`, with or without quotes.
fn read_day(reader: &mut Reader, table: &mut Section<'_>, key: &'static str) -> Option<Date> {
    let value = table.value(key)?;
    let text = match value.get_ref() {
        DeValue::Datetime(day) => day.to_string(),
        DeValue::String(text) => text.to_string(),
        _ => String::new(),
    };
    let day: Option<Date> = text
        .parse()
        .ok()
        .filter(|_| text.len() == "2026-12-31".len());
    if day.is_none() {
        let help = "write a day as 2026-12-31".to_owned();
        reader.error(
            value.span(),
            format!("`{key}` is not a day"),
            "",
            Some(help),
        );
    }
    day
}
