//! The values of all keys with their origin: a flag overrides the environment, which overrides the file.

use std::collections::BTreeMap;

use super::keys::{KEYS, LISTS, ONLY_FLAGS, WHOLE, variable_of};
use crate::diagnostic::{Diagnostic, Place};

/// The origin of a value.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A flag of the command line.
    Flag,
    /// An environment variable.
    Variable,
    /// The configuration file.
    File(Place),
}

/// The values of a key.
#[derive(Clone, Debug)]
pub struct Given {
    /// The values; one, unless the key takes a list. Empty if the key was set to nothing.
    pub items: Vec<String>,
    /// The origin of the values.
    pub origin: Origin,
}

impl Given {
    /// Creates the values of a flag.
    pub fn by_flag(items: Vec<String>) -> Self {
        Self {
            items,
            origin: Origin::Flag,
        }
    }
}

/// The values of all keys.
#[derive(Clone, Debug, Default)]
pub struct Values(BTreeMap<&'static str, Given>);

impl Values {
    /// Merges flags, the environment and the file, in this order of priority. `variable` returns environment
    /// variables by name.
    pub fn merge(
        flags: &BTreeMap<&'static str, Given>,
        variable: impl Fn(&str) -> Option<String>,
        mut file: BTreeMap<&'static str, Given>,
    ) -> Self {
        let mut values = BTreeMap::new();
        for &key in KEYS.iter().filter(|key| !ONLY_FLAGS.contains(key)) {
            // As in driverkit, an empty variable counts as unset.
            let of_variable = || {
                let text = variable(&variable_of(key)).filter(|text| !text.is_empty())?;
                Some(Given {
                    items: vec![text],
                    origin: Origin::Variable,
                })
            };
            let given = flags.get(key).cloned().or_else(of_variable);
            if let Some(given) = given.or_else(|| file.remove(key)) {
                values.insert(key, tidy(key, given));
            }
        }
        Self(values)
    }

    /// Returns the values of a key, even if they are empty.
    pub fn given(&self, key: &str) -> Option<&Given> {
        self.0.get(key)
    }

    /// The values of a key.
    pub fn items(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], |given| &given.items)
    }

    /// Returns the value of a key; `None` if it is empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.items(key).first().map(String::as_str)
    }

    /// Returns a line for each key: its value, without secrets, and its origin.
    pub fn described(&self) -> Vec<String> {
        let line = |(key, given): (&&str, &Given)| {
            let value = if SECRETS.contains(key) {
                "(not shown)".to_owned()
            } else {
                given.items.join(", ")
            };
            let origin = match &given.origin {
                Origin::Flag => format!("--{key}"),
                Origin::Variable => variable_of(key),
                Origin::File(place) => place.to_string(),
            };
            format!("{key}: {value} (from {origin})")
        };
        self.0.iter().map(line).collect()
    }

    /// Removes keys that a command does not use.
    #[must_use]
    pub fn without(mut self, keys: &[&str]) -> Self {
        self.0.retain(|key, _| !keys.contains(key));
        self
    }

    /// Creates an error about a key's value, with its origin.
    pub fn fault(&self, key: &str, message: &str) -> Diagnostic {
        match self.given(key).map(|given| &given.origin) {
            Some(Origin::File(place)) => {
                Diagnostic::error(format!("`{key}`: {message}")).at(place.clone(), "")
            }
            Some(Origin::Variable) => {
                Diagnostic::error(format!("`{}`: {message}", variable_of(key)))
            }
            Some(Origin::Flag) | None => Diagnostic::error(format!("`--{key}`: {message}")),
        }
    }
}

/// Keys whose values are secret.
const SECRETS: [&str; 3] = ["env", "registry-password", "token"];

/// Splits the values of list keys at commas and white space, and removes empty ones.
fn tidy(key: &str, given: Given) -> Given {
    let is_list = LISTS.contains(&key) && !WHOLE.contains(&key);
    let items = given.items.iter().flat_map(|item| {
        let parts: Vec<&str> = if is_list && key != "env" {
            item.split(|found: char| found == ',' || found.is_whitespace())
                .collect()
        } else if is_list {
            item.split(',').collect()
        } else {
            vec![item.trim()]
        };
        parts.into_iter().map(str::to_owned).collect::<Vec<_>>()
    });
    Given {
        items: items.filter(|item| !item.is_empty()).collect(),
        origin: given.origin,
    }
}
