//! Names of entries, made safe.

use super::error::shown;
use super::tree::{Listing, Node};
use super::{Limits, UnpackError};

/// The entry's path relative to the root of the tree: no empty, `.` or `..` segment, no slash at either end. Empty
/// for the root itself.
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

/// The directory that holds `path`, and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Links that are followed for one link, before it counts as a circle, which leads nowhere.
const MOST_LINKS: usize = 40;

/// Where a symbolic link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// To this place in the tree, whether or not something is there.
    Inside(Vec<u8>),
    /// Out of the tree.
    Outside,
    /// Back to itself.
    Nowhere,
}

/// Where the symbolic link at `path`, and every link on its way, leads. An absolute target counts from the root of the
/// tree, since that is where the tree is shown.
pub(super) fn leads(listing: &Listing, path: &[u8]) -> Leads {
    let mut followed = 0;
    let mut place: Vec<&[u8]> = Vec::new();
    // What is still to be walked, the next segment last.
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
    fn links_are_followed_to_where_they_lead() {
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
            // By its text it stays inside, but `d/up` is the root.
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
        /// Whatever the name: it is refused, or it names something below the root, and cleaning again changes
        /// nothing.
        #[test]
        fn clean_paths_stay_inside(raw in "[a./]{0,12}") {
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
