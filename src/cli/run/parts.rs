//! Creates the parts of a run: store, output directory, settings, reporters.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{MessageFormat, RunArguments};
use crate::cli::recorded::reproduce_this;
use crate::cli::shared_store::Place;
use crate::cli::{CliError, Context, Planned};
use crate::engine::{Events, RetryClasses, SecondExecutor, Stop};
use crate::event::Event;
use crate::fetch::Fetcher;
use crate::kernel::Architecture;
use crate::plan::BuildId;
use crate::report::{
    self, Asked, Expected, JsonLines, ManifestReporter, ReportError, Reporter, Summary, Terminal,
};
use crate::resolve::{open_store, said_while_opening, store_configs};
use crate::run::{Brings, History, OutFolder, Parts, RunSettings};
use crate::session::new_run_id;
use crate::store::Store;

impl RunArguments {
    /// Creates the parts of a run; opens the store and the output directory.
    pub(in crate::cli) fn parts(
        &self,
        context: &Context,
        planned: &Planned,
        sender: std::sync::mpsc::Sender<Event>,
        run_id: String,
        share: impl FnOnce(Store) -> Arc<Store>,
        out: &Path,
    ) -> Result<Parts, CliError> {
        let store = share(open_store(context, &run_id)?);
        store_configs(&store, planned)?;
        Ok(Parts {
            run_id,
            host: Architecture::of_host(),
            fetcher: Fetcher::new(store.clone(), planned.fetch_settings()),
            store,
            toolchains: self.execution.toolchains(context)?,
            out: OutFolder::open(out)?,
            events: Events::new(sender),
            stop: Arc::new(Stop::default()),
        })
    }

    /// Creates the parts of a read-only query: no file is created or locked, and no request is sent.
    pub(in crate::cli) fn parts_to_read(
        &self,
        context: &Context,
        planned: &Planned,
    ) -> Result<Parts, CliError> {
        let store = Arc::new(said_while_opening(context, || {
            Store::to_read(&context.cache)
        })?);
        let (sender, _) = std::sync::mpsc::channel();
        Ok(Parts {
            run_id: new_run_id(),
            host: Architecture::of_host(),
            fetcher: Fetcher::new(store.clone(), planned.fetch_settings()),
            store,
            toolchains: self.execution.known_toolchains(context)?,
            out: OutFolder::to_read(&self.out),
            events: Events::new(sender),
            stop: Arc::new(Stop::default()),
        })
    }

    pub(in crate::cli) fn settings(&self) -> RunSettings {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        RunSettings {
            jobs: self.jobs.map_or(cores, usize::from),
            fail_fast: self.fail_fast,
            deadline: self.deadline,
            retry: RetryClasses::new(self.retry.iter().flatten().copied()),
            history: History::default(),
            reproduce: reproduce_this(),
            brings: match self.place {
                Place::All => Brings::All,
                Place::New => Brings::Nothing,
            },
            annotations: None,
            only_built: self.only_built,
            prove: self.checks.prove,
            signer: None,
            double: self.checks.double,
            second: SecondExecutor::default(),
        }
    }

    pub(super) fn reporters(
        &self,
        context: &Context,
        planned: &Planned,
        durations: &[Option<(BuildId, Duration)>],
        out: &Path,
    ) -> Result<Vec<Box<dyn Reporter>>, CliError> {
        let manifest = ManifestReporter::create(out).map_err(|error| match error {
            ReportError::File(error) => CliError::File(error),
            error => CliError::infrastructure(error.to_string()),
        })?;
        let mut manifest = manifest.keeping_nights(usize::from(self.manifest.keep_nights));
        if self.manifest.no_manifest_json {
            manifest = manifest.without_json();
        }
        let mut reporters: Vec<Box<dyn Reporter>> = vec![Box::new(manifest)];
        if self.message_format == MessageFormat::Json {
            reporters.push(Box::new(JsonLines::new(std::io::stdout())));
        }
        if !context.is_quiet {
            let expected = Expected::of(durations.iter().flatten().cloned());
            let terminal = Terminal::stderr(context.style);
            let activity = planned.activity.clone();
            let asked = Asked::new(move || activity.line());
            reporters.push(report::progress(
                terminal.clone(),
                context.verbosity > 0,
                expected,
                asked,
            ));
            reporters.push(Box::new(Summary::new(terminal, out)));
        }
        Ok(reporters)
    }
}
