//! `local`: one build on this machine with its own compilers: first the one that built the kernel, then the others.

use std::sync::Arc;

use clap::Args;

use super::flags::{
    AgainFlags, BuildFlags, DkmsFlags, Flags, ProcessFlags, may_stand_alone, put, put_all,
};
use super::{single, values};
use crate::cli::{CliError, Context, ExitStatus};
use crate::diagnostic::Diagnostic;
use crate::driverkit::{LogLevel, NOT_OF_LOCAL, Reader, Request, Values};
use crate::error::chain;
use crate::event::BuildReport;
use crate::executor::{Executor, LocalExecutor, PlainExecutor, host_toolchain};
use crate::failure::FailureClass;
use crate::image::GccVersion;
use crate::kernel::{Architecture, Package};
use crate::recipe::Toolchains;
use crate::session::{
    Attempt, Machine, Single, build_with_dkms, compilers_of, infrastructure, installed_headers,
};

/// Build one kernel's drivers on this machine with its own compilers, as `driverkit local` does
///
/// In a bubblewrap sandbox, without root; with the installed headers, or with downloaded ones if `--download-headers`
/// is given. The compiler that built the kernel is tried first, then the other installed ones. Most flags can also be
/// given by the environment or by the configuration file, as for `docker`.
#[derive(Debug, Args)]
#[command(args_override_self = true, mut_args(may_stand_alone))]
pub(in crate::cli) struct LocalArguments {
    #[command(flatten)]
    build: BuildFlags,
    #[command(flatten)]
    process: ProcessFlags,
    /// Build with DKMS, from the driver's sources in /usr/src; needs root
    #[arg(long, value_name = "BOOL")]
    dkms: Option<String>,
    /// Download the kernel's header packages instead of using the installed headers
    #[arg(long, value_name = "BOOL")]
    download_headers: Option<String>,
    /// URLs of header packages to download, repeatable or separated by commas [default: found by target]
    #[arg(long, value_name = "URL")]
    kernelurls: Vec<String>,
    /// Environment variable for the compile, repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Build without a sandbox, for machines that do not support it
    #[arg(long)]
    no_sandbox: bool,
    #[command(flatten)]
    again: AgainFlags,
    #[command(flatten)]
    dkms_flags: DkmsFlags,
}

/// The flags of `local` that no other command has.
struct LocalRequest {
    has_dkms: bool,
    downloads: bool,
    environment: Vec<(String, String)>,
}

impl LocalRequest {
    fn read(values: &Values) -> Result<Self, Vec<Diagnostic>> {
        let mut reader = Reader::new(values);
        let has_dkms = reader.is_set("dkms");
        let downloads = reader.is_set("download-headers") || values.text("kernelurls").is_some();
        let mut environment = Vec::new();
        for (position, item) in (1..).zip(values.items("env")) {
            match item.split_once('=') {
                Some((name, value)) if is_variable(name) => {
                    environment.push((name.to_owned(), value.to_owned()));
                }
                // The text may be a secret, so it is not shown.
                _ => reader.fault(
                    "env",
                    &format!("value {position} is not a variable: expected NAME=VALUE"),
                ),
            }
        }
        if has_dkms && values.text("output-probe").is_some() {
            let message = "DKMS builds modules only: omit `output-probe`";
            reader.faults.push(Diagnostic::error(message));
        }
        if reader.faults.is_empty() {
            Ok(Self {
                has_dkms,
                downloads,
                environment,
            })
        } else {
            Err(reader.faults)
        }
    }
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|found| found.is_ascii_alphanumeric() || found == '_')
}

impl LocalArguments {
    /// Runs the command.
    pub(in crate::cli) fn execute(self, context: &Context) -> Result<ExitStatus, CliError> {
        let mut flags = Flags::new();
        self.build.put(&mut flags);
        put(&mut flags, "dkms", self.dkms.as_ref());
        put(
            &mut flags,
            "download-headers",
            self.download_headers.as_ref(),
        );
        put_all(&mut flags, "kernelurls", &self.kernelurls);
        put_all(&mut flags, "env", &self.env);
        let values = values(context, &flags, &self.process)?.without(NOT_OF_LOCAL);
        let (local, request) = match (LocalRequest::read(&values), Request::read(&values)) {
            (Ok(local), Ok(request)) => (local, request),
            (local, request) => {
                let faults = local.err().into_iter().chain(request.err()).flatten();
                return Err(CliError::Diagnostics(faults.collect()));
            }
        };
        // Falco's loader always gives both.
        if local.has_dkms && values.text("src-dir").is_some() {
            context.notice("notice: `src-dir` is not used: DKMS takes the sources from /usr/src");
        }
        let machine = if local.downloads {
            Machine::Host
        } else {
            Machine::HostWith(match installed_headers(request.kernel.release.as_str()) {
                Ok(folder) => format!("the installed headers {}", folder.display()),
                Err(_) => "the installed headers, which are missing".to_owned(),
            })
        };
        let single = self.single(&request, Vec::new());
        if single.is_only_shown(context, &machine) {
            return Ok(ExitStatus::Success);
        }
        if local.has_dkms {
            return build_with_dkms(
                context,
                &self.dkms_flags.directories(),
                self.process.settings(),
                &request,
            );
        }
        let request = if local.downloads {
            request
        } else {
            with_installed_headers(request)?
        };
        self.attempts(context, &request, &local)
    }

    fn single<'a>(
        &'a self,
        request: &'a Request,
        environment: Vec<(String, String)>,
    ) -> Single<'a> {
        Single {
            environment,
            ..single(request, &self.process, &self.again, None)
        }
    }

    /// Builds with the compiler that built the kernel, then with the others until one attempt succeeds or fails for a
    /// reason other than the compiler.
    fn attempts(
        &self,
        context: &Context,
        request: &Request,
        local: &LocalRequest,
    ) -> Result<ExitStatus, CliError> {
        if self.no_sandbox {
            context.notice(
                "notice: building without a sandbox: build scripts can read and change everything that this user can",
            );
        }
        let host = host_toolchain().map_err(|error| infrastructure(&error))?;
        let identity = if self.no_sandbox {
            PlainExecutor::identity(host.identity)
        } else {
            host.identity
        };
        let compilers = compilers_of(&host);
        let single = self.single(request, local.environment.clone());
        let connect = async |_missing| self.connect(context).await;
        let mut attempts: Vec<Attempt> = Vec::new();
        let mut next = None;
        loop {
            let toolchains = Toolchains::Host {
                identity,
                compilers: compilers.clone(),
            };
            let attempt = single.attempt(context, toolchains, next.take(), connect)?;
            let is_last = !is_the_compilers_fault(&attempt);
            attempts.push(attempt);
            next = untried(&compilers, request.kernel.architecture, &attempts);
            if is_last || next.is_none() {
                break;
            }
            if let Some(gcc) = &next {
                context.notice(&format!("retrying with gcc {gcc}"));
            }
        }
        if attempts.len() > 1 && self.process.loglevel >= LogLevel::Info {
            for attempt in &attempts {
                context.notice(&format!("  {}", line_of(attempt)));
            }
        }
        let last = attempts.last().map(|attempt| attempt.status);
        Ok(last.unwrap_or(ExitStatus::Incomplete))
    }

    async fn connect(
        &self,
        context: &Context,
    ) -> Result<(Arc<dyn Executor>, Vec<String>), CliError> {
        if self.no_sandbox {
            return Ok((Arc::new(PlainExecutor), Vec::new()));
        }
        let local = LocalExecutor::new(&context.cache.join("rootfs"))
            .await
            .map_err(|error| CliError::Infrastructure {
                message: chain(&error),
                help: Some(match error.help() {
                    Some(help) => format!("{help}, or build with --no-sandbox"),
                    None => "build with --no-sandbox".to_owned(),
                }),
            })?;
        Ok((Arc::new(local), Vec::new()))
    }
}

/// Returns the request with the headers that are installed for its kernel.
fn with_installed_headers(mut request: Request) -> Result<Request, CliError> {
    let folder = installed_headers(request.kernel.release.as_str())?;
    request.kernel.packages = vec![Package::at(folder.display().to_string())].into();
    Ok(request)
}

/// Returns true if another compiler may succeed.
fn is_the_compilers_fault(attempt: &Attempt) -> bool {
    let Some(report) = &attempt.report else {
        return false;
    };
    report.artifacts.iter().any(|artifact| {
        artifact.failure.as_ref().is_some_and(|failure| {
            matches!(
                failure.class,
                FailureClass::Compile | FailureClass::ToolchainMismatch
            )
        })
    })
}

/// The highest compiler version that no attempt has used.
fn untried(
    compilers: &[(Architecture, GccVersion)],
    architecture: Architecture,
    attempts: &[Attempt],
) -> Option<GccVersion> {
    let used: Vec<GccVersion> = attempts
        .iter()
        .filter_map(|attempt| gcc_of(attempt.report.as_deref()?)?.parse().ok())
        .collect();
    let candidates = compilers
        .iter()
        .filter(|(of, gcc)| *of == architecture && !used.contains(gcc));
    candidates.map(|(_, gcc)| gcc).max().cloned()
}

fn gcc_of(report: &BuildReport) -> Option<&str> {
    Some(&report.toolchain.as_ref()?.gcc_used)
}

/// Describes one attempt in one line.
fn line_of(attempt: &Attempt) -> String {
    let Some(report) = attempt.report.as_deref() else {
        return "not started".to_owned();
    };
    let gcc = gcc_of(report).unwrap_or("?");
    let failure = report
        .artifacts
        .iter()
        .find_map(|artifact| artifact.failure.as_ref());
    match failure {
        Some(failure) => format!("gcc {gcc}: {}: {}", failure.class, failure.message),
        None => format!("gcc {gcc}: success"),
    }
}
