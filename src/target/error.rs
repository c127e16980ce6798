//! Why the rules of a target say nothing of a kernel.

/// Why the rules of a target cannot tell something of a kernel; each kind holds the message for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The release cannot be one of the target's.
    #[error("{0}")]
    Release(String),
    /// Nothing says which packages make the kernel's tree, or what is in them.
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
