//! Flags about the store that machines share.

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
    /// What any machine has built is known to all. The variables of the provider say where it is and who may use it;
    /// `[store]` in a matrix does the same.
    #[arg(long, value_name = "URL", env = "DRIVERKIT_MATRIX_STORE")]
    store: Option<BucketUrl>,
    /// File with the keys that sign what is kept there: the first signs, all are believed; or the keys themselves in
    /// `DRIVERKIT_MATRIX_STORE_KEY`
    #[arg(
        long,
        value_name = "FILE",
        env = "DRIVERKIT_MATRIX_STORE_KEY_FILE",
        hide_short_help = true
    )]
    store_key: Option<PathBuf>,
    /// Believe everybody who may write to the store
    #[arg(long, env = "DRIVERKIT_MATRIX_STORE_TRUSTED", hide_short_help = true)]
    store_trusted: bool,
    /// Write nothing to the store
    #[arg(long, env = "DRIVERKIT_MATRIX_STORE_READ_ONLY", hide_short_help = true)]
    store_read_only: bool,
    /// Time for which a machine has what it compiles to itself, while others wait for the outcome; 0: none waits [default: 5m]
    #[arg(
        long,
        value_name = "TIME",
        env = "DRIVERKIT_MATRIX_STORE_LEASE",
        hide_short_help = true,
        value_parser = parse_lease
    )]
    store_lease: Option<Duration>,
}

/// Which artifacts are placed in the output directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Place {
    /// All of them
    #[default]
    All,
    /// Those that are on this machine, and with `--publish` those that are not published; what else other machines built
    /// stays in the store
    New,
}

impl StoreArguments {
    /// What the flags and the environment say.
    pub(super) fn request(&self) -> StoreRequest {
        StoreRequest {
            url: self.store.clone(),
            key_file: self.store_key.clone(),
            is_trusted: self.store_trusted,
            is_read_only: self.store_read_only,
            lease: self.store_lease,
        }
    }

    /// The same, to look only.
    pub(super) fn reading(&self) -> StoreRequest {
        StoreRequest {
            is_read_only: true,
            ..self.request()
        }
    }

    /// The shared store, opened and read; none if none is named.
    pub(super) fn open(
        &self,
        context: &Context,
        matrices: &[Matrix],
        run_id: &str,
    ) -> Result<Option<OpenStore>, CliError> {
        OpenStore::open(&self.request(), context, matrices, run_id)
    }
}
