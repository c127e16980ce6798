//! Reads values one by one and collects all faults.

use super::names::parse_bool;
use super::values::Values;
use crate::diagnostic::Diagnostic;

/// Reads values and collects faults.
pub struct Reader<'a> {
    /// The given values.
    pub values: &'a Values,
    /// The faults.
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

    /// Returns the value of a key, if it is given and valid.
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

    /// Like [`Self::parsed`], for a required key.
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

    /// Returns true if a key is given as true.
    pub fn is_set(&mut self, key: &str) -> bool {
        self.parsed(key, parse_bool).unwrap_or_default()
    }

    /// Returns all values of a list, after checking each.
    pub fn list(&mut self, key: &str, check: impl Fn(&str) -> Result<(), String>) -> Vec<String> {
        let values = self.values;
        for item in values.items(key) {
            if let Err(message) = check(item) {
                self.fault(key, &message);
            }
        }
        values.items(key).to_vec()
    }

    /// Records a fault of a key's value.
    pub fn fault(&mut self, key: &str, message: &str) {
        self.faults.push(self.values.fault(key, message));
    }

    /// Like [`Self::fault`], with advice.
    pub fn fault_with_help(&mut self, key: &str, message: &str, help: Option<String>) {
        self.faults
            .push(self.values.fault(key, message).maybe_help(help));
    }
}
