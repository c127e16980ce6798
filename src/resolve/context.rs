//! What asking sources and planning need beside the matrices.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::report::Style;

/// Receives messages while matrices are resolved: requests, doubtful sources, kernels left out.
pub trait Listener: fmt::Debug + Send + Sync {
    /// Receives a message that is not a warning.
    fn notice(&self, message: &str);
    /// Receives warnings, with their places.
    fn warn(&self, diagnostics: &[Diagnostic]);
    /// Whether a person looks at a screen on which nothing stands yet.
    fn is_awaited(&self) -> bool {
        false
    }
}

/// Discards everything.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Listener for Silent {
    fn notice(&self, _: &str) {}

    fn warn(&self, _: &[Diagnostic]) {}
}

/// What every question about matrices has in common.
#[derive(Debug)]
pub struct Context {
    /// Base URLs of mirrors, by the name of the distribution.
    pub mirrors: BTreeMap<String, String>,
    /// Whether nothing but the store and named mirrors may be used.
    pub is_offline: bool,
    /// The directory of everything that is kept between runs.
    pub cache: PathBuf,
    /// Whether only errors are shown.
    pub is_quiet: bool,
    /// What a terminal shows of progress and messages.
    pub style: Style,
    /// How much more is said than usual.
    pub verbosity: u8,
    /// Receives messages.
    pub listener: Box<dyn Listener>,
}

impl Context {
    /// Returns a context without mirrors, whose messages are discarded.
    pub fn new(cache: PathBuf) -> Self {
        Self {
            mirrors: BTreeMap::new(),
            is_offline: false,
            cache,
            is_quiet: true,
            style: Style::default(),
            verbosity: 0,
            listener: Box::new(Silent),
        }
    }

    /// Sends a message to the listener.
    pub fn notice(&self, message: &str) {
        self.listener.notice(message);
    }

    /// Sends warnings to the listener.
    pub fn warn(&self, diagnostics: &[Diagnostic]) {
        self.listener.warn(diagnostics);
    }
}
