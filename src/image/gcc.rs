//! Versions of gcc, with any number of components.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// A version of gcc: `12`, `4.8`, `10.2.1`. Compared component by component; a prefix sorts before longer versions.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GccVersion(Vec<u32>);

/// The error for a string that is not a [`GccVersion`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a gcc version such as 12 or 4.8.5")]
pub struct ParseGccVersionError(String);

impl GccVersion {
    /// Returns the version as driverkit's images name their compilers, with zeros for missing components: `12.0.0` for
    /// `12`.
    #[must_use]
    pub fn with_three_numbers(&self) -> Self {
        let mut numbers = self.0.clone();
        numbers.resize(numbers.len().max(3), 0);
        Self(numbers)
    }

    /// Whether the two versions are equal in the components that both have, for example `12` and `12.2.0`.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .all(|(left, right)| left == right)
    }
}

impl FromStr for GccVersion {
    type Err = ParseGccVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match numbers {
            Ok(numbers)
                if text
                    .bytes()
                    .all(|byte| byte == b'.' || byte.is_ascii_digit()) =>
            {
                Ok(Self(numbers))
            }
            _ => Err(ParseGccVersionError(text.to_owned())),
        }
    }
}

impl fmt::Display for GccVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(u32::to_string).collect();
        formatter.pad(&numbers.join("."))
    }
}

impl<'de> Deserialize<'de> for GccVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> GccVersion {
        text.parse().expect("a version")
    }

    #[test]
    fn gcc_versions_are_ordered_and_matched() {
        assert!(version("4.8") < version("4.8.5"));
        assert!(version("9.4") < version("10"));
        assert!(version("12").agrees_with(&version("12.2.0")));
        assert!(version("12.2.0").agrees_with(&version("12")));
        assert!(!version("4.8").agrees_with(&version("4.9")));
        assert!(!version("1").agrees_with(&version("12")));
        assert_eq!(version("12").with_three_numbers(), version("12.0.0"));
        assert_eq!(version("4.8.5").with_three_numbers(), version("4.8.5"));
    }

    #[test]
    fn bad_versions_are_refused() {
        for text in ["", "12.", ".1", "twelve", "+1", "12-rc1", "99999999999"] {
            assert!(text.parse::<GccVersion>().is_err(), "{text}");
        }
    }
}
