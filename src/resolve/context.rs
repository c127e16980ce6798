//! What asking sources and planning need beside the matrices.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::report::Style;

/// Receives what is to be said while matrices are resolved: what is asked, what is doubtful, what is left out.
pub trait Listener: fmt::Debug + Send + Sync {
    /// Something that went as it should.
    fn notice(&self, message: &str);
    /// Warnings with their places.
    fn warn(&self, diagnostics: &[Diagnostic]);
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
    /// Whether nothing but errors is said.
    pub is_quiet: bool,
    /// What a terminal shows of progress and messages.
    pub style: Style,
    /// Who is told what happens.
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
            listener: Box::new(Silent),
        }
    }

    /// Tells the listener something.
    pub fn notice(&self, message: &str) {
        self.listener.notice(message);
    }

    /// Tells the listener warnings.
    pub fn warn(&self, diagnostics: &[Diagnostic]) {
        self.listener.warn(diagnostics);
    }
}
