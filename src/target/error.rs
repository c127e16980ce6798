//! Errors from the rules of a target.

/// The reason why the rules of a target do not apply to a kernel; each variant has a message for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The release does not belong to the target.
    #[error("{0}")]
    Release(String),
    /// No rule tells which packages contain the kernel's tree, or what is in them.
    #[error("{0}")]
    Unknown(String),
    /// The packages that are named for the kernel are incomplete, or belong to another kernel.
    #[error("{0}")]
    Packages(String),
}

impl TargetError {
    pub(super) fn release(message: impl Into<String>) -> Self {
        Self::Release(message.into())
    }

    pub(super) fn unknown(message: impl Into<String>) -> Self {
        Self::Unknown(message.into())
    }

    pub(super) fn packages(message: impl Into<String>) -> Self {
        Self::Packages(message.into())
    }
}
