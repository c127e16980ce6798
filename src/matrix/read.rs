//! Parses text to a [`Matrix`].

use std::collections::HashMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::drivers::{check_driver_patterns, read_drivers};
use super::rules::{
    read_exclude, read_known_failure, read_lock, read_mirrors, read_override, read_store,
};
use super::section::{Reader, Section};
use super::syntax::syntax_errors;
use super::types::{Matrix, TargetEntry};
use super::{Attestation, KernelSources, Pattern, Settings, Signing, SourceKind};
use crate::diagnostic::{Diagnostic, SourceFile, did_you_mean};
use crate::driver::{Artifact, DriverVersion};
use crate::kernel::Architecture;
use crate::target;

/// Parses a matrix; the error has all faults, in the order of the file.
pub fn read(file: Arc<SourceFile>) -> Result<Matrix, Vec<Diagnostic>> {
    let text = Arc::clone(&file);
    let (document, errors) = DeTable::parse_recoverable(&text.text);
    if !errors.is_empty() {
        return Err(syntax_errors(&file, document.get_ref(), errors));
    }
    let mut reader = Reader {
        file,
        diagnostics: Vec::new(),
    };
    let section = Section::new(
        "a matrix",
        0..first_line_length(&text.text),
        document.get_ref(),
    );
    let matrix = read_document(&mut reader, section);
    if reader.diagnostics.is_empty() {
        return Ok(matrix);
    }
    reader
        .diagnostics
        .sort_by_key(|diagnostic| diagnostic.place().map_or(0, |place| place.span.start));
    Err(reader.diagnostics)
}

fn first_line_length(text: &str) -> usize {
    text.find('\n').unwrap_or(text.len())
}

fn read_document(reader: &mut Reader, mut section: Section<'_>) -> Matrix {
    let drivers = section
        .list(
            reader,
            "drivers",
            "a driver version",
            str::parse::<DriverVersion>,
        )
        .unwrap_or_default();
    match section
        .value("drivers")
        .map(|value| (value.span(), value.get_ref()))
    {
        None => section.missing(reader, "drivers", "write drivers = [\"8.1.0+driver\"]"),
        Some((span, DeValue::Array(array))) if array.is_empty() => {
            reader.error(span, "`drivers` is empty", "nothing would be planned", None);
        }
        Some(_) => {}
    }
    let architectures = section
        .sorted_list::<Architecture>(reader, "architectures", "amd64 or arm64")
        .unwrap_or_else(|| vec![Architecture::Amd64]);
    let artifacts = section
        .sorted_list::<Artifact>(reader, "artifacts", "module or probe")
        .unwrap_or_else(|| vec![Artifact::Module]);
    let defaults = match section.value("defaults") {
        Some(value) => Section::of_value(reader, "defaults", "[defaults]", value)
            .map(|mut table| {
                let settings = Settings::read(&mut table, reader);
                table.finish(reader);
                settings
            })
            .unwrap_or_default(),
        None => Settings::default(),
    };
    let (drivers, driver_sources) = read_drivers(reader, &mut section, drivers);
    let mut labels = HashMap::new();
    let targets = tables(
        reader,
        &mut section,
        "target",
        "a [[target]]",
        |reader, table| read_target(reader, table, &architectures, &artifacts, &mut labels),
    );
    if section.value("target").is_none() {
        section.missing(reader, "target", "write [[target]] with a name and kernels");
    }
    check_driver_patterns(reader, &drivers, &targets);
    let lock = table(reader, &mut section, "lock").map(|(reader, table)| read_lock(reader, table));
    let mirrors =
        table(reader, &mut section, "mirrors").map(|(reader, table)| read_mirrors(reader, table));
    let store =
        table(reader, &mut section, "store").map(|(reader, table)| read_store(reader, table));
    let signing = table(reader, &mut section, "signing")
        .and_then(|(reader, table)| Signing::read(reader, table));
    let attestation = table(reader, &mut section, "attestation")
        .and_then(|(reader, table)| Attestation::read(reader, table));
    let excludes = tables(
        reader,
        &mut section,
        "exclude",
        "an [[exclude]]",
        |reader, table| Some(read_exclude(reader, table)),
    );
    let overrides = tables(
        reader,
        &mut section,
        "override",
        "an [[override]]",
        |reader, table| Some(read_override(reader, table)),
    );
    let known_failures = tables(
        reader,
        &mut section,
        "known_failure",
        "a [[known_failure]]",
        read_known_failure,
    );
    section.finish(reader);
    Matrix {
        file: Arc::clone(&reader.file),
        drivers,
        driver_sources,
        architectures,
        artifacts,
        defaults,
        targets,
        lock: lock.unwrap_or_default(),
        mirrors: mirrors.unwrap_or_default(),
        store,
        signing,
        attestation,
        excludes,
        overrides,
        known_failures,
    }
}

/// Returns the table `[key]`, if it exists, and the reader.
fn table<'r, 't>(
    reader: &'r mut Reader,
    section: &mut Section<'t>,
    key: &'static str,
) -> Option<(&'r mut Reader, Section<'t>)> {
    let value = section.value(key)?;
    let table = Section::of_value(reader, key, format!("[{key}]"), value)?;
    Some((reader, table))
}

/// Reads each table of an array of tables; skips faulty tables.
fn tables<T>(
    reader: &mut Reader,
    section: &mut Section<'_>,
    key: &'static str,
    name: &str,
    mut read: impl FnMut(&mut Reader, Section<'_>) -> Option<T>,
) -> Vec<T> {
    let Some(value) = section.value(key) else {
        return Vec::new();
    };
    let DeValue::Array(array) = value.get_ref() else {
        reader.error(
            value.span(),
            format!("`{key}` has the wrong type"),
            "expected an array of tables",
            Some(format!("write [[{key}]] with two brackets")),
        );
        return Vec::new();
    };
    array
        .iter()
        .filter_map(|value| {
            let table = Section::of_value(reader, key, name, value)?;
            read(reader, table)
        })
        .collect()
}

fn read_target(
    reader: &mut Reader,
    mut table: Section<'_>,
    architectures: &[Architecture],
    artifacts: &[Artifact],
    labels: &mut HashMap<String, usize>,
) -> Option<TargetEntry> {
    let name = table.text(reader, "name", "a target or a glob of targets");
    if table.value("name").is_none() {
        table.missing(reader, "name", "write name = \"debian\"");
    }
    let name = name.and_then(|name| {
        let pattern = reader.parse_text(&name, Pattern::for_names)?;
        Some(Spanned::new(name.span(), pattern))
    });
    let kernels = table.value("kernels").map(|value| {
        KernelSources::read(reader, value).map(|source| Spanned::new(value.span(), source))
    });
    if kernels.is_none() {
        table.missing(
            reader,
            "kernels",
            "write kernels = { from = \"kernel-crawler\", path = { amd64 = \"...\" } }",
        );
    }
    let settings = Settings::read(&mut table, reader);
    let drivers = table.patterns(reader, "drivers", str::parse);
    let own_architectures = table.sorted_list(reader, "architectures", "amd64 or arm64");
    // An empty list means that the kernels are planned without artifacts.
    let own_artifacts = table
        .list(reader, "artifacts", "module or probe", str::parse)
        .map(|list| {
            let mut list: Vec<Artifact> = list.into_iter().map(Spanned::into_inner).collect();
            list.sort();
            list
        });
    let is_generic = table.flag(reader, "generic").unwrap_or_default();
    table.finish(reader);
    let (name, kernels) = (name?, kernels??);
    check_target_name(reader, &name, kernels.get_ref(), is_generic);
    check_suites(reader, &name, kernels.get_ref());
    let count = labels
        .entry(name.get_ref().as_str().to_owned())
        .or_insert(0);
    *count += 1;
    let label = match *count {
        1 => name.get_ref().to_string(),
        more => format!("{}#{more}", name.get_ref()),
    };
    Some(TargetEntry {
        label,
        name,
        kernels,
        settings,
        drivers: drivers.into_iter().map(Spanned::into_inner).collect(),
        architectures: own_architectures.unwrap_or_else(|| architectures.to_vec()),
        artifacts: own_artifacts.unwrap_or_else(|| artifacts.to_vec()),
    })
}

/// Requires `suites` for Debian's archive, where kernels are only in suites.
fn check_suites(reader: &mut Reader, name: &Spanned<Pattern>, kernels: &KernelSources) {
    for source in &kernels.sources {
        let SourceKind::Mirror(mirror) = &source.get_ref().kind else {
            continue;
        };
        let span = source.span();
        let mut faults = reader.diagnostics.iter().filter_map(Diagnostic::place);
        let is_faulty = faults.any(|place| span.contains(&place.span.start));
        if name.get_ref().as_str() == "debian" && mirror.suites.is_empty() && !is_faulty {
            reader.error(
                source.span(),
                "`suites` is missing in `kernels`",
                "",
                Some("write suites = [\"bookworm\", \"trixie\"]".to_owned()),
            );
        }
    }
}

/// Checks the name of a target: a known target, a glob if lists name the targets, or any name with `generic = true`.
fn check_target_name(
    reader: &mut Reader,
    name: &Spanned<Pattern>,
    kernels: &KernelSources,
    is_generic: bool,
) {
    let pattern = name.get_ref();
    if !pattern.is_literal() {
        let sources = kernels.sources.iter().map(Spanned::get_ref);
        let mut names =
            sources.map(|source| (source.kind.names_targets(pattern), source.kind.name()));
        let one = match names.find(|(names_targets, _)| !names_targets) {
            Some((_, name)) => Some(name),
            None => (!kernels.inline.is_empty()).then_some("inline"),
        };
        if let Some(one) = one {
            reader.error(
                name.span(),
                format!("the glob `{pattern}` does not name a single target"),
                "",
                Some(format!(
                    "only lists contain several targets; `{one}` needs a single name"
                )),
            );
        }
        return;
    }
    match pattern.as_str().parse() {
        Ok(id) if target::is_known(&id) && !(is_generic && id.as_str() != "generic") => {}
        Ok(id) if target::is_known(&id) => {
            reader.error(
                name.span(),
                format!("`{pattern}` has its own rules and cannot be `generic`"),
                "",
                Some(
                    "remove `generic = true`: given packages are used as they are anyway"
                        .to_owned(),
                ),
            );
        }
        Ok(_) if is_generic => {}
        Ok(_) => {
            let help = hint_for_target(pattern.as_str()).unwrap_or_else(|| {
                format!(
                    "known targets: {}, ubuntu-*; for a kernel of your own write `generic = true` below the name",
                    target::known_ids().join(", ")
                )
            });
            reader.error(
                name.span(),
                format!("unknown target `{pattern}`"),
                "",
                Some(help),
            );
        }
        Err(error) => reader.error(name.span(), error.to_string(), "", None),
    }
}

/// Returns a hint about what an unknown name of a target may mean.
pub fn hint_for_target(name: &str) -> Option<String> {
    target::hint_for(name).or_else(|| did_you_mean(name, target::known_ids()))
}
