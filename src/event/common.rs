//! Values that many reports share.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A copy-on-write value shared between reports and records. Tens of thousands of builds are in memory at once, and
/// most of their values are the same for all builds of a kernel.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Common<T>(Arc<T>);

impl<T: PartialEq> Common<T> {
    /// Shares the memory of `other` if both values are equal.
    pub fn share_with(&mut self, other: &Self) {
        if !Arc::ptr_eq(&self.0, &other.0) && self == other {
            *self = Self(Arc::clone(&other.0));
        }
    }
}

impl<T> Clone for Common<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Common<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Common<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T> From<T> for Common<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<A, T: FromIterator<A>> FromIterator<A> for Common<T> {
    fn from_iter<I: IntoIterator<Item = A>>(items: I) -> Self {
        Self(Arc::new(items.into_iter().collect()))
    }
}

#[expect(
    clippy::into_iter_without_iter,
    reason = "the value has one, which is found by `Deref`"
)]
impl<'a, T> IntoIterator for &'a Common<T>
where
    &'a T: IntoIterator,
{
    type Item = <&'a T as IntoIterator>::Item;
    type IntoIter = <&'a T as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        (&*self.0).into_iter()
    }
}

#[expect(
    clippy::into_iter_without_iter,
    reason = "the value has one, which is found by `DerefMut`"
)]
impl<'a, T: Clone> IntoIterator for &'a mut Common<T>
where
    &'a mut T: IntoIterator,
{
    type Item = <&'a mut T as IntoIterator>::Item;
    type IntoIter = <&'a mut T as IntoIterator>::IntoIter;

    fn into_iter(self) -> Self::IntoIter {
        Arc::make_mut(&mut self.0).into_iter()
    }
}

/// A map as a list of pairs.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Common;

    pub(in super::super) fn serialize<S: Serializer>(
        map: &Common<BTreeMap<String, bool>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Common<BTreeMap<String, bool>>, D::Error> {
        let pairs = Vec::<(String, bool)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_value_is_no_longer_shared() {
        let one: Common<Vec<u8>> = vec![1].into();
        let mut other = one.clone();
        other[0] = 2;
        assert_eq!((&*one, &*other), (&vec![1], &vec![2]));
    }

    #[test]
    fn equal_values_share_memory() {
        let one: Common<Vec<u8>> = vec![1].into();
        let mut equal: Common<Vec<u8>> = vec![1].into();
        let mut different: Common<Vec<u8>> = vec![2].into();
        equal.share_with(&one);
        different.share_with(&one);
        assert!(Arc::ptr_eq(&one.0, &equal.0));
        assert_eq!(*different, [2]);
    }
}
