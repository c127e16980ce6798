//! The description of a builder image: one strict TOML file per image.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::GccVersion;
use crate::digest::Sha256;
use crate::kernel::Architecture;

/// A builder image as described by its file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImageDescription {
    /// The name of the image and of its file: letters, digits and hyphens.
    pub name: String,
    /// The architecture that the image's programs run on.
    pub host_architecture: Architecture,
    /// The packages that are installed in addition to the suite's essential packages.
    pub packages: Vec<String>,
    /// The source of the packages.
    pub debian: DebianSource,
    /// Symbolic links: the absolute path of each link, and its target.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// The purpose of the image.
    #[serde(default)]
    pub purpose: Purpose,
    /// The C compilers; empty in an image for proofs.
    #[serde(rename = "compiler", default)]
    pub compilers: Vec<Compiler>,
    /// The clang that compiles probes.
    pub clang: Option<ClangDescription>,
    /// The digest of the text of the file.
    #[serde(skip, default = "no_digest")]
    pub digest: Sha256,
}

/// The purpose of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Builds.
    #[default]
    Build,
    /// Booting kernels to prove modules.
    Proof,
}

/// A Debian suite from which an image is built.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct DebianSource {
    /// The code name: `bookworm`.
    pub suite: String,
    /// The archives of the suite that are used.
    pub archives: Vec<DebianArchive>,
    /// Additional lines of apt configuration.
    #[serde(default)]
    pub apt_options: Vec<String>,
    /// Files that are not unpacked, in the syntax of dpkg's `path-exclude`.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Programs whose debug information is removed.
    #[serde(default)]
    pub strip: Vec<String>,
    /// For programs of another architecture: packages whose libraries are put next to those of the cross compiler.
    #[serde(default)]
    pub foreign_libraries: BTreeMap<Architecture, Vec<String>>,
}

/// An archive of a suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebianArchive {
    /// The release itself.
    Main,
    /// The updates between point releases.
    Updates,
    /// The security updates, which have a separate mirror.
    Security,
}

/// A C compiler of an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Compiler {
    /// The version of the compiler.
    pub gcc: GccVersion,
    /// The architecture that the compiler compiles for.
    pub architecture: Architecture,
    /// The name of the program: `aarch64-linux-gnu-gcc-12`.
    pub command: String,
    /// The prefix of the names of its binutils: `aarch64-linux-gnu-`; empty for the image's own architecture.
    #[serde(default)]
    pub cross_prefix: String,
}

/// The clang of an image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClangDescription {
    /// The major version.
    pub version: String,
    /// The program.
    pub command: String,
    /// The program that compiles LLVM bitcode to an object file.
    pub llc: String,
}

/// The error for an invalid description.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// The file is not TOML, or does not have the expected fields.
    #[error(transparent)]
    Form(#[from] toml::de::Error),
    /// The name differs from that of the file, or contains characters other than letters, digits and hyphens.
    #[error("name `{name}` must be `{file}`, and contain only letters, digits and hyphens")]
    Name {
        /// The name.
        name: String,
        /// The file without `.toml`.
        file: String,
    },
    /// An image for builds has no compiler.
    #[error("[[compiler]] is missing")]
    NoCompiler,
    /// The path of a link is not absolute.
    #[error("the link `{0}` is not an absolute path")]
    Link(String),
    /// A value would break the command line or the file into which it is written.
    #[error("`{0}` has a line break, or is empty")]
    Text(String),
}

impl ImageDescription {
    /// Parses the text of `<file_stem>.toml`.
    pub(super) fn parse(text: &str, file_stem: &str) -> Result<Self, DescriptionError> {
        let mut description: Self = toml::from_str(text)?;
        description.digest = Sha256::of(text);
        let is_plain = |found: char| found.is_ascii_alphanumeric() || found == '-';
        if description.name != file_stem || !description.name.chars().all(is_plain) {
            return Err(DescriptionError::Name {
                name: description.name,
                file: file_stem.to_owned(),
            });
        }
        if description.purpose == Purpose::Build && description.compilers.is_empty() {
            return Err(DescriptionError::NoCompiler);
        }
        let debian = &description.debian;
        let lists = [
            &description.packages,
            &debian.apt_options,
            &debian.exclude,
            &debian.strip,
        ];
        if let Some(link) = description.links.keys().find(|link| !link.starts_with('/')) {
            return Err(DescriptionError::Link(link.clone()));
        }
        let links = description.links.iter().flat_map(|(link, to)| [link, to]);
        let foreign = debian.foreign_libraries.values().flatten();
        let texts = lists
            .into_iter()
            .flatten()
            .chain(foreign)
            .chain([&debian.suite])
            .chain(links);
        for text in texts {
            if text.is_empty() || text.contains('\n') {
                return Err(DescriptionError::Text(text.clone()));
            }
        }
        Ok(description)
    }

    /// Returns the name of the image in a Docker daemon.
    pub fn docker_name(&self) -> String {
        docker_name_of(&self.name)
    }
}

/// Returns the name of an image of `images/` in a Docker daemon.
pub fn docker_name_of(name: &str) -> String {
    format!("driverkit-matrix/builder:{name}")
}

fn no_digest() -> Sha256 {
    Sha256::of("")
}
