//! Reads values one by one and collects everything that is wrong with them.

use super::names::parse_bool;
use super::values::Values;
use crate::diagnostic::Diagnostic;

/// Reads values and collects faults.
pub struct Reader<'a> {
    /// What was given.
    pub values: &'a Values,
    /// What is wrong with it.
    pub faults: Vec<Diagnostic>,
}

impl<'a> Reader<'a> {
    /// Reads these values.
    pub fn new(values: &'a Values) -> Self {
        Self {
            values,
            faults: Vec::new(),
        }
    }

    /// The value of a key, if one was given and is good.
    pub fn parsed<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(self.values.text(key)?) {
            Ok(value) => Some(value),
            Err(message) => {
                self.fault(key, &message);
                None
            }
        }
    }

    /// The same for a key that has to be given.
    pub fn required<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.values.text(key).is_none() {
            let fault = Diagnostic::error(format!("`{key}` is missing")).help(format!(
                "give it with --{key}, {}, or `{key}:` in the configuration file",
                super::variable_of(key)
            ));
            self.faults.push(fault);
            return None;
        }
        self.parsed(key, parse)
    }

    /// Whether a key was given as true.
    pub fn is_set(&mut self, key: &str) -> bool {
        self.parsed(key, parse_bool).unwrap_or_default()
    }

    /// Every value of a key that takes a list, each checked.
    pub fn list(&mut self, key: &str, check: impl Fn(&str) -> Result<(), String>) -> Vec<String> {
        let values = self.values;
        for item in values.items(key) {
            if let Err(message) = check(item) {
                self.fault(key, &message);
            }
        }
        values.items(key).to_vec()
    }

    /// Notes that what was given for a key is wrong.
    pub fn fault(&mut self, key: &str, message: &str) {
        self.faults.push(self.values.fault(key, message));
    }

    /// The same, with a line that says what to do.
    pub fn fault_with_help(&mut self, key: &str, message: &str, help: Option<String>) {
        self.faults
            .push(self.values.fault(key, message).maybe_help(help));
    }
}
