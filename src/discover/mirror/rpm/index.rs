//! The index files of rpm repositories: `repomd.xml`, `primary.xml`, `primary.sqlite`.

use std::io::{BufRead, BufReader, Read};

use jiff::civil::Date;
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::digest::Sha256;

/// The maximum size of an index after decompression, in bytes.
const MOST_BYTES: u64 = 2 << 30;

/// A file that `repomd.xml` lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IndexFile {
    /// The type, such as `primary` or `primary_db`.
    pub(super) kind: String,
    /// The path relative to the base URL of the repository.
    pub(super) path: String,
    /// The digest, if it is a SHA-256.
    pub(super) sha256: Option<Sha256>,
    pub(super) size_bytes: Option<u64>,
}

/// A package of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RpmPackage {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) release: String,
    pub(super) architecture: String,
    /// The path relative to `base`, or else to the base URL of the repository.
    pub(super) path: String,
    pub(super) base: Option<String>,
    pub(super) sha256: Option<Sha256>,
    pub(super) size_bytes: Option<u64>,
    pub(super) built: Option<Date>,
}

/// Returns the error with the reader's byte position in the file.
fn at(reader: &Reader<impl BufRead>, error: impl std::fmt::Display) -> String {
    format!("{error} at byte {}", reader.buffer_position())
}

fn attribute(element: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = element.try_get_attribute(name).ok()??;
    let text = str::from_utf8(&attribute.value).ok()?;
    quick_xml::escape::unescape(text).ok().map(Into::into)
}

/// Reads the text of an element, up to its end.
fn text(reader: &mut Reader<impl BufRead>, element: &BytesStart<'_>) -> Result<String, String> {
    let end = element.to_end().into_owned();
    let mut buffer = Vec::new();
    let mut text = String::new();
    loop {
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Text(part)) => text += &part.decode().map_err(|error| at(reader, error))?,
            // Entities that the file itself declares are never expanded.
            Ok(Event::GeneralRef(name)) => {
                let name = name.decode().map_err(|error| at(reader, error))?;
                text += &quick_xml::escape::unescape(&format!("&{name};"))
                    .map_err(|error| at(reader, error))?;
            }
            Ok(Event::End(found)) if found.name() == end.name() => return Ok(text),
            Ok(Event::Eof) => return Err(at(reader, "unexpected end of file")),
            Ok(_) => {}
            Err(error) => return Err(at(reader, error)),
        }
        if text.len() > 1 << 16 {
            return Err(at(reader, "an element is longer than 64 KiB"));
        }
        buffer.clear();
    }
}

/// Reads `repomd.xml`.
pub(super) fn read_repomd(bytes: &[u8]) -> Result<Vec<IndexFile>, String> {
    let mut reader = Reader::from_reader(bytes);
    let mut buffer = Vec::new();
    let mut files = Vec::new();
    let mut file: Option<IndexFile> = None;
    let mut is_repomd = false;
    loop {
        let event = reader.read_event_into(&mut buffer);
        match event.map_err(|error| at(&reader, error))? {
            Event::DocType(_) => return Err(at(&reader, "a DOCTYPE is not allowed")),
            Event::Start(element) => {
                let element = element.into_owned();
                match (element.local_name().as_ref(), &mut file) {
                    (b"repomd", _) => is_repomd = true,
                    (b"data", _) => {
                        file = Some(IndexFile {
                            kind: attribute(&element, "type").unwrap_or_default(),
                            ..IndexFile::default()
                        });
                    }
                    (b"checksum", Some(file)) => {
                        let digest = text(&mut reader, &element)?;
                        if attribute(&element, "type").as_deref() == Some("sha256") {
                            let parsed = digest.trim().parse();
                            file.sha256 = Some(parsed.map_err(|error| at(&reader, error))?);
                        }
                    }
                    (b"size", Some(file)) => {
                        file.size_bytes = text(&mut reader, &element)?.trim().parse().ok();
                    }
                    _ => {}
                }
            }
            Event::Empty(element) if element.local_name().as_ref() == b"location" => {
                if let (Some(file), Some(href)) = (&mut file, attribute(&element, "href")) {
                    file.path = href;
                }
            }
            Event::End(element) if element.local_name().as_ref() == b"data" => {
                files.extend(file.take().filter(|file| !file.path.is_empty()));
            }
            Event::Eof if is_repomd => return Ok(files),
            Event::Eof => return Err("it is not a repomd.xml".to_owned()),
            _ => {}
        }
        buffer.clear();
    }
}

/// Returns a reader that decompresses the content by the extension of the path.
fn decompress<'a>(path: &str, bytes: &'a [u8]) -> Result<Box<dyn Read + 'a>, String> {
    Ok(match path.rsplit_once('.').map_or("", |(_, end)| end) {
        "gz" => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        "xz" => Box::new(liblzma::read::XzDecoder::new_multi_decoder(bytes)),
        "zst" => Box::new(zstd::Decoder::with_buffer(bytes).map_err(|error| error.to_string())?),
        "bz2" => Box::new(bzip2::read::MultiBzDecoder::new(bytes)),
        _ => Box::new(bytes),
    })
}

/// Reads the packages that `is_wanted` accepts from `primary.xml`, with any supported compression, as a stream.
pub(super) fn read_primary(
    path: &str,
    bytes: &[u8],
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<RpmPackage>, String> {
    let limited = decompress(path, bytes)?.take(MOST_BYTES);
    let mut reader = Reader::from_reader(BufReader::with_capacity(1 << 16, limited));
    let mut buffer = Vec::new();
    let mut packages = Vec::new();
    let mut package: Option<RpmPackage> = None;
    let (mut is_primary, mut is_whole) = (false, false);
    loop {
        let event = reader.read_event_into(&mut buffer);
        match event.map_err(|error| at(&reader, error))? {
            Event::DocType(_) => return Err(at(&reader, "a DOCTYPE is not allowed")),
            Event::Start(element) => {
                let element = element.into_owned();
                match (element.name().as_ref(), &mut package) {
                    (b"metadata", _) => is_primary = true,
                    (b"package", _) => package = Some(RpmPackage::default()),
                    (b"name", Some(package)) => package.name = text(&mut reader, &element)?,
                    (b"arch", Some(package)) => package.architecture = text(&mut reader, &element)?,
                    (b"checksum", Some(package)) => {
                        let digest = text(&mut reader, &element)?;
                        if attribute(&element, "type").as_deref() == Some("sha256") {
                            let parsed = digest.trim().parse();
                            package.sha256 = Some(parsed.map_err(|error| at(&reader, error))?);
                        }
                    }
                    _ => {}
                }
            }
            Event::Empty(element) => {
                let Some(package) = &mut package else {
                    buffer.clear();
                    continue;
                };
                let get = |name| attribute(&element, name);
                match element.name().as_ref() {
                    b"version" => {
                        package.version = get("ver").unwrap_or_default();
                        package.release = get("rel").unwrap_or_default();
                    }
                    b"location" => {
                        package.path = get("href").unwrap_or_default();
                        package.base = get("xml:base");
                    }
                    b"size" => {
                        package.size_bytes = get("package").and_then(|size| size.parse().ok());
                    }
                    b"time" => {
                        let seconds = get("build").and_then(|text| text.parse().ok());
                        package.built = seconds.and_then(day_of);
                    }
                    _ => {}
                }
            }
            Event::End(element) => match element.name().as_ref() {
                b"package" => {
                    packages.extend(package.take().filter(|package| is_wanted(&package.name)));
                }
                b"metadata" => is_whole = true,
                _ => {}
            },
            Event::Eof if is_primary && is_whole => return Ok(packages),
            Event::Eof if is_primary => return Err("unexpected end of file".to_owned()),
            Event::Eof => return Err("it is not a primary.xml".to_owned()),
            _ => {}
        }
        buffer.clear();
    }
}

/// Reads the packages that `is_wanted` accepts from `primary.sqlite`, with any supported compression.
pub(super) fn read_database(
    path: &str,
    bytes: &[u8],
    is_wanted: impl Fn(&str) -> bool,
) -> Result<Vec<RpmPackage>, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let file = tempfile::NamedTempFile::new().map_err(|error| text(&error))?;
    let mut limited = decompress(path, bytes)?.take(MOST_BYTES);
    std::io::copy(&mut limited, &mut file.as_file()).map_err(|error| text(&error))?;
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database =
        rusqlite::Connection::open_with_flags(file.path(), flags).map_err(|error| text(&error))?;
    let mut query = database
        .prepare(
            "SELECT name, version, release, arch, location_href, location_base, pkgId, checksum_type, size_package, time_build FROM packages",
        )
        .map_err(|error| text(&error))?;
    let rows = query.query_map((), |row| {
        let digest: String = row.get(6)?;
        let is_sha256 = row.get::<_, Option<String>>(7)?.as_deref() == Some("sha256");
        Ok(RpmPackage {
            name: row.get(0)?,
            version: row.get(1)?,
            release: row.get(2)?,
            architecture: row.get(3)?,
            path: row.get(4)?,
            base: row.get(5)?,
            sha256: digest.parse().ok().filter(|_| is_sha256),
            size_bytes: row
                .get::<_, Option<i64>>(8)?
                .and_then(|size| size.try_into().ok()),
            built: row.get::<_, Option<i64>>(9)?.and_then(day_of),
        })
    });
    let packages: Result<Vec<RpmPackage>, _> = rows.map_err(|error| text(&error))?.collect();
    let mut packages = packages.map_err(|error| text(&error))?;
    packages.retain(|package| is_wanted(&package.name));
    Ok(packages)
}

fn day_of(seconds: i64) -> Option<Date> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    Some(time.to_zoned(jiff::tz::TimeZone::UTC).date())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_entities_are_refused_and_cut_files_noticed() {
        let bomb = "<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><metadata><package><name>&b;</name></package></metadata>";
        let error = read_primary("primary.xml", bomb.as_bytes(), |_| true).unwrap_err();
        assert!(error.contains("a DOCTYPE is not allowed"), "{error}");
        let error = read_repomd(bomb.as_bytes()).unwrap_err();
        assert!(error.contains("a DOCTYPE is not allowed"), "{error}");
        let unknown = "<metadata><package><name>&b;</name></package></metadata>";
        read_primary("primary.xml", unknown.as_bytes(), |_| true).unwrap_err();
        let cut = "<metadata><package type=\"rpm\"><name>kernel-devel</name></package>";
        let error = read_primary("primary.xml", cut.as_bytes(), |_| true).unwrap_err();
        assert!(error.contains("unexpected end of file"), "{error}");
        for wrong in ["<html><body>Not found</body></html>", "", "{}"] {
            read_primary("primary.xml", wrong.as_bytes(), |_| true).unwrap_err();
            read_repomd(wrong.as_bytes()).unwrap_err();
        }
        let long = format!(
            "<metadata><package><name>{}</name></package></metadata>",
            "x".repeat(1 << 17)
        );
        let error = read_primary("primary.xml", long.as_bytes(), |_| true).unwrap_err();
        assert!(error.contains("longer than 64 KiB"), "{error}");
    }
}
