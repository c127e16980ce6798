//! Reads the files of an archive: `Release`, and the kernel packages in `Packages`.

use std::collections::BTreeMap;
use std::io::Read;

use deb822_fast::Paragraph;
use deb822_fast::borrowed::{BorrowedParagraph, iter_paragraphs_borrowed};
use debversion::Version;

use crate::digest::Sha256;

/// The maximum size of an index after decompression, in bytes.
const MOST_BYTES: u64 = 1 << 30;

/// The content of a `Release` or `InRelease` file.
pub(super) struct ReleaseFile {
    /// Digest and size of each file, by its path relative to the suite's directory.
    pub(super) files: BTreeMap<String, (Sha256, u64)>,
    /// Whether files can also be downloaded by their digest.
    pub(super) is_by_hash: bool,
    /// When the file expires.
    valid_until: Option<jiff::Timestamp>,
}

impl ReleaseFile {
    /// Returns `Valid-Until` if that time has passed.
    pub(super) fn expired(&self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        self.valid_until.filter(|until| *until < now)
    }
}

/// A package of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexPackage {
    pub(super) name: String,
    pub(super) version: Version,
    pub(super) architecture: String,
    /// The names of the packages that it depends on. Of alternatives, only the first.
    dependencies: Vec<String>,
    /// The path relative to the base URL of the mirror.
    pub(super) path: String,
    pub(super) size_bytes: u64,
    pub(super) sha256: Sha256,
}

impl IndexPackage {
    /// Returns the first dependency that `is_wanted` accepts.
    pub(super) fn dependency(&self, is_wanted: impl Fn(&str) -> bool) -> Option<&str> {
        let mut names = self.dependencies.iter().map(String::as_str);
        names.find(|name| is_wanted(name))
    }
}

/// Returns a version as it appears in file names.
pub(super) fn without_epoch(version: &Version) -> String {
    let text = version.to_string();
    text.split_once(':')
        .map_or(text.as_str(), |(_, rest)| rest)
        .to_owned()
}

/// Reads a `Release` file, or an `InRelease` file without checking its signature.
pub(super) fn read_release(bytes: &[u8]) -> Result<ReleaseFile, String> {
    let text = str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let text = text.replace("\r\n", "\n");
    let mut body = text.as_str();
    if body.starts_with("-----BEGIN PGP SIGNED MESSAGE-----") {
        let start = body
            .find("\n\n")
            .ok_or("the start of its signed text is missing")?;
        let end = body.find("\n-----BEGIN PGP SIGNATURE-----");
        body = body
            .get(start + 2..end.ok_or("the end of its signed text is missing")? + 1)
            .ok_or("its signed text is damaged")?;
    }
    let paragraph: Paragraph = body.parse().map_err(|error| format!("{error}"))?;
    let list = paragraph.get("SHA256").ok_or("it has no SHA256 list")?;
    let mut files = BTreeMap::new();
    for line in list.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (Some(digest), Some(size), Some(path)) = (words.next(), words.next(), words.next())
        else {
            return Err(format!(
                "expected a digest, a size and a path, got `{line}`"
            ));
        };
        let digest = digest.parse().map_err(|error| format!("{error}"))?;
        let size = size.parse().map_err(|_| format!("invalid size `{size}`"))?;
        files.insert(path.to_owned(), (digest, size));
    }
    Ok(ReleaseFile {
        files,
        is_by_hash: paragraph.get("Acquire-By-Hash") == Some("yes"),
        valid_until: paragraph.get("Valid-Until").map(read_time).transpose()?,
    })
}

/// Reads a time such as `Sat, 14 Nov 2026 08:23:11 UTC`.
fn read_time(text: &str) -> Result<jiff::Timestamp, String> {
    jiff::fmt::rfc2822::parse(&text.trim().replace("UTC", "+0000"))
        .map(|time| time.timestamp())
        .map_err(|error| format!("Valid-Until `{text}` is not a valid time: {error}"))
}

/// Reads the packages that `is_wanted` accepts from an index. The extension of `path` is its compression.
pub(super) fn read_packages(
    path: &str,
    bytes: &[u8],
    is_wanted: fn(&str) -> bool,
) -> Result<Vec<IndexPackage>, String> {
    let reader: Box<dyn Read + '_> = match path.rsplit_once('.') {
        Some((_, "xz")) => Box::new(liblzma::read::XzDecoder::new_multi_decoder(bytes)),
        Some((_, "gz")) => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        _ => Box::new(bytes),
    };
    let mut text = String::new();
    let count = reader
        .take(MOST_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if count as u64 == MOST_BYTES {
        return Err(format!("it is larger than {MOST_BYTES} bytes"));
    }
    let mut packages = Vec::new();
    // Only about 100 of 70,000 packages are wanted. The other paragraphs are not parsed.
    let is_wanted = |paragraph: &&str| {
        let mut lines = paragraph.lines();
        lines
            .find_map(|line| line.strip_prefix("Package:"))
            .is_some_and(|name| is_wanted(name.trim()))
    };
    for paragraph in text.split("\n\n").filter(is_wanted) {
        for fields in iter_paragraphs_borrowed(paragraph) {
            let fields = fields.map_err(|error| error.to_string())?;
            packages.push(read_package(&fields)?);
        }
    }
    Ok(packages)
}

fn read_package(fields: &BorrowedParagraph<'_>) -> Result<IndexPackage, String> {
    let get = |name: &str| {
        fields
            .get_single(name)
            .map(str::trim)
            .ok_or_else(|| format!("a package has no field {name}"))
    };
    let name = get("Package")?;
    let wrong = |field: &str| format!("invalid {field} of {name}");
    let path = get("Filename")?;
    if path.starts_with('/') || path.contains("://") || path.split('/').any(|part| part == "..") {
        return Err(wrong("Filename"));
    }
    let dependencies = fields.get("Depends").map(|lines| lines.join(" "));
    let dependencies = dependencies.unwrap_or_default();
    Ok(IndexPackage {
        name: name.to_owned(),
        version: get("Version")?.parse().map_err(|_| wrong("Version"))?,
        architecture: get("Architecture")?.to_owned(),
        dependencies: dependencies
            .split(',')
            .filter_map(|one| one.split(['|', '(', ':']).next())
            .map(|one| one.trim().to_owned())
            .collect(),
        path: path.to_owned(),
        size_bytes: get("Size")?.parse().map_err(|_| wrong("Size"))?,
        sha256: get("SHA256")?.parse().map_err(|_| wrong("SHA256"))?,
    })
}

/// Returns the package of this name in the wanted version. If that version does not exist, returns the newest one.
pub(super) fn find<'a>(
    packages: &'a [IndexPackage],
    name: &str,
    wanted: &Version,
) -> Option<&'a IndexPackage> {
    packages
        .iter()
        .filter(|package| package.name == name)
        .max_by_key(|package| (package.version == *wanted, package.version.clone()))
}
