//! Folders of YAML files as driverkit reads them and dbg-go generates them:
//! `<driver version>/<machine>/<target>_<release>_<version>.yaml`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::Deserialize;

use super::lists::{self, Entry, ListedKernel};
use super::{DiscoverError, Listed};
use crate::diagnostic::SourceFile;
use crate::fs::{self, FileError};
use crate::kernel::Architecture;
use crate::yaml;

/// The name of this source.
pub(super) const NAME: &str = "driverkit";

/// Reads every YAML file below `folder`. The folders of several driver versions mostly name the same kernels: each is
/// given once, as the last folder has it.
pub(super) fn read(folder: &Path) -> Result<Listed, DiscoverError> {
    let files = yaml_files(folder)?;
    if files.is_empty() {
        return Err(DiscoverError::Format {
            name: folder.display().to_string(),
            message: "it holds no YAML file".to_owned(),
        });
    }
    let source: Arc<str> = NAME.into();
    let mut read: Vec<Result<ListedKernel, String>> = files
        .par_iter()
        .map(|path| {
            let shown = path.strip_prefix(folder).unwrap_or(path).display();
            read_file(path, &source).map_err(|reason| format!("{shown}: {reason}"))
        })
        .collect();
    // The last folder counts.
    let mut seen: HashSet<String> = HashSet::new();
    read.reverse();
    read.retain(|one| match one {
        Ok((found, _)) => seen.insert(found.kernel.identity_text()),
        Err(_) => true,
    });
    read.reverse();
    lists::collect(&folder.display().to_string(), read)
}

/// The YAML files below a folder, sorted.
fn yaml_files(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(folder).to_owned();
            FileError::of("read", path)(error.into())
        })?;
        let extension = entry.path().extension().and_then(|text| text.to_str());
        if entry.file_type().is_file() && matches!(extension, Some("yaml" | "yml")) {
            files.push(entry.into_path());
        }
    }
    Ok(files)
}

#[derive(Deserialize)]
struct File {
    kernelrelease: String,
    #[serde(default)]
    kernelversion: Option<String>,
    target: String,
    #[serde(default)]
    architecture: Option<String>,
    #[serde(default)]
    kernelurls: Urls,
    #[serde(default)]
    kernelconfigdata: Option<String>,
}

/// A list, or one text with commas.
#[derive(Default)]
struct Urls(Vec<String>);

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Urls;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a list of addresses")
            }

            fn visit_unit<E>(self) -> Result<Urls, E> {
                Ok(Urls::default())
            }

            fn visit_str<E>(self, text: &str) -> Result<Urls, E> {
                let parts = text.split(',').map(str::trim);
                Ok(Urls(
                    parts
                        .filter(|part| !part.is_empty())
                        .map(str::to_owned)
                        .collect(),
                ))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut access: A,
            ) -> Result<Urls, A::Error> {
                let mut urls = Vec::new();
                while let Some(url) = access.next_element()? {
                    urls.push(url);
                }
                Ok(Urls(urls))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

fn read_file(path: &Path, source: &Arc<str>) -> Result<ListedKernel, String> {
    let text = fs::read_to_string(path).map_err(|error| error.source.to_string())?;
    let file = Arc::new(SourceFile {
        path: path.to_owned(),
        text,
    });
    let read: File = yaml::read(&file).map_err(|error| match error.place() {
        Some(place) => {
            let (line, column) = place.line_and_column();
            format!("{line}:{column}: {}", error.message())
        }
        None => error.message().to_owned(),
    })?;
    let architecture: Architecture = read
        .architecture
        .as_deref()
        .unwrap_or("amd64")
        .parse()
        .map_err(|error: crate::kernel::ParseKernelError| error.to_string())?;
    let entry = Entry {
        target: &read.target,
        release: &read.kernelrelease,
        version: read.kernelversion.as_deref(),
        headers: read.kernelurls.0,
        config: read.kernelconfigdata.as_deref(),
    };
    lists::read_entry(entry, architecture, source)
}
