//! From a validated request to its files: a single build goes through the same pipeline as the builds of a plan.

mod dkms;
mod found;
mod headers;

pub use dkms::{DkmsDirectories, build_with_dkms};
pub use headers::installed_headers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::carry_out::{Session, new_run_id};
use super::recorder::Recorder;
use crate::driverkit::{Image, LogLevel, Output, Request};
use crate::engine::{Events, RetryClasses, SecondExecutor, Stop};
use crate::event::{BuildReport, Reproduce};
use crate::executor::Executor;
use crate::exit::ExitStatus;
use crate::fetch::{self, Fetcher};
use crate::image::GccVersion;
use crate::kernel::{Architecture, Kernel};
use crate::plan::{Build, BuildSettings, Plan};
use crate::recipe::Toolchains;
use crate::report::{Asked, Detail, SingleProgress, Terminal};
use crate::resolve::{Context, ResolveError, mirrors_of, open_store};
use crate::run::{Brings, History, OutFolder, Parts, RunSettings};
use crate::target;

/// The settings of a single build.
#[derive(Clone, Copy, Debug)]
pub struct SingleSettings {
    /// Whether the build is only shown, not executed.
    pub is_dry_run: bool,
    /// The level of detail of the output.
    pub level: LogLevel,
    /// The timeout of one step.
    pub timeout: Duration,
}

/// A requested build.
#[derive(Debug)]
pub struct Single<'a> {
    /// The request.
    pub request: &'a Request,
    /// How the build is shown, and its time limit.
    pub settings: SingleSettings,
    /// The proxy for downloads.
    pub proxy: Option<String>,
    /// The classes of cached failures that are retried.
    pub retry: RetryClasses,
    /// Additional environment variables of the compile job.
    pub environment: Vec<(String, String)>,
    /// The command line that is recorded, without secrets.
    pub command: Vec<String>,
    /// The command line that repeats the build.
    pub rebuild_command: Vec<String>,
}

/// The machine on which a build is shown to run.
#[derive(Debug)]
pub enum Machine {
    /// A container of a builder image.
    Image,
    /// This machine.
    Host,
    /// This machine, with these installed headers instead of packages.
    HostWith(String),
}

/// The result of one attempt to build.
#[derive(Debug)]
pub struct Attempt {
    /// The exit status if this is the last attempt.
    pub status: ExitStatus,
    /// The report; `None` if the build was not started.
    pub report: Option<Arc<BuildReport>>,
}

impl Single<'_> {
    /// Shows the build if `--dryrun` or `--loglevel debug` requests it. Returns true if nothing else is to be done.
    pub fn is_only_shown(&self, context: &Context, machine: &Machine) -> bool {
        let is_dry = self.settings.is_dry_run;
        if is_dry {
            self.warn(context);
        }
        let least = if is_dry {
            LogLevel::Info
        } else {
            LogLevel::Debug
        };
        if self.settings.level >= least {
            let verb = if is_dry { "would build" } else { "to build:" };
            let build = self.as_build(self.request.kernel.clone());
            for Output { artifact, path } in &self.request.outputs {
                let id = build.id();
                context.notice(&format!("{verb} {artifact} {id}: {}", path.display()));
            }
            let location = &build.driver.location;
            context.notice(&format!("with the driver's sources from {location}"));
            match machine {
                Machine::HostWith(headers) => context.notice(&format!("with {headers}")),
                Machine::Image | Machine::Host => self.show_packages(context),
            }
            let gcc = self.request.images.gcc.as_ref();
            let gcc = gcc.map_or_else(|| "the kernel's own".to_owned(), ToString::to_string);
            let image = build.settings.image.as_deref().unwrap_or("automatic");
            context.notice(&match machine {
                Machine::Image => format!("with gcc {gcc}, builder image {image}"),
                Machine::Host | Machine::HostWith(_) => format!("with gcc {gcc} of this machine"),
            });
        }
        is_dry
    }

    /// Shows the URLs of the header packages: those named by the user, otherwise those computed by the target's rules.
    fn show_packages(&self, context: &Context) {
        let kernel = &self.request.kernel;
        let wanted = target::rules_of(kernel)
            .map(|target| target.header_packages(kernel, Architecture::of_host()));
        if let Some(Ok(wanted)) = &wanted
            && !wanted.is_empty()
        {
            for package in wanted {
                let others = match package.candidates.len() {
                    1 => String::new(),
                    count => format!(", the first of {count} URLs that are tried"),
                };
                context.notice(&format!(
                    "with the header package {}{others}",
                    package.url()
                ));
            }
            return;
        }
        for package in &kernel.packages {
            context.notice(&format!("with the header package {}", package.url));
        }
        if kernel.packages.is_empty() {
            context.notice("with the header packages that the distribution's mirror lists");
        } else if let Some(Err(error)) = wanted {
            context.notice(&format!("warning: nothing can be built: {error}"));
        }
    }

    /// Builds what is missing and writes the files.
    pub fn build(
        &self,
        context: &Context,
        toolchains: Toolchains,
        connect: impl AsyncFnOnce(usize) -> Result<(Arc<dyn Executor>, Vec<String>), ResolveError>,
    ) -> Result<ExitStatus, ResolveError> {
        let attempt = self.attempt(context, toolchains, None, connect)?;
        Ok(attempt.status)
    }

    /// Like [`Self::build`], but with this compiler, if given, instead of the request's.
    pub fn attempt(
        &self,
        context: &Context,
        toolchains: Toolchains,
        gcc: Option<GccVersion>,
        connect: impl AsyncFnOnce(usize) -> Result<(Arc<dyn Executor>, Vec<String>), ResolveError>,
    ) -> Result<Attempt, ResolveError> {
        self.warn(context);
        let fetching = fetch::Settings {
            mirrors: mirrors_of(context),
            proxy: self.proxy.clone(),
            ..fetch::Settings::default()
        };
        let found = found::with_packages(context, &self.request.kernel, fetching.clone())?;
        let mut build = self.as_build(found.kernel.clone());
        if let Some(gcc) = gcc {
            let settings = BuildSettings {
                gcc: Some(gcc.to_string()),
                ..(*build.settings).clone()
            };
            build.settings = Arc::new(settings);
        }
        let run_id = new_run_id();
        let store = Arc::new(open_store(context, &run_id)?);
        if let Some(config) = &self.request.kernel_config {
            store.put_blob(config.as_slice())?;
        }
        let files = self.request.outputs.iter().map(|output| {
            let path = build.artifact_path(output.artifact);
            (path, output.path.clone())
        });
        let files: HashMap<_, _> = files.collect();
        let (sender, receiver) = std::sync::mpsc::channel();
        let parts = Parts {
            run_id,
            host: Architecture::of_host(),
            fetcher: Fetcher::new(store.clone(), fetching),
            store,
            toolchains,
            out: OutFolder::of_files(files),
            events: Events::new(sender),
            stop: Arc::new(Stop::default()),
        };
        let plan = Plan {
            builds: vec![build],
            ..Plan::default()
        };
        let activity = parts.fetcher.activity().clone();
        let progress =
            SingleProgress::new(Terminal::stderr(context.style), self.detail(), self.files())
                .asking(Asked::new(move || activity.line()));
        let recorder = Recorder::default();
        let session = Session {
            context,
            plan: &plan,
            parts,
            settings: RunSettings {
                jobs: 1,
                fail_fast: false,
                deadline: None,
                retry: self.retry.clone(),
                history: History::default(),
                reproduce: Reproduce::Same(self.rebuild_command.clone()),
                brings: Brings::All,
                annotations: None,
                only_built: false,
                prove: None,
                signer: None,
                double: None,
                second: SecondExecutor::default(),
            },
            receiver,
            reporters: vec![Box::new(progress), Box::new(recorder.clone())],
            jobs_are_given: true,
            shard: None,
            is_partial: false,
            findings: None,
            command: self.command.clone(),
            matrices: Vec::new(),
            shared: None,
            at_least: ExitStatus::Success,
        };
        let status = ExitStatus::of_run(session.carry_out(connect)?.exit_code());
        let report = recorder.report().cloned();
        if let Some(report) = &report {
            found.learn_from(report);
        }
        Ok(Attempt { status, report })
    }

    fn warn(&self, context: &Context) {
        for warning in &self.request.warnings {
            context.notice(&format!("warning: {warning}"));
        }
    }

    fn files(&self) -> Vec<(crate::driver::Artifact, std::path::PathBuf)> {
        let outputs = self.request.outputs.iter();
        outputs
            .map(|output| (output.artifact, output.path.clone()))
            .collect()
    }

    fn detail(&self) -> Detail {
        match self.settings.level {
            LogLevel::Warn => Detail::Failures,
            LogLevel::Info => Detail::Steps,
            LogLevel::Debug | LogLevel::Trace => Detail::Logs,
        }
    }

    /// Returns the build of the request, for the requested kernel or the same kernel with packages.
    fn as_build(&self, kernel: Kernel) -> Build {
        let request = self.request;
        let artifacts: Vec<_> = request
            .outputs
            .iter()
            .map(|output| output.artifact)
            .collect();
        let image = match &request.images.image {
            Image::Named(name) => Some(name.clone()),
            Image::Automatic | Image::Tagged(_) => None,
        };
        Build {
            kernel: Arc::new(kernel),
            driver: Arc::new(request.driver.clone()),
            artifacts: artifacts.into(),
            settings: Arc::new(BuildSettings {
                timeout: self.settings.timeout,
                gcc: request.images.gcc.as_ref().map(ToString::to_string),
                image,
                environment: self.environment.clone(),
                ..BuildSettings::default()
            }),
        }
    }
}
