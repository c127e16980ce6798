//! Flags of the checks of finished builds: proofs and second builds.

use std::sync::Arc;

use clap::Args;

use super::execution::Execution;
use super::{CliError, Context, kvm};
use crate::engine::SecondExecutor;
use crate::executor::Executor;
use crate::matrix::Prove;
use crate::run::Sample;

/// The checks of finished builds.
#[derive(Debug, Default, Args)]
pub(super) struct Checks {
    /// Boot kernels in qemu and load their modules and probes into them: all, series (the newest kernel of each series
    /// and flavour, and a different part of the others each night) or none
    ///
    /// With series, probes are loaded into one flavour of each series (the one whose name has the fewest words, such as
    /// 6.1.0-50-amd64 rather than 6.1.0-50-cloud-amd64), and into the others in turn: emulated, a kernel takes four times
    /// as long to verify them as to boot and load modules.
    ///
    /// Overrides the matrices. A module that does not load into its kernel fails with class `load` and is not placed.
    #[arg(long, value_name = "WHICH", help_heading = None::<&str>)]
    pub(super) prove: Option<Prove>,
    /// Boot kernels for amd64 with KVM, if a probe of at most 5 s finds that it works
    ///
    /// For the executors `local` and, on this machine, `docker`; no container is privileged. If KVM does not work,
    /// qemu emulates the processor, as without this flag.
    #[arg(long, help_heading = None::<&str>)]
    prove_kvm: bool,
    /// Repeat some of the builds and compare the results: a share such as 1%, or a number
    ///
    /// The second build has a different number of jobs, time zone and host name, and another executor if available. An
    /// artifact whose bytes differ fails with class `not-reproducible` and is not placed.
    #[arg(long, value_name = "SAMPLE", help_heading = None::<&str>)]
    pub(super) double: Option<Sample>,
}

impl Checks {
    /// Returns the flags of proofs alone.
    pub(super) fn of_proofs(prove: Prove, prove_kvm: bool) -> Self {
        Self {
            prove: Some(prove),
            prove_kvm,
            double: None,
        }
    }

    /// Returns the executor of `execution`, and notes about it. Sets the executor of second builds if they are wanted.
    pub(super) async fn connect(
        &self,
        context: &Context,
        execution: &Execution,
        uses_host: bool,
        second: &SecondExecutor,
    ) -> Result<(Arc<dyn Executor>, Vec<String>), CliError> {
        let (executor, mut notes) = execution.connect(context, uses_host).await?;
        if self.prove_kvm {
            notes.push(kvm::allow(&*executor).await);
        }
        if self.double.is_some() {
            let other = execution.connect_other(context, uses_host, executor.name());
            if let Some(other) = other.await {
                second.set(other);
            }
        }
        Ok((executor, notes))
    }
}
