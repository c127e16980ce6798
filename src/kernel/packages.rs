//! The header packages of a kernel: a set. Sources sort them as they like, and differently every night.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use arcstr::Substr;
use percent_encoding::percent_decode_str;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use smallvec::SmallVec;

use super::Architecture;
use crate::digest::Sha256;

/// A package that is part of a kernel's header tree. `U` is the type of its URL: the URLs of a kernel in a lock are parts
/// of one text, because an allocation for each of the millions of URLs would take long.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package<U = Substr> {
    /// Where it is: an `http://`, `https://` or `file://` address, or a path.
    pub url: U,
    /// Its size in bytes, where the distribution's index says it.
    #[serde(default, rename = "size", skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// Its digest, where the distribution's index says it or an earlier download found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Whether nothing but an earlier download says the digest: then it is a note, which a later download replaces,
    /// and not a fact that the distribution's index published.
    #[serde(default, rename = "noted", skip_serializing_if = "std::ops::Not::not")]
    pub is_noted: bool,
    /// Only for packages with programs that run during the build (Debian's `linux-kbuild`): the architecture of
    /// the machine that can run them. Of several, the one for the building machine is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Architecture>,
}

impl<U> Package<U> {
    /// Returns the same package with its URL as another type.
    pub fn with_url<V>(&self, url: V) -> Package<V> {
        Package {
            url,
            size_bytes: self.size_bytes,
            sha256: self.sha256,
            is_noted: self.is_noted,
            host: self.host,
        }
    }
}

impl Package {
    /// A package of which only the URL is known.
    pub fn at(url: impl Into<Substr>) -> Self {
        Self {
            url: url.into(),
            size_bytes: None,
            sha256: None,
            is_noted: false,
            host: None,
        }
    }

    /// The name of its file.
    pub fn file_name(&self) -> Cow<'_, str> {
        file_name(&self.url)
    }

    /// Adds what `other` knows of the same file.
    pub fn learn_from(&mut self, other: &Self) {
        if self.sha256.is_none() || (self.is_noted && other.sha256 == self.sha256) {
            self.sha256 = other.sha256;
            self.is_noted = other.is_noted;
        }
        self.size_bytes = self.size_bytes.or(other.size_bytes);
    }

    fn canonical_cmp(&self, other: &Self) -> Ordering {
        let rest = |one: &Self| (one.host, one.size_bytes, one.is_noted);
        self.file_name()
            .cmp(&other.file_name())
            .then_with(|| self.sha256.cmp(&other.sha256))
            .then_with(|| self.url.cmp(&other.url))
            .then_with(|| rest(self).cmp(&rest(other)))
    }
}

/// The header packages of a kernel, each URL once, in canonical order: by file name, then digest, then URL.
///
/// The order depends on the members only, so whatever reads a set front to back gives the same result for every order
/// of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct PackageSet(Vec<Package>);

impl<'de> Deserialize<'de> for PackageSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Members::<Substr>::deserialize(deserializer)?;
        Ok(members.0.into_vec().into())
    }
}

/// The number of packages that most kernels have at most.
const USUAL: usize = 4;

/// The packages of a kernel as they are read, in any order: without an allocation for most kernels.
pub struct Members<U>(pub SmallVec<[Package<U>; USUAL]>);

impl<'de, U: Deserialize<'de>> Deserialize<'de> for Members<U> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(MembersVisitor(PhantomData))
    }
}

struct MembersVisitor<U>(PhantomData<U>);

impl<'de, U: Deserialize<'de>> Visitor<'de> for MembersVisitor<U> {
    type Value = Members<U>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Members<U>, A::Error> {
        let mut packages = SmallVec::new();
        while let Some(next) = members.next_element()? {
            packages.push(next);
        }
        Ok(Members(packages))
    }
}

impl PackageSet {
    /// Adds a package.
    pub fn insert(&mut self, package: Package) {
        self.0.push(package);
        self.restore_order();
    }

    /// Changes packages in place; what `change` returns is counted.
    pub fn update(&mut self, mut change: impl FnMut(&mut Package) -> bool) -> usize {
        let changed = self.0.iter_mut().map(&mut change);
        let count = changed.filter(|&is_changed| is_changed).count();
        if count > 0 {
            self.restore_order();
        }
        count
    }

    /// Adds the packages of another set.
    pub fn extend(&mut self, other: Self) {
        if *self != other {
            self.0.extend(other.0);
            self.restore_order();
        }
    }

    /// Removes the packages for which `keep` returns false.
    pub fn retain(&mut self, keep: impl FnMut(&Package) -> bool) {
        self.0.retain(keep);
    }

    /// True if both sets hold the same packages, wherever these are: equal digests where all are known, otherwise
    /// equal file names without contradicting digests.
    pub fn is_same_content(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        if let (Some(left), Some(right)) = (self.digests(), other.digests()) {
            return left == right;
        }
        let (left, right) = (self.by_file(), other.by_file());
        left.len() == right.len()
            && left
                .iter()
                .zip(&right)
                .all(|((file, left), (other, right))| {
                    let is_contradiction =
                        !left.is_empty() && !right.is_empty() && left.is_disjoint(right);
                    file == other && !is_contradiction
                })
    }

    /// True if both sets hold the same URLs.
    pub fn is_same_urls(&self, other: &Self) -> bool {
        fn urls(set: &PackageSet) -> BTreeSet<&str> {
            set.iter().map(|package| &*package.url).collect()
        }
        self.len() == other.len() && urls(self) == urls(other)
    }

    /// The file names, sorted, each once.
    pub fn file_names(&self) -> Vec<Cow<'_, str>> {
        let mut names: Vec<_> = self.iter().map(Package::file_name).collect();
        names.dedup();
        names
    }

    /// The digests, where all are known.
    fn digests(&self) -> Option<BTreeSet<Sha256>> {
        self.iter().map(|package| package.sha256).collect()
    }

    fn by_file(&self) -> BTreeMap<(Cow<'_, str>, Option<Architecture>), BTreeSet<Sha256>> {
        let mut files: BTreeMap<_, BTreeSet<Sha256>> = BTreeMap::new();
        for package in &self.0 {
            let key = (package.file_name(), package.host);
            files.entry(key).or_default().extend(package.sha256);
        }
        files
    }

    /// True for nearly all sets that are in canonical order and have each URL once, without the cost of finding out for
    /// all: those in which packages of one file name, as mirrors have them, have one digest or none.
    fn is_surely_ordered(&self) -> bool {
        // Most kernels have one package.
        if self.0.len() < 2 {
            return true;
        }
        let mut last: Option<(Cow<'_, str>, &Package)> = None;
        self.iter().all(|package| {
            let name = package.file_name();
            let follows = last.as_ref().is_none_or(|(last_name, last)| {
                *last_name < name
                    || (*last_name == name
                        && last.sha256 == package.sha256
                        && last.url < package.url)
            });
            last = Some((name, package));
            follows
        })
    }

    fn restore_order(&mut self) {
        if self.is_surely_ordered() {
            return;
        }
        let mut members: Vec<Package> = Vec::with_capacity(self.0.len());
        self.0.sort_by(Package::canonical_cmp);
        for package in self.0.drain(..) {
            let is_same = |one: &&mut Package| {
                one.url == package.url
                    && one.host == package.host
                    && (one.sha256 == package.sha256
                        || one.sha256.is_none()
                        || package.sha256.is_none())
            };
            match members.iter_mut().find(is_same) {
                Some(one) => one.learn_from(&package),
                None => members.push(package),
            }
        }
        members.sort_by(Package::canonical_cmp);
        self.0 = members;
    }
}

impl PartialOrd for PackageSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PackageSet {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.iter().zip(other.iter());
        pairs
            .map(|(left, right)| left.canonical_cmp(right))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| self.len().cmp(&other.len()))
    }
}

impl From<Vec<Package>> for PackageSet {
    fn from(packages: Vec<Package>) -> Self {
        let mut set = Self(packages);
        set.restore_order();
        set.0.shrink_to_fit();
        set
    }
}

impl FromIterator<Package> for PackageSet {
    fn from_iter<I: IntoIterator<Item = Package>>(packages: I) -> Self {
        Vec::from_iter(packages).into()
    }
}

impl Deref for PackageSet {
    type Target = [Package];

    fn deref(&self) -> &[Package] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a PackageSet {
    type Item = &'a Package;
    type IntoIter = std::slice::Iter<'a, Package>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for PackageSet {
    type Item = Package;
    type IntoIter = std::vec::IntoIter<Package>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The last segment of a URL or path, without a query; `%2B` and the like stand for their characters.
pub fn file_name(url: &str) -> Cow<'_, str> {
    // Asked of every package again and again.
    let end = memchr::memchr2(b'?', b'#', url.as_bytes());
    let path = &url[..end.unwrap_or(url.len())];
    let start = memchr::memrchr(b'/', path.as_bytes());
    let file = &path[start.map_or(0, |slash| slash + 1)..];
    if memchr::memchr(b'%', file.as_bytes()).is_some() {
        percent_decode_str(file).decode_utf8_lossy()
    } else {
        file.into()
    }
}

/// Returns the name of a package's file if it is on this machine: its path tells nothing to others. `None` for a URL of
/// a server.
pub fn local_file_name(url: &str) -> Option<Cow<'_, str>> {
    match url.split_once("://") {
        Some((scheme, _)) if scheme != "file" => None,
        _ => Some(file_name(url)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(text: &str) -> Package {
        let (url, content) = text.split_once(' ').unwrap_or((text, ""));
        Package {
            sha256: (!content.is_empty()).then(|| Sha256::of(content)),
            ..Package::at(url)
        }
    }

    fn set(packages: &[&str]) -> PackageSet {
        packages.iter().map(|text| package(text)).collect()
    }

    #[test]
    fn order_is_by_file_name_then_digest_then_url() {
        let members = [
            "http://z/a.deb",
            "http://a/b.deb x",
            "http://b/b.deb x",
            "http://a/c%2B.deb",
        ];
        let expected = set(&members);
        let urls: Vec<_> = expected.iter().map(|one| one.url.to_string()).collect();
        assert_eq!(
            urls,
            members.map(|text| text.trim_end_matches(" x").to_owned())
        );
        let mut reversed = members;
        reversed.reverse();
        assert_eq!(set(&reversed), expected);
    }

    #[test]
    fn equal_urls_are_merged_into_one_package() {
        let merged = set(&[
            "http://a/x.deb",
            "http://b/x.deb",
            "http://a/x.deb x",
            "http://a/x.deb",
        ]);
        assert_eq!(merged, set(&["http://b/x.deb", "http://a/x.deb x"]));
        // Two contents of one URL are a contradiction that cannot be resolved here.
        assert_eq!(set(&["http://a/x.deb x", "http://a/x.deb y"]).len(), 2);
    }

    #[test]
    fn equal_content_is_recognised_by_digests_or_file_names() {
        for (left, right, expected) in [
            (
                &["http://a/x.deb", "http://a/y.deb"][..],
                &["http://b/y.deb", "http://c/x.deb"][..],
                true,
            ),
            (
                &["http://a/x.deb"],
                &["http://a/x.deb", "http://b/x.deb"],
                true,
            ),
            (&["http://a/x.deb"], &["http://a/y.deb"], false),
            (&["http://a/x.deb 1"], &["http://b/x.deb"], true),
            (&["http://a/x.deb 1"], &["http://b/x.deb 2"], false),
            (&["http://a/x.deb 1"], &["http://b/y.deb 1"], true),
            (
                &["http://a/x.deb 1", "http://a/y.deb"],
                &["http://b/x.deb 2", "http://b/y.deb"],
                false,
            ),
            (&[], &["http://a/x.deb"], false),
        ] {
            let (left, right) = (set(left), set(right));
            assert_eq!(left.is_same_content(&right), expected, "{left:?} {right:?}");
            assert_eq!(right.is_same_content(&left), expected, "{left:?} {right:?}");
        }
    }
}
