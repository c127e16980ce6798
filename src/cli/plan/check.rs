//! `plan --check`: checks that the files exist that no index lists.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::super::output::{ignore_broken_pipe, print_json};
use super::super::{CliError, Context, ExitStatus, Planned};
use crate::fetch::{Existence, FetchError, Fetcher};
use crate::resolve::{check_attestation, check_signing, open_store, runtime};
use crate::session::{CheckedFile, CheckedFiles, check_files, new_run_id, places};
use crate::text::{count, separated, write_columns};

/// The version of the JSON output.
const SCHEMA: u32 = 1;
/// The maximum number of listed missing files, and of listed kinds of other answers.
const LISTED: usize = 20;

#[derive(Serialize)]
struct CheckJson<'a> {
    schema: u32,
    stored: usize,
    listed: usize,
    exists: usize,
    missing: usize,
    unknown: usize,
    files: Vec<FileJson<'a>>,
}

#[derive(Serialize)]
struct FileJson<'a> {
    wanted_by: &'a str,
    existence: &'static str,
    /// The URL that has the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    /// The URLs that were requested, for a file that no URL has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    /// When an earlier check received the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_at: Option<Timestamp>,
}

/// Queries the servers, prints the missing files, and returns the exit status: 1 if a file does not exist, 3 if a
/// server gave no definite answer.
pub(super) fn check(
    context: &Context,
    planned: &Planned,
    max_age: Duration,
    is_json: bool,
) -> Result<ExitStatus, CliError> {
    if planned.mirrors.is_offline {
        return Err(CliError::Input {
            message: "--check queries servers, but this plan is offline".to_owned(),
            help: Some(
                "omit --offline (`offline` in [mirrors]), or use `run --offline` to list the missing files"
                    .to_owned(),
            ),
        });
    }
    check_signing(planned)?;
    check_attestation(planned)?;
    let store = std::sync::Arc::new(open_store(context, &new_run_id())?);
    let fetcher = Fetcher::new(store, planned.fetch_settings().without_patience());
    let checked = runtime()?.block_on(check_files(context, &fetcher, planned, max_age))?;
    let number = |is: fn(&Existence) -> bool| {
        let files = checked.asked.iter();
        files.filter(|file| is(&file.existence)).count()
    };
    let missing = number(|one| matches!(one, Existence::Missing));
    let unknown = number(|one| matches!(one, Existence::Unknown(_)));
    let exists = checked.asked.len() - missing - unknown;
    if is_json {
        print_json(&CheckJson {
            schema: SCHEMA,
            stored: checked.stored,
            listed: checked.listed,
            exists,
            missing,
            unknown,
            files: checked.asked.iter().map(file_json).collect(),
        })?;
    } else {
        let numbers = [exists, missing, unknown];
        ignore_broken_pipe(|output| write_text(output, &checked, numbers))?;
    }
    Ok(if missing > 0 {
        ExitStatus::Incomplete
    } else if unknown > 0 {
        ExitStatus::Infrastructure
    } else {
        planned.availability.status()
    })
}

fn file_json(file: &CheckedFile) -> FileJson<'_> {
    let (existence, url, answer) = match &file.existence {
        Existence::Exists(url) => ("exists", Some(url.as_str()), None),
        Existence::Missing => ("missing", None, None),
        Existence::Unknown(error) => ("unknown", None, Some(error.failure().message)),
    };
    let candidates = file.need.request.candidates.iter();
    let urls = candidates.map(|url| crate::redact::url(url).into_owned());
    FileJson {
        wanted_by: &file.need.wanted_by,
        existence,
        urls: if url.is_none() {
            urls.collect()
        } else {
            Vec::new()
        },
        url,
        answer,
        answered_at: file.earlier,
    }
}

fn write_text(
    output: &mut dyn Write,
    checked: &CheckedFiles,
    [exists, missing, unknown]: [usize; 3],
) -> io::Result<()> {
    let CheckedFiles {
        asked,
        stored,
        listed,
    } = checked;
    writeln!(
        output,
        "{}: {} in the cache, {} listed with digests, {} exist, {} missing, {} unknown",
        count(asked.len() + stored + listed, "file"),
        separated(*stored),
        separated(*listed),
        separated(exists),
        separated(missing),
        separated(unknown),
    )?;
    if let Some(oldest) = asked.iter().filter_map(|file| file.earlier).min() {
        let earlier = asked.iter().filter(|file| file.earlier.is_some()).count();
        writeln!(
            output,
            "{} from earlier checks, the oldest {} old; use `--check-age 1s` to query again",
            count(earlier, "answer"),
            age(oldest),
        )?;
    }
    write_missing(output, asked, missing)?;
    write_unknown(output, asked)
}

fn age(at: Timestamp) -> String {
    let minutes = Timestamp::now().duration_since(at).unsigned_abs().as_secs() / 60;
    let (number, unit) = match minutes {
        0..60 => (minutes, "minute"),
        _ => (minutes / 60, "hour"),
    };
    count(usize::try_from(number).unwrap_or(usize::MAX), unit)
}

fn write_missing(output: &mut dyn Write, asked: &[CheckedFile], missing: usize) -> io::Result<()> {
    if missing == 0 {
        return Ok(());
    }
    let mut rows = vec![["DOES NOT EXIST FOR", "URL"].map(str::to_owned)];
    let files = asked
        .iter()
        .filter(|file| file.existence == Existence::Missing);
    rows.extend(files.take(LISTED).map(|file| {
        let urls = places(&file.need.request.candidates);
        let urls = crate::redact::text(&urls).into_owned();
        [file.need.wanted_by.clone(), urls]
    }));
    writeln!(output)?;
    write_columns(output, [false, false], &rows)?;
    if missing > LISTED {
        let more = count(missing - LISTED, "file");
        writeln!(output, "and {more} more: --format json lists all")?;
    }
    Ok(())
}

/// Writes the files whose existence is unknown, grouped by the servers' answers.
fn write_unknown(output: &mut dyn Write, asked: &[CheckedFile]) -> io::Result<()> {
    let mut groups: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for file in asked {
        if let Existence::Unknown(error) = &file.existence {
            let group = groups.entry(answers(error)).or_default();
            group.push(&file.need.wanted_by);
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    let mut rows = vec![["UNKNOWN", "ANSWER", "FOR EXAMPLE"].map(str::to_owned)];
    let kinds = groups.len();
    rows.extend(groups.into_iter().take(LISTED).map(|(answer, files)| {
        let example = files.first().copied().unwrap_or_default();
        [separated(files.len()), answer, example.to_owned()]
    }));
    writeln!(output)?;
    write_columns(output, [true, false, false], &rows)?;
    if kinds > LISTED {
        let more = count(kinds - LISTED, "answer");
        writeln!(output, "and {more} more: --format json lists all")?;
    }
    Ok(())
}

/// Returns the servers that gave no definite answer, each with its answer.
fn answers(error: &FetchError) -> String {
    let unsure = error
        .tried
        .iter()
        .filter(|tried| !tried.answer.is_not_there());
    let answers: BTreeSet<String> = unsure
        .map(|tried| {
            let url = url::Url::parse(&tried.url).ok();
            let host = url.as_ref().and_then(|url| url.host_str());
            format!("{} {}", host.unwrap_or(&tried.url), tried.answer)
        })
        .collect();
    Vec::from_iter(answers).join("; ")
}
