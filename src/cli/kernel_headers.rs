//! The packages of one kernel: every URL that is tried for them, and the server's answer.

use std::io::{self, Write};
use std::sync::Arc;

use futures_util::StreamExt as _;
use serde::Serialize;

use super::{CliError, Context};
use crate::fetch::Fetcher;
use crate::kernel::{
    Architecture, Kernel, KernelRelease, KernelVersion, PackageSet, ParseKernelError, TargetId,
    file_name,
};
use crate::resolve::said_what_is_asked;
use crate::target;
use crate::text::write_columns;

/// The number of URLs that are requested concurrently.
const AT_ONCE: usize = 8;

/// The kernel whose packages are queried.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) target: &'a str,
    pub(super) release: &'a KernelRelease,
    pub(super) version: &'a KernelVersion,
    /// Empty for all architectures.
    pub(super) architectures: &'a [Architecture],
}

/// The servers' answers for the URLs.
pub(super) struct Answers {
    rows: Vec<Answer>,
    /// True if every file is available from one of its URLs.
    pub(super) is_whole: bool,
}

#[derive(Serialize)]
struct Answer {
    architecture: Architecture,
    file: String,
    url: String,
    is_there: bool,
    #[serde(rename = "answer")]
    text: String,
}

/// Requests every URL of the packages of these kernels.
pub(super) fn ask(
    kernels: &[Kernel],
    context: &Context,
    fetcher: &Fetcher,
    runtime: &tokio::runtime::Runtime,
) -> Answers {
    let mut answers = Answers {
        rows: Vec::new(),
        is_whole: true,
    };
    for kernel in kernels {
        for addresses in wanted_files(kernel) {
            let file = addresses
                .first()
                .map_or_else(String::new, |url| file_name(url).into_owned());
            let asked = futures_util::stream::iter(&addresses)
                .map(|url| fetcher.ask(url))
                .buffered(AT_ONCE)
                .collect::<Vec<_>>();
            let asked = said_what_is_asked(context, fetcher.activity(), asked);
            let mut is_found = false;
            for asked in runtime.block_on(asked).into_iter().flatten() {
                is_found |= asked.answer.is_ok();
                answers.rows.push(Answer {
                    architecture: kernel.architecture,
                    file: file.clone(),
                    url: asked.url,
                    is_there: asked.answer.is_ok(),
                    text: match asked.answer {
                        Ok(()) => "exists".to_owned(),
                        Err(answer) => answer.to_string(),
                    },
                });
            }
            answers.is_whole &= is_found;
        }
    }
    answers
}

/// The files that a kernel's tree needs, each with its possible URLs. If the target's rules do not apply to the
/// kernel, the URLs that its source names are used.
fn wanted_files(kernel: &Kernel) -> Vec<Vec<Arc<str>>> {
    let wanted = target::rules_of(kernel)
        .and_then(|target| target.header_packages(kernel, Architecture::of_host()).ok());
    if let Some(wanted) = wanted {
        return wanted.into_iter().map(|one| one.candidates).collect();
    }
    let packages = kernel.packages.iter();
    packages
        .map(|package| vec![Arc::from(&*package.url)])
        .collect()
}

/// Returns the kernels of this name whose URLs can be computed.
pub(super) fn computed(question: Question<'_>) -> Result<Vec<Kernel>, CliError> {
    let Question {
        target, release, ..
    } = question;
    let text = |error: ParseKernelError| CliError::input(error.to_string());
    let id: TargetId = target.parse().map_err(text)?;
    let mut kernels = Vec::new();
    let mut reason = String::new();
    if let Some(target) = target::find(&id) {
        for &architecture in target.architectures() {
            let is_asked = question.architectures.contains(&architecture);
            if !is_asked && !question.architectures.is_empty() {
                continue;
            }
            if names_other(release, architecture) {
                continue;
            }
            let kernel = Kernel {
                target: id.clone(),
                release: release.clone(),
                version: question.version.clone(),
                architecture,
                packages: PackageSet::default(),
                config_sha256: None,
                upstream: None,
                image: None,
                source: "computed".into(),
            };
            let checked = target::check_release(&id, &kernel.release, architecture)
                .and_then(|()| target.header_packages(&kernel, Architecture::of_host()));
            match checked {
                Ok(_) => kernels.push(kernel),
                Err(wrong) => reason = format!(", and its URLs cannot be computed: {wrong}"),
            }
        }
    }
    if kernels.is_empty() {
        return Err(CliError::Input {
            message: format!("no source names the kernel `{release}` of {target}{reason}"),
            help: Some(format!(
                "`driverkit-matrix kernels {target}` lists all kernels that sources name"
            )),
        });
    }
    Ok(kernels)
}

/// Returns true if the release names another architecture: `6.1.0-1-amd64`, `5.14.0-1.el9.x86_64`.
fn names_other(release: &KernelRelease, architecture: Architecture) -> bool {
    let names = |one: Architecture| {
        let mut parts = release.as_str().split(['-', '.', '+']);
        parts.any(|part| part == one.as_str() || part == one.machine())
    };
    !names(architecture) && Architecture::ALL.into_iter().any(names)
}

impl Answers {
    /// Writes a table for people.
    pub(super) fn write_table(&self, output: &mut dyn Write) -> io::Result<()> {
        let mut rows = vec![["ARCH", "URL", "ANSWER"].map(str::to_owned)];
        rows.extend(self.rows.iter().map(|answer| {
            [
                answer.architecture.to_string(),
                answer.url.clone(),
                answer.text.clone(),
            ]
        }));
        write_columns(output, [false; 3], &rows)
    }

    /// Writes JSON.
    pub(super) fn write_json(&self, output: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *output, &self.rows).map_err(io::Error::from)?;
        writeln!(output)
    }

    /// Writes CSV with one row per URL.
    pub(super) fn write_csv(&self, output: &mut dyn Write) -> io::Result<()> {
        let mut rows = csv::Writer::from_writer(output);
        for answer in &self.rows {
            rows.serialize(answer)?;
        }
        rows.flush()
    }
}
