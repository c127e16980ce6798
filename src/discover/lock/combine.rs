//! Combines two versions of one kernel in a merge: see [`super::merge`].

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use arcstr::Substr;

use super::text::LockText;
use super::{LockError, LockedKernel, State};
use crate::diagnostic::Diagnostic;
use crate::digest::Sha256;
use crate::kernel::{Kernel, Package, PackageSet};

/// Two different digests of one file.
#[derive(Debug)]
pub(super) struct Contradiction {
    kernel: String,
    what: String,
    digests: [Sha256; 2],
}

impl Contradiction {
    /// Returns the error with both digests and their lines.
    pub(super) fn error(
        &self,
        ours: &LockText<'_>,
        our_line: usize,
        theirs: &LockText<'_>,
        their_line: usize,
    ) -> LockError {
        let Self {
            kernel,
            what,
            digests: [one, other],
        } = self;
        let diagnostic = Diagnostic::error(format!("{what} of {kernel} has two digests: {one} and {other}"))
            .at(ours.place(our_line), format!("{one} here"))
            .at(theirs.place(their_line), format!("{other} here"))
            .help("remove the line with the wrong digest (see `sha256sum` of the file), then run `driverkit-matrix lock`");
        LockError::Text(Box::new(diagnostic))
    }
}

/// Returns the value after the merge, or `None` if both sides changed it to different values.
#[expect(
    clippy::needless_pass_by_value,
    reason = "callers make the value for it"
)]
pub(super) fn changed<T: PartialEq>(base: Option<T>, ours: T, theirs: T) -> Option<T> {
    if ours == theirs || base.as_ref() == Some(&theirs) {
        Some(ours)
    } else if base.as_ref() == Some(&ours) {
        Some(theirs)
    } else {
        None
    }
}

/// Combines two versions of one kernel.
pub(super) fn combine(
    base: Option<&LockedKernel>,
    ours: &LockedKernel,
    theirs: &LockedKernel,
) -> Result<LockedKernel, Contradiction> {
    let (left, right) = (&*ours.kernel, &*theirs.kernel);
    let before = base.map(|locked| &*locked.kernel);
    let packages = combine_packages(before, left, right)?;
    let config_sha256 = changed(
        before.map(|kernel| kernel.config_sha256),
        left.config_sha256,
        right.config_sha256,
    );
    let config_sha256 = match (config_sha256, left.config_sha256, right.config_sha256) {
        (Some(digest), ..) => digest,
        (None, Some(one), Some(other)) => {
            return Err(Contradiction {
                kernel: left.to_string(),
                what: "the configuration".to_owned(),
                digests: [one, other],
            });
        }
        (None, one, other) => one.or(other),
    };
    let upstream = changed(
        before.map(|kernel| &kernel.upstream),
        &left.upstream,
        &right.upstream,
    );
    let source = changed(
        before.map(|kernel| &kernel.source),
        &left.source,
        &right.source,
    );
    Ok(LockedKernel {
        label: ours.label.clone(),
        kernel: std::sync::Arc::new(Kernel {
            packages,
            config_sha256,
            upstream: upstream.cloned().unwrap_or_else(|| {
                let known = left.upstream.as_ref().or(right.upstream.as_ref());
                known.cloned()
            }),
            image: left.image.clone().or_else(|| right.image.clone()),
            source: source.unwrap_or(&left.source).clone(),
            ..left.clone()
        }),
        first_seen: ours.first_seen.min(theirs.first_seen),
        state: combine_states(base.map(|locked| locked.state), ours.state, theirs.state),
        is_settled: ours.is_settled || theirs.is_settled,
    })
}

fn combine_states(base: Option<State>, ours: State, theirs: State) -> State {
    if let Some(state) = changed(base, ours, theirs) {
        return state;
    }
    match (ours, theirs) {
        (State::Gone(one), State::Gone(other)) => State::Gone(one.min(other)),
        (State::Gone(since), _) | (_, State::Gone(since)) => State::Gone(since),
        (State::Unconfirmed(one), State::Unconfirmed(other)) => State::Unconfirmed(one.min(other)),
        (State::Unconfirmed(since), _) | (_, State::Unconfirmed(since)) => {
            State::Unconfirmed(since)
        }
        (State::Confirmed, State::Confirmed) => State::Confirmed,
    }
}

fn combine_packages(
    base: Option<&Kernel>,
    ours: &Kernel,
    theirs: &Kernel,
) -> Result<PackageSet, Contradiction> {
    let (left, right) = (&ours.packages, &theirs.packages);
    if left == right {
        return Ok(left.clone());
    }
    let before = base.map(|kernel| &kernel.packages);
    let urls = |set: &PackageSet| -> BTreeSet<Substr> {
        set.iter().map(|package| package.url.clone()).collect()
    };
    let mut packages = match changed(before.map(urls), urls(left), urls(right)) {
        Some(same) if same == urls(left) => left.clone(),
        Some(_) => right.clone(),
        // Both sides moved the same files to different URLs: each URL may have them.
        None if left.file_names() == right.file_names() => {
            let mut both = left.clone();
            both.extend(right.clone());
            both
        }
        None => {
            let are_known = |set: &PackageSet| set.iter().all(|one| one.sha256.is_some());
            let known = if !left.is_empty() && (are_known(left) || !are_known(right)) {
                left
            } else {
                right
            };
            known.clone()
        }
    };
    let known = [before, Some(left), Some(right)].map(|set| set.map(known_by_name));
    let mut chosen: BTreeMap<Cow<'_, str>, &Package> = BTreeMap::new();
    let [known_before, Some(known_left), Some(known_right)] = &known else {
        return Ok(packages);
    };
    for name in left.file_names().into_iter().chain(right.file_names()) {
        let of =
            |known: &BTreeMap<Cow<'_, str>, &Package>| known.get(&name).and_then(|one| one.sha256);
        let package = match (known_left.get(&name), known_right.get(&name)) {
            // A digest from an index takes precedence over the digest of a download.
            (Some(one), Some(other)) if one.is_noted != other.is_noted => {
                if one.is_noted {
                    other
                } else {
                    one
                }
            }
            (Some(one), Some(other)) if one.sha256 != other.sha256 => {
                let before = known_before.as_ref().map(of);
                match changed(before, one.sha256, other.sha256) {
                    Some(digest) if digest == one.sha256 => one,
                    Some(_) => other,
                    None => return Err(contradiction(ours, &name, one, other)),
                }
            }
            (Some(one), _) | (None, Some(one)) => one,
            (None, None) => continue,
        };
        chosen.insert(name, package);
    }
    packages.update(|package| {
        let known = chosen.get(&package.file_name()).copied();
        if let Some(known) = known {
            package.sha256 = known.sha256;
            package.is_noted = known.is_noted;
            package.size_bytes = known.size_bytes.or(package.size_bytes);
        }
        known.is_some()
    });
    Ok(packages)
}

/// Returns the package with a known digest for each file name that has only one digest.
fn known_by_name(set: &PackageSet) -> BTreeMap<Cow<'_, str>, &Package> {
    let mut known: BTreeMap<Cow<'_, str>, &Package> = BTreeMap::new();
    let mut ambiguous: BTreeSet<Cow<'_, str>> = BTreeSet::new();
    for package in set.iter().filter(|package| package.sha256.is_some()) {
        let before = known.insert(package.file_name(), package);
        if before.is_some_and(|before| before.sha256 != package.sha256) {
            ambiguous.insert(package.file_name());
        }
    }
    known.retain(|name, _| !ambiguous.contains(name));
    known
}

fn contradiction(kernel: &Kernel, name: &str, one: &Package, other: &Package) -> Contradiction {
    let digests = [one, other].map(|package| package.sha256.unwrap_or_else(|| Sha256::of("")));
    Contradiction {
        kernel: kernel.to_string(),
        what: name.to_owned(),
        digests,
    }
}
