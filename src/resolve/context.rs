//! What source queries and planning need besides the matrices.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::report::Style;

/// Receives messages while matrices are resolved: requests, doubtful sources, kernels left out.
pub trait Listener: fmt::Debug + Send + Sync {
    /// Receives a message that is not a warning.
    fn notice(&self, message: &str);
    /// Receives warnings with their source locations.
    fn warn(&self, diagnostics: &[Diagnostic]);
    /// Whether the output is an interactive terminal that is still blank.
    fn is_awaited(&self) -> bool {
        false
    }
}

/// A listener that discards all messages.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Listener for Silent {
    fn notice(&self, _: &str) {}

    fn warn(&self, _: &[Diagnostic]) {}
}

/// The settings that all operations on matrices share.
#[derive(Debug)]
pub struct Context {
    /// Base URLs of mirrors, by the name of the distribution.
    pub mirrors: BTreeMap<String, String>,
    /// Whether only the store and configured mirrors may be used.
    pub is_offline: bool,
    /// The cache directory, which holds everything that is kept between runs.
    pub cache: PathBuf,
    /// Whether only errors are shown.
    pub is_quiet: bool,
    /// How progress and messages are shown on a terminal.
    pub style: Style,
    /// How many additional levels of detail are printed.
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
