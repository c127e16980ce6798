//! Shares values that many lines of a lock have in common.

use std::borrow::{Borrow, Cow};
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use arcstr::{ArcStr, Substr};
use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};

use crate::kernel::{KernelVersion, ParseKernelError, TargetId};

/// A string in a line.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(text.into())
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Values that many kernels have in common. Each value is kept once for each part of a lock. Parts do not share values,
/// because processors that change the reference count of the same value wait for each other.
#[derive(Default)]
pub(super) struct Values {
    targets: Known<TargetId>,
    versions: Known<KernelVersion>,
    labels: Known<Arc<str>>,
    sources: Known<Arc<str>>,
    /// A buffer: the strings of one kernel, one after the other.
    joined: String,
}

impl Values {
    pub(super) fn target(&mut self, text: &str) -> Result<TargetId, ParseKernelError> {
        self.targets.of(text, str::parse)
    }

    pub(super) fn version(&mut self, text: &str) -> Result<KernelVersion, ParseKernelError> {
        self.versions.of(text, str::parse)
    }

    /// Returns the label of a `[[target]]`. For a new label, returns the error of `check`, if it fails.
    pub(super) fn label<E>(
        &mut self,
        text: &str,
        check: impl FnOnce() -> Result<(), E>,
    ) -> Result<Arc<str>, E> {
        self.labels.of(text, |text| check().map(|()| text.into()))
    }

    /// Copies the release and the URLs of a kernel into one text, which needs one allocation, and returns them as parts
    /// of it.
    pub(super) fn shared<'a, I>(
        &mut self,
        release: &str,
        urls: I,
    ) -> (Substr, impl Iterator<Item = Substr> + use<'a, I>)
    where
        I: Iterator<Item = &'a str> + Clone,
    {
        self.joined.clear();
        self.joined.push_str(release);
        self.joined.extend(urls.clone());
        let all = ArcStr::from(self.joined.as_str());
        let mut end = release.len();
        let release = all.substr(..end);
        let urls = urls.map(move |url| {
            let start = end;
            end += url.len();
            all.substr(start..end)
        });
        (release, urls)
    }

    pub(super) fn source(&mut self, text: &str) -> Arc<str> {
        let make = |text: &str| Ok::<_, std::convert::Infallible>(text.into());
        let Ok(source) = self.sources.of(text, make);
        source
    }
}

/// The values of one type.
struct Known<T> {
    /// The value of the previous line. Most lines have the same value.
    last: Option<T>,
    all: HashSet<T, RandomState>,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            last: None,
            all: HashSet::default(),
        }
    }
}

impl<T: Borrow<str> + Clone + Eq + Hash> Known<T> {
    /// Returns the value with this text. Calls `make` if it is new.
    fn of<E>(&mut self, text: &str, make: impl FnOnce(&str) -> Result<T, E>) -> Result<T, E> {
        if let Some(last) = self.last.as_ref().filter(|last| (*last).borrow() == text) {
            return Ok(last.clone());
        }
        let value = if let Some(known) = self.all.get(text) {
            known.clone()
        } else {
            let value = make(text)?;
            self.all.insert(value.clone());
            value
        };
        self.last = Some(value.clone());
        Ok(value)
    }
}
