//! Flags of the store that machines share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{CliError, Context};
use crate::bucket::BucketUrl;
use crate::matrix::{Matrix, parse_lease};
use crate::session::{OpenStore, StoreRequest};

/// The store that machines share; see docs/store.md.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Shared store")]
pub(super) struct StoreArguments {
    /// Store that machines share: `s3://BUCKET[/PREFIX]`, `gs://BUCKET[/PREFIX]`, `az://CONTAINER[/PREFIX]` or `file:///DIR`
    ///
    /// Every machine uses what any other has built. The provider's environment variables set the endpoint and the
    /// credentials; `[store]` in a matrix does the same.
    #[arg(long, value_name = "URL", env = "DRIVERKIT_MATRIX_STORE")]
    store: Option<BucketUrl>,
    /// File with the keys that sign entries of the store: the first signs, all are trusted; the keys can also be
    /// given in `DRIVERKIT_MATRIX_STORE_KEY`
    #[arg(
        long,
        value_name = "FILE",
        env = "DRIVERKIT_MATRIX_STORE_KEY_FILE",
        hide_short_help = true
    )]
    store_key: Option<PathBuf>,
    /// Trust everyone who can write to the store
    #[arg(long, env = "DRIVERKIT_MATRIX_STORE_TRUSTED", hide_short_help = true)]
    store_trusted: bool,
    /// Write nothing to the store
    #[arg(long, env = "DRIVERKIT_MATRIX_STORE_READ_ONLY", hide_short_help = true)]
    store_read_only: bool,
    /// Time for which other machines wait for a step that one machine is executing; 0 disables waiting [default: 5m]
    #[arg(
        long,
        value_name = "TIME",
        env = "DRIVERKIT_MATRIX_STORE_LEASE",
        hide_short_help = true,
        value_parser = parse_lease
    )]
    store_lease: Option<Duration>,
}

/// The artifacts that are placed in the output directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Place {
    /// All of them
    #[default]
    All,
    /// Those that are on this machine, and with `--publish` those that are not published; other artifacts stay in the
    /// store
    New,
}

impl StoreArguments {
    /// Returns the request that the flags and the environment describe.
    pub(super) fn request(&self) -> StoreRequest {
        StoreRequest {
            url: self.store.clone(),
            key_file: self.store_key.clone(),
            is_trusted: self.store_trusted,
            is_read_only: self.store_read_only,
            lease: self.store_lease,
        }
    }

    /// Like [`Self::request`], but read-only.
    pub(super) fn reading(&self) -> StoreRequest {
        StoreRequest {
            is_read_only: true,
            ..self.request()
        }
    }

    /// Opens and reads the shared store; returns `None` if none is configured.
    pub(super) fn open(
        &self,
        context: &Context,
        matrices: &[Matrix],
        run_id: &str,
    ) -> Result<Option<OpenStore>, CliError> {
        OpenStore::open(&self.request(), context, matrices, run_id)
    }
}
