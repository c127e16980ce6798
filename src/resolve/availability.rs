//! Sources that could not be queried or whose results are not trusted: the messages about them, the kernels used
//! instead, and the exit status.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Context, ResolveError};
use crate::diagnostic::Diagnostic;
use crate::exit::ExitStatus;
use crate::kernel::{Architecture, Kernel, KernelRelease, KernelVersion, PackageSet, TargetId};
use crate::matrix::{Pattern, TargetEntry};
use crate::plan::LeftOut;
use crate::text::count;

/// The maximum number of sources that are named; the rest are counted.
const NAMED: usize = 20;

/// A `[[target]]` with a source that returned nothing.
#[derive(Clone, Debug)]
pub(crate) struct Unavailable {
    /// The path of the lock.
    pub(crate) lock: PathBuf,
    /// The label of the `[[target]]`.
    pub(crate) label: String,
    name: Pattern,
    architectures: Vec<Architecture>,
    /// The errors of each source that failed.
    pub(crate) faults: Vec<Diagnostic>,
    /// Whether the matrix is at fault: it requests something that the source does not have.
    pub(crate) is_bad_input: bool,
    /// Whether the matrix or a file next to it must be corrected, regardless of what servers answer.
    pub(crate) is_own_fault: bool,
    /// The number of failed sources that are not lists. URLs of lists have no mirrors.
    pub(crate) failed_mirrors: usize,
    /// Whether all sources failed.
    pub(crate) is_silent: bool,
    /// The kernels in the lock for this `[[target]]`, which are used instead.
    pub(crate) known: Vec<Arc<Kernel>>,
}

/// Which sources of a plan could not be queried, and whether the results are trusted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Availability {
    pub(crate) unavailable: Vec<Unavailable>,
    /// Whether a source's result is not trusted.
    pub(crate) is_doubted: bool,
}

/// Returns the message of an error, with the place in the matrix.
fn with_place(fault: &Diagnostic) -> String {
    match fault.place() {
        Some(place) => format!("{place}: {}", fault.message()),
        None => fault.message().to_owned(),
    }
}

impl Unavailable {
    pub(crate) fn new(lock: PathBuf, entry: &TargetEntry) -> Self {
        Self {
            lock,
            label: entry.label.clone(),
            name: entry.name.get_ref().clone(),
            architectures: entry.architectures.clone(),
            faults: Vec::new(),
            is_bad_input: true,
            is_own_fault: false,
            failed_mirrors: 0,
            is_silent: false,
            known: Vec::new(),
        }
    }

    /// Returns one line: where the source is named, the error, and how the plan continues.
    fn line(&self) -> String {
        let faults: Vec<String> = self.faults.iter().map(with_place).collect();
        let rest = match (self.known.len(), self.is_silent) {
            (0, true) => "left out: no lock has its kernels".to_owned(),
            (0, false) => "its other sources are used".to_owned(),
            (known, _) => format!(
                "{} of {} used, unconfirmed",
                count(known, "kernel"),
                self.lock.display()
            ),
        };
        format!("  {}; {rest}", faults.join("; "))
    }

    /// Returns placeholders in the plan for each architecture, if no kernel of this `[[target]]` is known.
    fn left_out(&self) -> Vec<LeftOut> {
        if !(self.known.is_empty() && self.is_silent) {
            return Vec::new();
        }
        let is_allowed = |found: &char| found.is_ascii_alphanumeric() || ".-".contains(*found);
        let name: String = self.name.as_str().chars().filter(is_allowed).collect();
        let target = name.parse::<TargetId>();
        let target = target.or_else(|_| "any".parse());
        let release = LeftOut::UNKNOWN_RELEASE.parse::<KernelRelease>();
        let (Ok(target), Ok(release)) = (target, release) else {
            return Vec::new();
        };
        let reason: Vec<&str> = self.faults.iter().map(Diagnostic::message).collect();
        let reason: Arc<str> = reason.join("; ").into();
        let place = self.faults.iter().find_map(Diagnostic::place);
        let place: Option<Arc<str>> = place.map(|place| {
            let (line, _) = place.line_and_column();
            format!("{}:{line}", place.file.path.display()).into()
        });
        let of = |architecture: &Architecture| LeftOut {
            kernel: Arc::new(Kernel {
                target: target.clone(),
                release: release.clone(),
                version: KernelVersion::default(),
                architecture: *architecture,
                packages: PackageSet::default(),
                config_sha256: None,
                upstream: None,
                image: None,
                source: "lock".into(),
            }),
            driver: None,
            artifact: None,
            rule: LeftOut::SOURCE_UNAVAILABLE.into(),
            reason: Arc::clone(&reason),
            place: place.clone(),
            first_seen: None,
        };
        self.architectures.iter().map(of).collect()
    }
}

impl Availability {
    /// Returns the exit status of work that was done without these sources.
    pub(crate) fn status(&self) -> ExitStatus {
        if !self.unavailable.is_empty() {
            ExitStatus::Infrastructure
        } else if self.is_doubted {
            ExitStatus::Incomplete
        } else {
            ExitStatus::Success
        }
    }

    /// Prints which sources could not be queried, one line each.
    pub(crate) fn warn(&self, context: &Context) {
        if self.unavailable.is_empty() {
            return;
        }
        let sources = count(self.unavailable.len(), "[[target]]");
        let warning = Diagnostic::warning(format!(
            "failed to get the kernels of {sources}; everything else continues"
        ));
        context.warn(&[warning]);
        for one in self.unavailable.iter().take(NAMED) {
            context.notice(&one.line());
        }
        if self.unavailable.len() > NAMED {
            let more = count(self.unavailable.len() - NAMED, "[[target]]");
            context.notice(&format!("  and {more} more"));
        }
    }

    /// Returns placeholders in the plan for targets without known kernels. `is_wanted` returns whether the command
    /// concerns a name.
    pub(crate) fn left_out(&self, is_wanted: impl Fn(&Pattern) -> bool) -> Vec<LeftOut> {
        let wanted = self.unavailable.iter().filter(|one| is_wanted(&one.name));
        wanted.flat_map(Unavailable::left_out).collect()
    }

    /// Returns an error, for commands that cannot continue without these sources.
    pub(crate) fn error(&self) -> ResolveError {
        let faults = || self.unavailable.iter().flat_map(|one| &one.faults);
        if self.unavailable.iter().all(|one| one.is_bad_input) {
            return ResolveError::Diagnostics(faults().cloned().collect());
        }
        let mut messages: Vec<String> = faults().map(with_place).collect();
        let more = messages.len().saturating_sub(NAMED);
        messages.truncate(NAMED);
        let more = match more {
            0 => String::new(),
            more => format!("\nand {}", count(more, "other error")),
        };
        let locks: Vec<&PathBuf> = self.unavailable.iter().map(|one| &one.lock).collect();
        let lock = match &*locks {
            [first, rest @ ..] if rest.iter().all(|lock| lock == first) => {
                first.display().to_string()
            }
            _ => "the locks".to_owned(),
        };
        let advice = if self.unavailable.iter().all(|one| one.failed_mirrors == 0) {
            "check the URL of the list in the matrix"
        } else {
            "name a mirror that can be reached in [mirrors] or with --mirror"
        };
        ResolveError::Infrastructure {
            message: messages.join("\n") + &more,
            help: Some(format!(
                "{advice}, or copy {lock} from a machine with network access: then no server is needed"
            )),
        }
    }

    /// The errors in matrices and in files next to them, which retrying later does not fix.
    pub(crate) fn own_faults(&self) -> Vec<Diagnostic> {
        let own = self.unavailable.iter().filter(|one| one.is_own_fault);
        own.flat_map(|one| one.faults.iter().cloned()).collect()
    }
}
