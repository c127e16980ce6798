//! `[lock]`, `[mirrors]`, `[[exclude]]` and `[[override]]`.

use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::section::{Reader, Section};
use super::types::{Exclude, LockSettings, Mirrors, Override};
use super::{Pattern, Settings};
use crate::diagnostic::Place;

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
            "name a target, kernel, driver, architecture or artifact to leave out",
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
