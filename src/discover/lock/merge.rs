//! Merges locks by kernel, never by line.
//!
//! No information of a side is lost: a known digest replaces a missing one, the older `first_seen` stays, and `gone`
//! and `unconfirmed` are kept. If the common ancestor is known and only one side changed a value, the changed value is
//! used. Two different digests of one file are a contradiction, which the user must resolve.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::combine::{Contradiction, changed, combine};
use super::format::put_kernel;
use super::text::{LockText, is_marker, read_existing, read_text};
use super::{Lock, LockError, LockedKernel};
use crate::diagnostic::Diagnostic;
use crate::fs;

/// The result of a merge of two locks.
struct Merged {
    /// The lock, without contradictory kernels.
    lock: Lock,
    /// The contradictory kernels: the version of each side, and the contradiction.
    contradictions: Vec<(LockedKernel, LockedKernel, Contradiction)>,
}

/// A side of a merge.
struct Side<'a> {
    text: LockText<'a>,
    lines: Vec<(usize, &'a str)>,
    lock: Lock,
}

impl<'a> Side<'a> {
    fn read(text: LockText<'a>, lines: Vec<(usize, &'a str)>) -> Result<Self, LockError> {
        let lock = Lock::parse(&text, &lines)?;
        Ok(Self { text, lines, lock })
    }

    fn of_file(path: &'a Path, text: &'a str) -> Result<Self, LockError> {
        let text = LockText { path, text };
        let lines = text.lines();
        Self::read(text, lines)
    }

    /// Returns the number of a kernel's line.
    fn line_of(&self, locked: &LockedKernel) -> usize {
        let of_kernel = self.lines.iter().skip(1).find(|(number, line)| {
            let only = [(0, self.lines[0].1), (*number, *line)];
            line.contains(locked.kernel.release.as_str())
                && Lock::parse(&self.text, &only)
                    .is_ok_and(|lock| lock.kernels.iter().any(|one| one.key() == locked.key()))
        });
        of_kernel.map_or(1, |(number, _)| *number)
    }
}

/// Merges two locks with a common ancestor, kernel by kernel.
fn merge(base: Option<Lock>, ours: Lock, theirs: Lock) -> Merged {
    // If the limits of a source differ, the newer ones are unknown, so none are kept. The next `lock` reads the source
    // as if it was a different one.
    let mut limits = ours.limits.clone();
    limits.extend(theirs.limits.clone());
    limits.retain(|label, digest| {
        let is_same = |lock: &Lock| lock.limits.get(label).is_none_or(|known| known == digest);
        is_same(&ours) && is_same(&theirs)
    });
    let mut sources = BTreeMap::new();
    let labels: BTreeSet<&String> = ours.sources.keys().chain(theirs.sources.keys()).collect();
    for label in labels {
        let digest = |lock: &Lock| lock.sources.get(label).copied();
        let (left, right) = (digest(&ours), digest(&theirs));
        let merged = changed(base.as_ref().map(digest), left, right);
        let is_named = || {
            let kernels = ours.kernels.iter().chain(&theirs.kernels);
            kernels.into_iter().any(|locked| *locked.label == **label)
        };
        // A source that one side removed stays while kernels name it. The next `lock` removes the source and the
        // kernels.
        let digest = match merged {
            Some(Some(digest)) => Some(digest),
            Some(None) if !is_named() => None,
            _ => left.or(right),
        };
        sources.extend(digest.map(|digest| (label.clone(), digest)));
    }
    let mut sides: BTreeMap<_, [Option<LockedKernel>; 3]> = BTreeMap::new();
    let has_base = base.is_some();
    let locks = [base.unwrap_or_default(), ours, theirs];
    for (position, lock) in locks.into_iter().enumerate() {
        for locked in lock.kernels {
            let key = (
                locked.kernel.target.clone(),
                locked.kernel.release.clone(),
                locked.kernel.version.clone(),
                locked.kernel.architecture,
                locked.label.clone(),
            );
            sides.entry(key).or_default()[position] = Some(locked);
        }
    }
    let mut merged = Merged {
        lock: Lock {
            sources,
            limits,
            kernels: Vec::with_capacity(sides.len()),
        },
        contradictions: Vec::new(),
    };
    for [base, ours, theirs] in sides.into_values() {
        match (ours, theirs) {
            (Some(ours), Some(theirs)) => match combine(base.as_ref(), &ours, &theirs) {
                Ok(locked) => merged.lock.kernels.push(locked),
                Err(contradiction) => merged.contradictions.push((ours, theirs, contradiction)),
            },
            (Some(one), None) | (None, Some(one)) => {
                let is_dropped = has_base && base.as_ref() == Some(&one);
                if !is_dropped {
                    merged.lock.kernels.push(one);
                }
            }
            (None, None) => {}
        }
    }
    merged
}

impl Merged {
    /// Returns the text of the lock. Contradictory kernels have conflict markers like git's.
    fn to_bytes(&self) -> Vec<u8> {
        let mut lines: Vec<(_, Vec<u8>)> = Vec::new();
        let line = |locked: &LockedKernel| {
            let mut bytes = Vec::new();
            put_kernel(&mut bytes, locked);
            bytes
        };
        for locked in &self.lock.kernels {
            lines.push((locked.key(), line(locked)));
        }
        for (ours, theirs, _) in &self.contradictions {
            let parts = [
                b"<<<<<<< ours\n".to_vec(),
                line(ours),
                b"=======\n".to_vec(),
                line(theirs),
                b">>>>>>> theirs\n".to_vec(),
            ];
            lines.push((ours.key(), parts.concat()));
        }
        lines.sort_by(|(left, _), (right, _)| left.cmp(right));
        let mut bytes = self.lock.header_bytes();
        bytes.extend(lines.into_iter().flat_map(|(_, line)| line));
        bytes
    }

    /// Returns an error for each contradiction, with its line on each side.
    fn errors(&self, ours: &Side<'_>, theirs: &Side<'_>) -> Result<Vec<Diagnostic>, LockError> {
        let mut errors = Vec::new();
        for (one, other, contradiction) in &self.contradictions {
            let (our_line, their_line) = (ours.line_of(one), theirs.line_of(other));
            match contradiction.error(&ours.text, our_line, &theirs.text, their_line) {
                LockError::Text(diagnostic) => errors.push(*diagnostic),
                other => return Err(other),
            }
        }
        Ok(errors)
    }
}

impl Lock {
    /// Reads a lock like [`Lock::read`], and resolves conflicts that a merge of git left in it. The flag is true if
    /// there were conflicts.
    pub fn read_resolved(path: &Path) -> Result<Option<(Self, bool)>, LockError> {
        if let Some(lock) = Self::read_in_parts(path) {
            return Ok(Some((lock, false)));
        }
        let Some(text) = read_text(path)? else {
            return Ok(None);
        };
        let text = || LockText { path, text: &text };
        if !text().text.lines().any(is_marker) {
            let lines = text().lines();
            return Self::parse(&text(), &lines).map(|lock| Some((lock, false)));
        }
        let Sections { base, ours, theirs } = Sections::of(&text())?;
        let base = base.map(|lines| Side::read(text(), lines)).transpose()?;
        let (ours, theirs) = (Side::read(text(), ours)?, Side::read(text(), theirs)?);
        merge_sides(base, &ours, &theirs).map(|merged| match merged {
            (merged, errors) if errors.is_empty() => Ok(Some((merged.lock, true))),
            (_, errors) => Err(LockError::Contradictions(errors)),
        })?
    }

    /// Merges locks, as a merge driver of git does: the common ancestor, ours and theirs. Writes the result to ours.
    /// Contradictions get conflict markers, and are returned with their places in the result. Messages call the lock
    /// `name`: the files that git passes are temporary.
    pub fn merge_files(
        [base, ours, theirs]: [&Path; 3],
        name: Option<&Path>,
    ) -> Result<Vec<Diagnostic>, LockError> {
        let texts = [base, ours, theirs].map(read_existing);
        let [base_text, our_text, their_text] = texts;
        let (base_text, our_text, their_text) = (base_text?, our_text?, their_text?);
        let named = |path: &Path, side: &str| match name {
            Some(name) => PathBuf::from(format!("{} ({side})", name.display())),
            None => path.to_owned(),
        };
        let base = &named(base, "the common ancestor");
        // If both sides added the lock, git passes an empty file.
        let base = (!base_text.is_empty())
            .then(|| Side::of_file(base, &base_text))
            .transpose()?;
        let merged = merge(
            base.map(|side| side.lock),
            Side::of_file(&named(ours, "ours"), &our_text)?.lock,
            Side::of_file(&named(theirs, "theirs"), &their_text)?.lock,
        );
        let bytes = merged.to_bytes();
        fs::write(ours, &bytes)?;
        if merged.contradictions.is_empty() {
            return Ok(Vec::new());
        }
        let text = LockText {
            path: name.unwrap_or(ours),
            text: &String::from_utf8_lossy(&bytes),
        };
        let sections = Sections::of(&text)?;
        let (ours, theirs) = (
            Side::read(text, sections.ours)?,
            Side::read(text, sections.theirs)?,
        );
        merged.errors(&ours, &theirs)
    }
}

/// Merges two sides, and returns an error for each contradiction.
fn merge_sides(
    base: Option<Side<'_>>,
    ours: &Side<'_>,
    theirs: &Side<'_>,
) -> Result<(Merged, Vec<Diagnostic>), LockError> {
    let merged = merge(
        base.map(|side| side.lock),
        ours.lock.clone(),
        theirs.lock.clone(),
    );
    let errors = merged.errors(ours, theirs)?;
    Ok((merged, errors))
}

/// The numbered lines of each side of a text with conflicts.
struct Sections<'a> {
    /// The lines of the common ancestor. They exist only in git's conflict styles `diff3` and `zdiff3`.
    base: Option<Vec<(usize, &'a str)>>,
    ours: Vec<(usize, &'a str)>,
    theirs: Vec<(usize, &'a str)>,
}

impl<'a> Sections<'a> {
    fn of(text: &LockText<'a>) -> Result<Self, LockError> {
        #[derive(Clone, Copy, PartialEq)]
        enum At {
            Common,
            Ours,
            Base,
            Theirs,
        }
        let mut sections = Self {
            base: Some(Vec::new()),
            ours: Vec::new(),
            theirs: Vec::new(),
        };
        let mut has_base = true;
        let mut at = At::Common;
        let mut opened = 1;
        for (number, line) in text.lines() {
            // A conflict within the ancestor has longer markers.
            let marker = line.get(..7).filter(|_| is_marker(line));
            let is_longer = line.chars().nth(7) == line.chars().next();
            match (at, marker) {
                (_, Some(_)) if is_longer => has_base = false,
                (At::Common, Some("<<<<<<<")) => (at, opened) = (At::Ours, number),
                (At::Ours, Some("|||||||")) => at = At::Base,
                (At::Ours, Some("=======")) => (at, has_base) = (At::Theirs, false),
                (At::Base, Some("=======")) => at = At::Theirs,
                (At::Theirs, Some(">>>>>>>")) => at = At::Common,
                (_, Some(_)) => return Err(text.fault(number, UNEXPECTED_MARKER, MARKERS)),
                (At::Common, None) => {
                    sections.ours.push((number, line));
                    sections.theirs.push((number, line));
                    sections.base.get_or_insert_default().push((number, line));
                }
                (At::Ours, None) => sections.ours.push((number, line)),
                (At::Base, None) => sections.base.get_or_insert_default().push((number, line)),
                (At::Theirs, None) => sections.theirs.push((number, line)),
            }
        }
        if at != At::Common {
            return Err(text.fault(opened, "the end of this merge conflict is missing", MARKERS));
        }
        if !has_base {
            sections.base = None;
        }
        Ok(sections)
    }
}

const UNEXPECTED_MARKER: &str = "unexpected marker of a merge conflict";
const MARKERS: &str = "a conflict is `<<<<<<<`, lines of one side, `=======`, lines of the other, `>>>>>>>`; \
    `git checkout --merge` restores it";
