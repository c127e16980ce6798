//! The executor of second builds.

use std::sync::{Arc, OnceLock};

use crate::executor::Executor;

/// The executor of second builds, set when a run connects to its executors; unset if there is only one executor.
#[derive(Clone, Default)]
pub struct SecondExecutor(Arc<OnceLock<Arc<dyn Executor>>>);

impl SecondExecutor {
    /// Sets the executor. Only the first call has an effect.
    pub fn set(&self, executor: Arc<dyn Executor>) {
        drop(self.0.set(executor));
    }

    /// Returns the executor, if it is set.
    pub fn get(&self) -> Option<&Arc<dyn Executor>> {
        self.0.get()
    }
}

impl std::fmt::Debug for SecondExecutor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.get().map(|executor| executor.name());
        formatter
            .debug_tuple("SecondExecutor")
            .field(&name)
            .finish()
    }
}
