//! Makes paths of entries safe.

use super::error::shown;
use super::tree::{Listing, Node};
use super::{Limits, UnpackError};

/// Returns the entry's path relative to the root of the tree: no empty, `.` or `..` segment, no slash at either end.
/// Empty for the root itself.
pub(super) fn clean(raw: &[u8], limits: &Limits) -> Result<Vec<u8>, UnpackError> {
    let too_long = |limit: String| UnpackError::LongPath {
        path: shown(raw),
        limit,
    };
    if raw.first() == Some(&b'/') {
        return Err(UnpackError::AbsolutePath(shown(raw)));
    }
    if raw.len() > limits.path_bytes {
        return Err(too_long(format!("{} bytes", limits.path_bytes)));
    }
    if raw.contains(&0) {
        return Err(UnpackError::NulByte(shown(raw)));
    }
    let mut clean = Vec::with_capacity(raw.len());
    let mut depth = 0;
    for segment in raw.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => continue,
            b".." => return Err(UnpackError::ParentSegment(shown(raw))),
            _ => {}
        }
        if segment.len() > 255 {
            return Err(too_long("255 bytes a segment".to_owned()));
        }
        depth += 1;
        if depth > 1 {
            clean.push(b'/');
        }
        clean.extend_from_slice(segment);
    }
    if depth > limits.path_depth {
        return Err(too_long(format!("{} segments", limits.path_depth)));
    }
    Ok(clean)
}

/// Splits `path` into its directory and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// The maximum number of links followed from one link, before it counts as a loop.
const MOST_LINKS: usize = 40;

/// The final target of a symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// This path in the tree, whether or not it exists.
    Inside(Vec<u8>),
    /// A path outside the tree.
    Outside,
    /// None, because of a loop.
    Nowhere,
}

/// Returns the final target of the symbolic link at `path`, following every link on the way. An absolute target is
/// relative to the root of the tree, because that is the root in a job.
pub(super) fn leads(listing: &Listing, path: &[u8]) -> Leads {
    let mut followed = 0;
    let mut place: Vec<&[u8]> = Vec::new();
    // The remaining segments, the next one last.
    let mut segments: Vec<&[u8]> = path.rsplit(|&byte| byte == b'/').collect();
    while let Some(segment) = segments.pop() {
        match segment {
            b"" | b"." => continue,
            b".." => {
                if place.pop().is_none() {
                    return Leads::Outside;
                }
                continue;
            }
            _ => place.push(segment),
        }
        if let Some(Node::Link { target }) = listing.get(&place.join(&b'/')) {
            followed += 1;
            if followed > MOST_LINKS {
                return Leads::Nowhere;
            }
            place.pop();
            if target.first() == Some(&b'/') {
                place.clear();
            }
            segments.extend(target.rsplit(|&byte| byte == b'/'));
        }
    }
    Leads::Inside(place.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn links_are_followed_to_their_targets() {
        use Leads::{Nowhere, Outside};
        let inside = |place: &str| Leads::Inside(place.into());
        let link = |path: &str, target: &str| {
            let target = target.into();
            (Vec::from(path), Node::Link { target })
        };
        for (path, target, expected) in [
            (
                "usr/src/h/scripts",
                "../../lib/k/scripts",
                inside("usr/lib/k/scripts"),
            ),
            ("usr/src/h/scripts", "../../../lib", inside("lib")),
            ("usr/src/h/scripts", "../../../../lib", Outside),
            ("a", "b", inside("b")),
            ("a", "..", Outside),
            ("a", "b/../..", Outside),
            ("a", "/usr/src/x", inside("usr/src/x")),
            ("a", "/usr/../../x", Outside),
            // Seems to stay inside, but `d/up` is the root.
            ("a", "d/up/..", Outside),
            ("a", "d/up/x", inside("x")),
            ("a", "away/x", Outside),
            ("a", "a/x", Nowhere),
        ] {
            let mut listing = Listing::from([link("d/up", ".."), link("away", "/d/../..")]);
            listing.extend([link(path, target)]);
            assert_eq!(
                leads(&listing, path.as_bytes()),
                expected,
                "{path} {target}"
            );
        }
    }

    proptest! {
        /// Any path is either refused or names something below the root, and cleaning it again changes nothing.
        #[test]
        fn cleaned_paths_stay_inside_the_root(raw in "[a./]{0,12}") {
            let limits = Limits::default();
            if let Ok(clean_path) = clean(raw.as_bytes(), &limits) {
                let text = String::from_utf8(clean_path.clone()).unwrap();
                let mut segments = text.split('/');
                prop_assert!(text.is_empty() || segments.all(|segment| !["", ".", ".."].contains(&segment)));
                prop_assert_eq!(clean(&clean_path, &limits).unwrap(), clean_path);
            }
        }
    }
}
