//! Image indexes: the builder images that a repository offers, in driverkit's format.
//!
//! In: the tags of an OCI repository, or a YAML file with a list `images`. Out: [`IndexEntry`]s. As in driverkit, tags
//! of another form, entries without a name or a compiler, and other architectures are skipped.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::GccVersion;
use crate::diagnostic::{Diagnostic, Place, SourceFile};
use crate::fs;
use crate::kernel::{Architecture, TargetId};
use crate::yaml::{self, Node, Value};

/// The name for all targets.
const ANY: &str = "any";

/// An image listed in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The full name: `docker.io/falcosecurity/driverkit-builder:any-x86_64_gcc12.0.0_gcc11.0.0-latest`.
    pub name: String,
    /// The target that the image is for; `None` for all targets.
    pub target: Option<TargetId>,
    /// The architecture that the image runs on and compiles for.
    pub architecture: Architecture,
    /// The version of the image, for example `latest`.
    pub tag: String,
    /// The compilers of the image, installed as `/usr/bin/gcc-<version>`.
    pub gcc_versions: Vec<GccVersion>,
}

/// Parses a tag: `<target or any>-<x86_64 or aarch64>_gcc<version>[_gcc<version>...]-<version of the image>`. Returns
/// `None` for tags of another form.
pub fn entry_of_tag(repository: &str, tag: &str) -> Option<IndexEntry> {
    Architecture::ALL.into_iter().find_map(|architecture| {
        let middle = format!("-{}_gcc", architecture.machine());
        let (target, rest) = tag.split_once(&middle)?;
        let (versions, image_version) = rest.split_once('-')?;
        let gcc_versions: Result<Vec<_>, _> = versions.split("_gcc").map(str::parse).collect();
        let target = match target {
            ANY => None,
            name => Some(name.parse().ok()?),
        };
        (!image_version.is_empty()).then_some(IndexEntry {
            name: format!("{repository}:{tag}"),
            target,
            architecture,
            tag: image_version.to_owned(),
            gcc_versions: gcc_versions.ok()?,
        })
    })
}

/// Reads an index file.
pub fn read_index(path: &Path) -> Result<Vec<IndexEntry>, Diagnostic> {
    let text = fs::read_to_string(path).map_err(|error| {
        Diagnostic::error(format!("the image index cannot be used: {error}"))
            .help("`--builderrepo` expects the absolute path of an image index, or the name of a repository")
    })?;
    let file = Arc::new(SourceFile {
        path: path.to_owned(),
        text,
    });
    let node = yaml::read_node(&file)?;
    let wrong = |node: &Node, message: &str| {
        let place = Place {
            file: Arc::clone(&file),
            span: node.span.clone(),
        };
        Diagnostic::error(format!("not an image index: {message}")).at(place, "")
    };
    let images =
        field(&node, "images").ok_or_else(|| wrong(&node, "the list `images` is missing"))?;
    let items = match &images.value {
        Value::List(items) => items,
        Value::Nothing => return Ok(Vec::new()),
        _ => return Err(wrong(images, "`images` is not a list")),
    };
    let mut entries = Vec::new();
    for item in items {
        if !matches!(item.value, Value::Map(_)) {
            return Err(wrong(
                item,
                "expected a mapping with name, target, arch, tag and gcc_versions",
            ));
        }
        entries.extend(entry_of_node(item, &wrong)?);
    }
    Ok(entries)
}

/// Reads an entry. Returns `None` if the entry is skipped.
fn entry_of_node(
    item: &Node,
    wrong: &dyn Fn(&Node, &str) -> Diagnostic,
) -> Result<Option<IndexEntry>, Diagnostic> {
    let text = |name: &str| -> Result<Option<(&Node, &str)>, Diagnostic> {
        match field(item, name) {
            None => Ok(None),
            Some(node) => match (&node.value, node.text()) {
                (_, Some(text)) => Ok(Some((node, text))),
                (Value::Nothing, None) => Ok(None),
                _ => Err(wrong(node, &format!("`{name}` is not a string"))),
            },
        }
    };
    let mut gcc_versions = Vec::new();
    if let Some(node) = field(item, "gcc_versions") {
        match &node.value {
            Value::Nothing => {}
            Value::List(versions) => {
                for version in versions {
                    let parsed = version.text().unwrap_or_default().parse();
                    let parsed = parsed.map_err(|error: super::ParseGccVersionError| {
                        wrong(version, &error.to_string())
                    });
                    gcc_versions.push(parsed?);
                }
            }
            _ => return Err(wrong(node, "`gcc_versions` is not a list")),
        }
    }
    let name = text("name")?.map(|(_, name)| name.to_owned());
    let architecture = text("arch")?.and_then(|(_, name)| name.parse().ok());
    let target =
        match text("target")? {
            Some((_, ANY)) => None,
            Some((node, name)) => Some(name.parse().map_err(
                |error: crate::kernel::ParseKernelError| wrong(node, &error.to_string()),
            )?),
            None => return Ok(None),
        };
    let tag = text("tag")?.map(|(_, tag)| tag.to_owned());
    Ok(match (name, architecture, tag) {
        (Some(name), Some(architecture), Some(tag)) if !gcc_versions.is_empty() => {
            Some(IndexEntry {
                name,
                target,
                architecture,
                tag,
                gcc_versions,
            })
        }
        _ => None,
    })
}

fn field<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .find(|(key, _)| key.text() == Some(name))
            .map(|(_, value)| value),
        _ => None,
    }
}

/// Returns the text of an index file with these images.
pub fn write_index(entries: &[IndexEntry]) -> Result<String, String> {
    #[derive(Serialize)]
    struct Index<'a> {
        images: Vec<Item<'a>>,
    }
    #[derive(Serialize)]
    struct Item<'a> {
        name: &'a str,
        target: &'a str,
        arch: &'static str,
        tag: &'a str,
        gcc_versions: Vec<String>,
    }
    fn item(entry: &IndexEntry) -> Item<'_> {
        Item {
            name: &entry.name,
            target: entry.target.as_ref().map_or(ANY, TargetId::as_str),
            arch: entry.architecture.machine(),
            tag: &entry.tag,
            gcc_versions: entry.gcc_versions.iter().map(ToString::to_string).collect(),
        }
    }
    let images = entries.iter().map(item).collect();
    yaml::write(&Index { images })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(target: Option<&str>, versions: &[&str], tag: &str) -> IndexEntry {
        let gcc: Vec<String> = versions
            .iter()
            .map(|version| format!("_gcc{version}"))
            .collect();
        let of = target.unwrap_or("any");
        IndexEntry {
            name: format!("host:5000/r:{of}-x86_64{}-{tag}", gcc.concat()),
            target: target.map(|target| target.parse().unwrap()),
            architecture: Architecture::Amd64,
            tag: tag.to_owned(),
            gcc_versions: versions
                .iter()
                .map(|version| version.parse().unwrap())
                .collect(),
        }
    }

    /// Tags in the form that driverkit publishes, and some in other forms.
    #[test]
    fn tags_are_read() {
        let read = |tag| entry_of_tag("host:5000/r", tag);
        for (tag, target, versions, image_version) in [
            (
                "any-x86_64_gcc14.0.0-latest",
                None,
                &["14.0.0"][..],
                "latest",
            ),
            (
                "any-x86_64_gcc8.0.0_gcc6.0.0_gcc5.0.0_gcc4.9.0_gcc4.8.0-master",
                None,
                &["8.0.0", "6.0.0", "5.0.0", "4.9.0", "4.8.0"],
                "master",
            ),
            (
                "centos-x86_64_gcc4.8.5-v0.23.1",
                Some("centos"),
                &["4.8.5"],
                "v0.23.1",
            ),
            (
                "ubuntu-aws-x86_64_gcc12.0.0-a1-b2",
                Some("ubuntu-aws"),
                &["12.0.0"],
                "a1-b2",
            ),
        ] {
            assert_eq!(
                read(tag),
                Some(entry(target, versions, image_version)),
                "{tag}"
            );
        }
        let arm = read("any-aarch64_gcc12.0.0_gcc11.0.0-latest").unwrap();
        assert_eq!(arm.architecture, Architecture::Arm64);
        for tag in [
            "latest",
            "any-x86_64_gcc14.0.0",
            "any-x86_64_gcc14.0.0-",
            "any-x86_64_gcc-latest",
            "any-x86_64_gcctwelve-latest",
            "any-riscv64_gcc14.0.0-latest",
            "a_b-x86_64_gcc14.0.0-latest",
        ] {
            assert_eq!(read(tag), None, "{tag}");
        }
    }

    #[test]
    fn an_index_file_is_read_and_entries_are_skipped_as_in_driverkit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.yaml");
        let good = [
            entry(None, &["12.0.0", "4.8"], "latest"),
            entry(Some("centos"), &["10"], "v1"),
        ];
        fs::write(&path, write_index(&good).unwrap()).unwrap();
        assert_eq!(read_index(&path).unwrap(), good);
        let some_are_skipped = "
images:
  - {name: x, target: any, arch: riscv64, tag: latest, gcc_versions: [9]}
  - {target: any, arch: x86_64, tag: latest, gcc_versions: [9]}
  - {name: y, target: any, arch: x86_64, tag: latest, gcc_versions: []}
  - {name: y, target: any, arch: x86_64, gcc_versions: [9]}
  - {name: 'host:5000/r:any-x86_64_gcc9-v1', target: any, arch: x86_64, tag: v1, gcc_versions: [9], more: 1}
";
        fs::write(&path, some_are_skipped).unwrap();
        assert_eq!(read_index(&path).unwrap(), [entry(None, &["9"], "v1")]);
        fs::write(&path, "images:\n").unwrap();
        assert_eq!(read_index(&path).unwrap(), []);
    }

    #[test]
    fn invalid_indexes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.yaml");
        for (text, message) in [
            ("image: []", "the list `images` is missing"),
            ("images: 5", "`images` is not a list"),
            ("images: [x]", "expected a mapping"),
            ("images: [{name: [x]}]", "`name` is not a string"),
            (
                "images: [{gcc_versions: 5}]",
                "`gcc_versions` is not a list",
            ),
            (
                "images: [{gcc_versions: [twelve]}]",
                "`twelve` is not a gcc version",
            ),
            ("images: [{target: 'a b'}]", "' ' is not allowed"),
            ("images: [", "not valid YAML"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read_index(&path).unwrap_err();
            assert!(format!("{error:?}").contains(message), "{text}: {error:?}");
        }
        assert!(read_index(Path::new("/nonexistent")).is_err());
    }
}
