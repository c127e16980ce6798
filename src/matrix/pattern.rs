//! Patterns: globs and version ranges, with the same syntax wherever names or versions are selected.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use globset::{Glob, GlobBuilder, GlobMatcher};

use crate::driver::DriverVersion;
use crate::kernel::{Architecture, KernelRelease, compare_versions};

/// A glob such as `*-generic`, or a range such as `>=5.4, <6.9`.
///
/// A bound of a range is compared with as many components as it has: `<=6.9` matches 6.9.12, and `=5.10` all of 5.10.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Literal,
    Glob(Arc<LazyGlob>),
    Range(Arc<[(Comparison, Bound)]>),
}

/// A glob whose automaton is built on first use: large sets of globs use one automaton for all.
#[derive(Debug)]
struct LazyGlob {
    glob: Glob,
    matcher: OnceLock<GlobMatcher>,
}

impl LazyGlob {
    fn is_match(&self, name: &str) -> bool {
        let matcher = self.matcher.get_or_init(|| self.glob.compile_matcher());
        matcher.is_match(name)
    }
}

/// The reason why a text is not a [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePatternError {
    /// The text is empty.
    #[error("a pattern cannot be empty; `*` matches everything")]
    Empty,
    /// The text is not a glob.
    #[error("`{text}` is not a glob: {message}")]
    Glob {
        /// The whole text.
        text: String,
        /// The problem.
        message: String,
    },
    /// The text is not a range.
    #[error(
        "invalid part `{part}` of a version range: expected a comparison (>=, >, <=, <, =) and a version, as in \
         `>=5.4, <6.9`"
    )]
    Range {
        /// The part between commas.
        part: String,
    },
    /// A range in a pattern for names.
    #[error("`{0}` is a version range, and names have no order; use a glob")]
    RangeOfNames(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtLeast,
    Above,
    AtMost,
    Below,
    Equal,
}

impl Comparison {
    /// Splits the comparison from the front of a text.
    fn split(text: &str) -> Option<(Self, &str)> {
        [
            (">=", Self::AtLeast),
            ("<=", Self::AtMost),
            (">", Self::Above),
            ("<", Self::Below),
            ("=", Self::Equal),
        ]
        .into_iter()
        .find_map(|(sign, comparison)| Some((comparison, text.strip_prefix(sign)?.trim())))
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::AtLeast => order.is_ge(),
            Self::Above => order.is_gt(),
            Self::AtMost => order.is_le(),
            Self::Below => order.is_lt(),
            Self::Equal => order.is_eq(),
        }
    }
}

#[derive(Clone, Debug)]
struct Bound {
    text: String,
    /// The numbers of the bound: major, minor and patch as far as given.
    numbers: Vec<u64>,
    /// True if more text follows the numbers.
    has_rest: bool,
}

impl Bound {
    fn parse(text: &str) -> Option<Self> {
        let is_allowed = |found: char| found.is_ascii_alphanumeric() || "._+~-".contains(found);
        if !text.chars().all(is_allowed) {
            return None;
        }
        let mut numbers = Vec::new();
        let mut rest = text;
        loop {
            let length = rest.bytes().take_while(u8::is_ascii_digit).count();
            numbers.push(rest[..length].parse().ok()?);
            rest = &rest[length..];
            match rest.strip_prefix('.') {
                Some(next)
                    if numbers.len() < 3 && next.starts_with(|c: char| c.is_ascii_digit()) =>
                {
                    rest = next;
                }
                _ => break,
            }
        }
        Some(Self {
            text: text.to_owned(),
            numbers,
            has_rest: !rest.is_empty(),
        })
    }

    /// Compares `numbers` with the bound, only as far as the bound has numbers.
    fn order_of_numbers(&self, numbers: impl IntoIterator<Item = u64>) -> Ordering {
        numbers
            .into_iter()
            .zip(&self.numbers)
            .map(|(left, right)| left.cmp(right))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }

    /// Returns the three numbers, with missing ones replaced by `rest`.
    fn numbers_or(&self, rest: u64) -> [u64; 3] {
        std::array::from_fn(|position| self.numbers.get(position).copied().unwrap_or(rest))
    }

    fn order_of_release(&self, release: &KernelRelease) -> Ordering {
        let order = self.order_of_numbers(release.numbers().map(u64::from));
        if order.is_ne() || !self.has_rest {
            return order;
        }
        match release.as_str().strip_prefix(self.text.as_str()) {
            Some(rest) if rest.is_empty() || rest.starts_with(['-', '+', '.']) => Ordering::Equal,
            _ => compare_versions(release.as_str(), &self.text),
        }
    }

    /// Returns `None` for a version that is not a release and therefore in no range.
    fn order_of_driver(&self, version: &DriverVersion) -> Option<Ordering> {
        let numbers = version.numbers()?;
        let order = self.order_of_numbers(numbers);
        if order.is_ne() || self.numbers.len() < 3 {
            return Some(order);
        }
        let (left, right) = (
            semver::Version::parse(version.as_str()).ok()?,
            semver::Version::parse(&self.text).ok()?,
        );
        Some(left.cmp_precedence(&right))
    }
}

/// A position in the order of releases: by the first numbers, then by the whole text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ReleasePlace<'a> {
    numbers: [u64; 3],
    rest: Rest<'a>,
}

impl<'a> ReleasePlace<'a> {
    /// Returns the position of a release.
    pub(super) fn of(release: &'a KernelRelease) -> Self {
        Self {
            numbers: release.numbers().map(u64::from),
            rest: Rest::Text(release.as_str()),
        }
    }
}

/// The position among releases with the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest<'a> {
    First,
    Text(&'a str),
    Last,
}

impl Ord for Rest<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |rest: &Self| match rest {
            Self::First => 0,
            Self::Text(_) => 1,
            Self::Last => 2,
        };
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => compare_versions(left, right),
            _ => rank(self).cmp(&rank(other)),
        }
    }
}

impl PartialOrd for Rest<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Pattern {
    /// Returns the original text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if it is a plain name without wildcards.
    pub fn is_literal(&self) -> bool {
        matches!(self.kind, Kind::Literal)
    }

    /// Returns the longest text that every match contains; `None` if this is not a glob, or there is no such text.
    pub(super) fn required_text(&self) -> Option<&str> {
        let Kind::Glob(_) = self.kind else {
            return None;
        };
        let (start, end) = plain_ends(&self.text);
        let texts = [start, end].into_iter();
        texts
            .flat_map(|part| part.split(['*', '?', '/']))
            .filter(|text| !text.is_empty())
            .max_by_key(|text| text.len())
    }

    /// Returns the first and the last possible position of a match, if this is a range. Releases outside never match.
    pub(super) fn possible_places(&self) -> Option<(ReleasePlace<'_>, ReleasePlace<'_>)> {
        let Kind::Range(parts) = &self.kind else {
            return None;
        };
        let place = |numbers, rest| ReleasePlace { numbers, rest };
        let mut first = place([0; 3], Rest::First);
        let mut last = place([u64::MAX; 3], Rest::Last);
        for (comparison, bound) in parts.iter() {
            // With fewer numbers, the text is compared with releases of several numbers.
            let text = (bound.has_rest && bound.numbers.len() == 3).then_some(bound.text.as_str());
            if !matches!(comparison, Comparison::AtMost | Comparison::Below) {
                let rest = text.map_or(Rest::First, Rest::Text);
                first = first.max(place(bound.numbers_or(0), rest));
            }
            if !matches!(comparison, Comparison::AtLeast | Comparison::Above) {
                // `<=5.4.0-1` also matches 5.4.0-1-generic, which sorts after it.
                let text = text.filter(|_| *comparison == Comparison::Below);
                let rest = text.map_or(Rest::Last, Rest::Text);
                last = last.min(place(bound.numbers_or(u64::MAX), rest));
            }
        }
        Some((first, last))
    }

    /// Parses a pattern for names, which have no order.
    pub fn for_names(text: &str) -> Result<Self, ParsePatternError> {
        let pattern: Self = text.parse()?;
        match pattern.kind {
            Kind::Range(_) => Err(ParsePatternError::RangeOfNames(text.to_owned())),
            _ => Ok(pattern),
        }
    }

    /// Returns true if a name matches; a range matches no name.
    pub fn matches_name(&self, name: &str) -> bool {
        match &self.kind {
            Kind::Literal => *self.text == *name,
            Kind::Glob(glob) => glob.is_match(name),
            Kind::Range(_) => false,
        }
    }

    /// Returns true if a kernel release matches.
    pub fn matches_release(&self, release: &KernelRelease) -> bool {
        match &self.kind {
            Kind::Range(parts) => parts
                .iter()
                .all(|(comparison, bound)| comparison.holds(bound.order_of_release(release))),
            _ => self.matches_name(release.as_str()),
        }
    }

    /// Returns true if a driver version matches; a version that is not a release such as `8.1.0+driver` is in no range.
    pub fn matches_driver(&self, version: &DriverVersion) -> bool {
        match &self.kind {
            Kind::Range(parts) => parts.iter().all(|(comparison, bound)| {
                bound
                    .order_of_driver(version)
                    .is_some_and(|order| comparison.holds(order))
            }),
            _ => self.matches_name(version.as_str()),
        }
    }

    /// Returns true if an architecture matches, by either of its names.
    pub fn matches_architecture(&self, architecture: Architecture) -> bool {
        self.matches_name(architecture.as_str()) || self.matches_name(architecture.machine())
    }
}

impl FromStr for Pattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let trimmed = text.trim();
        let kind = if trimmed.is_empty() {
            return Err(ParsePatternError::Empty);
        } else if trimmed.starts_with(['<', '>', '=']) {
            Kind::Range(parse_range(trimmed)?)
        } else if trimmed.contains(['*', '?', '[', ']', '{', '}', '\\', '!']) {
            let glob = GlobBuilder::new(trimmed).build();
            let glob = glob.map_err(|error| ParsePatternError::Glob {
                text: trimmed.to_owned(),
                message: error.kind().to_string(),
            })?;
            Kind::Glob(Arc::new(LazyGlob {
                glob,
                matcher: OnceLock::new(),
            }))
        } else {
            Kind::Literal
        };
        Ok(Self {
            text: trimmed.into(),
            kind,
        })
    }
}

/// Returns the text of a glob before the first and after the last class, alternative or escaped character.
fn plain_ends(glob: &str) -> (&str, &str) {
    let Some(first) = glob.find(['[', '{', '\\']) else {
        return (glob, "");
    };
    let closed = glob.rfind([']', '}']).map(|last| last + 1);
    let escaped = glob.rfind('\\').map(|last| {
        let character = glob[last + 1..].chars().next();
        last + 1 + character.map_or(0, char::len_utf8)
    });
    (
        &glob[..first],
        &glob[closed.max(escaped).unwrap_or(glob.len())..],
    )
}

fn parse_range(text: &str) -> Result<Arc<[(Comparison, Bound)]>, ParsePatternError> {
    text.split(',')
        .map(str::trim)
        .map(|part| {
            Comparison::split(part)
                .and_then(|(comparison, bound)| Some((comparison, Bound::parse(bound)?)))
                .ok_or_else(|| ParsePatternError::Range {
                    part: part.to_owned(),
                })
        })
        .collect()
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches_release(pattern: &str, release: &str) -> bool {
        let pattern: Pattern = pattern.parse().unwrap();
        pattern.matches_release(&release.parse().unwrap())
    }

    fn matches_driver(pattern: &str, driver: &str) -> bool {
        let pattern: Pattern = pattern.parse().unwrap();
        pattern.matches_driver(&driver.parse().unwrap())
    }

    #[test]
    fn globs_match_whole_names() {
        assert!(matches_release("*-generic", "5.4.0-51-generic"));
        assert!(!matches_release("*-generic", "5.4.0-51-aws"));
        assert!(matches_release("5.{4,10}.*", "5.10.1-1"));
        assert!(matches_release("6.1.55", "6.1.55"));
        assert!(!matches_release("6.1.5", "6.1.55"));
        assert!(matches_driver("8.*", "8.1.0+driver"));
    }

    #[test]
    fn ranges_match_kernel_releases() {
        for (pattern, release, expected) in [
            (">=5.4, <6.9", "5.4.0-51-generic", true),
            (">=5.4, <6.9", "6.8.12-1", true),
            (">=5.4, <6.9", "6.9.0-1", false),
            (">=5.4, <6.9", "5.3.18-1", false),
            ("<=6.9", "6.9.12-1", true),
            (">6.9", "6.9.12-1", false),
            ("=5.10", "5.10.205-2-amd64", true),
            ("=5.10", "5.100.0", false),
            (">=5.10.0-9", "5.10.0-20-amd64", true),
            (">5.10.0-20", "5.10.0-20-amd64", false),
            ("<=5.10.0-20", "5.10.0-20-amd64", true),
            ("=5.10.0-2", "5.10.0-20-amd64", false),
            (">=6.0", "6.0~rc7-1", true),
        ] {
            assert_eq!(
                matches_release(pattern, release),
                expected,
                "{pattern} {release}"
            );
        }
    }

    #[test]
    fn ranges_match_driver_versions() {
        for (pattern, driver, expected) in [
            (">=9", "9.1.0+driver", true),
            (">=9", "10.0.0+driver", true),
            (">9.1.0+driver", "9.1.0+driver", false),
            (">9.1.0", "9.1.0+driver", false),
            ("<9", "2022-03", false),
            (">=9", "master", false),
            (">=9.0.0", "9.0.0-rc1+driver", false),
        ] {
            assert_eq!(
                matches_driver(pattern, driver),
                expected,
                "{pattern} {driver}"
            );
        }
    }

    #[test]
    fn invalid_patterns_are_refused() {
        for text in ["", " ", "a[", ">=", ">=abc", ">=5.4,", ">=5.4 <6", "{a"] {
            assert!(text.parse::<Pattern>().is_err(), "{text:?}");
        }
        assert!(Pattern::for_names(">=5").is_err());
    }

    #[test]
    fn both_spellings_of_an_architecture_match() {
        let pattern: Pattern = "x86_64".parse().unwrap();
        assert!(pattern.matches_architecture(Architecture::Amd64));
        assert!(!pattern.matches_architecture(Architecture::Arm64));
    }
}
