//! `kernels`: lists what a source offers now, or the packages of one kernel with the answer for each URL.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::kernel_headers;
use super::output::{ignore_broken_pipe, packages};
use super::{CliError, Context, ExitStatus, completing};
use crate::driverkit::version_of_this_machine;
use crate::fetch::{self, Fetcher};
use crate::kernel::{Architecture, Kernel, KernelRelease, KernelVersion, Package, TargetId};
use crate::matrix::Pattern;
use crate::resolve::{
    MirrorSelection, Sources, discover_all, fetcher, mirrors_of, runtime, sources_of_mirror,
};
use crate::target;
use crate::text::{count, size, write_columns};

/// The version of the JSON output.
const SCHEMA: u32 = 1;

/// List the kernels that a distribution offers now, or the servers' answers for the package URLs of one kernel
#[derive(Debug, Args)]
pub(super) struct KernelsArguments {
    /// The target: debian, centos, ubuntu-aws
    #[arg(value_name = "TARGET", add = completing::targets())]
    target: String,
    /// Only this architecture [default: all]
    #[arg(long, alias = "architecture", value_name = "ARCH")]
    arch: Vec<Architecture>,
    /// Only these kernel releases (globs, or ranges such as ">=5.4, <6.9")
    #[arg(long = "match", value_name = "PATTERN")]
    matches: Vec<Pattern>,
    /// Only the N newest of each flavour and suite
    #[arg(long, value_name = "N")]
    latest: Option<u32>,
    /// Use the sources that these matrices name for the target, instead of the distribution's mirror
    #[arg(long, value_name = "FILE")]
    matrix: Vec<PathBuf>,
    /// The suites of Debian's or Ubuntu's archive [default: those that the mirror has]
    #[arg(long, value_name = "SUITE")]
    suite: Vec<String>,
    /// Show the packages of this kernel, with every URL that was tried and the answer
    #[arg(long, value_name = "RELEASE")]
    headers: Option<KernelRelease>,
    /// Version of the kernel, for package URLs that contain it (Ubuntu's) [default: the version of this machine's
    /// kernel, if it has the given release]
    #[arg(long, value_name = "VERSION")]
    version: Option<KernelVersion>,
    /// Output format
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        help_heading = "Output"
    )]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Table for people
    Table,
    /// JSON with all fields
    Json,
    /// CSV with one row per package
    Csv,
}

impl KernelsArguments {
    pub(super) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let sources = self.sources()?;
        let mirrors = if self.matrix.is_empty() {
            mirrors_of(context)
        } else {
            sources.mirrors(context)
        };
        let settings = fetch::Settings {
            mirrors,
            ..fetch::Settings::default()
        };
        let fetcher = fetcher(context, settings.without_patience())?;
        let runtime = runtime()?;
        if let Some(release) = &self.headers {
            return self.headers(release, &sources, context, &fetcher, &runtime);
        }
        let kernels = self.find(&sources, context, &fetcher, &runtime)?;
        ignore_broken_pipe(|output| match self.format {
            Format::Table => write_table(output, &kernels),
            Format::Json => write_json(output, &kernels),
            Format::Csv => write_csv(output, &kernels),
        })?;
        Ok(ExitStatus::Success)
    }

    /// Shows the packages of one kernel. Their URLs come from the sources of the named matrices; without matrices,
    /// they are computed from the kernel's name. The distribution's indexes are read only for targets whose URLs
    /// cannot be computed.
    fn headers(
        &self,
        release: &KernelRelease,
        sources: &Sources,
        context: &Context,
        fetcher: &Fetcher,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<ExitStatus, CliError> {
        let version = self.version.clone();
        let version = version.or_else(|| version_of_this_machine(release));
        let is_known = version.is_some() || !self.target.starts_with("ubuntu");
        let version = version.unwrap_or_default();
        let question = kernel_headers::Question {
            target: &self.target,
            release,
            version: &version,
            architectures: &self.arch,
        };
        let computed = if is_known {
            kernel_headers::computed(question)
        } else {
            Err(self.no_version(release))
        };
        let kernels = match computed {
            Ok(kernels) if self.matrix.is_empty() => kernels,
            computed => match self.find(sources, context, fetcher, runtime) {
                Ok(mut named) => {
                    named.retain(|kernel| is_named(kernel, release));
                    if named.is_empty() { computed? } else { named }
                }
                // The sources cannot be read; only the computed URLs remain.
                Err(error) => match computed {
                    Ok(kernels) if self.matrix.is_empty() => {
                        context.notice(&format!("no source names kernels: {error}"));
                        kernels
                    }
                    _ => return Err(error),
                },
            },
        };
        let answers = kernel_headers::ask(&kernels, context, fetcher, runtime);
        ignore_broken_pipe(|output| match self.format {
            Format::Table => answers.write_table(output),
            Format::Json => answers.write_json(output),
            Format::Csv => answers.write_csv(output),
        })?;
        Ok(if answers.is_whole {
            ExitStatus::Success
        } else {
            ExitStatus::Incomplete
        })
    }

    /// The error that the version is required: with a guessed version, the computed URLs would not exist.
    fn no_version(&self, release: &KernelRelease) -> CliError {
        let target = &self.target;
        CliError::Input {
            message: format!(
                "no source names the kernel `{release}` of {target}, and its URLs contain its version: --version is \
                 missing"
            ),
            help: Some(
                "give the number after `#` in `uname -v` of such a machine, as in --version 45"
                    .to_owned(),
            ),
        }
    }

    /// Returns the named matrices, or one that reads the distribution's mirror.
    fn sources(&self) -> Result<Sources, CliError> {
        if !self.matrix.is_empty() {
            return Sources::read(&self.matrix);
        }
        let architectures = if self.arch.is_empty() {
            &Architecture::ALL[..]
        } else {
            &self.arch
        };
        let selection = MirrorSelection {
            suites: &self.suite,
            latest: self.latest,
            // Flatcar has separate files for each release; other targets have one index for all.
            release: self.headers.as_ref().filter(|_| self.target == "flatcar"),
        };
        sources_of_mirror(&self.target, architectures, selection)
    }

    fn find(
        &self,
        sources: &Sources,
        context: &Context,
        fetcher: &Fetcher,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Vec<Kernel>, CliError> {
        let tell = |message: &str| context.notice(message);
        let mut kernels = discover_all(sources, &self.target, context, fetcher, runtime, &tell)?;
        kernels.retain(|kernel| {
            (self.arch.is_empty() || self.arch.contains(&kernel.architecture))
                && self
                    .matches
                    .iter()
                    .all(|one| one.matches_release(&kernel.release))
        });
        kernels.sort_by(|left, right| left.identity().cmp(&right.identity()));
        Ok(kernels)
    }
}

/// Returns true if a kernel has this release, in the form of its source or as `uname -r` prints it.
fn is_named(kernel: &Kernel, release: &KernelRelease) -> bool {
    let releases = || target::find(&kernel.target)?.uts_releases(kernel).ok();
    kernel.release == *release
        || releases().is_some_and(|all| all.iter().any(|one| one == release.as_str()))
}

fn write_table(output: &mut dyn Write, kernels: &[Kernel]) -> io::Result<()> {
    let mut rows =
        vec![["RELEASE", "VERSION", "ARCH", "PACKAGES", "SIZE", "SOURCE"].map(str::to_owned)];
    rows.extend(kernels.iter().map(|kernel| {
        let sizes: Option<u64> = kernel.packages.iter().map(|one| one.size_bytes).sum();
        [
            kernel.release.to_string(),
            kernel.version.to_string(),
            kernel.architecture.to_string(),
            packages(kernel),
            sizes
                .filter(|_| !kernel.packages.is_empty())
                .map_or_else(String::new, size),
            kernel.source.to_string(),
        ]
    }));
    write_columns(output, [false, false, false, true, true, false], &rows)?;
    writeln!(output, "\n{}", count(kernels.len(), "kernel"))
}

#[derive(Serialize)]
struct KernelsJson<'a> {
    schema: u32,
    kernels: Vec<KernelJson<'a>>,
}

#[derive(Serialize)]
struct KernelJson<'a> {
    target: &'a TargetId,
    kernel_release: &'a KernelRelease,
    kernel_version: &'a KernelVersion,
    architecture: Architecture,
    packages: &'a [Package],
    #[serde(skip_serializing_if = "Option::is_none")]
    config_sha256: Option<crate::digest::Sha256>,
    source: &'a str,
}

fn write_json(output: &mut dyn Write, kernels: &[Kernel]) -> io::Result<()> {
    let kernels = kernels.iter().map(|kernel| KernelJson {
        target: &kernel.target,
        kernel_release: &kernel.release,
        kernel_version: &kernel.version,
        architecture: kernel.architecture,
        packages: &kernel.packages,
        config_sha256: kernel.config_sha256,
        source: &kernel.source,
    });
    let json = KernelsJson {
        schema: SCHEMA,
        kernels: kernels.collect(),
    };
    serde_json::to_writer_pretty(&mut *output, &json).map_err(io::Error::from)?;
    writeln!(output)
}

fn write_csv(output: &mut dyn Write, kernels: &[Kernel]) -> io::Result<()> {
    let mut rows = csv::Writer::from_writer(output);
    rows.write_record([
        "target",
        "kernel_release",
        "kernel_version",
        "architecture",
        "package",
        "size",
        "sha256",
        "source",
    ])?;
    for kernel in kernels {
        let (target, release, version, architecture) = kernel.identity();
        let mut row = |url: &str, size: &str, sha256: &str| {
            rows.write_record([
                target.as_str(),
                release.as_str(),
                version.as_str(),
                architecture.as_str(),
                url,
                size,
                sha256,
                &kernel.source,
            ])
        };
        if kernel.packages.is_empty() {
            row("", "", "")?;
        }
        for package in &kernel.packages {
            let size = package.size_bytes.map(|size| size.to_string());
            let sha256 = package.sha256.map(|sha256| sha256.to_string());
            row(
                &package.url,
                size.as_deref().unwrap_or_default(),
                sha256.as_deref().unwrap_or_default(),
            )?;
        }
    }
    rows.flush()
}
