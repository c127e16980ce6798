//! `lock`: runs discovery and writes the locks.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::output::ignore_broken_pipe;
use super::{CliError, Context, ExitStatus};
use crate::diagnostic::Diagnostic;
use crate::discover::lock::{Changes, Lock};
use crate::kernel::{Architecture, Kernel, KernelRelease, KernelVersion, Package, TargetId};
use crate::matrix::Pattern;
use crate::resolve::{
    Availability, RefreshOptions, Refreshed, Sources, Unavailable, refresh_all, warn_of_doubts,
};
use crate::text::{count, separated, write_columns};

/// The version of the JSON output.
const SCHEMA: u32 = 1;
/// The number of kernels that are listed for each kind of change without `--all`.
const LISTED: usize = 10;

/// Run discovery, write the result beside each matrix, and show what changed
#[derive(Debug, Args)]
pub(super) struct LockArguments {
    /// Matrix files [default: matrices/*.toml]
    #[arg(value_name = "FILES")]
    files: Vec<PathBuf>,
    /// Write nothing; exit code 1 if a lock would change
    #[arg(long)]
    check: bool,
    /// Accept that a source has lost many or all kernels of these targets or series (globs, such as "oracle8")
    #[arg(long, value_name = "PATTERN", value_parser = Pattern::for_names)]
    accept_shrink: Vec<Pattern>,
    /// Output format
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        help_heading = "Output"
    )]
    format: Format,
    /// In text, list every kernel that changed and every entry that was skipped, however many there are
    #[arg(long)]
    all: bool,
    /// Merge the locks OURS and THEIRS with their common ancestor BASE, and write the result to OURS: a merge driver
    /// for git, `lock --merge %O %A %B %P`. Messages call the lock PATH, which may be omitted. Reads no source; exit
    /// code 1 if a file with two different digests has to be resolved by hand
    // Not `exclusive`: that also forbids the arguments of all commands, and those that are set by variables.
    #[arg(
        long,
        num_args = 3..=4,
        value_names = ["BASE", "OURS", "THEIRS", "PATH"],
        conflicts_with_all = ["files", "check", "accept_shrink", "format", "all"]
    )]
    merge: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Text for people
    Text,
    /// JSON with all fields
    Json,
}

impl LockArguments {
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        if let [base, ours, theirs, name @ ..] = &*self.merge {
            let name = name.first().map(|name| &**name);
            let contradictions = Lock::merge_files([base, ours, theirs], name)?;
            context.warn(&contradictions);
            return Ok(if contradictions.is_empty() {
                ExitStatus::Success
            } else {
                ExitStatus::Incomplete
            });
        }
        let sources = Sources::read(&self.files)?;
        let options = RefreshOptions {
            accepted: &self.accept_shrink,
            is_check: self.check,
            ..RefreshOptions::default()
        };
        let all = refresh_all(&sources, context, options)?;
        let availability = Availability {
            unavailable: all.iter().flat_map(|one| one.unavailable.clone()).collect(),
            is_doubted: false,
        };
        if !all.is_empty() && all.iter().all(|one| one.changes.is_empty()) {
            return Err(availability.error());
        }
        if all.is_empty() {
            context.notice("nothing to lock: the matrices list all kernels inline");
        }
        ignore_broken_pipe(|output| match self.format {
            Format::Text if all.is_empty() => Ok(()),
            Format::Text => write_text(output, &all, self.all),
            Format::Json => write_json(output, &all),
        })?;
        let mut status = availability.status();
        availability.warn(context);
        let own_faults = availability.own_faults();
        if !own_faults.is_empty() {
            context.warn(&own_faults);
            status = ExitStatus::BadInput;
        }
        for refreshed in &all {
            if warn_of_doubts(context, refreshed) {
                status = status.worse(ExitStatus::Incomplete);
            }
            context.warn(&refreshed.empty);
            if self.check && refreshed.is_changed {
                status = status.worse(ExitStatus::Incomplete);
                let (lock, matrix) = (refreshed.path.display(), refreshed.matrix.display());
                context.notice(&format!(
                    "{lock} would change: run `driverkit-matrix lock {matrix}`"
                ));
            }
        }
        Ok(status)
    }
}

/// One kind of change in the text output.
struct Kind<'a> {
    sign: char,
    name: &'static str,
    count: usize,
    /// Returns the text of the kernel at a position.
    kernel: Box<dyn Fn(usize) -> String + 'a>,
}

fn kinds(changes: &Changes) -> [Kind<'_>; 6] {
    fn kind<'a, T>(
        sign: char,
        name: &'static str,
        kernels: &'a [T],
        text: impl Fn(&'a T) -> String + 'a,
    ) -> Kind<'a> {
        Kind {
            sign,
            name,
            count: kernels.len(),
            kernel: Box::new(move |position| text(&kernels[position])),
        }
    }
    fn moved((before, after): &(Arc<Kernel>, Arc<Kernel>)) -> String {
        let is_new = |one: &&Package| before.packages.iter().all(|old| old.url != one.url);
        let first = after.packages.iter().find(is_new).and_then(|new| {
            let mut old = before.packages.iter();
            Some((old.find(|old| old.file_name() == new.file_name())?, new))
        });
        let place = first.map_or_else(String::new, |(before, after)| {
            format!(": {} -> {}", before.url, after.url)
        });
        format!("{after}{place}")
    }
    let unconfirmed = &changes.unconfirmed;
    [
        kind('+', "came", &changes.came, ToString::to_string),
        kind('-', "went", &changes.went, ToString::to_string),
        kind('>', "moved", &changes.moved, moved),
        kind('=', "renamed", &changes.renamed, |(before, after)| {
            format!("{before} -> {after}")
        }),
        kind('~', "changed", &changes.changed, |(_, after)| {
            after.to_string()
        }),
        kind('?', "unconfirmed", unconfirmed, ToString::to_string),
    ]
}

fn write_text(output: &mut dyn Write, all: &[Refreshed], lists_all: bool) -> io::Result<()> {
    let mut rows = vec![
        [
            "LOCK",
            "TARGET",
            "KERNELS",
            "CAME",
            "WENT",
            "MOVED",
            "RENAMED",
            "CHANGED",
            "UNCONFIRMED",
        ]
        .map(str::to_owned),
    ];
    let entries = || {
        all.iter().flat_map(|refreshed| {
            let changes = refreshed.changes.iter();
            changes.map(|(label, changes)| (&refreshed.path, label, changes))
        })
    };
    for (path, label, changes) in entries() {
        let [came, went, moved, renamed, changed, unconfirmed] =
            kinds(changes).map(|kind| separated(kind.count));
        rows.push([
            path.display().to_string(),
            label.clone(),
            separated(changes.total),
            came,
            went,
            moved,
            renamed,
            changed,
            unconfirmed,
        ]);
    }
    let right = [false, false, true, true, true, true, true, true, true];
    write_columns(output, right, &rows)?;
    for (path, label, changes) in entries() {
        let kinds = kinds(changes);
        let is_new = changes.came.len() == changes.total;
        if kinds.iter().all(|kind| kind.count == 0) || (is_new && !lists_all) {
            continue;
        }
        writeln!(output, "\n{} {label}", path.display())?;
        for Kind {
            sign,
            name,
            count: all,
            kernel,
        } in kinds
        {
            let listed = if lists_all { all } else { all.min(LISTED) };
            for position in 0..listed {
                writeln!(output, "{sign} {}", kernel(position))?;
            }
            if all > listed {
                let more = count(all - listed, "kernel");
                writeln!(output, "{sign} {more} more {name} (--all lists them)")?;
            }
        }
    }
    if lists_all {
        for entry in all.iter().flat_map(|refreshed| &refreshed.skipped) {
            writeln!(output, "! skipped {entry}")?;
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct ReportJson<'a> {
    schema: u32,
    locks: Vec<LockJson<'a>>,
}

#[derive(Serialize)]
struct LockJson<'a> {
    lock: &'a Path,
    is_changed: bool,
    entries: Vec<EntryJson<'a>>,
    skipped: &'a [String],
    unavailable: Vec<UnavailableJson<'a>>,
}

/// A `[[target]]` with a source that could not be read.
#[derive(Serialize)]
struct UnavailableJson<'a> {
    entry: &'a str,
    messages: Vec<&'a str>,
    known_kernel_count: usize,
}

fn unavailable_json(one: &Unavailable) -> UnavailableJson<'_> {
    UnavailableJson {
        entry: &one.label,
        messages: one.faults.iter().map(Diagnostic::message).collect(),
        known_kernel_count: one.known.len(),
    }
}

#[derive(Serialize)]
struct EntryJson<'a> {
    entry: &'a str,
    kernel_count: usize,
    came: Vec<KernelJson<'a>>,
    went: Vec<KernelJson<'a>>,
    moved: Vec<PairJson<'a>>,
    renamed: Vec<PairJson<'a>>,
    changed: Vec<PairJson<'a>>,
    unconfirmed: Vec<KernelJson<'a>>,
    not_believed: Vec<DoubtJson<'a>>,
}

#[derive(Serialize)]
struct KernelJson<'a> {
    target: &'a TargetId,
    kernel_release: &'a KernelRelease,
    kernel_version: &'a KernelVersion,
    architecture: Architecture,
    packages: Vec<&'a str>,
}

#[derive(Serialize)]
struct PairJson<'a> {
    before: KernelJson<'a>,
    after: KernelJson<'a>,
}

#[derive(Serialize)]
struct DoubtJson<'a> {
    target: &'a TargetId,
    series: String,
    architecture: Architecture,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    before: usize,
    now: usize,
}

fn kernel_json(kernel: &Kernel) -> KernelJson<'_> {
    let packages = kernel.packages.iter();
    KernelJson {
        target: &kernel.target,
        kernel_release: &kernel.release,
        kernel_version: &kernel.version,
        architecture: kernel.architecture,
        packages: packages.map(|package| &*package.url).collect(),
    }
}

fn write_json(output: &mut dyn Write, all: &[Refreshed]) -> io::Result<()> {
    fn kernels(list: &[Arc<Kernel>]) -> Vec<KernelJson<'_>> {
        list.iter().map(|kernel| kernel_json(kernel)).collect()
    }
    fn pairs(list: &[(Arc<Kernel>, Arc<Kernel>)]) -> Vec<PairJson<'_>> {
        list.iter()
            .map(|(before, after)| PairJson {
                before: kernel_json(before),
                after: kernel_json(after),
            })
            .collect()
    }
    let locks = all.iter().map(|refreshed| LockJson {
        lock: &refreshed.path,
        is_changed: refreshed.is_changed,
        entries: refreshed
            .changes
            .iter()
            .map(|(label, changes)| EntryJson {
                entry: label,
                kernel_count: changes.total,
                came: kernels(&changes.came),
                went: kernels(&changes.went),
                moved: pairs(&changes.moved),
                renamed: pairs(&changes.renamed),
                changed: pairs(&changes.changed),
                unconfirmed: kernels(&changes.unconfirmed),
                not_believed: changes
                    .doubts
                    .iter()
                    .map(|doubt| DoubtJson {
                        target: &doubt.target,
                        series: doubt.series.to_string(),
                        architecture: doubt.architecture,
                        source: doubt.source.as_deref(),
                        before: doubt.before,
                        now: doubt.now,
                    })
                    .collect(),
            })
            .collect(),
        skipped: &refreshed.skipped,
        unavailable: refreshed.unavailable.iter().map(unavailable_json).collect(),
    });
    let report = ReportJson {
        schema: SCHEMA,
        locks: locks.collect(),
    };
    serde_json::to_writer_pretty(&mut *output, &report).map_err(io::Error::from)?;
    writeln!(output)
}
