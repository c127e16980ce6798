//! `run --publish`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use jiff::Timestamp;

use super::{UploadArguments, read_nights, tell};
use crate::cli::destination::{destination, new_runtime, said_at, traffic};
use crate::cli::{CliError, Context, ExitStatus};
use crate::plan::Plan;
use crate::publish::{self, Destination};
use crate::run::Brings;
use crate::text::{count, separated};

/// Flags of `run` that publish its result.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Publishing")]
pub(in crate::cli) struct RunPublishArguments {
    /// Publish the artifacts at the end of the run, as `publish` does: `s3://BUCKET[/PREFIX]`, `gs://`, `az://`,
    /// `file:///DIRECTORY` or a directory
    #[arg(long, value_name = "TO")]
    publish: Option<PathBuf>,
    #[command(flatten)]
    upload: UploadArguments,
}

impl RunPublishArguments {
    /// Returns the flags of a run that publishes nothing.
    pub(in crate::cli) fn none() -> Self {
        Self {
            publish: None,
            upload: UploadArguments {
                skip_published: false,
                replace_foreign: false,
                uploads: 1,
                cache_control: None,
                acl: None,
                content_type: String::new(),
                with_logs: false,
                public_url: None,
            },
        }
    }

    /// Opens the destination, so that a mistake in it is reported before the run.
    pub(in crate::cli) fn open(&self) -> Result<Option<Destination>, CliError> {
        let to = self.publish.as_deref();
        let acl = self.upload.acl.as_ref();
        to.map(|to| destination(to.as_os_str(), acl)).transpose()
    }

    /// With `--skip-published`, removes builds from the plan that the destination already has. Lists each of its
    /// directories once.
    pub(in crate::cli) fn skip_published(
        &self,
        context: &Context,
        plan: &mut Plan,
    ) -> Result<(), CliError> {
        if !self.upload.skip_published {
            return Ok(());
        }
        let Some(destination) = self.open()? else {
            return Err(CliError::Input {
                message: "--skip-published needs a destination".to_owned(),
                help: Some("add --publish TO".to_owned()),
            });
        };
        let directories = plan.directories();
        let listing = destination.published_names(&directories);
        let runtime = new_runtime()?;
        let listed = said_at(context, &destination, "listing", || {
            runtime.block_on(listing)
        });
        let published = listed?;
        let url = destination.bucket().url();
        let is_published = |path: &Path| path.to_str().is_some_and(|name| published.contains(name));
        let planned = plan.builds.len();
        let skipped = plan.skip_published(
            is_published,
            &format!("{url} already has files with these names"),
        );
        context.notice(&format!(
            "{url}: {} of {} already published ({})",
            separated(skipped),
            count(planned, "build"),
            traffic(destination.bucket().traffic())
        ));
        Ok(())
    }

    /// Publishes the artifacts that a run wrote to `out`.
    pub(in crate::cli) fn execute(
        &self,
        context: &Context,
        destination: &Destination,
        out: &Path,
    ) -> Result<ExitStatus, CliError> {
        let from = [out.to_owned()];
        let now = Timestamp::now();
        let (nights, items) = read_nights(context, &from, now)?;
        let options = self.upload.options();
        let runtime = new_runtime()?;
        let work = publish::publish(destination, &nights, &items, &options, now);
        let report = said_at(context, destination, "publishing to", || {
            runtime.block_on(work)
        })?;
        tell(context, destination, &from, &report)
    }
}

/// Returns all artifacts except those that a destination has.
pub(in crate::cli) fn unpublished(
    context: &Context,
    destination: &Destination,
) -> Result<Brings, CliError> {
    let runtime = new_runtime()?;
    let index = said_at(context, destination, "reading the index of", || {
        runtime.block_on(destination.index())
    })?;
    let entries = index.into_iter().flat_map(|index| index.artifacts);
    let published = entries.map(|(_, entry)| (entry.build_id, entry.artifact, entry.sha256));
    Ok(Brings::AllBut(Arc::new(published.collect())))
}
